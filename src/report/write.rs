//! Renders a stored run into its folder.

use camino::{Utf8Path, Utf8PathBuf};

use super::{Shown, show};
use crate::{
    diagnostic::Findings,
    store::{self, RunFolder, StoreError},
};

/// Why a run could not be rendered into its folder.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The run cannot be read, or the files cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Mistakes in the user's templates.
    #[error("the templates have mistakes")]
    Templates(Findings),
}

/// Renders the notes, charts and page of a stored run into its folder, and returns the paths of the notes.
/// Charts of an earlier rendering are removed.
///
/// # Errors
///
/// When the run cannot be read, a template has a mistake, or the files cannot be written.
pub fn write(folder: &Utf8Path, templates: Option<&Utf8Path>) -> Result<Vec<Utf8PathBuf>, WriteError> {
    let Shown { notes, charts, page } =
        show(&store::read(folder)?, templates).map_err(WriteError::Templates)?;
    let open = RunFolder::open(folder)?;
    let names: Vec<&str> = charts.iter().map(|chart| chart.file.as_str()).collect();
    open.keep_charts(&names)?;
    for chart in &charts {
        open.write_text(&format!("charts/{}", chart.file), &chart.svg())?;
    }
    open.write_text("report.html", &page)?;
    let mut paths = Vec::new();
    for note in notes {
        let relative = format!("notes/{}", note.file);
        open.write_text(&relative, &note.text)?;
        paths.push(folder.join(relative));
    }
    Ok(paths)
}
