//! Rules that only a resolved server or workload can break.

use super::{Stop, content};
use crate::{
    diagnostic::Finding,
    flags,
    manifest::{
        Api, Engine, EnvValue, Flag, LatencyKind, LaunchOn, Manifest, Moment, Server, SloTerm, Workload,
    },
};

/// What is wrong with a server; `swept` says whether axes change it.
pub(super) fn server(manifest: &Manifest, server: &Server, swept: bool, found: &mut Vec<Finding>) {
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
            Finding::error("`server.launch.url` is for a server that already runs")
                .at(&at(&["server", "launch", "url"]), "this server would be started here")
                .help("write on = \"attach\", or take the url away"),
        ),
        _ => {}
    }
    if attached && swept {
        found.push(
            Finding::error("server axes cannot change a server that somebody else started")
                .at(&at(&["sweep"]), "axes over an attached server")
                .help("let the runner start it (on = \"local\"), or take the server axes away"),
        );
    }
    if attached && server.engine == Engine::Sim {
        found.push(
            Finding::error("the embedded engine is always started by the runner")
                .at(&at(&["server", "launch", "on"]), "attach")
                .help("take `launch` away, or set engine = \"openai\""),
        );
    }
    if server.engine == Engine::Openai && !attached {
        let has_port = server.command.iter().flatten().any(|word| word.contains("{port}"));
        if !has_port {
            found.push(
                Finding::error("an `openai` server that is started here needs a command with {port} in it")
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
                Finding::error(format!("`server.sim.faults.{name}` has no moment"))
                    .at(&at(&["server", "sim", "faults", name]), "when?")
                    .help("{ at_request = 20 }, or { after = \"5s\" }"),
            );
        }
    }
    // What `/v1/models` reports is verified.
    let unverified = |(name, _): &(&str, &Flag)| !flags::info(name).is_some_and(|info| info.reported);
    if attached && let Some((name, _)) = server.flags.passed().find(unverified) {
        found.push(
            Finding::warning("the flags of an attached server are not passed and cannot be verified")
                .at(&at(&["server", "flags", name]), "only recorded"),
        );
    }
    for (name, _) in server.flags.passed() {
        if flags::info(name).is_some_and(|info| info.secret) {
            found.push(
                Finding::error(format!("a secret in `server.flags.{name}` would be stored and shown"))
                    .at(&at(&["server", "flags", name]), "a secret")
                    .help("name the environment variable that holds it: server.launch.api_key_env = \"VLLM_API_KEY\""),
            );
        }
    }
    for (name, value) in &server.env {
        let upper = name.to_uppercase();
        let words = ["TOKEN", "SECRET", "PASSWORD", "API_KEY", "ACCESS_KEY"];
        // A count of tokens is no secret: only names that end in the word are.
        if matches!(value, EnvValue::Text(_)) && words.iter().any(|word| upper.ends_with(word)) {
            found.push(
                Finding::error(format!("a secret in `server.env.{name}` would be stored and shown"))
                    .at(&at(&["server", "env", name]), "a secret")
                    .help(format!(
                        "export {name} in the shell instead: the server inherits the runner's environment"
                    )),
            );
        }
    }
}

/// When a cell stops, by the one rule its workload gives.
pub(super) fn stop(manifest: &Manifest, name: &str, spec: &Workload) -> Result<Stop, Finding> {
    let mut rules: Vec<(&str, Stop)> = Vec::new();
    if let Some(requests) = spec.requests {
        rules.push(("requests", Stop::Requests(requests)));
    }
    if let Some(each) = spec.requests_per_stream {
        rules.push(("requests_per_stream", Stop::Requests(each * u64::from(spec.concurrency))));
    }
    if let Some(duration) = spec.duration {
        rules.push(("duration", Stop::Duration(duration)));
    }
    if let Some(passes) = spec.passes {
        // A failing count is its own finding, as are passes over prompts without a number; here it only keeps the rule
        // from being taken as missing.
        let count = manifest.inputs.count(spec).ok().flatten().unwrap_or(1);
        rules.push(("passes", Stop::Requests(passes * count)));
    }
    if rules.is_empty()
        && let Some(trace) = &spec.trace
    {
        // The whole trace; a failing count is its own finding.
        let lines = manifest.inputs.trace(trace).map_or(1, |lines| lines.len());
        let measured = (lines as u64).saturating_sub(spec.warmup).max(1);
        rules.push(("trace", Stop::Requests(measured)));
    }
    match rules.as_slice() {
        [(_, stop)] => Ok(*stop),
        [] => Err(Finding::error(format!("workload `{name}` does not say when to stop"))
            .at(&manifest.place(&["workload", name]), "")
            .help("give one of requests, requests_per_stream, duration, passes")),
        [_, (second, _), ..] => {
            let names: Vec<&str> = rules.iter().map(|(rule, _)| *rule).collect();
            Err(Finding::error(format!("workload `{name}` says twice when to stop: {}", names.join(" and ")))
                .at(&manifest.place(&["workload", name, second]), "the second rule")
                .help("keep one of them"))
        }
    }
}

/// What is wrong with a workload; `max_model_len` is its server's, where a flag says it.
pub(super) fn workload(
    manifest: &Manifest,
    name: &str,
    spec: &Workload,
    stop: Stop,
    max_model_len: Option<u64>,
    found: &mut Vec<Finding>,
) {
    let at = |keys: &[&str]| {
        let path: Vec<&str> = ["workload", name].iter().chain(keys).copied().collect();
        manifest.place(&path)
    };
    content::check(manifest, name, spec, max_model_len, found);
    if spec.system.is_some() && spec.api != Api::Chat {
        found.push(
            Finding::error(format!("workload `{name}`: a system message needs api = \"chat\""))
                .at(&at(&["system"]), "completions have no messages"),
        );
    }
    for (field, why, hint) in [
        ("stream", "every latency rests on it", "write `stream = false` in the workload itself"),
        ("stream_options", "every latency rests on it", "take it away"),
        ("prompt", "the workload says what is asked", "take it away"),
        ("messages", "the workload says what is asked", "take it away"),
    ] {
        if spec.extra_body.contains_key(field) {
            found.push(
                Finding::error(format!("workload `{name}`: `extra_body.{field}` is the client's own"))
                    .at(&at(&["extra_body", field]), why)
                    .help(hint),
            );
        }
    }
    let of_streams = |term: &&SloTerm| term.metric != LatencyKind::E2e;
    if !spec.stream
        && let Some(term) = spec.slo.0.iter().find(of_streams)
    {
        let key = term.key();
        found.push(
            Finding::warning(format!(
                "workload `{name}`: `{key}` cannot be judged of answers that are not streamed"
            ))
            .at(&at(&["slo", &key]), "needs the stamp of a token")
            .help("target E2E, or take `stream = false` away"),
        );
    }
    if let (Stop::Requests(requests), Some(streams)) = (stop, spec.streams())
        && requests < u64::from(streams)
    {
        found.push(
            Finding::warning(format!(
                "workload `{name}`: {requests} requests never reach a concurrency of {streams}"
            ))
            .at(&at(&[]), "fewer requests than streams")
            .help("raise `requests`, or use requests_per_stream"),
        );
    }
}
