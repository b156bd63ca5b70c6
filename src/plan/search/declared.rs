//! [`Declared`]: the searches of a manifest, checked.

use indexmap::IndexMap;
use serde_json::Value;

use super::{Goal, TuneAxis, number};
use crate::{
    diagnostic::{Finding, Findings},
    flags,
    manifest::{Column, Find, LoadSearch, Manifest, Path, SearchObjective, ServerSearch, That},
    plan::columns::Columns,
};

/// The most server starts of a search for the best server that does not say how many.
const STARTS: u32 = 12;

/// The searches of a manifest.
#[derive(Default)]
pub(in crate::plan) struct Declared {
    /// The searches for a load, by workload. Those that are not valid are `None`.
    pub(super) load: IndexMap<String, Option<LoadQuestion>>,
    /// The searches over servers, in the order of the manifest.
    pub(super) server: Vec<ServerQuestion>,
    /// Whether the manifest has searches over servers, valid or not.
    pub(in crate::plan) has_server: bool,
}

/// A search for the most load of a workload.
pub(super) struct LoadQuestion {
    pub(super) path: Path,
    pub(super) search: LoadSearch,
}

/// A search over servers.
pub(super) struct ServerQuestion {
    pub(super) name: String,
    pub(super) kind: ServerKind,
}

/// What a search over servers looks for.
pub(super) enum ServerKind {
    Value { path: Path, find: Find, that: That, from: f64, to: f64, step: f64, integer: bool },
    Best { axes: Vec<(Path, Vec<Value>)>, objective: SearchObjective, starts: u32 },
}

impl Declared {
    /// Reads the searches of a manifest, and reports those that are not valid.
    pub(in crate::plan) fn read(manifest: &Manifest, findings: &mut Findings) -> Self {
        let load = manifest.workloads.iter().filter_map(|base| {
            let value = base.value.get("search")?;
            Some((base.name.clone(), load_question(manifest, &base.name, value, findings)))
        });
        Self {
            load: load.collect(),
            server: manifest
                .searches
                .iter()
                .filter_map(|(name, search)| server_question(manifest, name, search, findings))
                .collect(),
            has_server: !manifest.searches.is_empty(),
        }
    }

    /// Whether a workload is searched instead of measured at every load.
    pub(in crate::plan) fn searches_load_of(&self, workload: &str) -> bool {
        self.load.contains_key(workload)
    }

    /// The axes that the searches vary.
    pub(in crate::plan) fn paths(&self) -> Vec<&Path> {
        let load = self.load.values().flatten().map(|question| &question.path);
        load.chain(self.server.iter().flat_map(ServerQuestion::paths)).collect()
    }
}

impl ServerQuestion {
    /// The axes that it varies.
    pub(super) fn paths(&self) -> Vec<&Path> {
        match &self.kind {
            ServerKind::Value { path, .. } => vec![path],
            ServerKind::Best { axes, .. } => axes.iter().map(|(path, _)| path).collect(),
        }
    }

    /// The first and the last values that it may try.
    pub(super) fn ends(&self) -> (Vec<(Path, Value)>, Vec<(Path, Value)>) {
        match &self.kind {
            ServerKind::Value { path, from, to, integer, .. } => {
                let end = |end: f64| vec![(path.clone(), number::value(end, *integer))];
                (end(*from), end(*to))
            }
            ServerKind::Best { axes, .. } => {
                let end = |pick: fn(&[Value]) -> Option<&Value>| {
                    axes.iter()
                        .filter_map(|(path, values)| Some((path.clone(), pick(values)?.clone())))
                        .collect()
                };
                (end(<[Value]>::first), end(<[Value]>::last))
            }
        }
    }

    /// Whether workloads run on the servers that it tries.
    pub(super) fn loads(&self) -> bool {
        !matches!(self.kind, ServerKind::Value { that: That::Fits, .. })
    }

    /// The goal, with the names of the columns.
    pub(super) fn goal(&self, columns: &Columns) -> Goal {
        let column = |path: &Path| columns.name(&Column::Path(path.clone())).to_owned();
        match &self.kind {
            ServerKind::Value { path, find, that, from, to, step, integer } => Goal::Value {
                axis: path.to_string(),
                column: column(path),
                find: *find,
                that: *that,
                from: *from,
                to: *to,
                step: *step,
                integer: *integer,
            },
            ServerKind::Best { axes, objective, starts } => Goal::Best {
                axes: axes
                    .iter()
                    .map(|(path, values)| TuneAxis {
                        axis: path.to_string(),
                        column: column(path),
                        values: values.clone(),
                    })
                    .collect(),
                objective: *objective,
                starts: *starts,
            },
        }
    }
}

fn load_question(
    manifest: &Manifest,
    workload: &str,
    value: &Value,
    findings: &mut Findings,
) -> Option<LoadQuestion> {
    match serde_json::from_value::<LoadSearch>(value.clone()) {
        Ok(search) => {
            let path = Path::of(&["workload", workload, search.axis.key()]);
            Some(LoadQuestion { path, search })
        }
        Err(error) => {
            let place = manifest.place(&["workload", workload, "search"]);
            findings.push(Finding::error(format!("workload `{workload}`: {error}")).at(&place, ""));
            None
        }
    }
}

fn server_question(
    manifest: &Manifest,
    name: &str,
    search: &ServerSearch,
    findings: &mut Findings,
) -> Option<ServerQuestion> {
    let mut wrong = |title: String| {
        let place = manifest.place(&["search", name]);
        findings.push(Finding::error(format!("search `{name}`: {title}")).at(&place, ""));
    };
    let mut axis = |text: &str| match Path::parse(text) {
        Ok(mut path) if path.starts_with(&["server"]) => {
            if path.starts_with(&["server", "flags"])
                && let Some(flag) = path.0.get_mut(2)
            {
                *flag = flags::canonical(flag);
            }
            Some(path)
        }
        Ok(path) => {
            wrong(format!("`{path}` is no server axis"));
            None
        }
        Err(error) => {
            wrong(error.to_string());
            None
        }
    };
    let kind = if let Some(axes) = &search.axes {
        let axes: Vec<Path> = axes.iter().filter_map(|text| axis(text)).collect();
        let axes = axes.into_iter().map(|path| {
            let values = tried(manifest, &path);
            (path, values)
        });
        ServerKind::Best {
            axes: axes.collect(),
            objective: search.objective.unwrap_or_default(),
            starts: search.starts.unwrap_or(STARTS),
        }
    } else {
        let path = axis(search.axis.as_deref().unwrap_or_default())?;
        let number = |number: &Option<serde_json::Number>| number.as_ref().and_then(|n| n.as_f64());
        let (Some(from), Some(to)) = (number(&search.from), number(&search.to)) else {
            wrong("needs `from` and `to`".to_owned());
            return None;
        };
        let step = number(&search.step).unwrap_or(1.0);
        let integer = [from, to, step].iter().all(|number| number.fract() == 0.0);
        ServerKind::Value {
            path,
            find: search.find.unwrap_or_default(),
            that: search.that.unwrap_or_default(),
            from,
            to,
            step,
            integer,
        }
    };
    Some(ServerQuestion { name: name.to_owned(), kind })
}

/// The values that a search for the best server tries on an axis: those of `[sweep]`.
fn tried(manifest: &Manifest, path: &Path) -> Vec<Value> {
    let column = [Column::Path(path.clone())];
    let factor = manifest.sweep.factors.iter().find(|factor| factor.columns == column);
    factor.map_or_else(Vec::new, |factor| factor.points.iter().map(|point| point.values[0].clone()).collect())
}
