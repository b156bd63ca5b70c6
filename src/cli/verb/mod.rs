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
    output::{accept, counted, print, print_json, refuse, say, show, unexpected, wrong},
};
use crate::{manifest::schema, server, store};
use prepare::{Ended, command_line, planned, runtime, selected, settings};

/// Runs the verb of a command line and returns the exit code of the process.
pub fn dispatch(cli: Cli) -> ExitCode {
    let ended = match cli.verb {
        Verb::Run(args) => run::run(&args),
        Verb::Check(args) => plan::check(&args),
        Verb::Plan(args) => plan::plan(&args),
        Verb::Predict(args) => predict::predict(&args),
        Verb::Calibrate(args) => calibrate::calibrate(&args),
        Verb::Report(args) => report::report(&args),
        Verb::Compare(args) => compare::compare_verb(&args),
        Verb::Import(args) => import::import(&args),
        Verb::Export(args) => import::export(&args),
        Verb::Recipe(args) => plan::recipe(&args),
        Verb::Sim(raw) => sim::sim(raw.text()),
        Verb::Init(args) => init::init(&args.path).map_err(refuse).map(|text| {
            say(&text);
            Exit::Finished
        }),
        Verb::Schema => print_json(&schema()).map(|()| Exit::Finished),
        Verb::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "runner", &mut out);
            print(&String::from_utf8_lossy(&out)).map(|()| Exit::Finished)
        }
        Verb::Man { folder } => man_pages(folder.as_deref()),
        Verb::Guard(raw) => {
            // It reports on standard output, and nothing reads its exit code.
            server::guard(&raw.text());
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
