//! `runner predict`, alone and beside measured runs.

use std::{fs, path::Path};

use crate::support::{RUNNER, runner as in_folder};

fn at_root(words: &[&str]) -> (String, String, Option<i32>) {
    in_folder(Path::new(env!("CARGO_MANIFEST_DIR")), words)
}

#[test]
fn the_measured_rtx2000_grid_is_predicted_within_10_percent() {
    let words = [
        "predict",
        "experiments/day003.toml",
        "--only",
        "chat-*",
        "--against",
        "tests/data/rtx2000_chat_grid.csv",
    ];
    let (table, said, code) = at_root(&words);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("not measured"), "{said}");
    let errors: Vec<f64> = table
        .lines()
        .filter(|line| line.starts_with("chat-"))
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words[4].parse::<f64>().unwrap()
        })
        .collect();
    assert_eq!(errors.len(), 12, "{table}");
    let mut absolute: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
    absolute.sort_by(f64::total_cmp);
    let median = f64::midpoint(absolute[5], absolute[6]);
    assert!(median <= 10.0, "{median} % in the median:\n{table}");
    assert!(table.contains("median absolute error of p50 E2E over 12 cells"), "{table}");
}

#[test]
fn every_cell_is_predicted_and_marked() {
    let (out, said, code) = at_root(&["predict", "experiments/day003.toml", "--gpu", "H100", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let cells: serde_json::Value = serde_json::from_str(&out).unwrap();
    let cells = cells.as_array().unwrap();
    assert_eq!(cells.len(), 18);
    for cell in cells {
        assert_eq!(cell["predicted"], true);
        assert!(cell["prediction"]["summary"]["e2e"]["p50_ms"].as_f64().unwrap() > 0.0, "{cell}");
    }
}

#[test]
fn predict_reports_unknown_gpus_and_servers_that_cannot_start() {
    let (_, said, code) = at_root(&["predict", "experiments/day003.toml", "--gpu", "H1000"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("H1000") && said.contains("RTX 2000 Ada"), "{said}");
    let words = ["predict", "experiments/day003.toml", "--set", "server.model=\"Qwen/Qwen2.5-14B-Instruct\""];
    let (table, said, code) = at_root(&words);
    assert_eq!(code, Some(0), "{said}");
    assert!(table.contains("out of memory"), "{table}");
}

const SMALL: &str = "[experiment]\nname = \"small\"\n[server]\nmodel = \"Qwen/Qwen2.5-1.5B-Instruct\"\n\
    [server.flags]\nmax-model-len = 4096\n[workload.chat]\nprompts = [\"Why is the sky blue?\"]\nrequests = 130\n\
    max_tokens = 32\noutput = \"exact\"\nslo = { p95_e2e = \"3s\" }\n[workload.chat.sweep]\nconcurrency = [1, 8]\n";

fn small(more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.toml"), format!("{SMALL}{more}")).unwrap();
    folder
}

#[test]
fn a_stored_prediction_is_marked_as_predicted_everywhere() {
    let folder = small("");
    let folder = folder.path();
    let words = ["predict", "small.toml", "--gpu", "L4", "--name", "l4"];
    let (notes, said, code) = in_folder(folder, &words);
    assert_eq!(code, Some(0), "{said}");
    assert!(notes.contains("results/small/l4/notes/capacity.md"), "{notes}");
    assert!(said.contains("held out from tuning"), "{said}");
    let read = |path: &str| fs::read_to_string(folder.join("results/small/l4").join(path)).unwrap();
    let note = read("notes/capacity.md");
    assert!(note.contains("> **PREDICTED.**"), "{note}");
    assert!(note.contains("**Predicted, not measured: L4 serves 8 users"), "{note}");
    assert!(note.contains("| cells | 2 of 2 have numbers |"), "{note}");
    assert!(!note.contains("measured once"), "{note}");
    let table = read("cells.csv");
    for row in table.lines().skip(1) {
        assert!(row.contains(",predicted: L4,chat,ok,predicted"), "{row}");
    }
    for file in fs::read_dir(folder.join("results/small/l4/charts")).unwrap() {
        let picture = fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(picture.contains(">PREDICTED<"), "{picture}");
    }
    assert!(read("report.html").contains("\"badge\":\"PREDICTED\""));
    let run: serde_json::Value = serde_json::from_str(&read("run.json")).unwrap();
    assert_eq!(run["predicted"]["hardware"], "L4");
    assert_eq!(run["predicted"]["models"][0]["shape_from"], "the catalogue");
    assert_eq!(run["predicted"]["answers"], 1.0);

    // The same rows go to a program by --csv.
    let (rows, said, code) = in_folder(folder, &["predict", "small.toml", "--gpu", "L4", "--csv"]);
    assert_eq!((code, rows.as_str()), (Some(0), table.as_str()), "{said}");

    // It is rendered again byte for byte, exported, and compared with its like.
    let (_, said, code) = in_folder(folder, &["report", "small"]);
    assert_eq!((code, read("notes/capacity.md")), (Some(0), note), "{said}");
    let (lines, ..) = in_folder(folder, &["export", "small"]);
    assert!(lines.lines().all(|line| line.contains("\"predicted\":true")), "{lines}");
    let (_, _, code) = in_folder(folder, &["predict", "small.toml", "--gpu", "A100", "--name", "a100"]);
    assert_eq!(code, Some(0));
    let words = ["compare", "results/small/a100", "results/small/l4"];
    let (comparison, said, code) = in_folder(folder, &words);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        comparison.contains("**PREDICTED.") && comparison.contains("concurrency 8, max_tokens 32"),
        "{comparison}"
    );

    // It holds nothing to continue, and its name is taken.
    let (_, said, code) = in_folder(folder, &["run", "small.toml", "--resume", "l4"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("was predicted"), "{said}");
    let (_, said, code) = in_folder(folder, &["predict", "small.toml", "--gpu", "L4", "--name", "l4"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("already"), "{said}");
}

#[test]
fn predicted_start_failures_carry_the_message_of_vllm() {
    let folder = small("[sweep]\nserver.flags.gpu-memory-utilization = [0.2, 0.9]\n");
    let words = ["predict", "small.toml", "--gpu", "T4", "--name", "t4"];
    let (_, said, code) = in_folder(folder.path(), &words);
    assert_eq!(code, Some(0), "{said}");
    let run = folder.path().join("results/small/t4");
    let note = fs::read_to_string(run.join("notes/capacity.md")).unwrap();
    let (values, said, code) = in_folder(folder.path(), &["report", "results/small/t4", "--values"]);
    assert_eq!(code, Some(0), "{said}");
    let values: serde_json::Value = serde_json::from_str(&values).unwrap();
    let found = values["findings"].as_array().unwrap().iter().find(|own| own["kind"] == "boundary").unwrap();
    let same = &found["evidence"]["same"];
    assert_eq!(
        (&same["boundary"], &same["fits"], &same["ends"]),
        (&"needs".into(), &"0.9".into(), &"0.2".into())
    );
    assert!(note.contains(found["text"].as_str().unwrap()), "{note}");
    assert!(
        note.contains("(predicted) ERROR ValueError: No available memory for the cache blocks"),
        "{note}"
    );
    let table = fs::read_to_string(run.join("cells.csv")).unwrap();
    let (out, ok): (Vec<&str>, Vec<&str>) =
        table.lines().skip(1).partition(|row| row.contains(",oom,predicted,"));
    assert_eq!((out.len(), ok.len()), (2, 2), "{table}");
}

#[test]
fn gpus_and_models_from_the_manifest_catalogue_are_predicted() {
    let own = "[catalogue.gpu.my-card]\nmemory_gib = 20\nbandwidth_gb_s = 500\ntflops = { fp32 = 20, bf16 = 80 }\n\
        [catalogue.model.\"me/mine\"]\nlayers = 16\nhidden = 1024\nheads = 16\nintermediate = 4096\nvocab = 32000\nmax_positions = 8192\n";
    let folder = small(own);
    let set = "server.model=\"me/mine\"";
    let words = ["predict", "small.toml", "--gpu", "my-card", "--csv", "--set", set];
    let (table, said, code) = in_folder(folder.path(), &words);
    assert_eq!(code, Some(0), "{said}");
    assert!(table.contains("predicted: my-card"), "{table}");
    let words = ["predict", "small.toml", "--gpu", "my-card", "--set", "server.model=\"me/other\""];
    let (_, said, code) = in_folder(folder.path(), &words);
    assert_eq!(code, Some(2));
    assert!(said.contains("me/other") && said.contains("[catalogue.model."), "{said}");
    let words =
        ["plan", "small.toml", "--set", "hardware.gpu=\"my-card\"", "--set", "hardware.usd_per_hour=2"];
    let (out, said, code) = in_folder(folder.path(), &words);
    assert_eq!(code, Some(0), "{said}");
    assert!(out.contains("fits on my-card"), "{out}");
    assert!(
        said.contains("predicted on my-card: the requests take") && said.contains("at $2 per hour"),
        "{said}"
    );
    // The price is not that of another card.
    let words = [
        "plan",
        "small.toml",
        "--sim=L4",
        "--set",
        "hardware.usd_per_hour=2",
        "--set",
        "hardware.label=\"my-card\"",
    ];
    let (_, said, _) = in_folder(folder.path(), &words);
    assert!(said.contains("predicted on L4") && !said.contains('$'), "{said}");
}

#[test]
fn a_name_that_several_cards_have_is_reported_with_the_others() {
    let folder = small("[hardware]\ngpu = \"H100\"\n");
    for words in [vec!["plan", "small.toml"], vec!["predict", "small.toml"]] {
        let (_, said, code) = in_folder(folder.path(), &words);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(said.matches("\"H100 PCIe\"").count(), 1, "{said}");
    }
    for (gpu, count) in [("A100", 1), ("A100 80GB", 0)] {
        let words = ["predict", "small.toml", "--gpu", gpu, "--set", "hardware.gpu=\"L4\""];
        let (_, said, code) = in_folder(folder.path(), &words);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(said.matches("\"A100 40GB\"").count(), count, "{said}");
    }
}

#[test]
fn predictions_are_compared_with_whatever_import_reads() {
    let folder = small("");
    let sweep = "workload.chat.sweep.concurrency=[1, 4]";
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/import/vllm/bench-serve-completions.json");
    let words = ["predict", "small.toml", "--gpu", "L4", "--set", sweep, "--against", file];
    let (table, said, code) = in_folder(folder.path(), &words);
    assert_eq!(code, Some(0), "{said}");
    let rows = table.lines().filter(|line| line.starts_with("chat-c4-")).count();
    assert_eq!((rows, table.lines().count()), (1, 4), "{table}");
    // A predicted run is matched cell by cell, and is as predicted.
    let words = ["predict", "small.toml", "--gpu", "L4", "--name", "l4"];
    assert_eq!(in_folder(folder.path(), &words).2, Some(0));
    let words = ["predict", "small.toml", "--gpu", "L4", "--against", "results/small/l4"];
    let (table, said, code) = in_folder(folder.path(), &words);
    assert_eq!(code, Some(0), "{said}");
    assert!(table.contains("over 2 cells: 0.0 %, of throughput 0.0 %"), "{table}");
}

/// A manifest whose engine is named vLLM, with the embedded engine as its command.
fn stand_in(more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let command = RUNNER;
    let text = format!(
        "[experiment]\nname = \"live\"\n[hardware]\nlabel = \"L4 in the attic\"\n[server]\nmodel = \"Qwen/Qwen2.5-1.5B-Instruct\"\n\
         command = [{command:?}, \"sim\"]\n[server.flags]\nmax-model-len = 4096\nsim-ttft = \"5ms\"\nsim-per-token = \"1ms\"\n\
         [workload.chat]\nprompts = {{ file = \"p.jsonl\", field = \"prompt\" }}\nrequests = 4\nmax_tokens = 32\noutput = \"natural\"\n\
         [workload.chat.sweep]\nconcurrency = [1, 2]\n{more}"
    );
    fs::write(folder.path().join("live.toml"), text).unwrap();
    fs::write(folder.path().join("p.jsonl"), "{\"prompt\": \"Why is the sky blue?\"}\n").unwrap();
    folder
}

#[test]
fn a_measured_run_shows_predictions_beside_measurements_and_updates_them() {
    let folder = stand_in("");
    let folder = folder.path();
    let words = ["run", "live.toml", "--name", "one", "--only", "c1-"];
    let (_, said, code) = in_folder(folder, &words);
    assert_eq!(code, Some(0), "{said}");
    let read = |path: &str| fs::read_to_string(folder.join("results/live/one").join(path)).unwrap();
    let predictions = || -> serde_json::Value { serde_json::from_str(&read("predicted.json")).unwrap() };
    let first = predictions();
    assert_eq!(first["basis"]["hardware"], "L4");
    let cells = first["cells"].as_object().unwrap();
    let from: Vec<&str> = cells.values().map(|cell| cell["answers_from"].as_str().unwrap()).collect();
    // One is measured by now, and the other is not.
    assert_eq!(from, ["measured", "assumed"], "{first:#}");

    let (_, said, code) = in_folder(folder, &["run", "live.toml", "--resume", "one"]);
    assert_eq!(code, Some(0), "{said}");
    let second = predictions();
    assert!(second["cells"].as_object().unwrap().values().all(|cell| cell["answers_from"] == "measured"));
    let note = read("notes/capacity.md");
    assert!(note.contains("<summary>Predicted beside measured</summary>"), "{note}");
    assert!(note.contains("held out from tuning"), "{note}");
    assert!(note.contains("as measured |"), "{note}");
    let table = read("cells.csv");
    assert!(table.lines().next().unwrap().ends_with(",predicted_p50_e2e_ms,predicted_throughput_tok_s"));
    let last = table.lines().last().unwrap();
    let fields: Vec<&str> = last.rsplit(',').take(2).collect();
    assert!(fields.iter().all(|field| field.parse::<f64>().unwrap() > 0.0), "{last}");
    let (_, said, code) = in_folder(folder, &["report", "live"]);
    assert_eq!((code, read("notes/capacity.md")), (Some(0), note), "{said}");

    // Another GPU, by hand: what rests on other things stays when the run goes on.
    let (table, said, code) = in_folder(folder, &["predict", "live", "--gpu", "A100"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(table.contains("median absolute error of p50 E2E over 2 cells"), "{table}");
    assert_eq!(predictions()["basis"]["hardware"], "A100 80GB");
    assert!(read("notes/capacity.md").contains("Predicted for A100 80GB"));
    let (_, said, code) = in_folder(folder, &["run", "live.toml", "--resume", "one"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(predictions()["basis"]["hardware"], "A100 80GB");
    let (_, said, code) = in_folder(folder, &["predict", "live", "--name", "x"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--name needs a manifest"), "{said}");
}

#[test]
fn simulated_runs_and_unknown_hardware_get_no_predictions() {
    let folder = stand_in("");
    let folder = folder.path();
    let (_, said, code) = in_folder(folder, &["run", "live.toml", "--name", "sim", "--sim"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!folder.join("results/live/sim/predicted.json").exists());
    let (_, said, code) = in_folder(folder, &["predict", "results/live/sim", "--gpu", "L4"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("was simulated"), "{said}");
    let words = ["run", "live.toml", "--name", "attic", "--set", "hardware.label=\"a box\""];
    let (_, said, code) = in_folder(folder, &words);
    assert_eq!(code, Some(0), "{said}");
    assert!(!folder.join("results/live/attic/predicted.json").exists());
    let (_, said, code) = in_folder(folder, &["predict", "results/live/attic"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("no GPU called \"a box\"") && said.contains("[catalogue.gpu."), "{said}");
    let (_, said, code) = in_folder(folder, &["predict", "results/live/attic", "--gpu", "L4"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(folder.join("results/live/attic/predicted.json").exists());
}

const SEARCH: &str = "[experiment]\nname = \"most\"\n[hardware]\ngpu = \"L4\"\nusd_per_hour = 0.8\n[server]\n\
    model = \"Qwen/Qwen2.5-1.5B-Instruct\"\n[server.flags]\nmax-model-len = 4096\n[workload.chat]\n\
    synthetic = { input_tokens = 400, output_tokens = 40 }\nrequests = 150\noutput = \"exact\"\n\
    slo = { p95_ttft = \"120ms\" }\n[workload.chat.search]\naxis = \"concurrency\"\nfrom = 1\nto = 64\n";

#[test]
fn searches_are_predicted_with_their_probes_and_answers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("most.toml"), SEARCH).unwrap();
    let (table, said, code) = in_folder(folder, &["predict", "most.toml"]);
    assert_eq!(code, Some(0), "{said}");
    let answer =
        table.lines().find(|line| line.starts_with("search chat: ")).unwrap_or_else(|| panic!("{table}"));
    assert!(
        answer.contains("the SLO is met up to a concurrency between") && answer.contains("p95_ttft"),
        "{answer}"
    );
    let (_, said, code) = in_folder(folder, &["predict", "most.toml", "--name", "l4"]);
    assert_eq!(code, Some(0), "{said}");
    let read = |name: &str| fs::read_to_string(folder.join("results/most/l4").join(name)).unwrap();
    let searches = read("searches.csv");
    let row = searches.lines().nth(1).unwrap();
    assert!(
        row.starts_with("chat,chat,") && [",found", ",wide"].iter().any(|state| row.contains(state)),
        "{searches}"
    );
    let cells = read("cells.csv");
    let column = cells.lines().next().unwrap().split(',').position(|name| name == "search").unwrap();
    let probes = cells.lines().skip(1);
    assert!(probes.clone().all(|row| row.split(',').nth(column) == Some("chat")), "{cells}");
    assert!((3..=8).contains(&probes.count()), "{cells}");

    // The plan says what it takes, and less is known without a GPU.
    let (_, said, code) = in_folder(folder, &["plan", "most.toml"]);
    assert_eq!(code, Some(0), "{said}");
    let line = said.lines().find(|line| line.contains("chat: ")).unwrap_or_else(|| panic!("{said}"));
    assert!(["probe", "server start"].iter().all(|word| line.contains(word)), "{line}");
    let (plan, said, code) = in_folder(folder, &["plan", "most.toml", "--json", "--sim"]);
    assert_eq!(code, Some(0), "{said}");
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let estimate = &plan["searches"][0]["estimate"];
    assert_eq!(
        (&estimate["starts"], estimate.get("seconds")),
        (&serde_json::json!([1, 1]), None),
        "{estimate}"
    );
}
