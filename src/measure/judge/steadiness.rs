//! Checks that numbers are stable: within a repeat, and from one repeat to the next.

use super::evidence::{Evidence, metric, note, percent};
use crate::{
    load::Records,
    manifest::Workload,
    measure::{
        in_flight,
        precision::{Precision, precision},
        samples,
        summary::Summary,
        verdict::{Verdict, VerdictKind},
    },
    unit::Nanos,
};

/// Allowed difference between the halves of a repeat, as a share of the faster one.
const HALVES_MAY_DIFFER: f64 = 0.2;
/// Fewer chunks than this in a half do not show its speed.
const CHUNKS_IN_HALF: usize = 100;
/// Allowed difference between the best and the worst repeat, as a share of the worst.
const REPEATS_MAY_DIFFER: f64 = 0.1;
/// Above this difference, the pooled number is excluded from rankings.
const REPEATS_DIFFER_TOO_MUCH: f64 = 0.25;

/// Counts chunks in the first and the second half of a repeat's steady window.
fn halves(records: &Records, spec: &Workload) -> Option<(usize, usize)> {
    let steady = in_flight::steady(records, spec, samples::window(records, spec)?)?;
    let middle = Nanos(steady.start.0 + steady.length / 2);
    let mut counts = (0, 0);
    for record in records {
        for at in record.chunks.iter().filter(|at| steady.contains(*at)) {
            if at < middle {
                counts.0 += 1;
            } else {
                counts.1 += 1;
            }
        }
    }
    Some(counts)
}

/// Checks the repeat whose halves differ most.
pub(super) fn not_steady(evidence: Evidence<'_>) -> Option<Verdict> {
    let (share, first, second) = evidence
        .records
        .iter()
        .filter_map(|records| halves(records, evidence.context.spec))
        .filter(|(first, second)| *first.min(second) >= CHUNKS_IN_HALF)
        .map(|(first, second)| {
            let (low, high) = (first.min(second) as f64, first.max(second) as f64);
            (1.0 - low / high, first, second)
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    (share > HALVES_MAY_DIFFER).then(|| {
        note(
            VerdictKind::NotSteady,
            format!(
                "the second half of the steady window had {second} chunks, the first {first}: a difference of {}",
                percent(share)
            ),
            "measure longer, or send more `warmup` requests first",
        )
    })
}

/// How far the largest number is above the smallest, as a share of the smallest.
fn spread(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.flatten().collect();
    let low = values.iter().copied().min_by(f64::total_cmp)?;
    let high = values.iter().copied().max_by(f64::total_cmp)?;
    (low > 0.0).then(|| high / low - 1.0)
}

/// Checks that repeats agree.
pub(super) fn repeats_disagree(evidence: Evidence<'_>) -> Option<Verdict> {
    let over = |get: fn(&Summary) -> Option<f64>| spread(evidence.repeats.iter().map(get));
    let seen = [
        (
            "throughput",
            &["throughput", "total", "req_s", "goodput"][..],
            over(|summary| summary.throughput_tok_s),
        ),
        ("p50_e2e", &["e2e"][..], over(|summary| summary.e2e.as_ref().map(|e2e| e2e.p50_ms))),
    ];
    let apart: Vec<(&str, &[&str], f64)> = seen
        .into_iter()
        .filter_map(|(name, touched, spread)| Some((name, touched, spread?)))
        .filter(|(_, _, spread)| *spread > REPEATS_MAY_DIFFER)
        .collect();
    if apart.is_empty() {
        return None;
    }
    let differences: Vec<String> =
        apart.iter().map(|(name, _, spread)| format!("{name} by {}", percent(*spread))).collect();
    let reason = format!(
        "the best and the worst of {} repeats differ: {}",
        evidence.repeats.len(),
        differences.join(", ")
    );
    let hint = "measure longer or more often, use `order = \"shuffled\"` against drift, and check what else runs on the machine";
    let touched: Vec<&str> = apart
        .iter()
        .filter(|(_, _, spread)| *spread > REPEATS_DIFFER_TOO_MUCH)
        .flat_map(|(_, touched, _)| touched.iter().copied())
        .collect();
    Some(if touched.is_empty() {
        note(VerdictKind::RepeatsDisagree, reason, hint)
    } else {
        metric(VerdictKind::RepeatsDisagree, touched, reason, hint)
    })
}

/// Checks that the repeats suffice for the intervals that the experiment asks for.
pub(super) fn wide_interval(evidence: Evidence<'_>) -> Option<Verdict> {
    let mut wide = precision(evidence.context.repeats, evidence.repeats);
    wide.retain(|_, own| !own.suffices);
    if wide.is_empty() {
        return None;
    }
    let each: Vec<String> = wide
        .iter()
        .map(|(key, own)| {
            let (of, most) = (evidence.repeats.len(), percent(own.within));
            match own.relative() {
                Some(half_width) if half_width > own.within => {
                    format!("{key} is known to ± {} after {of} repeats, not to ± {most}", percent(half_width))
                }
                _ => format!("{key} has a value in only {} of {of} repeats", own.n),
            }
        })
        .collect();
    let needed = wide.values().filter_map(Precision::needed).max();
    let hint = match needed {
        Some(needed) => format!(
            "with this noise about {needed} repeats would do (`at_most`); longer repeats and a quiet machine have less noise"
        ),
        None => "raise `at_most`, or measure longer".to_owned(),
    };
    Some(metric(VerdictKind::WideInterval, wide.into_keys(), each.join("; "), hint))
}
