//! Names and logs with terminal escapes, HTML, Markdown or paths in them do no harm in a terminal, in files
//! or in notes.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::support::{RUNNER, experiment::Experiment};

/// A server that prints terminal escapes, HTML and Markdown, and exits.
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

/// The first line with a character that controls a terminal.
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
fn names_and_logs_are_escaped_in_terminal_files_and_notes() {
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
        .runner(&["run", "manifest.toml", "--results", "coloured", "--color", "always"])
        .output()
        .unwrap();
    let text = said(&coloured);
    assert!(!text.contains("\x1b]") && !text.contains("\x1b[2J"), "{text:?}");

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
                let fenced =
                    text.lines().take(number).filter(|line| line.starts_with("```")).count() % 2 == 1;
                assert!(fenced || !line.contains("<script>"), "{line}");
                assert!(fenced || !line.contains("<img"), "{line}");
                assert!(fenced || !line.contains("[x](javascript"), "{line}");
            }
        }
    }
    assert!(notes > 0);
}

#[test]
fn names_cannot_leave_the_results_folder() {
    let (rest, _) = MANIFEST.split_once("[workload.\"w").unwrap();
    for name in ["..", "../out", "/tmp/out", "a/b", "", "a\nb", ".hidden"] {
        let experiment = Experiment::new(rest).unwrap();
        let output = experiment
            .runner(&["run", "manifest.toml", "--results", "deep/results", "--name", name])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{name:?}: {}", said(&output));
        assert!(!experiment.path("deep/results/out").exists());
        assert!(!experiment.path("deep/out").exists() && !Path::new("/tmp/out").exists());
    }
    for name in ["../out", "/out", "a/b", "..", "a\\u001b[2J"] {
        let experiment = Experiment::new(&rest.replace("\"harmless\"", &format!("\"{name}\""))).unwrap();
        let output = experiment.run().output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name:?}: {}", said(&output));
        assert_eq!(obeyed(&output.stderr), None, "{name:?}");
    }
}

/// A small run that succeeds.
const SMALL: &str = r#"
[experiment]
name = "small"
[server]
engine = "sim"
model = "m"
[server.sim]
ttft = "1ms"
per_token = "1ms"
startup = "0s"
[workload.chat]
prompts = ["x"]
requests = 2
max_tokens = 2
"#;

fn small() -> Experiment {
    Experiment::new(SMALL).unwrap()
}

/// A name that is not UTF-8.
fn no_text() -> &'static OsStr {
    OsStr::from_bytes(b"a\xffb")
}

/// The exit code and standard error.
fn told(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    (output.status.code(), text)
}

#[test]
fn arguments_that_are_not_utf8_are_rejected() {
    let experiment = small();
    for place in ["manifest", "--name", "--results"] {
        let mut command = experiment.runner(&["run"]);
        match place {
            "manifest" => command.arg(no_text()),
            option => command.args(["manifest.toml", option]).arg(no_text()),
        };
        let (code, text) = told(command);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(r#""a\xFFb", is not UTF-8"#), "{text}");
    }
    let mut command = experiment.runner(&["run", "manifest.toml"]);
    command.env("RUNNER_RESULTS", no_text());
    let (code, text) = told(command);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("RUNNER_RESULTS") && text.contains("not UTF-8"), "{text}");
    assert!(!experiment.path("results").exists());
}

#[test]
fn an_endless_manifest_is_rejected() {
    let experiment = small();
    let (code, text) = told(experiment.runner(&["check", "/dev/zero"]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("a device"), "{text}");
}

#[test]
fn printed_commands_are_quoted_for_a_shell() {
    let experiment = small();
    let name = "it's \"a\" \u{1b}[2Jresult";
    let (code, text) = told(experiment.runner(&["run", "manifest.toml", "--results", name]));
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let told = text.lines().find_map(|line| line.trim().strip_prefix("next:    git add "));
    let words = shlex::split(told.unwrap()).unwrap();
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(words[0].starts_with("it's \"a\" "), "{words:?}");
}

/// With closed, full or broken streams a run ends as usual; data that cannot be printed is an error.
#[test]
fn a_run_works_without_standard_streams() {
    for streams in ["<&- >&- 2>&-", ">/dev/full 2>/dev/full", "2>&1 | head -n 1 >/dev/null"] {
        let experiment = small();
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("\"$0\" run manifest.toml --results results {streams}")])
            .arg(RUNNER)
            .current_dir(experiment.path(""))
            .stdin(Stdio::null());
        let (code, text) = told(command);
        assert_eq!(code, Some(0), "{streams}: {text}");
        let cells = experiment.cells().unwrap();
        assert_eq!(cells.len(), 1, "{streams}");
        assert_eq!(cells[0]["outcome"], "ok");
        assert!(experiment.run_folder().unwrap().join("notes/capacity.md").exists());
    }
    #[cfg(target_os = "linux")]
    {
        let experiment = small();
        let mut command = experiment.runner(&["schema"]);
        command.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
        let (code, text) = told(command);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("standard output"), "{text}");
    }
}
