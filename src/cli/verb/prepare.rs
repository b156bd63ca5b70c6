//! What most verbs need first: settings, the manifest and its plan, and a runtime.

use camino::Utf8Path;
use tokio::runtime::Runtime;

use super::super::{
    args,
    exit::Exit,
    output::{counted, refuse, say, show, unexpected, wrong},
    settings::{Layer, Settings},
};
use crate::{
    diagnostic::Severity,
    manifest::{Manifest, Overrides},
    plan::Plan,
    predict::Placement,
};

/// How a verb ended. An `Err` ended it early, after its error was printed.
pub(super) type Ended = Result<Exit, Exit>;

/// The runtime of everything but the load client, which has a thread and a core of its own: hence one worker.
pub(super) fn runtime() -> Result<Runtime, Exit> {
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
pub(super) fn command_line() -> Vec<String> {
    std::iter::once("runner".to_owned()).chain(std::env::args().skip(1)).collect()
}

/// Reads the settings and applies the choice of colour.
pub(super) fn settings(flags: impl Into<Layer>) -> Result<Settings, Exit> {
    let settings = Settings::read(Utf8Path::new("."), |name| std::env::var_os(name), flags.into());
    let settings = settings.map_err(refuse)?;
    anstream::ColorChoice::write_global(settings.color.into());
    Ok(settings)
}

/// Loads a manifest and plans it, and prints every finding.
pub(super) fn planned(args: &args::Manifest, sim: Option<&str>) -> Result<(Manifest, Plan), Exit> {
    let overrides = Overrides {
        set: args.set.clone(),
        sim: sim.is_some(),
        gpu: sim.filter(|gpu| !gpu.is_empty()).map(str::to_owned),
    };
    let (manifest, mut findings) = Manifest::load(&args.path, &overrides);
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
            args.path
        ));
        Exit::Usage
    })
}

/// Refuses `--only` patterns that match neither a cell nor a search.
pub(super) fn selected(plan: &Plan, only: &[String]) -> Result<(), Exit> {
    if plan.has_match(only) {
        return Ok(());
    }
    let ids = if plan.searches.is_empty() { "no cell's id" } else { "neither a cell's id nor a search's" };
    Err(wrong(format!("{ids} matches --only {}; `runner plan` lists the ids", only.join(" or "))))
}
