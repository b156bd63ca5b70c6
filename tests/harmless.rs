//! Names and logs that are terminal escapes, HTML, Markdown or paths: they do no harm on the screen, in files or in notes.
#![cfg(unix)]

#[expect(dead_code, reason = "other tests use more of it")]
mod experiment;

use std::{fs, path::Path, process::Output};

use experiment::Experiment;

/// A server that says what a terminal, a browser or a table would obey, and ends.
const MANIFEST: &str = r#"
[experiment]
name = "harmless"
title = "T\u001b]0;title\u0007 <script>alert(1)</script> [x](javascript:alert(1)) | `code`"
[hardware]
label = "L\u001b[2J<img src=x onerror=alert(1)>\u202e|"
[server]
engine = "openai"
model = "M\u001b[2J<img src=x onerror=alert(1)>../../etc/passwd"
command = ["sh", "-c", "printf '\\033]0;title\\007\\033[2J\\033[31mRuntimeError: <script>alert(1)</script> | `x` \\302\\233 2J \\342\\200\\256 ../../x\\n' >&2; exit 1", "{port}"]
[workload.chat]
prompts = ["P\u001b[2J<script>alert(1)</script>"]
requests = 1
[workload.chat.sweep]
max_tokens = [1, 2]
[workload."w\u001b[2J<script>"]
prompts = ["x"]
requests = 1
max_tokens = 1
"#;

/// Bytes that a terminal obeys.
fn obeyed(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let harm = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t' | '\r')) || matches!(c, '\u{202a}'..='\u{202e}')
    };
    let line = text.lines().find(|line| line.chars().any(harm))?;
    Some(line.escape_debug().to_string())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => files(&entry.path(), found),
            false => found.push(entry.path()),
        }
    }
}

#[test]
fn nothing_that_was_named_or_logged_is_obeyed() {
    // A workload's name may not hold anything: that is told, and harms nobody either.
    let experiment = Experiment::new(MANIFEST).unwrap();
    let refused = experiment.run().output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert_eq!(obeyed(&refused.stderr), None);
    assert!(!experiment.path("results").exists());

    let (rest, _) = MANIFEST.split_once("[workload.\"w").unwrap();
    let experiment = Experiment::new(rest).unwrap();
    let output = experiment.run().output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert_eq!(obeyed(&output.stdout), None);
    assert_eq!(obeyed(&output.stderr), None);
    // In colour, too, nothing but colours comes through.
    let coloured = experiment
        .runner(&[
            "run",
            "manifest.toml",
            "--results",
            "coloured",
            "--color",
            "always",
        ])
        .output()
        .unwrap();
    let text = said(&coloured);
    assert!(
        !text.contains("\x1b]") && !text.contains("\x1b[2J"),
        "{text:?}"
    );

    let mut all = Vec::new();
    files(&experiment.path("results"), &mut all);
    let mut notes = 0;
    for path in all {
        let name = path.file_name().unwrap().to_str().unwrap();
        // The log is what the server wrote, byte by byte, and the manifest what a person wrote.
        if ["server.log", "manifest.toml"].contains(&name) {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        // Data is kept as it is, but for what a terminal would obey.
        let text = String::from_utf8_lossy(&bytes).replace('\u{202e}', "");
        assert_eq!(obeyed(text.as_bytes()), None, "{}", path.display());
        if name.ends_with(".md") {
            notes += 1;
            assert_eq!(obeyed(&bytes), None, "{}", path.display());
            let text = String::from_utf8(bytes).unwrap();
            for (number, line) in text.lines().enumerate() {
                // Inside of a fence nothing is obeyed, and a code span shows what it holds.
                let fenced = text
                    .lines()
                    .take(number)
                    .filter(|line| line.starts_with("```"))
                    .count()
                    % 2
                    == 1;
                assert!(fenced || !line.contains("<script>"), "{line}");
                assert!(fenced || !line.contains("<img"), "{line}");
                assert!(fenced || !line.contains("[x](javascript"), "{line}");
            }
        }
    }
    assert!(notes > 0);
}

#[test]
fn no_name_leads_out_of_the_results() {
    let (rest, _) = MANIFEST.split_once("[workload.\"w").unwrap();
    for (name, code) in [("../out", 1), ("/tmp/out", 1), ("a\nb", 1), (".hidden", 1)] {
        let experiment = Experiment::new(rest).unwrap();
        let output = experiment
            .runner(&[
                "run",
                "manifest.toml",
                "--results",
                "deep/results",
                "--name",
                name,
            ])
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{name:?}: {}",
            said(&output)
        );
        assert!(!experiment.path("deep/results/out").exists());
        assert!(!experiment.path("deep/out").exists() && !Path::new("/tmp/out").exists());
    }
    for name in ["../out", "/out", "a/b", "..", "a\\u001b[2J"] {
        let experiment =
            Experiment::new(&rest.replace("\"harmless\"", &format!("\"{name}\""))).unwrap();
        let output = experiment.run().output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name:?}: {}", said(&output));
        assert_eq!(obeyed(&output.stderr), None, "{name:?}");
    }
}
