//! Where memory runs out.

use super::{Coordinate, Facts, Finding, Kind, Rule};
use crate::{
    plan::Axis,
    report::model::{Fate, Model, Server},
};

pub(super) const RULES: &[Rule] = &[Rule::Run(boundary), Rule::Run(all_fit)];

/// Where memory runs out along one line of servers. Values are indices on its axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Boundary {
    /// The largest value that fits, and the smallest above it that does not.
    FitsTo { fits: usize, ends: usize },
    /// Larger values make room: the smallest that fits, and the largest below it that does not.
    Needs { fits: usize, ends: usize },
    /// Everything fits, up to this value.
    AllFit { fits: usize },
    /// Nothing fits, from this value on.
    NoneFits { ends: usize },
    /// No single boundary.
    Mixed,
}

impl Boundary {
    /// From the values that fit and those that do not, both ascending; `None` if there are neither.
    fn of(fits: &[usize], ends: &[usize]) -> Option<Self> {
        Some(match (fits, ends) {
            ([], []) => return None,
            ([], [first, ..]) => Self::NoneFits { ends: *first },
            ([.., last], []) => Self::AllFit { fits: *last },
            ([.., last], [first, ..]) if last < first => Self::FitsTo { fits: *last, ends: *first },
            ([first, ..], [.., last]) if first > last => Self::Needs { fits: *first, ends: *last },
            _ => Self::Mixed,
        })
    }

    fn facts(self, axis: &Axis) -> Facts {
        let (name, fits, ends) = match self {
            Self::FitsTo { fits, ends } => ("fits_to", Some(fits), Some(ends)),
            Self::Needs { fits, ends } => ("needs", Some(fits), Some(ends)),
            Self::AllFit { fits } => ("all_fit", Some(fits), None),
            Self::NoneFits { ends } => ("none_fits", None, Some(ends)),
            Self::Mixed => ("mixed", None, None),
        };
        Facts::new()
            .name("boundary", name)
            .when(fits, |facts, fits| facts.axis_value("fits", axis, fits))
            .when(ends, |facts, ends| facts.axis_value("ends", axis, ends))
    }

    /// Whether some servers fit and others do not.
    fn turns(self) -> bool {
        !matches!(self, Self::AllFit { .. } | Self::NoneFits { .. })
    }
}

/// One line of servers with its boundary.
struct Line {
    /// Index of its first server, for its values on the other axes.
    server: usize,
    boundary: Boundary,
}

/// The lines along an axis with a known boundary.
fn lines(model: &Model<'_>, axis: usize) -> Vec<Line> {
    let line = |servers: Vec<usize>| {
        let at = |fits: bool| -> Vec<usize> {
            let own = servers.iter().filter(|server| model.servers[**server].fate.fits() == Some(fits));
            own.filter_map(|server| model.server_at(*server, axis)).collect()
        };
        Some(Line { server: *servers.first()?, boundary: Boundary::of(&at(true), &at(false))? })
    };
    model.server_lines(axis).into_iter().filter_map(line).collect()
}

/// Where memory runs out along the first numeric axis on which some servers fit and others do not.
fn boundary(model: &Model<'_>) -> Vec<Finding> {
    let of = |fate: Fate| model.servers.iter().filter(move |server| server.fate == fate);
    let ends: Vec<&Server<'_>> = model.servers.iter().filter(|server| server.fate.is_end()).collect();
    if ends.is_empty() {
        return Vec::new();
    }
    let axes = model.server_axes();
    let found = axes
        .iter()
        .filter(|axis| model.axes[**axis].is_numeric())
        .map(|axis| (*axis, lines(model, *axis)))
        .find(|(_, lines)| lines.iter().any(|line| line.boundary.turns()));
    let estimates: Vec<u64> =
        of(Fate::TooSmall).filter_map(|server| server.file?.facts.estimated_max_model_len).collect();
    let range = estimates.iter().min().zip(estimates.iter().max());
    let facts = Facts::new()
        .count("servers", model.servers.len())
        .count("ends", ends.len())
        .count("at_start", of(Fate::EndsAtStart).count())
        .count("under_load", of(Fate::EndsUnderLoad).count())
        .count("too_small", of(Fate::TooSmall).count())
        .count("fit", of(Fate::Fits).count())
        .count("implied", of(Fate::Implied).count())
        .count("not_reached", of(Fate::NotReached).count())
        .count("failed", of(Fate::Failed).count())
        .when(found, |facts, (axis, lines)| along(model, &axes, axis, &lines, facts))
        .when(range, |facts, (least, most)| {
            let estimate = Facts::new().plain("least", *least as f64).plain("most", *most as f64);
            facts.facts("estimated_max_model_len", estimate.count("servers", estimates.len()))
        });
    let cells = ends.iter().flat_map(|server| server.cells.iter().copied());
    vec![Finding::of_run(Kind::Boundary, cells).with(facts)]
}

/// The boundary of every line along an axis, and the shortest summary that holds: one for all lines, or one
/// for each value of the other axis that alone decides it.
fn along(model: &Model<'_>, axes: &[usize], axis: usize, lines: &[Line], facts: Facts) -> Facts {
    let own = &model.axes[axis];
    let others: Vec<usize> = axes.iter().copied().filter(|other| *other != axis).collect();
    let place = |server: usize| -> Vec<Coordinate> {
        let coordinate = |other: &usize| {
            let axis = &model.axes[*other];
            let value = axis.text(model.server_at(server, *other)?);
            Some(Coordinate { axis: axis.label().to_owned(), quantity: axis.quantity().name(), value })
        };
        others.iter().filter_map(coordinate).collect()
    };
    let line = |line: &Line| line.boundary.facts(own).place("place", place(line.server));
    let facts = facts.name("axis", own.label()).list("lines", lines.iter().map(line));
    let first = lines.first().map(|line| line.boundary);
    if let Some(same) = first.filter(|first| lines.iter().all(|line| line.boundary == *first)) {
        return facts.facts("same", same.facts(own));
    }
    match others.iter().find_map(|other| Some((&model.axes[*other], steps(model, *other, lines)?))) {
        Some((by, steps)) => {
            let step = |(from, to, boundary): &(usize, usize, Boundary)| {
                let to = Some(*to).filter(|to| to != from);
                let facts = boundary.facts(own).axis_value("from", by, *from);
                facts.when(to, |facts, to| facts.axis_value("to", by, to))
            };
            facts.name("by", by.label()).list("steps", steps.iter().map(step))
        }
        None => range(own, lines, facts),
    }
}

/// The boundaries by the value of another axis as (from, to, boundary), equal neighbours merged; `None` if
/// that axis alone does not decide them. Only numeric values have neighbours.
fn steps(model: &Model<'_>, other: usize, lines: &[Line]) -> Option<Vec<(usize, usize, Boundary)>> {
    let mut known: Vec<(usize, Boundary)> = lines
        .iter()
        .map(|line| Some((model.server_at(line.server, other)?, line.boundary)))
        .collect::<Option<_>>()?;
    known.sort_by_key(|(value, _)| *value);
    known.dedup();
    let is_decided = known.windows(2).all(|pair| pair[0].0 != pair[1].0);
    let is_numeric = model.axes[other].is_numeric();
    let mut steps: Vec<(usize, usize, Boundary)> = Vec::new();
    for (value, boundary) in known {
        match steps.last_mut() {
            Some((_, to, last)) if is_numeric && *last == boundary => *to = value,
            _ => steps.push((value, value, boundary)),
        }
    }
    is_decided.then_some(steps)
}

/// The smallest and the largest boundary of the lines that have one: the summary if no single axis decides.
fn range(axis: &Axis, lines: &[Line], facts: Facts) -> Facts {
    let fits = lines.iter().filter_map(|line| match line.boundary {
        Boundary::FitsTo { fits, .. } | Boundary::Needs { fits, .. } => Some(fits),
        Boundary::AllFit { .. } | Boundary::NoneFits { .. } | Boundary::Mixed => None,
    });
    facts.when(fits.clone().min().zip(fits.max()), |facts, (least, most)| {
        let is_need = lines.iter().any(|line| matches!(line.boundary, Boundary::Needs { .. }));
        let none = lines.iter().filter(|line| matches!(line.boundary, Boundary::NoneFits { .. })).count();
        let range = Facts::new().axis_value("least", axis, least).axis_value("most", axis, most);
        facts.facts("range", range.flag("is_need", is_need).count("none_fits", none))
    })
}

/// Whether memory sufficed on every server that was reached.
fn all_fit(model: &Model<'_>) -> Vec<Finding> {
    let fit: Vec<&Server<'_>> = model.servers.iter().filter(|server| server.fate == Fate::Fits).collect();
    let is_short = model.servers.iter().any(|server| server.fate.fits() == Some(false));
    if fit.is_empty() || model.server_axes().is_empty() || is_short {
        return Vec::new();
    }
    let range = |number: fn(&Server<'_>) -> Option<f64>| {
        let numbers = || fit.iter().filter_map(|server| number(server));
        let least = numbers().reduce(f64::min)?;
        Some(Facts::new().plain("least", least).plain("most", numbers().reduce(f64::max)))
    };
    let facts = Facts::new()
        .count("fit", fit.len())
        .count("servers", model.servers.len())
        .facts("kv_cache_tokens", range(|server| Some(server.file?.facts.kv_cache_tokens? as f64)))
        .facts("full_length_requests", range(|server| server.full_length_requests()));
    let cells = fit.iter().flat_map(|server| server.cells.iter().copied());
    vec![Finding::of_run(Kind::AllFit, cells).with(facts)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::{
        manifest::Slo,
        measure::CellOutcome,
        report::{finding::Words, fixtures},
        store::StoredRun,
    };

    /// Servers over two axes, each with what became of it.
    fn grid(axes: [&str; 2], servers: &[(f64, f64, CellOutcome)]) -> StoredRun {
        let mut run = fixtures::empty();
        run.plan.server_axes = axes.map(str::to_owned).to_vec();
        for (nth, (one, other, outcome)) in servers.iter().enumerate() {
            let own = BTreeMap::from([(axes[0].to_owned(), json!(one)), (axes[1].to_owned(), json!(other))]);
            let id = format!("qwen-{nth}");
            let mut cell = fixtures::cell(&format!("chat-{nth}"), &id, 1, 64, &Slo::default());
            cell.axes.extend(own.clone());
            cell.outcome = *outcome;
            if outcome.is_measured() {
                cell.summary = Some(fixtures::summary(16));
            }
            let word = if *outcome == CellOutcome::Oom { "oom(kv_cache)" } else { "ready" };
            fixtures::add(&mut run, &id, own, word, vec![cell]);
        }
        run
    }

    fn only(run: &StoredRun, rule: Rule) -> (serde_json::Value, String) {
        let model = Model::of(run);
        let found = rule.apply(&model);
        assert_eq!(found.len(), 1, "{found:?}");
        (found[0].facts.json(), Words::new(None).unwrap().say(&model, &found).unwrap().concat())
    }

    #[test]
    fn the_boundary_is_told_by_the_axis_that_moves_it() {
        let run = fixtures::oom_surface();
        let (facts, sentence) = only(&run, Rule::Run(boundary));
        assert_eq!(
            [
                &facts["ends"],
                &facts["servers"],
                &facts["at_start"],
                &facts["too_small"],
                &facts["under_load"]
            ],
            [&json!(3.0), &json!(6.0), &json!(2.0), &json!(1.0), &json!(0.0)],
            "{sentence}"
        );
        assert_eq!(facts["axis"], json!("max-model-len"));
        assert_eq!(facts["by"], json!("max-num-seqs"));
        assert_eq!(
            facts["steps"],
            json!([
                { "boundary": "fits_to", "fits": 8192.0, "ends": 16384.0, "from": 32.0 },
                { "boundary": "fits_to", "fits": 4096.0, "ends": 8192.0, "from": 256.0 },
            ])
        );
        assert_eq!(facts["estimated_max_model_len"]["most"], json!(12352.0));
        assert!(all_fit(&Model::of(&run)).is_empty());
    }

    #[test]
    fn where_more_makes_room_the_least_that_fits_is_told() {
        let servers = [0.3, 0.6, 0.9].into_iter().flat_map(|share| {
            let outcome = if share < 0.5 { CellOutcome::Oom } else { CellOutcome::Ok };
            [8.0, 16.0].map(|seqs| (share, seqs, outcome))
        });
        let run = grid(["gpu-memory-utilization", "max-num-seqs"], &servers.collect::<Vec<_>>());
        let (facts, sentence) = only(&run, Rule::Run(boundary));
        assert_eq!(facts["same"], json!({ "boundary": "needs", "fits": "0.6", "ends": "0.3" }), "{sentence}");
        assert_eq!(facts["lines"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn memory_that_suffices_everywhere_is_told_once() {
        let servers = [(1024.0, 8.0, CellOutcome::Ok), (2048.0, 8.0, CellOutcome::Ok)];
        let mut run = grid(["max-model-len", "max-num-seqs"], &servers);
        run.servers[0].facts.kv_cache_tokens = Some(40_000);
        run.servers[1].facts.kv_cache_tokens = Some(39_000);
        let (facts, sentence) = only(&run, Rule::Run(all_fit));
        assert_eq!(facts["kv_cache_tokens"], json!({ "least": 39000.0, "most": 40000.0 }), "{sentence}");
        assert!(boundary(&Model::of(&run)).is_empty());
        assert!(all_fit(&Model::of(&fixtures::streamed())).is_empty());
    }

    #[test]
    fn the_surface_has_every_server_once() {
        let run = fixtures::oom_surface();
        let model = Model::of(&run);
        let surface = model.surface().unwrap();
        assert_eq!(surface.row_labels, [["4096"], ["8192"], ["16384"]]);
        assert_eq!(surface.column_labels, ["32", "256"]);
        assert_eq!((surface.left_out, surface.held.len()), (0, 0));
        let fates = surface.servers.iter().flatten().flatten().map(|server| model.servers[*server].fate);
        assert_eq!(
            fates.collect::<Vec<_>>(),
            [Fate::Fits, Fate::Fits, Fate::Fits, Fate::EndsAtStart, Fate::TooSmall, Fate::EndsAtStart]
        );
        assert_eq!(Model::of(&fixtures::streamed()).surface(), None);
    }

    #[test]
    fn a_long_axis_keeps_the_values_at_its_boundary() {
        let servers = (1..=20).flat_map(|nth| {
            let outcome = if nth > 13 { CellOutcome::Oom } else { CellOutcome::Ok };
            [8.0, 16.0].map(|seqs| (f64::from(nth) * 1024.0, seqs, outcome))
        });
        let run = grid(["max-model-len", "max-num-seqs"], &servers.collect::<Vec<_>>());
        let surface = Model::of(&run).surface().unwrap();
        assert_eq!((surface.row_labels.len(), surface.left_out), (12, 16));
        let labels = surface.row_labels.concat();
        for value in ["1024.0", "13312.0", "14336.0", "20480.0"] {
            assert!(labels.iter().any(|label| label == value), "{labels:?}");
        }
    }
}
