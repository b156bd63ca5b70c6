//! `import`, `compare` and `export`.

use std::{path::Path, process::Command};

fn runner(folder: &Path, words: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_runner")).args(words).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn data(name: &str) -> String {
    format!("{}/tests/import/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn an_import_is_compared_with_a_measured_run_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let manifest = "[experiment]\nname = \"mine\"\n[server]\nengine = \"sim\"\nmodel = \"m\"\n\
        [server.sim]\nttft = \"1ms\"\nper_token = \"1ms\"\nstartup = \"10ms\"\n\
        [workload.chat]\nprompts = [\"Hello\"]\nrequests = 16\nmax_tokens = 64\n[workload.chat.sweep]\nconcurrency = [1, 4]\n";
    std::fs::write(folder.join("mine.toml"), manifest).unwrap();
    let (code, _, said) = runner(folder, &["run", "mine.toml", "-q"]);
    assert_eq!(code, 0, "{said}");
    let grid = data("rtx2000_chat_grid.csv");
    let (code, notes, said) = runner(
        folder,
        &["import", &grid, "--as", "journal", "--slo", "p95_e2e=3s", "--caveat", "Counts words."],
    );
    assert_eq!(code, 0, "{said}");
    assert!(notes.contains("results/journal/imported/notes/capacity.md"), "{notes}");
    let note = std::fs::read_to_string(folder.join("results/journal/imported/notes/capacity.md")).unwrap();
    assert!(note.contains("**IMPORTED.") && note.contains("Counts words."), "{note}");
    let table = std::fs::read_to_string(folder.join("results/journal/imported/cells.csv")).unwrap();
    assert!(table.lines().nth(1).unwrap().contains(",imported;not_streamed,"), "{table}");

    let (code, _, said) = runner(folder, &["compare", "mine", "journal"]);
    assert_eq!(code, 2);
    assert!(said.contains("--despite client ") && said.contains("--despite simulated "), "{said}");
    let words = ["compare", "mine", "journal", "--despite", "client", "--despite", "simulated"];
    let (code, text, said) = runner(folder, &words);
    assert_eq!(code, 0, "{said}");
    assert!(text.contains("**IMPORTED.") && text.contains("2 cells are in both"), "{text}");
    // Which rows follow depends on how busy this machine was during the run.

    let (code, lines, _) = runner(folder, &["export", "journal", "mine"]);
    assert_eq!((code, lines.lines().count()), (0, 14));
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["p95_e2e_ms"], 1064.63);
    assert_eq!((&first["concurrency"], &first["p99_e2e_ms"]), (&1.into(), &serde_json::Value::Null));
    assert_eq!(first["imported"], true);
    let (code, out, _) = runner(folder, &["export", "mine", "-o", "mine.jsonl"]);
    assert_eq!((code, out.as_str()), (0, ""));
    let last = std::fs::read_to_string(folder.join("mine.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!((&last["counts_completed"], &last["n_e2e"]), (&16.into(), &16.into()));

    let (code, _, said) = runner(folder, &["import", &grid, "--as", "journal"]);
    assert_eq!(code, 2);
    assert!(said.contains("choose another name with --as"), "{said}");
}

/// Imports files and returns the cells that `runner export` prints.
fn imported(files: &[&str]) -> Vec<serde_json::Value> {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<String> = files.iter().map(|name| data(name)).collect();
    let mut words = vec!["import", "--as", "theirs", "-q"];
    words.extend(files.iter().map(String::as_str));
    let (code, _, said) = runner(folder.path(), &words);
    assert_eq!(code, 0, "{said}");
    let (code, lines, said) = runner(folder.path(), &["export", "theirs"]);
    assert_eq!(code, 0, "{said}");
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn holds(cell: &serde_json::Value, numbers: &[(&str, f64)]) {
    for (name, wanted) in numbers {
        let own = cell[*name].as_f64().unwrap_or_else(|| panic!("no {name} in {cell}"));
        assert!((own / wanted - 1.0).abs() < 1e-6, "{name} is {own}, not {wanted}");
    }
}

#[test]
fn a_real_report_of_guidellm_0_5_keeps_its_numbers() {
    let cells = imported(&["guidellm-0.5.0-t4-concurrent4.json"]);
    assert_eq!(cells.len(), 1);
    holds(
        &cells[0],
        &[
            ("concurrency", 4.0),
            ("max_tokens", 128.0),
            ("counts_completed", 78.0),
            // 9,984 tokens in a window of 60 s; its own "tokens per second" are a mean over tokens, not a
            // rate.
            ("throughput_tok_s", 166.4),
            ("p50_ttft_ms", 96.38667106628418),
            ("p95_e2e_ms", 3285.66312789917),
            // What it calls inter-token latency is (E2E - TTFT) / (n - 1): our TPOT. Its "time per output
            // token" has TTFT in it.
            ("p50_tpot_ms", 22.69545127087691),
        ],
    );
    assert_eq!(cells[0]["model"], "Qwen/Qwen3-0.6B");
    assert!(cells[0]["p50_itl_ms"].is_null(), "{}", cells[0]);
}

#[test]
fn real_summaries_of_aiperf_0_10_are_cells_of_one_line() {
    let cells = imported(&["aiperf-0.10.0-rtx5090-agent-c16.json", "aiperf-0.10.0-rtx5090-agent-c32.json"]);
    assert_eq!(cells.len(), 2);
    holds(
        &cells[0],
        &[
            ("concurrency", 16.0),
            ("counts_completed", 96.0),
            ("throughput_tok_s", 1172.145991694937),
            ("p95_ttft_ms", 672.0477902499999),
            // Per request, which it calls inter-token latency; and the gaps between chunks themselves.
            ("p50_tpot_ms", 12.245986588621273),
            ("p99_itl_ms", 117.98615575276864),
        ],
    );
    holds(&cells[1], &[("concurrency", 32.0), ("p50_e2e_ms", 5805.0362435), ("req_s", 3.2213452179811215)]);
    assert_eq!(cells[1]["model"], "qwen3.6-nvfp4");
}
