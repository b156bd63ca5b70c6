//! Public measurements, and what their authors wrote down: the notes say it, and say nothing that is not there.

use std::{fs, process::Command};

/// The capacity note of a table of `tests/data`, and what stands out in it.
fn note(name: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("{}/tests/data/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(["import", &file, "--as", name, "-q"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let note = folder
        .path()
        .join(format!("results/{name}/imported/notes/capacity.md"));
    let note = fs::read_to_string(note).unwrap();
    let (_, rest) = note.split_once("## What stands out").unwrap();
    let (first, _) = rest.split_once("## What was tested").unwrap();
    (note.clone(), first.to_owned())
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
