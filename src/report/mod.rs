//! A stored run → notes, pictures and a page.
//!
//! Pure but for reading the user's template folder: no clock, no server, no socket. The same light files give the
//! same bytes. [`values`] turns a run into what a template sees; [`render`] fills the built-in template and the
//! user's own. What the numbers say is found here, in the `insight` files, never in a template.

mod axes_table;
mod chart;
mod comparable;
mod compare;
mod compare_view;
mod curves;
mod escape;
mod export;
mod filters;
mod gate;
mod grid;
mod headline;
mod insight;
mod insight_basis;
mod insight_best;
mod insight_caution;
mod insight_compare;
mod insight_failure;
mod insight_humps;
mod insight_length;
mod insight_load;
mod insight_observe;
mod insight_pareto;
mod insight_recipe;
mod insight_scaling;
mod insight_server;
mod insight_surface;
mod insight_unstable;
mod insight_verdict;
mod interval;
mod number;
mod page;
mod template;
mod view;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod insight_tests;
#[cfg(test)]
mod tests;

pub use chart::Chart;
pub use comparable::Difference;
pub use compare::{Change, Comparison, Judgement, Pair, compare};
pub use gate::Gate;

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
    let sources = template::sources(templates)?;
    template::render(&sources, &values(run))
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
    let template = template::comparison(templates)?;
    let notes = template::render(&[template], &compare_view::values(comparison))?;
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
    view::values(run)
}
