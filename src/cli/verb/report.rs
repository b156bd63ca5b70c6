//! `report`: renders the notes, charts and page of a stored run.

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    super::{args, exit::Exit, settings::Settings},
    Ended, print, print_json, say, settings, show, unexpected, wrong,
};
use crate::{
    diagnostic::Findings,
    report::{self, WriteError},
    store::{self, FindError, StoredRun},
};

pub(super) fn report(args: &args::Report) -> Ended {
    let settings = settings(&args.settings)?;
    let templates = settings.templates.as_deref();
    if args.values {
        let stored = stored(&args.run, &settings)?;
        print_json(&report::values(&stored, templates).map_err(refuse_template)?)?;
    } else if let Some(wanted) = args.stdout.as_deref() {
        let notes = report::render(&stored(&args.run, &settings)?, templates).map_err(refuse_template)?;
        let is_wanted =
            |note: &&report::Note| note.file == wanted || note.file.strip_suffix(".md") == Some(wanted);
        let note = notes.iter().find(is_wanted).ok_or_else(|| {
            let names: Vec<&str> = notes.iter().map(|note| note.file.as_str()).collect();
            wrong(format!("there is no note {wanted}; there are {}", names.join(", ")))
        })?;
        print(&note.text)?;
    } else {
        for path in written(&folder(&args.run, &settings)?, templates)? {
            print(&format!("{path}\n"))?;
        }
    }
    Ok(Exit::Finished)
}

/// The folder of the run that an argument names.
pub(super) fn folder(run: &Utf8Path, settings: &Settings) -> Result<Utf8PathBuf, Exit> {
    store::find(&settings.results, run).map_err(|error| match error {
        FindError::NotFound { .. } => wrong(error),
        FindError::Store(error) => unexpected(error),
    })
}

/// Reads the run that an argument names.
pub(super) fn stored(run: &Utf8Path, settings: &Settings) -> Result<StoredRun, Exit> {
    store::read(&folder(run, settings)?).map_err(unexpected)
}

/// Renders a stored run into its folder and returns the paths of the notes.
pub(super) fn written(folder: &Utf8Path, templates: Option<&Utf8Path>) -> Result<Vec<Utf8PathBuf>, Exit> {
    report::write(folder, templates).map_err(failed)
}

/// Prints why a run could not be rendered.
pub(super) fn failed(error: WriteError) -> Exit {
    match error {
        WriteError::Store(error) => unexpected(error),
        WriteError::Templates(findings) => refuse_template(findings),
    }
}

fn refuse_template(findings: Findings) -> Exit {
    show(&findings);
    say("the results are stored; correct the template, then render again with `runner report`");
    Exit::Usage
}
