//! A comparison as the values of its template.

use serde_json::{Value, json};

use super::{Change, Comparison, Judgement, Pair};
use crate::report::{
    insight::count,
    number::{grouped, times},
};

/// The metrics of the tables, in their order; the others decide gates only.
const SHOWN: [&str; 8] = [
    "throughput_tok_s",
    "usd_per_million_output_tokens",
    "gpu_j_per_output_token",
    "p50_ttft_ms",
    "p95_ttft_ms",
    "p50_tpot_ms",
    "p50_e2e_ms",
    "p95_e2e_ms",
];

/// The values of `comparison.md.j2`.
pub(in crate::report) fn values(comparison: &Comparison) -> Value {
    let mut names: Vec<&str> = comparison
        .cells
        .iter()
        .map(|cell| cell.workload.as_str())
        .collect();
    names.dedup();
    json!({
        "machines": [comparison.machines.0, comparison.machines.1],
        "simulated": comparison.simulated,
        "predicted": comparison.predicted,
        "imported": comparison.imported,
        "sentences": sentences(comparison),
        "differences": comparison.differences.iter().map(|difference| json!({
            "key": difference.key,
            "run": difference.run,
            "anchor": difference.anchor,
        })).collect::<Vec<_>>(),
        "workloads": names.into_iter().map(|name| workload(comparison, name)).collect::<Vec<_>>(),
        "alone": { "run": comparison.alone.0, "anchor": comparison.alone.1 },
    })
}

fn workload(comparison: &Comparison, name: &str) -> Value {
    let cells: Vec<&Pair> = comparison
        .cells
        .iter()
        .filter(|cell| cell.workload == name)
        .collect();
    let has = |metric: &&&str| cells.iter().any(|cell| cell.change(metric).is_some());
    let metrics: Vec<&&str> = SHOWN.iter().filter(has).collect();
    let row = |cell: &&Pair| {
        let each = |show: fn(&Change) -> String| -> Vec<String> {
            let texts = metrics.iter().map(|metric| cell.change(metric).map(show));
            texts
                .map(|text| text.unwrap_or_else(|| "–".into()))
                .collect()
        };
        json!({ "label": cell.label, "ratios": each(ratio), "values": each(both) })
    };
    json!({
        "name": name,
        "metrics": metrics,
        "rows": cells.iter().map(row).collect::<Vec<_>>(),
    })
}

/// `1.23× (1.20 to 1.26), better`
fn ratio(change: &Change) -> String {
    let between = change.between.map_or_else(String::new, |(low, high)| {
        format!(" ({} to {})", grouped(low, 2), grouped(high, 2))
    });
    format!(
        "{}{between}, {}",
        times(change.ratio),
        change.judgement.words()
    )
}

fn both(change: &Change) -> String {
    let decimals = |number: f64| if number.abs() < 10.0 { 2 } else { 0 };
    let text = |number: f64| grouped(number, decimals(number));
    format!("{} / {}", text(change.run), text(change.anchor))
}

/// What stands out, in words: for each shown metric how many cells are better, worse or not told apart, and the range.
fn sentences(comparison: &Comparison) -> Vec<String> {
    let (alone, other) = comparison.alone;
    let mut out = vec![format!(
        "{} measured on both; {} only on {}, {} only on {}.",
        count(comparison.cells.len(), "cell"),
        alone,
        comparison.machines.0,
        other,
        comparison.machines.1
    )];
    for metric in SHOWN {
        let changes: Vec<&Change> = comparison
            .cells
            .iter()
            .filter_map(|cell| cell.change(metric))
            .collect();
        let least = changes.iter().map(|change| change.ratio).reduce(f64::min);
        let most = changes.iter().map(|change| change.ratio).reduce(f64::max);
        let Some((least, most)) = least.zip(most) else {
            continue;
        };
        let number = |judgement| {
            let same = changes
                .iter()
                .filter(|change| change.judgement == judgement);
            same.count()
        };
        let parts: Vec<String> = [
            Judgement::Better,
            Judgement::Worse,
            Judgement::WithinNoise,
            Judgement::Untold,
        ]
        .into_iter()
        .filter(|judgement| number(*judgement) > 0)
        .map(|judgement| format!("{} {}", number(judgement), judgement.words()))
        .collect();
        let (least, most) = (times(least), times(most));
        let range = if least == most {
            least
        } else {
            format!("{least} to {most}")
        };
        out.push(format!(
            "{metric}: {range} of {}; of {}: {}.",
            comparison.machines.1,
            count(changes.len(), "cell"),
            parts.join(", ")
        ));
    }
    out
}
