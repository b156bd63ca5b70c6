//! Prints to stdout and stderr: data, messages, and errors with their exit codes.

use std::{fmt::Display, io::Write};

use super::exit::Exit;
use crate::diagnostic::Findings;

/// Prints a message to stderr.
pub(super) fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", text.trim_end());
}

/// Prints data to stdout. A reader that has seen enough is no error; a full disk is.
pub(super) fn print(text: &str) -> Result<(), Exit> {
    let mut out = anstream::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(unexpected(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints an error that the command line did not cause.
pub(super) fn unexpected(error: impl Display) -> Exit {
    say(&format!("error: {error}"));
    Exit::Unexpected
}

/// Prints a mistake in the command line.
pub(super) fn wrong(text: impl Display) -> Exit {
    say(&format!("error: {text}"));
    Exit::Usage
}

/// Prints the findings that make a manifest or a template unusable.
pub(super) fn refuse(findings: &Findings) -> Exit {
    show(findings);
    Exit::Usage
}

/// Prints findings, if there are any.
pub(super) fn show(findings: &Findings) {
    if !findings.0.is_empty() {
        say(&findings.render(true));
    }
}

/// `1 cell`, `2 cells`.
pub(super) fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
