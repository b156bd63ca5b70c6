//! The most load within the SLO: turns probes into measured loads, and the [bracket](super::bracket) into an
//! answer.

use serde_json::Value;

use super::{
    answer::{Answer, Decision, State},
    bracket::{self, Bracket, Measured, Range},
    probe::{Evidence, Next, Probe},
};
use crate::{
    manifest::LoadAxis,
    plan::{Goal, Search},
};

/// How often a value is measured whose probes are invalid.
const MOST_ATTEMPTS: usize = 3;
/// The smallest rate that is tried, as a fraction of the largest, where a range begins at 0.
const SMALLEST_RATE: f64 = 1e-3;
/// ln(measured / limit) of a load at which the server failed, and its error: far beyond, by an unknown amount.
const FAILS: (f64, f64) = (2.0, 0.5);

/// The question of a load search; `None` for another.
fn range(search: &Search) -> Option<Range> {
    let Goal::Load { axis, from, to, within, confidence } = search.goal else { return None };
    let integer = axis == LoadAxis::Concurrency;
    Some(Range {
        // A load is above zero.
        from: if integer { from.ceil().max(1.0) } else { from.max(to * SMALLEST_RATE) },
        to: if integer { to.floor() } else { to },
        within,
        confidence,
        integer,
        predicted: search.expected.map(|expected| (expected.low, expected.high)),
    })
}

/// The most valid probes of a load search: as many as bisection without noise needs, ⌈log2(ln(to / from) / ln(1
/// + within))⌉, and at least eight. Two more where a prediction turns out to be wrong. 0 for another search.
pub fn most_probes(search: &Search) -> u32 {
    range(search).map_or(0, |range| range.most_probes())
}

/// Decides from the probes of a search for the most load, in the order they were measured, what to measure next,
/// or what the answer is. Pure: the same probes give the same decision.
///
/// - `found`: the ends are within the width asked for, and the limit lies between them with the confidence
///   asked for, noise between probes included.
/// - `all`, `none`: the end of the range itself was measured.
/// - `wide`: not so after the most probes ([`most_probes`]), or noise rules it out before; or latency does not
///   rise with the load: the ends then span every crossing that was seen.
/// - `cannot_tell`: the probes of one value were invalid three times.
pub fn decide(search: &Search, probes: &[Probe]) -> Decision {
    let mut answer = Answer::unfinished(search, probes);
    let Some(range) = range(search) else {
        return Decision { answer, next: None };
    };
    let bracket = bracket::decide(&range, &measured(probes));
    fill(&mut answer, &bracket, &range);
    let next = |load: f64| {
        let attempt = 1 + probes.iter().filter(|probe| load_of(probe) == Some(load)).count() as u32;
        let value = if range.integer { Value::from(load as u64) } else { Value::from(load) };
        Some(Next { values: vec![value], attempt })
    };
    // An invalid probe is measured again before anything else.
    let last = probes.last().and_then(|probe| match &probe.evidence {
        Evidence::Invalid(reason) => Some((load_of(probe)?, reason)),
        _ => None,
    });
    if let Some((load, reason)) = last {
        let is_invalid =
            |probe: &&Probe| load_of(probe) == Some(load) && matches!(probe.evidence, Evidence::Invalid(_));
        if probes.iter().filter(is_invalid).count() < MOST_ATTEMPTS {
            answer.state = State::Unfinished;
            return Decision { next: next(load), answer };
        }
        answer.state = State::CannotTell;
        answer.found = None;
        let axis = if range.integer { LoadAxis::Concurrency } else { LoadAxis::Rate };
        answer.reason = format!("{} {load} was invalid {MOST_ATTEMPTS} times: {reason}", axis.key());
        return Decision { next: None, answer };
    }
    Decision { next: bracket.next.and_then(next), answer }
}

/// The valid probes.
fn measured(probes: &[Probe]) -> Vec<Measured> {
    let measured = |probe: &Probe| {
        let (log, error) = match &probe.evidence {
            Evidence::Measured(ratio) => (ratio.log, ratio.error),
            Evidence::Fails { .. } => FAILS,
            Evidence::Works => (-FAILS.0, FAILS.1),
            Evidence::Scored(_) | Evidence::Invalid(_) => return None,
        };
        Some(Measured { load: load_of(probe)?, log, error })
    };
    probes.iter().filter_map(measured).collect()
}

fn load_of(probe: &Probe) -> Option<f64> {
    probe.values.first()?.as_f64()
}

/// Writes the bracket into the answer.
fn fill(answer: &mut Answer, bracket: &Bracket, range: &Range) {
    answer.state = bracket.state;
    answer.feasible = bracket.feasible;
    answer.infeasible = bracket.infeasible;
    answer.ending = bracket.ending;
    answer.monotone = bracket.monotone;
    answer.binding = binding(&answer.probes, bracket);
    if bracket.state == State::Unfinished {
        return;
    }
    let value = |load: f64| if range.integer { Value::from(load as u64) } else { Value::from(load) };
    answer.found = bracket.feasible.map(|load| vec![value(load)]);
    if bracket.state != State::Wide {
        return;
    }
    answer.reason = match bracket.contradiction {
        Some((beyond, within)) => {
            format!("not monotone: {beyond} is beyond the SLO, and the higher {within} is within it")
        }
        None => {
            let probes = answer.probes.iter().filter(|probe| !matches!(probe.evidence, Evidence::Invalid(_)));
            let within = range.within * 100.0;
            format!("{} probes did not bring the ends within {within} %", probes.count())
        }
    };
}

/// What limits the load: the term of the lowest probe beyond the limit, or without one that of the highest
/// probe.
fn binding(probes: &[Probe], bracket: &Bracket) -> Option<String> {
    let end = bracket.infeasible.or(bracket.feasible)?;
    let own = probes.iter().rev().filter(|probe| load_of(probe) == Some(end));
    own.filter_map(|probe| match &probe.evidence {
        Evidence::Measured(ratio) => Some(ratio.binding.clone()),
        Evidence::Fails { binding, .. } => Some(binding.clone()),
        _ => None,
    })
    .next()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::search::ratio::Ratio;

    fn search(axis: &str, from: f64, to: f64, expected: Option<[f64; 3]>) -> Search {
        let expected = expected.map(|[value, low, high]| json!({ "value": value, "low": low, "high": high }));
        let goal =
            json!({ "load": { "axis": axis, "from": from, "to": to, "within": 0.05, "confidence": 0.95 } });
        serde_json::from_value(json!({ "id": "chat", "name": "chat", "goal": goal, "expected": expected }))
            .unwrap()
    }

    fn probe(value: Value, evidence: Evidence) -> Probe {
        Probe {
            values: vec![value],
            cells: vec![],
            evidence,
            requests: 100,
            planned: 1000,
            server: String::new(),
            started: false,
            ended_early: false,
        }
    }

    fn ratio(log: f64) -> Evidence {
        Evidence::Measured(Ratio { log, error: 0.01, binding: "p95_ttft".into() })
    }

    /// Searches a law, which is a function from the load to ln(measured / limit).
    fn answer(search: &Search, law: impl Fn(f64) -> f64) -> Answer {
        let mut probes = Vec::new();
        loop {
            let decision = decide(search, &probes);
            assert_eq!(decision, decide(search, &probes), "the same probes, the same decision");
            let Some(next) = decision.next else { return decision.answer };
            assert!(probes.len() < 20);
            let load = next.values[0].as_f64().unwrap();
            probes.push(probe(next.values[0].clone(), ratio(law(load))));
        }
    }

    #[test]
    fn a_cliff_is_found_between_two_neighbours() {
        for limit in [3.0, 37.0, 110.0, 640.0] {
            let answer =
                answer(
                    &search("concurrency", 1.0, 1000.0, None),
                    |load| if load <= limit { -0.7 } else { 0.9 },
                );
            assert_eq!(answer.state, State::Found, "{answer:?}");
            let (low, high) = (answer.feasible.unwrap(), answer.infeasible.unwrap());
            assert!(
                low <= limit && limit < high && (high <= low * 1.05 || high == low + 1.0),
                "{low} {limit} {high}"
            );
            assert_eq!(answer.found, Some(vec![json!(low as u64)]));
            assert_eq!(answer.ending, Some(crate::search::answer::Ending::Cliff));
            assert_eq!(answer.binding.as_deref(), Some("p95_ttft"));
            assert!(answer.probes.len() <= 8);
        }
    }

    #[test]
    fn the_ends_of_the_range_are_answers_once_they_are_measured() {
        let range = search("concurrency", 1.0, 1000.0, None);
        let none = answer(&range, |load| 0.8 + load.ln());
        assert_eq!((none.state, none.infeasible, none.found), (State::None, Some(1.0), None));
        let all = answer(&range, |load| -6.0 + 0.5 * load.ln());
        assert_eq!((all.state, all.feasible, all.found), (State::All, Some(1000.0), Some(vec![json!(1000)])));
    }

    #[test]
    fn a_rate_is_not_rounded_to_an_integer() {
        let answer = answer(&search("rate", 0.1, 10.0, None), |rate| if rate <= 2.34 { -0.7 } else { 1.2 });
        let (low, high) = (answer.feasible.unwrap(), answer.infeasible.unwrap());
        assert!(low <= 2.34 && 2.34 < high && high <= low * 1.05 + 1e-9, "{low} {high}");
    }

    #[test]
    fn a_good_prediction_saves_probes_and_a_wrong_one_costs_two() {
        let law = |load: f64| if load <= 200.0 { -0.5 } else { 0.8 };
        let probes = |expected| {
            let answer = answer(&search("concurrency", 1.0, 1000.0, expected), law);
            assert_eq!(answer.state, State::Found, "{answer:?}");
            answer.probes.len()
        };
        let cold = probes(None);
        assert!(probes(Some([195.0, 150.0, 250.0])) <= 5);
        assert!(probes(Some([20.0, 15.0, 25.0])) <= cold + 2);
    }

    /// Standard normal from two numbers, by the Box-Muller transform.
    fn normal(seed: u64, number: u64) -> f64 {
        let uniform = |stream: u64| {
            let mut bits = (seed << 32 | number << 8 | stream).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64 + 1e-17
        };
        (-2.0 * uniform(1).ln()).sqrt() * (std::f64::consts::TAU * uniform(2)).cos()
    }

    #[test]
    fn the_limit_lies_between_the_ends_whatever_the_noise() {
        // Of a law of power 2 with 15 % of noise between probes; `cargo bench --bench search` has many more.
        let search = search("concurrency", 1.0, 1000.0, None);
        let seeds = 24;
        let covered = (0..seeds).filter(|seed| {
            let limit = (3f64.ln() + 300f64.ln() * *seed as f64 / seeds as f64).exp();
            let number = std::cell::Cell::new(0);
            let answer = answer(&search, |load| {
                number.set(number.get() + 1);
                2.0 * (load / limit).ln() + 0.15 * normal(*seed, number.get())
            });
            assert_ne!(answer.state, State::Unfinished);
            assert!(answer.probes.len() <= 8);
            answer.feasible.is_none_or(|low| low <= limit)
                && answer.infeasible.is_none_or(|high| limit <= high)
        });
        assert!(covered.count() >= 22);
    }

    #[test]
    fn an_invalid_probe_is_measured_again_and_never_a_bound() {
        let search = search("concurrency", 1.0, 1000.0, None);
        let first = decide(&search, &[]).next.unwrap();
        let invalid = || probe(first.values[0].clone(), Evidence::Invalid("client_late".into()));
        let mut probes = vec![invalid()];
        for attempt in 2..=3 {
            let decision = decide(&search, &probes);
            assert_eq!(decision.answer.state, State::Unfinished);
            assert_eq!(decision.next, Some(Next { values: first.values.clone(), attempt }));
            probes.push(invalid());
        }
        let decision = decide(&search, &probes);
        assert_eq!((decision.answer.state, decision.next), (State::CannotTell, None));
        assert!(decision.answer.reason.contains("client_late"));
        assert_eq!((decision.answer.feasible, decision.answer.infeasible), (None, None));
    }

    #[test]
    fn a_server_that_fails_under_load_is_beyond_the_limit() {
        let search = search("concurrency", 1.0, 1000.0, None);
        let fails = Evidence::Fails { binding: "oom under load".into(), hint: None };
        let first = decide(&search, &[]).next.unwrap();
        let decision = decide(&search, &[probe(first.values[0].clone(), fails)]);
        assert_eq!(decision.answer.infeasible, first.values[0].as_f64());
        assert_eq!(decision.answer.binding.as_deref(), Some("oom under load"));
        assert!(decision.next.unwrap().values[0].as_f64() < first.values[0].as_f64());
    }

    #[test]
    fn a_law_that_is_not_monotone_is_measured_again_and_reported() {
        let law = |load: f64| match load {
            load if load <= 20.0 => -0.8,
            load if load <= 60.0 => 0.9,
            load if load <= 400.0 => -0.7,
            _ => 0.9,
        };
        let answer = answer(&search("concurrency", 1.0, 1000.0, Some([300.0, 100.0, 500.0])), law);
        if answer.monotone == Some(false) {
            assert_eq!(answer.state, State::Wide);
            assert!(answer.reason.contains("not monotone"));
        }
        assert!(answer.feasible.is_none_or(|low| law(low) < 0.0));
        assert!(answer.infeasible.is_none_or(|high| law(high) > 0.0));
    }
}
