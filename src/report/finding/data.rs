//! What the numbers are of: how requests were sent, how answers came, what failed.

use std::collections::BTreeMap;

use super::{Facts, Finding, Kind, Rule, Unit, each_block, place};
use crate::{
    manifest::Start,
    measure::{Counts, Metric, OutputLength, Starts, Summary},
    report::model::{Block, Cell, Model, Origin, SAME, Streaming},
};

pub(super) const RULES: &[Rule] = &[not_streamed, errors, asked_and_got, open_loops, starts, steady_windows];

/// A steady window of less than this part of the whole one says little of the cell.
const STEADY: f64 = 0.25;

/// The cells of a block that a rule may describe: those with a summary, of the kind that is ranked.
fn described<'m, 'a>(
    model: &'m Model<'a>,
    block: &'m Block<'a>,
) -> impl Iterator<Item = (&'m Cell<'a>, &'a Summary)> + Clone {
    let cells = block.cells.iter().map(|at| &model.cells[*at]);
    cells
        .filter(|cell| cell.has_numbers() && Some(cell.origin) == block.origin)
        .filter_map(|cell| Some((cell, cell.file.summary.as_ref()?)))
}

/// The same, of cells from which something may be concluded.
fn usable<'m, 'a>(
    model: &'m Model<'a>,
    block: &'m Block<'a>,
) -> impl Iterator<Item = (&'m Cell<'a>, &'a Summary)> + Clone {
    described(model, block).filter(|(cell, _)| cell.is_usable())
}

/// Answers that came whole: there is no TTFT, or it is that of the whole answer.
fn not_streamed(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let cells = block.cells.iter().map(|at| &model.cells[*at]);
        let cells = cells.filter(|cell| cell.is_usable() && Some(cell.origin) == block.origin);
        let of = cells.clone().count();
        let found: Vec<&Cell<'_>> = cells.filter(|cell| cell.streaming != Streaming::Streamed).collect();
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
            .count("of", of)
            .place("place", place(model, first));
        let cells = found.iter().map(|cell| cell.index);
        Some(Finding::of_block(Kind::NotStreamed, model, at, cells).with(facts))
    })
}

/// Requests that were sent and did not complete.
fn failed(counts: &Counts) -> u64 {
    let dropped = counts.by_outcome.get(DROPPED).copied().unwrap_or_default();
    counts.errors().saturating_sub(dropped)
}

/// The outcome of a request that was due and never sent.
const DROPPED: &str = "dropped";

fn errors(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let all = described(model, block);
        let of = all.clone().count();
        let hurt: Vec<(&Cell<'_>, &Counts)> =
            all.map(|(cell, summary)| (cell, &summary.counts)).filter(|(_, own)| failed(own) > 0).collect();
        let part = |counts: &Counts| failed(counts) as f64 / counts.scheduled as f64;
        // Of equal ones the first.
        let worst = hurt.iter().copied();
        let (cell, counts) = worst.reduce(|best, own| if part(own.1) > part(best.1) { own } else { best })?;
        let lost: u64 = hurt.iter().map(|(_, counts)| failed(counts)).sum();
        let scheduled: u64 = hurt.iter().map(|(_, counts)| counts.scheduled).sum();
        let mut facts = Facts::new()
            .count("failed", lost as usize)
            .count("scheduled", scheduled as usize)
            .count("count", hurt.len())
            .count("of", of)
            .place("place", place(model, cell))
            .part("part", part(counts));
        let mut texts: BTreeMap<&str, u64> = BTreeMap::new();
        for (text, count) in hurt.iter().flat_map(|(cell, _)| &cell.file.errors) {
            *texts.entry(text).or_insert(0) += count;
        }
        if let Some((text, count)) = texts.into_iter().max_by_key(|(_, count)| *count) {
            facts = facts.name("common", text.trim_end_matches('.')).count("common_count", count as usize);
        }
        let cells = hurt.iter().map(|(cell, _)| cell.index);
        let kept = (1.0 - part(counts)).max(0.01);
        Some(Finding::of_block(Kind::Errors, model, at, cells).strong_as(1.0 / kept).with(facts))
    })
}

/// Answers that ended before the length that was asked for, and where the median is furthest from it.
fn asked_and_got(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let known: Vec<(&Cell<'_>, &OutputLength, u64)> = usable(model, block)
            .filter_map(|(cell, own)| Some((cell, own.output_length.as_ref()?, own.counts.completed)))
            .collect();
        let answers: u64 = known.iter().map(|(_, _, completed)| completed).sum();
        let shorter: u64 = known.iter().map(|(_, own, _)| own.shorter).sum();
        if answers == 0 {
            return None;
        }
        let mut facts = Facts::new()
            .count("shorter", shorter as usize)
            .count("answers", answers as usize)
            .part("part", shorter as f64 / answers as f64);
        let got = |own: &OutputLength| own.p50 / own.asked_p50();
        let worst = known.iter().copied().filter(|(_, own, _)| own.shorter > 0);
        let worst = worst.reduce(|best, own| if got(own.1) < got(best.1) { own } else { best });
        if let Some((cell, own, _)) = worst {
            let worst = Facts::new()
                .place("place", place(model, cell))
                .number("asked", own.asked_p50(), Unit::Count, 3)
                .number("got", own.p50, Unit::Count, 3)
                .count("least", own.min as usize)
                .count("most", own.max as usize);
            facts = facts.facts("worst", worst);
        }
        let cells = known.iter().map(|(cell, ..)| cell.index);
        Some(Finding::of_block(Kind::AskedAndGot, model, at, cells).with(facts))
    })
}

/// How an open loop sent its requests: by which arrivals, how late, and how many never.
fn open_loops(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let arrivals = |cell: &Cell<'_>| cell.file.load.get("arrivals")?.as_str().map(str::to_owned);
        // Nobody sends what is computed, and how others send is not told.
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
        let mut facts = Facts::new()
            .names("arrivals", names)
            .count("scheduled", scheduled as usize)
            .count("dropped", dropped as usize);
        let delays: Option<Vec<f64>> =
            open.iter().map(|(_, own, _)| Some(own.issue_delay.as_ref()?.p99_ms)).collect();
        if let Some(delay) = delays.and_then(|delays| delays.into_iter().max_by(f64::total_cmp)) {
            facts = facts.number("p99_delay", delay, Unit::Ms, 2);
        }
        let cells = open.iter().map(|(cell, ..)| cell.index);
        Some(Finding::of_block(Kind::OpenLoop, model, at, cells).with(facts))
    })
}

/// How the streams of closed loops with several of them started.
fn starts(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let several = |cell: &Cell<'_>| !cell.load.is_open && cell.load.asked.is_some_and(|load| load > 1.0);
        let known: Vec<(&Cell<'_>, Starts)> = described(model, block)
            .filter(|(cell, _)| several(cell))
            .filter_map(|(cell, summary)| Some((cell, summary.starts?)))
            .collect();
        let staggered = known.iter().filter(|(_, starts)| starts.how == Start::Staggered);
        let longest = staggered.clone().map(|(_, starts)| starts.spread_s).max_by(f64::total_cmp);
        let staggered = staggered.count();
        let mut facts = Facts::new()
            .count("staggered", staggered)
            .count("together", known.len() - staggered)
            .count("of", known.len());
        if let Some(longest) = longest {
            facts = facts.number("longest_spread", longest, Unit::S, 3);
        }
        let cells = known.iter().map(|(cell, _)| cell.index);
        (!known.is_empty()).then(|| Finding::of_block(Kind::Starts, model, at, cells).with(facts))
    })
}

/// The cell whose throughput without start and drain differs most from that of its whole window.
fn steady_windows(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let rates = |(cell, summary): (_, &Summary)| {
            let cell: &Cell<'_> = cell;
            let part = summary.steady?.length_s / summary.window?.length_s;
            let whole = cell.ranked(Metric::OUTPUT).filter(|whole| *whole > 0.0 && part >= STEADY)?;
            Some((cell, summary.steady_tok_s.filter(|steady| *steady > 0.0)?, whole))
        };
        let apart = |own: &(&Cell<'_>, f64, f64)| (own.1 / own.2).ln().abs();
        let known = usable(model, block).filter_map(rates);
        let (cell, steady, whole) =
            known.reduce(|best, own| if apart(&own) > apart(&best) { own } else { best })?;
        let digits = model.digits(&[cell.index]);
        let facts = Facts::new()
            .place("place", place(model, cell))
            .measure("steady", Metric::OUTPUT, steady, digits)
            .measure("whole", Metric::OUTPUT, whole, digits)
            .times("ratio", steady / whole, digits);
        let finding = Finding::of_block(Kind::SteadyWindow, model, at, [cell.index]);
        ((steady / whole).ln().abs() >= SAME).then(|| finding.strong_as(steady / whole).with(facts))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;
    use crate::{
        report::{
            finding::{Fact, Words},
            fixtures,
        },
        store::StoredRun,
    };

    fn say(model: &Model<'_>, own: &[Finding]) {
        let said = Words::new(None).unwrap().say(model, own).unwrap();
        assert!(said.iter().all(|sentence| !sentence.is_empty()), "{said:?}");
    }

    #[test]
    fn answers_that_came_whole_are_counted_as_the_model_decides() {
        let run = fixtures::grid();
        let model = Model::of(&run);
        let found = not_streamed(&model);
        let facts = &found[0].facts;
        assert_eq!(facts.get("which"), Some(&Fact::Name("whole".into())));
        assert_eq!((facts.value("count"), facts.value("of")), (Some(12.0), Some(12.0)));
        say(&model, &found);
        let mut run = fixtures::streamed();
        assert_eq!(not_streamed(&Model::of(&run)), []);
        for cell in &mut run.cells[..2] {
            cell.summary.as_mut().unwrap().ttft = None;
        }
        let model = Model::of(&run);
        let found = not_streamed(&model);
        assert_eq!(found[0].facts.get("which"), Some(&Fact::Name("absent".into())));
        assert_eq!(found[0].cells, [0, 1]);
        say(&model, &found);
    }

    #[test]
    fn a_few_tokens_behind_a_long_prompt_were_streamed_all_the_same() {
        let mut run = fixtures::streamed();
        for cell in &mut run.cells {
            cell.summary.as_mut().unwrap().ttft = Some(fixtures::latency(200, 9995.0, 9996.0));
            cell.summary.as_mut().unwrap().e2e = Some(fixtures::latency(200, 10_000.0, 10_001.0));
        }
        assert_eq!(not_streamed(&Model::of(&run)), []);
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
        let found = errors(&model);
        let facts = &found[0].facts;
        assert_eq!((facts.value("failed"), facts.value("scheduled")), (Some(110.0), Some(400.0)));
        assert_eq!((facts.value("count"), facts.value("part")), (Some(2.0), Some(0.5)));
        assert_eq!(facts.get("common"), Some(&Fact::Name("connection reset".into())));
        assert_eq!(facts.value("common_count"), Some(104.0));
        say(&model, &found);
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
        let found = open_loops(&model);
        let facts = &found[0].facts;
        assert_eq!((facts.value("p99_delay"), facts.value("dropped")), (Some(0.4), Some(0.0)));
        say(&model, &found);
        run.cells[2].summary.as_mut().unwrap().issue_delay = None;
        fail(&mut run, 1, 0, 9);
        let model = Model::of(&run);
        let found = open_loops(&model);
        assert_eq!((found[0].facts.value("p99_delay"), found[0].facts.value("dropped")), (None, Some(9.0)));
        // What was never sent did not fail.
        assert_eq!(errors(&model), []);
        say(&model, &found);
        assert_eq!(open_loops(&Model::of(&fixtures::streamed())), []);
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
        let own: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&model)).collect();
        let facts = |kind| &own.iter().find(|finding| finding.kind == kind).unwrap().facts;
        let starts = facts(Kind::Starts);
        // One stream starts in one way alone.
        assert_eq!((starts.value("staggered"), starts.value("together")), (Some(2.0), Some(1.0)));
        assert_eq!(starts.value("longest_spread"), Some(2.5));
        let lengths = facts(Kind::AskedAndGot);
        assert_eq!((lengths.value("shorter"), lengths.value("answers")), (Some(30.0), Some(800.0)));
        let ratio = facts(Kind::SteadyWindow).value("ratio").unwrap();
        assert!((ratio - 1.3).abs() < 1e-9, "{ratio}");
        say(&model, &own);
        run.cells[3].verdicts = vec![fixtures::verdict("token_counts", "metric", &["throughput"])];
        let ratio = steady_windows(&Model::of(&run))[0].facts.value("ratio").unwrap();
        assert!((ratio - 1.2).abs() < 1e-9, "{ratio}");
    }
}
