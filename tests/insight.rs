//! Public measurements, and what their authors wrote down: the notes say it, and say nothing that is not there.

use std::{fs, path::Path, process::Command};

fn run(folder: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn table(name: &str) -> String {
    format!("{}/tests/data/{name}.csv", env!("CARGO_MANIFEST_DIR"))
}

/// The capacity note of a table, and what a reader sees first of it: all up to what was tested.
fn note_of(file: &str, options: &[&str]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    run(
        folder.path(),
        &[&["import", file, "--as", "theirs", "-q"], options].concat(),
    );
    let note = folder
        .path()
        .join("results/theirs/imported/notes/capacity.md");
    let note = fs::read_to_string(note).unwrap();
    let (first, _) = note.split_once("## What was tested").unwrap();
    (note.clone(), first.to_owned())
}

/// The same of a table of `tests/data`.
fn note(name: &str) -> (String, String) {
    note_of(&table(name), &[])
}

/// The same of a table that is given.
fn note_of_text(text: &str, options: &[&str]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table.csv");
    fs::write(&file, text).unwrap();
    note_of(file.to_str().unwrap(), options)
}

fn holds(text: &str, said: &[&str]) {
    for said in said {
        assert!(text.contains(said), "{said}\nis not in\n{text}");
    }
}

#[test]
fn on_the_l4_ttft_gives_way_first_and_the_end_was_not_reached() {
    let (note, first) = note("l4_qwen05b");
    holds(
        &first,
        &[
            "near-linear up to 16, with diminishing returns beyond",
            "22.5× at 32 (70 % of perfect)",
            "p50 goes from 27.0 ms to 135 ms (5.01×)",
            "p50 ITL goes from 5.10 ms to 7.10 ms (1.39×). The first token is what waits; decoding keeps its pace.",
            "the last step still brought 66 % of its share",
            "go on with concurrency 64",
        ],
    );
    // The tail at one in flight is of the first requests; nobody should read it as jitter of the engine.
    holds(&note, &["as a rule that is a cold start"]);
    assert!(!note.contains("The knee"), "it still scales: {note}");
    assert!(!note.contains("Ridge") && !note.contains("Cliff"), "{note}");
}

#[test]
fn on_the_4090_it_is_near_linear_to_16_and_ttft_pays_beyond() {
    let (note, first) = note("rtx4090_mistral7b");
    holds(
        &first,
        &[
            "near-linear up to 16, with diminishing returns beyond",
            "The knee is at concurrency 16 with 644 tok/s",
            "3× the load brings 1.85× the tokens per second, 8.66× the p50 TTFT and 2.95× the p99 TTFT",
            "p50 TTFT jumps 3.03× from 277 ms to 840 ms between concurrency 32 and 48",
        ],
    );
    // Beyond the knee nothing is acceptable, and numbers that nobody reported take no room.
    assert!(!note.contains("Still acceptable"), "{note}");
    assert!(!note.contains("| – |"), "{note}");
}

#[test]
fn on_the_h100_throughput_peaks_at_16() {
    let (note, first) = note("h100_llama8b");
    holds(
        &first,
        &[
            "The knee is at concurrency 16 with 1,384 tok/s",
            "4× the load brings 0.95× the tokens per second",
            "7.18× the p99 TTFT",
            "It falls from 1,384 tok/s to 1,312 tok/s on the step to 64",
            "More than perfect at 4",
        ],
    );
    holds(&note, &["Beaten in both: concurrency 64."]);
}

#[test]
fn longer_answers_at_the_same_rate_make_others_wait() {
    let (_, first) = note("rtx4090_lengths");
    holds(
        &first,
        &[
            "The server does not keep up in 3 of 4 cells",
            "0.24 of 1 request per second (24 %) at max_tokens 1024",
            "It keeps up with 1 request per second at max_tokens 128.",
            "mean TTFT goes from 196 ms to 144,074 ms (735×), while mean TPOT goes from 18.2 ms to 18.0 ms (0.99×)",
            "decoding keeps its pace",
        ],
    );
}

#[test]
fn the_ridge_of_the_rtx_2000_is_told_with_its_place_and_its_cause() {
    let (_, first) = note("rtx2000_chat_grid");
    holds(
        &first,
        &[
            "Jitter ridge along concurrency: p95 E2E is 1.37× its p50 at concurrency 8, max_tokens 256",
            "p50 E2E falls from 4,223 ms at 4 to 3,334 ms at concurrency 8, max_tokens 256",
            "answers ended earlier there",
            "the cost in latency is mild",
            "TTFT equals E2E in 12 of 12 measured cells",
        ],
    );
}

#[test]
fn on_the_a6000_throughput_peaks_at_256_and_the_tail_of_ttft_takes_off() {
    let (_, first) = note("a6000_qwen7b");
    holds(
        &first,
        &[
            "serves 256 users of chat at p95 TTFT 517 ms",
            "The knee is at concurrency 256 with 4,040 tok/s",
            "It falls from 4,040 tok/s to 3,896 tok/s on the step to 512",
            "p95 TTFT jumps 6.89× from 517 ms to 3,564 ms between concurrency 256 and 512",
        ],
    );
    assert!(!first.contains("idge along"), "{first}");
}

#[test]
fn a_longer_prompt_moves_the_first_token_and_not_the_pace() {
    let (_, first) = note("prompts_qwen3b");
    holds(
        &first,
        &[
            "mean TTFT goes from 13.9 ms to 297 ms (21.4×)",
            "mean TPOT hardly moves, from 12.0 ms to 12.5 ms (1.04×)",
            "throughput is 95 % of what it was",
        ],
    );
}

#[test]
fn a_small_step_of_the_rate_over_the_edge_is_named() {
    let (_, first) = note("kv_rate_8192");
    holds(
        &first,
        &[
            "p95 E2E goes from 6,610 ms at rate 0.75 to 63,400 ms at 1.2 (9.59×) for 1.60× the load: it runs away from the load",
            "Cliff along rate: p95 E2E jumps",
            "between rate 1.05 and 1.",
        ],
    );
}

#[test]
fn a_switch_that_costs_is_named_first_and_those_that_do_not_are_not_called_slow() {
    let (_, first) = note_of(&table("h100_layouts"), &["--axis", "layout"]);
    holds(
        &first,
        &[
            "layout no-contiguous against vanilla, all else equal (1 pair): throughput in requests is 0.80×; mean TPOT is 3.14×",
            "nearly as good in throughput as the best server",
        ],
    );
    let costs = first.find("layout no-contiguous against").unwrap();
    assert!(
        first[..costs].matches("against vanilla").count() == 0,
        "{first}"
    );
}

#[test]
fn graphs_that_reach_further_are_five_times_as_fast_and_more_load_still_brings_less() {
    let axis = ["--axis", "max-cudagraph-capture-size"];
    let (_, first) = note_of(&table("b300_graphs"), &axis);
    holds(
        &first,
        &[
            "max-cudagraph-capture-size 1024 against 512, all else equal (3 pairs): throughput is 5.64× (median; 4.93× at concurrency 256 to \
             6.71× at concurrency 64)",
            "More load brings less: it falls from 7,559 tok/s at 64 to 4,812 tok/s at 256",
        ],
    );
}

#[test]
fn two_engines_that_are_alike_are_not_ranked() {
    let (_, first) = note_of(&table("h100_engines"), &["--axis", "engine"]);
    holds(
        &first,
        &[
            "engine sglang is nearly as good in throughput as the best server at the same load (3,078 tok/s against 3,141 tok/s)",
            "engine vllm-v1 against vllm-v0, all else equal (3 pairs): throughput is 1.11×",
            "engine sglang against vllm-v0, all else equal (3 pairs): throughput is 1.13×",
        ],
    );
}

#[test]
fn an_engine_that_is_quicker_until_it_is_not_turns() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["pro6000_vllm", "pro6000_sglang"] {
        run(folder.path(), &["import", &table(name), "--as", name, "-q"]);
    }
    let said = run(
        folder.path(),
        &["compare", "pro6000_vllm", "pro6000_sglang"],
    );
    holds(
        &said,
        &[
            "# pro6000_vllm against pro6000_sglang",
            "p50 E2E: median 0.73× (0.39× to 1.42×); of 4 cells: 1 higher, 3 lower",
            "It changes sides with the load: 0.86× at 20, 1.42× at 200, crossing 1 between 100 and 200",
        ],
    );
    let (_, vllm) = note("pro6000_vllm");
    holds(
        &vllm,
        &["p50 E2E jumps 6.84× from 14,800 ms to 101,300 ms between concurrency 100 and 200"],
    );
}

#[test]
fn a_number_of_drafted_tokens_that_is_best_in_the_middle_is_found_there() {
    let axis = ["--axis", "num_speculative_tokens"];
    let (_, first) = note_of(&table("strix_mtp"), &axis);
    holds(
        &first,
        &[
            "with num_speculative_tokens 4 serves 1 user of chat with 31.2 tok/s",
            "throughput is 1.15×, 1.26×, 1.22×, 1.27×, 1.12× and 1.09× of that at 0 with 1, 2, 3, 4, 5 and 6",
            "highest at 4, and hardly any different from 2 to 4; at 6 it is 0.86× of that",
            "num_speculative_tokens 2 and num_speculative_tokens 3 are nearly as good",
        ],
    );
}

#[test]
fn where_ttft_becomes_unstable_is_told_and_a_throughput_that_goes_up_and_down_has_not_fallen() {
    let (_, first) = note("h200_llama70b");
    holds(
        &first,
        &[
            "serves 60 users of chat",
            "p50 TPOT goes from 44.0 ms to 84.0 ms (1.91×)",
            "p95 E2E goes from 46,600 ms at concurrency 50 to 93,600 ms at 120 (2.01×)",
            "p95 TTFT jumps 21.7× from 268 ms to 5,815 ms between concurrency 80 and 90",
            "p50 TTFT is 2,214 ms at concurrency 110, 7.45× the larger of its neighbours",
        ],
    );
    assert!(!first.contains("It falls"), "{first}");
}

const TARGETS: [&str; 4] = ["--slo", "p99_ttft=1s", "--slo", "p99_tpot=60ms"];

#[test]
fn under_an_slo_the_term_that_gives_way_is_named_and_switches_that_do_nothing_are_left_alone() {
    let options = [&["--axis", "variant"][..], &TARGETS].concat();
    let (note, first) = note_of(&table("h200_tuning"), &options);
    holds(
        &first,
        &[
            "serves 2 requests per second of chat",
            "What gives way first: at rate 2.5, the next step, p99 TPOT is 66.0 ms, beyond its target of 60ms, while p99 TTFT is 977 ms",
            // A limit on what runs at once makes others wait under overload, and not before.
            "variant seqs128 against baseline-rerun, all else equal (12 pairs): p99 TTFT is 2.68× to 20.7× from rate 3.5 to 5, and hardly \
             any different elsewhere",
            "variant moderate against baseline-rerun, all else equal (12 pairs): p99 TTFT turns",
        ],
    );
    holds(
        &note,
        &[
            "variant batch16k and aggressive against baseline-rerun, all else equal (12 pairs each): no difference in throughput",
        ],
    );
}

#[test]
fn drafts_that_nobody_accepts_are_worse_and_the_other_server_is_the_best() {
    let options = [&["--axis", "eagle3"][..], &TARGETS].concat();
    let (note, first) = note_of(&table("h200_eagle3"), &options);
    holds(
        &first,
        &[
            "with eagle3 false serves 2 requests per second of chat",
            "throughput turns: 1.60× at rate 0.5, 0.71× at 3 (it crosses over between 1.5 and 2)",
            "p99 TTFT is 68.9× (median; 1.03× at rate 0.5 to 166× at rate 3), growing with the load",
        ],
    );
    // Three quarters of the capacity are gone: 0.5 instead of 2 requests per second.
    holds(&note, &["| eagle3 true | rate 0.5 |"]);
}

#[test]
fn a_load_that_costs_little_is_within_the_knee() {
    let (_, first) = note("h200_glm52");
    holds(
        &first,
        &[
            "serves 12 users of chat with 694 tok/s",
            "The knee is at concurrency 12 with 694 tok/s: from there to 16, 1.33× the load brings 1.11× the tokens per second",
        ],
    );
}

#[test]
fn a_small_change_that_every_pair_shows_is_told_as_small() {
    let (_, first) = note("a100_fp8kv");
    holds(
        &first,
        &[
            "kv-cache-dtype fp8 against auto, all else equal (4 pairs): mean TTFT is a little more, 1.03× (median; 1.02× to 1.05× in all pairs)",
            "no clear difference in throughput (1.00× to 1.06× at prompt tokens 16384)",
            "mean TTFT goes from 569 ms to 12,206 ms (21.5×), 758 ms for each 1,000 tokens more (574 ms on the first step, 864 ms on the last)",
        ],
    );
}

#[test]
fn a_second_card_that_helps_one_stream_and_hurts_many_is_told_so() {
    let (_, first) = note("rtx3090_tp");
    holds(
        &first,
        &[
            "with tensor-parallel-size 1 serves 64 users of chat with 948 tok/s",
            "tensor-parallel-size 2 against 1, all else equal (2 pairs): throughput is 1.31× at concurrency 1 and 0.91× at concurrency 64",
        ],
    );
}

#[test]
fn of_latencies_alone_the_quicker_server_is_the_best_and_the_gain_fades() {
    let axis = ["--axis", "eagle3-fp8"];
    let (_, first) = note_of(&table("h100_eagle3_fp8"), &axis);
    holds(
        &first,
        &[
            "with eagle3-fp8 true answers chat at mean E2E 620 ms",
            "mean E2E is 0.44× (median; 0.37× at concurrency 1 to 0.62× at concurrency 8), fading with the load",
        ],
    );
}

#[test]
fn a_prefix_cache_that_helps_is_told_with_both_numbers() {
    let (_, first) = note("spark_prefix");
    holds(
        &first,
        &[
            "enable-prefix-caching true against false, all else equal (1 pair): throughput is 1.76×; p50 TTFT is 0.44×.",
        ],
    );
}

#[test]
fn thin_tables_say_what_they_can() {
    // Requests per second alone.
    let (note, first) = note_of_text(
        "concurrency,req_s\n1,1.3\n4,5.0\n16,17.1\n64,21.0\n128,21.4\n",
        &[],
    );
    holds(
        &first,
        &[
            "serves 16 users of chat with 17.10 req/s",
            "The knee is at concurrency 16 with 17.10 req/s: from there to 128, 8× the load brings 1.25× the requests per second",
        ],
    );
    assert!(!note.contains("NaN") && !note.contains("inf "), "{note}");
    // Means alone, along the length of answers.
    let text = "concurrency,max_tokens,mean_latency_s,req_s\n8,64,1.0,8.0\n8,128,2.0,4.0\n8,256,4.1,1.95\n";
    let (_, first) = note_of_text(text, &[]);
    holds(
        &first,
        &[
            "from max_tokens 64 to 256 (4×), mean E2E goes from 1,000 ms to 4,100 ms (4.10×): in proportion to the length",
        ],
    );
    // One cell, without a load.
    let (_, first) = note_of_text("tok_s\n391.2\n", &[]);
    holds(&first, &["gives 391 tok/s of chat."]);
    // Names that have no order, one number each.
    let text = "variant,tok_s\na,391.2\nb,208.1\nc,205.0\n";
    let (_, first) = note_of_text(text, &["--axis", "variant"]);
    holds(
        &first,
        &[
            "with variant a gives 391 tok/s of chat",
            "variant b against a, all else equal (1 pair): throughput is 0.53×",
        ],
    );
    // Nothing was measured.
    let (_, first) = note_of_text("concurrency,tok_s,outcome\n8,,oom\n16,,oom\n", &[]);
    holds(
        &first,
        &["nothing was measured on unnamed machine; 2 cells ran out of memory"],
    );
}
