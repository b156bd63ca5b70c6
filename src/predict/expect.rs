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
    plan::{self, Expected, Goal, Plan, Search},
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

struct Expectation<'a> {
    placement: &'a Placement<'a>,
    plan: &'a Plan,
    spill: &'a Path,
    may_continue: &'a (dyn Fn() -> bool + Sync),
}

impl Expectation<'_> {
    fn of(&self, search: &Search) -> Option<Expected> {
        match &search.goal {
            Goal::Load { from, to, .. } => {
                let placed = self.placement.place(&self.of_server(search)?).placed.into_values().next()?;
                self.searched(search, &placed, [*from, *to])
            }
            Goal::Value { that: That::MeetsSlo, from, to, .. } => {
                let placed = self.placed(search, *from)?;
                self.searched(search, &placed, [*from, *to])
            }
            Goal::Value { .. } => self.fitting(search),
            Goal::Best { .. } => None,
        }
    }

    /// The plan with the server of a search for the most load alone, unless the embedded engine is that server.
    fn of_server(&self, search: &Search) -> Option<Plan> {
        let id = search.server.as_ref()?;
        let group = self.plan.groups.iter().find(|group| group.id == *id)?;
        let is_real = group.server.engine != Engine::Sim;
        is_real.then(|| Plan {
            groups: vec![group.clone()],
            searches: vec![search.clone()],
            ..self.plan.clone()
        })
    }

    /// The answer of three searches in virtual time.
    fn searched(&self, search: &Search, placed: &Placed, [from, to]: [f64; 2]) -> Option<Expected> {
        let accuracy = Accuracy::of(&basis([placed], Assumptions::default(), self.placement.calibration)?);
        let answers = [Strictness::AsPredicted, Strictness::Surely(accuracy), Strictness::Possibly(accuracy)]
            .map(|slo| self.answer(search, slo).and_then(|answer| bracket(&answer, from, to)));
        let [middle, surely, possibly] = answers;
        let (middle, surely, possibly) = (middle?, surely?, possibly?);
        let value =
            if from > 0.0 { (middle[0] * middle[1]).sqrt() } else { f64::midpoint(middle[0], middle[1]) };
        let all = [middle, surely, possibly];
        let low = all.iter().flatten().copied().fold(f64::INFINITY, f64::min);
        let high = all.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Expected { value, low, high })
    }

    fn answer(&self, search: &Search, slo: Strictness) -> Option<Answer> {
        let now = Timestamp::UNIX_EPOCH;
        let mut run = StoredRun {
            folder: camino::Utf8PathBuf::new(),
            run: RunFile::new("expected", &[], self.plan.experiment.seed, now),
            plan: Plan { searches: vec![search.clone()], ..self.plan.clone() },
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
        let virtual_search = VirtualSearch { placement: *self.placement, setup, slo, now, may_continue };
        virtual_search.run(&mut run, &mut BTreeMap::new()).ok()?;
        search::answers(&run).into_iter().find(|answer| answer.search.id == search.id)
    }

    /// The server of a search's probe, unless it is the embedded engine or cannot be placed.
    fn placed(&self, search: &Search, value: f64) -> Option<Placed> {
        let mut plan = Plan { searches: vec![search.clone()], ..self.plan.clone() };
        let values = [Value::from(value)];
        let (group, _) = plan::probe(self.placement.manifest, &mut plan, &search.id, &values, 1).ok()?;
        let group = plan.groups.swap_remove(group);
        if group.server.engine == Engine::Sim {
            return None;
        }
        let alone = Plan { groups: vec![group], ..plan };
        self.placement.place(&alone).placed.into_values().next()
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
