//! Decides searches for the largest or smallest value of a server axis that works.
//!
//! The values are `from + k·step`, up to the largest that is at most `to`. For `largest` the near end is `from`
//! and the far end the last value; for `smallest` it is the other way around. A server that works at a value
//! is taken to work at every value nearer to the near end. Each probe costs a server start, so:
//!
//! 1. Without a prediction the first probe is the far end. If it works, it is the answer.
//! 2. Where a failed start names the value that would fit (vLLM: "the estimated maximum model length is
//!    4096"), the next probes are that value and its neighbor: three starts in all, and four if the hint is one
//!    step too low or two too high. Three probes may follow hints, so hints that are wrong cost at most three
//!    more starts than none.
//! 3. Otherwise the bracket is halved, which takes [`most_starts`] starts. No rule that tries the far end first
//!    takes fewer in the worst case.
//! 4. With a prediction, the first probe is the predicted answer and the second the end of its interval, on
//!    the side where the answer must be. From there the rules above go on, so a wrong prediction costs at
//!    most two more starts.
//!
//! Invalid probes are measured again. The unit tests check these bounds for every possible limit.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    answer::{Answer, Decision, State},
    probe::{Evidence, Next, Probe},
};
use crate::{
    manifest::Find,
    plan::{Expected, Goal, Search},
};

/// How often a value is measured at most while its probes are invalid.
const MOST_ATTEMPTS: u32 = 3;
/// The number of probes at or beyond hints after which hints are ignored.
const MOST_BY_HINTS: usize = 3;
/// How far from a hint a probe still counts as a correction of it, in steps.
const NEAR_HINT: i64 = 2;

/// Decides a search whose goal is [`Goal::Value`] from its probes so far.
pub(super) fn decide(search: &Search, probes: &[Probe]) -> Decision {
    let mut answer = Answer::unfinished(search, probes);
    let Some(grid) = Grid::new(&search.goal) else {
        return Decision { answer, next: None };
    };
    let seen = Seen::new(&grid, probes);
    let (works, fails) = (seen.works.last().copied(), seen.fails.first_key_value());
    answer.feasible = works.map(|position| grid.number(position));
    answer.infeasible = fails.map(|(position, _)| grid.number(*position));
    answer.binding = fails.map(|(_, failure)| failure.binding.to_owned());
    if let (Some(works), Some((fails, failure))) = (works, fails)
        && *fails < works
    {
        answer.state = State::CannotTell;
        answer.monotone = Some(false);
        let (works, fails) = (grid.value(works), grid.value(*fails));
        answer.reason = format!("{works} works, but {fails} does not ({})", failure.binding);
        return Decision { answer, next: None };
    }
    answer.found = works.map(|position| vec![grid.value(position)]);
    let bracket = Bracket {
        works: works.unwrap_or(-1),
        fails: fails.map_or(grid.last + 1, |(position, _)| *position),
        last: grid.last,
    };
    if let Some(state) = bracket.state() {
        answer.state = state;
        return Decision { answer, next: None };
    }
    let target = seen
        .hinted(&bracket)
        .or_else(|| bracket.expected(&grid, search.expected?))
        .unwrap_or_else(|| bracket.middle());
    let value = grid.value(target);
    let (attempts, why) = seen.invalid.get(&target).copied().unwrap_or_default();
    if attempts >= MOST_ATTEMPTS {
        answer.state = State::CannotTell;
        answer.reason = format!("{value} was measured {attempts} times, and no measurement is valid: {why}");
        return Decision { answer, next: None };
    }
    Decision { answer, next: Some(Next { values: vec![value], attempt: attempts + 1 }) }
}

/// The most starts that a search takes whose goal is [`Goal::Value`], where the engine gives no hints and every
/// probe is valid: ⌈log₂(number of values)⌉ + 1, and two more with a prediction, which may be wrong. `None`
/// for other goals.
pub fn most_starts(search: &Search) -> Option<u32> {
    let values = Grid::new(&search.goal)?.last.unsigned_abs() + 1;
    let prediction = if search.expected.is_some() { 2 } else { 0 };
    Some(values.next_power_of_two().ilog2() + 1 + prediction)
}

/// The values of a search in integers, so that decimal values stay exact. A position counts steps from the
/// near end.
struct Grid {
    /// The first value, times `scale`.
    from: i64,
    /// The distance between two values, times `scale`.
    step: i64,
    /// The power of ten that makes `from`, `step` and `to` integers.
    scale: f64,
    /// The position of the far end.
    last: i64,
    integer: bool,
    find: Find,
    /// Whether the engine's hints are values of the axis.
    hints: bool,
}

impl Grid {
    /// The grid of a search for a value; `None` for other goals.
    fn new(goal: &Goal) -> Option<Self> {
        let Goal::Value { axis, find, from, to, step, integer, .. } = goal else { return None };
        let (from, to, step) = (*from, *to, *step);
        let decimals = [from, to, step].into_iter().map(decimals).max()?;
        let scale = 10_f64.powi(decimals);
        let scaled = |number: f64| (number * scale).round() as i64;
        let (from, to, step) = (scaled(from), scaled(to), scaled(step).max(1));
        let last = (to.saturating_sub(from) / step).max(0);
        // The engine's hint is a length of context, whatever the axis.
        let hints = axis.ends_with("max-model-len") || axis.ends_with("max_model_len");
        Some(Self { from, step, scale, last, integer: *integer, find: *find, hints })
    }

    /// The number at a position. The division of two integers gives the double that the decimal number has.
    fn number(&self, position: i64) -> f64 {
        let steps = match self.find {
            Find::Largest => position,
            Find::Smallest => self.last - position,
        };
        (self.from + steps * self.step) as f64 / self.scale
    }

    /// The value at a position, as it enters the manifest.
    fn value(&self, position: i64) -> Value {
        let number = self.number(position);
        if self.integer { Value::from(number.round() as i64) } else { Value::from(number) }
    }

    /// The position of a number, with its fraction.
    fn place(&self, number: f64) -> f64 {
        let steps = (number * self.scale - self.from as f64) / self.step as f64;
        match self.find {
            Find::Largest => steps,
            Find::Smallest => self.last as f64 - steps,
        }
    }

    /// The position of the last value up to a number, seen from the near end: −1 where the number lies
    /// before the near end. The tolerance covers rounding in `place`.
    fn up_to(&self, number: f64) -> i64 {
        ((self.place(number) + 1e-6).floor() as i64).clamp(-1, self.last)
    }

    /// The position of a probe's value; `None` if it is not on the grid.
    fn position(&self, probe: &Probe) -> Option<i64> {
        let place = self.place(probe.values.first()?.as_f64()?);
        let position = place.round() as i64;
        ((place - place.round()).abs() < 1e-6 && (0..=self.last).contains(&position)).then_some(position)
    }
}

/// The digits after the decimal point, at most nine.
fn decimals(number: f64) -> i32 {
    let text = number.to_string();
    text.split_once('.').map_or(0, |(_, digits)| digits.len().min(9) as i32)
}

/// A value that does not work.
#[derive(Clone, Copy)]
struct Failure<'a> {
    binding: &'a str,
    /// The position that would work, as the engine says.
    hint: Option<i64>,
}

/// What the probes say about each position. The last valid probe of a position counts.
#[derive(Default)]
struct Seen<'a> {
    works: BTreeSet<i64>,
    fails: BTreeMap<i64, Failure<'a>>,
    /// The number of invalid probes, and why the last one is.
    invalid: BTreeMap<i64, (u32, &'a str)>,
}

impl<'a> Seen<'a> {
    fn new(grid: &Grid, probes: &'a [Probe]) -> Self {
        let mut seen = Self::default();
        for probe in probes {
            let Some(position) = grid.position(probe) else { continue };
            let (binding, hint) = match &probe.evidence {
                Evidence::Invalid(why) => {
                    let (attempts, reason) = seen.invalid.entry(position).or_default();
                    (*attempts, *reason) = (*attempts + 1, why);
                    continue;
                }
                Evidence::Works => (None, None),
                Evidence::Measured(ratio) => ((ratio.log > 0.0).then_some(&ratio.binding), None),
                Evidence::Scored(score) => {
                    (score.slo.as_ref().filter(|_| !score.meets_slo()).map(|ratio| &ratio.binding), None)
                }
                Evidence::Fails { binding, hint } => (Some(binding), *hint),
            };
            seen.works.remove(&position);
            seen.fails.remove(&position);
            if let Some(binding) = binding {
                // A hint beyond the value that just failed says nothing.
                let hint = hint.filter(|hint| grid.hints && hint.is_finite()).map(|hint| grid.up_to(hint));
                seen.fails.insert(position, Failure { binding, hint: hint.filter(|hint| *hint <= position) });
            } else {
                seen.works.insert(position);
            }
        }
        seen
    }

    /// The next position by the engine's hints: the hint of the nearest failure, or else its neighbor towards
    /// the limit.
    fn hinted(&self, bracket: &Bracket) -> Option<i64> {
        let hints = || self.fails.values().filter_map(|failure| failure.hint);
        let nearest = hints().next()?;
        let (least, most) = (hints().min()?, hints().max()?);
        let used = self.works.iter().filter(|works| **works >= least).count()
            + self.fails.keys().filter(|fails| **fails <= most).count();
        let target = nearest.clamp(bracket.works + 1, bracket.fails - 1);
        (used < MOST_BY_HINTS && (target - nearest).abs() <= NEAR_HINT).then_some(target)
    }
}

/// Between which positions the answer lies.
struct Bracket {
    /// The farthest position that works, or −1.
    works: i64,
    /// The nearest position that fails, or one beyond the far end.
    fails: i64,
    /// The far end.
    last: i64,
}

impl Bracket {
    /// How the search ended; `None` while it goes on.
    fn state(&self) -> Option<State> {
        match (self.works, self.fails) {
            (works, _) if works == self.last => Some(State::All),
            (_, 0) => Some(State::None),
            (works, fails) if fails - works == 1 => Some(State::Found),
            _ => None,
        }
    }

    /// The next position by the prediction: the predicted answer, then the end of its interval. `None` after
    /// these two.
    fn expected(&self, grid: &Grid, expected: Expected) -> Option<i64> {
        let ends = [grid.up_to(expected.low), grid.up_to(expected.high)];
        let value = grid.up_to(expected.value).max(0);
        let nothing_works = self.works == -1;
        let nothing_fails = self.fails == self.last + 1;
        if nothing_works && nothing_fails {
            Some(value)
        } else if nothing_fails && self.works == value {
            Some((ends[0].max(ends[1]) + 1).clamp(value + 1, self.last))
        } else if nothing_works && self.fails == value {
            Some(ends[0].min(ends[1]).clamp(0, value - 1))
        } else {
            None
        }
    }

    /// The far end while nothing fails; otherwise the position with as many answers on either side.
    fn middle(&self) -> i64 {
        if self.fails > self.last { self.last } else { self.works + (self.fails - self.works) / 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::That;

    /// A server that works up to a position, and what its log says about the limit.
    type Server<'a> = &'a dyn Fn(i64) -> Evidence;

    fn search(from: f64, to: f64, step: f64, integer: bool, find: Find) -> Search {
        Search {
            id: "context".to_owned(),
            name: "context".to_owned(),
            workload: None,
            server: None,
            axes: BTreeMap::new(),
            goal: Goal::Value {
                axis: "server.flags.max-model-len".to_owned(),
                column: "max-model-len".to_owned(),
                find,
                that: That::Fits,
                from,
                to,
                step,
                integer,
            },
            expected: None,
        }
    }

    const SIZES: [i64; 14] = [1, 2, 3, 4, 5, 8, 9, 16, 17, 40, 64, 65, 128, 129];

    fn of_size(values: i64, find: Find) -> Search {
        search(1024.0, 1024.0 * values as f64 + 300.0, 1024.0, true, find)
    }

    fn probe(value: Value, evidence: Evidence) -> Probe {
        Probe {
            values: vec![value],
            cells: vec![],
            evidence,
            requests: 0,
            planned: 0,
            server: String::new(),
            started: true,
            ended_early: false,
        }
    }

    fn fails(hint: Option<f64>) -> Evidence {
        Evidence::Fails { binding: "oom at start (weights)".to_owned(), hint }
    }

    /// Runs a search to its end and returns the answer.
    fn run(search: &Search, server: Server) -> Answer {
        let grid = Grid::new(&search.goal).unwrap();
        let mut probes: Vec<Probe> = Vec::new();
        loop {
            let Decision { answer, next } = decide(search, &probes);
            let Some(next) = next else { return answer };
            assert_eq!(answer.state, State::Unfinished);
            let measured = probe(next.values[0].clone(), Evidence::Works);
            let position = grid.position(&measured).expect("probes are on the grid");
            probes.push(Probe { evidence: server(position), ..measured });
            assert!(probes.len() < 100, "the search does not end");
        }
    }

    /// Checks that the answer is the limit, and returns the starts it took.
    fn starts(search: &Search, limit: i64, hint: &dyn Fn(i64) -> Option<i64>) -> u32 {
        let grid = Grid::new(&search.goal).unwrap();
        let answer = run(search, &|position| match position <= limit {
            true => Evidence::Works,
            false => fails(hint(position).map(|hint| grid.number(hint))),
        });
        let state = match limit {
            -1 => State::None,
            limit if limit == grid.last => State::All,
            _ => State::Found,
        };
        assert_eq!(answer.state, state, "limit {limit}: {answer:?}");
        assert_eq!(answer.found, (limit >= 0).then(|| vec![grid.value(limit)]));
        assert_eq!(answer.feasible, (limit >= 0).then(|| grid.number(limit)));
        assert_eq!(answer.infeasible, (limit < grid.last).then(|| grid.number(limit + 1)));
        assert_eq!(answer.binding.is_some(), limit < grid.last);
        answer.starts
    }

    /// Grids of several sizes, from both ends, with every limit.
    fn every_limit(sizes: &[i64], mut check: impl FnMut(&Search, i64, i64)) {
        for &values in sizes {
            for find in [Find::Largest, Find::Smallest] {
                let search = of_size(values, find);
                (-1..values).for_each(|limit| check(&search, values, limit));
            }
        }
    }

    #[test]
    fn without_hints_it_takes_the_logarithm_and_one() {
        let mut most = BTreeMap::new();
        every_limit(&SIZES, |search, values, limit| {
            let most = most.entry(values).or_insert(0);
            *most = starts(search, limit, &|_| None).max(*most);
        });
        for (values, most) in &most {
            assert_eq!(Some(*most), most_starts(&of_size(*values, Find::Largest)), "{values} values");
        }
        assert_eq!((most[&1], most[&2], most[&64], most[&65], most[&128]), (1, 2, 7, 8, 8));
    }

    #[test]
    fn a_hint_close_to_the_limit_takes_at_most_four_starts() {
        every_limit(&SIZES, |search, _, limit| {
            assert!(starts(search, limit, &|_| Some(limit)) <= 3);
            for off in [-1, 1, 2] {
                let taken = starts(search, limit, &|_| Some(limit + off));
                assert!(taken <= 4, "limit {limit}, hint off by {off}: {taken} starts");
            }
            // The first hint is too high, and the one of the second failure is right.
            let far = Grid::new(&search.goal).unwrap().last;
            let better = |position| Some(if position == far { limit + 5 } else { limit });
            assert!(limit + 5 >= far || starts(search, limit, &better) <= 4);
        });
    }

    #[test]
    fn hints_that_lie_cost_three_more_starts_at_most() {
        every_limit(&SIZES[..11], |search, values, limit| {
            let most = most_starts(search).unwrap();
            let lies: [&dyn Fn(i64) -> Option<i64>; 7] = [
                &|position| Some(position - 1),
                &|position| Some(position),
                &|_| Some(-5),
                &|_| Some(i64::from(i32::MAX)),
                &|_| Some(values / 2),
                &|_| Some(values / 3),
                &|position| Some(position * 7 % values),
            ];
            for (number, lie) in lies.iter().enumerate() {
                let taken = starts(search, limit, lie);
                assert!(taken <= most + 3, "limit {limit} of {values}, lie {number}: {taken} starts");
            }
            for hint in -1..values {
                assert!(starts(search, limit, &|_| Some(hint)) <= most + 3);
            }
        });
    }

    #[test]
    fn a_wrong_prediction_costs_two_more_starts_at_most() {
        every_limit(&[1, 2, 3, 5, 8, 9, 21, 32], |search, values, limit| {
            let cold = most_starts(search).unwrap();
            let grid = Grid::new(&search.goal).unwrap();
            for predicted in -2..=values {
                for width in [0, 2, values / 4] {
                    let [value, low, high] =
                        [0, -width, width].map(|off| grid.number(predicted) + off as f64 * 1024.0);
                    let search = Search { expected: Some(Expected { value, low, high }), ..search.clone() };
                    let taken = starts(&search, limit, &|_| None);
                    assert!(taken <= cold + 2 && Some(cold + 2) == most_starts(&search));
                    assert!(starts(&search, limit, &|_| Some(limit)) <= 5);
                    for off in [-1, 1] {
                        let taken = starts(&search, limit, &|_| Some(limit + off));
                        assert!(
                            taken <= 6,
                            "limit {limit} of {values}, predicted {predicted} ± {width}, hint off by {off}: {taken}"
                        );
                    }
                    if predicted == limit && width == 0 {
                        assert!(taken <= 2, "limit {limit} of {values}: {taken} starts");
                    }
                    if (predicted - limit).abs() <= width {
                        let halvings = (width + 1).unsigned_abs().next_power_of_two().ilog2();
                        assert!(taken <= 2 + halvings, "limit {limit} of {values}: {taken} starts");
                    }
                }
            }
        });
    }

    #[test]
    fn decimal_values_are_exact() {
        let search = search(0.85, 0.958, 0.01, false, Find::Largest);
        let grid = Grid::new(&search.goal).unwrap();
        let values: Vec<String> = (0..=grid.last).map(|position| grid.value(position).to_string()).collect();
        assert_eq!(values.join(" "), "0.85 0.86 0.87 0.88 0.89 0.9 0.91 0.92 0.93 0.94 0.95");
        for position in 0..=grid.last {
            assert_eq!(grid.position(&probe(grid.value(position), Evidence::Works)), Some(position));
            assert_eq!(grid.up_to(grid.number(position)), position);
            assert!(starts(&search, position, &|_| None) <= 5);
        }
    }

    #[test]
    fn the_last_value_is_the_largest_on_the_grid() {
        let grid = |find| Grid::new(&search(2048.0, 131_000.0, 1024.0, true, find).goal).unwrap();
        let (up, down) = (grid(Find::Largest), grid(Find::Smallest));
        assert_eq!((up.value(0), up.value(up.last)), (2048.into(), 130_048.into()));
        assert_eq!((down.value(0), down.value(down.last)), (130_048.into(), 2048.into()));
        // The hint of a search for the smallest value is rounded up to the grid.
        assert_eq!((up.up_to(5000.0), up.value(up.up_to(5000.0))), (2, 4096.into()));
        assert_eq!(down.value(down.up_to(5000.0)), 5120);
    }

    #[test]
    fn an_engine_that_names_the_limit_is_asked_for_it_second() {
        let search = search(2048.0, 131_072.0, 1024.0, true, Find::Largest);
        let answer = run(&search, &|position| match position {
            0..=48 => Evidence::Works,
            _ => fails(Some(51_984.0)),
        });
        let order: Vec<Value> = answer.probes.iter().map(|probe| probe.values[0].clone()).collect();
        assert_eq!(order, [131_072, 51_200, 52_224]);
        assert_eq!((answer.feasible, answer.infeasible), (Some(51_200.0), Some(52_224.0)));
        assert_eq!(answer.binding.as_deref(), Some("oom at start (weights)"));
    }

    #[test]
    fn a_length_of_context_is_no_hint_for_another_axis() {
        let mut search = search(1.0, 1024.0, 1.0, true, Find::Largest);
        if let Goal::Value { axis, .. } = &mut search.goal {
            *axis = "server.flags.max-num-seqs".to_owned();
        }
        let far = probe(1024.into(), fails(Some(10.0)));
        assert_eq!(decide(&search, &[far]).next.unwrap().values, [512]);
    }

    #[test]
    fn the_binding_is_that_of_the_end_that_fails() {
        let answer = run(&of_size(64, Find::Largest), &|position| match position {
            0..=20 => Evidence::Works,
            21..=40 => Evidence::Fails { binding: "oom under load".to_owned(), hint: None },
            _ => fails(Some(1024.0 * 41.0)),
        });
        assert_eq!(answer.binding.as_deref(), Some("oom under load"));
        assert_eq!(answer.found, Some(vec![Value::from(21 * 1024)]));
    }

    #[test]
    fn invalid_probes_are_measured_again_and_bound_nothing() {
        let search = of_size(8, Find::Largest);
        let far = Value::from(8192);
        let crash = || probe(far.clone(), Evidence::Invalid("crashed: no such file".to_owned()));
        for attempts in 0..3 {
            let probes: Vec<Probe> = (0..attempts).map(|_| crash()).collect();
            let Decision { answer, next } = decide(&search, &probes);
            assert_eq!(next, Some(Next { values: vec![far.clone()], attempt: attempts + 1 }));
            assert_eq!((answer.feasible, answer.infeasible), (None, None));
        }
        let Decision { answer, next } = decide(&search, &[crash(), crash(), crash()]);
        assert_eq!((answer.state, next), (State::CannotTell, None));
        assert!(answer.reason.contains("8192 was measured 3 times"), "{}", answer.reason);
        assert!(answer.reason.contains("no such file"), "{}", answer.reason);
        let then_valid = [crash(), probe(far.clone(), Evidence::Works)];
        assert_eq!(decide(&search, &then_valid).answer.state, State::All);
    }

    #[test]
    fn a_larger_value_that_works_contradicts_a_smaller_that_does_not() {
        let probes = [probe(4096.into(), fails(None)), probe(8192.into(), Evidence::Works)];
        let Decision { answer, next } = decide(&of_size(16, Find::Largest), &probes);
        assert_eq!((answer.state, answer.monotone, next), (State::CannotTell, Some(false), None));
        assert_eq!(answer.reason, "8192 works, but 4096 does not (oom at start (weights))");
        assert_eq!(answer.found, None);
        // From the other end, the same probes are in order.
        let mirrored = decide(&of_size(16, Find::Smallest), &probes);
        assert_eq!(mirrored.answer.state, State::Unfinished);
    }

    #[test]
    fn a_target_that_is_met_or_missed_decides_a_value() {
        let measured = |log| {
            let ratio = super::super::ratio::Ratio { log, error: 0.1, binding: "p95_ttft".to_owned() };
            Evidence::Measured(ratio)
        };
        let answer = run(&of_size(16, Find::Largest), &|position| measured(position as f64 - 4.5));
        assert_eq!(answer.found, Some(vec![Value::from(5 * 1024)]));
        assert_eq!(answer.binding.as_deref(), Some("p95_ttft"));
    }
}
