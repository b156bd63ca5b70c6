//! Where the answers of a plan's searches are expected, before anything is measured.

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Accuracy, Assumptions, Placed, Placement, Setup,
    basis::basis,
    interval::KV_CACHE,
    parallel::on_all_cores,
    virtual_search::{Strictness, VirtualSearch},
};
use crate::{
    engine::memory::Misfit,
    manifest::{Engine, Find, That},
    plan::{self, Expected, Goal, Group, Plan, Search},
    search::{self, Answer, State},
    store::{RunFile, StoredRun},
};

/// Predicts the answers of a plan's searches with their 90 % intervals, by the ids of the searches.
///
/// The most load within an SLO, and the value of a server axis that meets one, are searched in virtual time:
/// as predicted, and with every predicted latency at the upper and at the lower end of its interval. The value
/// of a server axis that fits is where the predicted KV cache holds `max-model-len`, and the interval comes
/// from the error of predicted KV caches.
///
/// A search is left out if its GPU or model is unknown, if the embedded engine answers, if it is for the best
/// server, if the model of vLLM does not know its axis, or if `may_continue`, which is asked before each
/// probe, returned false. A failed prediction leaves its search out, too: the run does not need it.
pub fn expect(
    placement: &Placement<'_>,
    plan: &Plan,
    spill: &Path,
    may_continue: &(dyn Fn() -> bool + Sync),
) -> BTreeMap<String, Expected> {
    let expectation = Expectation { placement, plan, spill, may_continue };
    let found = on_all_cores(&plan.searches, |search| Some((search.id.clone(), expectation.of(search)?)));
    found.into_iter().flatten().collect()
}

/// The searches of a plan before anything is measured.
pub(super) struct Expectation<'a> {
    pub(super) placement: &'a Placement<'a>,
    pub(super) plan: &'a Plan,
    pub(super) spill: &'a Path,
    pub(super) may_continue: &'a (dyn Fn() -> bool + Sync),
}

/// A search that ran in virtual time.
pub(super) struct Tried {
    pub(super) answer: Answer,
    /// Its probes, and those of searches on its candidates.
    pub(super) probes: u32,
    /// Duration of their requests.
    pub(super) seconds: f64,
    /// The servers of the probes.
    pub(super) placed: BTreeMap<String, Placed>,
}

impl Expectation<'_> {
    /// Where a search is expected to end.
    pub(super) fn of(&self, search: &Search) -> Option<Expected> {
        if self.group(search)?.server.engine == Engine::Sim {
            return None;
        }
        match &search.goal {
            Goal::Load { from, to, .. } | Goal::Value { that: That::MeetsSlo, from, to, .. } => {
                self.searched(search, [*from, *to])
            }
            Goal::Value { .. } => self.fitting(search),
            Goal::Best { .. } => None,
        }
    }

    /// The answers of three searches in virtual time.
    fn searched(&self, search: &Search, [from, to]: [f64; 2]) -> Option<Expected> {
        let accuracy = self.accuracy(search)?;
        let cold = Search { expected: None, ..search.clone() };
        let ends = |slo: &Strictness| bracket(&self.run(&cold, *slo)?.answer, from, to);
        let ends: Vec<[f64; 2]> = Strictness::all(Some(accuracy)).iter().map(ends).collect::<Option<_>>()?;
        let [low, high] = *ends.first()?;
        let value = if low > 0.0 { (low * high).sqrt() } else { f64::midpoint(low, high) };
        let all = ends.iter().flatten().copied();
        let (low, high) = (all.clone().fold(value, f64::min), all.fold(value, f64::max));
        Some(Expected { value, low, high })
    }

    /// Runs a search in virtual time, and those that it adds; `None` if it cannot be predicted.
    pub(super) fn run(&self, search: &Search, slo: Strictness) -> Option<Tried> {
        let now = Timestamp::UNIX_EPOCH;
        let mut run = StoredRun {
            folder: camino::Utf8PathBuf::new(),
            run: RunFile::new("expected", &[], self.plan.experiment.seed, now),
            plan: self.alone(search),
            servers: Vec::new(),
            cells: Vec::new(),
            effective: String::new(),
            predictions: None,
        };
        let setup = Setup {
            inputs: &self.placement.manifest.inputs,
            assumed: Assumptions::with(1.0, self.placement.calibration),
            spill: self.spill,
        };
        let may_continue = self.may_continue;
        let mut placed = BTreeMap::new();
        let virtual_search = VirtualSearch { placement: *self.placement, setup, slo, now, may_continue };
        virtual_search.run(&mut run, &mut placed).ok()?;
        let answers = search::answers(&run);
        let probes = answers.iter().map(|answer| answer.probes.len() as u32).sum();
        let spans = run
            .cells
            .iter()
            .filter(|cell| cell.search.is_some())
            .filter_map(|cell| Some(cell.server_side.as_ref()?.span_s));
        let seconds = spans.sum();
        let answer = answers.into_iter().find(|answer| answer.search.id == search.id)?;
        Some(Tried { answer, probes, seconds, placed })
    }

    /// How accurate predictions of a search's servers are; `None` if they cannot be placed.
    pub(super) fn accuracy(&self, search: &Search) -> Option<Accuracy> {
        let placed = self.place(self.group(search)?)?;
        Some(Accuracy::of(&basis([&placed], Assumptions::default(), self.placement.calibration)?))
    }

    /// The plan with one search alone. Its cells are not predicted.
    fn alone(&self, search: &Search) -> Plan {
        Plan { searches: vec![search.clone()], ..self.plan.clone() }
    }

    /// The server of a search for a load, or of the first probe of a search over servers.
    fn group(&self, search: &Search) -> Option<Group> {
        let first = match &search.goal {
            Goal::Load { .. } => {
                let id = search.server.as_ref()?;
                return self.plan.groups.iter().find(|group| group.id == *id).cloned();
            }
            Goal::Value { from, .. } => vec![Value::from(*from)],
            Goal::Best { axes, .. } => {
                axes.iter().map(|axis| axis.values.first().cloned()).collect::<Option<_>>()?
            }
        };
        self.probed(search, &first)
    }

    /// The server of a probe.
    fn probed(&self, search: &Search, values: &[Value]) -> Option<Group> {
        let mut plan = self.alone(search);
        let (group, _) = plan::probe(self.placement.manifest, &mut plan, &search.id, values, 1).ok()?;
        Some(plan.groups.swap_remove(group))
    }

    fn place(&self, group: Group) -> Option<Placed> {
        let alone = Plan { groups: vec![group], searches: Vec::new(), ..self.plan.clone() };
        self.placement.place(&alone).placed.into_values().next()
    }

    /// The server of a probe of one number.
    fn placed(&self, search: &Search, value: f64) -> Option<Placed> {
        self.place(self.probed(search, &[Value::from(value)])?)
    }

    /// Where the KV cache begins or ends to hold `max-model-len`.
    fn fitting(&self, search: &Search) -> Option<Expected> {
        let Goal::Value { find, from, to, step, .. } = &search.goal else { return None };
        let [first, last] = [*from, *to].map(|end| self.placed(search, end));
        // An axis that the model of vLLM does not know changes nothing in it.
        let (first, last) = (first?, last?);
        if first.server == last.server {
            return None;
        }
        let factor = kv_factor(&first);
        let steps = ((to - from) / step + 1e-9).floor() as u64;
        let ends = [1.0, 1.0 / factor, factor].map(|scale| {
            let fits = |at: u64| {
                let placed = self.placed(search, from + at as f64 * step);
                placed.map(|placed| holds_a_request(&placed, scale))
            };
            boundary(steps, *find, fits).map(|at| from + at as f64 * step)
        });
        let [value, low, high] = [ends[0]?, ends[1]?, ends[2]?];
        Some(Expected { value, low: low.min(high).min(value), high: high.max(low).max(value) })
    }
}

/// The ends of an answer; `None` without one.
fn bracket(answer: &Answer, from: f64, to: f64) -> Option<[f64; 2]> {
    match answer.state {
        State::Found | State::Wide => {
            let ends = [answer.feasible, answer.infeasible].into_iter().flatten();
            let (low, high) = (ends.clone().reduce(f64::min)?, ends.reduce(f64::max)?);
            Some([low, high])
        }
        State::All => Some([to, to]),
        State::None => Some([from, from]),
        State::CannotTell | State::Unfinished => None,
    }
}

/// The factor by which a KV cache may differ from its prediction. What the flags set is exact; of other GPUs
/// than those whose logs were compared, the error is assumed to be twice as large.
fn kv_factor(placed: &Placed) -> f64 {
    const EXACT: f64 = 1.01;
    let server = &placed.server;
    match server.settings.kv_bytes.is_some() || server.settings.blocks.is_some() {
        true => EXACT,
        false if server.validation().contains("unvalidated") => KV_CACHE * KV_CACHE,
        false => KV_CACHE,
    }
}

/// Whether a KV cache of `scale` times the predicted size holds a request of `max-model-len`.
fn holds_a_request(placed: &Placed, scale: f64) -> bool {
    match placed.server.fit() {
        Ok(fit) => fit.kv_tokens() as f64 * scale >= fit.max_model_len as f64,
        Err(Misfit::KvTooSmall { estimated, max_model_len, .. }) => {
            estimated as f64 * scale >= max_model_len as f64
        }
        Err(_) => false,
    }
}

/// The last of the steps from the wanted end that fits, by bisection; `None` if none does, or a step cannot be
/// predicted.
fn boundary(steps: u64, find: Find, fits: impl Fn(u64) -> Option<bool>) -> Option<u64> {
    // The distance from the other end: 0 is the end that is not wanted.
    let at = |distance: u64| match find {
        Find::Largest => distance,
        Find::Smallest => steps - distance,
    };
    if fits(at(steps))? {
        return Some(at(steps));
    }
    if !fits(at(0))? {
        return None;
    }
    let (mut low, mut high) = (0, steps);
    while high - low > 1 {
        let middle = low.midpoint(high);
        match fits(at(middle))? {
            true => low = middle,
            false => high = middle,
        }
    }
    Some(at(low))
}
