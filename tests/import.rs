//! `import`, `compare` and `export` as a person uses them.

use std::{path::Path, process::Command};

fn runner(folder: &Path, words: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(words)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
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
        &[
            "import",
            &grid,
            "--as",
            "journal",
            "--slo",
            "p95_e2e=3s",
            "--caveat",
            "Counts words.",
        ],
    );
    assert_eq!(code, 0, "{said}");
    assert!(
        notes.contains("results/journal/imported/notes/capacity.md"),
        "{notes}"
    );
    let note =
        std::fs::read_to_string(folder.join("results/journal/imported/notes/capacity.md")).unwrap();
    assert!(
        note.contains("**IMPORTED.") && note.contains("Counts words."),
        "{note}"
    );
    let table = std::fs::read_to_string(folder.join("results/journal/imported/cells.csv")).unwrap();
    assert!(
        table
            .lines()
            .nth(1)
            .unwrap()
            .contains(",imported;not_streamed,"),
        "{table}"
    );

    let (code, _, said) = runner(folder, &["compare", "mine", "journal"]);
    assert_eq!(code, 2);
    assert!(
        said.contains("--despite client    runner 0.1.0 against unknown"),
        "{said}"
    );
    let words = [
        "compare",
        "mine",
        "journal",
        "--despite",
        "client",
        "--despite",
        "simulated",
    ];
    let (code, text, said) = runner(folder, &words);
    assert_eq!(code, 0, "{said}");
    assert!(
        text.contains("**IMPORTED.") && text.contains("2 cells measured on both"),
        "{text}"
    );
    assert!(text.contains("concurrency 4, max_tokens 64"), "{text}");

    let (code, lines, _) = runner(folder, &["export", "journal", "mine"]);
    assert_eq!((code, lines.lines().count()), (0, 14));
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["p95_e2e_ms"], 1064.63);
    assert_eq!(
        (&first["concurrency"], &first["p99_e2e_ms"]),
        (&1.into(), &serde_json::Value::Null)
    );
    assert_eq!(first["imported"], true);
    let (code, out, _) = runner(folder, &["export", "mine", "-o", "mine.jsonl"]);
    assert_eq!((code, out.as_str()), (0, ""));
    let last = std::fs::read_to_string(folder.join("mine.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["counts_completed"], &last["n_e2e"]),
        (&16.into(), &16.into())
    );

    let (code, _, said) = runner(folder, &["import", &grid, "--as", "journal"]);
    assert_eq!(code, 2);
    assert!(said.contains("choose another name with --as"), "{said}");
}
