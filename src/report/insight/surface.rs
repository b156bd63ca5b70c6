//! Where memory ends over the server axes: a table, and its boundary in words.

use std::collections::HashMap;

use serde::Serialize;

use super::count;
use crate::{
    manifest::scalar_text,
    measure::CellOutcome,
    plan::Group,
    report::number::{ABSENT, grouped},
    store::{CellFile, StoredRun},
};

/// So many sentences on the boundary are told.
const TOLD: usize = 8;

/// Where memory ends, over the server axes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Surface {
    /// The axis down, or several joined; `server` when there is none.
    pub(in crate::report) rows_axis: String,
    /// The axis across; empty when there is one axis or none.
    pub(in crate::report) columns_axis: String,
    /// Values of the axis across.
    pub(in crate::report) columns: Vec<String>,
    pub(in crate::report) rows: Vec<SurfaceRow>,
    /// The result in one sentence.
    pub(in crate::report) text: String,
}

/// One row of the surface.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct SurfaceRow {
    pub(in crate::report) label: String,
    /// One per column: `fits`, `OOM at start (kv_cache)` …; a dash where the plan has no such server.
    pub(in crate::report) cells: Vec<String>,
}

/// What became of one server, for the boundary.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Fits,
    Ends,
    /// It was not tried, for a smaller one had ended.
    Implied,
    Unknown,
}

/// The surface over the last server axis across and the others joined down; `None` when no server and no cell met the end
/// of memory.
pub(in crate::report) fn surface(run: &StoredRun) -> Option<Surface> {
    let axes = &run.plan.server_axes;
    let (down, across) = match axes.split_last() {
        Some((last, rest)) if !rest.is_empty() => (rest.to_vec(), Some(last.clone())),
        _ => (axes.clone(), None),
    };
    over(run, &down, across)
}

/// One surface for each pair of server axes, where there are more than two: what else varies shares a place.
pub(in crate::report) fn pairs(run: &StoredRun) -> Vec<Surface> {
    let axes = &run.plan.server_axes;
    if axes.len() < 3 {
        return Vec::new();
    }
    let pairs = axes.iter().enumerate().flat_map(|(at, down)| {
        let rest = axes[at + 1..].iter();
        rest.map(move |across| (down.clone(), across.clone()))
    });
    pairs
        .filter_map(|(down, across)| over(run, &[down], Some(across)))
        .collect()
}

fn over(run: &StoredRun, down: &[String], across: Option<String>) -> Option<Surface> {
    let mut cells: HashMap<&str, Vec<&CellFile>> = HashMap::new();
    for cell in &run.cells {
        cells.entry(cell.server.as_str()).or_default().push(cell);
    }
    let of = |group: &Group| cells.get(group.id.as_str()).map_or(&[][..], Vec::as_slice);
    let groups = &run.plan.groups;
    let all = |wanted: Fate| {
        let fates = groups.iter().map(|group| fate(of(group)));
        fates.filter(|fate| *fate == wanted).count()
    };
    let (hit, implied) = (all(Fate::Ends), all(Fate::Implied));
    if hit == 0 {
        return None;
    }
    let spelled = |group: &Group, axis: &String| {
        group
            .axes
            .get(axis)
            .map_or_else(|| ABSENT.to_owned(), scalar_text)
    };
    let label = |group: &Group| match down {
        [] => group.id.clone(),
        axes => axes
            .iter()
            .map(|axis| spelled(group, axis))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let column = |group: &Group| match &across {
        Some(axis) => spelled(group, axis),
        None => "memory".to_owned(),
    };
    let mut columns: Vec<String> = Vec::new();
    let mut labels: Vec<String> = Vec::new();
    let mut texts: HashMap<(String, String), Vec<String>> = HashMap::new();
    for group in groups {
        let (row, column) = (label(group), column(group));
        if !columns.contains(&column) {
            columns.push(column.clone());
        }
        if !texts.keys().any(|(known, _)| *known == row) {
            labels.push(row.clone());
        }
        let text = in_words(run, &group.id, of(group));
        texts.entry((row, column)).or_default().push(text);
    }
    let rows = labels
        .into_iter()
        .map(|label| SurfaceRow {
            cells: columns
                .iter()
                .map(|column| {
                    let here = texts.get(&(label.clone(), column.clone()));
                    here.map_or_else(|| ABSENT.to_owned(), |texts| texts.join(" / "))
                })
                .collect(),
            label,
        })
        .collect();
    let mut text = format!(
        "Memory did not suffice in {} of {}.",
        hit,
        count(groups.len(), "server")
    );
    if implied > 0 {
        let were = if implied == 1 { "was" } else { "were" };
        text.push_str(&format!(
            " {} {were} not tried, since a smaller one had ended (experiment.skip_impossible).",
            count(implied, "server")
        ));
    }
    for sentence in boundary(run, &cells) {
        text.push(' ');
        text.push_str(&sentence);
    }
    Some(Surface {
        rows_axis: if down.is_empty() {
            "server".into()
        } else {
            down.join(", ")
        },
        columns_axis: across.unwrap_or_default(),
        columns,
        rows,
        text,
    })
}

/// Along the first axis with numbers, for each combination of the others: how far it fits, and from where it does not.
fn boundary(run: &StoredRun, cells: &HashMap<&str, Vec<&CellFile>>) -> Vec<String> {
    let groups = &run.plan.groups;
    let number =
        |group: &Group, axis: &str| group.axes.get(axis).and_then(serde_json::Value::as_f64);
    let axis = run
        .plan
        .server_axes
        .iter()
        .find(|axis| groups.iter().all(|group| number(group, axis).is_some()));
    let Some(axis) = axis else {
        return Vec::new();
    };
    let mut lines: Vec<(String, Vec<(f64, Fate)>)> = Vec::new();
    for group in groups {
        let others = run.plan.server_axes.iter().filter(|other| *other != axis);
        let fixed: Vec<String> = others
            .filter_map(|other| Some(format!("{other} {}", scalar_text(group.axes.get(other)?))))
            .collect();
        let fixed = fixed.join(", ");
        let own = cells.get(group.id.as_str()).map_or(&[][..], Vec::as_slice);
        let Some(value) = number(group, axis) else {
            continue;
        };
        match lines.iter_mut().find(|(known, _)| *known == fixed) {
            Some((_, points)) => points.push((value, fate(own))),
            None => lines.push((fixed, vec![(value, fate(own))])),
        }
    }
    let shown = |value: f64| grouped(value, if value.fract() == 0.0 { 0 } else { 2 });
    let mut told: Vec<String> = lines
        .iter_mut()
        .filter(|(_, points)| {
            let ends = |(_, fate): &(f64, Fate)| matches!(fate, Fate::Ends | Fate::Implied);
            points.iter().any(ends)
        })
        .map(|(fixed, points)| {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let at = |fits: bool| {
                points
                    .iter()
                    .filter(move |point| match point.1 {
                        Fate::Fits => fits,
                        Fate::Ends | Fate::Implied => !fits,
                        Fate::Unknown => false,
                    })
                    .map(|point| point.0)
            };
            let tried = points.iter().any(|(_, fate)| *fate == Fate::Ends);
            let with = match fixed.as_str() {
                "" => String::new(),
                fixed => format!("With {fixed}, "),
            };
            let (fits, ends): (Vec<f64>, Vec<f64>) = (at(true).collect(), at(false).collect());
            let (last_fit, first_end) = (fits.last().copied(), ends.first().copied());
            let said = match (last_fit, first_end) {
                (Some(fit), Some(end)) if fit < end => format!(
                    "{axis} fits up to {} and ends at {}",
                    shown(fit),
                    shown(end)
                ),
                // Where more makes room, as with blocks or a share of the memory, the boundary runs the other way.
                (Some(_), Some(_)) if fits.first() > ends.last() => format!(
                    "{axis} has to be at least {}: {} does not suffice",
                    shown(fits[0]),
                    shown(*ends.last().unwrap_or(&f64::NAN))
                ),
                (Some(_), _) => format!(
                    "no plain boundary along {axis}: {} fit, {} do not",
                    fits.iter()
                        .map(|value| shown(*value))
                        .collect::<Vec<_>>()
                        .join(", "),
                    ends.iter()
                        .map(|value| shown(*value))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
                (None, _) if tried => format!("no {axis} that was tried fits"),
                (None, _) => format!("no {axis} was tried: smaller servers had ended already"),
            };
            let said = format!("{with}{said}.");
            let mut chars = said.chars();
            let first = chars
                .next()
                .map(|c| c.to_uppercase().to_string())
                .unwrap_or_default();
            // The name of an axis keeps its spelling.
            if with.is_empty() && said.starts_with(axis.as_str()) {
                said.clone()
            } else {
                format!("{first}{}", chars.as_str())
            }
        })
        .collect();
    let more = told.len().saturating_sub(TOLD);
    told.truncate(TOLD);
    if more > 0 {
        told.push(format!(
            "So it goes on for {more} more combinations of the other axes."
        ));
    }
    told
}

fn fate(cells: &[&CellFile]) -> Fate {
    if cells.iter().any(|cell| cell.outcome.is_on_oom_surface()) {
        Fate::Ends
    } else if cells.iter().any(|cell| cell.outcome.is_measured()) {
        Fate::Fits
    } else if cells.iter().any(|cell| cell.proved_impossible_by.is_some()) {
        Fate::Implied
    } else {
        Fate::Unknown
    }
}

/// What became of one server, in a few words.
fn in_words(run: &StoredRun, id: &str, cells: &[&CellFile]) -> String {
    let server = run.servers.iter().find(|server| server.id == id);
    let has = |outcome: CellOutcome| cells.iter().any(|cell| cell.outcome == outcome);
    let measured = cells
        .iter()
        .filter(|cell| cell.outcome.is_measured())
        .count();
    if has(CellOutcome::DoesNotFit) {
        return match server.and_then(|server| server.facts.estimated_max_model_len) {
            Some(length) => format!(
                "does not fit (largest max-model-len: {})",
                grouped(length as f64, 0)
            ),
            None => "does not fit".into(),
        };
    }
    if has(CellOutcome::Oom) {
        let lost = cells
            .iter()
            .filter(|cell| cell.outcome == CellOutcome::Oom)
            .count();
        return match server.map(|server| server.outcome) {
            _ if measured > 0 => format!(
                "OOM under load in {} of {}",
                lost,
                count(cells.len(), "cell")
            ),
            Some(outcome) => match outcome.to_string().strip_prefix("oom(") {
                Some(step) => format!("OOM at {}", step.trim_end_matches(')')),
                None => "OOM".into(),
            },
            None => "OOM".into(),
        };
    }
    if measured == 0 && fate(cells) == Fate::Implied {
        return "not tried (a smaller one was out of memory)".into();
    }
    if measured == 0 {
        return match server {
            Some(server) if !cells.is_empty() => format!("no result ({})", server.outcome),
            _ if !cells.is_empty() => "no result".into(),
            _ => "not run".into(),
        };
    }
    match server
        .and_then(|server| server.facts.max_concurrency)
        .filter(|most| most.is_finite())
    {
        Some(most) => format!("fits ({} full-length requests at once)", grouped(most, 1)),
        None => "fits".into(),
    }
}
