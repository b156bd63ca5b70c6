//! What every picture is drawn with: the run, the words, and how wide it is.

use std::cell::RefCell;

use minijinja::{Value, context};

use super::sheet::WIDE;
use crate::{
    diagnostic::Findings,
    report::{
        finding::{Speech, Words},
        model::{Cell, Model, Origin},
    },
};

/// The words of some pictures. Drawing goes on where a macro fails: all mistakes are told at the end.
pub(super) struct Say<'w> {
    speech: RefCell<Speech<'w>>,
    failed: RefCell<Findings>,
}

impl<'w> Say<'w> {
    pub(super) fn new(words: &'w Words) -> Result<Self, Findings> {
        Ok(Self { speech: RefCell::new(words.open()?), failed: RefCell::default() })
    }

    fn text(&self, name: &str, value: Value) -> String {
        self.speech.borrow_mut().call(name, value).unwrap_or_else(|findings| {
            let mut failed = self.failed.borrow_mut();
            for finding in findings.0 {
                // The same macro is called for many cells.
                if !failed.0.iter().any(|known| known.title == finding.title && known.label == finding.label)
                {
                    failed.push(finding);
                }
            }
            String::new()
        })
    }

    /// The mistakes in the macros that were called.
    pub(super) fn finish(self) -> Result<(), Findings> {
        let failed = self.failed.into_inner();
        if failed.has_errors() { Err(failed) } else { Ok(()) }
    }
}

/// What pictures are drawn with.
pub(super) struct Canvas<'c, 'a> {
    pub(super) model: &'c Model<'a>,
    pub(super) say: &'c Say<'a>,
    /// Width of the picture, pixels.
    pub(super) wide: f64,
}

impl Canvas<'_, '_> {
    /// What a macro of `charts.j2` says.
    pub(super) fn text(&self, name: &str, value: Value) -> String {
        self.say.text(name, value)
    }

    /// Whether it is drawn for a phone.
    pub(super) fn is_narrow(&self) -> bool {
        self.wide < WIDE
    }

    /// What the numbers are of: machine, model, engine.
    pub(super) fn source(&self) -> String {
        let run = self.model.run;
        let mut models: Vec<String> =
            run.plan.groups.iter().map(|group| model_name(&group.server.model).to_owned()).collect();
        models.sort_unstable();
        models.dedup();
        // What was imported may not tell its model.
        if models == [""] {
            models.clear();
        }
        let engine = run.run.engine.as_ref().map(|engine| match &engine.version {
            Some(version) => format!("{} {version}", engine.name),
            None => engine.name.clone(),
        });
        self.text("source", context! { machine => self.model.machine(), models, engine })
    }

    /// The letter of a cell that was not measured, where the run has others; empty elsewhere.
    pub(super) fn letter(&self, cell: &Cell<'_>) -> &'static str {
        if self.model.is_mixed { cell.origin.letter() } else { "" }
    }

    /// What a full mark is: measured, unless all cells are of another kind.
    pub(super) fn origin(&self) -> Origin {
        let mut known = self.model.cells.iter().filter(|cell| cell.has_numbers()).map(|cell| cell.origin);
        known.next().filter(|_| !self.model.is_mixed).unwrap_or(Origin::Measured)
    }
}

/// Of a local path its last part is the name.
fn model_name(model: &str) -> &str {
    match model.starts_with(['/', '.', '~']) {
        true => model.rsplit('/').next().unwrap_or(model),
        false => model,
    }
}
