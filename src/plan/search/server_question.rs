//! [`ServerQuestion`]: `[search.NAME]`, checked.

use serde_json::Value;

use super::{
    Goal, TuneAxis, number,
    tune_axis::tune_axes,
    value_range::{ValueRange, value_range},
};
use crate::{
    diagnostic::{Finding, Findings},
    manifest::{
        BaseWorkload, Column, Find, Launch, LaunchOn, Manifest, Path, SearchObjective, ServerSearch, Sweep,
        That,
    },
    plan::columns::Columns,
};

/// The most server starts of a search for the best server that does not say how many.
const STARTS: u32 = 12;

/// A search over servers.
pub(super) struct ServerQuestion {
    pub(super) name: String,
    pub(super) kind: ServerKind,
}

/// What a search over servers looks for.
pub(super) enum ServerKind {
    /// The largest or smallest value of an axis that works.
    Value { range: ValueRange, find: Find, that: That },
    /// The best combination of values.
    Best { axes: Vec<(Path, Vec<Value>)>, objective: SearchObjective, starts: u32 },
}

/// A value for each axis, by path.
type Point = Vec<(Path, Value)>;

impl ServerQuestion {
    /// The axes that it varies.
    pub(super) fn paths(&self) -> Vec<&Path> {
        match &self.kind {
            ServerKind::Value { range, .. } => vec![&range.path],
            ServerKind::Best { axes, .. } => axes.iter().map(|(path, _)| path).collect(),
        }
    }

    /// The first and the last values that it may try.
    pub(super) fn ends(&self) -> (Point, Point) {
        match &self.kind {
            ServerKind::Value { range, .. } => {
                let end = |end: f64| vec![(range.path.clone(), number::value(end, range.integer))];
                (end(range.from), end(range.to))
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
            ServerKind::Value { range, find, that } => Goal::Value {
                axis: range.path.to_string(),
                column: column(&range.path),
                find: *find,
                that: *that,
                from: range.from,
                to: range.to,
                step: range.step,
                integer: range.integer,
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

/// Reads the searches over servers. Those that are not valid are reported and left out.
pub(super) fn read(manifest: &Manifest, findings: &mut Findings) -> Vec<ServerQuestion> {
    let mut questions: Vec<ServerQuestion> = Vec::new();
    for (name, search) in &manifest.searches {
        let mut found = Vec::new();
        let question = question(manifest, name, search, &mut found);
        found.extend(surroundings(manifest, name, search));
        if let Some(question) = &question
            && let Some(other) = questions.iter().find(|other| is_same(other, question))
        {
            found.push(
                Finding::error(format!("the searches `{}` and `{name}` ask the same", other.name))
                    .at(&manifest.place(&["search", name]), "the same axes and the same question")
                    .related(&manifest.place(&["search", &other.name]), "first")
                    .help("remove one of them, or widen the range of the other"),
            );
        }
        let is_valid = found.is_empty();
        findings.extend(found);
        questions.extend(question.filter(|_| is_valid));
    }
    questions
}

/// Whether two searches look for the same on the same axes.
fn is_same(a: &ServerQuestion, b: &ServerQuestion) -> bool {
    let same_kind = match (&a.kind, &b.kind) {
        (ServerKind::Value { find, that, .. }, ServerKind::Value { find: other, that: of_other, .. }) => {
            find == other && that == of_other
        }
        (ServerKind::Best { objective, .. }, ServerKind::Best { objective: other, .. }) => objective == other,
        _ => false,
    };
    same_kind && a.paths() == b.paths()
}

fn question(
    manifest: &Manifest,
    name: &str,
    search: &ServerSearch,
    found: &mut Vec<Finding>,
) -> Option<ServerQuestion> {
    let at = |key: &str| manifest.place(&["search", name, key]);
    let wrong = |title: String| Finding::error(format!("search `{name}`: {title}"));
    let of_value = [
        ("find", search.find.is_some()),
        ("that", search.that.is_some()),
        ("from", search.from.is_some()),
        ("to", search.to.is_some()),
        ("step", search.step.is_some()),
    ];
    let of_best = [("objective", search.objective.is_some()), ("starts", search.starts.is_some())];
    let kind = match (&search.axis, &search.axes) {
        (None, None) => {
            found.push(
                wrong("it names no axis".to_owned())
                    .at(&at(""), "neither `axis` nor `axes`")
                    .help("axis = \"server.flags.max-model-len\" looks for the largest value that works; axes = [\"server.flags.max-num-seqs\"] for the best server"),
            );
            return None;
        }
        (Some(_), Some(_)) => {
            found.push(
                wrong("it has both `axis` and `axes`".to_owned())
                    .at(&at("axes"), "another kind of search")
                    .related(&at("axis"), "looks for the largest or smallest value")
                    .help("write two searches, each with a name of its own"),
            );
            return None;
        }
        (Some(axis), None) => {
            for (key, _) in of_best.iter().filter(|(_, is_set)| *is_set) {
                found.push(
                    wrong(format!("`{key}` has no effect on a search over one `axis`"))
                        .at(&at(key), "only for the best server")
                        .help("remove it, or look for the best server: axes = [\"…\"]"),
                );
            }
            let range = value_range(manifest, name, axis, search, found)?;
            let (find, that) = (search.find.unwrap_or_default(), search.that.unwrap_or_default());
            ServerKind::Value { range, find, that }
        }
        (None, Some(axes)) => {
            for (key, _) in of_value.iter().filter(|(_, is_set)| *is_set) {
                found.push(
                    wrong(format!("`{key}` has no effect on a search for the best server"))
                        .at(&at(key), "only with `axis`")
                        .help("list the values of an axis in [sweep], or search it alone: axis = \"…\""),
                );
            }
            let axes = tune_axes(manifest, name, axes, found);
            let (objective, starts) = (search.objective.unwrap_or_default(), search.starts.unwrap_or(STARTS));
            ServerKind::Best { axes, objective, starts }
        }
    };
    Some(ServerQuestion { name: name.to_owned(), kind })
}

/// What else in the manifest a search over servers contradicts.
fn surroundings(manifest: &Manifest, name: &str, search: &ServerSearch) -> Vec<Finding> {
    let here = manifest.place(&["search", name]);
    let mut found = Vec::new();
    let launch = manifest.server.get("launch").and_then(|launch| serde_json::from_value(launch.clone()).ok());
    if launch.is_some_and(|launch: Launch| launch.on == LaunchOn::Attach) {
        found.push(
            Finding::error(format!("search `{name}`: it cannot change a server that is already running"))
                .at(&here, "starts servers")
                .related(&manifest.place(&["server", "launch"]), "an attached server")
                .help(
                    "let runner start the server (on = \"local\"), or search a load: [workload.NAME.search]",
                ),
        );
    }
    let needs_slo = search.that == Some(That::MeetsSlo) || search.objective == Some(SearchObjective::Goodput);
    if needs_slo && !manifest.workloads.iter().any(|base| has_slo(manifest, base)) {
        found.push(
            Finding::error(format!("search `{name}`: no workload has an SLO to check"))
                .at(&here, "needs an SLO")
                .help("[workload.NAME] slo = { p95_ttft = \"500ms\" }"),
        );
    }
    let finds_users = search.objective == Some(SearchObjective::MostUsers);
    for base in &manifest.workloads {
        let place = manifest.place(&["workload", &base.name, "search"]);
        match base.value.get("search") {
            Some(_) if !finds_users => found.push(
                Finding::error(format!(
                    "search `{name}` and the search of workload `{}` cannot share a manifest",
                    base.name
                ))
                .at(&here, "starts servers of its own")
                .related(&place, "searches the load of a server")
                .help("use two manifests; objective = \"most_users\" finds the server that carries the most load"),
            ),
            None if finds_users => found.push(
                Finding::error(format!(
                    "search `{name}`: objective = \"most_users\" needs a search in workload `{}`",
                    base.name
                ))
                .at(&place, "its load is not searched")
                .help(format!(
                    "[workload.{}.search] with axis = \"concurrency\", from = 1 and to = 1000",
                    base.name
                )),
            ),
            _ => {}
        }
    }
    found
}

/// Whether a workload has an SLO, at least with some value of its axes.
fn has_slo(manifest: &Manifest, base: &BaseWorkload) -> bool {
    let slo = base.value.get("slo").and_then(Value::as_object);
    let sets = |sweep: &Sweep| sweep.sets_any(&["workload", &base.name, "slo"]);
    slo.is_some_and(|slo| !slo.is_empty()) || sets(&manifest.sweep) || sets(&base.sweep)
}
