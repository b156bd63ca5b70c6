//! `report`: renders the notes, charts and page of a stored run.

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    super::{args, exit::Exit, settings::Settings},
    Ended, print, say, settings, show, unexpected, wrong,
};
use crate::{
    diagnostic::Findings,
    report::{self, WriteError},
    store::{self, FindError},
};

pub(super) fn report(words: &args::Report) -> Ended {
    let settings = settings(&words.talk, words.results.as_ref(), words.templates.as_ref())?;
    let folder = folder(&words.run, &settings)?;
    let templates = settings.templates.as_deref();
    if words.values {
        let stored = store::read(&folder).map_err(unexpected)?;
        let text = serde_json::to_string_pretty(
            &report::values(&stored, templates).map_err(|findings| refuse_template(&findings))?,
        )
        .unwrap_or_else(|error| error.to_string());
        print(&format!("{text}\n"))?;
    } else if let Some(wanted) = words.stdout.as_deref() {
        let notes = report::render(&store::read(&folder).map_err(unexpected)?, templates)
            .map_err(|findings| refuse_template(&findings))?;
        let is_wanted =
            |note: &&report::Note| note.file == wanted || note.file.strip_suffix(".md") == Some(wanted);
        let note = notes.iter().find(is_wanted).ok_or_else(|| {
            let names: Vec<&str> = notes.iter().map(|note| note.file.as_str()).collect();
            wrong(format!("there is no note {wanted}; there are {}", names.join(", ")))
        })?;
        print(&note.text)?;
    } else {
        for path in written(&folder, templates)? {
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

/// Renders a stored run into its folder and returns the paths of the notes.
pub(super) fn written(folder: &Utf8Path, templates: Option<&Utf8Path>) -> Result<Vec<Utf8PathBuf>, Exit> {
    report::write(folder, templates).map_err(failed)
}

/// Prints why a run could not be rendered.
pub(super) fn failed(error: WriteError) -> Exit {
    match error {
        WriteError::Store(error) => unexpected(error),
        WriteError::Templates(findings) => refuse_template(&findings),
    }
}

fn refuse_template(findings: &Findings) -> Exit {
    show(findings);
    say("the results are stored; correct the template, then render again with `runner report`");
    Exit::Usage
}
