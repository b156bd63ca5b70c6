//! `report`: the notes, pictures and page of a stored run, rendered again.

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    super::{args, exit::Exit, settings::Settings},
    Ended, print, say, settings, show, unexpected, wrong,
};
use crate::{
    diagnostic::Findings,
    report,
    store::{self, RunFolder, StoredRun},
};

pub(super) fn report(words: &args::Report) -> Ended {
    let settings = settings(
        &words.talk,
        words.results.as_ref(),
        words.templates.as_ref(),
    )?;
    let folder = folder(&words.run, &settings)?;
    let templates = settings.templates.as_deref();
    if words.values {
        let stored = store::read(&folder).map_err(unexpected)?;
        let text = serde_json::to_string_pretty(&report::values(&stored))
            .unwrap_or_else(|error| error.to_string());
        print(&format!("{text}\n"))?;
    } else if let Some(wanted) = words.stdout.as_deref() {
        let notes = rendered(&store::read(&folder).map_err(unexpected)?, templates)?;
        let is_wanted = |note: &&report::Note| {
            note.file == wanted || note.file.strip_suffix(".md") == Some(wanted)
        };
        let note = notes.iter().find(is_wanted).ok_or_else(|| {
            let names: Vec<&str> = notes.iter().map(|note| note.file.as_str()).collect();
            wrong(format!(
                "there is no such note; there are {}",
                names.join(", ")
            ))
        })?;
        print(&note.text)?;
    } else {
        for path in written(&folder, templates)? {
            print(&format!("{path}\n"))?;
        }
    }
    Ok(Exit::Finished)
}

/// The run's folder: named by its path, or the newest of an experiment.
pub(super) fn folder(run: &Utf8Path, settings: &Settings) -> Result<Utf8PathBuf, Exit> {
    if run.join("run.json").exists() {
        return Ok(run.to_owned());
    }
    store::newest(&settings.results, run.as_str())
        .map_err(unexpected)?
        .ok_or_else(|| {
            wrong(format!(
                "{} is neither a run's folder nor an experiment in {}",
                run, settings.results
            ))
        })
}

/// Renders the notes, pictures and page of a stored run into its folder. The paths are those of the notes.
pub(super) fn written(
    folder: &Utf8Path,
    templates: Option<&Utf8Path>,
) -> Result<Vec<Utf8PathBuf>, Exit> {
    let stored = store::read(folder).map_err(unexpected)?;
    let report::Shown {
        notes,
        charts,
        page,
    } = report::show(&stored, templates).map_err(|findings| mend(&findings))?;
    let open = RunFolder::open(folder).map_err(unexpected)?;
    let names: Vec<&str> = charts.iter().map(|chart| chart.file.as_str()).collect();
    open.keep_charts(&names).map_err(unexpected)?;
    for chart in &charts {
        let relative = format!("charts/{}", chart.file);
        open.write_text(&relative, &chart.svg())
            .map_err(unexpected)?;
    }
    open.write_text("report.html", &page).map_err(unexpected)?;
    let mut paths = Vec::new();
    for note in notes {
        let relative = format!("notes/{}", note.file);
        open.write_text(&relative, &note.text).map_err(unexpected)?;
        paths.push(folder.join(relative));
    }
    Ok(paths)
}

fn rendered(stored: &StoredRun, templates: Option<&Utf8Path>) -> Result<Vec<report::Note>, Exit> {
    report::render(stored, templates).map_err(|findings| mend(&findings))
}

fn mend(findings: &Findings) -> Exit {
    show(findings);
    say("the results are stored; mend the template, then render again with `runner report`");
    Exit::Usage
}
