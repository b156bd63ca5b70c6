//! Writes recipes that start a server by hand: `serve.sh`, and a `config.yaml` for `vllm serve --config`.

use serde_json::Value;

use super::command;
use crate::{
    flags,
    manifest::{Engine, EnvValue, Flag, Server, scalar_text},
    secret::is_secret,
};

/// Two ways to start a server by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// A bash script; it takes the port from `$PORT`, or 8000.
    pub serve_sh: String,
    /// The file for `vllm serve --config config.yaml`.
    pub config_yaml: String,
}

/// Writes the recipes of a server. Secrets are read from environment variables, never written.
pub fn recipe(server: &Server) -> Recipe {
    Recipe { serve_sh: serve_sh(server), config_yaml: config_yaml(server) }
}

/// Quotes a word for bash where necessary; a leading `~/` becomes `$HOME`.
fn quoted(word: &str) -> String {
    if let Some(rest) = word.strip_prefix("~/") {
        return format!("\"$HOME\"/{}", quoted(rest));
    }
    // Control characters are written as bash's byte escapes, which a terminal that shows the script does not
    // interpret and which do not depend on the locale.
    if word.contains(|c: char| is_control(c)) {
        let mut out = "$'".to_owned();
        for c in word.chars() {
            match c {
                '\\' | '\'' => out.extend(['\\', c]),
                c if is_control(c) => {
                    let mut bytes = [0; 4];
                    for byte in c.encode_utf8(&mut bytes).bytes() {
                        out.push_str(&format!("\\x{byte:02x}"));
                    }
                }
                c => out.push(c),
            }
        }
        out.push('\'');
        return out;
    }
    match shlex::try_quote(word) {
        Ok(text) => text.into_owned(),
        // No argument can contain a NUL byte.
        Err(_) => quoted(&word.replace('\0', "")),
    }
}

/// Whether a terminal would interpret a character, such as an escape or a change of text direction. Newlines
/// and tabs are quoted as they are.
fn is_control(c: char) -> bool {
    c.is_control() && !matches!(c, '\0' | '\n' | '\t')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Placeholder for the port until the words are quoted; no argument contains this character.
const PORT: &str = "\u{1}";

fn serve_sh(server: &Server) -> String {
    let mut out = String::from(
        "#!/usr/bin/env bash\n# Starts this server by hand. Port: $PORT, or 8000.\nset -euo pipefail\n\n",
    );
    if let Some(name) = &server.launch.api_key_env {
        out.push_str(&format!("export VLLM_API_KEY=\"${{{name}:?set it to the key that requests need}}\"\n"));
    }
    for (name, value) in &server.env {
        match value {
            EnvValue::Text(_) if is_secret(name) => out.push_str(&format!(
                "export {name}=\"${{{name}:?is a secret; set it in the environment}}\"\n"
            )),
            EnvValue::Text(text) => out.push_str(&format!("export {name}={}\n", quoted(text))),
            EnvValue::Unset(_) => out.push_str(&format!("unset {name}\n")),
        }
    }
    out.push_str(&format!("args=(\n  {}\n", command_line(server)));
    for (name, flag) in passed(server) {
        if let Some(text) = help(name) {
            out.push_str(&format!("  # {text}\n"));
        }
        if is_secret(name) {
            let variable = variable(name);
            out.push_str(&format!(
                "  --{name} \"${{{variable}:?is a secret; set it in the environment}}\"\n"
            ));
            continue;
        }
        out.push_str(&format!("  {}\n", quoted_words(name, flag)));
    }
    out.push_str(")\nexec \"${args[@]}\"\n");
    out
}

/// The words before the flags, quoted for bash: the command, the model, the host and the port.
fn command_line(server: &Server) -> String {
    let mut bare = server.clone();
    bare.flags.0.clear();
    let words: Vec<String> = command::words(&bare, "runner", &command::host(server), PORT)
        .iter()
        .map(|word| {
            let pieces =
                word.split(PORT).map(|piece| if piece.is_empty() { String::new() } else { quoted(piece) });
            let text = pieces.collect::<Vec<_>>().join("\"${PORT:-8000}\"");
            if text.is_empty() { quoted(word) } else { text }
        })
        .collect();
    words.join(" ")
}

/// The `env` command in front of a command, for bash: first unset variables, then set ones.
fn environment(server: &Server) -> String {
    let mut words = Vec::new();
    for (name, value) in &server.env {
        match value {
            EnvValue::Unset(_) => words.insert(0, format!("-u {name}")),
            EnvValue::Text(_) if is_secret(name) => words.push(format!("{name}=\"${name}\"")),
            EnvValue::Text(text) => words.push(format!("{name}={}", quoted(text))),
        }
    }
    if let Some(name) = &server.launch.api_key_env {
        words.push(format!("VLLM_API_KEY=\"${name}\""));
    }
    if words.is_empty() {
        return String::new();
    }
    format!("env {} ", words.join(" "))
}

/// Whether a word needs a shell: vLLM does not expand a `~` in its config.
fn has_home(word: &str) -> bool {
    word.starts_with("~/")
}

/// A flag's arguments, quoted for bash.
fn quoted_words(name: &str, flag: &Flag) -> String {
    let words: Vec<String> = command::flag_words(name, flag).iter().map(|word| quoted(word)).collect();
    words.join(" ")
}

/// The environment variable for the value of a secret flag.
fn variable(flag: &str) -> String {
    flag.to_uppercase().replace('-', "_")
}

/// The flags to write, in their order. The command line already says where the server listens.
fn passed(server: &Server) -> impl Iterator<Item = (&str, &Flag)> {
    server.flags.passed().filter(|(name, _)| !command::is_address(name))
}

/// What a flag decides, in one sentence, where that is known.
fn help(name: &str) -> Option<&'static str> {
    flags::info(name)?.help.as_deref()
}

/// Writes the config file. vLLM turns `key: true` into `--key`, a list into its items, and anything else into
/// one word. It ignores empty lists, and `key: false` where a flag has no negation, so neither is written.
fn config_yaml(server: &Server) -> String {
    if server.engine != Engine::Vllm {
        return "# Only vLLM reads this file; start this server with serve.sh.\n".to_owned();
    }
    let mut line = format!("{}{}", environment(server), command_line(server));
    for (name, flag) in passed(server) {
        if is_secret(name) {
            line.push_str(&format!(" --{name} \"${}\"", variable(name)));
        } else if command::flag_words(name, flag).iter().any(|word| has_home(word)) {
            line.push_str(&format!(" {}", quoted_words(name, flag)));
        }
    }
    let mut out = format!(
        "# The flags of this server. In the folder of this file, run in bash:\n#   {line} --config config.yaml\n"
    );
    if has_home(&server.model) {
        out.push_str("# The model is in the command above, where the shell expands its ~.\n");
    } else {
        out.push_str(&format!("model: {}\n", yaml_text(&server.model)));
    }
    out.push_str(&format!("host: {}\nport: 8000\n", yaml_text(&command::host(server))));
    for (name, flag) in passed(server) {
        if command::flag_words(name, flag).iter().any(|word| has_home(word)) {
            continue;
        }
        if let Some(text) = help(name) {
            out.push_str(&format!("# {text}\n"));
        }
        if is_secret(name) {
            out.push_str(&format!("# {name} is a secret and is not written here\n"));
            continue;
        }
        match flag {
            Flag::On => out.push_str(&format!("{name}: true\n")),
            Flag::Off => out.push_str(&format!("no-{name}: true\n")),
            Flag::Value(value) => out.push_str(&format!("{name}: {}\n", yaml(value))),
            Flag::Many(values) if values.is_empty() => out.push_str(&format!("{name}: true\n")),
            Flag::Many(values) => {
                out.push_str(&format!("{name}:\n"));
                for value in values {
                    out.push_str(&format!("  - {}\n", yaml(value)));
                }
            }
            Flag::Json(map) => {
                let json = Value::Object(map.clone()).to_string();
                out.push_str(&format!("{name}: {}\n", yaml_text(&json)));
            }
            Flag::Unset => {}
        }
    }
    out
}

/// Writes a scalar that vLLM turns back into the same word. Only integers are unquoted: Python formats some
/// other numbers differently.
fn yaml(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        other => yaml_text(&scalar_text(other)),
    }
}

/// A double-quoted YAML string in ASCII, which every reader accepts.
fn yaml_text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            other => out.push_str(&format!("\\U{:08X}", u32::from(other))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, process::Command};

    use serde_json::json;

    use super::*;

    fn server(flags: Value) -> Server {
        serde_json::from_value(json!({ "model": "it's a/model", "flags": flags })).unwrap()
    }

    fn awkward() -> Value {
        json!({
            "served-model-name": ["1", "b c", "$(touch x)"],
            "max-model-len": 4096, "gpu-memory-utilization": 0.8, "rope-theta": 1e-7,
            "enable-prefix-caching": true, "enable-chunked-prefill": false,
            "dtype": "on", "chat-template": "\u{e9}\n\"'`\\ $HOME",
            "compilation-config": { "level": 3, "q": "it's" },
            "allowed-origins": [], "gone": { "unset": true }, "port": 9
        })
    }

    /// The arguments that the script passes to a program called `vllm`.
    fn given(script: &str, port: Option<&str>) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let vllm = folder.path().join("vllm");
        fs::write(&vllm, "#!/bin/sh\nprintf '%s\\0' vllm \"$@\"\n").unwrap();
        fs::set_permissions(&vllm, fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("serve.sh");
        fs::write(&path, script).unwrap();
        let mut command = Command::new("bash");
        command
            .arg(&path)
            .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
            .env_remove("PORT");
        if let Some(port) = port {
            command.env("PORT", port);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}\n{script}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    #[test]
    fn the_script_passes_the_same_arguments_as_the_runner() {
        let server = server(awkward());
        let script = recipe(&server).serve_sh;
        let host = command::host(&server);
        assert_eq!(given(&script, None), command::argv(&server, "runner", &host, 8000));
        assert_eq!(given(&script, Some("9001")), command::argv(&server, "runner", &host, 9001));
    }

    #[test]
    fn control_characters_are_escaped_and_passed_unchanged() {
        let mut server = server(json!({ "x": 1 }));
        let word = "\u{1b}[2Ja\u{9b}b it's \\x41 $HOME\u{202e}";
        server.command = Some(["vllm", word, "{model}"].map(str::to_owned).into());
        let script = recipe(&server).serve_sh;
        assert!(!script.chars().any(is_control), "{script:?}");
        assert_eq!(given(&script, None)[1], word);
    }

    #[test]
    fn a_port_within_a_word_is_replaced_too() {
        let mut server = server(json!({ "x": 1 }));
        server.command = Some(["vllm", "1", "--listen={host}:{port}/", "{model}"].map(str::to_owned).into());
        let script = recipe(&server).serve_sh;
        assert_eq!(given(&script, Some("9001"))[1..3], ["1", "--listen=127.0.0.1:9001/"]);
    }

    #[test]
    fn secrets_are_not_in_recipes() {
        let server: Server = serde_json::from_value(json!({
            "model": "m", "launch": { "api_key_env": "MY_KEY" },
            "env": { "HF_TOKEN": "hf_hidden", "OMP_NUM_THREADS": "2" },
            "flags": { "api-key": "sk-hidden", "max-num-batched-tokens": 2048 }
        }))
        .unwrap();
        let recipe = recipe(&server);
        for text in [&recipe.serve_sh, &recipe.config_yaml] {
            assert!(!text.contains("hidden"), "{text}");
            assert!(text.contains("2048"), "{text}");
        }
        assert!(recipe.serve_sh.contains("export OMP_NUM_THREADS=2"));
        assert!(recipe.serve_sh.contains("export VLLM_API_KEY=\"${MY_KEY:?"));
    }

    /// Reads a config as vLLM's `load_config_file` does, for the forms that are written here.
    fn config_words(text: &str) -> Vec<String> {
        let scalar = |text: &str| {
            if !text.starts_with('"') {
                return text.to_owned();
            }
            let mut out = String::new();
            let mut chars = text[1..text.len() - 1].chars();
            while let Some(c) = chars.next() {
                match (c, (c == '\\').then(|| chars.next()).flatten()) {
                    (_, Some('U')) => {
                        let hex: String = chars.by_ref().take(8).collect();
                        out.extend(char::from_u32(u32::from_str_radix(&hex, 16).unwrap()));
                    }
                    (_, Some(escaped)) => out.push(escaped),
                    (plain, None) => out.push(plain),
                }
            }
            out
        };
        let mut words = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some(item) = line.strip_prefix("  - ") {
                words.push(scalar(item));
                continue;
            }
            let (key, value) = line.split_once(':').unwrap();
            words.push(format!("--{key}"));
            match value.trim() {
                "" | "true" => {}
                value => words.push(scalar(value)),
            }
        }
        words
    }

    #[test]
    fn the_config_passes_the_same_arguments() {
        let server = server(awkward());
        let argv = command::argv(&server, "runner", &command::host(&server), 8000);
        let mut expected = vec!["--model".to_owned(), server.model.clone()];
        expected.extend(argv[3..].iter().cloned());
        assert_eq!(config_words(&recipe(&server).config_yaml), expected);
    }

    #[test]
    fn what_needs_a_shell_is_in_the_config_s_first_lines() {
        let server: Server = serde_json::from_value(json!({
            "model": "~/models/m", "command": ["~/venv/bin/vllm", "serve"],
            "env": { "A": "b c", "HF_TOKEN": "hf_hidden", "GONE": { "unset": true } },
            "flags": { "max-model-len": 64, "chat-template": "~/chat.jinja" }
        }))
        .unwrap();
        let config = recipe(&server).config_yaml;
        let line = config.lines().nth(1).unwrap();
        assert_eq!(
            line,
            "#   env -u GONE A='b c' HF_TOKEN=\"$HF_TOKEN\" \"$HOME\"/venv/bin/vllm serve \"$HOME\"/models/m \
             --host 127.0.0.1 --port \"${PORT:-8000}\" --chat-template \"$HOME\"/chat.jinja --config config.yaml"
        );
        assert_eq!(config_words(&config), ["--host", "127.0.0.1", "--port", "8000", "--max-model-len", "64"]);
    }
}
