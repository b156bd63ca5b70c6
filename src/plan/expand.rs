//! Expands a manifest into the cells of the matrix and its searches.

use std::collections::BTreeMap;

use super::{
    Cell, Group, Plan, Search,
    axis::Role,
    check,
    columns::Columns,
    draft::{factors, size},
    expansion::{Expansion, Selection},
    expression,
    ladder::ladders,
    purpose::Purpose,
    search::{Declared, Ids, load_searches, server_searches},
};
use crate::{
    diagnostic::{Finding, Findings},
    flags::scalar_text,
    manifest::{BaseWorkload, Column, Factor, Manifest},
};

/// The most cells of a matrix. A cell takes at least seconds, so a larger matrix is a mistake.
pub const MOST_CELLS: u128 = 20_000;

/// Expands a manifest into a plan. There is no plan when a finding is an error.
pub fn plan(manifest: &Manifest) -> (Option<Plan>, Findings) {
    let mut findings = Findings::default();
    let declared = Declared::read(manifest, &mut findings);
    if let Some(finding) = too_large(manifest, &declared) {
        findings.push(finding);
        return (None, findings);
    }
    let columns = Columns::new(manifest, declared.paths());
    let (mut groups, searches) = {
        let mut expansion = Expansion::new(manifest, &columns, &mut findings);
        let searches = expand(&mut expansion, &declared);
        (expansion.groups, searches)
    };
    if declared.has_server {
        // These only served to check the ends of the searches, which start servers of their own.
        groups.clear();
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    if !findings.has_errors() {
        find_duplicates(&groups, manifest, &mut findings);
        ladders(&mut groups, manifest, &columns, &mut findings);
    }
    let mut plan = Plan {
        format: 1,
        experiment: manifest.experiment.clone(),
        hardware: manifest.hardware.clone(),
        server_axes: columns.names(Role::Server),
        load_axes: columns.names(Role::Load),
        groups,
        searches,
    };
    plan.drop_idle_groups();
    check::repeats(&plan, manifest, &mut findings);
    check::too_few_samples(&plan, manifest, &mut findings);
    let plan = (!findings.has_errors()).then_some(plan);
    (plan, findings)
}

/// Expands cells into the groups, and returns the searches.
fn expand(expansion: &mut Expansion<'_>, declared: &Declared) -> Vec<Search> {
    let mut ids = Ids::new(declared);
    if declared.has_server {
        return server_searches(expansion, declared, &mut ids).unwrap_or_default();
    }
    let mut searches = Vec::new();
    for base in &expansion.manifest.workloads {
        match workload(expansion, declared, base, &mut ids) {
            Some(more) => searches.extend(more),
            None => break,
        }
    }
    searches
}

/// Expands the cells of a workload, or returns its searches.
fn workload(
    expansion: &mut Expansion<'_>,
    declared: &Declared,
    base: &BaseWorkload,
    ids: &mut Ids,
) -> Option<Vec<Search>> {
    let environment = expression::environment();
    let rules = expansion.rules(&environment, base)?;
    let servers = expansion.servers(base, &rules, &Selection::default())?;
    if declared.searches_load_of(&base.name) {
        return load_searches(expansion, declared, base, &rules, &servers, ("", ids));
    }
    let (_, inner) = factors(expansion.manifest, &base.name);
    for server in &servers {
        for mut draft in server.draft.combinations(&inner, &base.name) {
            expansion.derive_load(&mut draft, &rules, &base.name)?;
            let cell = expansion.cell(&draft, &base.name, server, &rules, Purpose::Grid)?;
            if let (Some(cell), Some(group)) = (cell, expansion.groups.get_mut(&server.id)) {
                group.cells.push(cell);
            }
        }
    }
    Some(Vec::new())
}

/// Reports a matrix of too many cells. A search for a load counts as one; a search over servers counts the
/// cells of one value for each combination of the other axes.
fn too_large(manifest: &Manifest, declared: &Declared) -> Option<Finding> {
    let mut total: u128 = 0;
    let mut sizes = Vec::new();
    let mut add = |name: &str, factors: &[Factor]| {
        total = total.saturating_add(size(factors));
        let lengths: Vec<String> = factors.iter().map(|factor| factor.points.len().to_string()).collect();
        sizes.push(format!("{name}: {}", lengths.join(" × ")));
    };
    for base in &manifest.workloads {
        let (outer, inner) = factors(manifest, &base.name);
        if !declared.has_server {
            let all: Vec<Factor> = outer.into_iter().chain(inner).collect();
            add(&base.name, &all);
            continue;
        }
        for (search, paths, is_loaded) in declared.server_searches() {
            let is_varied = |factor: &&Factor| {
                let mut paths = paths.iter().map(|path| Column::Path((*path).clone()));
                paths.any(|column| factor.columns == [column])
            };
            let other = outer.iter().filter(|factor| !is_varied(factor));
            let all: Vec<Factor> = other.chain(inner.iter().filter(|_| is_loaded)).cloned().collect();
            add(&format!("{search}, {}", base.name), &all);
        }
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
