//! Column names of the axes: the last key of a path, or the whole path where two axes would have the same
//! name.

use std::collections::BTreeMap;

use indexmap::IndexSet;
use serde_json::Value;

use super::axis::Role;
use crate::manifest::{Column, Manifest, Path, Sweep};

/// Columns that every table has. An axis with another meaning must not have such a name.
const FIXED: &str = "cell gpu workload outcome verdicts errors concurrency rate arrivals max_tokens requests warmup \
    input_tokens output_tokens";

/// Values by column name.
pub(super) type Values = BTreeMap<String, Value>;

/// The axes of a manifest, in the order written, with their column names.
pub(super) struct Columns {
    columns: Vec<(Column, String, Role)>,
}

impl Columns {
    /// The axes of the sweeps, and those that searches vary.
    pub(super) fn new<'a>(manifest: &Manifest, searched: impl IntoIterator<Item = &'a Path>) -> Self {
        let sweeps =
            std::iter::once(&manifest.sweep).chain(manifest.workloads.iter().map(|base| &base.sweep));
        let searched = searched.into_iter().map(|path| (Column::Path(path.clone()), role(path)));
        let found: IndexSet<(Column, Role)> = sweeps.flat_map(columns_of).chain(searched).collect();
        let last = |column: &Column| match column {
            Column::Path(path) => path.last().to_owned(),
            Column::Variant => "variant".to_owned(),
        };
        let columns = found
            .iter()
            .map(|(column, role)| {
                let short = last(column);
                let is_load = *role == Role::Load;
                // The same key of two workloads shares one column.
                let clash = found.iter().any(|(other, of_other)| {
                    other != column
                        && last(other) == short
                        && !(same_key(other, column) && is_load && *of_other == Role::Load)
                });
                let fixed = FIXED.split(' ').any(|fixed| fixed == short);
                let name = match column {
                    // `synthetic.input_tokens` is not the column `input_tokens`.
                    Column::Path(path) if fixed && !clash && is_load && path.0.len() > 3 => {
                        Path(path.0[2..].to_vec()).to_string()
                    }
                    Column::Path(path) if clash || (fixed && !is_load) => path.to_string(),
                    _ => short,
                };
                (column.clone(), name, *role)
            })
            .collect();
        Self { columns }
    }

    pub(super) fn name(&self, column: &Column) -> &str {
        self.columns.iter().find(|(known, _, _)| known == column).map_or("", |(_, name, _)| name)
    }

    /// The distinct names of the axes of a role.
    pub(super) fn names(&self, role: Role) -> Vec<String> {
        let names: IndexSet<&String> =
            self.columns.iter().filter(|(.., own)| *own == role).map(|(_, name, _)| name).collect();
        names.into_iter().cloned().collect()
    }

    /// The values of the axes of a role, by column name.
    pub(super) fn values(&self, values: &[(Column, Value)], role: Role) -> Values {
        values
            .iter()
            .filter_map(|(column, value)| {
                let (_, name, own) = self.columns.iter().find(|(known, ..)| known == column)?;
                (*own == role).then(|| (name.clone(), value.clone()))
            })
            .collect()
    }

    /// [`Columns::values`] without the columns that follow a searched axis.
    pub(super) fn fixed(&self, values: &[(Column, Value)], role: Role, varying: &[String]) -> Values {
        let mut values = self.values(values, role);
        values.retain(|column, _| !varying.contains(column));
        values
    }
}

/// What an axis on a path changes.
fn role(path: &Path) -> Role {
    if path.starts_with(&["server"]) { Role::Server } else { Role::Load }
}

/// The columns of a sweep with what each changes.
fn columns_of(sweep: &Sweep) -> Vec<(Column, Role)> {
    let factors = sweep.factors.iter().flat_map(|factor| {
        let mut set = factor.points.iter().flat_map(|point| &point.sets);
        let variant = if set.any(|(path, _)| role(path) == Role::Server) { Role::Server } else { Role::Load };
        factor.columns.iter().map(move |column| match column {
            Column::Path(path) => (column.clone(), role(path)),
            Column::Variant => (column.clone(), variant),
        })
    });
    let derived =
        sweep.derived.iter().map(|derived| (Column::Path(derived.path.clone()), role(&derived.path)));
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
