//! Asking a program something that it answers on its standard output, in bounded time and memory. Its whole tree ends with the
//! answer, or with us.

use std::{path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::timeout,
};

use super::{guard::NOT_STARTED, journal};
use crate::manifest::expand_home;

/// The most that is read of one answer, bytes.
const LONGEST: u64 = 4 << 20;
/// How long the end of a program is waited for that was given up. Its guardian sees to it without us.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why there is no answer.
pub(super) enum Refusal {
    /// It cannot be run.
    Absent(String),
    /// It ran, and ended badly.
    Answered(String),
    /// It did not end, or had no end of words: it is asked nothing more.
    Endless(String),
}

impl Refusal {
    pub(super) fn reason(self) -> String {
        match self {
            Self::Absent(reason) | Self::Answered(reason) | Self::Endless(reason) => reason,
        }
    }
}

/// Runs a command that is to answer and end, such as the driver's own tool, and returns what it writes to its standard output.
/// It costs at most `patience` and 2 s, and 8 MiB of memory. `runner` is this binary: under its guardian the command's whole
/// tree ends with the answer, or with us, even by `kill -9`; `None` runs it without.
///
/// # Errors
/// `Ok` of nothing where the command is not there or fails; an error, as a sentence, where it does not end or floods.
pub async fn answer(
    runner: Option<&str>,
    patience: Duration,
    words: &[&str],
) -> Result<Option<String>, String> {
    let Some((last, words)) = words.split_last() else {
        return Ok(None);
    };
    match (Asker { runner, patience }).ask(words, last).await {
        Ok(text) => Ok(Some(text)),
        Err(Refusal::Endless(reason)) => Err(reason),
        Err(Refusal::Absent(_) | Refusal::Answered(_)) => Ok(None),
    }
}

/// Asks programs.
pub(super) struct Asker<'a> {
    /// This binary, whose guardian ends the program's whole tree with the answer or with us.
    pub(super) runner: Option<&'a str>,
    /// How long one answer may take.
    pub(super) patience: Duration,
}

impl Asker<'_> {
    /// Runs the words with one more, and returns what it writes to its standard output.
    pub(super) async fn ask(&self, words: &[&str], last: &str) -> Result<String, Refusal> {
        let Some((program, rest)) = words.split_first() else {
            return Err(Refusal::Absent("the command is empty".into()));
        };
        let program = expand_home(program);
        let mut command = match self.runner {
            None => Command::new(&program),
            Some(runner) => {
                let mut command = Command::new(runner);
                let journal = journal::folder();
                command.arg("ask").arg(journal.as_deref().unwrap_or(Path::new(""))).arg(&program);
                command
            }
        };
        let mut child = command
            .args(rest)
            .arg(last)
            // Help is folded at the width of the terminal.
            .env("COLUMNS", "200")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| Refusal::Absent(error.to_string()))?;
        // Its end tells the guardian to end the program.
        let leash = child.stdin.take();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let answer = async {
            let (out, err) = tokio::try_join!(text(out), text(err))?;
            Ok::<_, String>((out, err, child.wait().await))
        };
        let answered = timeout(self.patience, answer)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", self.patience.as_secs())));
        match answered {
            Ok((out, _, Ok(status))) if status.success() => Ok(out),
            Ok((_, err, Ok(status))) => {
                let why = err.lines().rev().find(|line| !line.trim().is_empty());
                let why = why.unwrap_or("it said nothing").trim();
                if self.runner.is_some() && status.code() == Some(NOT_STARTED) {
                    return Err(Refusal::Absent(why.to_owned()));
                }
                Err(Refusal::Answered(format!("it ended with {status}: {why}")))
            }
            Ok((_, _, Err(error))) => Err(Refusal::Answered(error.to_string())),
            Err(reason) => {
                drop(leash);
                if self.runner.is_some() {
                    // What waits in a hung driver ends when the driver lets it.
                    let _ = timeout(FAREWELL, child.wait()).await;
                } else if let Some(group) = child.id().and_then(|id| Pid::from_raw(id as i32)) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                Err(Refusal::Endless(reason))
            }
        }
    }
}

/// What is written to a pipe, as far as it goes.
async fn text(pipe: Option<impl AsyncRead + Unpin>) -> Result<String, String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read before an error is still worth reading.
        let _ = pipe.take(LONGEST + 1).read_to_end(&mut bytes).await;
    }
    if bytes.len() as u64 > LONGEST {
        return Err(format!("its answer is longer than {LONGEST} bytes"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
