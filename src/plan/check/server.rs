//! Rules for a server with its axes applied.

use crate::{
    diagnostic::Finding,
    flags,
    manifest::{Engine, EnvValue, Flag, LaunchOn, Manifest, Moment, Server},
};

/// Checks a server.
pub(in crate::plan) fn server(manifest: &Manifest, server: &Server, found: &mut Vec<Finding>) {
    let at = |path: &[&str]| manifest.place(path);
    let launch = &server.launch;
    let attached = launch.on == LaunchOn::Attach;
    match (&launch.url, attached) {
        (None, true) => found.push(
            Finding::error("`server.launch.on = \"attach\"` needs the address of the running server")
                .at(&at(&["server", "launch"]), "no `url`")
                .help("url = \"http://127.0.0.1:8000\""),
        ),
        (Some(url), true) if !url.starts_with("http://") && !url.starts_with("https://") => found.push(
            Finding::error(format!("{url:?} is not an address"))
                .at(&at(&["server", "launch", "url"]), "expected http:// or https://"),
        ),
        (Some(_), false) => found.push(
            Finding::error("`server.launch.url` is only for a server that is already running")
                .at(&at(&["server", "launch", "url"]), "runner starts this server itself")
                .help("set on = \"attach\", or remove `url`"),
        ),
        _ => {}
    }
    if attached && manifest.sweep.sets_any(&["server"]) {
        found.push(
            Finding::error("server axes cannot change a server that is already running")
                .at(&at(&["sweep"]), "axes over an attached server")
                .help("let runner start it (on = \"local\"), or remove the server axes"),
        );
    }
    if attached && server.engine == Engine::Sim {
        found.push(
            Finding::error("runner always starts the embedded engine itself")
                .at(&at(&["server", "launch", "on"]), "attach")
                .help("remove `launch`, or set engine = \"openai\""),
        );
    }
    if server.engine == Engine::Openai && !attached {
        let has_port = server.command.iter().flatten().any(|word| word.contains("{port}"));
        if !has_port {
            found.push(
                Finding::error("an `openai` server that runner starts needs a command that contains {port}")
                    .at(&at(&["server", "command"]), "")
                    .help("command = [\"llama-server\", \"-m\", \"{model}\", \"--port\", \"{port}\"], or launch.on = \"attach\""),
            );
        }
    }
    let faults = &server.sim.faults;
    for (name, moment) in
        [("out_of_memory", faults.out_of_memory), ("crash", faults.crash), ("hang", faults.hang)]
    {
        if moment == Some(Moment::default()) {
            found.push(
                Finding::error(format!("`server.sim.faults.{name}` does not say when it happens"))
                    .at(&at(&["server", "sim", "faults", name]), "no moment")
                    .help("{ at_request = 20 }, or { after = \"5s\" }"),
            );
        }
    }
    // What `/v1/models` reports is verified.
    let unverified = |(name, _): &(&str, &Flag)| !flags::info(name).is_some_and(|info| info.reported);
    if attached && let Some((name, _)) = server.flags.passed().find(unverified) {
        found.push(
            Finding::warning("the flags of a running server are neither passed nor verified")
                .at(&at(&["server", "flags", name]), "recorded only"),
        );
    }
    for (name, _) in server.flags.passed() {
        if flags::info(name).is_some_and(|info| info.secret) {
            found.push(
                Finding::error(format!("the secret in `server.flags.{name}` would be stored and shown"))
                    .at(&at(&["server", "flags", name]), "a secret")
                    .help("put it in an environment variable and name that: server.launch.api_key_env = \"VLLM_API_KEY\""),
            );
        }
    }
    for (name, value) in &server.env {
        let upper = name.to_uppercase();
        let words = ["TOKEN", "SECRET", "PASSWORD", "API_KEY", "ACCESS_KEY"];
        // MAX_TOKENS is no secret, so the word must be at the end.
        if matches!(value, EnvValue::Text(_)) && words.iter().any(|word| upper.ends_with(word)) {
            found.push(
                Finding::error(format!("the secret in `server.env.{name}` would be stored and shown"))
                    .at(&at(&["server", "env", name]), "a secret")
                    .help(format!(
                        "export {name} in the shell instead: the server inherits runner's environment"
                    )),
            );
        }
    }
}
