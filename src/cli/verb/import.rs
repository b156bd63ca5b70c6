//! `import` and `export`: results of other tools in, results of this tool out.

use jiff::Timestamp;

use super::{
    super::{args, exit::Exit},
    Ended, command_line, counted, print, refuse, report, say, settings, show, unexpected, wrong,
};
use crate::{
    import::{self, Options},
    report::json_lines,
    store::{self, StoredRun},
};

pub(super) fn import(words: &args::Import) -> Ended {
    let settings = settings(&words.talk, words.results.as_ref(), words.templates.as_ref())?;
    let folder = settings.results.join(&words.name);
    if folder.exists() {
        return Err(wrong(format!(
            "{folder} already exists; choose another name with --as, or remove that folder"
        )));
    }
    let options = Options {
        name: words.name.clone(),
        workload: words.workload.clone(),
        gpu: words.gpu.clone(),
        usd_per_hour: words.usd_per_hour,
        model: words.model.clone(),
        requests: words.requests,
        slo: words.slo(),
        objective: words.objective.into(),
        axes: words.axis.clone(),
        optional_axes: Vec::new(),
        caveats: words.caveat.clone(),
        command: command_line(),
    };
    let files = import::files(&words.files).map_err(|findings| refuse(&findings))?;
    let (run, findings) =
        import::import(&files, &options, Timestamp::now()).map_err(|findings| refuse(&findings))?;
    show(&findings);
    let path = store::write_run(&settings.results, None, &run).map_err(unexpected)?;
    for note in report::written(&path, settings.templates.as_deref())? {
        print(&format!("{note}\n"))?;
    }
    if !settings.quiet {
        say(&said(&run, files.len(), &path));
    }
    Ok(Exit::Finished)
}

fn said(run: &StoredRun, files: usize, path: &camino::Utf8Path) -> String {
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

pub(super) fn export(words: &args::Export) -> Ended {
    let settings = settings(&words.talk, words.results.as_ref(), None)?;
    let mut text = String::new();
    for run in &words.runs {
        let folder = report::folder(run, &settings)?;
        text.push_str(&json_lines(&store::read(&folder).map_err(unexpected)?));
    }
    match &words.out {
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
