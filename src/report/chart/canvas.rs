//! The canvas of every chart: the run, the macros for its words, and its width.

use std::cell::RefCell;

use minijinja::{Value, context};

use crate::{
    diagnostic::Findings,
    report::{
        finding::{Macros, Words},
        model::{Cell, Model, Origin},
    },
};

/// Width of a chart, pixels.
pub(super) const WIDE: f64 = 760.0;
/// Width of a chart on a phone, where a wide one would be too small to read.
pub(super) const NARROW: f64 = 372.0;
/// Free room at the left and right edge.
pub(super) const EDGE: f64 = 20.0;

/// The macros for the words of charts. Drawing continues if a macro fails; all mistakes are reported at the
/// end.
pub(super) struct Say<'w> {
    macros: RefCell<Macros<'w>>,
    failed: RefCell<Findings>,
}

impl<'w> Say<'w> {
    pub(super) fn new(words: &'w Words) -> Result<Self, Findings> {
        Ok(Self { macros: RefCell::new(words.open()?), failed: RefCell::default() })
    }

    fn text(&self, name: &str, value: Value) -> String {
        self.macros.borrow_mut().call(name, value).unwrap_or_else(|findings| {
            let mut failed = self.failed.borrow_mut();
            for finding in findings.0 {
                // A macro is called for many cells.
                if !failed.0.iter().any(|known| known.title == finding.title && known.label == finding.label)
                {
                    failed.push(finding);
                }
            }
            String::new()
        })
    }

    /// # Errors
    /// The mistakes in the macros that were called.
    pub(super) fn finish(self) -> Result<(), Findings> {
        let failed = self.failed.into_inner();
        if failed.has_errors() { Err(failed) } else { Ok(()) }
    }
}

/// The run, macros and width with which a chart is drawn.
pub(super) struct Canvas<'c, 'a> {
    pub(super) model: &'c Model<'a>,
    pub(super) say: &'c Say<'a>,
    /// Width of the chart, pixels.
    pub(super) wide: f64,
}

impl Canvas<'_, '_> {
    /// Calls a macro of `charts.j2`.
    pub(super) fn text(&self, name: &str, value: Value) -> String {
        self.say.text(name, value)
    }

    /// Calls a macro of `charts.j2` if a condition holds; else the text is empty.
    pub(super) fn text_if(&self, is_so: bool, name: &str, value: Value) -> String {
        if is_so { self.text(name, value) } else { String::new() }
    }

    /// Whether the chart is for a phone.
    pub(super) fn is_narrow(&self) -> bool {
        self.wide < WIDE
    }

    /// The line on where the numbers come from: machine, model, engine.
    pub(super) fn source(&self) -> String {
        let run = self.model.run;
        let mut models: Vec<String> =
            run.plan.groups.iter().map(|group| model_name(&group.server.model).to_owned()).collect();
        models.sort_unstable();
        models.dedup();
        // The model of imported numbers may be unknown.
        if models == [""] {
            models.clear();
        }
        let engine = run.run.engine.as_ref().map(|engine| match &engine.version {
            Some(version) => format!("{} {version}", engine.name),
            None => engine.name.clone(),
        });
        self.text("source", context! { machine => self.model.machine(), models, engine })
    }

    /// The letter of a cell that was not measured, if the run has measured ones too; else empty.
    pub(super) fn letter(&self, cell: &Cell<'_>) -> &'static str {
        if self.model.is_mixed { cell.origin.letter() } else { "" }
    }

    /// The origin that a full mark stands for: measured, unless all cells have another one.
    pub(super) fn origin(&self) -> Origin {
        let mut known = self.model.cells.iter().filter(|cell| cell.has_numbers()).map(|cell| cell.origin);
        known.next().filter(|_| !self.model.is_mixed).unwrap_or(Origin::Measured)
    }
}

/// The name of a model: the last part of a local path.
fn model_name(model: &str) -> &str {
    match model.starts_with(['/', '.', '~']) {
        true => model.rsplit('/').next().unwrap_or(model),
        false => model,
    }
}
