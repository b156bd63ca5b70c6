//! Rules that only a resolved server or workload can break.

use minijinja::Environment;

use super::Stop;
use crate::{
    diagnostic::Finding,
    manifest::{Api, Engine, EnvValue, LaunchOn, Manifest, Prompts, Server, Workload},
};

/// What is wrong with a server; `swept` says whether axes change it.
pub(super) fn server(manifest: &Manifest, server: &Server, swept: bool, found: &mut Vec<Finding>) {
    let at = |path: &[&str]| manifest.place(path);
    let launch = &server.launch;
    let attached = launch.on == LaunchOn::Attach;
    match (&launch.url, attached) {
        (None, true) => found.push(
            Finding::error(
                "`server.launch.on = \"attach\"` needs the address of the running server",
            )
            .at(&at(&["server", "launch"]), "no `url`")
            .help("url = \"http://127.0.0.1:8000\""),
        ),
        (Some(url), true) if !url.starts_with("http://") && !url.starts_with("https://") => found
            .push(Finding::error(format!("{url:?} is not an address")).at(
                &at(&["server", "launch", "url"]),
                "expected http:// or https://",
            )),
        (Some(_), false) => found.push(
            Finding::error("`server.launch.url` is for a server that already runs")
                .at(
                    &at(&["server", "launch", "url"]),
                    "this server would be started here",
                )
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
        let has_port = server
            .command
            .iter()
            .flatten()
            .any(|word| word.contains("{port}"));
        if !has_port {
            found.push(
                Finding::error("an `openai` server that is started here needs a command with {port} in it")
                    .at(&at(&["server", "command"]), "")
                    .help("command = [\"llama-server\", \"-m\", \"{model}\", \"--port\", \"{port}\"], or launch.on = \"attach\""),
            );
        }
    }
    if attached && !server.flags.0.is_empty() {
        found.push(
            Finding::warning(
                "the flags of an attached server are not passed and cannot be verified",
            )
            .at(&at(&["server", "flags"]), "only recorded"),
        );
    }
    for name in ["api-key", "hf-token"] {
        if server.flags.get(name).is_some() {
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
                    .help(format!("export {name} in the shell instead: the server inherits the runner's environment")),
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
        rules.push((
            "requests_per_stream",
            Stop::Requests(each * u64::from(spec.concurrency)),
        ));
    }
    if let Some(duration) = spec.duration {
        rules.push(("duration", Stop::Duration(duration)));
    }
    if let Some(passes) = spec.passes {
        // A failing count is its own finding; here it only keeps the rule from being taken as missing.
        let count = manifest.inputs.count(spec).unwrap_or(1);
        rules.push(("passes", Stop::Requests(passes * count)));
    }
    match rules.as_slice() {
        [(_, stop)] => Ok(*stop),
        [] => Err(
            Finding::error(format!("workload `{name}` does not say when to stop"))
                .at(&manifest.place(&["workload", name]), "")
                .help("give one of requests, requests_per_stream, duration, passes"),
        ),
        [_, (second, _), ..] => {
            let names: Vec<&str> = rules.iter().map(|(rule, _)| *rule).collect();
            Err(Finding::error(format!(
                "workload `{name}` says twice when to stop: {}",
                names.join(" and ")
            ))
            .at(
                &manifest.place(&["workload", name, second]),
                "the second rule",
            )
            .help("keep one of them"))
        }
    }
}

/// What is wrong with a workload.
pub(super) fn workload(
    manifest: &Manifest,
    name: &str,
    spec: &Workload,
    stop: Stop,
    found: &mut Vec<Finding>,
) {
    let at = |keys: &[&str]| {
        let path: Vec<&str> = ["workload", name].iter().chain(keys).copied().collect();
        manifest.place(&path)
    };
    if let Err(reason) = manifest.inputs.count(spec) {
        let key = if spec.prompts.is_some() {
            "prompts"
        } else {
            "documents"
        };
        found.push(
            Finding::error(format!("workload `{name}`: {reason}"))
                .at(&at(&[key]), "")
                .help("prompts = [\"…\"], prompts = { file = \"prompts.jsonl\" }, or documents = { file = \"docs.txt\" }"),
        );
    }
    if spec.max_tokens.is_none() {
        found.push(
            Finding::error(format!("workload `{name}` has no max_tokens"))
                .at(&at(&[]), "how long may an answer be?")
                .help("max_tokens = 128, or an axis: sweep.max_tokens = [64, 128]"),
        );
    }
    if let Some(template) = &spec.prompt {
        template_names(manifest, name, spec, template, found);
    }
    if spec.system.is_some() && spec.api != Api::Chat {
        found.push(
            Finding::error(format!(
                "workload `{name}`: a system message needs api = \"chat\""
            ))
            .at(&at(&["system"]), "completions have no messages"),
        );
    }
    for field in ["stream", "stream_options"] {
        if spec.extra_body.contains_key(field) {
            found.push(
                Finding::error(format!(
                    "workload `{name}`: `extra_body.{field}` is the client's own"
                ))
                .at(&at(&["extra_body", field]), "every latency rests on it")
                .help("take it away"),
            );
        }
    }
    if let Stop::Requests(requests) = stop {
        for term in &spec.slo.0 {
            let needed = term.percentile.samples_needed();
            if requests < needed {
                found.push(
                    Finding::warning(format!(
                        "workload `{name}`: {} samples cannot carry {}",
                        requests, term.percentile
                    ))
                    .at(
                        &at(&["slo", &term.key()]),
                        format!("needs {needed} requests a cell"),
                    )
                    .help("the number is still printed, marked; raise `requests`, or judge by p50"),
                );
            }
        }
        if requests < u64::from(spec.concurrency) {
            found.push(
                Finding::warning(format!(
                    "workload `{name}`: {requests} requests never reach a concurrency of {}",
                    spec.concurrency
                ))
                .at(&at(&[]), "fewer requests than streams")
                .help("raise `requests`, or use requests_per_stream"),
            );
        }
    }
}

fn template_names(
    manifest: &Manifest,
    name: &str,
    spec: &Workload,
    template: &str,
    found: &mut Vec<Finding>,
) {
    let place = manifest.place(&["workload", name, "prompt"]);
    let known: Vec<String> = match (&spec.documents, &spec.prompts) {
        (Some(_), _) => vec!["document".into()],
        (None, Some(Prompts::File(file))) => match manifest.inputs.lines(file) {
            Ok(lines) => lines
                .first()
                .map(|line| line.keys().cloned().collect())
                .unwrap_or_default(),
            Err(_) => return,
        },
        _ => {
            found.push(
                Finding::error(format!(
                    "workload `{name}`: `prompt` is a template for documents or a JSONL file"
                ))
                .at(&place, "there are only inline prompts")
                .help("take `prompt` away, or name a file"),
            );
            return;
        }
    };
    let environment = Environment::empty();
    let compiled = match environment.template_from_str(template) {
        Ok(compiled) => compiled,
        Err(error) => {
            found.push(
                Finding::error(format!(
                    "workload `{name}`: the prompt template cannot be read"
                ))
                .at(
                    &place,
                    error.detail().unwrap_or("not a template").to_owned(),
                ),
            );
            return;
        }
    };
    let used = compiled.undeclared_variables(false);
    for unknown in used.iter().filter(|word| !known.contains(word)) {
        found.push(
            Finding::error(format!(
                "workload `{name}`: the prompt template names `{unknown}`, which does not exist"
            ))
            .at(&place, "in this template")
            .help(format!("names at hand: {}", known.join(", "))),
        );
    }
    if used.is_empty() {
        found.push(
            Finding::error(format!("workload `{name}`: the prompt template names nothing, so every prompt would be the same"))
                .at(&place, "no {{ … }} in it")
                .help(format!("put {{{{ {} }}}} where the text belongs", known.join(" }} or {{ "))),
        );
    }
}
