//! Whether the numbers hold over time: within a repeat, and from one repeat to the next.

use super::{Case, metric, note, percent};
use crate::{
    load::Records,
    manifest::Workload,
    measure::{
        in_flight, samples,
        summary::Summary,
        verdict::{Verdict, VerdictKind},
    },
    unit::Nanos,
};

/// The halves of a repeat may differ by this share of the faster one.
const HALVES_MAY_DIFFER: f64 = 0.2;
/// Fewer chunks than this in a half say nothing about its speed.
const CHUNKS_OF_A_HALF: usize = 100;
/// The best and the worst repeat may differ by this share of the worst.
const REPEATS_MAY_DIFFER: f64 = 0.1;
/// Beyond this share their mean is not a number to rank by.
const REPEATS_DIFFER_TOO_MUCH: f64 = 0.25;

/// Chunks of the first and the second half of a repeat's steady window.
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

/// Says it of the repeat whose halves differ most.
pub(super) fn not_steady(case: Case<'_>) -> Option<Verdict> {
    let (share, first, second) = case
        .records
        .iter()
        .filter_map(|records| halves(records, case.context.spec))
        .filter(|(first, second)| *first.min(second) >= CHUNKS_OF_A_HALF)
        .map(|(first, second)| {
            let (low, high) = (first.min(second) as f64, first.max(second) as f64);
            (1.0 - low / high, first, second)
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    (share > HALVES_MAY_DIFFER).then(|| {
        note(
            VerdictKind::NotSteady,
            format!(
                "the second half of the steady window brought {second} chunks, the first {first}: {} apart",
                percent(share)
            ),
            "measure longer, or give the server `warmup` requests first",
        )
    })
}

/// How far the largest of some numbers is above the smallest, as a share of the smallest.
fn spread(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.flatten().collect();
    let low = values.iter().copied().min_by(f64::total_cmp)?;
    let high = values.iter().copied().max_by(f64::total_cmp)?;
    (low > 0.0).then(|| high / low - 1.0)
}

pub(super) fn repeats_disagree(case: Case<'_>) -> Option<Verdict> {
    let over = |get: fn(&Summary) -> Option<f64>| spread(case.repeats.iter().map(get));
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
    let words: Vec<String> =
        apart.iter().map(|(name, _, spread)| format!("{name} by {}", percent(*spread))).collect();
    let reason = format!(
        "between the best and the worst of {} repeats differ: {}",
        case.repeats.len(),
        words.join(", ")
    );
    let hint = "measure longer or more often, with `order = \"shuffled\"` against drift, and see what else the machine does";
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
