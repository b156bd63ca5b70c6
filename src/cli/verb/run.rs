//! `run`: plan → run folder and notes, with a screen and an exit code.

use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::watch;

use super::{
    super::{
        args,
        exit::Exit,
        flags::{self, Ask},
        screen::{Kind, Screen},
        settings::Settings,
    },
    Ended, command_line, planned, print, report, runtime, say, selected, settings, show, unexpected, wrong,
};
use crate::{
    measure::CellOutcome,
    plan::Plan,
    run::{self, Event, Order, RunError},
    store,
};

pub(super) fn run(words: &args::Run) -> Ended {
    let settings = settings(&words.talk, words.results.as_ref(), words.templates.as_ref())?;
    let (manifest, plan) = planned(&words.manifest, words.sim.as_deref())?;
    selected(&plan, &words.only)?;
    let order = order(words, &settings, &plan)?;
    let runtime = runtime()?;
    // A wrong flag of the last server is found before the first one loads its model.
    let findings = flags::verify(&manifest, &plan, Ask::Installed, &runtime, &mut |text| {
        if !settings.quiet {
            say(text);
        }
    });
    show(&findings);
    if findings.has_errors() {
        say("a server's flags are wrong; nothing was started");
        return Err(Exit::Usage);
    }
    let mut screen = Screen::new(Kind::of_stderr(settings.quiet), words.manifest.path.as_str());
    let result = {
        let mut emit = |event: Event| screen.show(event);
        runtime.block_on(async {
            let (tell, stop) = watch::channel(false);
            tokio::spawn(signals(tell));
            run::run(&manifest, &plan, &order, &mut emit, stop).await
        })
    };
    let ended = match result {
        Ok(ended) => ended,
        Err(error) => {
            drop(screen);
            return Err(failed(&error));
        }
    };
    match report::written(&ended.folder, settings.templates.as_deref()) {
        Ok(notes) => screen.show(Event::Finished {
            folder: ended.folder.clone(),
            outcomes: ended.outcomes.clone(),
            notes,
        }),
        Err(exit) => {
            drop(screen);
            return Err(exit);
        }
    }
    drop(screen);
    // The run is stored, whoever hears of it.
    let _ = print(&format!("{}\n", ended.folder));
    Ok(exit_of(&ended.outcomes, ended.interrupted))
}

fn order(words: &args::Run, settings: &Settings, plan: &Plan) -> Result<Order, Exit> {
    let runner = std::env::current_exe()
        .ok()
        .and_then(|path| Utf8PathBuf::from_path_buf(path).ok())
        .ok_or_else(|| {
            unexpected(
                "cannot tell where this binary is, or its path is not UTF-8; start it by a path that is",
            )
        })?;
    if let Some(name) = &words.name {
        store::check_name(name).map_err(|why| wrong(format!("--name: {why}")))?;
    }
    let parent = words.manifest.path.parent();
    Ok(Order {
        results: settings.results.clone(),
        name: words.name.clone(),
        only: words.only.clone(),
        resume: resumed(words, settings, plan)?,
        manifest_folder: parent.unwrap_or(Utf8Path::new("")).to_owned(),
        runner: runner.to_string(),
        command: command_line(),
    })
}

/// The folder to go on with, when that was asked.
fn resumed(words: &args::Run, settings: &Settings, plan: &Plan) -> Result<Option<Utf8PathBuf>, Exit> {
    let experiment = &plan.experiment.name;
    let Some(which) = words.resumed() else {
        return Ok(None);
    };
    let path = match which {
        Some(name) if Utf8Path::new(name).join("run.json").exists() => Some(Utf8PathBuf::from(name)),
        Some(name) => {
            Some(settings.results.join(experiment).join(name)).filter(|path| path.join("run.json").exists())
        }
        None => store::newest(&settings.results, experiment).map_err(unexpected)?,
    };
    if let Some(path) = &path
        && store::read(path).is_ok_and(|stored| stored.run.predicted.is_some())
    {
        return Err(wrong(format!(
            "{path} was predicted, and nothing in it was measured, so there is nothing to go on with; start a run without --resume"
        )));
    }
    if path.is_none() {
        return Err(wrong(format!(
            "there is no run of {experiment} to go on with in {}; start one without --resume",
            settings.results
        )));
    }
    Ok(path)
}

fn failed(error: &RunError) -> Exit {
    match error {
        RunError::Store(error) => unexpected(error),
        RunError::Fingerprint(differences) => {
            let differences: String =
                differences.iter().map(|difference| format!("\n  {difference}")).collect();
            wrong(format!(
                "this run was measured elsewhere, and mixing the two would compare what is not comparable:{differences}\nstart a new run without --resume"
            ))
        }
        RunError::Manifest(reason) => unexpected(reason),
        RunError::Interrupted => {
            say("interrupted before anything was begun; nothing was stored");
            Exit::Interrupted
        }
    }
}

/// What the outcomes say with an exit code.
fn exit_of(outcomes: &[(CellOutcome, usize)], interrupted: bool) -> Exit {
    let any =
        |test: fn(CellOutcome) -> bool| outcomes.iter().any(|(outcome, count)| *count > 0 && test(*outcome));
    if interrupted {
        Exit::Interrupted
    } else if !any(|outcome| outcome.is_measured() || outcome.is_on_oom_surface()) {
        Exit::NothingMeasured
    } else if any(|outcome| !outcome.is_done()) {
        Exit::FailedCells
    } else {
        Exit::Finished
    }
}

/// Ctrl-C, TERM or HUP once: finish cleanly. Twice: now; the guardian still ends the server's tree.
async fn signals(tell: watch::Sender<bool>) {
    use tokio::signal::unix::{SignalKind, signal};
    // A limit on the size of files is then told by the write that met it, as a full disk is; the handler stays.
    let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    let (asked, mut heard) = tokio::sync::mpsc::channel(1);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        // `nohup`, and a shell that starts something in the background, ask by that to be left alone.
        if is_ignored(kind) {
            continue;
        }
        let Ok(mut stream) = signal(kind) else {
            continue;
        };
        let asked = asked.clone();
        tokio::spawn(async move { while stream.recv().await.is_some() && asked.send(()).await.is_ok() {} });
    }
    drop(asked);
    for last in [false, true] {
        if heard.recv().await.is_none() {
            return;
        }
        if last {
            store::stop_writing();
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        let _ = tell.send(true);
    }
}

/// Whether whoever started this process had it ignore a signal.
#[cfg(target_os = "linux")]
fn is_ignored(kind: tokio::signal::unix::SignalKind) -> bool {
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    status.is_ok_and(|status| status.sigign >> (kind.as_raw_value() - 1) & 1 == 1)
}

#[cfg(not(target_os = "linux"))]
fn is_ignored(_kind: tokio::signal::unix::SignalKind) -> bool {
    false
}
