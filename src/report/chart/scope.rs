//! What a picture of a workload shows: the axis along which more is asked for, the axis that gives the series, and where
//! every other axis is held.
//!
//! The rule, which the notes below the pictures repeat where it had to choose: `rate` or `concurrency` goes along (without
//! them the numeric axis with most values). Where the other axes have at most six combinations, each is a series.
//! Otherwise the one along which the metric changes most gives the series, and the rest are held where the best cell is.

use serde_json::Value;

use super::sheet::{Key, WIDE};
use crate::{
    manifest::{Slo, scalar_text},
    report::{
        insight::{Block, coordinate, count, of, servers::in_order},
        number::{ABSENT, listed},
        origin::{Origin, is_mixed, origins},
    },
    store::{CellFile, StoredRun},
};

/// The most series that stay apart by colour and shape.
pub(super) const SERIES: usize = 6;

/// All cells of a workload.
pub(super) struct Scope<'a> {
    pub(super) workload: &'a str,
    /// In the order of the plan, those without numbers too.
    pub(super) cells: Vec<&'a CellFile>,
    /// A sentence on the server axes of which one value alone gave numbers; empty without such.
    pub(super) constant: String,
    /// Axes with more than one value.
    pub(super) varying: Vec<&'a str>,
    /// Where the best cell is, and its series.
    pub(super) best: Option<&'a CellFile>,
    pub(super) slo: &'a Slo,
    /// Whether the run has cells of several kinds, so that each says its own.
    pub(super) mixed: bool,
    /// How wide its pictures are, pixels.
    pub(super) wide: f64,
}

/// Cells that share everything but the axis along.
pub(super) struct Series<'a> {
    /// `max_tokens 64`; empty when there is one series only.
    pub(super) label: String,
    /// The axes it has its name of: `max_tokens`, or several with a point between.
    pub(super) names: String,
    /// Its values on these: `64`.
    pub(super) values: String,
    pub(super) cells: Vec<&'a CellFile>,
}

/// The series of a picture, and what was left out to get at them.
pub(super) struct Choice<'a> {
    pub(super) series: Vec<Series<'a>>,
    /// A sentence; empty when every cell is shown.
    pub(super) held: String,
}

impl<'a> Scope<'a> {
    /// The scope of one workload.
    pub(super) fn of(run: &'a StoredRun, blocks: &[Block<'a>], workload: &'a str) -> Option<Self> {
        let all: Vec<&CellFile> = run
            .cells
            .iter()
            .filter(|cell| cell.workload == workload)
            .collect();
        let first = *all.first()?;
        let axes: Vec<&str> = run
            .plan
            .load_axes
            .iter()
            .chain(&run.plan.server_axes)
            .map(String::as_str)
            .filter(|axis| several(&all, axis))
            .collect();
        let measured: Vec<&CellFile> = all
            .iter()
            .copied()
            .filter(|cell| cell.outcome.is_measured())
            .collect();
        // A value of a server axis that gave no number at all is no series; the picture of memory shows it.
        let (varying, single): (Vec<&str>, Vec<&str>) = axes.into_iter().partition(|axis| {
            several(&measured, axis) || !run.plan.server_axes.iter().any(|own| own == axis)
        });
        let only = |cell: &CellFile| {
            measured.first().is_none_or(|one| {
                single
                    .iter()
                    .all(|axis| coordinate(cell, axis) == coordinate(one, axis))
            })
        };
        let cells: Vec<&CellFile> = all.iter().copied().filter(|cell| only(cell)).collect();
        let best = in_order(blocks, workload)
            .first()
            .and_then(|(_, best)| best.picks.first())
            .and_then(|pick| cells.iter().find(|cell| cell.id == pick.cell).copied());
        let left_out = all.len() - cells.len();
        let constant = measured.first().map_or_else(String::new, |one| {
            let named: Vec<String> = single
                .iter()
                .filter_map(|axis| Some(format!("{axis} {}", scalar_text(coordinate(one, axis)?))))
                .collect();
            named.join(", ")
        });
        Some(Self {
            workload,
            constant: if left_out > 0 {
                format!(
                    "Only {constant} has numbers; the {} with other values {} none.",
                    count(left_out, "cell"),
                    if left_out == 1 { "has" } else { "have" }
                )
            } else {
                String::new()
            },
            cells,
            varying,
            best,
            slo: &first.slo,
            mixed: is_mixed(run),
            wide: WIDE,
        })
    }

    /// The letter of a cell that was not measured, where the run has others; empty elsewhere.
    pub(super) fn letter(&self, cell: &CellFile) -> &'static str {
        match self.mixed {
            true => Origin::of(cell).letter(),
            false => "",
        }
    }

    /// The keys of these letters.
    pub(super) fn letters(&self) -> Vec<Key> {
        let found = match self.mixed {
            true => origins(self.measured()),
            false => Vec::new(),
        };
        found
            .into_iter()
            .filter(|origin| *origin != Origin::Measured)
            .map(Key::Origin)
            .collect()
    }

    /// The colour and shape of the points of a picture that shows every cell: by the combination of the axes other than
    /// `along` where there are at most six, else by the one along which the metric changes most, its values in at most six
    /// groups. And a sentence on what shares a colour then.
    pub(super) fn colours(&self, along: Option<&str>, metric: &str) -> (Vec<Series<'a>>, String) {
        let others: Vec<&str> = self
            .varying
            .iter()
            .copied()
            .filter(|axis| Some(*axis) != along)
            .collect();
        let all = group(self.cells.iter().copied(), &others);
        if all.len() <= SERIES {
            return (all, String::new());
        }
        let Some(axis) = self.strongest(&others, metric) else {
            return (Vec::new(), String::new());
        };
        let values = group(self.cells.iter().copied(), &[axis]);
        let each = values.len().div_ceil(SERIES);
        let mut grouped: Vec<Series<'a>> = Vec::new();
        let mut values = values.into_iter().peekable();
        while values.peek().is_some() {
            let own: Vec<Series<'a>> = values.by_ref().take(each).collect();
            let names: Vec<String> = own.iter().map(|series| series.values.clone()).collect();
            let numeric = names.iter().all(|name| name.parse::<f64>().is_ok());
            let label = match names.as_slice() {
                [one] => one.clone(),
                [first, .., last] if numeric => format!("{first} to {last}"),
                several => several.join(", "),
            };
            grouped.push(Series {
                label: format!("{axis} {label}"),
                names: axis.to_owned(),
                values: label,
                cells: own.into_iter().flat_map(|series| series.cells).collect(),
            });
        }
        let rest: Vec<&str> = others.into_iter().filter(|other| *other != axis).collect();
        let said = match rest.is_empty() {
            true => String::new(),
            false => format!(
                "Colour and shape show {axis}, which changes the numbers most; {} may differ within one series.",
                listed(
                    &rest
                        .iter()
                        .map(|axis| (*axis).to_owned())
                        .collect::<Vec<_>>()
                )
            ),
        };
        (grouped, said)
    }

    /// Cells with numbers.
    pub(super) fn measured(&self) -> impl Iterator<Item = &'a CellFile> + '_ {
        self.cells
            .iter()
            .copied()
            .filter(|cell| cell.outcome.is_measured())
    }

    /// The axis along which more is asked for.
    pub(super) fn along(&self) -> Option<&'a str> {
        for ladder in ["rate", "concurrency"] {
            if let Some(axis) = self.varying.iter().find(|axis| **axis == ladder) {
                return Some(axis);
            }
        }
        let numeric = self.varying.iter().copied().filter(|axis| {
            self.cells
                .iter()
                .all(|cell| coordinate(cell, axis).is_none_or(|value| value.is_number()))
        });
        numeric.max_by_key(|axis| values(&self.cells, axis).len())
    }

    /// The series along an axis, by the rule above; `metric` decides which axis matters.
    pub(super) fn series(&self, along: Option<&str>, metric: &str) -> Choice<'a> {
        let others: Vec<&str> = self
            .varying
            .iter()
            .copied()
            .filter(|axis| Some(*axis) != along)
            .collect();
        let all = group(self.cells.iter().copied(), &others);
        if all.len() <= SERIES {
            return Choice {
                series: all,
                held: String::new(),
            };
        }
        let Some(axis) = self.strongest(&others, metric) else {
            return Choice {
                series: Vec::new(),
                held: String::new(),
            };
        };
        let rest: Vec<&str> = others
            .iter()
            .copied()
            .filter(|other| *other != axis)
            .collect();
        let (kept, held) = self.held(&rest);
        let own = self
            .best
            .and_then(|cell| coordinate(cell, axis))
            .map(scalar_text);
        let (shown, thinned) = thinned(&values(&kept, axis), SERIES, own.as_deref());
        let kept = kept.into_iter().filter(|cell| {
            coordinate(cell, axis).is_some_and(|value| shown.contains(&scalar_text(value)))
        });
        let mut sentences = Vec::new();
        if thinned {
            sentences.push(format!("Only {SERIES} values of {axis} are shown."));
        }
        sentences.push(held);
        sentences.retain(|text| !text.is_empty());
        Choice {
            series: group(kept, &[axis]),
            held: sentences.join(" "),
        }
    }

    /// Of some axes, the one along which the metric changes most: the largest over the smallest of its values' medians.
    pub(super) fn strongest(&self, axes: &[&'a str], metric: &str) -> Option<&'a str> {
        let effect = |axis: &str| {
            let medians: Vec<f64> = group(self.measured(), &[axis])
                .iter()
                .filter_map(|series| {
                    median(series.cells.iter().filter_map(|cell| of(cell, metric)))
                })
                .filter(|value| *value > 0.0)
                .collect();
            let high = medians.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let low = medians.iter().copied().fold(f64::INFINITY, f64::min);
            if medians.len() > 1 { high / low } else { 0.0 }
        };
        let mut found: Option<(f64, &str)> = None;
        for axis in axes.iter().copied() {
            let own = effect(axis);
            // The first of equals: the manifest's order.
            if found.is_none_or(|(most, _)| own > most) {
                found = Some((own, axis));
            }
        }
        found.map(|(_, axis)| axis)
    }

    /// The cells that have the best cell's values on some axes, and a sentence that says so.
    pub(super) fn held(&self, axes: &[&str]) -> (Vec<&'a CellFile>, String) {
        let Some(anchor) = self.best.or_else(|| self.measured().next()) else {
            return (Vec::new(), String::new());
        };
        let values: Vec<(&str, Option<&Value>)> = axes
            .iter()
            .map(|axis| (*axis, coordinate(anchor, axis)))
            .collect();
        let kept = self
            .cells
            .iter()
            .copied()
            .filter(|cell| {
                values
                    .iter()
                    .all(|(axis, value)| coordinate(cell, axis) == *value)
            })
            .collect();
        let named: Vec<String> = values
            .iter()
            .filter_map(|(axis, value)| Some(format!("{axis} {}", scalar_text((*value)?))))
            .collect();
        let said = if named.is_empty() {
            String::new()
        } else {
            format!(
                "The other axes are those of the best cell: {}.",
                named.join(", ")
            )
        };
        (kept, said)
    }
}

/// Cells by their values on some axes, in ascending order of these.
pub(super) fn group<'a>(
    cells: impl Iterator<Item = &'a CellFile>,
    axes: &[&str],
) -> Vec<Series<'a>> {
    type Place = Vec<(u8, u64, String)>;
    let mut found: std::collections::BTreeMap<Place, Series<'a>> =
        std::collections::BTreeMap::new();
    for cell in cells {
        let place: Place = axes
            .iter()
            .map(|axis| order(coordinate(cell, axis)))
            .collect();
        found
            .entry(place)
            .or_insert_with(|| Series {
                label: axes
                    .iter()
                    .filter_map(|axis| {
                        Some(format!("{axis} {}", scalar_text(coordinate(cell, axis)?)))
                    })
                    .collect::<Vec<_>>()
                    .join(", "),
                names: axes.join(" · "),
                values: axes
                    .iter()
                    .map(|axis| {
                        coordinate(cell, axis).map_or_else(|| ABSENT.to_owned(), scalar_text)
                    })
                    .collect::<Vec<_>>()
                    .join(" · "),
                cells: Vec::new(),
            })
            .cells
            .push(cell);
    }
    found.into_values().collect()
}

/// The values of an axis as text: numbers ascending, then names in their order.
pub(super) fn values(cells: &[&CellFile], axis: &str) -> Vec<String> {
    let found: std::collections::BTreeSet<(u8, u64, String)> = cells
        .iter()
        .filter(|cell| coordinate(cell, axis).is_some())
        .map(|cell| order(coordinate(cell, axis)))
        .collect();
    found.into_iter().map(|(_, _, text)| text).collect()
}

/// What sorts a value: absent first, then numbers by size, then names.
fn order(value: Option<&Value>) -> (u8, u64, String) {
    let Some(value) = value else {
        return (0, 0, String::new());
    };
    let text = scalar_text(value);
    match value.as_f64() {
        // The bits of a float sort as it does once negative ones are turned around.
        Some(number) => {
            let bits = number.to_bits();
            let sortable = if number.is_sign_negative() {
                !bits
            } else {
                bits | 1 << 63
            };
            (1, sortable, text)
        }
        None => (2, 0, text),
    }
}

/// At most `most` of some values, evenly over all of them, first, last and `must` among them; and whether some are left out.
pub(super) fn thinned(values: &[String], most: usize, must: Option<&str>) -> (Vec<String>, bool) {
    if values.len() <= most {
        return (values.to_vec(), false);
    }
    let mut places: Vec<usize> = (0..most)
        .map(|index| index * (values.len() - 1) / (most - 1))
        .collect();
    let must = must.and_then(|must| values.iter().position(|value| value == must));
    if let Some(must) = must.filter(|must| !places.contains(must)) {
        // The nearest one inside gives way.
        let nearest = (1..most - 1).min_by_key(|index| places[*index].abs_diff(must));
        if let Some(nearest) = nearest {
            places[nearest] = must;
            places.sort_unstable();
        }
    }
    (
        places
            .into_iter()
            .map(|place| values[place].clone())
            .collect(),
        true,
    )
}

fn several(cells: &[&CellFile], axis: &str) -> bool {
    let mut first: Option<Option<&Value>> = None;
    cells.iter().any(|cell| {
        let own = coordinate(cell, axis);
        *first.get_or_insert(own) != own
    })
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
