//! The verbs: each puts settings and words together and calls one room.

use std::io::Write;

use camino::{Utf8Path, Utf8PathBuf};
use clap::CommandFactory;
use tokio::{runtime::Runtime, sync::watch};

use super::{
    args::{self, Cli, Verb},
    exit::Exit,
    flags, init,
    screen::{Kind, Screen},
    settings::{Layer, Settings},
};
use crate::{
    diagnostic::{Findings, Severity},
    manifest::{Manifest, Overrides, schema},
    measure::CellOutcome,
    plan::{Plan, plan},
    report,
    run::{self, Event, Order, RunError},
    server, sim,
    store::{self, RunFolder, StoredRun},
};

/// Does what the words say; the exit code of the process.
pub fn dispatch(cli: Cli) -> Exit {
    match cli.verb {
        Verb::Run(words) => run_verb(&words),
        Verb::Check(words) => check(&words),
        Verb::Plan(words) => plan_verb(&words),
        Verb::Report(words) => report_verb(&words),
        Verb::Recipe(words) => recipe(&words),
        Verb::Sim(raw) => sim_verb(&raw),
        Verb::Init(words) => match init::init(&words.path) {
            Ok(text) => {
                say(&text);
                Exit::Finished
            }
            Err(findings) => refuse(&findings),
        },
        Verb::Schema => {
            let text =
                serde_json::to_string_pretty(&schema()).unwrap_or_else(|error| error.to_string());
            print(&format!("{text}\n"));
            Exit::Finished
        }
        Verb::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "runner", &mut out);
            print(&String::from_utf8_lossy(&out));
            Exit::Finished
        }
        Verb::Guard(raw) => {
            let words: Vec<String> = raw
                .words
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect();
            // The guardian's own exit code is read by nobody: its words on standard output are what counts.
            let _ = server::guard(&words);
            Exit::Finished
        }
    }
}

/// The runtime of everything but the load, which has a thread of its own: one worker, so that the client's core stays free.
fn runtime() -> Result<Runtime, Exit> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    built.map_err(|error| {
        say(&format!("cannot start: {error}"));
        Exit::Unexpected
    })
}

fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", text.trim_end());
}

fn print(text: &str) {
    let _ = anstream::stdout().write_all(text.as_bytes());
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
    talk: Option<&args::Talk>,
    results: Option<&Utf8PathBuf>,
    templates: Option<&Utf8PathBuf>,
) -> Result<Settings, Findings> {
    let flags = Layer {
        results: results.cloned(),
        templates: templates.cloned(),
        color: talk.and_then(|talk| talk.color),
        quiet: talk.and_then(|talk| talk.quiet.then_some(true)),
    };
    let settings = Settings::read(Utf8Path::new("."), |name| std::env::var(name).ok(), flags)?;
    anstream::ColorChoice::write_global(settings.color.into());
    Ok(settings)
}

/// Manifest and plan, with every finding shown.
fn planned(words: &args::Manifest, sim: bool) -> Result<(Manifest, Plan), Exit> {
    let overrides = Overrides {
        set: words.set.clone(),
        sim,
    };
    let (manifest, mut findings) = Manifest::load(&words.path, &overrides);
    let planned = manifest.and_then(|manifest| {
        let (plan, more) = plan(&manifest);
        findings.extend(more.0);
        Some((manifest, plan?))
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

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// Keeps the cells whose id or workload holds one of the patterns.
fn narrow(plan: &mut Plan, only: &[String]) -> Result<(), Exit> {
    if only.is_empty() {
        return Ok(());
    }
    for group in &mut plan.groups {
        group.cells.retain(|cell| {
            only.iter()
                .any(|pattern| cell.id.contains(pattern.as_str()))
        });
    }
    plan.groups.retain(|group| !group.cells.is_empty());
    if plan.is_empty() {
        say(&format!(
            "no cell's id holds {}; `runner plan` lists them",
            only.join(" or ")
        ));
        return Err(Exit::Usage);
    }
    Ok(())
}

fn size(plan: &Plan) -> String {
    format!(
        "{}, {}",
        counted(plan.len(), "cell"),
        counted(plan.groups.len(), "server")
    )
}

fn check(words: &args::Check) -> Exit {
    if let Err(findings) = settings(Some(&words.talk), None, None) {
        return refuse(&findings);
    }
    match planned(&words.manifest, false) {
        Ok((manifest, plan)) => {
            let runtime = match runtime() {
                Ok(runtime) => runtime,
                Err(exit) => return exit,
            };
            let findings = flags::verify(&manifest, &plan, &runtime, &mut say);
            show(&findings);
            if findings.has_errors() {
                return Exit::Usage;
            }
            say(&format!(
                "{} is sound: {}",
                words.manifest.path,
                size(&plan)
            ));
            Exit::Finished
        }
        Err(exit) => exit,
    }
}

fn plan_verb(words: &args::Plan) -> Exit {
    if let Err(findings) = settings(Some(&words.talk), None, None) {
        return refuse(&findings);
    }
    let mut plan = match planned(&words.manifest, false) {
        Ok((_, plan)) => plan,
        Err(exit) => return exit,
    };
    if let Err(exit) = narrow(&mut plan, &words.only) {
        return exit;
    }
    if words.json {
        let text = serde_json::to_string_pretty(&plan).unwrap_or_else(|error| error.to_string());
        print(&format!("{text}\n"));
        return Exit::Finished;
    }
    let mut out = String::new();
    for group in &plan.groups {
        out.push_str(&format!("{}  ({})\n", group.id, group.title()));
        for cell in &group.cells {
            let skip = cell
                .skip
                .as_ref()
                .map_or_else(String::new, |reason| format!("  skipped: {reason}"));
            out.push_str(&format!("  {}{skip}\n", cell.id));
        }
    }
    print(&out);
    say(&size(&plan));
    Exit::Finished
}

fn run_verb(words: &args::Run) -> Exit {
    let settings = match settings(
        Some(&words.talk),
        words.results.as_ref(),
        words.templates.as_ref(),
    ) {
        Ok(settings) => settings,
        Err(findings) => return refuse(&findings),
    };
    let (manifest, mut plan) = match planned(&words.manifest, words.sim) {
        Ok(planned) => planned,
        Err(exit) => return exit,
    };
    if let Err(exit) = narrow(&mut plan, &words.only) {
        return exit;
    }
    let resume = match resumed(words, &settings, &plan) {
        Ok(resume) => resume,
        Err(exit) => return exit,
    };
    let runner = match std::env::current_exe()
        .ok()
        .and_then(|path| Utf8PathBuf::from_path_buf(path).ok())
    {
        Some(path) => path.to_string(),
        None => {
            say("cannot tell where this binary is; start it by its path");
            return Exit::Unexpected;
        }
    };
    let order = Order {
        results: settings.results.clone(),
        name: words.name.clone(),
        resume,
        manifest_folder: words
            .manifest
            .path
            .parent()
            .unwrap_or(Utf8Path::new(""))
            .to_owned(),
        runner,
        command: std::iter::once("runner".to_owned())
            .chain(std::env::args().skip(1))
            .collect(),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let mut screen = Screen::new(
        Kind::of_stderr(settings.quiet),
        words.manifest.path.as_str(),
    );
    let result = {
        let mut emit = |event: Event| screen.show(event);
        runtime.block_on(async {
            let (tell, stop) = watch::channel(false);
            tokio::spawn(signals(tell));
            run::run(&manifest, &plan, &order, &mut emit, stop).await
        })
    };
    match result {
        Ok(ended) => {
            let notes = match written_notes(&ended.folder, settings.templates.as_deref()) {
                Ok(notes) => notes,
                Err(exit) => {
                    drop(screen);
                    return exit;
                }
            };
            screen.show(Event::Finished {
                folder: ended.folder.clone(),
                outcomes: ended.outcomes.clone(),
                notes,
            });
            drop(screen);
            print(&format!("{}\n", ended.folder));
            exit_of(&ended.outcomes, ended.interrupted)
        }
        Err(error) => {
            drop(screen);
            run_error(&error)
        }
    }
}

fn run_error(error: &RunError) -> Exit {
    match error {
        RunError::Store(error) => {
            say(&format!("error: {error}"));
            Exit::Unexpected
        }
        RunError::Fingerprint(differences) => {
            say(
                "error: this run was measured elsewhere, and mixing the two would compare what is not comparable:",
            );
            for difference in differences {
                say(&format!("  {difference}"));
            }
            say("start a new run without --resume");
            Exit::Usage
        }
        RunError::Manifest(reason) => {
            say(&format!("error: {reason}"));
            Exit::Unexpected
        }
    }
}

/// What the outcomes say with an exit code.
fn exit_of(outcomes: &[(CellOutcome, usize)], interrupted: bool) -> Exit {
    let any = |test: fn(CellOutcome) -> bool| {
        outcomes
            .iter()
            .any(|(outcome, count)| *count > 0 && test(*outcome))
    };
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

/// The folder to go on with, when that was asked.
fn resumed(
    words: &args::Run,
    settings: &Settings,
    plan: &Plan,
) -> Result<Option<Utf8PathBuf>, Exit> {
    let experiment = &plan.experiment.name;
    let Some(which) = words.resumed() else {
        return Ok(None);
    };
    let path = match which {
        Some(name) if Utf8Path::new(name).join("run.json").exists() => {
            Some(Utf8PathBuf::from(name))
        }
        Some(name) => Some(settings.results.join(experiment).join(name))
            .filter(|path| path.join("run.json").exists()),
        None => store::newest(&settings.results, experiment).map_err(|error| {
            say(&format!("error: {error}"));
            Exit::Unexpected
        })?,
    };
    if path.is_none() {
        say(&format!(
            "error: there is no run of {experiment} to go on with in {}; start one without --resume",
            settings.results
        ));
        return Err(Exit::Usage);
    }
    Ok(path)
}

/// Ctrl-C, TERM or HUP once: finish cleanly. Twice: now; the guardian still ends the server's tree.
async fn signals(tell: watch::Sender<bool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let streams: Result<Vec<_>, _> = kinds.into_iter().map(signal).collect();
    let Ok(mut streams) = streams else {
        return;
    };
    let [interrupt, terminate, hangup] = streams.as_mut_slice() else {
        return;
    };
    for last in [false, true] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        if last {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        let _ = tell.send(true);
    }
}

/// Renders the notes of a stored run into its folder.
fn written_notes(
    folder: &Utf8Path,
    templates: Option<&Utf8Path>,
) -> Result<Vec<Utf8PathBuf>, Exit> {
    let failed = |error: store::StoreError| {
        say(&format!("error: {error}"));
        Exit::Unexpected
    };
    let stored = store::read(folder).map_err(failed)?;
    let notes = rendered(&stored, templates)?;
    let open = RunFolder::open(folder).map_err(failed)?;
    let mut paths = Vec::new();
    for note in notes {
        let relative = format!("notes/{}", note.file);
        open.write_text(&relative, &note.text).map_err(failed)?;
        paths.push(folder.join(relative));
    }
    Ok(paths)
}

fn rendered(stored: &StoredRun, templates: Option<&Utf8Path>) -> Result<Vec<report::Note>, Exit> {
    report::render(stored, templates).map_err(|findings| {
        show(&findings);
        say("the results are stored; mend the template, then render again with `runner report`");
        Exit::Usage
    })
}

fn report_verb(words: &args::Report) -> Exit {
    let settings = match settings(
        Some(&words.talk),
        words.results.as_ref(),
        words.templates.as_ref(),
    ) {
        Ok(settings) => settings,
        Err(findings) => return refuse(&findings),
    };
    let folder = if words.run.join("run.json").exists() {
        words.run.clone()
    } else {
        match store::newest(&settings.results, words.run.as_str()) {
            Ok(Some(folder)) => folder,
            Ok(None) => {
                say(&format!(
                    "error: {} is neither a run's folder nor an experiment in {}",
                    words.run, settings.results
                ));
                return Exit::Usage;
            }
            Err(error) => {
                say(&format!("error: {error}"));
                return Exit::Unexpected;
            }
        }
    };
    if words.values || words.stdout.is_some() {
        let stored = match store::read(&folder) {
            Ok(stored) => stored,
            Err(error) => {
                say(&format!("error: {error}"));
                return Exit::Unexpected;
            }
        };
        if words.values {
            let text = serde_json::to_string_pretty(&report::values(&stored))
                .unwrap_or_else(|error| error.to_string());
            print(&format!("{text}\n"));
            return Exit::Finished;
        }
        let notes = match rendered(&stored, settings.templates.as_deref()) {
            Ok(notes) => notes,
            Err(exit) => return exit,
        };
        let wanted = words.stdout.as_deref();
        return match notes.iter().find(|note| {
            Some(note.file.as_str()) == wanted || note.file.strip_suffix(".md") == wanted
        }) {
            Some(note) => {
                print(&note.text);
                Exit::Finished
            }
            None => {
                let names: Vec<&str> = notes.iter().map(|note| note.file.as_str()).collect();
                say(&format!(
                    "error: there is no such note; there are {}",
                    names.join(", ")
                ));
                Exit::Usage
            }
        };
    }
    match written_notes(&folder, settings.templates.as_deref()) {
        Ok(paths) => {
            for path in paths {
                print(&format!("{path}\n"));
            }
            Exit::Finished
        }
        Err(exit) => exit,
    }
}

fn recipe(words: &args::Recipe) -> Exit {
    if let Err(findings) = settings(Some(&words.talk), None, None) {
        return refuse(&findings);
    }
    let (_, plan) = match planned(&words.manifest, false) {
        Ok(planned) => planned,
        Err(exit) => return exit,
    };
    for group in &plan.groups {
        let recipe = server::recipe(&group.server);
        let folder = words.out.join(&group.id);
        let written = std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(folder.join("serve.sh"), &recipe.serve_sh))
            .and_then(|()| std::fs::write(folder.join("config.yaml"), &recipe.config_yaml));
        if let Err(error) = written {
            say(&format!("error: cannot write {folder}: {error}"));
            return Exit::Unexpected;
        }
        print(&format!(
            "{}\n{}\n",
            folder.join("serve.sh"),
            folder.join("config.yaml")
        ));
    }
    Exit::Finished
}

fn sim_verb(raw: &args::Raw) -> Exit {
    let words = raw
        .words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let arguments = match sim::parse_args(words) {
        Ok(arguments) => arguments,
        Err(reason) => {
            say(&format!("runner sim: error: {reason}"));
            return Exit::Usage;
        }
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    match runtime.block_on(sim::serve(arguments)) {
        Ok(()) => Exit::Finished,
        // It has said why in its log, as vLLM does.
        Err(_) => Exit::Unexpected,
    }
}
