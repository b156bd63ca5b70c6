//! Rehearsals of a GPU: servers that would not start fail with vLLM's message and the same outcome.

use std::{fs, process::Command};

use runner::server::{OomAt, ServerOutcome, classify};

fn runner(folder: &std::path::Path, arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(arguments)
        .current_dir(folder)
        .env("HF_HUB_CACHE", folder)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn the_embedded_engine_fails_to_start_as_vllm_would() {
    let folder = tempfile::tempdir().unwrap();
    for (words, outcome, says) in [
        ("Qwen/Qwen2.5-14B-Instruct --sim-gpu T4", ServerOutcome::Oom(OomAt::Weights), "CUDA out of memory"),
        (
            "Qwen/Qwen2.5-7B --sim-gpu RTX-4090 --max-num-batched-tokens 131072",
            ServerOutcome::Oom(OomAt::KvCache),
            "Tried to allocate",
        ),
        (
            "Qwen/Qwen2.5-1.5B-Instruct --sim-gpu T4 --gpu-memory-utilization 0.2",
            ServerOutcome::Oom(OomAt::KvCache),
            "No available memory for the cache blocks",
        ),
        (
            "meta-llama/Llama-3.1-8B --sim-gpu rtx3090",
            ServerOutcome::KvTooSmall,
            "estimated maximum model length is",
        ),
        ("Qwen/Qwen2.5-1.5B --sim-gpu H100 --max-model-len 65536", ServerOutcome::BadFlags, "65536"),
    ] {
        let mut arguments = vec!["sim", "--sim-startup", "0s", "--port", "1"];
        arguments.splice(1..1, words.split(' '));
        let (log, _, code) = runner(folder.path(), &arguments);
        assert_eq!(code, Some(1), "{words}: {log}");
        let (ended, reason) = classify(log.as_bytes(), code, false);
        assert_eq!(ended, outcome, "{words}: {log}");
        assert!(reason.contains(says), "{words}: {reason}");
    }
    for (words, says) in [
        ("Qwen/Qwen2.5-1.5B --sim-gpu H101", "H100"),
        ("nobody/knows-9B --sim-gpu H100", "[catalogue.model."),
    ] {
        let mut arguments = vec!["sim"];
        arguments.extend(words.split(' '));
        let (_, said, code) = runner(folder.path(), &arguments);
        assert_eq!(code, Some(2), "{words}: {said}");
        assert!(said.contains(says), "{words}: {said}");
    }
}

const MANIFEST: &str = r#"
[experiment]
name = "fit"
[hardware]
label = "RunPod-RTX2000-16GB"
[server]
model = "Qwen/Qwen2.5-1.5B-Instruct"
[server.flags]
gpu-memory-utilization = 0.8
max-model-len = 4096
max-num-seqs = 128
[workload.chat]
synthetic = { input_tokens = 512 }
max_tokens = 128
requests = 16
"#;

#[test]
fn plan_reports_what_fits_and_what_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.toml");
    let plan = |text: &str, more: &[&str]| {
        fs::write(&path, text).unwrap();
        let arguments = [&["plan", "manifest.toml"], more].concat();
        runner(folder.path(), &arguments)
    };
    let (out, said, code) = plan(MANIFEST, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(out.contains("fits on RTX 2000 Ada"), "{out}");
    assert!(out.contains("of 640 (the workloads' longest)"), "{out}");
    assert!(out.contains("unvalidated"), "{out}");
    let (out, ..) = plan(MANIFEST, &["--sim=H100", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    let predicted = &value["groups"][0]["predicted"];
    assert_eq!(predicted["gpu"], "H100", "{out}");
    assert!(predicted["kv_tokens"].as_u64().unwrap() > 1_000_000, "{out}");
    assert_eq!(predicted["users"], 128);
    // A GPU of one's own, with less memory than the weights take.
    let own = format!(
        "{MANIFEST}\n[catalogue.gpu.tiny]\nmemory_gib = 2\nbandwidth_gb_s = 100\ntflops = {{ fp32 = 1 }}\n"
    );
    let (out, said, code) = plan(&own, &["--sim=tiny"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(out.contains("does not fit on tiny"), "{out}");
    let (_, said, code) = plan(MANIFEST, &["--sim=RTX2001"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("did you mean"), "{said}");
    let unheard = MANIFEST.replace("Qwen2.5-1.5B-Instruct", "Unheard-9B");
    let (_, said, code) = plan(&unheard, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("not predicted"), "{said}");
}
