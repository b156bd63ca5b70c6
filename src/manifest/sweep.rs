//! Reads sweep tables into factors, the independent dimensions of the matrix.

use serde_json::Value;

use super::{
    axis_path,
    grammar::Grammar,
    path::Path,
    range,
    tree::{Item, Node},
};
use crate::diagnostic::{Finding, Findings, Place};

#[derive(Clone, Debug, Default)]
pub(crate) struct Sweep {
    /// Dimensions of the matrix, in the order written; the last varies fastest.
    pub(crate) factors: Vec<Factor>,
    /// Values computed from other axes.
    pub(crate) derived: Vec<Derived>,
    /// Conditions under which a cell is skipped.
    pub(crate) skips: Vec<Skip>,
}

/// One dimension: an axis, several axes that advance together (zip), or variants.
#[derive(Clone, Debug)]
pub(crate) struct Factor {
    /// Its columns in tables: paths, or `variant`.
    pub(crate) columns: Vec<Column>,
    pub(crate) points: Vec<Point>,
}

/// The name of one column of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Column {
    Path(Path),
    Variant,
}

/// One value of a dimension.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// One value per column.
    pub(crate) values: Vec<Value>,
    /// The paths it sets, with their values.
    pub(crate) sets: Vec<(Path, Value)>,
    pub(crate) place: Place,
}

/// A value computed from other axes: `{ expr = "…" }`.
#[derive(Clone, Debug)]
pub(crate) struct Derived {
    pub(crate) path: Path,
    pub(crate) expr: String,
    pub(crate) place: Place,
}

/// A condition under which a cell is skipped: `skip = ["…"]`.
#[derive(Clone, Debug)]
pub(crate) struct Skip {
    pub(crate) when: String,
    pub(crate) reason: Option<String>,
    pub(crate) place: Place,
}

impl Sweep {
    /// Whether it sets a path that begins with these keys.
    pub(crate) fn sets_any(&self, prefix: &[&str]) -> bool {
        let sets = |point: &Point| point.sets.iter().any(|(set, _)| set.starts_with(prefix));
        self.derived.iter().any(|derived| derived.path.starts_with(prefix))
            || self.factors.iter().any(|factor| factor.points.iter().any(sets))
    }

    pub(crate) fn sets_path(&self, path: &Path) -> bool {
        self.place_of(path).is_some()
    }

    /// Where a path is set, first.
    pub(crate) fn place_of(&self, path: &Path) -> Option<&Place> {
        let points = self.factors.iter().flat_map(|factor| &factor.points);
        let mut setting = points.filter(|point| point.sets.iter().any(|(set, _)| set == path));
        let derived = || self.derived.iter().find(|derived| derived.path == *path);
        setting.next().map(|point| &point.place).or_else(|| derived().map(|derived| &derived.place))
    }
}

/// Reads a `sweep` table whose keys are paths below `prefix`: the root, or one workload.
pub(crate) fn read(
    node: &Node,
    prefix: &[&str],
    grammar: &Grammar,
    workloads: &[String],
    findings: &mut Findings,
) -> Sweep {
    let mut reader = Reader { grammar, workloads, findings, sweep: Sweep::default(), zipped: false };
    let prefix = Path::of(prefix);
    let Some(table) = node.table() else {
        reader.findings.push(
            Finding::error(format!("`sweep` is {}, not a table", node.kind()))
                .at(&node.place, "expected a table of axes"),
        );
        return reader.sweep;
    };
    for (key, entry) in table {
        match key.as_str() {
            "zip" => reader.zips(&entry.node, &prefix),
            "variant" => reader.variants(&entry.node, &prefix),
            "skip" => reader.skips(&entry.node),
            _ => reader.axes(&entry.node, prefix.child(key), &entry.key),
        }
    }
    reader.sweep
}

struct Reader<'a> {
    grammar: &'a Grammar,
    workloads: &'a [String],
    findings: &'a mut Findings,
    sweep: Sweep,
    /// Whether the axes belong to one zip. An axis in a zip may repeat a value.
    zipped: bool,
}

impl Reader<'_> {
    /// Checks that an axis may have a path, and spells a flag's name canonically.
    fn known_path(&mut self, path: Path, place: &Place) -> Option<Path> {
        let checked = axis_path::checked(self.grammar, self.workloads, path, place);
        checked.map_err(|finding| self.findings.push(finding)).ok()
    }

    fn axes(&mut self, node: &Node, path: Path, key: &Place) {
        if let Item::Table(table) = &node.item {
            if table.contains_key("expr") {
                return self.derived(node, path, key);
            }
            if !range::is_range(node) {
                if table.is_empty() {
                    self.findings.push(
                        Finding::error(format!("axis `{path}` has no values"))
                            .at(&node.place, "an empty table"),
                    );
                }
                for (name, entry) in table {
                    self.axes(&entry.node, path.child(name), &entry.key);
                }
                return;
            }
        }
        let Some(path) = self.known_path(path, key) else {
            return;
        };
        if let Some(values) = self.values(node, &path) {
            if !self.zipped {
                self.check_duplicates(&path, &values);
            }
            let points = values
                .into_iter()
                .map(|(value, place)| Point {
                    values: vec![value.clone()],
                    sets: vec![(path.clone(), value)],
                    place,
                })
                .collect();
            self.sweep.factors.push(Factor { columns: vec![Column::Path(path)], points });
        }
    }

    /// The values of an axis: an array, or a range.
    fn values(&mut self, node: &Node, path: &Path) -> Option<Vec<(Value, Place)>> {
        let before = self.findings.0.len();
        let values: Vec<(Value, Place)> = match &node.item {
            Item::Array(items) => {
                for item in items {
                    self.grammar.check_at(item, path, self.findings);
                }
                items.iter().map(|item| (item.to_value(), item.place.clone())).collect()
            }
            Item::Table(_) if range::is_range(node) => match range::values(node) {
                Ok(values) => {
                    for value in &values {
                        let item = Node { item: Item::Scalar(value.clone()), place: node.place.clone() };
                        let already = self.findings.0.len();
                        self.grammar.check_at(&item, path, self.findings);
                        if self.findings.0.len() > already {
                            break;
                        }
                    }
                    values.into_iter().map(|value| (value, node.place.clone())).collect()
                }
                Err(error) => {
                    self.findings.push(
                        Finding::error(format!("axis `{path}`: {error}"))
                            .at(&node.place, "this range")
                            .help("a range is { from = 32, to = 256, factor = 2 } or { from = 1, to = 9, step = 2 }"),
                    );
                    return None;
                }
            },
            _ => {
                let value = node.to_value();
                self.findings.push(
                    Finding::error(format!("axis `{path}` is {}, not an array", node.kind()))
                        .at(&node.place, "expected a list of values")
                        .help(format!("write [{value}], or set the value outside the sweep")),
                );
                return None;
            }
        };
        if values.is_empty() {
            self.findings.push(
                Finding::error(format!("axis `{path}` has no values"))
                    .at(&node.place, "an empty axis makes an empty matrix")
                    .help("list at least one value, or remove the axis"),
            );
        }
        (self.findings.0.len() == before).then_some(values)
    }

    fn check_duplicates(&mut self, path: &Path, values: &[(Value, Place)]) {
        for (index, (value, place)) in values.iter().enumerate() {
            if let Some((_, first)) = values[..index].iter().find(|(earlier, _)| earlier == value) {
                self.findings.push(
                    Finding::error(format!("two cells are the same: axis `{path}` lists {value} twice"))
                        .at(place, "again")
                        .related(first, "first")
                        .help("remove one; to measure a cell several times, set `experiment.repeats`"),
                );
            }
        }
    }

    fn derived(&mut self, node: &Node, path: Path, key: &Place) {
        if self.zipped {
            self.findings.push(
                Finding::error(format!("`{path}`: a derived value cannot be part of a zip"))
                    .at(&node.place, "inside a zip")
                    .help("move it out of the zip: it is computed for every combination"),
            );
            return;
        }
        let table = node.table().filter(|table| table.len() == 1);
        let expr = table.and_then(|table| table["expr"].node.text());
        let Some(expr) = expr else {
            self.findings.push(
                Finding::error(format!(
                    "`{path}`: a derived value needs exactly one key, `expr`, with a string"
                ))
                .at(&node.place, "this value")
                .help("{ expr = \"concurrency * 2\" }"),
            );
            return;
        };
        let expr = expr.to_owned();
        if let Some(path) = self.known_path(path, key) {
            self.sweep.derived.push(Derived { path, expr, place: node.place.clone() });
        }
    }

    fn zips(&mut self, node: &Node, prefix: &Path) {
        for block in node.array().unwrap_or(std::slice::from_ref(node)) {
            let Some(axes) = block.table() else {
                self.findings.push(
                    Finding::error(format!("`sweep.zip` is {}, not a list of tables", block.kind()))
                        .at(&block.place, "write [[sweep.zip]]"),
                );
                continue;
            };
            let mut inner = Reader {
                grammar: self.grammar,
                workloads: self.workloads,
                findings: self.findings,
                sweep: Sweep::default(),
                zipped: true,
            };
            for (key, entry) in axes {
                inner.axes(&entry.node, prefix.child(key), &entry.key);
            }
            let factors = inner.sweep.factors;
            let lengths: Vec<usize> = factors.iter().map(|f| f.points.len()).collect();
            if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
                let counts: Vec<String> =
                    factors.iter().map(|f| format!("`{}` has {}", f.columns[0], f.points.len())).collect();
                self.findings.push(
                    Finding::error(format!("axes of a zip differ in length: {}", counts.join(", ")))
                        .at(&block.place, "this block")
                        .help("a zip pairs the values of its axes in order; give every axis the same number of values"),
                );
                continue;
            }
            let Some(&length) = lengths.first() else {
                continue;
            };
            let points: Vec<Point> = (0..length)
                .map(|row| Point {
                    values: factors.iter().map(|f| f.points[row].values[0].clone()).collect(),
                    sets: factors.iter().flat_map(|f| f.points[row].sets.clone()).collect(),
                    place: factors[0].points[row].place.clone(),
                })
                .collect();
            for (index, point) in points.iter().enumerate() {
                if points[..index].iter().any(|earlier| earlier.values == point.values) {
                    self.findings.push(
                        Finding::error("two cells are the same: a zip repeats a combination")
                            .at(&point.place, "again"),
                    );
                }
            }
            self.sweep
                .factors
                .push(Factor { columns: factors.into_iter().flat_map(|f| f.columns).collect(), points });
        }
    }

    fn variants(&mut self, node: &Node, prefix: &Path) {
        let Some(table) = node.table() else {
            self.findings.push(
                Finding::error("`sweep.variant` must be a table of named variants")
                    .at(&node.place, "expected [sweep.variant.<name>]"),
            );
            return;
        };
        let mut points = Vec::new();
        for (name, entry) in table {
            let Some(values) = entry.node.table() else {
                self.findings.push(
                    Finding::error(format!(
                        "variant `{name}` is {}, not a table of paths",
                        entry.node.kind()
                    ))
                    .at(&entry.node.place, "expected paths and values"),
                );
                continue;
            };
            let mut sets = Vec::new();
            for (key, inner) in values {
                self.variant_values(&inner.node, prefix.child(key), &inner.key, &mut sets);
            }
            points.push(Point { values: vec![name.clone().into()], sets, place: entry.key.clone() });
        }
        if points.is_empty() {
            self.findings.push(
                Finding::error("`sweep.variant` has no variants")
                    .at(&node.place, "an empty axis makes an empty matrix"),
            );
            return;
        }
        self.sweep.factors.push(Factor { columns: vec![Column::Variant], points });
    }

    fn variant_values(&mut self, node: &Node, path: Path, key: &Place, sets: &mut Vec<(Path, Value)>) {
        if let Item::Table(table) = &node.item
            && !table.contains_key("unset")
            && !self.is_open_value(&path)
        {
            for (name, entry) in table {
                self.variant_values(&entry.node, path.child(name), &entry.key, sets);
            }
            return;
        }
        if let Some(path) = self.known_path(path, key) {
            self.grammar.check_at(node, &path, self.findings);
            sets.push((path, node.to_value()));
        }
    }

    /// Whether a table at this path is a value rather than further keys: a JSON flag, a request body field,
    /// or prompts.
    fn is_open_value(&self, path: &Path) -> bool {
        let depth = path.0.len();
        (path.starts_with(&["server", "flags"]) && depth == 3)
            || (path.starts_with(&["workload"]) && depth == 3 && path.last() != "extra_body")
    }

    fn skips(&mut self, node: &Node) {
        for item in node.array().unwrap_or(std::slice::from_ref(node)) {
            let (when, reason) = match &item.item {
                Item::Table(_) => (item.get(&["when"]), item.get(&["reason"]).and_then(Node::text)),
                _ => (Some(item), None),
            };
            match when.and_then(|when| when.text().map(|text| (when, text))) {
                Some((when, text)) => self.sweep.skips.push(Skip {
                    when: text.to_owned(),
                    reason: reason.map(str::to_owned),
                    place: when.place.clone(),
                }),
                None => self.findings.push(
                    Finding::error("a skip condition must be an expression")
                        .at(&item.place, "expected a string, or { when = \"…\", reason = \"…\" }"),
                ),
            }
        }
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Column::Path(path) => path.fmt(f),
            Column::Variant => f.write_str("variant"),
        }
    }
}
