//! Builds a server's argument vector, which never passes through a shell.

use crate::{
    flags,
    manifest::{Catalogue, Engine, Faults, Flag, Server, scalar_text},
};

/// The environment variable in which vLLM expects the key that requests must carry.
pub(super) const API_KEY: &str = "VLLM_API_KEY";

/// Builds the argument vector that starts a server on a port. `runner` is the path of this binary, which
/// contains the embedded engine.
///
/// The model, the host, the port and the flags are appended to the configured command, except for those that
/// it takes by its placeholders `{model}`, `{host}` and `{port}`.
///
/// ```
/// use runner::{manifest::Server, server::argv};
///
/// let server: Server = serde_json::from_value(serde_json::json!({
///     "model": "Qwen/Qwen2.5-0.5B", "flags": { "max-model-len": 4096, "enforce-eager": true },
/// }))?;
/// let argv = argv(&server, "runner", "127.0.0.1", 8000).join(" ");
/// assert_eq!(
///     argv,
///     "vllm serve Qwen/Qwen2.5-0.5B --host 127.0.0.1 --port 8000 --max-model-len 4096 --enforce-eager"
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn argv(server: &Server, runner: &str, host: &str, port: u16) -> Vec<String> {
    words(server, runner, host, &port.to_string())
}

/// The argument vector with any text in place of the port.
pub(super) fn words(server: &Server, runner: &str, host: &str, port: &str) -> Vec<String> {
    let command: Vec<String> = match (&server.command, server.engine) {
        (_, Engine::Sim) => vec![runner.to_owned(), "sim".to_owned()],
        (Some(command), _) => command.clone(),
        (None, _) => vec!["vllm".to_owned(), "serve".to_owned()],
    };
    let mut replaced = [false; 3];
    let placeholders = [("{model}", server.model.as_str()), ("{host}", host), ("{port}", port)];
    let mut words: Vec<String> = command
        .into_iter()
        .map(|mut word| {
            for (replaced, (placeholder, value)) in replaced.iter_mut().zip(placeholders) {
                if word.contains(placeholder) {
                    *replaced = true;
                    word = word.replace(placeholder, value);
                }
            }
            word
        })
        .collect();
    if !replaced[0] {
        words.push(server.model.clone());
    }
    for (replaced, flag, value) in [(replaced[1], "--host", host), (replaced[2], "--port", port)] {
        if !replaced {
            words.extend([flag.to_owned(), value.to_owned()]);
        }
    }
    for (name, flag) in &server.flags.0 {
        // Where the server listens is decided above.
        if !is_address(name) {
            words.extend(flag_words(name, flag));
        }
    }
    if server.engine == Engine::Sim {
        let script = &server.sim;
        let mut option = |name: &str, value: String| words.extend([format!("--sim-{name}"), value]);
        option("ttft", script.ttft.to_string());
        option("per-token", script.per_token.to_string());
        option("per-token-load", script.per_token_load.to_string());
        option("jitter", script.jitter.to_string());
        option("startup", script.startup.to_string());
        if let Some(tokens) = script.kv_tokens {
            option("kv-tokens", tokens.to_string());
        }
        if let Some(gpu) = &script.gpu {
            option("gpu", gpu.clone());
            if script.catalogue != Catalogue::default() {
                option("catalogue", serde_json::json!(script.catalogue).to_string());
            }
        }
        words.extend(fault_words(&script.faults));
    }
    words
}

fn fault_words(faults: &Faults) -> Vec<String> {
    let mut words = Vec::new();
    for (name, moment) in
        [("out-of-memory", faults.out_of_memory), ("crash", faults.crash), ("hang", faults.hang)]
    {
        if let Some(moment) = moment {
            words.push(format!("--sim-{name}"));
            words.extend(moment.words());
        }
    }
    if faults.hang_at_start {
        words.push("--sim-hang-at-start".to_owned());
    }
    if !faults.answers.is_empty() {
        words.extend(["--sim-http-status".to_owned(), faults.http_status.to_string()]);
        words.push("--sim-fault".to_owned());
        let shares = faults.answers.0.iter();
        words.extend(shares.map(|(fault, share)| format!("{fault}={share}")));
    }
    words
}

pub(super) fn flag_words(name: &str, flag: &Flag) -> Vec<String> {
    match flag {
        Flag::On => vec![format!("--{name}")],
        Flag::Off => vec![format!("--no-{name}")],
        Flag::Value(value) => vec![format!("--{name}"), scalar_text(value)],
        Flag::Many(values) => {
            std::iter::once(format!("--{name}")).chain(values.iter().map(scalar_text)).collect()
        }
        Flag::Json(map) => vec![format!("--{name}"), serde_json::Value::Object(map.clone()).to_string()],
        Flag::Unset => Vec::new(),
    }
}

/// Whether a flag says where the server listens, which the launch decides.
pub(super) fn is_address(flag: &str) -> bool {
    flags::info(flag).is_some_and(|info| info.address)
}

pub(super) fn served_model(server: &Server) -> String {
    server.flags.text("served-model-name").unwrap_or_else(|| server.model.clone())
}

/// The address the server listens on: loopback, unless the manifest's flags say otherwise.
pub(super) fn host(server: &Server) -> String {
    server.flags.text("host").unwrap_or_else(|| "127.0.0.1".to_owned())
}
