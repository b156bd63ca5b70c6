//! Decides searches for the best server.
//!
//! Every candidate costs a server start, which takes minutes, so the method learns from each ([`Surrogate`]): it
//! models the logarithm of the objective, the distance from the SLO, and whether the server fails, as functions
//! of the axes. The first candidate is the middle of all axes, and a few more (a third of the starts, at most
//! one for each axis) lie as far from the others as possible. From then on the next candidate is the one with
//! the highest expected improvement times the probability that it runs and meets the SLO (Gardner et al.,
//! "Bayesian Optimization with Inequality Constraints", 2014). Until one meets the SLO, only that probability
//! counts. Servers that run out of memory or miss the SLO thus say where not to look.
//!
//! Alternatives: vLLM's `auto_tune.sh` starts a server for every combination of two flags. SLO-Guard (arXiv
//! 2604.17627) combines annealing with a tree-structured Parzen estimator; with 15 trials, its best latency was
//! not better than that of random search. Successive halving saves requests by measuring bad candidates
//! less, but not starts. `cargo bench --bench tune` compares the method with random search on the model of
//! vLLM; its table is in `tests/bench/README.md`.

use std::collections::BTreeSet;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::Value;

use super::{
    answer::{Answer, Candidate, Decision, State},
    probe::{Evidence, Next, Probe, Score},
    surrogate::Surrogate,
};
use crate::{
    manifest::SearchObjective,
    plan::{Goal, Search, TuneAxis},
};

/// How often a candidate is measured at most while its probes are invalid.
const MOST_ATTEMPTS: u32 = 3;
/// The most combinations that are compared for one step; of more, a random part.
const MOST_COMPARED: usize = 1500;
/// Ratio of an axis' largest to its smallest value from which on it is logarithmic.
const LOGARITHMIC: f64 = 4.0;

/// Decides a search whose goal is [`Goal::Best`] from its probes so far. The same seed gives the same
/// candidates.
pub fn decide(search: &Search, probes: &[Probe], seed: u64) -> Decision {
    let mut answer = Answer::unfinished(search, probes);
    let Goal::Best { axes, objective, starts } = &search.goal else {
        return Decision { answer, next: None };
    };
    let space = Space::new(axes);
    let tried = tried(&space, probes, *objective);
    answer.candidates = candidates(&tried);
    if let Some((objective, best)) = best(&tried) {
        answer.found = Some(best.values.to_vec());
        answer.feasible = Some(objective);
        answer.binding = best.scored().and_then(|(_, score)| Some(score.slo.as_ref()?.binding.clone()));
    }
    let used = probes.iter().filter(|probe| probe.started).count();
    let next = if used < *starts as usize { space.next(&tried, *starts as usize, seed) } else { None };
    if next.is_none() {
        conclude(&mut answer, &tried, space.size());
    }
    let next = next.map(|(at, attempt)| Next { values: space.values(&at), attempt });
    Decision { answer, next }
}

/// A combination: the index of each axis' value.
type Combination = Vec<usize>;

/// A combination that was tried.
struct Tried<'a> {
    at: Combination,
    values: &'a [Value],
    attempts: u32,
    evidence: &'a Evidence,
    /// Whether its objective counts only if it meets the SLO.
    within_slo: bool,
}

impl Tried<'_> {
    /// The objective and its score; `None` where it was not measured.
    fn scored(&self) -> Option<(f64, &Score)> {
        match self.evidence {
            Evidence::Scored(score) => {
                Some((score.objective.filter(|objective| objective.is_finite())?, score))
            }
            _ => None,
        }
    }

    /// How far it is from the SLO; `None` where that does not matter.
    fn slack(&self) -> Option<f64> {
        let (_, score) = self.scored()?;
        score.slo.as_ref().filter(|_| self.within_slo).map(|ratio| ratio.log)
    }

    /// The objective where it counts.
    fn reached(&self) -> Option<f64> {
        let (objective, _) = self.scored()?;
        (self.slack().is_none_or(|log| log <= 0.0) && objective > 0.0).then_some(objective)
    }

    /// Whether its last measurement says nothing.
    fn is_invalid(&self) -> bool {
        self.scored().is_none() && !matches!(self.evidence, Evidence::Fails { .. })
    }
}

/// The tried combination with the highest objective among those that meet the SLO; the first of equals.
fn best<'t, 'a>(tried: &'t [Tried<'a>]) -> Option<(f64, &'t Tried<'a>)> {
    let reached = tried.iter().rev().filter_map(|tried| Some((tried.reached()?, tried)));
    reached.max_by(|a, b| a.0.total_cmp(&b.0))
}

/// The combinations that were tried, in order, each with its last evidence.
fn tried<'a>(space: &Space, probes: &'a [Probe], objective: SearchObjective) -> Vec<Tried<'a>> {
    // Goodput counts the requests that meet the SLO, however many do not.
    let within_slo = objective != SearchObjective::Goodput;
    let mut all: Vec<Tried> = Vec::new();
    for probe in probes {
        let Some(at) = space.combination(&probe.values) else { continue };
        match all.iter_mut().find(|tried| tried.at == at) {
            Some(tried) => (tried.attempts, tried.evidence) = (tried.attempts + 1, &probe.evidence),
            None => {
                let (values, evidence) = (&probe.values[..], &probe.evidence);
                all.push(Tried { at, values, attempts: 1, evidence, within_slo });
            }
        }
    }
    all
}

/// The combinations of the axes' values.
struct Space<'a> {
    axes: &'a [TuneAxis],
    /// The coordinate of each value, from 0 to 1; `None` for an axis whose values have no order.
    coordinates: Vec<Option<Vec<f64>>>,
}

impl<'a> Space<'a> {
    fn new(axes: &'a [TuneAxis]) -> Self {
        Self { axes, coordinates: axes.iter().map(coordinates).collect() }
    }

    /// The number of combinations.
    fn size(&self) -> usize {
        self.axes.iter().map(|axis| axis.values.len()).fold(1, usize::saturating_mul)
    }

    fn values(&self, at: &[usize]) -> Vec<Value> {
        self.axes.iter().zip(at).map(|(axis, index)| axis.values[*index].clone()).collect()
    }

    fn combination(&self, values: &[Value]) -> Option<Combination> {
        let pairs = self.axes.iter().zip(values);
        pairs.map(|(axis, value)| axis.values.iter().position(|own| own == value)).collect()
    }

    /// The place of a combination for the model. An axis without order has a coordinate for each value.
    fn point(&self, at: &[usize]) -> Vec<f64> {
        let mut point = Vec::new();
        for (index, (axis, coordinates)) in at.iter().zip(self.axes.iter().zip(&self.coordinates)) {
            match coordinates {
                Some(coordinates) => point.push(coordinates[*index]),
                None => point.extend((0..axis.values.len()).map(|own| f64::from(u8::from(own == *index)))),
            }
        }
        point
    }

    /// The combination with a number below [`Space::size`].
    fn numbered(&self, mut number: usize) -> Combination {
        let sizes = self.axes.iter().map(|axis| axis.values.len());
        sizes.map(|size| (number % size, number /= size).0).collect()
    }

    /// Untried combinations, at most [`MOST_COMPARED`].
    fn untried(&self, tried: &[Tried], random: &mut ChaCha8Rng) -> Vec<Combination> {
        let known: BTreeSet<&Combination> = tried.iter().map(|tried| &tried.at).collect();
        let numbers: Vec<usize> = match self.size() {
            size if size <= MOST_COMPARED => (0..size).collect(),
            size => (0..MOST_COMPARED).map(|_| below(random, size)).collect(),
        };
        numbers.into_iter().map(|number| self.numbered(number)).filter(|at| !known.contains(at)).collect()
    }

    /// The next candidate and which attempt it is; `None` where every combination was tried.
    fn next(&self, tried: &[Tried], starts: usize, seed: u64) -> Option<(Combination, u32)> {
        if let Some(last) = tried.last()
            && last.is_invalid()
            && last.attempts < MOST_ATTEMPTS
        {
            return Some((last.at.clone(), last.attempts + 1));
        }
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(tried.len() as u64);
        let untried = self.untried(tried, &mut random);
        let first = (starts / 3).clamp(1, self.axes.len() + 1);
        let best = match tried.len() < first {
            true => self.farthest(tried, &untried, &mut random),
            false => self.most_promising(tried, &untried),
        };
        Some((untried.get(best?)?.clone(), 1))
    }

    /// The untried combination that is farthest from all tried ones; the first is the middle of all axes.
    fn farthest(&self, tried: &[Tried], untried: &[Combination], random: &mut ChaCha8Rng) -> Option<usize> {
        let middle: Combination = self.axes.iter().map(|axis| axis.values.len() / 2).collect();
        let known: Vec<Vec<f64>> = tried.iter().map(|tried| self.point(&tried.at)).collect();
        if known.is_empty() {
            return untried.iter().position(|at| *at == middle).or(Some(0));
        }
        let distances = untried.iter().map(|at| {
            let point = self.point(at);
            let to = |other: &Vec<f64>| point.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            known.iter().map(to).fold(f64::INFINITY, f64::min) + 1e-3 * below(random, 1000) as f64 / 1000.0
        });
        highest(distances)
    }

    /// The untried combination with the highest expected improvement.
    fn most_promising(&self, tried: &[Tried], untried: &[Combination]) -> Option<usize> {
        let points = |of: &dyn Fn(&Tried) -> bool| -> Vec<Vec<f64>> {
            tried.iter().filter(|tried| of(tried)).map(|tried| self.point(&tried.at)).collect()
        };
        let scored: Vec<(f64, &Score)> = tried.iter().filter_map(Tried::scored).collect();
        let best = tried.iter().filter_map(Tried::reached).fold(0.0, f64::max);
        let all = scored.iter().map(|(objective, _)| *objective).fold(0.0, f64::max);
        let floor = 0.01 * if best > 0.0 { best } else { all.max(1e-9) };
        let of_scored = points(&|tried| tried.scored().is_some());
        let objectives: Vec<f64> = scored.iter().map(|(objective, _)| objective.max(floor).ln()).collect();
        let objective = Surrogate::fit(&of_scored, &objectives);
        let slacks: Vec<f64> =
            tried.iter().filter_map(Tried::slack).map(|log| log.signum() * log.abs().ln_1p()).collect();
        let slack = (slacks.len() == scored.len() && slacks.iter().any(|slack| *slack > 0.0))
            .then(|| Surrogate::fit(&of_scored, &slacks));
        let of_valid = points(&|tried| !tried.is_invalid());
        let failures: Vec<f64> = tried
            .iter()
            .filter(|tried| !tried.is_invalid())
            .map(|tried| if tried.scored().is_some() { -1.0 } else { 1.0 })
            .collect();
        let failure = failures.contains(&1.0).then(|| Surrogate::fit(&of_valid, &failures));
        highest(untried.iter().map(|at| {
            let point = self.point(at);
            let works = failure.as_ref().map_or(1.0, |model| model.at(&point).is_below(0.0));
            let meets = slack.as_ref().map_or(1.0, |model| model.at(&point).is_below(0.0));
            let gain = if best > 0.0 { objective.at(&point).improvement(best.ln()) } else { 1.0 };
            works * meets * gain
        }))
    }
}

/// The coordinate of each value of an axis, from 0 to 1; `None` where not all are numbers.
fn coordinates(axis: &TuneAxis) -> Option<Vec<f64>> {
    let mut numbers: Vec<f64> = axis.values.iter().map(Value::as_f64).collect::<Option<_>>()?;
    let ends = |numbers: &[f64]| {
        let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        (low, numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    };
    let (low, high) = ends(&numbers);
    if low > 0.0 && high >= LOGARITHMIC * low {
        numbers.iter_mut().for_each(|number| *number = number.ln());
    }
    let (low, high) = ends(&numbers);
    let span = if high > low { high - low } else { 1.0 };
    Some(numbers.into_iter().map(|number| (number - low) / span).collect())
}

/// A random number below a bound.
fn below(random: &mut ChaCha8Rng, bound: usize) -> usize {
    (random.next_u64() % bound.max(1) as u64) as usize
}

/// The index of the highest number, the first of equals.
fn highest(numbers: impl Iterator<Item = f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, number) in numbers.enumerate() {
        if best.is_none_or(|(_, most)| number > most) {
            best = Some((index, number));
        }
    }
    best.map(|(index, _)| index)
}

/// Lists the candidates: the Pareto front of throughput and latency first, the most throughput first.
fn candidates(tried: &[Tried]) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = tried.iter().map(candidate).collect();
    let points: Vec<Option<(f64, f64)>> = all.iter().map(tradeoff).collect();
    for (candidate, own) in all.iter_mut().zip(&points) {
        candidate.is_pareto =
            own.is_some_and(|own| !points.iter().flatten().any(|other| dominates(*other, own)));
    }
    let order = |candidate: &Candidate| {
        let number = |number: Option<f64>| number.unwrap_or(f64::NEG_INFINITY);
        (candidate.is_pareto, number(candidate.throughput_tok_s), number(candidate.objective))
    };
    all.sort_by(|a, b| {
        let (a, b) = (order(a), order(b));
        b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)).then(b.2.total_cmp(&a.2))
    });
    all
}

fn candidate(tried: &Tried) -> Candidate {
    let score = tried.scored().map(|(_, score)| score);
    Candidate {
        values: tried.values.to_vec(),
        objective: score.and_then(|score| score.objective),
        p95_ttft_ms: score.and_then(|score| score.p95_ttft_ms),
        throughput_tok_s: score.and_then(|score| score.throughput_tok_s),
        meets_slo: score.is_some_and(Score::meets_slo),
        is_pareto: false,
        reason: match tried.evidence {
            Evidence::Fails { binding, .. } => Some(binding.clone()),
            Evidence::Invalid(why) => Some(why.clone()),
            _ if score.is_none() => Some("the objective was not measured".to_owned()),
            _ => None,
        },
    }
}

/// Throughput and p95 TTFT of a candidate. Without a TTFT only throughput counts.
fn tradeoff(candidate: &Candidate) -> Option<(f64, f64)> {
    Some((candidate.throughput_tok_s?, candidate.p95_ttft_ms.unwrap_or(f64::INFINITY)))
}

/// Whether one candidate is at least as good as another in throughput and latency, and better in one.
fn dominates((throughput, ttft): (f64, f64), other: (f64, f64)) -> bool {
    throughput >= other.0 && ttft <= other.1 && (throughput > other.0 || ttft < other.1)
}

/// Sets what a search found that measures nothing more.
fn conclude(answer: &mut Answer, tried: &[Tried], combinations: usize) {
    let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    if answer.found.is_some() {
        answer.state = State::Found;
        if tried.len() < combinations {
            answer.reason = format!("{} of {} were tried", tried.len(), count(combinations, "combination"));
        }
    } else if tried.iter().all(Tried::is_invalid) {
        answer.state = State::CannotTell;
        let why = tried.last().and_then(|last| candidate(last).reason);
        answer.reason = why.map_or_else(String::new, |why| format!("no measurement is valid: {why}"));
    } else {
        answer.state = State::None;
        let closest = tried.iter().filter_map(|tried| tried.scored()?.1.slo.as_ref());
        let closest = closest.min_by(|a, b| a.log.total_cmp(&b.log)).filter(|ratio| ratio.log > 0.0);
        let closest = closest.map_or_else(String::new, |ratio| {
            format!("; the closest has {} at {:.2} times its limit", ratio.binding, ratio.log.exp())
        });
        let failed = tried.iter().rev().find_map(|tried| match tried.evidence {
            Evidence::Fails { binding, .. } => Some(binding.as_str()),
            _ => None,
        });
        let servers = count(tried.len(), "server");
        answer.reason = match failed.filter(|_| tried.iter().all(|tried| tried.scored().is_none())) {
            Some(binding) => format!("none of the {servers} tried works: {binding}"),
            None => format!("none of the {servers} tried meets the SLO{closest}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::search::Ratio;

    fn search(starts: u32) -> Search {
        let axis = |column: &str, values: Value| TuneAxis {
            axis: format!("server.flags.{column}"),
            column: column.to_owned(),
            values: values.as_array().unwrap().clone(),
        };
        let axes = vec![
            axis("max-num-seqs", json!([8, 16, 32, 64, 128, 256])),
            axis("gpu-memory-utilization", json!([0.5, 0.6, 0.7, 0.8, 0.9])),
            axis("kv-cache-dtype", json!(["auto", "fp8"])),
        ];
        Search {
            id: "tune".to_owned(),
            name: "tune".to_owned(),
            workload: None,
            server: None,
            axes: Default::default(),
            goal: Goal::Best { axes, objective: SearchObjective::Throughput, starts },
            expected: None,
        }
    }

    fn score(objective: f64, ttft: f64, log: f64) -> Evidence {
        Evidence::Scored(Score {
            objective: Some(objective),
            p95_ttft_ms: Some(ttft),
            throughput_tok_s: Some(objective),
            slo: Some(Ratio { log, error: 0.01, binding: "p95_ttft".to_owned() }),
        })
    }

    fn oom() -> Evidence {
        Evidence::Fails { binding: "oom at start (kv cache)".to_owned(), hint: None }
    }

    /// A server whose throughput peaks at 128 sequences, with 0.8 of the memory and an 8-bit cache. More than
    /// 64 sequences miss the SLO unless the cache has 8 bits; little memory does not suffice for many.
    fn law(values: &[Value]) -> Evidence {
        let (seqs, memory) = (values[0].as_f64().unwrap(), values[1].as_f64().unwrap());
        let small_cache = values[2] == "fp8";
        if seqs * 0.003 > memory || memory > 0.85 {
            return oom();
        }
        let throughput = 1000.0 - 60.0 * (seqs / 128.0).ln().powi(2) - 500.0 * (memory - 0.8).powi(2)
            + if small_cache { 50.0 } else { 0.0 };
        let limit = if small_cache { 200.0 } else { 70.0 };
        score(throughput, seqs, (seqs / limit).ln())
    }

    fn probe(values: Vec<Value>, evidence: Evidence) -> Probe {
        Probe {
            values,
            cells: vec![],
            evidence,
            requests: 10,
            planned: 10,
            server: String::new(),
            started: true,
            ended_early: false,
        }
    }

    fn run(search: &Search, seed: u64, server: impl Fn(&[Value]) -> Evidence) -> Answer {
        let mut probes: Vec<Probe> = Vec::new();
        loop {
            let Decision { answer, next } = decide(search, &probes, seed);
            let Some(next) = next else { return answer };
            assert_eq!(answer.state, State::Unfinished);
            let evidence = server(&next.values);
            probes.push(probe(next.values, evidence));
        }
    }

    /// The objective of what random search finds within as many starts.
    fn at_random(search: &Search, seed: u64, starts: usize) -> f64 {
        let Goal::Best { axes, .. } = &search.goal else { unreachable!() };
        let space = Space::new(axes);
        let mut random = ChaCha8Rng::seed_from_u64(1000 + seed);
        let mut left: Vec<usize> = (0..space.size()).collect();
        let tried = (0..starts).map(|_| left.swap_remove(below(&mut random, left.len())));
        tried.map(|number| reached(&law(&space.values(&space.numbered(number))))).fold(0.0, f64::max)
    }

    fn reached(evidence: &Evidence) -> f64 {
        match evidence {
            Evidence::Scored(score) if score.meets_slo() => score.objective.unwrap(),
            _ => 0.0,
        }
    }

    #[test]
    fn it_beats_random_search() {
        let search = search(12);
        let (mut own, mut random) = (0.0, 0.0);
        for seed in 0..10 {
            own += run(&search, seed, law).feasible.unwrap_or(0.0) / 10.0;
            random += at_random(&search, seed, 12) / 10.0;
        }
        assert!(own > 1045.0 && own > random + 10.0, "{own} against {random}, of 1050");
    }

    #[test]
    fn every_start_is_another_combination_and_the_same_seed_gives_the_same() {
        let answer = run(&search(24), 7, law);
        let order = |answer: &Answer| -> Vec<String> {
            answer.probes.iter().map(|probe| Value::from(probe.values.clone()).to_string()).collect()
        };
        assert_eq!(order(&answer).into_iter().collect::<BTreeSet<_>>().len(), 24);
        assert_eq!(order(&answer), order(&run(&search(24), 7, law)));
        assert_eq!((answer.starts, answer.state), (24, State::Found));
        assert_eq!(answer.reason, "24 of 60 combinations were tried");
    }

    #[test]
    fn a_budget_beyond_the_combinations_tries_them_all() {
        let answer = run(&search(1000), 1, law);
        assert_eq!((answer.starts, answer.reason.as_str()), (60, ""));
        assert_eq!(answer.found, Some(vec![json!(128), json!(0.8), json!("fp8")]));
        assert_eq!((answer.feasible, answer.binding.as_deref()), (Some(1050.0), Some("p95_ttft")));
    }

    #[test]
    fn candidates_are_ordered_and_the_front_comes_first() {
        let values = |seqs: u64| vec![json!(seqs), json!(0.5), json!("auto")];
        let probes = [
            probe(values(8), score(100.0, 50.0, -1.0)),
            probe(values(16), score(90.0, 60.0, -1.0)),
            probe(values(32), score(200.0, 80.0, -0.5)),
            probe(values(64), score(300.0, 200.0, 0.5)),
            probe(values(128), oom()),
        ];
        let answer = decide(&search(5), &probes, 1).answer;
        let order: Vec<(u64, bool, bool)> = answer
            .candidates
            .iter()
            .map(|own| (own.values[0].as_u64().unwrap(), own.is_pareto, own.meets_slo))
            .collect();
        let expected =
            [(64, true, false), (32, true, true), (8, true, true), (16, false, true), (128, false, false)];
        assert_eq!(order, expected);
        assert_eq!(answer.candidates[4].reason.as_deref(), Some("oom at start (kv cache)"));
        assert_eq!((answer.found, answer.feasible), (Some(values(32)), Some(200.0)));
    }

    #[test]
    fn an_invalid_candidate_is_measured_again_and_then_left() {
        let search = search(12);
        let first = decide(&search, &[], 3).next.unwrap();
        let invalid = || probe(first.values.clone(), Evidence::Invalid("client_late: behind".to_owned()));
        for attempts in 1..3 {
            let probes: Vec<Probe> = (0..attempts).map(|_| invalid()).collect();
            let next = decide(&search, &probes, 3).next.unwrap();
            assert_eq!((&next.values, next.attempt), (&first.values, attempts + 1));
        }
        let thrice = [invalid(), invalid(), invalid()];
        let next = decide(&search, &thrice, 3).next.unwrap();
        assert!(next.values != first.values && next.attempt == 1);
        let answer = run(&search, 3, |_| Evidence::Invalid("client_late: behind".to_owned()));
        assert_eq!((answer.state, answer.starts), (State::CannotTell, 12));
        assert_eq!(answer.reason, "no measurement is valid: client_late: behind");
    }

    #[test]
    fn it_says_why_no_server_is_good_enough() {
        let answer = run(&search(6), 3, |values| score(1.0, 1.0, values[0].as_f64().unwrap() / 10.0));
        assert_eq!((answer.state, answer.found), (State::None, None));
        let closest =
            "none of the 6 servers tried meets the SLO; the closest has p95_ttft at 2.23 times its limit";
        assert_eq!(answer.reason, closest);
        let answer = run(&search(6), 3, |_| oom());
        assert_eq!(answer.state, State::None);
        assert_eq!(answer.reason, "none of the 6 servers tried works: oom at start (kv cache)");
        // Without users there is no load within the SLO.
        let nobody = run(&search(6), 3, |_| score(0.0, 1.0, -1.0));
        assert_eq!(nobody.state, State::None);
    }

    #[test]
    fn goodput_counts_without_the_percentile() {
        let mut search = search(6);
        if let Goal::Best { objective, .. } = &mut search.goal {
            *objective = SearchObjective::Goodput;
        }
        let answer = run(&search, 3, |values| score(values[0].as_f64().unwrap(), 1.0, 0.4));
        assert_eq!((answer.state, answer.candidates[0].meets_slo), (State::Found, false));
        assert!(answer.feasible.is_some());
    }

    #[test]
    fn a_space_too_large_to_compare_is_sampled() {
        let mut search = search(8);
        if let Goal::Best { axes, .. } = &mut search.goal {
            let many = (1..=64).map(Value::from).collect::<Vec<_>>();
            axes.extend((0..12).map(|number| TuneAxis {
                axis: format!("server.flags.other-{number}"),
                column: format!("other-{number}"),
                values: many.clone(),
            }));
        }
        assert_eq!(run(&search, 1, law).starts, 8);
    }
}
