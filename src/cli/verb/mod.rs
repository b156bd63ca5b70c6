//! The verbs: each reads its arguments and settings, calls one room, and prints the result.

mod calibrate;
mod compare;
mod import;
mod plan;
mod predict;
mod predict_run;
mod predict_table;
mod prepare;
mod report;
mod run;
mod sim;

use std::process::ExitCode;

use camino::Utf8Path;
use clap::CommandFactory;

use super::{
    args::{Cli, Verb},
    exit::Exit,
    init, man,
    output::{counted, print, refuse, say, show, unexpected, wrong},
};
use crate::{manifest::schema, server, store};
use prepare::{Ended, command_line, planned, runtime, selected, settings};

/// Runs the verb of a command line and returns the exit code of the process.
pub fn dispatch(cli: Cli) -> ExitCode {
    let ended = match cli.verb {
        Verb::Run(words) => run::run(&words),
        Verb::Check(words) => plan::check(&words),
        Verb::Plan(words) => plan::plan(&words),
        Verb::Predict(words) => predict::predict(&words),
        Verb::Calibrate(words) => calibrate::calibrate(&words),
        Verb::Report(words) => report::report(&words),
        Verb::Compare(words) => compare::compare_verb(&words),
        Verb::Import(words) => import::import(&words),
        Verb::Export(words) => import::export(&words),
        Verb::Recipe(words) => plan::recipe(&words),
        Verb::Sim(raw) => sim::sim(raw.text()),
        Verb::Init(words) => match init::init(&words.path) {
            Ok(text) => {
                say(&text);
                Ok(Exit::Finished)
            }
            Err(findings) => Err(refuse(&findings)),
        },
        Verb::Schema => {
            let text = serde_json::to_string_pretty(&schema()).unwrap_or_else(|error| error.to_string());
            print(&format!("{text}\n")).map(|()| Exit::Finished)
        }
        Verb::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "runner", &mut out);
            print(&String::from_utf8_lossy(&out)).map(|()| Exit::Finished)
        }
        Verb::Man { folder } => man_pages(folder.as_deref()),
        Verb::Guard(raw) => {
            // Nothing reads the guardian's exit code: it reports on standard output.
            let _ = server::guard(&raw.text());
            Ok(Exit::Finished)
        }
        // The code is the captured command's own.
        Verb::GuardCapture(raw) => return ExitCode::from(server::guard_capture(&raw.text()) as u8),
    };
    ended.unwrap_or_else(|early| early).into()
}

/// Prints the main man page, or writes the page of every verb into a folder.
fn man_pages(folder: Option<&Utf8Path>) -> Ended {
    let pages = man::pages().map_err(unexpected)?;
    let Some(folder) = folder else {
        return print(&pages[0].1).map(|()| Exit::Finished);
    };
    for (name, roff) in pages {
        let path = folder.join(name);
        store::write_whole(&path, roff.as_bytes()).map_err(unexpected)?;
        print(&format!("{path}\n"))?;
    }
    Ok(Exit::Finished)
}
