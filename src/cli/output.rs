//! Prints to stdout and stderr: data, messages, and errors with their exit codes.

use std::{fmt::Display, io::Write};

use serde::Serialize;

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

/// Prints a value to stdout as indented JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Exit> {
    let text = serde_json::to_string_pretty(value).map_err(unexpected)?;
    print(&format!("{text}\n"))
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
pub(super) fn refuse(findings: Findings) -> Exit {
    show(&findings);
    Exit::Usage
}

/// Prints findings, if there are any, and refuses to go on when one of them is an error.
pub(super) fn accept(findings: &Findings) -> Result<(), Exit> {
    show(findings);
    if findings.has_errors() { Err(Exit::Usage) } else { Ok(()) }
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
