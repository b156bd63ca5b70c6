//! Runs a program and captures its standard output in bounded time and memory. The program's whole process
//! tree ends with the call, or with the runner.

use std::{path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time,
};

use super::{guard::NOT_STARTED, journal};
use crate::manifest::expand_home;

/// The most that is read of a program's output, bytes.
const MAX_OUTPUT: u64 = 4 << 20;
/// How long to wait for the end of a program that timed out. Its guardian ends it in any case.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a program's output could not be captured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// The program cannot be run, with the operating system's reason.
    #[error("{0}")]
    CannotRun(String),
    /// The program failed.
    #[error("it ended with {status}: {last_line}")]
    Failed {
        /// Its exit status, as text.
        status: String,
        /// The last line it wrote to its standard error.
        last_line: String,
    },
    /// The program did not end in time.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The program wrote too much.
    #[error("its output is longer than {MAX_OUTPUT} bytes")]
    TooLong,
}

/// Runs a command and returns what it writes to its standard output. The call takes at most `timeout` and 2
/// s, and 8 MiB of memory. With `runner`, the path of this binary, the command runs under a guardian that
/// ends its process tree even when the runner is killed by SIGKILL.
///
/// # Errors
/// When the command cannot be run, fails, does not end in time or writes too much.
pub async fn capture(runner: Option<&str>, timeout: Duration, argv: &[&str]) -> Result<String, CaptureError> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(CaptureError::CannotRun("the command is empty".into()));
    };
    let program = expand_home(program);
    let mut command = match runner {
        None => Command::new(&program),
        Some(runner) => {
            let journal = journal::folder();
            let mut command = Command::new(runner);
            command.arg("guard-capture").arg(journal.as_deref().unwrap_or(Path::new(""))).arg(&program);
            command
        }
    };
    let mut child = command
        .args(arguments)
        // Help is wrapped at the width of the terminal.
        .env("COLUMNS", "200")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| CaptureError::CannotRun(error.to_string()))?;
    // The guardian ends the program when this end of the pipe closes.
    let leash = child.stdin.take();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let output = async {
        let (out, err) = tokio::try_join!(read(out), read(err))?;
        Ok((out, err, child.wait().await))
    };
    match time::timeout(timeout, output).await.unwrap_or(Err(CaptureError::TimedOut(timeout))) {
        Ok((out, _, Ok(status))) if status.success() => Ok(out),
        Ok((_, err, Ok(status))) => {
            let last_line = err.lines().rev().find(|line| !line.trim().is_empty());
            let last_line = last_line.unwrap_or("no error message").trim().to_owned();
            if runner.is_some() && status.code() == Some(NOT_STARTED) {
                return Err(CaptureError::CannotRun(last_line));
            }
            Err(CaptureError::Failed { status: status.to_string(), last_line })
        }
        Ok((_, _, Err(error))) => Err(CaptureError::CannotRun(error.to_string())),
        Err(error) => {
            drop(leash);
            if runner.is_some() {
                // A process that hangs in a driver ends only when the driver returns.
                let _ = time::timeout(END_TIMEOUT, child.wait()).await;
            } else if let Some(group) = child.id().and_then(|id| Pid::from_raw(id as i32)) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            Err(error)
        }
    }
}

/// Reads a pipe to its end.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Result<String, CaptureError> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read before an error is still useful.
        let _ = pipe.take(MAX_OUTPUT + 1).read_to_end(&mut bytes).await;
    }
    if bytes.len() as u64 > MAX_OUTPUT {
        return Err(CaptureError::TooLong);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
