//! The laws of the memory model, its ways to fail, and what real servers logged.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::{
    engine::{hardware::find_gpu, model_catalogue::find_model},
    manifest::Catalogue,
};

fn asked(gpu: &str, model: &str, flags: serde_json::Value) -> (Gpu, ModelShape, Settings) {
    let own = Catalogue::default();
    let gpu = find_gpu(gpu, &own).unwrap_or_else(|| panic!("{gpu}"));
    let mut model = find_model(model, &own).unwrap_or_else(|| panic!("{model}"));
    let flags: Flags = serde_json::from_value(flags).unwrap();
    let settings = Settings::of_flags(&flags, &gpu, &mut model).unwrap();
    (gpu, model, settings)
}

fn fitted(gpu: &str, model: &str, flags: serde_json::Value) -> Result<Fit, Misfit> {
    let (gpu, model, settings) = asked(gpu, model, flags);
    fit(&gpu, &model, &settings)
}

#[derive(Deserialize)]
struct Logged {
    log: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    thread: String,
    gpu: String,
    memory_gib: f64,
    model: String,
    flags: serde_json::Value,
    weights_gib: Option<f64>,
    kv_tokens: Option<u64>,
    kv_gib: Option<f64>,
    beyond: Option<String>,
}

#[test]
fn kv_caches_are_within_a_tenth_of_what_real_servers_logged() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/kv-cache-sizes.toml"));
    let logged: Logged = toml::from_str(text).unwrap();
    assert!(logged.log.len() >= 16);
    for line in logged.log {
        let (mut gpu, model, settings) = asked(&line.gpu, &line.model, line.flags);
        gpu.memory_bytes = (line.memory_gib * GIB) as u64;
        let tp = settings.tensor_parallel;
        let (tokens, weights) = match fit(&gpu, &model, &settings) {
            Ok(fit) => (fit.kv_tokens(), fit.weights),
            // The log says so, too: it has the size, and then the refusal.
            Err(Misfit::KvTooSmall { estimated, .. }) => {
                (estimated + settings.block_size, weights(&model, &settings))
            }
            Err(misfit) => panic!("{}: {misfit}", line.thread),
        };
        let per_token = model.kv_bytes_per_token(settings.kv_type, tp) as f64;
        let logged = line.kv_tokens.map(|tokens| tokens as f64);
        let logged = logged.or(line.kv_gib.map(|gib| gib * GIB / per_token));
        let logged = logged.unwrap_or_else(|| panic!("{}: no size", line.thread));
        let error = tokens as f64 / logged - 1.0;
        assert_eq!(
            error.abs() > 0.1,
            line.beyond.is_some(),
            "{}: logged {logged}, predicted {tokens}: {error:+.3}",
            line.thread,
        );
        if let Some(logged) = line.weights_gib {
            let error = weights / GIB / logged - 1.0;
            assert!(error.abs() < 0.02, "{}: weights {error:+.3}", line.thread);
        }
    }
}

#[test]
fn a_server_that_had_no_block_left_has_none_here() {
    // vllm-project/vllm#13882: 5.20 GiB of weights, 1.42 GiB of activations, −1.05 GiB left of 5.60.
    let flags = json!({"gpu-memory-utilization": 0.7, "max-model-len": 4096, "enforce-eager": true,
                       "max-num-batched-tokens": 4096});
    let (mut gpu, model, settings) = asked("T4", "Qwen/Qwen2.5-7B-Instruct-AWQ", flags);
    gpu.memory_bytes = 8 << 30;
    assert_eq!(fit(&gpu, &model, &settings), Err(Misfit::NoBlocks));
    let weights = model.weight_bytes(1) as f64 / GIB;
    assert!((weights / 5.2032 - 1.0).abs() < 0.01, "{weights}");
}

#[test]
fn servers_that_would_not_start_fail_in_their_own_way() {
    let small = "Qwen/Qwen2.5-1.5B-Instruct";
    for (gpu, model, flags, says) in [
        ("T4", "Qwen/Qwen2.5-14B-Instruct", json!({}), "CUDA out of memory"),
        ("RTX 4090", "Qwen/Qwen2.5-7B", json!({"max-num-batched-tokens": 131072}), "Tried to allocate"),
        ("T4", small, json!({"gpu-memory-utilization": 0.2}), "No available memory for the cache blocks"),
        ("RTX 3090", "meta-llama/Llama-3.1-8B", json!({}), "estimated maximum model length is"),
        ("H100", small, json!({"max-model-len": 65536}), "greater than the derived max_model_len"),
        ("H100", small, json!({"tensor-parallel-size": 8}), "divisible"),
    ] {
        let misfit = fitted(gpu, model, flags).unwrap_err();
        assert!(misfit.to_string().contains(says), "{gpu} {model}: {misfit}");
    }
}

#[test]
fn flags_are_read_with_their_units_and_defaults() {
    let (_, _, settings) = asked("H100", "Qwen/Qwen2.5-7B", json!({"max-model-len": "16k"}));
    assert_eq!(settings.max_model_len, 16_000);
    assert_eq!((settings.max_num_batched_tokens, settings.max_num_seqs), (8192, 1024));
    let (_, _, settings) = asked("A100 80GB", "Qwen/Qwen2.5-7B", json!({"enable-chunked-prefill": false}));
    assert_eq!((settings.max_num_batched_tokens, settings.max_num_seqs), (32_768, 256));
    let own = Catalogue::default();
    let gpu = find_gpu("H100", &own).unwrap();
    for (name, value) in [("dtype", "int4"), ("gpu-memory-utilization", "9"), ("max-num-seqs", "many")] {
        let flags: Flags = serde_json::from_value(json!({name: value})).unwrap();
        let mut model = find_model("Qwen3-8B", &own).unwrap();
        let why = Settings::of_flags(&flags, &gpu, &mut model).unwrap_err();
        assert_eq!((why.flag.as_str(), why.value.as_str()), (name, value));
    }
}

#[test]
fn users_take_whole_blocks_and_one_is_nobody_s() {
    let flags = json!({"num-gpu-blocks-override": 101, "max-model-len": 1024, "max-num-seqs": 40});
    let fit = fitted("H100", "Qwen/Qwen2.5-1.5B", flags).unwrap();
    assert_eq!(fit.kv_tokens(), 1616);
    assert_eq!((fit.users(16), fit.users(17), fit.users(200)), (40, 40, 7));
    assert_eq!((fit.users(1600), fit.users(1601)), (1, 0));
}

/// Tokens, or 0 where it does not start: a law may say that something starts no more.
fn tokens(gpu: &Gpu, model: &ModelShape, settings: &Settings) -> u64 {
    fit(gpu, model, settings).map_or(0, |fit| fit.kv_tokens())
}

proptest! {
    #[test]
    fn more_never_gives_less(
        model in prop::sample::select(vec![
            "Qwen2.5-0.5B", "Qwen2.5-7B", "Qwen2.5-7B-AWQ", "Llama-3.1-8B", "Llama-3.1-70B", "Qwen3-30B-A3B", "gemma-2-9b",
        ]),
        memory in 4u64..200,
        more in 1u64..64,
        utilization in 20u32..100,
        sequences in 1u64..1024,
        batched in 1024u64..16_384,
    ) {
        let flags = json!({
            "gpu-memory-utilization": f64::from(utilization) / 100.0, "max-model-len": 1024,
            "max-num-seqs": sequences, "max-num-batched-tokens": batched,
        });
        let (mut gpu, shape, settings) = asked("H100", model, flags);
        gpu.memory_bytes = memory << 30;
        let here = tokens(&gpu, &shape, &settings);
        let with = |change: &dyn Fn(&mut Settings)| {
            let mut changed = settings.clone();
            change(&mut changed);
            tokens(&gpu, &shape, &changed)
        };
        let lower = with(&|s| s.utilization *= 0.9);
        prop_assert!(lower <= here, "utilization: {lower} > {here}");
        let fp8 = with(&|s| s.kv_type = KvType::Fp8);
        prop_assert!(fp8 >= here, "fp8: {fp8} < {here}");
        let fewer = with(&|s| s.max_num_seqs = 1);
        prop_assert!(fewer >= here, "sequences: {fewer} < {here}");
        let eager = with(&|s| s.graphs = false);
        prop_assert!(eager >= here, "eager: {eager} < {here}");
        if shape.heads.is_multiple_of(2) {
            let ranks = with(&|s| s.tensor_parallel = 2);
            prop_assert!(ranks >= here, "tp: {ranks} < {here}");
        }
        let stages = with(&|s| s.pipeline_parallel = 2);
        prop_assert!(stages >= here, "pp: {stages} < {here}");
        let mut larger = gpu.clone();
        larger.memory_bytes = (memory + more) << 30;
        prop_assert!(tokens(&larger, &shape, &settings) >= here);
        let (a, b) = (fit(&gpu, &shape, &settings), fit(&larger, &shape, &settings));
        if let (Ok(a), Ok(b)) = (a, b) {
            prop_assert!(b.users(512) >= a.users(512));
            prop_assert!(a.users(512) >= a.users(513));
        }
    }
}
