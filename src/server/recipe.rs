//! How to start the same server by hand: `serve.sh`, and a `config.yaml` for `vllm serve --config`.

use serde::Deserialize;
use serde_json::Value;

use super::command;
use crate::manifest::{EnvValue, Flag, Server};

/// What common flags decide, in a sentence each.
const KNOBS: &str = include_str!("knobs.toml");

/// Two ways to start one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// A bash script; the port is `$PORT`, or 8000.
    pub serve_sh: String,
    /// For `vllm serve --config config.yaml`.
    pub config_yaml: String,
}

#[derive(Deserialize)]
struct Knobs {
    flags: std::collections::BTreeMap<String, String>,
}

/// Writes the recipes of a server. Secrets are no part of a manifest, so none can be here.
pub fn recipe(server: &Server) -> Recipe {
    let knobs: Knobs = toml::from_str(KNOBS).unwrap_or(Knobs {
        flags: std::collections::BTreeMap::new(),
    });
    Recipe {
        serve_sh: serve_sh(server, &knobs),
        config_yaml: config_yaml(server, &knobs),
    }
}

/// A word for bash: harmless ones bare, others quoted; a leading `~/` as `$HOME`.
fn quoted(word: &str) -> String {
    if let Some(rest) = word.strip_prefix("~/") {
        return format!("\"$HOME\"/{}", quoted(rest));
    }
    match shlex::try_quote(word) {
        Ok(text) => text.into_owned(),
        // A NUL byte cannot stand in an argument at all.
        Err(_) => quoted(&word.replace('\0', "")),
    }
}

fn serve_sh(server: &Server, knobs: &Knobs) -> String {
    let mut out = String::from(
        "#!/usr/bin/env bash\n# Starts this server by hand. Port: $PORT, or 8000.\nset -euo pipefail\n\n",
    );
    for (name, value) in &server.env {
        match value {
            EnvValue::Text(text) => out.push_str(&format!("export {name}={}\n", quoted(text))),
            EnvValue::Unset(_) => out.push_str(&format!("unset {name}\n")),
        }
    }
    let mut bare = server.clone();
    bare.flags.0.retain(|name, _| name == "host");
    let host = command::host(server);
    // Port 1 stands for the one that the person chooses; no server listens there.
    let words: Vec<String> = command::argv(&bare, "runner", &host, 1)
        .iter()
        .map(|word| {
            if word == "1" {
                "\"${PORT:-8000}\"".to_owned()
            } else {
                quoted(word)
            }
        })
        .collect();
    out.push_str(&format!("args=(\n  {}\n", words.join(" ")));
    for (name, flag) in
        server.flags.0.iter().filter(|(name, flag)| {
            !["host", "port"].contains(&name.as_str()) && **flag != Flag::Unset
        })
    {
        if let Some(text) = knobs.flags.get(name) {
            out.push_str(&format!("  # {text}\n"));
        }
        let words: Vec<String> = command::flag_words(name, flag)
            .iter()
            .map(|word| quoted(word))
            .collect();
        out.push_str(&format!("  {}\n", words.join(" ")));
    }
    out.push_str(")\nexec \"${args[@]}\"\n");
    out
}

/// vLLM reads `key: true` as `--key` and drops `key: false`, so a switch that is off is written as its negation.
fn config_yaml(server: &Server, knobs: &Knobs) -> String {
    let mut out = String::from("# vllm serve --config config.yaml\n");
    out.push_str(&format!(
        "model: {}\nhost: {}\nport: 8000\n",
        yaml(&server.model.clone().into()),
        yaml(&command::host(server).into())
    ));
    for (name, flag) in server
        .flags
        .0
        .iter()
        .filter(|(name, _)| !["host", "port"].contains(&name.as_str()))
    {
        if let Some(text) = knobs.flags.get(name)
            && *flag != Flag::Unset
        {
            out.push_str(&format!("# {text}\n"));
        }
        match flag {
            Flag::On => out.push_str(&format!("{name}: true\n")),
            Flag::Off => out.push_str(&format!("no-{name}: true\n")),
            Flag::Value(value) => out.push_str(&format!("{name}: {}\n", yaml(value))),
            Flag::Many(values) => {
                out.push_str(&format!("{name}:\n"));
                for value in values {
                    out.push_str(&format!("  - {}\n", yaml(value)));
                }
            }
            Flag::Json(map) => out.push_str(&format!(
                "{name}: {}\n",
                yaml(&Value::Object(map.clone()).to_string().into())
            )),
            Flag::Unset => {}
        }
    }
    out
}

/// A scalar as YAML: JSON is a subset of it.
fn yaml(value: &Value) -> String {
    value.to_string()
}
