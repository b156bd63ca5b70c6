//! [`Expansion`]: turns drafts into servers and cells, and collects what is wrong with them.

use std::{collections::HashSet, sync::Arc};

use indexmap::IndexMap;
use minijinja::{Environment, Expression};
use serde_json::Value;

use super::{
    Cell, Group,
    axis::Role,
    check,
    columns::{Columns, Values},
    draft::{Draft, factors},
    expression::{self, Scope},
    identity,
    purpose::Purpose,
};
use crate::{
    diagnostic::{Finding, Findings, Place},
    flags::{Flag, canonical},
    manifest::{BaseWorkload, Column, Derived, Manifest, Path, Repeats, Server, Skip, Workload},
};

/// The most findings about a matrix. Further ones would repeat these.
const MOST_FINDINGS: usize = 50;

/// The servers and cells of a manifest as they are expanded. Its functions return `None` when there are enough
/// findings.
pub(super) struct Expansion<'m> {
    pub(super) manifest: &'m Manifest,
    pub(super) columns: &'m Columns,
    findings: &'m mut Findings,
    seen: HashSet<String>,
    pub(super) groups: IndexMap<String, Group>,
}

/// A compiled expression, with its text and where it comes from.
struct Compiled<'e, T> {
    expression: Expression<'e, 'e>,
    text: &'e str,
    of: &'e T,
}

/// The expressions that apply to a workload.
pub(super) struct Rules<'e> {
    for_server: Vec<Compiled<'e, Derived>>,
    for_load: Vec<Compiled<'e, Derived>>,
    skips: Vec<Compiled<'e, Skip>>,
}

/// A server of the matrix, with the draft that the cells on it start from.
pub(super) struct ServerDraft {
    pub(super) draft: Draft,
    /// Id of its group.
    pub(super) id: String,
    key: String,
}

/// The servers of the matrix that are expanded.
#[derive(Default)]
pub(super) struct Selection<'a> {
    /// Values that a search sets on every server, instead of the axes on these paths.
    pub(super) pins: &'a [(Path, Value)],
    /// The columns that follow the pins.
    pub(super) varying: &'a [String],
    /// The values of all other columns; every combination without.
    pub(super) fixed: Option<&'a Values>,
}

impl<'m> Expansion<'m> {
    pub(super) fn new(manifest: &'m Manifest, columns: &'m Columns, findings: &'m mut Findings) -> Self {
        Self { manifest, columns, findings, seen: HashSet::new(), groups: IndexMap::new() }
    }

    /// Adds a finding unless there is one with its title.
    pub(super) fn report(&mut self, finding: Finding) -> Option<()> {
        if self.seen.insert(finding.title.clone()) {
            self.findings.push(finding);
        }
        (self.seen.len() < MOST_FINDINGS).then_some(())
    }

    /// Compiles the expressions that apply to a workload. Those that are not valid are reported.
    pub(super) fn rules<'e>(
        &mut self,
        environment: &'e Environment<'static>,
        base: &'e BaseWorkload,
    ) -> Option<Rules<'e>>
    where
        'm: 'e,
    {
        let manifest: &'e Manifest = self.manifest;
        let relevant = |derived: &&Derived| {
            derived.path.starts_with(&["server"]) || derived.path.starts_with(&["workload", &base.name])
        };
        let derived = manifest.sweep.derived.iter().filter(relevant).chain(&base.sweep.derived);
        let derived = derived.map(|of| (of, of.expr.as_str(), &of.place));
        let (for_server, for_load): (Vec<_>, Vec<_>) =
            self.compile(environment, derived)?.into_iter().partition(|c| c.of.path.starts_with(&["server"]));
        let skips = manifest.sweep.skips.iter().chain(&base.sweep.skips);
        let skips = self.compile(environment, skips.map(|of| (of, of.when.as_str(), &of.place)))?;
        Some(Rules { for_server, for_load, skips })
    }

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

    /// The servers that a workload meets, each with its group. Servers that are not valid are reported.
    pub(super) fn servers(
        &mut self,
        base: &BaseWorkload,
        rules: &Rules<'_>,
        selection: &Selection<'_>,
    ) -> Option<Vec<ServerDraft>> {
        let (mut outer, _) = factors(self.manifest, &base.name);
        outer.retain(|factor| {
            let is_pinned = |column: &Column| {
                matches!(column, Column::Path(own) if selection.pins.iter().any(|(path, _)| path == own))
            };
            !factor.columns.iter().all(is_pinned)
        });
        let mut servers = Vec::new();
        for mut draft in Draft::new(self.manifest, base).combinations(&outer, &base.name) {
            for (path, value) in selection.pins {
                draft.pin(path, value.clone(), &base.name);
            }
            self.derive(&mut draft, &rules.for_server, &base.name)?;
            let own = self.columns.fixed(&draft.values, Role::Server, selection.varying);
            let is_wanted =
                |fixed: &Values| own.iter().all(|(column, value)| fixed.get(column) == Some(value));
            if selection.fixed.is_none_or(is_wanted)
                && let Some((id, key)) = self.group(&draft)?
            {
                servers.push(ServerDraft { draft, id, key });
            }
        }
        Some(servers)
    }

    /// Computes the values of a draft that expressions derive for its load.
    pub(super) fn derive_load(&mut self, draft: &mut Draft, rules: &Rules<'_>, workload: &str) -> Option<()> {
        self.derive(draft, &rules.for_load, workload)
    }

    fn derive(&mut self, draft: &mut Draft, derived: &[Compiled<'_, Derived>], workload: &str) -> Option<()> {
        for one in derived {
            let scope = self.scope(draft, workload);
            match expression::evaluate(&one.expression, one.text, &scope, &one.of.place) {
                Ok(value) => draft.pin(&one.of.path, value, workload),
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
        check::server(self.manifest, &server, &mut wrong);
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

    /// The cell of a draft. `None` inside where the draft makes no valid cell, which is reported.
    pub(super) fn cell(
        &mut self,
        draft: &Draft,
        name: &str,
        server: &ServerDraft,
        rules: &Rules<'_>,
        purpose: Purpose,
    ) -> Option<Option<Cell>> {
        let manifest = self.manifest;
        let mut spec: Workload = match serde_json::from_value(draft.workload.clone()) {
            Ok(spec) => spec,
            Err(error) => {
                let place = manifest.place(&["workload", name]);
                self.report(
                    Finding::error(format!(
                        "workload `{name}`: the values of its axes do not make a valid workload: {error}"
                    ))
                    .at(&place, ""),
                )?;
                return Some(None);
            }
        };
        let stop = match check::stop(manifest, name, &spec) {
            Ok(stop) => stop,
            Err(finding) => {
                self.report(finding)?;
                return Some(None);
            }
        };
        let stop = purpose.adapt(&mut spec, stop);
        let skip = self.skip(draft, name, rules)?;
        if skip.is_none() {
            let max_model_len = match purpose {
                Purpose::Server { any_length: true } => None,
                _ => {
                    let group = self.groups.get(&server.id);
                    group.and_then(|group| group.server.flags.integer("max-model-len"))
                }
            };
            let mut check = check::WorkloadCheck { manifest, name, spec: &spec, found: Vec::new() };
            check.workload(stop, max_model_len);
            check.arrivals(stop, draft.workload.as_object());
            for finding in check.found {
                self.report(finding)?;
            }
        }
        let Some(max_tokens) = manifest.inputs.longest_output(&spec) else {
            return Some(None);
        };
        // A probe is measured once, whatever the number of repeats.
        let repeats = if purpose == Purpose::Grid { &manifest.experiment.repeats } else { &Repeats::ONCE };
        let key = identity::cell_key(&server.key, &spec, stop, &manifest.inputs, draft.seed, repeats);
        Some(Some(Cell {
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
        }))
    }

    /// The cell that only tries the start of a server. Skip conditions that need the values of a load do not
    /// apply to it.
    pub(super) fn start_cell(
        &mut self,
        name: &str,
        server: &ServerDraft,
        rules: &Rules<'_>,
    ) -> Option<Option<Cell>> {
        let draft = &server.draft;
        let scope = self.scope(draft, name);
        let is_known = |skip: &&Compiled<'_, Skip>| {
            skip.expression.undeclared_variables(false).iter().all(|word| scope.contains_key(word))
        };
        let skips: Vec<&Compiled<'_, Skip>> = rules.skips.iter().filter(is_known).collect();
        let skip = self.first_skip(&scope, skips)?;
        let cell = identity::start_cell(name, &server.key, draft.seed);
        Some(cell.map(|cell| Cell { skip, ..cell }))
    }

    /// The reason for skipping a cell, if a skip condition is true.
    pub(super) fn skip(&mut self, draft: &Draft, name: &str, rules: &Rules<'_>) -> Option<Option<String>> {
        if rules.skips.is_empty() {
            return Some(None);
        }
        let scope = self.scope(draft, name);
        self.first_skip(&scope, &rules.skips)
    }

    fn first_skip<'a, 'e: 'a>(
        &mut self,
        scope: &Scope,
        skips: impl IntoIterator<Item = &'a Compiled<'e, Skip>>,
    ) -> Option<Option<String>> {
        for skip in skips {
            match expression::evaluate(&skip.expression, skip.text, scope, &skip.of.place) {
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
