//! The function `grid(cells, rows=…, columns=…, value=…)`: a Markdown table of one value over two axes.

use minijinja::{
    Error, ErrorKind,
    value::{Kwargs, Value},
};
use serde_json::Value as Json;

use crate::{
    manifest::{nearest, scalar_text},
    report::{escape, number},
};

/// Separates the values of cells that share a place, as when a third axis varies.
const BETWEEN: &str = " / ";

/// Renders the table.
///
/// # Errors
/// If `cells` is not a list of cells, or no cell has the axis or the value.
pub(crate) fn grid(cells: &Value, options: Kwargs) -> Result<Value, Error> {
    let rows: String = options.get("rows")?;
    let columns: String = options.get("columns")?;
    let shown: String = options.get("value")?;
    options.assert_all_used()?;
    let cells: Vec<Json> = cells
        .try_iter()?
        .map(|cell| serde_json::to_value(&cell).map_err(unreadable))
        .collect::<Result<_, _>>()?;
    for name in [&rows, &columns, &shown] {
        if !cells.is_empty() && !cells.iter().any(|cell| find(cell, name).is_some()) {
            return Err(unknown(name, &cells));
        }
    }
    let down = labels(&cells, &rows);
    let across = labels(&cells, &columns);
    let mut lines = vec![
        format!("| {} ↓, {} → |", escape::markdown(&rows), escape::markdown(&columns)),
        "|---:|".to_owned(),
    ];
    for column in &across {
        lines[0].push_str(&format!(" {} |", escape::markdown(column)));
        lines[1].push_str("---:|");
    }
    for row in &down {
        let mut line = format!("| {} |", escape::markdown(row));
        for column in &across {
            let here: Vec<String> = cells
                .iter()
                .filter(|cell| label(cell, &rows) == *row && label(cell, &columns) == *column)
                .map(|cell| text(cell, &shown))
                .collect();
            let here = if here.is_empty() { number::ABSENT.to_owned() } else { here.join(BETWEEN) };
            line.push_str(&format!(" {here} |"));
        }
        lines.push(line);
    }
    Ok(Value::from_safe_string(lines.join("\n")))
}

/// A cell's own value, or its value on an axis.
fn find<'a>(cell: &'a Json, name: &str) -> Option<&'a Json> {
    cell.get(name).or_else(|| cell.get("axes")?.get(name)).or_else(|| cell.get("load")?.get(name))
}

fn label(cell: &Json, axis: &str) -> String {
    match find(cell, axis) {
        None | Some(Json::Null) => number::ABSENT.to_owned(),
        Some(value) => scalar_text(value),
    }
}

/// The values of an axis: ascending if all are numbers, else in the order of the cells.
fn labels(cells: &[Json], axis: &str) -> Vec<String> {
    let mut known: Vec<(Option<f64>, String)> = Vec::new();
    for cell in cells {
        let text = label(cell, axis);
        if !known.iter().any(|(_, other)| *other == text) {
            known.push((find(cell, axis).and_then(Json::as_f64), text));
        }
    }
    let numbers: Option<Vec<f64>> = known.iter().map(|(number, _)| *number).collect();
    if numbers.is_some() {
        known.sort_by(|a, b| a.0.unwrap_or(f64::NAN).total_cmp(&b.0.unwrap_or(f64::NAN)));
    }
    known.into_iter().map(|(_, text)| text).collect()
}

/// A number with the digits of its unit; the outcome of a cell that was not measured.
fn text(cell: &Json, name: &str) -> String {
    match find(cell, name) {
        Some(Json::Number(value)) => {
            let value = value.as_f64();
            if name.ends_with("_ms") || name.ends_with("_s") {
                number::ms_bare(value)
            } else {
                number::thousands(value)
            }
        }
        None | Some(Json::Null) => match cell.get("outcome").and_then(Json::as_str) {
            Some(outcome) if outcome != "ok" && outcome != "degraded" => escape::markdown(outcome),
            _ => number::ABSENT.to_owned(),
        },
        Some(other) => escape::markdown(&scalar_text(other)),
    }
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("`grid` takes a list of cells: {error}"))
}

fn unknown(name: &str, cells: &[Json]) -> Error {
    let first = cells.first();
    let part = |key: &str| first.and_then(|cell| cell.get(key));
    let objects = [first, part("axes"), part("load")].into_iter().flatten().filter_map(Json::as_object);
    let mut known: Vec<&str> = objects.flat_map(|object| object.keys()).map(String::as_str).collect();
    known.retain(|key| !["axes", "load", "verdicts"].contains(key));
    known.sort_unstable();
    known.dedup();
    let meant = match nearest(name, &known) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => ".".to_owned(),
    };
    Error::new(
        ErrorKind::InvalidOperation,
        format!("no cell has `{name}`{meant} Cells have {}", known.join(", ")),
    )
}
