//! Server starts that succeed, fail or are interrupted, and that none leaves a process behind.

use std::{fs, time::Duration};

use crate::support::{
    RUNNER,
    processes::{alive, below, signal, until},
};
use camino::{Utf8Path, Utf8PathBuf};
use procfs::process::{Process, all_processes};
use runner::{
    manifest::Server,
    server::{self, OomAt, Running, ServerOutcome, Start, StartFailure, StartPhase},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::watch;

/// The guardian of the server whose log is in a folder.
fn guard_of(folder: &Utf8Path) -> Option<Process> {
    all_processes().unwrap().filter_map(Result::ok).find(|process| {
        process.cmdline().is_ok_and(|words| {
            words.get(1).is_some_and(|word| word == "guard")
                && words.iter().any(|word| word.starts_with(folder.as_str()))
        })
    })
}

struct Place {
    folder: Utf8PathBuf,
    _temporary: tempfile::TempDir,
    phases: Vec<(StartPhase, String)>,
}

impl Place {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        Self {
            folder: Utf8PathBuf::from_path_buf(temporary.path().to_owned()).unwrap(),
            _temporary: temporary,
            phases: Vec::new(),
        }
    }

    async fn start(&mut self, server: Value) -> Result<Running, StartFailure> {
        let (_keep, cancel) = watch::channel(false);
        self.start_or_cancel(server, cancel).await
    }

    async fn start_or_cancel(
        &mut self,
        server: Value,
        cancel: watch::Receiver<bool>,
    ) -> Result<Running, StartFailure> {
        let server: Server = serde_json::from_value(server).unwrap();
        let phases = &mut self.phases;
        server::start(
            Start {
                server: &server,
                folder: &self.folder,
                runner: RUNNER,
                api_key: Some("sk-not-to-be-seen".into()),
            },
            &mut |phase, line| phases.push((phase, line.to_owned())),
            cancel,
        )
        .await
    }

    fn tree(&self) -> Vec<(i32, u64)> {
        below(guard_of(&self.folder).expect("a guardian").pid)
    }
}

fn simulated() -> Value {
    json!({ "engine": "sim", "model": "m", "sim": { "startup": "50ms" }, "stop_within": "5s" })
}

fn root(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// A server that runs the stand-in for vLLM with these environment variables.
fn standin(env: Value) -> Value {
    json!({
        "model": "tiny", "stop_within": "5s", "env": env,
        "command": ["python3", root("tests/standin/vllm"), "serve"],
        "flags": { "max-model-len": 4096, "dtype": "bfloat16", "enforce-eager": true },
    })
}

#[tokio::test]
async fn a_server_starts_serves_and_is_gone_when_stopped() {
    let mut place = Place::new();
    let running = place.start(simulated()).await.unwrap();
    assert_eq!(running.model, "m");
    assert_eq!(running.facts.served_model.as_deref(), Some("m"));
    assert!(running.facts.startup_s.unwrap() > 0.04);
    assert!(!place.phases.is_empty());
    let tree = place.tree();
    assert_eq!(tree.len(), 1);
    assert_eq!(running.stop().await, None);
    assert_eq!(alive(&tree), [] as [i32; 0]);
    assert!(guard_of(&place.folder).is_none());
}

#[tokio::test]
async fn the_api_key_is_in_no_argument_and_no_log() {
    let mut place = Place::new();
    let running = place.start(simulated()).await.unwrap();
    let guard = guard_of(&place.folder).unwrap();
    let pids = place.tree().into_iter().map(|(pid, _)| pid).chain([guard.pid]);
    for pid in pids {
        let words = Process::new(pid).unwrap().cmdline().unwrap();
        assert!(!words.concat().contains("sk-not-to-be-seen"), "{words:?}");
    }
    assert!(!running.argv.concat().contains("sk-not-to-be-seen"));
    running.stop().await;
    let log = fs::read_to_string(server::log_path(&place.folder)).unwrap();
    assert!(!log.contains("sk-not-to-be-seen"), "{log}");
}

#[tokio::test]
async fn dropping_a_server_ends_its_processes() {
    let mut place = Place::new();
    let running = place.start(simulated()).await.unwrap();
    let tree = place.tree();
    drop(running);
    until("the dropped tree is gone", || alive(&tree).is_empty());
}

#[tokio::test]
async fn a_server_whose_guardian_was_killed_is_noticed_and_ended() {
    let mut place = Place::new();
    let mut running = place.start(simulated()).await.unwrap();
    let tree = place.tree();
    signal(guard_of(&place.folder).unwrap().pid, Signal::KILL);
    let crash = running.crashed().await;
    assert_eq!(crash.outcome, ServerOutcome::Crashed);
    assert_eq!(running.stop().await, None);
    assert_eq!(alive(&tree), [] as [i32; 0]);
}

#[tokio::test]
async fn a_server_that_dies_while_serving_is_a_crash() {
    let mut place = Place::new();
    let mut running = place.start(simulated()).await.unwrap();
    signal(place.tree()[0].0, Signal::KILL);
    let crash = running.crashed().await;
    assert_eq!(crash.outcome, ServerOutcome::Crashed);
    assert_eq!(crash.exit_code, Some(-9));
    assert!(crash.reason.contains("signal 9"), "{}", crash.reason);
    assert_eq!(running.stop().await, None);
}

#[tokio::test]
async fn an_interrupted_start_leaves_no_process() {
    let mut place = Place::new();
    let (cancel, cancelled) = watch::channel(false);
    let mut slow = simulated();
    slow["sim"]["startup"] = json!("60s");
    let folder = place.folder.clone();
    let interrupt = async {
        while guard_of(&folder).is_none_or(|guard| below(guard.pid).is_empty()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let tree = below(guard_of(&folder).unwrap().pid);
        cancel.send(true).unwrap();
        tree
    };
    let (result, tree) = tokio::join!(place.start_or_cancel(slow, cancelled), interrupt);
    assert_eq!(result.unwrap_err().outcome, ServerOutcome::Interrupted);
    assert_eq!(tree.len(), 1);
    assert_eq!(alive(&tree), [] as [i32; 0]);
}

#[tokio::test]
async fn a_start_that_times_out_is_ended() {
    let mut place = Place::new();
    let failed = place
        .start(json!({
            "model": "/m", "ready_within": "200ms", "stop_within": "5s",
            "command": ["sh", "-c", "sleep 300", "{model}", "{host}", "{port}"],
        }))
        .await
        .unwrap_err();
    assert_eq!(failed.outcome, ServerOutcome::TimedOut);
    assert!(failed.reason.contains("200ms"), "{}", failed.reason);
    assert!(guard_of(&place.folder).is_none());
}

#[tokio::test]
async fn downloads_have_their_own_timeout() {
    let mut place = Place::new();
    let cache = place.folder.join("cache").to_string();
    let failed = place
        .start(json!({
            "model": "organisation/model", "ready_within": "1ms", "download_within": "200ms",
            "stop_within": "5s", "env": { "HF_HUB_CACHE": cache },
            "command": ["sh", "-c", "sleep 300", "{model}", "{host}", "{port}"],
        }))
        .await
        .unwrap_err();
    assert_eq!(failed.outcome, ServerOutcome::TimedOut);
    assert!(failed.reason.contains("not downloaded within"), "{}", failed.reason);
    assert_eq!(place.phases[0].0, StartPhase::Download);
}

#[tokio::test]
async fn a_taken_port_is_reported_before_anything_starts() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut place = Place::new();
    let mut server = simulated();
    server["flags"] = json!({ "port": port });
    let failed = place.start(server).await.unwrap_err();
    assert_eq!(failed.outcome, ServerOutcome::PortTaken);
    assert!(failed.reason.contains(&port.to_string()), "{}", failed.reason);
    assert!(failed.argv.is_empty());
}

#[tokio::test]
async fn every_recorded_failed_start_is_classified() {
    let index = fs::read_to_string(root("tests/recorded/vllm/fail-index.tsv")).unwrap();
    for line in index.lines() {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap();
        let code: i32 = words.next().unwrap()["rc=".len()..].parse().unwrap();
        let expected = match name {
            "bad-flag" | "bad-value" | "bad-dtype-choice" | "max-model-len" => ServerOutcome::BadFlags,
            "bad-model-path" | "weights-truncated" => ServerOutcome::BadModel,
            "hub-id-offline" => ServerOutcome::ModelUnavailable,
            "kv-too-small-blocks" => ServerOutcome::KvTooSmall,
            "port-in-use" => ServerOutcome::PortTaken,
            "kv-space-over-ram" => ServerOutcome::Oom(OomAt::KvCache),
            other => panic!("no expectation for {other}"),
        };
        let log = root(&format!("tests/recorded/vllm/fail-{name}.log"));
        let mut place = Place::new();
        let failed = place
            .start(standin(json!({ "STANDIN_FAIL": log, "STANDIN_EXIT": code.to_string() })))
            .await
            .unwrap_err();
        assert_eq!(failed.outcome, expected, "{name}: {}", failed.reason);
        assert_eq!(failed.exit_code, Some(code), "{name}");
        assert!(!failed.log_tail.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn logged_flags_confirm_ours() {
    let mut place = Place::new();
    let running = place.start(standin(json!({ "STANDIN_FLAGS_LINE": "1" }))).await.unwrap();
    assert_eq!(running.facts.flags_confirmed, Some(true));
    assert_eq!(running.facts.max_model_len, Some(4096));
    assert_eq!(running.facts.engine_version.as_deref(), Some("0.32.0"));
    running.stop().await;
    let running = place.start(standin(json!({}))).await.unwrap();
    assert_eq!(running.facts.flags_confirmed, None);
    running.stop().await;
}

#[tokio::test]
async fn a_server_with_another_model_or_length_is_rejected() {
    for (serves, says) in [
        ("other --max-model-len 4096", "serves \"other\", not \"tiny\""),
        ("tiny --max-model-len 2048", "max_model_len of 2048, not 4096"),
    ] {
        let mut server = standin(json!({}));
        // Our flags become words of the shell's own, so that the server is started with others.
        let script = format!(
            "exec python3 {} serve {serves} --host {{host}} --port {{port}}",
            root("tests/standin/vllm")
        );
        server["command"] = json!(["sh", "-c", script, "{model}"]);
        let failed = Place::new().start(server).await.unwrap_err();
        assert_eq!(failed.outcome, ServerOutcome::NotOurs, "{}", failed.reason);
        assert!(failed.reason.contains(says), "{}", failed.reason);
    }
}

#[tokio::test]
async fn an_attached_server_is_used_and_not_ended() {
    let mut place = Place::new();
    let running = place.start(simulated()).await.unwrap();
    let attach = |model: &str, url: &str| json!({ "engine": "openai", "model": model, "launch": { "on": "attach", "url": url } });
    let mut other = Place::new();
    let attached = other.start(attach("m", &format!("{}/v1/", running.url))).await.unwrap();
    assert_eq!(attached.url, running.url);
    assert_eq!(attached.facts.flags_confirmed, None);
    assert!(attached.argv.is_empty());
    assert_eq!(attached.stop().await, None);
    let failed = other.start(attach("q", &running.url)).await.unwrap_err();
    assert_eq!(failed.outcome, ServerOutcome::NotOurs);
    assert!(failed.reason.contains("serves \"m\", not \"q\""), "{}", failed.reason);
    let url = running.url.clone();
    assert_eq!(running.stop().await, None);
    let failed = other.start(attach("m", &url)).await.unwrap_err();
    assert!(failed.reason.contains("does not answer"), "{}", failed.reason);
}
