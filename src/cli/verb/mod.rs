//! The verbs: each puts settings and words together and calls one room.

mod calibrate;
mod compare;
mod import;
mod plan;
mod predict;
mod predict_run;
mod predict_table;
mod report;
mod run;
mod sim;

use std::{fmt::Display, io::Write};

use camino::{Utf8Path, Utf8PathBuf};
use clap::CommandFactory;
use tokio::runtime::Runtime;

use super::{
    args::{self, Cli, Verb},
    exit::Exit,
    init,
    settings::{Layer, Settings},
};
use crate::{
    diagnostic::{Findings, Severity},
    manifest::{Manifest, Overrides, schema},
    plan::{Plan, selects},
    predict::Placement,
    server,
};

/// How a verb ended. An `Err` ended it early; what went wrong was said by then.
type Ended = Result<Exit, Exit>;

/// Does what the words say; the exit code of the process.
pub fn dispatch(cli: Cli) -> Exit {
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
        Verb::Guard(raw) => {
            // The guardian's own exit code is read by nobody: its words on standard output are what counts.
            let _ = server::guard(&raw.text());
            Ok(Exit::Finished)
        }
        // The code is the captured command's own.
        Verb::GuardCapture(raw) => std::process::exit(server::guard_capture(&raw.text())),
    };
    ended.unwrap_or_else(|early| early)
}

/// The runtime of everything but the load, which has a thread of its own: one worker, so that the client's core stays free.
fn runtime() -> Result<Runtime, Exit> {
    // The runtime panics where its first thread cannot be started.
    let probe = std::thread::Builder::new().spawn(|| ());
    let built = probe
        .map(std::thread::JoinHandle::join)
        .and_then(|_| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build());
    built.map_err(|error| {
        unexpected(format!(
            "cannot start: {error}; see the limits on processes and open files (`ulimit -u`, `ulimit -n`)"
        ))
    })
}

/// The command line for provenance. The path of the binary would say nothing to the next person.
fn command_line() -> Vec<String> {
    std::iter::once("runner".to_owned()).chain(std::env::args().skip(1)).collect()
}

fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", text.trim_end());
}

/// Writes data to standard output. Whoever reads it may have had enough; a disk that is full loses it, and that is told.
fn print(text: &str) -> Result<(), Exit> {
    let mut out = anstream::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(unexpected(format!("cannot write to standard output: {error}; send it to a place with room")))
        }
        _ => Ok(()),
    }
}

/// Says what went wrong, and that nobody's words were the reason.
fn unexpected(error: impl Display) -> Exit {
    say(&format!("error: {error}"));
    Exit::Unexpected
}

/// Says what is wrong with the words.
fn wrong(text: impl Display) -> Exit {
    say(&format!("error: {text}"));
    Exit::Usage
}

fn refuse(findings: &Findings) -> Exit {
    show(findings);
    Exit::Usage
}

fn show(findings: &Findings) {
    if !findings.0.is_empty() {
        say(&findings.render(true));
    }
}

fn settings(
    talk: &args::Talk,
    results: Option<&Utf8PathBuf>,
    templates: Option<&Utf8PathBuf>,
) -> Result<Settings, Exit> {
    let flags = Layer {
        results: results.cloned(),
        templates: templates.cloned(),
        color: talk.color,
        quiet: talk.quiet.then_some(true),
    };
    let settings = Settings::read(Utf8Path::new("."), |name| std::env::var_os(name), flags)
        .map_err(|findings| refuse(&findings))?;
    anstream::ColorChoice::write_global(settings.color.into());
    Ok(settings)
}

/// Manifest and plan, with every finding shown.
fn planned(words: &args::Manifest, sim: Option<&str>) -> Result<(Manifest, Plan), Exit> {
    let overrides = Overrides {
        set: words.set.clone(),
        sim: sim.is_some(),
        gpu: sim.filter(|gpu| !gpu.is_empty()).map(str::to_owned),
    };
    let (manifest, mut findings) = Manifest::load(&words.path, &overrides);
    let planned = manifest.and_then(|manifest| {
        let (plan, more) = crate::plan::plan(&manifest);
        findings.extend(more.0);
        let plan = plan?;
        findings.extend(Placement::of(&manifest).place(&plan).findings.0);
        (!findings.has_errors()).then_some((manifest, plan))
    });
    show(&findings);
    planned.ok_or_else(|| {
        say(&format!(
            "{} in {}; nothing was started",
            counted(findings.count(Severity::Error), "error"),
            words.path
        ));
        Exit::Usage
    })
}

/// Refuses patterns that mean no cell at all.
fn selected(plan: &Plan, only: &[String]) -> Result<(), Exit> {
    let mut cells = plan.groups.iter().flat_map(|group| &group.cells);
    if cells.any(|cell| selects(only, &cell.id)) {
        return Ok(());
    }
    Err(wrong(format!("no cell's id matches --only {}; `runner plan` lists the ids", only.join(" or "))))
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
