//! Expands the searches of a manifest, and the servers and cells that they try.

use serde_json::Value;

use super::{
    Declared, Goal, Ids, Search, demands,
    load_question::LoadQuestion,
    number, range,
    server_question::{ServerKind, ServerQuestion},
    varying::varying,
};
use crate::{
    diagnostic::{Finding, Place},
    manifest::{BaseWorkload, Column, LoadAxis, Path, SearchObjective, That},
    plan::{
        Cell,
        axis::Role,
        columns::Values,
        draft::{Draft, factors},
        expansion::{Expansion, Rules, Selection, ServerDraft},
        expression,
        purpose::Purpose,
    },
};

/// What a searched load adds to a draft.
struct At {
    draft: Draft,
    cell: Cell,
}

/// The searches for the most load of one workload, one for each combination of its other axes on each server.
/// `prefix` stands before their ids.
pub(in crate::plan) fn load_searches(
    expansion: &mut Expansion<'_>,
    declared: &Declared,
    base: &BaseWorkload,
    rules: &Rules<'_>,
    servers: &[ServerDraft],
    (prefix, ids): (&str, &mut Ids),
) -> Option<Vec<Search>> {
    let Some(Some(question)) = declared.load.get(&base.name) else { return Some(Vec::new()) };
    let (manifest, columns) = (expansion.manifest, expansion.columns);
    let (_, inner) = factors(manifest, &base.name);
    let varying = varying(manifest, columns, &[&question.path], Some(&base.name));
    let mut searches = Vec::new();
    for server in servers {
        for draft in server.draft.combinations(&inner, &base.name) {
            if !question.is_valid {
                is_searchable(expansion, base, rules, &draft, (question, question.search.from))?;
                continue;
            }
            let Some((from, to)) = loads(expansion, base, rules, &draft, question)? else { continue };
            if !is_searchable(expansion, base, rules, &draft, (question, from))? {
                continue;
            }
            let mut ends = Vec::new();
            for end in [from, to] {
                ends.extend(load_at(expansion, base, rules, server, &draft, (question, end))?);
            }
            let [at_from, at_to] = &ends[..] else { continue };
            let fixed = |role| columns.fixed(&at_from.draft.values, role, &varying);
            let mut axes = fixed(Role::Server);
            axes.extend(fixed(Role::Load));
            let search = &question.search;
            let id = ids.next(&format!("{prefix}{}", base.name));
            if let Some(same) = ids.same(&id, vec![at_from.cell.id.clone(), at_to.cell.id.clone()]) {
                expansion.report(same_search(&same, &id, &manifest.place(&["workload", &base.name])))?;
            }
            searches.push(Search {
                id,
                name: base.name.clone(),
                workload: Some(base.name.clone()),
                server: Some(server.id.clone()),
                axes,
                goal: Goal::Load {
                    axis: search.axis,
                    from,
                    to,
                    within: search.within.fraction(),
                    confidence: search.confidence,
                },
                expected: None,
            });
        }
    }
    Some(searches)
}

fn same_search(first: &str, second: &str, place: &Place) -> Finding {
    Finding::error(format!("two searches are the same: `{first}` and `{second}`"))
        .at(place, "measure the same")
        .help("remove the axis value that changes nothing")
}

/// The ends of the range of loads that is not skipped; `None` inside where all of it is.
fn loads(
    expansion: &mut Expansion<'_>,
    base: &BaseWorkload,
    rules: &Rules<'_>,
    draft: &Draft,
    question: &LoadQuestion,
) -> Option<Option<(f64, f64)>> {
    let search = &question.search;
    let step = (search.axis == LoadAxis::Concurrency).then_some(1.0);
    range::unskipped((search.from, search.to), step, |load| {
        let draft = loaded(expansion, base, rules, draft, (question, load))?;
        Some(expansion.skip(&draft, &base.name, rules)?.is_some())
    })
}

/// Whether the load of a workload can be searched. What it lacks is reported.
fn is_searchable(
    expansion: &mut Expansion<'_>,
    base: &BaseWorkload,
    rules: &Rules<'_>,
    draft: &Draft,
    load: (&LoadQuestion, f64),
) -> Option<bool> {
    let draft = loaded(expansion, base, rules, draft, load)?;
    // A workload that is not valid is reported with its cell.
    let Ok(spec) = serde_json::from_value(draft.workload) else { return Some(true) };
    let found = demands::load(expansion.manifest, &base.name, load.0.search.axis, &spec);
    let is_searchable = found.is_empty();
    for finding in found {
        expansion.report(finding)?;
    }
    Some(is_searchable)
}

/// A draft with a load, and everything that expressions compute from it.
fn loaded(
    expansion: &mut Expansion<'_>,
    base: &BaseWorkload,
    rules: &Rules<'_>,
    draft: &Draft,
    (question, load): (&LoadQuestion, f64),
) -> Option<Draft> {
    let mut draft = draft.clone();
    let integer = question.search.axis == LoadAxis::Concurrency;
    draft.pin(&question.path, number::load(load, integer), &base.name);
    expansion.derive_load(&mut draft, rules, &base.name)?;
    Some(draft)
}

fn load_at(
    expansion: &mut Expansion<'_>,
    base: &BaseWorkload,
    rules: &Rules<'_>,
    server: &ServerDraft,
    draft: &Draft,
    load: (&LoadQuestion, f64),
) -> Option<Option<At>> {
    let draft = loaded(expansion, base, rules, draft, load)?;
    let cell = expansion.cell(&draft, &base.name, server, rules, Purpose::Load)?;
    Some(cell.map(|cell| At { draft, cell }))
}

/// The cell of one load of a search. `None` inside where the manifest has no such combination.
pub(super) fn load_cell(
    expansion: &mut Expansion<'_>,
    declared: &Declared,
    search: &Search,
    pins: &[(Path, Value)],
    load: f64,
) -> Option<Option<Cell>> {
    let (manifest, columns) = (expansion.manifest, expansion.columns);
    let base = manifest.workloads.iter().find(|base| Some(&base.name) == search.workload.as_ref());
    let Some((base, question)) = base.and_then(|base| Some((base, declared.load.get(&base.name)?.as_ref()?)))
    else {
        return Some(None);
    };
    let environment = expression::environment();
    let rules = expansion.rules(&environment, base)?;
    let (_, inner) = factors(manifest, &base.name);
    let varying = varying(manifest, columns, &[&question.path], Some(&base.name));
    let selection = Selection { pins, varying: &[], fixed: Some(&search.axes) };
    for server in expansion.servers(base, &rules, &selection)? {
        if Some(&server.id) != search.server.as_ref() {
            continue;
        }
        for draft in server.draft.combinations(&inner, &base.name) {
            let draft = loaded(expansion, base, &rules, &draft, (question, load))?;
            let own = columns.fixed(&draft.values, Role::Load, &varying);
            if own.iter().all(|(column, value)| search.axes.get(column) == Some(value)) {
                return expansion.cell(&draft, &base.name, &server, &rules, Purpose::Load);
            }
        }
    }
    Some(None)
}

/// The server that a search tries, and what is measured on it.
pub(super) struct Tried {
    /// Id of its group in the expansion.
    pub(super) server: String,
    pub(super) cells: Vec<Cell>,
    /// The searches for the most users on it.
    pub(super) searches: Vec<Search>,
}

/// A combination of the axes that a search over servers does not vary, and the values that it tries.
pub(super) struct Combination<'a> {
    pub(super) goal: &'a Goal,
    pub(super) pins: &'a [(Path, Value)],
    pub(super) varying: &'a [String],
    pub(super) fixed: &'a Values,
}

/// Expands one server that a search tries. `None` inside where it is not valid, which is reported.
pub(super) fn tried(
    expansion: &mut Expansion<'_>,
    declared: &Declared,
    combination: &Combination<'_>,
    (prefix, ids): (&str, &mut Ids),
) -> Option<Option<Tried>> {
    let (manifest, columns) = (expansion.manifest, expansion.columns);
    let Combination { goal, pins, varying, fixed } = combination;
    let length = Column::Path(Path::of(&["server", "flags", "max-model-len"]));
    let any_length = varying.iter().any(|column| column == columns.name(&length));
    let is_start = matches!(goal, Goal::Value { that: That::Fits, .. });
    let finds_users = matches!(goal, Goal::Best { objective: SearchObjective::MostUsers, .. });
    let mut found: Option<Tried> = None;
    for base in &manifest.workloads {
        let environment = expression::environment();
        let rules = expansion.rules(&environment, base)?;
        let selection = Selection { pins, varying, fixed: Some(fixed) };
        let mut servers = expansion.servers(base, &rules, &selection)?;
        servers.truncate(1);
        let Some(server) = servers.first() else { return Some(None) };
        let is_first = found.is_none();
        let tried = found.get_or_insert_with(|| Tried {
            server: server.id.clone(),
            cells: Vec::new(),
            searches: Vec::new(),
        });
        if tried.server != server.id {
            expansion.report(
                Finding::error("a search needs one server for all workloads")
                    .at(&manifest.place(&["sweep"]), "an expression makes it depend on the workload")
                    .help("compute values of the server from axes of the server alone"),
            )?;
            return Some(None);
        }
        if (is_start || finds_users) && is_first {
            tried.cells.extend(expansion.start_cell(&base.name, server, &rules)?);
        }
        if finds_users {
            let more = load_searches(expansion, declared, base, &rules, &servers, (prefix, ids))?;
            tried.searches.extend(more);
        } else if !is_start {
            let (_, inner) = factors(manifest, &base.name);
            for mut draft in server.draft.combinations(&inner, &base.name) {
                expansion.derive_load(&mut draft, &rules, &base.name)?;
                let purpose = Purpose::Server { any_length };
                tried.cells.extend(expansion.cell(&draft, &base.name, server, &rules, purpose)?);
            }
        }
    }
    for cell in found.iter().flat_map(|tried| &tried.cells) {
        check_cell(expansion, goal, cell)?;
    }
    if let Some(tried) = &mut found
        && tried.cells.iter().any(|cell| cell.skip.is_none())
    {
        tried.cells.retain(|cell| cell.skip.is_none());
    }
    Some(found)
}

/// Reports what keeps a cell from answering a search over servers.
fn check_cell(expansion: &mut Expansion<'_>, goal: &Goal, cell: &Cell) -> Option<()> {
    let manifest = expansion.manifest;
    if let Some(finding) = demands::climbing(manifest, &cell.workload, &cell.spec) {
        expansion.report(finding)?;
    }
    if matches!(goal, Goal::Value { that: That::MeetsSlo, .. } | Goal::Best { .. }) {
        for finding in demands::targets(manifest, &cell.workload, &cell.spec) {
            expansion.report(finding)?;
        }
    }
    Some(())
}

/// The searches over servers of a manifest, one for each combination of the other server axes.
pub(in crate::plan) fn server_searches(
    expansion: &mut Expansion<'_>,
    declared: &Declared,
    ids: &mut Ids,
) -> Option<Vec<Search>> {
    let mut searches = Vec::new();
    for question in &declared.server {
        combinations(expansion, declared, question, ids, &mut searches)?;
    }
    Some(searches)
}

fn combinations(
    expansion: &mut Expansion<'_>,
    declared: &Declared,
    question: &ServerQuestion,
    ids: &mut Ids,
    searches: &mut Vec<Search>,
) -> Option<()> {
    let (manifest, columns) = (expansion.manifest, expansion.columns);
    let Some(base) = manifest.workloads.first() else { return Some(()) };
    let environment = expression::environment();
    let rules = expansion.rules(&environment, base)?;
    let varying = varying(manifest, columns, &question.paths(), None);
    let goal = question.goal(columns);
    let (first, last) = question.ends();
    let selection = Selection { pins: &first, ..Selection::default() };
    for server in expansion.servers(base, &rules, &selection)? {
        let fixed = columns.fixed(&server.draft.values, Role::Server, &varying);
        let mut ends = vec![question.name.clone()];
        let mut is_skipped = |pins: &[(Path, Value)]| {
            let combination = Combination { goal: &goal, pins, varying: &varying, fixed: &fixed };
            // The ids of searches on candidates are given when these are measured.
            let tried = tried(expansion, declared, &combination, ("", &mut Ids::new(declared)))?;
            let Some(tried) = tried else { return Some(false) };
            if [&first, &last].iter().any(|end| end.as_slice() == pins) {
                ends.push(tried.server);
                ends.extend(tried.cells.iter().map(|cell| cell.id.clone()));
            }
            Some(tried.cells.iter().all(|cell| cell.skip.is_some()))
        };
        let range = match &question.kind {
            ServerKind::Value { range, .. } => {
                range::unskipped((range.from, range.to), Some(range.step), |at| {
                    is_skipped(&[(range.path.clone(), number::value(at, range.integer))])
                })?
            }
            ServerKind::Best { .. } => {
                is_skipped(&first)?;
                is_skipped(&last)?;
                Some((0.0, 0.0))
            }
        };
        let Some(range) = range else { continue };
        let id = ids.next(&question.name);
        if let Some(same) = ids.same(&id, ends) {
            expansion.report(same_search(&same, &id, &manifest.place(&["search", &question.name])))?;
        }
        let only = manifest.workloads.first().filter(|_| manifest.workloads.len() == 1);
        searches.push(Search {
            id,
            name: question.name.clone(),
            workload: only.filter(|_| question.loads()).map(|base| base.name.clone()),
            server: None,
            axes: fixed,
            goal: goal.clone().within(range),
            expected: None,
        });
    }
    Some(())
}
