//! A stored run → notes, pictures and a page.
//!
//! Pure but for reading the user's template folder: no clock, no server, no socket. The same light files give the same bytes.
//!
//! `model` reads a run once. `finding` turns it into typed findings with their evidence, which know no words: every sentence
//! that a reader sees is a macro or a template in `templates/`. `note`, `chart` and `page` show the same findings, `compare` sets
//! two runs side by side.

mod chart;
mod compare;
mod escape;
mod export;
mod file_name;
mod finding;
mod model;
mod note;
mod number;
mod origin;
mod page;
mod statistics;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

pub use chart::Chart;
pub use compare::{Change, Column, Comparison, Difference, Gate, Judgement, Pair, compare};

use std::{panic::resume_unwind, thread};

use camino::Utf8Path;

use crate::{diagnostic::Findings, store::StoredRun};
use finding::{Finding, Words};
use model::Model;
use note::{template, values::Told};

/// One rendered note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its file name under `notes/`: `capacity.md`.
    pub file: String,
    /// Its Markdown, ending with one line break.
    pub text: String,
}

/// Everything a run is shown by.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The built-in notes that have something to say of the run, and one note for every `*.md.j2` of the user's folder; a file
    /// with a built-in's name takes its place. In the order of their names.
    pub notes: Vec<Note>,
    /// The pictures, for `charts/`.
    pub charts: Vec<Chart>,
    /// `report.html`: one file with the first page, the pictures, all cells and a page for each.
    pub page: String,
}

/// Renders notes, pictures and page of a run.
///
/// # Errors
///
/// Every mistake of every template at once: a folder or file that cannot be read, a syntax error, a value or filter
/// that does not exist, each with its line where it has one.
pub fn show(run: &StoredRun, templates: Option<&Utf8Path>) -> Result<Shown, Findings> {
    let sources = template::sources(templates)?;
    let words = Words::new(templates)?;
    let model = Model::of(run);
    let (findings, said) = told(&model, &words, &note::values::shown(&model))?;
    let told = Told { model: &model, findings: &findings, said: &said };
    // Neither knows of the other, and of ten thousand cells each takes a while.
    let (charts, cells) = thread::scope(|scope| {
        let cells = scope.spawn(|| page::cells(&model));
        let charts = chart::charts(&model, &words);
        (charts, cells.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let charts = charts?;
    let values = note::values::values(&told, &charts, template::need_cells(&sources));
    let first = template::first_page(&values)?;
    Ok(Shown {
        notes: template::render(&sources, &values)?,
        page: page::page(&model, &charts, &first, &cells),
        charts,
    })
}

/// Renders the notes alone, as [`show`] does.
///
/// # Errors
///
/// Those of [`show`].
pub fn render(run: &StoredRun, templates: Option<&Utf8Path>) -> Result<Vec<Note>, Findings> {
    let sources = template::sources(templates)?;
    template::render(&sources, &seen(run, templates, template::need_cells(&sources), false)?)
}

/// Renders a comparison.
///
/// # Errors
///
/// Every mistake of its template, as of a note's.
pub fn render_comparison(comparison: &Comparison, templates: Option<&Utf8Path>) -> Result<String, Findings> {
    let template = template::comparison(templates)?;
    let notes = template::render(&[template], &compare::view::values(comparison))?;
    Ok(notes.into_iter().map(|note| note.text).collect())
}

/// Every cell as one line of JSON, flat, under the names of `cells.csv`: for notebooks.
pub fn json_lines(run: &StoredRun) -> String {
    export::json_lines(run)
}

/// What a template can see, with every finding on every server: plain numbers (milliseconds, tokens per second), names as they
/// were written, `null` where something is absent. `templates/README.md` documents every value.
///
/// # Errors
///
/// A mistake in the user's words for findings or pictures.
pub fn values(run: &StoredRun, templates: Option<&Utf8Path>) -> Result<serde_json::Value, Findings> {
    seen(run, templates, true, true)
}

fn seen(
    run: &StoredRun,
    templates: Option<&Utf8Path>,
    all_cells: bool,
    all_servers: bool,
) -> Result<serde_json::Value, Findings> {
    let words = Words::new(templates)?;
    let model = Model::of(run);
    let blocks = match all_servers {
        true => (0..model.blocks.len()).collect(),
        false => note::values::shown(&model),
    };
    let (findings, said) = told(&model, &words, &blocks)?;
    let told = Told { model: &model, findings: &findings, said: &said };
    Ok(note::values::values(&told, &chart::charts(&model, &words)?, all_cells))
}

/// The findings on some blocks, and those on none alone, each with its sentence.
fn told(model: &Model<'_>, words: &Words, blocks: &[usize]) -> Result<(Vec<Finding>, Vec<String>), Findings> {
    let mut findings = finding::findings(model);
    findings.retain(|finding| finding.block.is_none_or(|block| blocks.contains(&block)));
    let said = words.say(model, &findings)?;
    Ok((findings, said))
}
