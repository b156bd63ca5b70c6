//! Injecting a fault at a moment of a run, and what is left afterwards.

use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::row::MANIFEST;
use crate::support::RUNNER;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a run said, how it ended, and where its results are.
pub(crate) struct Told {
    pub(crate) code: String,
    pub(crate) said: String,
    pub(crate) results: Option<PathBuf>,
}

/// Writes the manifest with what is asked of the server.
pub(crate) fn manifest(folder: &Path, server: &str, sim: &str) -> std::io::Result<()> {
    let text = MANIFEST.replace("{server}", server).replace("{sim}", sim);
    fs::write(folder.join("manifest.toml"), text)
}

/// `runner run` of that manifest, or `--resume` of it.
pub(crate) fn run(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(RUNNER);
    command.args(["run", "manifest.toml", "--results", "results"]);
    command.args(more);
    surround(&mut command, folder);
    command
}

/// Where every command of a test runs, and by what its processes are known.
pub(crate) fn surround(command: &mut Command, folder: &Path) {
    command
        .current_dir(folder)
        .env("XDG_STATE_HOME", folder.join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
}

/// Sees a run to its end; `act` is done, with the run's process, when a line with `moment` is said.
pub(crate) fn at(
    mut command: Command,
    moment: &str,
    act: impl FnOnce(i32),
) -> Result<(String, String), Box<dyn Error>> {
    let mut child = command.spawn()?;
    let pid = i32::try_from(child.id())?;
    let stderr = child.stderr.take().ok_or("no standard error")?;
    let (mut said, mut act) = (String::new(), Some(act));
    for line in BufReader::new(stderr).lines() {
        let line = line?;
        let now = line.contains(moment);
        said.push_str(&line);
        said.push('\n');
        if now && let Some(act) = act.take() {
            act(pid);
        }
    }
    let status = child.wait()?;
    if !moment.is_empty() && act.is_some() {
        return Err(format!("{moment:?} was never said:\n{said}").into());
    }
    let code = match status.code() {
        Some(code) => code.to_string(),
        None => "killed".into(),
    };
    Ok((code, said))
}

/// A run whose server does what it does; results are where they belong.
pub(crate) fn told(folder: &Path, (code, said): (String, String)) -> Told {
    Told { code, said, results: Some(folder.join("results")) }
}

/// Nothing of a run is left: no process that was given this folder, no entry of the journal, no half-written
/// file.
pub(crate) fn nothing_is_left(folder: &Path) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    loop {
        let left = processes_of(folder);
        if left.is_empty() {
            break;
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("processes {left:?} are left").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if folder.join("state/runner/servers").exists() {
        return Err("the journal is left".into());
    }
    let mut next = vec![folder.to_owned()];
    while let Some(folder) = next.pop() {
        for entry in fs::read_dir(folder)?.flatten() {
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with(".tmp-") {
                return Err(format!("{} is left", path.display()).into());
            }
            if entry.file_type()?.is_dir() {
                next.push(path);
            }
        }
    }
    Ok(())
}

/// Every living process that has the folder in its environment.
fn processes_of(folder: &Path) -> Vec<String> {
    let needle = folder.display().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|process| {
            let environment = fs::read(process.path().join("environ")).unwrap_or_default();
            memchr::memmem::find(&environment, needle.as_bytes()).is_some()
        })
        .map(|process| process.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The process of the embedded engine below a runner, and its guardian.
#[cfg(target_os = "linux")]
pub(crate) fn server_and_guard(runner: i32) -> (i32, i32) {
    use crate::support::processes::below;

    let guard = below(runner)
        .into_iter()
        .map(|(pid, _)| pid)
        .find(|pid| !below(*pid).is_empty())
        .expect("a guardian");
    (below(guard)[0].0, guard)
}

/// What needs nothing.
pub(crate) fn nothing() -> Result<Option<String>, String> {
    Ok(None)
}
