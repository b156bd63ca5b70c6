//! Expands the factors of a manifest into the cells of the matrix.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use indexmap::IndexMap;
use minijinja::{Environment, Expression};
use serde_json::Value;

use super::{
    Cell, Group, Plan,
    axis::Role,
    check,
    columns::Columns,
    expression::{self, Scope},
    identity,
    ladder::ladders,
};
use crate::{
    diagnostic::{Finding, Findings, Place},
    flags::{Flag, canonical, scalar_text},
    manifest::{Column, Derived, Factor, Manifest, Path, Server, Skip, Workload, set_value},
};

/// The most cells of a matrix. A cell takes at least seconds, so a larger matrix is a mistake.
pub const MOST_CELLS: u128 = 20_000;

/// The most findings about a matrix. Further ones would repeat these.
const MOST_FINDINGS: usize = 50;

/// Expands a manifest into a plan. There is no plan when a finding is an error.
pub fn plan(manifest: &Manifest) -> (Option<Plan>, Findings) {
    let mut findings = Findings::default();
    if let Some(finding) = too_large(manifest) {
        findings.push(finding);
        return (None, findings);
    }
    let columns = Columns::of(manifest);
    let groups = {
        let mut expansion = Expansion {
            manifest,
            columns: &columns,
            findings: &mut findings,
            seen: HashSet::new(),
            groups: IndexMap::new(),
        };
        for index in 0..manifest.workloads.len() {
            if expansion.workload(index).is_none() {
                break;
            }
        }
        expansion.groups
    };
    let mut groups: Vec<Group> = groups.into_values().collect();
    if !findings.has_errors() {
        find_duplicates(&groups, manifest, &mut findings);
        ladders(&mut groups, manifest, &columns, &mut findings);
    }
    let plan = Plan {
        format: 1,
        experiment: manifest.experiment.clone(),
        hardware: manifest.hardware.clone(),
        server_axes: columns.names(Role::Server),
        load_axes: columns.names(Role::Load),
        groups,
        searches: Vec::new(),
    };
    check::repeats(&plan, manifest, &mut findings);
    check::too_few_samples(&plan, manifest, &mut findings);
    let plan = (!findings.has_errors()).then_some(plan);
    (plan, findings)
}

/// The factors that apply to a workload: those that change its server, then those that change its load.
fn factors(manifest: &Manifest, workload: &str) -> (Vec<Factor>, Vec<Factor>) {
    let mut outer = Vec::new();
    let mut inner = Vec::new();
    for factor in &manifest.sweep.factors {
        let touches = |prefix: &[&str]| {
            let sets = factor.points.iter().flat_map(|point| &point.sets);
            sets.clone().any(|(path, _)| path.starts_with(prefix))
        };
        if touches(&["server"]) {
            outer.push(factor.clone());
        } else if touches(&["experiment"]) || touches(&["workload", workload]) {
            inner.push(factor.clone());
        }
    }
    if let Some(base) = manifest.workloads.iter().find(|base| base.name == workload) {
        inner.extend(base.sweep.factors.iter().cloned());
    }
    (outer, inner)
}

fn size(factors: &[Factor]) -> u128 {
    factors.iter().fold(1, |size, factor| size.saturating_mul(factor.points.len() as u128))
}

fn too_large(manifest: &Manifest) -> Option<Finding> {
    let mut total: u128 = 0;
    let mut sizes = Vec::new();
    for base in &manifest.workloads {
        let (outer, inner) = factors(manifest, &base.name);
        let all: Vec<Factor> = outer.into_iter().chain(inner).collect();
        total = total.saturating_add(size(&all));
        let lengths: Vec<String> = all.iter().map(|factor| factor.points.len().to_string()).collect();
        sizes.push(format!("{}: {}", base.name, lengths.join(" × ")));
    }
    (total > MOST_CELLS).then(|| {
        Finding::error(format!("the matrix has {total} cells, more than {MOST_CELLS}"))
            .at(&manifest.place(&["experiment"]), sizes.join("; "))
            .help("shorten an axis, widen a range's step, or pair axes with [[sweep.zip]]; skip conditions do not count here")
    })
}

/// Reports two cells with the same id: an axis value that does not change what is measured.
fn find_duplicates(groups: &[Group], manifest: &Manifest, findings: &mut Findings) {
    let mut seen: BTreeMap<&str, (&Group, &Cell)> = BTreeMap::new();
    for group in groups {
        for cell in group.cells.iter().filter(|cell| cell.skip.is_none()) {
            if let Some((_, first)) = seen.insert(&cell.id, (group, cell)) {
                let place = manifest.place(&["workload", &cell.workload]);
                findings.push(
                    Finding::error(format!("two cells are the same: {}", cell.id))
                        .at(&place, format!("{:?} and {:?} measure the same", first.axes, cell.axes))
                        .help("remove the axis value that changes nothing"),
                );
                return;
            }
        }
    }
}

struct Expansion<'m> {
    manifest: &'m Manifest,
    columns: &'m Columns,
    findings: &'m mut Findings,
    seen: HashSet<String>,
    groups: IndexMap<String, Group>,
}

/// A compiled expression, with its text and where it comes from.
struct Compiled<'e, T> {
    expression: Expression<'e, 'e>,
    text: &'e str,
    of: &'e T,
}

/// One combination of factors: the index of a point in each.
struct Odometer {
    digits: Vec<usize>,
    done: bool,
}

impl Odometer {
    fn new(factors: &[Factor]) -> Self {
        Self { digits: vec![0; factors.len()], done: factors.iter().any(|factor| factor.points.is_empty()) }
    }

    /// The next combination, the last factor fastest.
    fn advance(&mut self, factors: &[Factor]) {
        for index in (0..factors.len()).rev() {
            self.digits[index] += 1;
            if self.digits[index] < factors[index].points.len() {
                return;
            }
            self.digits[index] = 0;
        }
        self.done = true;
    }
}

/// Base values with a combination of factors applied, and the column values of that combination.
#[derive(Clone)]
struct Draft {
    server: Value,
    workload: Value,
    seed: u64,
    values: Vec<(Column, Value)>,
}

impl Draft {
    fn apply(&mut self, factors: &[Factor], digits: &[usize], workload: &str) {
        for (factor, &digit) in factors.iter().zip(digits) {
            let point = &factor.points[digit];
            for (path, value) in &point.sets {
                self.set(path, value.clone(), workload);
            }
            self.values.extend(factor.columns.iter().cloned().zip(point.values.iter().cloned()));
        }
    }

    fn set(&mut self, path: &Path, value: Value, workload: &str) {
        match path.0[0].as_str() {
            "server" => set_value(&mut self.server, &path.0[1..], value),
            "workload" if path.0[1] == workload => set_value(&mut self.workload, &path.0[2..], value),
            "experiment" => {
                if let Some(seed) = value.as_u64() {
                    self.seed = seed;
                }
            }
            _ => {}
        }
    }
}

impl Expansion<'_> {
    /// Adds a finding unless there is one with its title. `None` when there are enough findings.
    fn report(&mut self, finding: Finding) -> Option<()> {
        if self.seen.insert(finding.title.clone()) {
            self.findings.push(finding);
        }
        (self.seen.len() < MOST_FINDINGS).then_some(())
    }

    fn workload(&mut self, index: usize) -> Option<()> {
        let manifest = self.manifest;
        let base = &manifest.workloads[index];
        let (outer, inner) = factors(manifest, &base.name);
        let environment = expression::environment();
        let relevant = |derived: &&Derived| {
            derived.path.starts_with(&["server"]) || derived.path.starts_with(&["workload", &base.name])
        };
        let derived = manifest.sweep.derived.iter().filter(relevant).chain(&base.sweep.derived);
        let derived = derived.map(|of| (of, of.expr.as_str(), &of.place));
        let (for_server, for_load): (Vec<_>, Vec<_>) = self
            .compile(&environment, derived)?
            .into_iter()
            .partition(|c| c.of.path.starts_with(&["server"]));
        let skips = manifest.sweep.skips.iter().chain(&base.sweep.skips);
        let skips = self.compile(&environment, skips.map(|of| (of, of.when.as_str(), &of.place)))?;
        let start = Draft {
            server: manifest.server.clone(),
            workload: base.value.clone(),
            seed: manifest.experiment.seed,
            values: Vec::new(),
        };
        let mut at = Odometer::new(&outer);
        while !at.done {
            let mut draft = start.clone();
            draft.apply(&outer, &at.digits, &base.name);
            self.derive(&mut draft, &for_server, &base.name)?;
            if let Some((group, key)) = self.group(&draft)? {
                let mut load = Odometer::new(&inner);
                while !load.done {
                    let mut cell = draft.clone();
                    cell.apply(&inner, &load.digits, &base.name);
                    self.derive(&mut cell, &for_load, &base.name)?;
                    self.cell(&cell, &base.name, &group, &key, &skips)?;
                    load.advance(&inner);
                }
            }
            at.advance(&outer);
        }
        Some(())
    }

    /// Compiles expressions, each with its text and its place. Those that are not valid are reported.
    fn compile<'e, T>(
        &mut self,
        environment: &'e Environment<'static>,
        expressions: impl Iterator<Item = (&'e T, &'e str, &'e Place)>,
    ) -> Option<Vec<Compiled<'e, T>>> {
        let mut compiled = Vec::new();
        for (of, text, place) in expressions {
            match expression::compile(environment, text, place) {
                Ok(expression) => compiled.push(Compiled { expression, text, of }),
                Err(finding) => self.report(finding)?,
            }
        }
        Some(compiled)
    }

    fn derive(&mut self, draft: &mut Draft, derived: &[Compiled<'_, Derived>], workload: &str) -> Option<()> {
        for one in derived {
            let scope = self.scope(draft, workload);
            match expression::evaluate(&one.expression, one.text, &scope, &one.of.place) {
                Ok(value) => {
                    draft.set(&one.of.path, value.clone(), workload);
                    draft.values.push((Column::Path(one.of.path.clone()), value));
                }
                Err(finding) => self.report(finding)?,
            }
        }
        Some(())
    }

    /// The id of a server's group, which is created if necessary, and the server's hash.
    fn group(&mut self, draft: &Draft) -> Option<Option<(String, String)>> {
        let mut server: Server = match serde_json::from_value(draft.server.clone()) {
            Ok(server) => server,
            Err(error) => {
                let place = self.manifest.place(&["server"]);
                self.report(
                    Finding::error(format!("the values of its axes do not make a valid server: {error}"))
                        .at(&place, ""),
                )?;
                return Some(None);
            }
        };
        if server.sim.gpu.is_some() {
            server.sim.catalogue = self.manifest.catalogue.clone();
        }
        let mut wrong = Vec::new();
        let swept = !self.columns.names(Role::Server).is_empty();
        check::server(self.manifest, &server, swept, &mut wrong);
        for finding in wrong {
            self.report(finding)?;
        }
        let key = identity::server_key(&server);
        let id = identity::server_id(&server, &key);
        let axes = self.columns.values(&draft.values, Role::Server);
        self.groups.entry(id.clone()).or_insert_with(|| Group {
            id: id.clone(),
            server: Arc::new(server),
            axes,
            cells: Vec::new(),
        });
        Some(Some((id, key)))
    }

    fn cell(
        &mut self,
        draft: &Draft,
        name: &str,
        group: &str,
        server_key: &str,
        skips: &[Compiled<'_, Skip>],
    ) -> Option<()> {
        let manifest = self.manifest;
        let spec: Workload = match serde_json::from_value(draft.workload.clone()) {
            Ok(spec) => spec,
            Err(error) => {
                let place = manifest.place(&["workload", name]);
                return self.report(
                    Finding::error(format!(
                        "workload `{name}`: the values of its axes do not make a valid workload: {error}"
                    ))
                    .at(&place, ""),
                );
            }
        };
        let stop = match check::stop(manifest, name, &spec) {
            Ok(stop) => stop,
            Err(finding) => return self.report(finding),
        };
        let skip = self.skip(draft, name, skips)?;
        if skip.is_none() {
            let server = self.groups.get(group).map(|group| &group.server);
            let max_model_len = server.and_then(|server| server.flags.integer("max-model-len"));
            let mut check = check::WorkloadCheck { manifest, name, spec: &spec, found: Vec::new() };
            check.workload(stop, max_model_len);
            check.arrivals(stop, draft.workload.as_object());
            for finding in check.found {
                self.report(finding)?;
            }
        }
        let Some(max_tokens) = manifest.inputs.longest_output(&spec) else {
            return Some(());
        };
        let repeats = &manifest.experiment.repeats;
        let key = identity::cell_key(server_key, &spec, stop, &manifest.inputs, draft.seed, repeats);
        let cell = Cell {
            id: identity::cell_id(name, &spec, max_tokens, &key),
            workload: name.to_owned(),
            stop,
            max_tokens,
            axes: self.columns.values(&draft.values, Role::Load),
            seed: identity::cell_seed(&key),
            skip,
            rung_below: None,
            search: None,
            attempt: None,
            spec: Arc::new(spec),
        };
        self.groups.get_mut(group)?.cells.push(cell);
        Some(())
    }

    /// The reason for skipping a cell, if a skip condition is true.
    fn skip(&mut self, draft: &Draft, name: &str, skips: &[Compiled<'_, Skip>]) -> Option<Option<String>> {
        if skips.is_empty() {
            return Some(None);
        }
        let scope = self.scope(draft, name);
        for skip in skips {
            match expression::evaluate(&skip.expression, skip.text, &scope, &skip.of.place) {
                Ok(Value::Bool(false)) => {}
                Ok(Value::Bool(true)) => {
                    let reason = skip.of.reason.clone().unwrap_or_else(|| skip.text.to_owned());
                    return Some(Some(reason));
                }
                Ok(other) => self.report(
                    Finding::error(format!("the skip condition {:?} is neither true nor false", skip.text))
                        .at(&skip.of.place, format!("it is {other}"))
                        .help("write a comparison, such as concurrency > 8"),
                )?,
                Err(finding) => self.report(finding)?,
            }
        }
        Some(None)
    }

    /// The names that an expression may use: the server's flags and the workload's values, then the axes,
    /// which take precedence.
    fn scope(&self, draft: &Draft, workload: &str) -> Scope {
        let mut scope = Scope::new();
        let flags = draft.server.get("flags").and_then(Value::as_object);
        for (name, value) in flags.into_iter().flatten() {
            if let Ok(flag) = Flag::from_value(value.clone())
                && flag != Flag::Unset
            {
                scope.insert(expression::variable(&canonical(name)), value.clone());
            }
        }
        for key in ["model", "engine"] {
            if let Some(value) = draft.server.get(key) {
                scope.insert(key.to_owned(), value.clone());
            }
        }
        scope.insert("concurrency".to_owned(), 1.into());
        for (name, value) in draft.workload.as_object().into_iter().flatten() {
            if !value.is_object() && !value.is_array() {
                scope.insert(expression::variable(name), value.clone());
            }
        }
        scope.insert("workload".to_owned(), workload.into());
        scope.insert("seed".to_owned(), draft.seed.into());
        for (column, value) in &draft.values {
            let name = self.columns.name(column);
            scope.insert(expression::variable(name), value.clone());
        }
        scope
    }
}

impl Group {
    /// The values of the server's axes, such as `max-model-len=4096 max-num-seqs=64`; without axes, its
    /// model.
    pub fn title(&self) -> String {
        if self.axes.is_empty() {
            return self.server.model.clone();
        }
        let words: Vec<String> =
            self.axes.iter().map(|(name, value)| format!("{name}={}", scalar_text(value))).collect();
        words.join(" ")
    }
}
