//! What longer prompts and longer answers cost.

use super::{Facts, Finding, Kind, Rule, Unit, both, place_of_line};
use crate::{
    manifest::LatencyKind,
    measure::{Metric, Rate},
    plan::Quantity,
    report::{
        metrics::{middle, pace},
        model::{Block, Cell, Line, Model, Streaming},
        statistics::largest,
    },
};

pub(super) const RULES: &[Rule] = &[
    Rule::Block(prompt_length),
    Rule::Block(output_length),
    Rule::Block(output_costs),
    Rule::Block(held_up),
];

/// The smallest growth that is reported.
const GROWS: f64 = 1.1;
/// A growth within this part of that of the length is in proportion to it.
const PROPORTION: f64 = 0.1;
/// Throughput below this part of the best of its line is reported.
const LESS: f64 = 0.9;
/// TTFT that grows by this factor with the length of answers is time spent waiting.
const WAITS: f64 = 2.0;
/// The largest growth of the time per token that still counts as constant.
const KEPT: f64 = 1.5;
/// Names of the evidence on a latency, and on the time per token, at both ends of a line.
const LATENCY: [&str; 4] = ["metric", "from", "to", "ratio"];
const PACE: [&str; 4] = ["pace", "pace_from", "pace_to", "pace_ratio"];

/// Both ends of a line along a length.
struct Ends<'m, 'a> {
    line: &'m Line,
    first: &'m Cell<'a>,
    last: &'m Cell<'a>,
    /// The configured lengths, tokens.
    configured: (f64, f64),
    /// The mean lengths as counted, tokens; `None` if they were not counted.
    got: Option<(f64, f64)>,
}

impl<'m, 'a> Ends<'m, 'a> {
    /// `None` for a single length, and where the cells did not all reach the same load.
    fn of(model: &'m Model<'a>, line: &'m Line, quantity: Quantity) -> Option<Self> {
        let mut cells = model.cells_at(&line.cells);
        let first = cells.next()?;
        let last = cells.last()?;
        let configured = |cell: &Cell<'_>| model.axes[line.axis].values.get(cell.at[line.axis]?)?.as_f64();
        let got = |cell: &Cell<'_>| match quantity {
            Quantity::PromptTokens => cell.prompt_tokens(),
            _ => cell.answer_tokens(),
        };
        let got = got(first).zip(got(last)).filter(|(first, _)| *first > 0.0);
        let own = Self { line, first, last, configured: (configured(first)?, configured(last)?), got };
        let is_same_load = model.cells_at(&line.cells).all(|cell| cell.load.reached == first.load.reached);
        (is_same_load && own.configured.0 > 0.0 && own.configured.1 > own.configured.0).then_some(own)
    }

    /// The lengths at both ends: as counted, else as configured.
    fn lengths(&self) -> (f64, f64) {
        self.got.unwrap_or(self.configured)
    }

    /// The growth of the length.
    fn grew(&self) -> f64 {
        let (from, to) = self.lengths();
        to / from
    }

    /// The lengths as evidence.
    fn facts(&self, model: &Model<'_>, block: &Block<'_>, digits: u8) -> Facts {
        Facts::new()
            .name("axis", model.axes[self.line.axis].label())
            .place("line", place_of_line(model, block, self.line))
            .plain("from_length", self.configured.0)
            .plain("to_length", self.configured.1)
            .times("length_ratio", self.configured.1 / self.configured.0, digits)
            .plain("from_got", self.got.map(|(from, _)| from.round()))
            .plain("to_got", self.got.map(|(_, to)| to.round()))
    }

    fn cells(&self) -> [usize; 2] {
        [self.first.index, self.last.index]
    }

    /// The first metric that both ends have, with both values, if they differ beyond chance.
    fn beyond(&self, model: &Model<'_>, metrics: &[Metric], tests: usize) -> Option<(Metric, f64, f64)> {
        both(metrics, self.first, self.last).filter(|(metric, from, to)| {
            let noise = model.noise(self.first.workload);
            let doubt = noise.of_ratio(self.first, self.last, *metric);
            *to > 0.0 && doubt.is_beaten_by((to / from).ln(), tests)
        })
    }

    /// The time per token at both ends.
    fn pace(&self) -> Option<(Metric, f64, f64)> {
        both(&pace(), self.first, self.last)
    }

    fn is_streamed(&self) -> bool {
        [self.first, self.last].iter().all(|cell| cell.streaming == Streaming::Streamed)
    }
}

/// The lines of a block along its axes of one quantity.
fn ends<'m, 'a>(model: &'m Model<'a>, block: &'m Block<'_>, quantity: Quantity) -> Vec<Ends<'m, 'a>> {
    let axes = block.axes.iter().filter(|axis| model.axes[**axis].quantity() == quantity);
    let lines = axes.flat_map(|axis| block.lines(*axis));
    lines.filter_map(|line| Ends::of(model, line, quantity)).collect()
}

/// The line with the least load, of equal ones the first.
fn least<'e, 'm, 'a>(all: &'e [Ends<'m, 'a>]) -> Option<&'e Ends<'m, 'a>> {
    let load = |own: &Ends<'_, '_>| own.first.load.reached.unwrap_or(f64::INFINITY);
    all.iter().min_by(|a, b| load(a).total_cmp(&load(b)))
}

/// What longer prompts cost: under the least load, where prefill shows most plainly, and under the most.
fn prompt_length(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    // One latency at two loads, and the throughput.
    const TESTS: usize = 3;
    let all = ends(model, block, Quantity::PromptTokens);
    let own = least(&all).filter(|own| own.grew() >= GROWS)?;
    let waits = |own: &Ends<'_, '_>| {
        let metrics = middle(if own.is_streamed() { LatencyKind::Ttft } else { LatencyKind::E2e });
        own.beyond(model, &metrics, TESTS).filter(|(_, from, to)| *to >= GROWS * from)
    };
    let waited = waits(own)?;
    let (_, from, to) = waited;
    let digits = model.digits(&own.cells());
    let (short, long) = own.lengths();
    let load = |own: &Ends<'_, '_>| own.first.load.reached.unwrap_or(f64::NEG_INFINITY);
    let busy = largest(all.iter().map(|own| (own, load(own)))).map(|(busy, _)| busy);
    let busy = busy
        .filter(|busy| busy.first.load.reached > own.first.load.reached && busy.configured == own.configured);
    let busy = busy.and_then(|busy| {
        let facts = Facts::new().place("line", place_of_line(model, block, busy.line));
        Some(facts.change(LATENCY, waits(busy)?, digits))
    });
    let rate = own.beyond(model, &[Metric::OUTPUT, Metric::Rate(Rate::Requests)], TESTS);
    let facts = own
        .facts(model, block, digits)
        .change(LATENCY, waited, digits)
        .number("ms_per_1000_tokens", (to - from) / (long - short) * 1e3, Unit::Ms, digits)
        .flag("is_first_token", own.is_streamed())
        .facts("busy", busy)
        .when(rate, |facts, (rate, before, after)| {
            facts.metric("rate", rate).times("rate_ratio", after / before, digits)
        })
        .change(PACE, own.pace().filter(|_| own.is_streamed()), digits);
    let finding = Finding::of_block(Kind::PromptLength, model, at, own.cells());
    Some(finding.strong_as(to / from).with(facts))
}

/// How latency grows with the length of answers, under the least load, where other requests interfere least.
fn output_length(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    // Whether latency grows, and whether it grows otherwise than the length.
    const TESTS: usize = 2;
    let all = ends(model, block, Quantity::AnswerTokens);
    let own = least(&all)?;
    let digits = model.digits(&own.cells());
    let grown = both(&middle(LatencyKind::E2e), own.first, own.last)?;
    let (metric, from, to) = grown;
    let doubt = model.noise(block.workload).of_ratio(own.first, own.last, metric);
    let growth = to / from;
    let proportion = (growth / own.grew()).ln();
    let judged = match () {
        () if own.got.is_some() && own.grew() < GROWS => "ends_early",
        () if growth < GROWS || !doubt.is_beaten_by(growth.ln(), TESTS) => return None,
        () if proportion.abs() <= PROPORTION.ln_1p() => "in_proportion",
        // Answers whose tokens were not counted may have ended early.
        () if own.got.is_none() || !doubt.is_beaten_by(proportion, TESTS) => "unknown",
        () if proportion < 0.0 => "less",
        () => "more",
    };
    let facts = own
        .facts(model, block, digits)
        .change(LATENCY, grown, digits)
        .times("grew", own.grew(), digits)
        .name("judged", judged);
    let finding = Finding::of_block(Kind::OutputLength, model, at, own.cells());
    let strength = if judged == "ends_early" { 1.0 } else { growth };
    Some(finding.strong_as(strength).with(facts))
}

/// A line on which the longest answers give fewer output tokens per second than the best length.
struct Falling<'e, 'm, 'a> {
    ends: &'e Ends<'m, 'a>,
    best: &'m Cell<'a>,
    from: f64,
    to: f64,
}

impl<'e, 'm, 'a> Falling<'e, 'm, 'a> {
    /// `None` if the throughput does not fall beyond chance, as one of `tests`.
    fn of(model: &'m Model<'a>, ends: &'e Ends<'m, 'a>, tests: usize) -> Option<Self> {
        let to = ends.last.ranked(Metric::OUTPUT).filter(|rate| *rate > 0.0)?;
        let cells = model.cells_at(&ends.line.cells);
        let (best, from) = largest(cells.filter_map(|cell| Some((cell, cell.ranked(Metric::OUTPUT)?))))?;
        let tokens = best.answer_tokens().zip(ends.last.answer_tokens());
        let doubt = model.noise(best.workload).of_ratio(best, ends.last, Metric::OUTPUT);
        let falls = tokens.is_none_or(|(best, last)| last >= GROWS * best)
            && to / from < LESS
            && doubt.is_beaten_by((to / from).ln(), tests);
        falls.then_some(Self { ends, best, from, to })
    }

    fn facts(&self, model: &Model<'_>, block: &Block<'_>, digits: u8) -> Facts {
        let line = self.ends.line;
        let axis = &model.axes[line.axis];
        let length = |cell: &Cell<'_>| cell.at[line.axis].unwrap_or_default();
        Facts::new()
            .name("axis", axis.label())
            .place("line", place_of_line(model, block, line))
            .axis_value("from_length", axis, length(self.best))
            .axis_value("to_length", axis, length(self.ends.last))
            .times("ratio", self.to / self.from, digits)
            .measure("from", Metric::OUTPUT, self.from, digits)
            .measure("to", Metric::OUTPUT, self.to, digits)
    }
}

/// Where the longest answers give fewer output tokens per second than shorter ones. Requests per second do
/// not count: longer answers are fewer requests at any speed.
fn output_costs(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let all = ends(model, block, Quantity::AnswerTokens);
    // The last cell of a line is compared with each of the others.
    let tests = all.iter().map(|own| own.line.cells.len() - 1).sum();
    let mut hurt: Vec<Falling<'_, '_, '_>> =
        all.iter().filter_map(|own| Falling::of(model, own, tests)).collect();
    let ratio = |own: &Falling<'_, '_, '_>| own.to / own.from;
    hurt.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    let cells: Vec<usize> = hurt.iter().flat_map(|own| [own.best.index, own.ends.last.index]).collect();
    let digits = model.digits(&cells);
    let worst = hurt.first()?;
    let facts = worst
        .facts(model, block, digits)
        .metric("metric", Metric::OUTPUT)
        .count("falling", hurt.len())
        .count("lines", all.len())
        .list("all", hurt.iter().map(|own| own.facts(model, block, digits)));
    Some(Finding::of_block(Kind::OutputCosts, model, at, cells).strong_as(ratio(worst)).with(facts))
}

/// Longer answers that only make others wait: TTFT grows with them, the time per token does not.
fn held_up(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let all = ends(model, block, Quantity::AnswerTokens);
    let held = |own: &Ends<'_, '_>| {
        let (metric, from, to) = own.beyond(model, &middle(LatencyKind::Ttft), all.len())?;
        let pace = own.pace()?;
        let is_held =
            own.is_streamed() && own.grew() >= GROWS && to >= WAITS * from && pace.2 < KEPT * pace.1;
        is_held.then_some(((metric, from, to), pace))
    };
    let known =
        all.iter().filter_map(|own| held(own).map(|(ttft, pace)| ((own, ttft, pace), ttft.2 / ttft.1)));
    let ((own, ttft, pace), ratio) = largest(known)?;
    let digits = model.digits(&own.cells());
    let facts = own.facts(model, block, digits).change(LATENCY, ttft, digits).change(PACE, pace, digits);
    Some(Finding::of_block(Kind::HeldUp, model, at, own.cells()).strong_as(ratio).with(facts))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        manifest::Slo,
        measure::Summary,
        report::{
            finding::{Fact, Words},
            fixtures,
        },
        store::StoredRun,
    };

    /// One server, asked for three lengths along an axis at four loads.
    fn grid(axis: &str, own: impl Fn(u32, u32, &mut Summary)) -> StoredRun {
        let mut run = fixtures::empty();
        run.plan.load_axes = vec!["concurrency".into(), axis.into()];
        let places =
            [1, 2, 4, 8].into_iter().flat_map(|users| [100, 400, 1600].map(|length| (users, length)));
        let cells = places.map(|(users, length)| {
            let id = format!("chat-c{users}-{length}");
            let mut cell = fixtures::cell(&id, "qwen-1", users, 64, &Slo::default());
            cell.axes.remove("max_tokens");
            cell.axes.insert(axis.to_owned(), json!(length));
            let mut summary = fixtures::summary(400);
            own(users, length, &mut summary);
            cell.summary = Some(summary);
            cell
        });
        let cells = cells.collect();
        fixtures::add(&mut run, "qwen-1", Default::default(), "ready", cells);
        run
    }

    fn only(run: &StoredRun, rule: Rule) -> Option<Facts> {
        let model = Model::of(run);
        let mut found = rule.apply(&model);
        assert!(found.len() < 2, "{found:?}");
        let sentences = Words::new(None).unwrap().say(&model, &found).unwrap();
        assert!(sentences.iter().all(|text| text.ends_with('.')), "{sentences:?}");
        found.pop().map(|finding| finding.facts)
    }

    fn timed(summary: &mut Summary, ttft: f64, e2e: f64, rate: f64) {
        summary.ttft = Some(fixtures::latency(400, ttft, 1.05 * ttft));
        summary.e2e = Some(fixtures::latency(400, e2e, 1.05 * e2e));
        summary.throughput_tok_s = Some(rate);
    }

    #[test]
    fn prompts_cost_milliseconds_for_each_thousand_tokens() {
        let run = grid("synthetic.input_tokens", |users, length, own| {
            let ttft = f64::from(users) * (40.0 + 0.5 * f64::from(length));
            timed(own, ttft, ttft + 600.0, 100.0);
            own.input_tokens = Some(400 * u64::from(length));
        });
        let facts = only(&run, Rule::Block(prompt_length)).unwrap();
        assert!((facts.value("ms_per_1000_tokens").unwrap() - 500.0).abs() < 1.0, "{facts:?}");
        assert_eq!(facts.value("from_length"), Some(100.0));
        assert!(matches!(facts.get("busy"), Some(Fact::Facts(_))), "{facts:?}");
        assert!(facts.value("rate_ratio").is_none(), "{facts:?}");
        // What the axis asks for and nobody got is no length.
        let run = grid("synthetic.input_tokens", |_, length, own| {
            timed(own, f64::from(length), 2000.0, 100.0);
            own.input_tokens = Some(400 * 50);
        });
        assert_eq!(only(&run, Rule::Block(prompt_length)), None);
    }

    #[test]
    fn answers_that_end_by_themselves_are_no_longer_for_it() {
        let judged = |got: fn(u32) -> u64| {
            let run = grid("max_tokens", |_, length, own| {
                timed(own, 1.0, 10.0 * got(length) as f64, 100.0);
                own.output_tokens = Some(400 * got(length));
            });
            let facts = only(&run, Rule::Block(output_length))?;
            match facts.get("judged") {
                Some(Fact::Name(name)) => Some(name.clone()),
                _ => None,
            }
        };
        assert_eq!(judged(|_| 60).as_deref(), Some("ends_early"));
        assert_eq!(judged(u64::from).as_deref(), Some("in_proportion"));
        // Half of the answers end early: latency grows as what came.
        assert_eq!(judged(|length| u64::from(length) / 2 + 50).as_deref(), Some("in_proportion"));
    }

    #[test]
    fn longer_answers_that_cost_throughput_are_told_with_their_place() {
        let falls = |users: u32, length: u32| if users == 8 && length == 1600 { 0.3 } else { 1.0 };
        let run = grid("max_tokens", |users, length, own| {
            let e2e = 10.0 * f64::from(length);
            timed(own, 40.0, e2e, 100.0 * f64::from(users) * falls(users, length));
            own.output_tokens = Some(400 * u64::from(length));
        });
        let facts = only(&run, Rule::Block(output_costs)).unwrap();
        assert_eq!(facts.json()["line"], json!({ "concurrency": "8" }));
        assert!((facts.value("ratio").unwrap() - 0.3).abs() < 1e-9, "{facts:?}");
        assert_eq!(facts.value("falling"), Some(1.0));
        let run = grid("max_tokens", |users, length, own| {
            timed(own, 40.0, 10.0 * f64::from(length), 100.0 * f64::from(users));
        });
        assert_eq!(only(&run, Rule::Block(output_costs)), None);
    }

    #[test]
    fn others_are_held_up_where_ttft_grows_and_the_pace_does_not() {
        let run = grid("max_tokens", |users, length, own| {
            let ttft = if users == 8 { 5.0 * f64::from(length) } else { 40.0 };
            timed(own, ttft, ttft + 10.0 * f64::from(length), 100.0);
            own.tpot = Some(fixtures::latency(400, 10.0, 10.5));
        });
        let facts = only(&run, Rule::Block(held_up)).unwrap();
        assert!((facts.value("ratio").unwrap() - 16.0).abs() < 1e-9, "{facts:?}");
        assert_eq!(facts.json()["line"], json!({ "concurrency": "8" }));
        let run = grid("max_tokens", |_, length, own| {
            timed(own, 40.0, 10.0 * f64::from(length), 100.0);
            own.tpot = Some(fixtures::latency(400, 10.0, 10.5));
        });
        assert_eq!(only(&run, Rule::Block(held_up)), None);
    }
}
