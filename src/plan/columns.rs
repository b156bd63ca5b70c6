//! Column names of the axes: the last key of a path, or the whole path where two axes would have the same name.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::manifest::{Column, Manifest, Path, Sweep};

/// Columns that every table has. An axis with another meaning must not have such a name.
const FIXED: [&str; 14] = [
    "cell",
    "gpu",
    "workload",
    "outcome",
    "verdicts",
    "errors",
    "concurrency",
    "rate",
    "arrivals",
    "max_tokens",
    "requests",
    "warmup",
    "input_tokens",
    "output_tokens",
];

/// The axes of a manifest, in the order written, with their column names.
pub(super) struct Columns {
    columns: Vec<(Column, String, bool)>,
}

impl Columns {
    pub(super) fn of(manifest: &Manifest) -> Self {
        let mut found: Vec<(Column, bool)> = Vec::new();
        let sweeps =
            std::iter::once(&manifest.sweep).chain(manifest.workloads.iter().map(|base| &base.sweep));
        for column in sweeps.flat_map(columns_of) {
            if !found.contains(&column) {
                found.push(column);
            }
        }
        let last = |column: &Column| match column {
            Column::Path(path) => path.last().to_owned(),
            Column::Variant => "variant".to_owned(),
        };
        let columns = found
            .iter()
            .map(|(column, server)| {
                let short = last(column);
                // The same key of two workloads shares one column.
                let clash = found.iter().any(|(other, of_server)| {
                    other != column
                        && last(other) == short
                        && !(same_key(other, column) && !server && !of_server)
                });
                let fixed = FIXED.contains(&short.as_str());
                let name = match column {
                    // `synthetic.input_tokens` is not the column `input_tokens`.
                    Column::Path(path) if fixed && !clash && !server && path.0.len() > 3 => {
                        Path(path.0[2..].to_vec()).to_string()
                    }
                    Column::Path(path) if clash || (fixed && *server) => path.to_string(),
                    _ => short,
                };
                (column.clone(), name, *server)
            })
            .collect();
        Self { columns }
    }

    pub(super) fn name(&self, column: &Column) -> &str {
        self.columns.iter().find(|(known, _, _)| known == column).map_or("", |(_, name, _)| name)
    }

    fn names(&self, server: bool) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (_, name, of_server) in &self.columns {
            if *of_server == server && !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    pub(super) fn server_names(&self) -> Vec<String> {
        self.names(true)
    }

    pub(super) fn load_names(&self) -> Vec<String> {
        self.names(false)
    }

    fn values(&self, values: &[(Column, Value)], server: bool) -> BTreeMap<String, Value> {
        values
            .iter()
            .filter_map(|(column, value)| {
                let (_, name, of_server) = self.columns.iter().find(|(known, _, _)| known == column)?;
                (*of_server == server).then(|| (name.clone(), value.clone()))
            })
            .collect()
    }

    pub(super) fn server_values(&self, values: &[(Column, Value)]) -> BTreeMap<String, Value> {
        self.values(values, true)
    }

    pub(super) fn load_values(&self, values: &[(Column, Value)]) -> BTreeMap<String, Value> {
        self.values(values, false)
    }
}

/// The columns of a sweep, and whether each is a server axis.
fn columns_of(sweep: &Sweep) -> Vec<(Column, bool)> {
    let factors = sweep.factors.iter().flat_map(|factor| {
        let touches_server = factor
            .points
            .iter()
            .any(|point| point.sets.iter().any(|(path, _)| path.starts_with(&["server"])));
        factor.columns.iter().map(move |column| {
            let server = match column {
                Column::Path(path) => path.starts_with(&["server"]),
                Column::Variant => touches_server,
            };
            (column.clone(), server)
        })
    });
    let derived = sweep
        .derived
        .iter()
        .map(|derived| (Column::Path(derived.path.clone()), derived.path.starts_with(&["server"])));
    factors.chain(derived).collect()
}

/// Whether two load axes are the same key of two workloads.
fn same_key(a: &Column, b: &Column) -> bool {
    match (a, b) {
        (Column::Path(a), Column::Path(b)) => {
            a.starts_with(&["workload"]) && b.starts_with(&["workload"]) && a.0[2..] == b.0[2..]
        }
        _ => false,
    }
}
