//! A stored run → notes, pictures and a page.
//!
//! Pure but for reading the user's template folder: no clock, no server, no socket. The same light files give the
//! same bytes. [`values`] turns a run into what a template sees; [`render`] fills the built-in template and the
//! user's own. What the numbers say is found in `insight`, never in a template; `chart` and `page` draw the same
//! findings, `compare` sets two runs side by side.

mod chart;
mod compare;
mod escape;
mod export;
mod file_name;
mod headline;
mod insight;
mod note;
mod number;
mod origin;
mod page;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

pub use chart::Chart;
pub use compare::{Change, Comparison, Difference, Gate, Judgement, Pair, compare};

use std::{panic::resume_unwind, thread};

use camino::Utf8Path;

use crate::{diagnostic::Findings, store::StoredRun};

/// One rendered note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its file name under `notes/`: `capacity.md`.
    pub file: String,
    /// Its Markdown, ending with one line break.
    pub text: String,
}

/// Renders the built-in notes that have something to say of the run, and one note for every `*.md.j2` in `templates`; a file with a built-in's name takes its
/// place. The notes are in the order of their names.
///
/// # Errors
///
/// Every mistake of every template at once: a folder or file that cannot be read, a syntax error, a value or filter
/// that does not exist, each with its line where it has one.
pub fn render(run: &StoredRun, templates: Option<&Utf8Path>) -> Result<Vec<Note>, Findings> {
    let sources = note::template::sources(templates)?;
    note::template::render(&sources, &values(run))
}

/// Everything a run is shown by.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// As [`render`] gives them.
    pub notes: Vec<Note>,
    /// As [`charts`] gives them.
    pub charts: Vec<Chart>,
    /// As [`page`] gives it.
    pub page: String,
}

/// Notes, pictures and page of a run at once: each picture is drawn once.
///
/// # Errors
///
/// Those of [`render`].
pub fn show(run: &StoredRun, templates: Option<&Utf8Path>) -> Result<Shown, Findings> {
    let sources = note::template::sources(templates)?;
    let charts = charts(run);
    // Neither knows of the other, and of ten thousand cells each takes a second.
    let (notes, page) = thread::scope(|scope| {
        let page = scope.spawn(|| page(run, &charts));
        let notes = note::template::render(&sources, &note::values::values(run, &charts));
        let page = page.join().unwrap_or_else(|panic| resume_unwind(panic));
        (notes, page)
    });
    Ok(Shown {
        notes: notes?,
        page,
        charts,
    })
}

/// Renders a comparison.
///
/// # Errors
///
/// Every mistake of its template, as of a note's.
pub fn render_comparison(
    comparison: &Comparison,
    templates: Option<&Utf8Path>,
) -> Result<String, Findings> {
    let template = note::template::comparison(templates)?;
    let notes = note::template::render(&[template], &compare::view::values(comparison))?;
    Ok(notes.into_iter().map(|note| note.text).collect())
}

/// Every cell as one line of JSON, flat, under the names of `cells.csv`: for notebooks.
pub fn json_lines(run: &StoredRun) -> String {
    export::json_lines(run)
}

/// The pictures of a run, for `charts/`.
pub fn charts(run: &StoredRun) -> Vec<Chart> {
    chart::charts(run, &insight::blocks(run))
}

/// `report.html` of a run: one file with its pictures, all its cells and a page for each.
pub fn page(run: &StoredRun, charts: &[Chart]) -> String {
    page::page(run, charts)
}

/// What a template can see: plain numbers (milliseconds, tokens per second), names as they were written, `null` where
/// something is absent. `templates/README.md` documents every value.
pub fn values(run: &StoredRun) -> serde_json::Value {
    note::values::values(run, &charts(run))
}
