//! Predicted beside measured: a table of somebody's measurements, matched by the values of its load columns.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::plan::{Cell, Group};

/// One row of a table of measurements.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Every field by its column, as written.
    pub fields: BTreeMap<String, String>,
}

impl Measured {
    /// The median E2E, milliseconds.
    pub fn p50_e2e_ms(&self) -> Option<f64> {
        self.number("p50_e2e_ms")
    }

    /// Output tokens per second, where the table has them.
    pub fn throughput_tok_s(&self) -> Option<f64> {
        self.number("throughput_tok_s")
    }

    fn number(&self, column: &str) -> Option<f64> {
        let number: f64 = self.fields.get(column)?.parse().ok()?;
        (number > 0.0).then_some(number)
    }
}

/// A table of measurements.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Against {
    /// Its rows.
    pub rows: Vec<Measured>,
}

/// A number of a cell, predicted and measured, in one unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// As predicted.
    pub predicted: f64,
    /// As measured.
    pub measured: f64,
}

impl Comparison {
    /// (predicted − measured) / measured.
    pub fn error(&self) -> f64 {
        self.predicted / self.measured - 1.0
    }

    /// The median of the absolute errors; `None` of none.
    pub fn median_error(all: &[Self]) -> Option<f64> {
        let mut errors: Vec<f64> = all.iter().map(|one| one.error().abs()).collect();
        errors.sort_by(f64::total_cmp);
        let middle = errors.len() / 2;
        match errors.len() {
            0 => None,
            n if n % 2 == 1 => Some(errors[middle]),
            _ => Some(errors[middle - 1].midpoint(errors[middle])),
        }
    }
}

impl Against {
    /// Reads a CSV with a header: `p50_e2e_ms`, `max_tokens` and `concurrency` or `rate`, as `cells.csv` has them;
    /// columns of axes and `workload` are matched where they are there.
    ///
    /// # Errors
    /// A sentence when it is no such table.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| error.to_string())?.clone();
        if !header.iter().any(|column| column == "p50_e2e_ms") {
            return Err("it has no column p50_e2e_ms; a run's cells.csv has one".to_owned());
        }
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| error.to_string())?;
            let fields = header.iter().zip(&record);
            rows.push(Measured { fields: fields.map(|(k, v)| (k.to_owned(), v.to_owned())).collect() });
        }
        Ok(Self { rows })
    }

    /// What was measured of a cell; `None` when no row, or more than one, is the cell's.
    pub fn of(&self, group: &Group, cell: &Cell) -> Option<&Measured> {
        let mut values: BTreeMap<&str, Value> = BTreeMap::from([
            ("workload", cell.workload.as_str().into()),
            ("max_tokens", cell.max_tokens.into()),
        ]);
        if let Some(streams) = cell.spec.streams() {
            values.insert("concurrency", streams.into());
        }
        if let Some(rate) = cell.spec.rate {
            values.insert("rate", rate.into());
        }
        for (column, value) in group.axes.iter().chain(&cell.axes) {
            values.insert(column, value.clone());
        }
        let is_it = |row: &&Measured| {
            values
                .iter()
                .all(|(column, value)| row.fields.get(*column).is_none_or(|field| is_same(field, value)))
        };
        let mut found = self.rows.iter().filter(is_it);
        let row = found.next()?;
        found.next().is_none().then_some(row)
    }
}

fn is_same(field: &str, value: &Value) -> bool {
    match (field.parse::<f64>(), value.as_f64()) {
        (Ok(field), Some(value)) => field == value,
        _ => field == crate::manifest::scalar_text(value),
    }
}
