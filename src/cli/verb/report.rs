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
    let settings = settings(&words.talk, words.results.as_ref(), words.templates.as_ref())?;
    let folder = folder(&words.run, &settings)?;
    let templates = settings.templates.as_deref();
    if words.values {
        let stored = store::read(&folder).map_err(unexpected)?;
        let text = serde_json::to_string_pretty(
            &report::values(&stored, templates).map_err(|findings| mend(&findings))?,
        )
        .unwrap_or_else(|error| error.to_string());
        print(&format!("{text}\n"))?;
    } else if let Some(wanted) = words.stdout.as_deref() {
        let notes = rendered(&store::read(&folder).map_err(unexpected)?, templates)?;
        let is_wanted =
            |note: &&report::Note| note.file == wanted || note.file.strip_suffix(".md") == Some(wanted);
        let note = notes.iter().find(is_wanted).ok_or_else(|| {
            let names: Vec<&str> = notes.iter().map(|note| note.file.as_str()).collect();
            wrong(format!("there is no such note; there are {}", names.join(", ")))
        })?;
        print(&note.text)?;
    } else {
        for path in written(&folder, templates)? {
            print(&format!("{path}\n"))?;
        }
    }
    Ok(Exit::Finished)
}

/// The run's folder: named by its path, by `EXPERIMENT/RUN`, or the newest of an experiment.
pub(super) fn folder(run: &Utf8Path, settings: &Settings) -> Result<Utf8PathBuf, Exit> {
    let below = settings.results.join(run);
    if let Some(folder) = [run, &below].into_iter().find(|folder| folder.join("run.json").exists()) {
        return Ok(folder.to_owned());
    }
    let is_name = run.components().count() == 1 && store::check_name(run.as_str()).is_ok();
    let newest = match is_name {
        true => store::newest(&settings.results, run.as_str()).map_err(unexpected)?,
        false => None,
    };
    newest.ok_or_else(|| {
        wrong(format!(
            "there is no run {run}: it is neither the folder of a run, nor EXPERIMENT/RUN or an experiment in {}\n{}",
            settings.results,
            known(run, &settings.results)
        ))
    })
}

/// What there is instead: the runs of that name, else the experiments.
fn known(run: &Utf8Path, results: &Utf8Path) -> String {
    const MOST: usize = 8;
    let experiments = folders(results);
    let runs = |experiment: &String| {
        let names = folders(&results.join(experiment)).into_iter();
        let is_run = |name: &String| results.join(experiment).join(name).join("run.json").exists();
        names.filter(is_run).map(|name| format!("{experiment}/{name}")).collect::<Vec<_>>()
    };
    let stored: Vec<(String, Vec<String>)> = experiments
        .into_iter()
        .map(|experiment| (runs(&experiment), experiment))
        .map(|(runs, experiment)| (experiment, runs))
        .collect();
    let of_that_name: Vec<&str> = stored
        .iter()
        .flat_map(|(_, runs)| runs)
        .map(String::as_str)
        .filter(|path| Utf8Path::new(path).file_name() == run.file_name())
        .collect();
    if !of_that_name.is_empty() {
        return format!("did you mean {}?", of_that_name.join(" or "));
    }
    let mut names: Vec<&str> = stored
        .iter()
        .filter(|(_, runs)| !runs.is_empty())
        .map(|(experiment, _)| experiment.as_str())
        .collect();
    if names.is_empty() {
        return format!(
            "no run is stored in {results}; measure one with `runner run`, or name the folder with --results"
        );
    }
    let more = names.len().saturating_sub(MOST);
    names.truncate(MOST);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("experiments there: {}{more}", names.join(", "))
}

/// The folders in a folder, by name; none where it cannot be listed.
fn folders(parent: &Utf8Path) -> Vec<String> {
    let entries = parent.read_dir_utf8().into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir() && !entry.file_name().starts_with('.'))
        .map(|entry| entry.file_name().to_owned())
        .collect();
    names.sort();
    names
}

/// Renders the notes, pictures and page of a stored run into its folder. The paths are those of the notes.
pub(super) fn written(folder: &Utf8Path, templates: Option<&Utf8Path>) -> Result<Vec<Utf8PathBuf>, Exit> {
    let stored = store::read(folder).map_err(unexpected)?;
    let report::Shown { notes, charts, page } =
        report::show(&stored, templates).map_err(|findings| mend(&findings))?;
    let open = RunFolder::open(folder).map_err(unexpected)?;
    let names: Vec<&str> = charts.iter().map(|chart| chart.file.as_str()).collect();
    open.keep_charts(&names).map_err(unexpected)?;
    for chart in &charts {
        let relative = format!("charts/{}", chart.file);
        open.write_text(&relative, &chart.svg()).map_err(unexpected)?;
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
