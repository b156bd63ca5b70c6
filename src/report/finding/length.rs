//! What longer prompts and longer answers cost.

use super::{Facts, Finding, Kind, Rule, Unit, both, middle, place_of_line};
use crate::{
    manifest::LatencyKind,
    measure::{Metric, Rate},
    plan::Quantity,
    report::model::{Block, Cell, Line, Model, Streaming},
};

pub(super) const RULES: &[Rule] = &[prompt_lengths, output_lengths, output_costs, held_up];

/// A growth of at least this factor is worth a word.
const GROWS: f64 = 1.1;
/// A growth within this part of that of the length is in proportion to it.
const PROPORTION: f64 = 0.1;
/// Throughput below this part of the best of a line is worth a word.
const LESS: f64 = 0.9;
/// TTFT that grows by this factor with the length of answers is waiting.
const WAITS: f64 = 2.0;
/// A pace that grows by less than this factor is kept.
const KEPT: f64 = 1.5;

/// Both ends of a line along a length.
struct Ends<'m, 'a> {
    line: &'m Line,
    first: &'m Cell<'a>,
    last: &'m Cell<'a>,
    /// What was asked for at both ends, tokens.
    asked: (f64, f64),
    /// What came, where it was counted: tokens of a mean prompt or answer.
    got: Option<(f64, f64)>,
}

impl<'m, 'a> Ends<'m, 'a> {
    /// `None` of a single length, and where the load that was reached is not the same at all of them.
    fn of(model: &'m Model<'a>, line: &'m Line, quantity: Quantity) -> Option<Self> {
        let mut cells = line.iter(model);
        let first = cells.next()?;
        let last = cells.last()?;
        let asked = |cell: &Cell<'_>| model.axes[line.axis].values.get(cell.at[line.axis]?)?.as_f64();
        let got = |cell: &Cell<'_>| match quantity {
            Quantity::PromptTokens => cell.prompt_tokens(),
            _ => cell.answer_tokens(),
        };
        let own = Self {
            line,
            first,
            last,
            asked: (asked(first)?, asked(last)?),
            got: got(first).zip(got(last)).filter(|(first, _)| *first > 0.0),
        };
        let is_same_load = line.iter(model).all(|cell| cell.load.reached == first.load.reached);
        (is_same_load && own.asked.0 > 0.0 && own.asked.1 > own.asked.0).then_some(own)
    }

    /// By what the length grew: by what came where that is known.
    fn grew(&self) -> f64 {
        let (from, to) = self.got.unwrap_or(self.asked);
        to / from
    }

    /// The lengths as evidence.
    fn facts(&self, model: &Model<'_>, block: &Block<'_>, digits: u8) -> Facts {
        let facts = Facts::new()
            .name("axis", model.axes[self.line.axis].label())
            .place("line", place_of_line(model, block, self.line))
            .plain("from_length", self.asked.0)
            .plain("to_length", self.asked.1)
            .times("length_ratio", self.asked.1 / self.asked.0, digits);
        match self.got {
            Some((from, to)) => facts.plain("from_got", from.round()).plain("to_got", to.round()),
            None => facts,
        }
    }

    fn cells(&self) -> [usize; 2] {
        [self.first.index, self.last.index]
    }

    /// The first metric that both ends have, where the last is beyond chance from the first, with both values.
    fn beyond(&self, model: &Model<'_>, metrics: &[Metric], tests: usize) -> Option<(Metric, f64, f64)> {
        both(metrics, self.first, self.last).filter(|(metric, from, to)| {
            let noise = model.noise(self.first.workload);
            let doubt = noise.of_ratio(self.first, self.last, *metric);
            *to > 0.0 && doubt.is_beaten_by((to / from).ln(), tests)
        })
    }
}

/// The lines of a block along its axes of one quantity, that have several lengths.
fn ends<'m, 'a>(model: &'m Model<'a>, block: &'m Block<'a>, quantity: Quantity) -> Vec<Ends<'m, 'a>> {
    let axes = block.axes.iter().filter(|axis| model.axes[**axis].quantity() == quantity);
    let lines = axes.flat_map(|axis| block.lines(*axis));
    lines.filter_map(|line| Ends::of(model, line, quantity)).collect()
}

/// Those of a block with the least load, or with the most; of equal ones the first.
fn least<'e, 'm, 'a>(all: &'e [Ends<'m, 'a>]) -> Option<&'e Ends<'m, 'a>> {
    let load = |own: &Ends<'_, '_>| own.first.load.reached.unwrap_or(f64::INFINITY);
    all.iter().min_by(|a, b| load(a).total_cmp(&load(b)))
}

fn most<'e, 'm, 'a>(all: &'e [Ends<'m, 'a>]) -> Option<&'e Ends<'m, 'a>> {
    let load = |own: &Ends<'_, '_>| own.first.load.reached.unwrap_or(f64::NEG_INFINITY);
    all.iter().rev().max_by(|a, b| load(a).total_cmp(&load(b)))
}

fn streamed(own: &Ends<'_, '_>) -> bool {
    [own.first, own.last].iter().all(|cell| cell.streaming == Streaming::Streamed)
}

fn each_block(
    model: &Model<'_>,
    quantity: Quantity,
    rule: impl Fn(usize, &Block<'_>, &[Ends<'_, '_>]) -> Option<Finding>,
) -> Vec<Finding> {
    super::each_block(model, |at, block| rule(at, block, &ends(model, block, quantity)))
}

/// Where least is in flight prefill shows most plainly; where most is, what it costs.
fn prompt_lengths(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, Quantity::PromptTokens, |at, block, all| {
        // One latency, at two loads, and the throughput.
        const TESTS: usize = 3;
        let own = least(all).filter(|own| own.grew() >= GROWS)?;
        let waits = |own: &Ends<'_, '_>| {
            let metrics = middle(if streamed(own) { LatencyKind::Ttft } else { LatencyKind::E2e });
            own.beyond(model, &metrics, TESTS).filter(|(_, from, to)| *to >= GROWS * from)
        };
        let (metric, from, to) = waits(own)?;
        let digits = model.digits(&own.cells());
        let (short, long) = own.got.unwrap_or(own.asked);
        let mut facts = own
            .facts(model, block, digits)
            .metric("metric", metric)
            .measure("from", metric, from, digits)
            .measure("to", metric, to, digits)
            .times("ratio", to / from, digits)
            .number("ms_per_1000_tokens", (to - from) / (long - short) * 1e3, Unit::Ms, digits)
            .flag("is_first_token", streamed(own));
        let is_more = |busy: &&Ends<'_, '_>| {
            busy.first.load.reached > own.first.load.reached && busy.asked == own.asked
        };
        if let Some(busy) = most(all).filter(is_more)
            && let Some((metric, from, to)) = waits(busy)
        {
            let busy = Facts::new()
                .place("line", place_of_line(model, block, busy.line))
                .metric("metric", metric)
                .measure("from", metric, from, digits)
                .measure("to", metric, to, digits)
                .times("ratio", to / from, digits);
            facts = facts.facts("busy", busy);
        }
        let rates = [Metric::OUTPUT, Metric::Rate(Rate::Requests)];
        if let Some((rate, before, after)) = own.beyond(model, &rates, TESTS) {
            facts = facts.metric("rate", rate).times("rate_ratio", after / before, digits);
        }
        let pace = [middle(LatencyKind::Tpot), middle(LatencyKind::Itl)].concat();
        if let Some((pace, before, after)) = both(&pace, own.first, own.last).filter(|_| streamed(own)) {
            facts = facts
                .metric("pace", pace)
                .measure("pace_from", pace, before, digits)
                .measure("pace_to", pace, after, digits)
                .times("pace_ratio", after / before, digits);
        }
        let finding = Finding::of_block(Kind::PromptLength, model, at, own.cells());
        Some(finding.strong_as(to / from).with(facts))
    })
}

/// Where least is in flight the engine is alone with the length.
fn output_lengths(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, Quantity::AnswerTokens, |at, block, all| {
        // Whether latency grows, and whether otherwise than the length.
        const TESTS: usize = 2;
        let own = least(all)?;
        let digits = model.digits(&own.cells());
        let (metric, from, to) = both(&middle(LatencyKind::E2e), own.first, own.last)?;
        let doubt = model.noise(block.workload).of_ratio(own.first, own.last, metric);
        let growth = to / from;
        let proportion = (growth / own.grew()).ln();
        let judged = match () {
            () if own.got.is_some() && own.grew() < GROWS => "ends_early",
            () if growth < GROWS || !doubt.is_beaten_by(growth.ln(), TESTS) => return None,
            () if proportion.abs() <= PROPORTION.ln_1p() => "in_proportion",
            // What answers that nobody counted ended at is not known.
            () if own.got.is_none() || !doubt.is_beaten_by(proportion, TESTS) => "unknown",
            () if proportion < 0.0 => "less",
            () => "more",
        };
        let facts = own
            .facts(model, block, digits)
            .metric("metric", metric)
            .measure("from", metric, from, digits)
            .measure("to", metric, to, digits)
            .times("ratio", growth, digits)
            .times("grew", own.grew(), digits)
            .name("judged", judged);
        let finding = Finding::of_block(Kind::OutputLength, model, at, own.cells());
        let strength = if judged == "ends_early" { 1.0 } else { growth };
        Some(finding.strong_as(strength).with(facts))
    })
}

/// The cell of a line with most output tokens per second, where the last one's are fewer beyond chance: best, last, ratio.
fn falling<'m, 'a>(
    model: &'m Model<'a>,
    own: &Ends<'m, 'a>,
    tests: usize,
) -> Option<(&'m Cell<'a>, &'m Cell<'a>, f64)> {
    let end = own.last.ranked(Metric::OUTPUT).filter(|rate| *rate > 0.0)?;
    let known = own.line.iter(model).filter_map(|cell| Some((cell, cell.ranked(Metric::OUTPUT)?)));
    // Of equal ones the first.
    let (best, rate) = known.reduce(|best, own| if own.1 > best.1 { own } else { best })?;
    let longer = best.answer_tokens().zip(own.last.answer_tokens()).is_none_or(|(a, b)| b >= GROWS * a);
    let doubt = model.noise(best.workload).of_ratio(best, own.last, Metric::OUTPUT);
    let ratio = end / rate;
    let falls = longer && ratio < LESS && doubt.is_beaten_by(ratio.ln(), tests);
    falls.then_some((best, own.last, ratio))
}

/// Where the longest answers give fewer tokens per second than shorter ones. Longer answers are fewer requests at any speed:
/// only tokens count here.
fn output_costs(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, Quantity::AnswerTokens, |at, block, all| {
        // The last cell of a line is held against each of the others.
        let tests = all.iter().map(|own| own.line.cells.len() - 1).sum();
        let mut hurt: Vec<(&Ends<'_, '_>, &Cell<'_>, &Cell<'_>, f64)> = all
            .iter()
            .filter_map(|own| falling(model, own, tests).map(|(best, last, ratio)| (own, best, last, ratio)))
            .collect();
        hurt.sort_by(|a, b| a.3.total_cmp(&b.3));
        let cells: Vec<usize> = hurt.iter().flat_map(|own| [own.1.index, own.2.index]).collect();
        let digits = model.digits(&cells);
        let line = |(own, best, last, ratio): &(&Ends<'_, '_>, &Cell<'_>, &Cell<'_>, f64)| {
            let length = |cell: &Cell<'_>| cell.at[own.line.axis].unwrap_or_default();
            let axis = &model.axes[own.line.axis];
            let facts = Facts::new()
                .name("axis", axis.label())
                .place("line", place_of_line(model, block, own.line))
                .axis_value("from_length", axis, length(best))
                .axis_value("to_length", axis, length(last))
                .times("ratio", *ratio, digits);
            match best.ranked(Metric::OUTPUT).zip(last.ranked(Metric::OUTPUT)) {
                Some((from, to)) => facts.measure("from", Metric::OUTPUT, from, digits).measure(
                    "to",
                    Metric::OUTPUT,
                    to,
                    digits,
                ),
                None => facts,
            }
        };
        let worst = hurt.first()?;
        let facts = line(worst)
            .metric("metric", Metric::OUTPUT)
            .count("falling", hurt.len())
            .count("lines", all.len())
            .list("all", hurt.iter().map(line));
        Some(Finding::of_block(Kind::OutputCosts, model, at, cells).strong_as(worst.3).with(facts))
    })
}

/// Longer answers at the same load that only make others wait: TTFT grows with them, the pace does not.
fn held_up(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, Quantity::AnswerTokens, |at, block, all| {
        let held = |own: &&Ends<'_, '_>| {
            let (metric, from, to) = own.beyond(model, &middle(LatencyKind::Ttft), all.len())?;
            let pace = [middle(LatencyKind::Tpot), middle(LatencyKind::Itl)].concat();
            let pace = both(&pace, own.first, own.last)?;
            let is_held =
                streamed(own) && own.grew() >= GROWS && to >= WAITS * from && pace.2 < KEPT * pace.1;
            is_held.then_some((metric, from, to, pace))
        };
        let known = all.iter().filter_map(|own| Some((own, held(&own)?)));
        // Of equal ones the first.
        let (own, (metric, from, to, (pace, before, after))) =
            known.reduce(|most, own| if own.1.2 / own.1.1 > most.1.2 / most.1.1 { own } else { most })?;
        let digits = model.digits(&own.cells());
        let facts = own
            .facts(model, block, digits)
            .metric("metric", metric)
            .measure("from", metric, from, digits)
            .measure("to", metric, to, digits)
            .times("ratio", to / from, digits)
            .metric("pace", pace)
            .measure("pace_from", pace, before, digits)
            .measure("pace_to", pace, after, digits)
            .times("pace_ratio", after / before, digits);
        Some(Finding::of_block(Kind::HeldUp, model, at, own.cells()).strong_as(to / from).with(facts))
    })
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

    fn told(run: &StoredRun, rule: Rule) -> Option<Facts> {
        let model = Model::of(run);
        let mut found = rule(&model);
        assert!(found.len() < 2, "{found:?}");
        let said = Words::new(None).unwrap().say(&model, &found).unwrap();
        assert!(said.iter().all(|text| text.ends_with('.')), "{said:?}");
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
        let facts = told(&run, prompt_lengths).unwrap();
        assert!((facts.value("ms_per_1000_tokens").unwrap() - 500.0).abs() < 1.0, "{facts:?}");
        assert_eq!(facts.value("from_length"), Some(100.0));
        assert!(matches!(facts.get("busy"), Some(Fact::Facts(_))), "{facts:?}");
        assert!(facts.value("rate_ratio").is_none(), "{facts:?}");
        // What the axis asks for and nobody got is no length.
        let run = grid("synthetic.input_tokens", |_, length, own| {
            timed(own, f64::from(length), 2000.0, 100.0);
            own.input_tokens = Some(400 * 50);
        });
        assert_eq!(told(&run, prompt_lengths), None);
    }

    #[test]
    fn answers_that_end_by_themselves_are_no_longer_for_it() {
        let judged = |got: fn(u32) -> u64| {
            let run = grid("max_tokens", |_, length, own| {
                timed(own, 1.0, 10.0 * got(length) as f64, 100.0);
                own.output_tokens = Some(400 * got(length));
            });
            let facts = told(&run, output_lengths)?;
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
        let facts = told(&run, output_costs).unwrap();
        assert_eq!(facts.json()["line"], json!({ "concurrency": "8" }));
        assert!((facts.value("ratio").unwrap() - 0.3).abs() < 1e-9, "{facts:?}");
        assert_eq!(facts.value("falling"), Some(1.0));
        let run = grid("max_tokens", |users, length, own| {
            timed(own, 40.0, 10.0 * f64::from(length), 100.0 * f64::from(users));
        });
        assert_eq!(told(&run, output_costs), None);
    }

    #[test]
    fn others_are_held_up_where_ttft_grows_and_the_pace_does_not() {
        let run = grid("max_tokens", |users, length, own| {
            let ttft = if users == 8 { 5.0 * f64::from(length) } else { 40.0 };
            timed(own, ttft, ttft + 10.0 * f64::from(length), 100.0);
            own.tpot = Some(fixtures::latency(400, 10.0, 10.5));
        });
        let facts = told(&run, held_up).unwrap();
        assert!((facts.value("ratio").unwrap() - 16.0).abs() < 1e-9, "{facts:?}");
        assert_eq!(facts.json()["line"], json!({ "concurrency": "8" }));
        let run = grid("max_tokens", |_, length, own| {
            timed(own, 40.0, 10.0 * f64::from(length), 100.0);
            own.tpot = Some(fixtures::latency(400, 10.0, 10.5));
        });
        assert_eq!(told(&run, held_up), None);
    }
}
