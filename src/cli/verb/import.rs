//! `import` and `export`: results of other tools in, results of this tool out.

use jiff::Timestamp;

use super::{
    super::{args, exit::Exit},
    Ended, command_line, counted, print, refuse, report, say, settings, show, unexpected, wrong,
};
use crate::{
    import::{self, Options},
    manifest::Slo,
    report::json_lines,
    store::{self, StoredRun},
};

pub(super) fn import(args: &args::Import) -> Ended {
    let settings = settings(&args.settings)?;
    let folder = settings.results.join(&args.name);
    if folder.exists() {
        return Err(wrong(format!(
            "{folder} already exists; choose another name with --as, or remove that folder"
        )));
    }
    let options = Options {
        name: args.name.clone(),
        workload: args.workload.clone(),
        gpu: args.gpu.clone(),
        usd_per_hour: args.usd_per_hour,
        model: args.model.clone(),
        requests: args.requests,
        slo: Slo(args.slo.clone()),
        objective: args.objective.into(),
        axes: args.axis.clone(),
        optional_axes: Vec::new(),
        caveats: args.caveat.clone(),
        command: command_line(),
    };
    let files = import::files(&args.files).map_err(refuse)?;
    let (run, findings) = import::import(&files, &options, Timestamp::now()).map_err(refuse)?;
    show(&findings);
    let path = store::write_run(&settings.results, None, &run).map_err(unexpected)?;
    for note in report::written(&path, settings.templates.as_deref())? {
        print(&format!("{note}\n"))?;
    }
    if !settings.quiet {
        say(&summary(&run, files.len(), &path));
    }
    Ok(Exit::Finished)
}

fn summary(run: &StoredRun, files: usize, path: &camino::Utf8Path) -> String {
    let client = run.run.imported.as_ref().map_or("unknown", |imported| &imported.client);
    let by = match client {
        "unknown" => String::new(),
        client => format!(", measured by {client}"),
    };
    let name = &run.plan.experiment.name;
    format!(
        "imported {} from {}{by}\nopen:    {path}/report.html\nnext:    runner compare RUN {name} --despite client",
        counted(run.cells.len(), "cell"),
        counted(files, "file"),
    )
}

pub(super) fn export(args: &args::Export) -> Ended {
    let settings = settings(&args.settings)?;
    let mut text = String::new();
    for run in &args.runs {
        text.push_str(&json_lines(&report::stored(run, &settings)?));
    }
    match &args.out {
        None => print(&text)?,
        Some(path) => {
            store::write_whole(path, text.as_bytes()).map_err(unexpected)?;
            if !settings.quiet {
                let cells = counted(text.lines().count(), "cell");
                say(&format!("wrote {cells} to {path}"));
            }
        }
    }
    Ok(Exit::Finished)
}
