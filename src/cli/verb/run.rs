//! `run`: measures a plan with a screen, and renders the notes.

use std::{sync::mpsc, thread};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::watch;

use super::{
    super::{
        args,
        exit::Exit,
        flags::{self, Ask},
        screen::{Commands, Screen},
        settings::Settings,
        signals,
    },
    Ended, command_line, planned, print, report, runtime, say, selected, settings, show, unexpected, wrong,
};
use crate::{
    measure::CellOutcome,
    plan::Plan,
    plan::with_first_probes,
    report::{WriteError, write},
    run::{self, Budget, Event, Order, Resume, RunError},
    store,
};

/// The stack of the thread that runs the plan: as large as a main thread's.
const STACK: usize = 8 << 20;

pub(super) fn run(args: &args::Run) -> Ended {
    let settings = settings(&args.settings)?;
    let (manifest, plan) = planned(&args.manifest, args.sim.as_deref())?;
    selected(&plan, &args.only)?;
    let order = order(args, &settings, &plan)?;
    let runtime = runtime()?;
    // A wrong flag of the last server is found before the first one loads its model.
    let findings = flags::verify(
        &manifest,
        &with_first_probes(&manifest, &plan),
        Ask::Installed,
        &runtime,
        &mut |text| {
            if !settings.quiet {
                say(text);
            }
        },
    );
    show(&findings);
    if findings.has_errors() {
        say("a server's flags are wrong; nothing was started");
        return Err(Exit::Usage);
    }
    let screen = Screen::new(settings.quiet, commands(args));
    let events = screen.events();
    let templates = settings.templates.clone();
    // A second interrupt ends the process at once, whatever the run is doing: the run has a thread of its
    // own, and this one waits for whichever comes first.
    let (done, result) = mpsc::channel();
    let work = move || {
        let (aborted, interrupted) = (done.clone(), events.clone());
        let ended = runtime.block_on(async {
            let (stop, stopped) = watch::channel(false);
            // Kept to the end: a channel without a sender would look like an interrupt.
            let sender = stop.clone();
            let interrupt = move || {
                let _ = sender.send(true);
                interrupted.show(Event::Interrupted);
            };
            tokio::spawn(signals::watch(interrupt, move || drop(aborted.send(None))));
            run::run(&manifest, &plan, &order, &mut |event| events.show(event), stopped).await
        });
        let rendered = ended.map_err(Failure::Run).and_then(|ended| {
            let notes = write(&ended.folder, templates.as_deref()).map_err(Failure::Render)?;
            events.show(Event::Finished { ended: ended.clone(), notes });
            Ok(ended)
        });
        let _ = done.send(Some(rendered));
    };
    thread::Builder::new().name("run".into()).stack_size(STACK).spawn(work).map_err(unexpected)?;
    let result = result.recv();
    drop(screen);
    match result {
        Ok(Some(Ok(ended))) => {
            // The results are stored, whether or not anybody reads this.
            let _ = print(&format!("{}\n", ended.folder));
            Ok(exit_code(&ended.outcomes, ended.interrupted))
        }
        Ok(Some(Err(Failure::Run(error)))) => Err(failed(&error)),
        Ok(Some(Err(Failure::Render(error)))) => Err(report::failed(error)),
        Ok(None) => {
            store::stop_writing();
            Err(Exit::Interrupted)
        }
        Err(_) => Err(unexpected("the run ended by a bug, please report it; finished cells are stored")),
    }
}

enum Failure {
    Run(RunError),
    Render(WriteError),
}

fn order(args: &args::Run, settings: &Settings, plan: &Plan) -> Result<Order, Exit> {
    let runner =
        std::env::current_exe().ok().and_then(|path| Utf8PathBuf::from_path_buf(path).ok()).ok_or_else(
            || unexpected("the path of this binary is unknown or not UTF-8; start it by another path"),
        )?;
    if let Some(name) = &args.name {
        store::check_name(name).map_err(|why| wrong(format!("--name: {why}")))?;
    }
    let resume = args.resume();
    if let (Some(name), Resume::Run(run)) = (&args.name, &resume) {
        return Err(wrong(format!(
            "--name {name} and --resume {run} both name a run; leave one of them out"
        )));
    }
    let parent = args.manifest.path.parent();
    Ok(Order {
        results: settings.results.clone(),
        name: args.name.clone(),
        only: args.only.clone(),
        resume,
        budget: budget(args, plan)?,
        manifest_folder: parent.unwrap_or(Utf8Path::new("")).to_owned(),
        runner: runner.to_string(),
        command: command_line(),
    })
}

/// What the run may spend. Money needs a price.
fn budget(args: &args::Run, plan: &Plan) -> Result<Budget, Exit> {
    if args.max_usd.is_some() && plan.hardware.usd_per_hour.is_none_or(|price| price <= 0.0) {
        return Err(wrong(
            "--max-usd needs the price of the machine: set hardware.usd_per_hour in the manifest, or use --budget",
        ));
    }
    Ok(Budget { time: args.budget, usd: args.max_usd })
}

/// The commands that the screen suggests; they start this program as it was started.
fn commands(args: &args::Run) -> Commands {
    let program = std::env::args().next().unwrap_or_else(|| "runner".into());
    let all = args::Run { only: Vec::new(), ..args.clone() };
    Commands { resume: args.resume_command(&program), measure_rest: all.resume_command(&program) }
}

fn failed(error: &RunError) -> Exit {
    match error {
        RunError::Store(_) | RunError::Manifest(_) => unexpected(error),
        RunError::Probe { .. }
        | RunError::Fingerprint(_)
        | RunError::NoSuchRun { .. }
        | RunError::NotMeasured { .. } => wrong(error),
        RunError::Interrupted => {
            say(&error.to_string());
            Exit::Interrupted
        }
    }
}

/// The exit code for the outcomes of a run.
fn exit_code(outcomes: &[(CellOutcome, usize)], interrupted: bool) -> Exit {
    let any =
        |test: fn(CellOutcome) -> bool| outcomes.iter().any(|(outcome, count)| *count > 0 && test(*outcome));
    if interrupted {
        Exit::Interrupted
    } else if !any(|outcome| {
        outcome.is_measured() || outcome.is_on_oom_surface() || outcome == CellOutcome::Started
    }) {
        Exit::NothingMeasured
    } else if any(|outcome| !outcome.is_done()) {
        Exit::FailedCells
    } else {
        Exit::Finished
    }
}
