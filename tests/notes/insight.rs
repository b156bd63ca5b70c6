//! Published measurements: the findings must match what their authors concluded. Tests assert the evidence;
//! they look at words only where wording could mislead.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

fn run(folder: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_runner")).args(args).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn table(name: &str) -> String {
    format!("{}/tests/data/{name}.csv", env!("CARGO_MANIFEST_DIR"))
}

/// The output of `report --values` for an imported table.
struct Told(Value);

impl Told {
    fn of_file(file: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &[&["import", file, "--as", "theirs", "-q"], options].concat());
        Self(serde_json::from_str(&run(folder.path(), &["report", "theirs", "--values"])).unwrap())
    }

    /// Imports a table of `tests/data`.
    fn of(name: &str, options: &[&str]) -> Self {
        Self::of_file(&table(name), options)
    }

    /// Imports a table given as text.
    fn of_text(text: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("table.csv");
        fs::write(&file, text).unwrap();
        Self::of_file(file.to_str().unwrap(), options)
    }

    /// The findings of a kind, strongest first.
    fn all(&self, kind: &str) -> Vec<Evidence<'_>> {
        let found = self.0["findings"].as_array().unwrap().iter();
        found
            .filter(|finding| finding["kind"] == kind)
            .map(|finding| Evidence(&finding["evidence"]))
            .collect()
    }

    /// The only finding of a kind on the recommended server, or on all servers together.
    fn the(&self, kind: &str) -> Evidence<'_> {
        let best = self.recommended();
        let found = self.0["findings"].as_array().unwrap().iter().filter(|finding| finding["kind"] == kind);
        let own: Vec<&Value> =
            found.filter(|finding| finding["server"].is_null() || finding["server"] == *best).collect();
        match own.as_slice() {
            [finding] => Evidence(&finding["evidence"]),
            _ => panic!("{} {kind} in {:#}", own.len(), Value::from_iter(self.texts())),
        }
    }

    fn has_none(&self, kinds: &[&str]) {
        for kind in kinds {
            assert!(self.all(kind).is_empty(), "{kind} in {:#?}", self.texts());
        }
    }

    /// The recommended server.
    fn recommended(&self) -> &Value {
        let answer =
            self.0["findings"].as_array().unwrap().iter().find(|finding| finding["kind"] == "answer");
        answer.map_or(&Value::Null, |answer| &answer["server"])
    }

    /// The label of the recommended server.
    fn server(&self) -> &str {
        self.0["workloads"][0]["server"].as_str().unwrap()
    }

    fn texts(&self) -> Vec<String> {
        let all = self.0["findings"].as_array().unwrap().iter();
        all.map(|finding| finding["text"].as_str().unwrap().to_owned()).collect()
    }

    /// The kinds of findings on the first page.
    fn headlines(&self) -> Vec<&str> {
        let own = self.0["workloads"][0]["headlines"].as_array().unwrap().iter();
        own.map(|finding| finding["kind"].as_str().unwrap()).collect()
    }

    /// The change of a metric at one value of a server axis.
    fn change(&self, axis: &str, value: impl Into<Value>, metric: &str) -> Evidence<'_> {
        let value = value.into();
        let all = self.all("effect");
        let effect = all.iter().find(|effect| effect.0["axis"] == axis).expect("the axis");
        let mut levels = effect.0["levels"].as_array().unwrap().iter();
        let level = levels.find(|level| level["value"] == value).unwrap_or_else(|| panic!("{effect:?}"));
        let mut changes = level["changes"].as_array().unwrap().iter();
        Evidence(changes.find(|change| change["metric"] == metric).unwrap_or_else(|| panic!("{level:#}")))
    }
}

/// The evidence of a finding.
#[derive(Debug)]
struct Evidence<'v>(&'v Value);

impl Evidence<'_> {
    /// A number by its JSON pointer, without the leading slash.
    fn number(&self, name: &str) -> f64 {
        let own = self.0.pointer(&format!("/{name}"));
        own.and_then(Value::as_f64).unwrap_or_else(|| panic!("no {name} in {:#}", self.0))
    }

    /// Asserts numbers, to half a percent.
    fn holds(&self, numbers: &[(&str, f64)]) -> &Self {
        for (name, wanted) in numbers {
            let own = self.number(name);
            assert!((own / wanted - 1.0).abs() <= 0.005, "{name} is {own}, not {wanted}: {:#}", self.0);
        }
        self
    }

    /// Asserts values.
    fn says(&self, values: &[(&str, Value)]) -> &Self {
        for (name, wanted) in values {
            let own = self.0.pointer(&format!("/{name}"));
            assert_eq!(own, Some(wanted), "{name} in {:#}", self.0);
        }
        self
    }

    fn lacks(&self, name: &str) -> &Self {
        assert!(self.0.get(name).is_none(), "{name} in {:#}", self.0);
        self
    }
}

fn place(axis: &str, value: &str) -> Value {
    serde_json::json!({ axis: value })
}

#[test]
fn l4_ttft_grows_first_and_saturation_was_not_reached() {
    let told = Told::of("l4_qwen05b", &[]);
    told.the("scaling")
        .holds(&[("straight_to", 16.0), ("ratio", 22.46), ("efficiency", 0.702)])
        .lacks("fall");
    told.the("ttft_growth")
        .says(&[("metric", "p50 TTFT".into()), ("pace", "p50 ITL".into()), ("gives_way", "waiting".into())])
        .holds(&[("from", 27.0), ("to", 135.3), ("growth", 5.01), ("pace_growth", 1.39)]);
    told.the("edge").holds(&[("load", 32.0), ("share", 0.657), ("next", 64.0)]);
    told.has_none(&["knee", "ridge", "tail_ridge", "cliff"]);
    // The tail at one in flight is of the first requests; nobody should read it as jitter of the engine.
    told.the("long_tail").says(&[("place", place("concurrency", "1"))]).holds(&[("ratio", 4.28)]);
    let said = told.texts().concat();
    assert!(said.contains("the first requests may have met a cold server"), "{said}");
}

#[test]
fn rtx4090_has_its_knee_at_16_and_ttft_grows_beyond() {
    let told = Told::of("rtx4090_mistral7b", &[]);
    told.the("scaling")
        .holds(&[("straight_to", 8.0), ("ratio", 5.667)])
        .says(&[("is_straight", false.into())]);
    told.the("ttft_growth").holds(&[("from", 53.0), ("to", 840.0), ("growth", 15.85)]);
    told.the("knee").holds(&[("load", 16.0)]);
    told.has_none(&["edge"]);
    // Numbers that nobody reported take no room.
    assert_eq!(
        told.0["workloads"][0]["table"]["columns"],
        serde_json::json!(["tok/s", "p50 TTFT", "p99 TTFT"])
    );
}

#[test]
fn h100_throughput_peaks_at_16() {
    let told = Told::of("h100_llama8b", &[]);
    told.the("answer").holds(&[("load", 16.0), ("throughput", 1384.0)]);
    told.the("peak").says(&[("place", place("concurrency", "16"))]).holds(&[("value", 1384.0)]);
    told.the("scaling").holds(&[("straight_to", 4.0), ("first/value", 122.2), ("last/value", 1312.3)]);
    // The cell with most load is not on the front: it is slower and later.
    told.the("pareto").holds(&[("on", 3.0), ("of", 4.0), ("points/2/rate", 1384.0)]);
}

#[test]
fn h100_gains_nothing_beyond_16_and_its_tail_grows_sevenfold() {
    let told = Told::of("h100_llama8b", &[]);
    told.the("knee")
        .holds(&[("load", 16.0), ("value", 1384.0), ("to", 64.0), ("throughput_ratio_beyond", 0.948)])
        .says(&[("prices/1/metric", "p99 TTFT".into())])
        .holds(&[("prices/1/ratio", 7.18)]);
}

#[test]
fn longer_answers_at_the_same_rate_make_others_wait() {
    let told = Told::of("rtx4090_lengths", &[]);
    told.the("saturation")
        .holds(&[("behind", 3.0), ("of", 4.0), ("rate", 1.0), ("carried", 0.87), ("least_carried", 0.24)])
        .says(&[("kept_place", place("max_tokens", "128")), ("place", place("max_tokens", "256"))])
        .says(&[("least_place", place("max_tokens", "1024"))]);
    told.the("held_up").says(&[("metric", "mean TTFT".into()), ("pace", "mean TPOT".into())]).holds(&[
        ("from", 196.0),
        ("to", 144_074.0),
        ("ratio", 735.07),
        ("pace_ratio", 0.988),
    ]);
    // The rate is the same in every cell: without its length nobody knows which is meant.
    let answer = told.0["workloads"][0]["answer"].as_str().unwrap();
    assert!(answer.contains("serves 1 req/s of chat (max_tokens 128)"), "{answer}");
}

#[test]
fn rtx2000_answers_that_were_not_streamed_have_no_ttft() {
    let told = Told::of("rtx2000_chat_grid", &[]);
    told.the("not_streamed").holds(&[("whole", 12.0), ("of", 12.0)]);
    told.has_none(&["ttft_growth", "held_up"]);
    told.the("answer").lacks("latencies/1").says(&[("latencies/0/metric", "p95 E2E".into())]);
    let ridge = serde_json::json!({ "concurrency": "8", "max_tokens": "256" });
    told.the("long_tail").says(&[("metric", "p95 E2E".into()), ("place", ridge)]).holds(&[("ratio", 1.366)]);
    told.the("latency_growth").says(&[("judged", "mild".into())]);
    told.the("output_length").says(&[("judged", "in_proportion".into())]).holds(&[("ratio", 3.874)]);
}

#[test]
fn a6000_throughput_peaks_at_256() {
    let told = Told::of("a6000_qwen7b", &[]);
    told.the("answer").holds(&[("load", 256.0), ("throughput", 4039.9)]);
    told.the("peak").says(&[("place", place("concurrency", "256"))]).holds(&[("value", 4039.9)]);
    told.the("ttft_growth").holds(&[("growth", 11.99), ("pace_growth", 2.05)]);
    told.has_none(&["ridge", "tail_ridge"]);
}

#[test]
fn a6000_has_its_knee_at_256_and_a_ttft_cliff_beyond() {
    let told = Told::of("a6000_qwen7b", &[]);
    told.the("knee").holds(&[("load", 256.0), ("value", 4039.9), ("throughput_ratio_beyond", 0.964)]);
    told.the("cliff").says(&[("metric", "p95 TTFT".into())]).holds(&[
        ("from_load", 256.0),
        ("to_load", 512.0),
        ("from", 517.0),
        ("to", 3564.0),
        ("jump", 6.89),
    ]);
}

#[test]
fn longer_prompts_raise_ttft_but_not_tpot() {
    let told = Told::of("prompts_qwen3b", &[]);
    told.the("prompt_length")
        .says(&[
            ("metric", "mean TTFT".into()),
            ("pace", "mean TPOT".into()),
            ("is_first_token", true.into()),
        ])
        .holds(&[("from", 13.9), ("to", 297.4), ("ratio", 21.4), ("pace_from", 12.0), ("pace_to", 12.5)])
        .holds(&[("pace_ratio", 1.042)])
        // 5 % of the throughput are nothing to act on.
        .lacks("rate_ratio");
}

#[test]
fn latency_that_grows_faster_than_the_rate_is_on_the_first_page() {
    let told = Told::of("kv_rate_8192", &[]);
    told.the("latency_growth")
        .says(&[("metric", "p95 E2E".into()), ("judged", "runs_away".into())])
        .holds(&[("from", 6610.0), ("to", 63_400.0), ("growth", 9.59), ("load_ratio", 1.6)]);
    assert!(told.headlines().contains(&"latency_growth"), "{:?}", told.headlines());
}

#[test]
fn a_small_rate_step_past_saturation_is_a_cliff() {
    let told = Told::of("kv_rate_8192", &[]);
    let cliff = told.the("cliff");
    cliff.says(&[("metric", "p95 E2E".into())]);
    // Usable up to 1.10, dominated by the queue at 1.20.
    assert!(cliff.number("from_load") >= 1.05 && cliff.number("to_load") <= 1.2, "{cliff:?}");
}

#[test]
fn the_variant_that_costs_leads_and_equal_ones_are_a_tie() {
    let told = Told::of("h100_layouts", &["--axis", "layout"]);
    let effect = told.the("effect");
    effect.says(&[("lead/value", "no-contiguous".into()), ("base", "vanilla".into())]);
    told.change("layout", "no-contiguous", "mean TPOT")
        .says(&[("judgement", "differs".into())])
        .holds(&[("ratio", 3.136)]);
    for alike in ["default", "default-reserved", "no-contiguous-reserved"] {
        for metric in ["request rate", "mean TTFT", "mean TPOT"] {
            let change = told.change("layout", alike, metric);
            assert_ne!(change.0["judgement"], "differs", "{change:?}");
        }
    }
    let tie = told.the("tie");
    assert!(tie.number("servers") >= 4.0, "{tie:?}");
    // There is no load to stand at.
    let said = told.texts().concat();
    assert!(!said.contains(" at may be") && !said.contains(" at ."), "{said}");
}

#[test]
fn larger_cuda_graphs_are_five_times_as_fast() {
    let told = Told::of("b300_graphs", &["--axis", "max-cudagraph-capture-size"]);
    assert_eq!(told.server(), "max-cudagraph-capture-size 1024");
    told.change("max-cudagraph-capture-size", 1024.0, "throughput")
        .says(&[("judgement", "differs".into())])
        .says(&[("least_at", place("concurrency", "256")), ("most_at", place("concurrency", "64"))])
        .holds(&[("ratio", 5.64), ("least", 4.93), ("most", 6.71), ("pairs", 3.0)]);
    told.the("answer").holds(&[("load", 64.0)]);
    told.the("scaling")
        .says(&[("is_flat", true.into())])
        .holds(&[("first/value", 7559.0), ("last/value", 4812.0)]);
}

#[test]
fn with_larger_cuda_graphs_throughput_falls_under_load() {
    let told = Told::of("b300_graphs", &["--axis", "max-cudagraph-capture-size"]);
    told.the("scaling").holds(&[("peak/load", 64.0), ("after/load", 256.0), ("fall", 0.637)]);
}

#[test]
fn two_engines_within_noise_are_not_ranked() {
    let told = Told::of("h100_engines", &["--axis", "engine"]);
    told.change("engine", "vllm-v1", "throughput").holds(&[
        ("ratio", 1.107),
        ("least", 1.079),
        ("pairs", 3.0),
    ]);
    told.change("engine", "sglang", "throughput").holds(&[
        ("ratio", 1.125),
        ("least", 1.122),
        ("pairs", 3.0),
    ]);
    assert_ne!(told.server(), "engine vllm-v0");
    let tie = told.the("tie");
    let names = tie.0["names"].as_array().unwrap();
    for alike in ["vllm-v1", "sglang"] {
        assert!(names.contains(&alike.into()), "{tie:?}");
    }
}

#[test]
fn compare_finds_where_two_engines_cross_over() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["pro6000_vllm", "pro6000_sglang"] {
        run(folder.path(), &["import", &table(name), "--as", name, "-q"]);
    }
    let said = run(folder.path(), &["compare", "pro6000_vllm", "pro6000_sglang"]);
    for said_there in [
        "# pro6000_vllm against pro6000_sglang",
        "p50 E2E is 0.73× at the median of 4 cells (0.39× to 1.42×): 1 is higher, 3 are lower",
        "It crosses over between load 100 and 200: 0.86× at 20, 1.42× at 200",
    ] {
        assert!(said.contains(said_there), "{said_there}\nis not in\n{said}");
    }
    let told = Told::of("pro6000_vllm", &[]);
    told.the("latency_growth").holds(&[("from", 10_000.0), ("to", 101_300.0), ("growth", 10.13)]);
}

#[test]
fn a_sudden_latency_jump_is_a_cliff() {
    let told = Told::of("pro6000_vllm", &[]);
    told.the("cliff").holds(&[("from_load", 100.0), ("to_load", 200.0), ("from", 14_800.0), ("jump", 6.84)]);
    Told::of("pro6000_sglang", &[]).has_none(&["cliff"]);
}

#[test]
fn a_draft_length_on_the_plateau_is_recommended() {
    let told = Told::of("strix_mtp", &["--axis", "num_speculative_tokens"]);
    // Best at 4, and hardly any different from 2 on.
    let plateau = [2, 3, 4].map(|tokens| format!("num_speculative_tokens {tokens}"));
    assert!(plateau.contains(&told.server().to_owned()), "{}", told.server());
    let ratios = [1.146, 1.256, 1.215, 1.268, 1.118, 1.089];
    for (tokens, ratio) in (1..).zip(ratios) {
        told.change("num_speculative_tokens", f64::from(tokens), "throughput").holds(&[("ratio", ratio)]);
    }
    let tie = told.the("tie");
    for alike in ["2", "3", "4"] {
        assert!(tie.0["names"].as_array().unwrap().contains(&alike.into()), "{tie:?}");
    }
}

#[test]
fn a_25_percent_gain_in_a_single_pair_is_unclear() {
    let told = Told::of("strix_mtp", &["--axis", "num_speculative_tokens"]);
    told.change("num_speculative_tokens", 4.0, "throughput")
        .says(&[("judgement", "unclear".into())])
        .holds(&[("ratio", 1.268)]);
    told.the("effect").lacks("optimum");
}

#[test]
fn h200_decoding_slows_down_and_one_ttft_median_stands_out() {
    let told = Told::of("h200_llama70b", &[]);
    told.the("ttft_growth").says(&[("gives_way", "decoding".into()), ("pace", "p50 TPOT".into())]).holds(&[
        ("pace_from", 44.0),
        ("pace_to", 84.0),
        ("pace_growth", 1.91),
    ]);
    told.the("latency_growth").holds(&[("from", 46_600.0), ("to", 93_600.0), ("growth", 2.01)]);
    told.the("ridge")
        .says(&[("metric", "p50 TTFT".into()), ("place", place("concurrency", "110"))])
        .holds(&[("value", 2214.0), ("jump", 7.45)]);
    told.the("scaling").holds(&[("straight_to", 60.0)]).lacks("fall");
    told.has_none(&["dip"]);
}

#[test]
fn h200_has_a_ttft_cliff_beyond_80() {
    let told = Told::of("h200_llama70b", &[]);
    told.the("cliff").says(&[("metric", "p95 TTFT".into())]).holds(&[
        ("from_load", 80.0),
        ("to_load", 90.0),
        ("from", 268.0),
        ("to", 5815.0),
        ("jump", 21.7),
    ]);
}

#[test]
fn h200_has_its_knee_at_60() {
    let told = Told::of("h200_llama70b", &[]);
    told.the("knee").holds(&[("load", 60.0), ("value", 1.51), ("to", 120.0)]);
    told.the("answer").holds(&[("load", 60.0)]);
}

const TARGETS: [&str; 4] = ["--slo", "p99_ttft=1s", "--slo", "p99_tpot=60ms"];

#[test]
fn the_violated_slo_term_is_named_and_ineffective_flags_are_not_advised() {
    let told = Told::of("h200_tuning", &[&["--axis", "variant"][..], &TARGETS].concat());
    told.the("answer")
        .says(&[("met", "stand_in".into()), ("trust", "as_told".into())])
        .holds(&[("load", 2.0)]);
    // Nobody told medians: it is the percentile itself that gives way.
    let limit = told.the("limit");
    limit
        .says(&[("worst/metric", "p99 TPOT".into()), ("place", place("rate", "2.5"))])
        .says(&[("kept/0/metric", "p99 TTFT".into())])
        .holds(&[("worst/target", 60.0)]);
    assert!((62.0..=66.0).contains(&limit.number("worst/value")), "{limit:?}");
    for nothing in ["mem095", "batch16k", "aggressive"] {
        told.change("variant", nothing, "throughput")
            .says(&[("judgement", "same".into())])
            .holds(&[("pairs", 12.0)]);
    }
    // Throughput was all that could be compared: that is no ground to keep a value.
    let said = told.texts().concat();
    assert!(!said.contains("Keep your value"), "{said}");
    told.the("tie").says(&[("is_near", true.into())]);
}

#[test]
fn rejected_drafts_cross_over_and_cost_three_quarters_of_the_load() {
    let told = Told::of("h200_eagle3", &[&["--axis", "eagle3"][..], &TARGETS].concat());
    assert_eq!(told.server(), "eagle3 false");
    told.the("answer").holds(&[("load", 2.0)]);
    told.change("eagle3", "true", "throughput")
        .says(&[("judgement", "crossover".into()), ("load", "rate".into())])
        .says(&[("most_at", place("rate", "0.5")), ("least_at", place("rate", "3"))])
        .holds(&[("from", 1.5), ("to", 2.0), ("most", 1.595), ("least", 0.7135), ("pairs", 8.0)]);
    // 0.5 instead of 2 requests per second within the targets.
    let blocks = told.0["blocks"].as_array().unwrap();
    let other = blocks.iter().find(|block| block["server_label"] == "eagle3 true").unwrap();
    assert_eq!(other["picks"][0]["load"], 0.5, "{other:#}");
}

#[test]
fn throughput_that_still_grows_is_not_called_flat() {
    let told = Told::of("h200_glm52", &[]);
    told.the("scaling")
        .holds(&[("ratio", 8.04), ("straight_to", 4.0)])
        .says(&[("is_flat", false.into())])
        .lacks("fall");
    let answer = told.the("answer").number("load");
    assert!([12.0, 16.0].contains(&answer), "{answer}");
    // "A little saturation at 16": either its step brings a third of its share, or the knee is before it.
    match told.all("knee").as_slice() {
        [knee] => {
            knee.holds(&[("load", 12.0), ("load_ratio", 1.333), ("throughput_ratio_beyond", 1.112)]);
        }
        _ => {
            told.the("edge").holds(&[("load", 16.0), ("share", 0.337)]);
        }
    }
    told.the("decode_speed").says(&[("pace", "mean TPOT".into())]).holds(&[("pace_value", 10.3)]);
}

#[test]
fn a_small_consistent_change_is_evidence_but_no_advice() {
    let told = Told::of("a100_fp8kv", &[]);
    told.change("kv-cache-dtype", "fp8", "mean TTFT").says(&[("judgement", "same".into())]).holds(&[
        ("ratio", 1.031),
        ("least", 1.024),
        ("most", 1.052),
        ("pairs", 4.0),
    ]);
    told.change("kv-cache-dtype", "fp8", "throughput")
        .says(&[("judgement", "same".into()), ("most_at/prompt tokens", "16384".into())])
        .holds(&[("least", 1.004), ("most", 1.055)]);
    told.the("effect").says(&[("is_none", true.into())]);
    told.the("prompt_length").holds(&[("from_length", 1024.0), ("to_length", 16_384.0), ("ratio", 21.8)]);
    let grown = told.the("prompt_length").number("ms_per_1000_tokens");
    assert!((730.0..760.0).contains(&grown), "{grown}");
    // Eight are in flight in every cell: which length is meant has to be said.
    let answer = told.0["workloads"][0]["answer"].as_str().unwrap();
    assert!(answer.contains("8 users of chat (prompt tokens "), "{answer}");
}

#[test]
fn a_second_gpu_is_not_better_at_high_concurrency() {
    let told = Told::of("rtx3090_tp", &[]);
    assert_eq!(told.server(), "tensor-parallel-size 1");
    told.the("answer").holds(&[("load", 64.0), ("throughput", 948.0)]);
    told.change("tensor-parallel-size", 2.0, "throughput")
        .says(&[("most_at", place("concurrency", "1")), ("least_at", place("concurrency", "64"))])
        .holds(&[("most", 1.307), ("least", 0.908), ("pairs", 2.0)]);
    // The median of both is far from either: what is said spans them.
    told.the("effect").holds(&[("least", 0.908), ("most", 1.307)]);
}

#[test]
fn with_latencies_alone_the_faster_server_is_recommended() {
    let told = Told::of("h100_eagle3_fp8", &["--axis", "eagle3-fp8"]);
    assert_eq!(told.server(), "eagle3-fp8 true");
    told.the("answer")
        .says(&[("latencies/0/metric", "mean E2E".into())])
        .holds(&[("latencies/0/value", 620.0)]);
    told.change("eagle3-fp8", "true", "mean E2E")
        .says(&[("judgement", "differs".into())])
        .says(&[("least_at", place("concurrency", "1")), ("most_at", place("concurrency", "8"))])
        .holds(&[("ratio", 0.440), ("least", 0.3735), ("most", 0.618), ("pairs", 4.0)]);
}

#[test]
fn a_prefix_cache_that_helps_is_recommended() {
    let told = Told::of("spark_prefix", &[]);
    assert_eq!(told.server(), "enable-prefix-caching true");
    told.the("effect").says(&[("lead/value", "true".into())]);
    told.change("enable-prefix-caching", "true", "p50 TTFT")
        .says(&[("judgement", "differs".into())])
        .holds(&[("ratio", 0.435)]);
    told.change("enable-prefix-caching", "true", "throughput").holds(&[("ratio", 1.759)]);
}

#[test]
fn a_76_percent_gain_from_prefix_caching_is_not_a_tie() {
    let told = Told::of("spark_prefix", &[]);
    told.change("enable-prefix-caching", "true", "throughput").says(&[("judgement", "differs".into())]);
    told.has_none(&["tie"]);
}

#[test]
fn the_knee_is_found_from_request_rates_alone() {
    let told = Told::of_text("concurrency,req_s\n1,1.3\n4,5.0\n16,17.1\n64,21.0\n128,21.4\n", &[]);
    told.the("answer").holds(&[("load", 16.0), ("throughput", 17.1)]);
    told.the("knee").says(&[("metric", "request rate".into())]).holds(&[
        ("load", 16.0),
        ("to", 128.0),
        ("load_ratio", 8.0),
        ("throughput_ratio_beyond", 1.251),
    ]);
}

#[test]
fn sparse_tables_yield_the_findings_they_support() {
    // Requests per second alone.
    let told = Told::of_text("concurrency,req_s\n1,1.3\n4,5.0\n16,17.1\n64,21.0\n128,21.4\n", &[]);
    told.the("scaling").says(&[("metric", "request rate".into())]).holds(&[("straight_to", 16.0)]);
    let said = told.texts().concat();
    assert!(!said.contains("NaN") && !said.contains("inf "), "{said}");
    // Means alone, along the length of answers.
    let text = "concurrency,max_tokens,mean_latency_s,req_s\n8,64,1.0,8.0\n8,128,2.0,4.0\n8,256,4.1,1.95\n";
    Told::of_text(text, &[])
        .the("output_length")
        .says(&[("metric", "mean E2E".into()), ("judged", "in_proportion".into())])
        .holds(&[
            ("from_length", 64.0),
            ("to_length", 256.0),
            ("from", 1000.0),
            ("to", 4100.0),
            ("ratio", 4.1),
        ]);
    // One cell, without a load.
    Told::of_text("tok_s\n391.2\n", &[]).the("answer").holds(&[("throughput", 391.2)]).lacks("load");
    // Names that have no order, one number each.
    let told = Told::of_text("variant,tok_s\na,391.2\nb,208.1\nc,205.0\n", &["--axis", "variant"]);
    assert_eq!(told.server(), "variant a");
    told.change("variant", "b", "throughput").holds(&[("ratio", 0.532), ("pairs", 1.0)]);
    // Nothing was measured.
    let told = Told::of_text("concurrency,tok_s,outcome\n8,,oom\n16,,oom\n", &[]);
    told.has_none(&["answer"]);
    told.the("no_answer")
        .says(&[("outcomes/0/outcome", "oom".into()), ("machine", "unnamed machine".into())])
        .holds(&[("outcomes/0/cells", 2.0)]);
}

#[test]
fn halved_throughput_is_a_difference() {
    let told = Told::of_text("variant,tok_s\na,391.2\nb,208.1\nc,205.0\n", &["--axis", "variant"]);
    told.change("variant", "b", "throughput").says(&[("judgement", "differs".into())]);
}
