//! Compares the evidence of findings with the law: what is true, and what must be found.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    draw::{Drawn, Planted, Truth},
    effect, load, stability,
};
use crate::{
    measure::{Metric, Rank, Rate},
    plan::Role,
    report::{
        finding::{Facts, Finding, Kind, Question},
        model::Model,
        statistics::critical,
    },
};

/// A number agrees with its law if it is this close to it, plus a number of standard errors.
const CLOSE: f64 = 0.03;
const ERRORS: f64 = 4.5;
/// A visible effect is this many standard errors beyond the limit of a rule, so that chance hides it in few
/// grids.
const POWER: f64 = 2.0;
/// The degrees of freedom of the assumed spread of runs, which is used if few cells show one: it hides
/// smaller effects.
const ASSUMED: f64 = 0.05;
const ASSUMED_DF: f64 = 4.0;
/// The fewest triples of neighbours among which a single one that stands out does not dominate the noise.
const FEWEST: f64 = 8.0;
/// The smallest difference that counts as a change, as a logarithm.
pub(super) const CHANGE: f64 = 0.02;

/// A grid and its model.
#[derive(Clone, Copy)]
pub(super) struct Case<'c, 'a> {
    pub(super) drawn: &'c Drawn,
    pub(super) model: &'c Model<'a>,
}

impl<'c> Case<'c, '_> {
    pub(super) fn truth(&self, cell: usize) -> &'c Truth {
        &self.drawn.truth[cell]
    }

    /// A metric of a cell by the law.
    pub(super) fn law(&self, cell: usize, metric: Metric) -> f64 {
        self.truth(cell).numbers.of(metric).unwrap_or(f64::NAN)
    }

    /// Throughput by the law, output tokens per second.
    pub(super) fn throughput(&self, cell: usize) -> f64 {
        self.law(cell, Metric::Rate(Rate::Output))
    }

    /// The allowed error of the logarithm of a cell's number.
    pub(super) fn slack(&self, cell: usize, metric: Metric) -> f64 {
        CLOSE + ERRORS * self.drawn.error(cell, metric)
    }

    /// Requests in flight, by the law.
    pub(super) fn reached(&self, cell: usize) -> f64 {
        self.truth(cell).numbers.spot.load
    }

    /// Checks that a number of a cell agrees with its law.
    pub(super) fn told(&self, value: Option<f64>, metric: Metric, cell: usize) -> Result<(), String> {
        let Some(value) = value else { return Ok(()) };
        let law = self.law(cell, metric);
        let off = (value / law).ln().abs();
        match off <= self.slack(cell, metric) {
            true => Ok(()),
            false => Err(format!("{} of cell {cell} is {value}, by the law {law}", metric.label())),
        }
    }

    /// Checks that a ratio of two cells agrees with their law.
    pub(super) fn ratio(
        &self,
        value: Option<f64>,
        metric: Metric,
        from: usize,
        to: usize,
    ) -> Result<(), String> {
        let Some(value) = value else { return Ok(()) };
        let law = self.law(to, metric) / self.law(from, metric);
        let slack = self.slack(from, metric).hypot(self.slack(to, metric));
        match ((value / law).ln().abs()) <= slack {
            true => Ok(()),
            false => Err(format!("{} of {to} over {from} is {value}, by the law {law}", metric.label())),
        }
    }

    /// The standard error of a number of a cell including the assumed spread, and its degrees of freedom: the
    /// resolution of a grid of this size.
    fn sight(&self, cell: usize, metric: Metric) -> (f64, f64) {
        let drawn = self.drawn;
        let cells = drawn.truth.iter().filter(|own| own.is_measured && !own.is_excluded).count() as f64;
        let told = match drawn.measured.repeats {
            // Of each cell at most as many triples of neighbours as it has, and a median of squares weighs
            // half.
            1 => cells * (1.0 - 2.0 / drawn.loads.len() as f64) / 3.0,
            repeats => cells * (repeats as f64 - 1.0) / 2.0,
        };
        let df = told + ASSUMED_DF;
        let assumed = ASSUMED * (ASSUMED_DF / df).sqrt() / (drawn.measured.repeats as f64).sqrt();
        (drawn.error(cell, metric).hypot(assumed), df)
    }

    /// The smallest logarithm of a comparison that a grid of this size shows, if a rule makes one test of
    /// each cell and each of two numbers: the square root of `parts` times the error of one number. `None` if
    /// the noise is unknown: with fewer than [`FEWEST`] triples of neighbours measured once, an effect looks
    /// like noise.
    pub(super) fn visible(&self, cell: usize, metric: Metric, parts: f64) -> Option<f64> {
        let (error, df) = self.sight(cell, metric);
        let known = self.drawn.measured.repeats > 1 || df - ASSUMED_DF >= FEWEST / 3.0;
        known.then(|| (critical(4 * self.drawn.truth.len(), df) + POWER) * error * parts.sqrt())
    }

    /// Whether a logarithm is at least so large.
    pub(super) fn sees(&self, log: f64, cell: usize, metric: Metric, parts: f64) -> bool {
        self.visible(cell, metric, parts).is_some_and(|least| log > least)
    }

    /// The line of a cell along an axis by its label.
    pub(super) fn line(&self, cell: usize, axis: &str) -> Option<(&'c [usize], usize)> {
        let at = self.model.axes.iter().position(|own| own.label() == axis)?;
        let lines = self.model.blocks.iter().flat_map(|block| block.lines(at));
        lines.into_iter().find_map(|line| Some((line.cells.as_slice(), line.position(cell)?)))
    }
}

/// The metric of a label.
pub(super) fn metric(facts: &Facts, name: &str) -> Option<Metric> {
    let label = name_of(facts, name)?;
    let means = crate::manifest::LatencyKind::ALL.map(|kind| Metric::Latency(Rank::Mean, kind));
    Metric::COLUMNS.into_iter().chain(means).find(|metric| metric.label() == label)
}

/// A name among the evidence.
pub(super) fn name_of(facts: &Facts, name: &str) -> Option<String> {
    match facts.get(name)? {
        crate::report::finding::Fact::Name(name) => Some(name.clone()),
        _ => None,
    }
}

/// Facts below a name.
pub(super) fn below<'f>(facts: &'f Facts, name: &str) -> Option<&'f Facts> {
    match facts.get(name)? {
        crate::report::finding::Fact::Facts(facts) => Some(facts),
        _ => None,
    }
}

/// The facts of a list.
pub(super) fn list<'f>(facts: &'f Facts, name: &str) -> Vec<&'f Facts> {
    let Some(crate::report::finding::Fact::List(items)) = facts.get(name) else { return Vec::new() };
    let facts = items.iter().filter_map(|item| match item {
        crate::report::finding::Fact::Facts(facts) => Some(facts),
        _ => None,
    });
    facts.collect()
}

/// Whether a flag is set.
pub(super) fn is(facts: &Facts, name: &str) -> bool {
    matches!(facts.get(name), Some(crate::report::finding::Fact::Flag(true)))
}

/// Turns a condition into a result with the reason why it fails.
pub(super) fn holds(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// The questions whose findings are held against the law: the others ask for what no law here has.
pub(super) fn is_held(finding: &Finding) -> bool {
    finding.kind == Kind::StartModes
        || matches!(
            finding.kind.question(),
            Question::Effect | Question::Load | Question::Length | Question::Stability | Question::Memory
        )
}

/// Whether a finding says what the law does not.
pub(super) fn check(case: &Case<'_, '_>, finding: &Finding) -> Result<(), String> {
    rests_on_good_numbers(case, finding)?;
    let places = places(&finding.facts.json());
    let reached: Vec<f64> = case.drawn.truth.iter().map(|own| own.numbers.spot.load).collect();
    let unknown = places.iter().find(|load| !reached.iter().any(|own| (own - *load).abs() < 1e-9));
    holds(unknown.is_none(), || format!("nobody reached a load of {unknown:?}"))?;
    match finding.kind.question() {
        Question::Load | Question::Data => load::check(case, finding),
        Question::Effect | Question::Length | Question::Memory => effect::check(case, finding),
        _ => stability::check(case, finding),
    }
}

/// No finding rests on a cell or a number that a verdict is against.
fn rests_on_good_numbers(case: &Case<'_, '_>, finding: &Finding) -> Result<(), String> {
    // Where memory ends is said of servers, whatever became of their cells.
    if finding.kind.question() == Question::Memory {
        return Ok(());
    }
    for cell in &finding.cells {
        let truth = case.truth(*cell);
        holds(truth.is_measured && !truth.is_excluded, || {
            format!("it rests on cell {cell}, which is excluded")
        })?;
        let Some(metric) = metric(&finding.facts, "metric") else { continue };
        let number = case.model.cells[*cell].number(metric);
        let excluded = number.and_then(|number| number.excluded);
        holds(excluded.is_none(), || {
            format!("it rests on {} of cell {cell}, which is excluded", metric.label())
        })?;
    }
    Ok(())
}

/// Every concurrency that some place among the evidence names.
fn places(facts: &Value) -> Vec<f64> {
    match facts {
        Value::Object(map) => {
            let own = map.get("concurrency").and_then(Value::as_str).and_then(|text| text.parse().ok());
            own.into_iter().chain(map.values().flat_map(places)).collect()
        }
        Value::Array(items) => items.iter().flat_map(places).collect(),
        _ => Vec::new(),
    }
}

/// Something that was planted, and what became of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) what: &'static str,
    /// Whether the noise lets a grid of this size see it.
    pub(super) is_visible: bool,
    pub(super) is_found: bool,
}

/// What a grid must say.
pub(super) fn wanted(case: &Case<'_, '_>, findings: &[Finding]) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    for planted in &case.drawn.planted {
        all.extend(match planted {
            Planted::Corner | Planted::Saturation { .. } | Planted::StartModes => {
                load::wanted(case, *planted, findings)
            }
            Planted::Ridge { .. }
            | Planted::TailRidge { .. }
            | Planted::Cliff { .. }
            | Planted::OddRepeat { .. }
            | Planted::LongGaps(_) => stability::wanted(case, *planted, findings),
            _ => effect::wanted(case, *planted, findings),
        });
    }
    all.extend(load::always(case, findings));
    all
}

/// The server axis with something planted, by its place in the model.
pub(super) fn server_axis(case: &Case<'_, '_>) -> Option<usize> {
    let name = case.drawn.servers.first()?.name;
    case.model.axes.iter().position(|axis| axis.role == Role::Server && axis.name == name)
}

/// The kinds of some findings, for messages.
pub(super) fn kinds(findings: &[Finding]) -> BTreeSet<&'static str> {
    findings.iter().map(|finding| finding.kind.name()).collect()
}
