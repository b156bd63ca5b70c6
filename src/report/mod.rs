//! Renders a stored run as notes, charts and a page, and compares two runs.
//!
//! `model` reads a run once. `finding` applies rules to it and returns typed findings without words: every
//! sentence that a reader sees comes from `templates/`. `note`, `chart` and `page` show the same findings;
//! `compare` joins the cells of two runs. Nothing here reads a clock, a server or a socket, and files only
//! from the user's template folder: the same light files give the same bytes.
//!
//! ```
//! use runner::{report, store};
//!
//! let run = store::read("results/cpu-grid/cpu-2core".into())?;
//! let notes = report::render(&run, None).expect("the built-in templates have no mistakes");
//! assert!(notes.iter().any(|note| note.file == "capacity.md" && note.text.starts_with("# ")));
//! # Ok::<(), store::StoreError>(())
//! ```

mod chart;
mod compare;
mod escape;
mod export;
mod file_name;
mod finding;
mod metrics;
mod model;
mod note;
mod number;
mod origin;
mod page;
mod searches;
mod statistics;
mod template;
mod write;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

pub use chart::Chart;
pub use compare::{
    AnswerJudgement, AnswerPair, Change, Column, Comparison, Difference, Found, Gate, GateError, Judgement,
    Pair, compare,
};
pub use export::json_lines;
pub use template::Note;
pub use write::{WriteError, write};

use std::{panic::resume_unwind, thread};

use camino::Utf8Path;

use crate::{diagnostic::Findings, store::StoredRun};
use finding::{Statement, Words, findings};
use model::Model;

/// Everything that shows a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The built-in notes that have something to say, and one note for each `*.md.j2` in the user's folder,
    /// sorted by name. A file with the name of a built-in one replaces it.
    pub notes: Vec<Note>,
    /// The charts, for `charts/`.
    pub charts: Vec<Chart>,
    /// `report.html`: one file with the first page, the charts, a table of all cells and a page for each.
    pub page: String,
}

/// Renders the notes, charts and page of a run.
///
/// # Errors
/// Every mistake in every template: a folder or file that cannot be read, a syntax error, an unknown value or
/// filter, each with its line if it has one.
pub fn show(run: &StoredRun, templates: Option<&Utf8Path>) -> Result<Shown, Findings> {
    show_model(&Model::of(run), templates)
}

fn show_model(model: &Model<'_>, templates: Option<&Utf8Path>) -> Result<Shown, Findings> {
    let sources = template::sources(templates)?;
    let words = Words::new(templates)?;
    let statements = statements(model, &words, &note::values::shown(model))?;
    // The two are independent, and each takes long for ten thousand cells.
    let (charts, cells) = thread::scope(|scope| {
        let cells = scope.spawn(|| page::cells(model));
        let charts = chart::charts(model, &words);
        (charts, cells.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let charts = charts?;
    let said = searches::said(model, &words)?;
    let values = note::values::values(model, &statements, &said, &charts, template::need_cells(&sources));
    let first = template::first_page(&values)?;
    Ok(Shown {
        notes: template::render(&sources, &values)?,
        page: page::page(model, &charts, &first, &cells),
        charts,
    })
}

/// Renders the notes of a run.
///
/// # Errors
/// As [`show`].
pub fn render(run: &StoredRun, templates: Option<&Utf8Path>) -> Result<Vec<Note>, Findings> {
    let sources = template::sources(templates)?;
    template::render(
        &sources,
        &values_of(run, templates, template::need_cells(&sources), note::values::shown)?,
    )
}

/// Renders a comparison as Markdown.
///
/// # Errors
/// Every mistake in its template.
pub fn render_comparison(comparison: &Comparison, templates: Option<&Utf8Path>) -> Result<String, Findings> {
    let template = template::comparison(templates)?;
    let notes = template::render(&[template], &compare::view::values(comparison))?;
    Ok(notes.into_iter().map(|note| note.text).collect())
}

/// Returns everything a template can see, with the findings on every server: plain numbers (milliseconds,
/// tokens per second), names as they were written, `null` if a value is unknown. `templates/README.md`
/// documents every value.
///
/// # Errors
/// Every mistake in the user's macros for findings or charts.
pub fn values(run: &StoredRun, templates: Option<&Utf8Path>) -> Result<serde_json::Value, Findings> {
    values_of(run, templates, true, |model| (0..model.blocks.len()).collect())
}

fn values_of(
    run: &StoredRun,
    templates: Option<&Utf8Path>,
    all_cells: bool,
    blocks: impl Fn(&Model<'_>) -> Vec<usize>,
) -> Result<serde_json::Value, Findings> {
    let words = Words::new(templates)?;
    let model = Model::of(run);
    let statements = statements(&model, &words, &blocks(&model))?;
    let (said, charts) = (searches::said(&model, &words)?, chart::charts(&model, &words)?);
    Ok(note::values::values(&model, &statements, &said, &charts, all_cells))
}

/// The findings on some blocks, and those on several servers, each with its sentence.
fn statements(model: &Model<'_>, words: &Words, blocks: &[usize]) -> Result<Vec<Statement>, Findings> {
    let mut found = findings(model);
    found.retain(|finding| finding.block.is_none_or(|block| blocks.contains(&block)));
    let sentences = words.say(model, &found)?;
    Ok(found.into_iter().zip(sentences).map(|(finding, text)| Statement { finding, text }).collect())
}
