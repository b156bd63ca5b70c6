//! What the numbers describe: how requests were sent, how answers arrived, and what failed.

use std::collections::BTreeMap;

use super::{Facts, Finding, Kind, Rule, Unit, place};
use crate::{
    manifest::Start,
    measure::{Counts, Metric, OutputLength, Starts, Summary},
    report::{
        model::{Block, Cell, Model, Origin, SAME, Streaming},
        statistics::largest,
    },
};

pub(super) const RULES: &[Rule] = &[
    Rule::Block(not_streamed),
    Rule::Block(errors),
    Rule::Block(asked_and_got),
    Rule::Block(open_loop),
    Rule::Block(starts),
    Rule::Block(steady_window),
];

/// The shortest steady window that describes a cell, as a part of the whole window.
const STEADY: f64 = 0.25;
/// The outcome of a request that was due and never sent.
const DROPPED: &str = "dropped";

/// The cells of a block that have a summary and the origin that is ranked.
fn described<'m, 'a>(
    model: &'m Model<'a>,
    block: &'m Block<'_>,
) -> impl Iterator<Item = (&'m Cell<'a>, &'a Summary)> + Clone {
    model.with_numbers(block).filter_map(|cell| Some((cell, cell.file.summary.as_ref()?)))
}

/// Answers that arrived in one piece: there is no TTFT, or it equals E2E.
fn not_streamed(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let cells = model.usable(block);
    let found: Vec<&Cell<'_>> = cells.clone().filter(|cell| cell.streaming != Streaming::Streamed).collect();
    let first = *found.first()?;
    let whole = found.iter().filter(|cell| cell.streaming == Streaming::Whole).count();
    let which = match whole {
        0 => "absent",
        all if all == found.len() => "whole",
        _ => "both",
    };
    let facts = Facts::new()
        .name("which", which)
        .count("count", found.len())
        .count("whole", whole)
        .count("of", cells.count())
        .place("place", place(model, first));
    let cells = found.iter().map(|cell| cell.index);
    Some(Finding::of_block(Kind::NotStreamed, model, at, cells).with(facts))
}

/// The number of requests that were sent and did not complete.
fn failed(counts: &Counts) -> u64 {
    let dropped = counts.by_outcome.get(DROPPED).copied().unwrap_or_default();
    counts.errors().saturating_sub(dropped)
}

/// Requests that failed, the cell with the largest part of them, and the most common error.
fn errors(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let all = described(model, block);
    let of = all.clone().count();
    let hurt: Vec<(&Cell<'_>, &Counts)> =
        all.map(|(cell, summary)| (cell, &summary.counts)).filter(|(_, own)| failed(own) > 0).collect();
    let part = |counts: &Counts| failed(counts) as f64 / counts.scheduled as f64;
    let (cell, part) = largest(hurt.iter().map(|(cell, counts)| (*cell, part(counts))))?;
    let sum = |count: fn(&Counts) -> u64| hurt.iter().map(|(_, counts)| count(counts)).sum::<u64>() as usize;
    let mut texts: BTreeMap<&str, u64> = BTreeMap::new();
    for (text, count) in hurt.iter().flat_map(|(cell, _)| &cell.file.errors) {
        *texts.entry(text).or_insert(0) += count;
    }
    let common = texts.into_iter().max_by_key(|(_, count)| *count);
    let facts = Facts::new()
        .count("failed", sum(failed))
        .count("scheduled", sum(|counts| counts.scheduled))
        .count("count", hurt.len())
        .count("of", of)
        .place("place", place(model, cell))
        .part("part", part)
        .when(common, |facts, (text, count)| {
            facts.name("common", text.trim_end_matches('.')).count("common_count", count as usize)
        });
    let cells = hurt.iter().map(|(cell, _)| cell.index);
    let kept = (1.0 - part).max(0.01);
    Some(Finding::of_block(Kind::Errors, model, at, cells).strong_as(1.0 / kept).with(facts))
}

/// Answers that ended before the configured length, and the cell whose median is furthest from it.
fn asked_and_got(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let known: Vec<(&Cell<'_>, &OutputLength, u64)> = described(model, block)
        .filter(|(cell, _)| cell.is_usable())
        .filter_map(|(cell, own)| Some((cell, own.output_length.as_ref()?, own.counts.completed)))
        .collect();
    let answers: u64 = known.iter().map(|(_, _, completed)| completed).sum();
    let shorter: u64 = known.iter().map(|(_, own, _)| own.shorter).sum();
    if answers == 0 {
        return None;
    }
    let got = |own: &OutputLength| own.p50 / own.asked_p50();
    let early = known.iter().filter(|(_, own, _)| own.shorter > 0);
    let worst = largest(early.map(|(cell, own, _)| ((*cell, *own), -got(own))));
    let worst = worst.map(|((cell, own), _)| {
        Facts::new()
            .place("place", place(model, cell))
            .number("asked", own.asked_p50(), Unit::Count, 3)
            .number("got", own.p50, Unit::Count, 3)
            .count("least", own.min as usize)
            .count("most", own.max as usize)
    });
    let facts = Facts::new()
        .count("shorter", shorter as usize)
        .count("answers", answers as usize)
        .part("part", shorter as f64 / answers as f64)
        .facts("worst", worst);
    let cells = known.iter().map(|(cell, ..)| cell.index);
    Some(Finding::of_block(Kind::AskedAndGot, model, at, cells).with(facts))
}

/// How an open loop sent its requests: the arrival process, the issue delay, and the requests that were never
/// sent.
fn open_loop(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let arrivals = |cell: &Cell<'_>| cell.file.load.get("arrivals")?.as_str().map(str::to_owned);
    // A predicted cell sent nothing, and an imported one does not say how it sent.
    let sent = described(model, block)
        .filter(|(cell, _)| matches!(cell.origin, Origin::Measured | Origin::Simulated));
    let open: Vec<(&Cell<'_>, &Summary, String)> =
        sent.filter_map(|(cell, summary)| Some((cell, summary, arrivals(cell)?))).collect();
    let scheduled: u64 = open.iter().map(|(_, own, _)| own.counts.scheduled).sum();
    if scheduled == 0 {
        return None;
    }
    let dropped = open.iter().filter_map(|(_, own, _)| own.counts.by_outcome.get(DROPPED)).sum::<u64>();
    let mut names: Vec<String> = open.iter().map(|(.., arrivals)| arrivals.clone()).collect();
    names.sort_unstable();
    names.dedup();
    let delays: Option<Vec<f64>> =
        open.iter().map(|(_, own, _)| Some(own.issue_delay.as_ref()?.p99_ms)).collect();
    let facts = Facts::new()
        .names("arrivals", names)
        .count("scheduled", scheduled as usize)
        .count("dropped", dropped as usize)
        .number("p99_delay", delays.and_then(|all| all.into_iter().max_by(f64::total_cmp)), Unit::Ms, 2);
    let cells = open.iter().map(|(cell, ..)| cell.index);
    Some(Finding::of_block(Kind::OpenLoop, model, at, cells).with(facts))
}

/// How the streams of closed loops with several streams started.
fn starts(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let several = |cell: &Cell<'_>| !cell.load.is_open && cell.load.configured.is_some_and(|load| load > 1.0);
    let known: Vec<(&Cell<'_>, Starts)> = described(model, block)
        .filter(|(cell, _)| several(cell))
        .filter_map(|(cell, summary)| Some((cell, summary.starts?)))
        .collect();
    let staggered = known.iter().filter(|(_, starts)| starts.how == Start::Staggered);
    let longest = staggered.clone().map(|(_, starts)| starts.spread_s).max_by(f64::total_cmp);
    let staggered = staggered.count();
    let facts = Facts::new()
        .count("staggered", staggered)
        .count("together", known.len() - staggered)
        .count("of", known.len())
        .number("longest_spread", longest, Unit::S, 3);
    let cells = known.iter().map(|(cell, _)| cell.index);
    (!known.is_empty()).then(|| Finding::of_block(Kind::Starts, model, at, cells).with(facts))
}

/// The cell whose throughput in the steady window differs most from that of its whole window.
fn steady_window(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let rates = |(cell, summary): (&Cell<'_>, &Summary)| {
        let part = summary.steady?.length_s / summary.window?.length_s;
        let whole = cell.ranked(Metric::OUTPUT).filter(|whole| *whole > 0.0 && part >= STEADY)?;
        let steady = summary.steady_tok_s.filter(|steady| *steady > 0.0)?;
        Some(((cell.index, steady, whole), (steady / whole).ln().abs()))
    };
    let usable = described(model, block).filter(|(cell, _)| cell.is_usable());
    let ((cell, steady, whole), apart) = largest(usable.filter_map(rates))?;
    let digits = model.digits(&[cell]);
    let facts = Facts::new()
        .place("place", place(model, &model.cells[cell]))
        .measure("steady", Metric::OUTPUT, steady, digits)
        .measure("whole", Metric::OUTPUT, whole, digits)
        .times("ratio", steady / whole, digits);
    let finding = Finding::of_block(Kind::SteadyWindow, model, at, [cell]);
    (apart >= SAME).then(|| finding.strong_as(steady / whole).with(facts))
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;
    use crate::{
        report::{
            finding::{Fact, sentences},
            fixtures,
        },
        store::StoredRun,
    };

    #[test]
    fn answers_that_came_whole_are_counted_as_the_model_decides() {
        let run = fixtures::grid();
        let model = Model::of(&run);
        let found = sentences::found(&model, &[Rule::Block(not_streamed)]);
        let facts = &found[0].facts;
        assert_eq!(facts.get("which"), Some(&Fact::Name("whole".into())));
        assert_eq!((facts.value("count"), facts.value("of")), (Some(12.0), Some(12.0)));
        let mut run = fixtures::streamed();
        assert_eq!(Rule::Block(not_streamed).apply(&Model::of(&run)), []);
        for cell in &mut run.cells[..2] {
            cell.summary.as_mut().unwrap().ttft = None;
        }
        let model = Model::of(&run);
        let found = sentences::found(&model, &[Rule::Block(not_streamed)]);
        assert_eq!(found[0].facts.get("which"), Some(&Fact::Name("absent".into())));
        assert_eq!(found[0].cells, [0, 1]);
    }

    #[test]
    fn a_few_tokens_behind_a_long_prompt_were_streamed_all_the_same() {
        let mut run = fixtures::streamed();
        for cell in &mut run.cells {
            cell.summary.as_mut().unwrap().ttft = Some(fixtures::latency(200, 9995.0, 9996.0));
            cell.summary.as_mut().unwrap().e2e = Some(fixtures::latency(200, 10_000.0, 10_001.0));
        }
        assert_eq!(Rule::Block(not_streamed).apply(&Model::of(&run)), []);
    }

    /// Fails some requests of a cell.
    fn fail(run: &mut StoredRun, cell: usize, lost: u64, dropped: u64) {
        let counts = &mut run.cells[cell].summary.as_mut().unwrap().counts;
        counts.completed -= lost + dropped;
        counts.by_outcome = [("completed", counts.completed), ("reset", lost), ("dropped", dropped)]
            .map(|(word, count)| (word.to_owned(), count))
            .into();
    }

    #[test]
    fn failed_requests_are_counted_also_where_the_cell_is_excluded_for_them() {
        let mut run = fixtures::streamed();
        fail(&mut run, 1, 10, 0);
        fail(&mut run, 3, 100, 7);
        run.cells[1].errors = vec![("connection reset.".into(), 4), ("timed out".into(), 6)];
        run.cells[3].errors = vec![("connection reset.".into(), 100)];
        run.cells[3].verdicts = vec![fixtures::verdict("errors", "cell", &[])];
        let model = Model::of(&run);
        let found = sentences::found(&model, &[Rule::Block(errors)]);
        let facts = &found[0].facts;
        assert_eq!((facts.value("failed"), facts.value("scheduled")), (Some(110.0), Some(400.0)));
        assert_eq!((facts.value("count"), facts.value("part")), (Some(2.0), Some(0.5)));
        assert_eq!(facts.get("common"), Some(&Fact::Name("connection reset".into())));
        assert_eq!(facts.value("common_count"), Some(104.0));
    }

    #[test]
    fn how_requests_were_sent_is_told_as_far_as_it_is_known() {
        let mut run = fixtures::streamed();
        for cell in &mut run.cells {
            cell.load.remove("concurrency");
            cell.load.extend([("rate".into(), json!(2)), ("arrivals".into(), json!("poisson"))]);
            cell.axes.remove("concurrency");
            cell.summary.as_mut().unwrap().issue_delay = Some(fixtures::latency(200, 0.1, 0.4));
        }
        let model = Model::of(&run);
        let found = sentences::found(&model, &[Rule::Block(open_loop)]);
        let facts = &found[0].facts;
        assert_eq!((facts.value("p99_delay"), facts.value("dropped")), (Some(0.4), Some(0.0)));
        run.cells[2].summary.as_mut().unwrap().issue_delay = None;
        fail(&mut run, 1, 0, 9);
        let model = Model::of(&run);
        let found = sentences::found(&model, &[Rule::Block(open_loop)]);
        assert_eq!((found[0].facts.value("p99_delay"), found[0].facts.value("dropped")), (None, Some(9.0)));
        // What was never sent did not fail.
        assert_eq!(Rule::Block(errors).apply(&model), []);
        assert_eq!(Rule::Block(open_loop).apply(&Model::of(&fixtures::streamed())), []);
    }

    #[test]
    fn lengths_starts_and_windows_have_words() {
        let mut run = fixtures::streamed();
        for (at, cell) in run.cells.iter_mut().enumerate() {
            let summary = cell.summary.as_mut().unwrap();
            let starts = if at < 3 { "staggered" } else { "together" };
            summary.starts = from_value(json!({ "how": starts, "spread_s": 0.5 + at as f64 })).unwrap();
            summary.output_length = from_value(
                json!({ "asked": 64, "min": 8, "p50": 64.0 - at as f64, "max": 64, "shorter": 5 * at }),
            )
            .unwrap();
            summary.window = from_value(json!({ "start_s": 0.0, "length_s": 10.0 })).unwrap();
            summary.steady = from_value(json!({ "start_s": 0.0, "length_s": 5.0 })).unwrap();
            summary.steady_tok_s = summary.throughput_tok_s.map(|rate| rate * (1.0 + 0.1 * at as f64));
        }
        let model = Model::of(&run);
        let own = sentences::found(&model, RULES);
        let facts = |kind| &own.iter().find(|finding| finding.kind == kind).unwrap().facts;
        let starts = facts(Kind::Starts);
        // One stream starts in one way alone.
        assert_eq!((starts.value("staggered"), starts.value("together")), (Some(2.0), Some(1.0)));
        assert_eq!(starts.value("longest_spread"), Some(2.5));
        let lengths = facts(Kind::AskedAndGot);
        assert_eq!((lengths.value("shorter"), lengths.value("answers")), (Some(30.0), Some(800.0)));
        let ratio = facts(Kind::SteadyWindow).value("ratio").unwrap();
        assert!((ratio - 1.3).abs() < 1e-9, "{ratio}");
        run.cells[3].verdicts = vec![fixtures::verdict("token_counts", "metric", &["throughput"])];
        let ratio = Rule::Block(steady_window).apply(&Model::of(&run))[0].facts.value("ratio").unwrap();
        assert!((ratio - 1.2).abs() < 1e-9, "{ratio}");
    }
}
