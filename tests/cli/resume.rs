//! `run --resume` is the one command that starts a run, continues it, and says that it is complete.

use std::{fs, process::Command};

use super::support::experiment::Experiment;

const MANIFEST: &str = r#"
experiment.name = "day"
server = { engine = "sim", model = "m" }
workload.chat = { prompts = ["x"], requests = 2, max_tokens = 1, sweep.concurrency = [1, 2] }
"#;

/// Runs a command line as a shell does, beside the manifest. Returns stderr and the exit code.
fn shell(experiment: &Experiment, line: &str) -> (String, Option<i32>) {
    let folder = experiment.path("manifest.toml");
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(folder.parent().unwrap());
    let output = command.output().unwrap();
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

/// The command that a run suggests.
fn next(said: &str) -> &str {
    let line = said.lines().find_map(|line| line.strip_prefix("next:"));
    line.unwrap_or_else(|| panic!("no command is suggested:\n{said}")).trim()
}

#[test]
fn one_command_starts_a_run_continues_it_and_says_that_it_is_complete() {
    let experiment = Experiment::new(MANIFEST).unwrap();
    fs::rename(experiment.path("manifest.toml"), experiment.path("a day's.toml")).unwrap();
    let runner = env!("CARGO_BIN_EXE_runner");
    let options = "--results 'my results' --sim --set workload.chat.requests=3 --resume";
    let (said, code) = shell(&experiment, &format!("{runner} run \"a day's.toml\" {options} --only c1-"));
    assert_eq!(code, Some(0), "nothing exists yet, so the run is started:\n{said}");
    assert!(said.contains("\nmissing: 1 cell"), "{said}");

    let command = next(&said).to_owned();
    let (said, code) = shell(&experiment, &command);
    assert_eq!(code, Some(0), "{command}\n{said}");
    assert!(said.contains("\nfinished: 2 cells (2 ok)") && !said.contains("missing"), "{said}");
    assert!(next(&said).starts_with("git add"), "{said}");
    let runs: Vec<_> = fs::read_dir(experiment.path("my results/day")).unwrap().flatten().collect();
    assert_eq!(runs.len(), 1, "the suggested command continues the run");

    let stored = || fs::read(runs[0].path().join("run.json")).unwrap();
    let before = stored();
    let (said, code) = shell(&experiment, &command);
    assert_eq!((code, stored()), (Some(0), before), "{said}");
    assert!(said.starts_with("already complete: 2 cells (2 ok)"), "{said}");
}

#[test]
fn a_name_means_the_same_run_again() {
    let experiment = Experiment::new(MANIFEST).unwrap();
    let run = |options: &str| {
        shell(&experiment, &format!("{} run manifest.toml --sim {options}", env!("CARGO_BIN_EXE_runner")))
    };
    let (said, code) = run("--resume monday");
    assert_eq!(code, Some(2), "a run that is named to be continued has to exist:\n{said}");
    for expected in ["finished: 2 cells", "already complete: 2 cells"] {
        let (said, code) = run("--name monday --resume");
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    assert!(experiment.path("results/day/monday/run.json").exists());
    assert_eq!(run("--name monday --resume monday").1, Some(2));
}
