//! Ranks the cells of a block by how well they serve its workload.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::{Block, Cell, Curve, Grid};
use crate::{
    manifest::{Objective, Slo, SloTerm},
    measure::{Metric, VerdictKind},
    report::metrics::{at, response},
    search::{Answer, Evidence, Probe, State},
    unit::Percentile,
};

/// The part of the best throughput from which a cell is acceptable.
pub(crate) const NEAR: f64 = 0.9;
/// A knee is better than a line without one if it reaches this part of its throughput: it needs less load.
const CLOSE: f64 = 0.8;

/// The targets of an SLO as text: `p95_ttft ≤ 1500ms and p95_e2e ≤ 3s`; empty without an SLO.
pub(crate) fn slo_text(slo: &Slo) -> String {
    slo.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// How far the deciding numbers can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Trust {
    /// Every number may be ranked.
    Full,
    /// The percentiles of the SLO may not be ranked; medians stand in.
    Medians,
    /// Medians are not known either; the percentiles are used as they are.
    AsTold,
}

/// Whether the recommended cell meets the SLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Met {
    /// There is no SLO.
    NoSlo,
    /// Yes, by the numbers it names.
    Yes,
    /// Yes, by the numbers that stand in for them.
    #[serde(rename = "stand_in")]
    ByStandIn,
    /// The numbers that stand in meet it, but the unreliable percentiles that it names do not.
    Contradicted,
    /// No cell meets it.
    No,
}

/// Why a cell is recommended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// Most load within the SLO.
    MostLoad,
    /// Most load within the SLO, and most throughput.
    MostLoadAndFastest,
    /// Most throughput.
    Fastest,
    /// It is nearest to the SLO, which no cell meets.
    NearestToSlo,
    /// The knee of its line.
    Knee,
    /// The least load within 5 % of the highest throughput of its line.
    AsGoodAsFastest,
    /// The least latency, because no throughput is known.
    Quickest,
    /// It is the only cell.
    Only,
}

/// One recommended cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    /// Index of the cell.
    pub(crate) cell: usize,
    pub(crate) reason: Reason,
}

/// The ranking of a block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ranking {
    /// The recommended cells, the first one for the objective; empty if no cell may be ranked.
    pub(crate) picks: Vec<Pick>,
    /// With an SLO and a load: on each line, the cell with most load within the SLO.
    pub(crate) most_load: Vec<usize>,
    /// Other cells that are nearly as good.
    pub(crate) acceptable: Vec<usize>,
    pub(crate) trust: Trust,
    pub(crate) met: Met,
    /// The number of cells that were compared, and of those that meet the SLO.
    pub(crate) compared: usize,
    pub(crate) meeting: usize,
    /// The number of cells with numbers that were not compared, by the verdict that excludes them.
    pub(crate) left_out: BTreeMap<VerdictKind, usize>,
    /// The recommended cell's worst SLO term over its limit.
    pub(crate) of_limit: Option<f64>,
}

impl Ranking {
    /// The recommended cell.
    pub(crate) fn first(&self) -> Option<usize> {
        self.picks.first().map(|pick| pick.cell)
    }

    fn pick(&mut self, cell: Option<&Cell<'_>>, reason: Reason) {
        self.picks.extend(cell.map(|cell| Pick { cell: cell.index, reason }));
    }
}

/// The value of an SLO term that decides, given how far numbers can be trusted.
pub(crate) fn deciding(term: &SloTerm, cell: &Cell<'_>, trust: Trust) -> Option<f64> {
    let own = Metric::of_term(term);
    match trust {
        Trust::Full => cell.ranked(own),
        Trust::Medians => cell.ranked(at(Percentile::P50, term.metric)),
        Trust::AsTold => cell.shown(own),
    }
}

/// Whether a percentile of the SLO is beyond its limit, reliable or not.
pub(crate) fn is_beyond(slo: &Slo, cell: &Cell<'_>) -> bool {
    let beyond = |term: &SloTerm| cell.shown(Metric::of_term(term)).is_some_and(|ms| ms > term.limit.as_ms());
    slo.0.iter().any(beyond)
}

/// Whether the deciding values are within every limit.
pub(crate) fn meets(slo: &Slo, cell: &Cell<'_>, trust: Trust) -> bool {
    slo.0.iter().all(|term| deciding(term, cell, trust).is_some_and(|ms| ms <= term.limit.as_ms()))
}

/// The value of the worst term over its limit.
fn of_limit(slo: &Slo, cell: &Cell<'_>, trust: Trust) -> Option<f64> {
    let part = |term: &SloTerm| {
        let limit = term.limit.as_ms();
        deciding(term, cell, trust).filter(|_| limit > 0.0).map(|ms| ms / limit)
    };
    let parts: Option<Vec<f64>> = slo.0.iter().map(part).collect();
    parts?.into_iter().max_by(f64::total_cmp)
}

/// The cells that have a number, largest first; equal ones keep their order.
fn by<'c, 'a>(cells: &[&'c Cell<'a>], key: impl Fn(&Cell<'a>) -> Option<f64>) -> Vec<&'c Cell<'a>> {
    let mut keyed: Vec<(f64, &Cell<'a>)> =
        cells.iter().filter_map(|cell| Some((key(cell)?, *cell))).collect();
    keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
    keyed.into_iter().map(|(_, cell)| cell).collect()
}

/// The cells to compare.
struct Compared<'c, 'a> {
    cells: Vec<&'c Cell<'a>>,
    trust: Trust,
    left_out: BTreeMap<VerdictKind, usize>,
}

fn compared<'c, 'a>(grid: &'c Grid<'a>, block: &'c Block<'a>) -> Compared<'c, 'a> {
    // Simulated and predicted cells are never ranked with measured ones.
    let measured: Vec<&Cell<'a>> = grid.with_numbers(block).collect();
    let usable: Vec<&Cell<'a>> = measured.iter().copied().filter(|cell| cell.excluded().is_none()).collect();
    let needed: Vec<Metric> = block.slo.0.iter().map(Metric::of_term).chain(block.brings).collect();
    let full =
        usable.iter().copied().filter(|cell| needed.iter().all(|metric| cell.ranked(*metric).is_some()));
    let full: Vec<&Cell<'a>> = full.collect();
    let medians =
        |cell: &&&Cell<'a>| block.slo.0.iter().all(|term| deciding(term, cell, Trust::Medians).is_some());
    let (cells, trust) = if !full.is_empty() {
        (full, Trust::Full)
    } else if usable.iter().any(|cell| medians(&cell)) {
        (usable.iter().copied().filter(|cell| medians(&cell)).collect(), Trust::Medians)
    } else {
        (usable, Trust::AsTold)
    };
    let mut left_out = BTreeMap::new();
    let own: HashSet<usize> = cells.iter().map(|cell| cell.index).collect();
    for cell in measured.iter().filter(|cell| !own.contains(&cell.index)) {
        let against = needed.iter().find_map(|metric| cell.number(*metric)?.excluded);
        if let Some(kind) = cell.excluded().or(against) {
            *left_out.entry(kind).or_insert(0) += 1;
        }
    }
    Compared { cells, trust, left_out }
}

/// Ranks a block by its objective.
pub(super) fn rank<'a>(grid: &Grid<'a>, block: &Block<'a>) -> Ranking {
    if !block.searches.is_empty() {
        return by_searches(grid, block);
    }
    let Compared { cells, trust, left_out } = compared(grid, block);
    let slo = block.slo;
    let mut ranking = Ranking {
        picks: Vec::new(),
        most_load: Vec::new(),
        acceptable: Vec::new(),
        trust,
        met: Met::NoSlo,
        compared: cells.len(),
        meeting: 0,
        left_out,
        of_limit: None,
    };
    if cells.is_empty() {
        return ranking;
    }
    let good: Vec<&Cell<'a>> = cells.iter().copied().filter(|cell| meets(slo, cell, trust)).collect();
    ranking.meeting = if slo.0.is_empty() { 0 } else { good.len() };
    if !slo.0.is_empty() && good.is_empty() {
        let order = by(&cells, |cell| of_limit(slo, cell, trust).map(|part| -part));
        ranking.met = Met::No;
        ranking.of_limit = order.first().and_then(|cell| of_limit(slo, cell, trust));
        ranking.pick(order.first().copied(), Reason::NearestToSlo);
        let close = |cell: &&&Cell<'a>| of_limit(slo, cell, trust).is_some_and(|part| part <= 1.0 / NEAR);
        ranking.acceptable = order.iter().skip(1).filter(close).map(|cell| cell.index).collect();
        return ranking;
    }
    // A percentile of few samples does not prove that the SLO is met, but one beyond the limit speaks against
    // it.
    let borne_out: Vec<&Cell<'a>> = good.iter().copied().filter(|cell| !is_beyond(slo, cell)).collect();
    ranking.met = match trust {
        _ if slo.0.is_empty() => Met::NoSlo,
        _ if borne_out.is_empty() => Met::Contradicted,
        Trust::Full => Met::Yes,
        _ => Met::ByStandIn,
    };
    let good = if borne_out.is_empty() { good } else { borne_out };
    let fastest = by(&good, |cell| block.rate(cell));
    match block.objective {
        Objective::Latency if !slo.0.is_empty() => most_load(grid, block, &good, &fastest, &mut ranking),
        Objective::Latency => without_slo(grid, block, &cells, &mut ranking),
        Objective::Throughput => {
            ranking.pick(fastest.first().or(good.first()).copied(), Reason::Fastest);
            ranking.acceptable = near(block, &fastest);
        }
    }
    if let [pick] = ranking.picks.as_mut_slice()
        && ranking.compared == 1
        && slo.0.is_empty()
    {
        pick.reason = Reason::Only;
    }
    let first = ranking.first().map(|at| &grid.cells[at]);
    ranking.of_limit = first.and_then(|cell| of_limit(slo, cell, trust));
    let picks: Vec<usize> = ranking.picks.iter().map(|pick| pick.cell).collect();
    ranking.acceptable.retain(|cell| !picks.contains(cell));
    ranking
}

/// A probe of a load with its cell: ln(measured / limit) of its worst SLO term.
struct Probed<'c, 'a> {
    cell: &'c Cell<'a>,
    log: f64,
}

/// Ranks the probes of searches for the most load within the SLO. What a search found decides, not the
/// percentiles of single probes: near the limit chance puts some on the wrong side, and probes that ended early
/// have biased ones.
fn by_searches<'a>(grid: &Grid<'a>, block: &Block<'a>) -> Ranking {
    let mut ranking = Ranking {
        picks: Vec::new(),
        most_load: Vec::new(),
        acceptable: Vec::new(),
        trust: Trust::Full,
        met: Met::No,
        compared: 0,
        meeting: 0,
        left_out: BTreeMap::new(),
        of_limit: None,
    };
    let by_id: HashMap<&str, &Cell<'a>> = grid.cells_at(&block.cells).map(|cell| (cell.id(), cell)).collect();
    let (mut found, mut nearest) = (Vec::new(), Vec::new());
    for answer in block.searches.iter().map(|at| &grid.answers[*at]) {
        let probed: Vec<Probed<'_, 'a>> = probed(answer, &by_id);
        let most = answer.feasible.filter(|_| answer.state != State::CannotTell);
        let inside: Vec<&Probed<'_, 'a>> = probed.iter().filter(|own| own.is_at_most(most)).collect();
        ranking.compared += probed.len();
        ranking.meeting += inside.len();
        let load = |own: &&&Probed<'_, 'a>| own.cell.load.configured.unwrap_or(0.0);
        let largest = inside.iter().max_by(|a, b| load(a).total_cmp(&load(b)));
        found.extend(largest.map(|own| (own.cell, own.log)));
        if answer.state == State::None {
            nearest
                .extend(probed.iter().min_by(|a, b| a.log.total_cmp(&b.log)).map(|own| (own.cell, own.log)));
        }
    }
    let set_aside = grid.cells.iter().filter(|cell| cell.is_set_aside && is_of(grid, block, cell));
    for kind in set_aside.filter_map(Cell::excluded) {
        *ranking.left_out.entry(kind).or_insert(0) += 1;
    }
    if found.is_empty() {
        let first = nearest.into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
        ranking.pick(first.map(|(cell, _)| cell), Reason::NearestToSlo);
        ranking.of_limit = first.map(|(_, log)| log.exp());
        return ranking;
    }
    ranking.met = Met::Yes;
    let cells: Vec<&Cell<'a>> = found.iter().map(|(cell, _)| *cell).collect();
    let first = most(block, &cells);
    ranking.pick(first, Reason::MostLoad);
    let log = found.iter().find(|(cell, _)| first.is_some_and(|first| first.index == cell.index));
    ranking.of_limit = log.map(|(_, log)| log.exp());
    if cells.len() > 1 {
        ranking.most_load = cells.iter().map(|cell| cell.index).collect();
    }
    ranking
}

/// Whether a cell is a probe of one of the searches of a block.
fn is_of(grid: &Grid<'_>, block: &Block<'_>, cell: &Cell<'_>) -> bool {
    let mut ids = block.searches.iter().map(|at| grid.answers[*at].search.id.as_str());
    ids.any(|id| cell.file.search.as_deref() == Some(id))
}

/// The valid probes of a search in a block.
fn probed<'c, 'a>(answer: &Answer, by_id: &HashMap<&str, &'c Cell<'a>>) -> Vec<Probed<'c, 'a>> {
    let of = |probe: &Probe| {
        let Evidence::Measured(ratio) = &probe.evidence else { return None };
        let cell = probe.cells.iter().find_map(|id| by_id.get(id.as_str()).copied())?;
        Some(Probed { cell, log: ratio.log })
    };
    answer.probes.iter().filter_map(of).collect()
}

impl Probed<'_, '_> {
    fn is_at_most(&self, most: Option<f64>) -> bool {
        self.cell.load.configured.zip(most).is_some_and(|(load, most)| load <= most * (1.0 + 1e-9))
    }
}

/// The cells that nearly reach the first one's rate.
fn near(block: &Block<'_>, order: &[&Cell<'_>]) -> Vec<usize> {
    let top = order.first().and_then(|cell| block.rate(cell));
    let is_near = |cell: &&&Cell<'_>| top.zip(block.rate(cell)).is_some_and(|(top, own)| own >= NEAR * top);
    order.iter().filter(is_near).map(|cell| cell.index).collect()
}

/// The cell with the highest throughput of those with most load.
fn most<'c, 'a>(block: &Block<'_>, cells: &[&'c Cell<'a>]) -> Option<&'c Cell<'a>> {
    let top = by(cells, |cell| cell.load.reached).first().copied()?;
    let same = cells.iter().copied().filter(|cell| cell.load.reached == top.load.reached);
    by(&same.collect::<Vec<_>>(), |cell| block.rate(cell)).first().copied().or(Some(top))
}

fn most_load<'a>(
    grid: &Grid<'a>,
    block: &Block<'a>,
    good: &[&Cell<'a>],
    fastest: &[&Cell<'a>],
    ranking: &mut Ranking,
) {
    let users = most(block, good);
    let fast = fastest.first().copied();
    match (users, fast) {
        (Some(users), Some(fast)) if users.index == fast.index => {
            ranking.pick(Some(users), Reason::MostLoadAndFastest);
        }
        (Some(users), fast) => {
            ranking.pick(Some(users), Reason::MostLoad);
            ranking.pick(fast, Reason::Fastest);
        }
        (None, fast) => ranking.pick(fast.or(good.first().copied()), Reason::Fastest),
    }
    let lines = block.load_lines();
    if lines.len() > 1 {
        let inside: HashSet<usize> = good.iter().map(|cell| cell.index).collect();
        ranking.most_load = lines
            .iter()
            .filter_map(|line| {
                let own = grid.cells_at(&line.cells).filter(|cell| inside.contains(&cell.index));
                most(block, &own.collect::<Vec<_>>()).map(|cell| cell.index)
            })
            .collect();
    }
    ranking.acceptable = by(good, |cell| cell.load.reached).iter().map(|cell| cell.index).collect();
}

/// Without an SLO: the fastest of the knees of all lines and of the best cells of lines without a knee. A
/// cell that is no knee gives way to a knee that is nearly as fast with less load.
fn without_slo<'a>(grid: &Grid<'a>, block: &Block<'a>, cells: &[&Cell<'a>], ranking: &mut Ranking) {
    let (mut knees, mut ends) = (Vec::new(), Vec::new());
    for curve in block.load_lines().iter().filter_map(|line| Curve::of(grid, line)) {
        match curve.knee() {
            Some(point) => knees.push(&grid.cells[point.cell]),
            None => ends.extend(curve.worth().map(|point| &grid.cells[point.cell])),
        }
    }
    let known: HashSet<usize> = cells.iter().map(|cell| cell.index).collect();
    let compared = |found: Vec<&Cell<'a>>| -> Option<usize> {
        let own: Vec<&Cell<'a>> = found.into_iter().filter(|cell| known.contains(&cell.index)).collect();
        by(&own, |cell| block.rate(cell)).first().map(|cell| cell.index)
    };
    let (knee, end) = (compared(knees), compared(ends));
    let of = |at: Option<usize>| at.and_then(|at| block.rate(&grid.cells[at]));
    let is_knee = match (of(knee), of(end)) {
        (Some(knee), Some(end)) => knee >= CLOSE * end,
        (knee, _) => knee.is_some(),
    };
    let all = by(cells, |cell| block.rate(cell));
    let quick = response()
        .into_iter()
        .map(|metric| by(cells, |cell| cell.ranked(metric).map(|ms| -ms)))
        .find(|cells| !cells.is_empty())
        .unwrap_or_default();
    let (first, reason) = match (is_knee, end) {
        (true, _) => (knee, Reason::Knee),
        (false, Some(end)) => (Some(end), Reason::AsGoodAsFastest),
        (false, None) if !all.is_empty() => (all.first().map(|cell| cell.index), Reason::Fastest),
        (false, None) => (quick.first().or(cells.first()).map(|cell| cell.index), Reason::Quickest),
    };
    ranking.picks.extend(first.map(|cell| Pick { cell, reason }));
    // Beyond a knee, more load adds latency for little throughput: no such cell is acceptable.
    ranking.acceptable = near(block, &all);
    if let Some(most) = first.filter(|_| is_knee).and_then(|at| grid.cells[at].load.reached) {
        ranking.acceptable.retain(|at| grid.cells[*at].load.reached.is_some_and(|load| load <= most));
    }
}
