//! One measurement of another tool, before it becomes a cell.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    manifest::LatencyKind,
    measure::{CellOutcome, Counts, Latency, Metric, Rank, Summary, Window, percentile},
    unit::Percentile,
};

/// The numbers of one point of a grid. What the file does not state is absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Measurement {
    pub(super) workload: Option<String>,
    pub(super) gpu: Option<String>,
    pub(super) model: Option<String>,
    /// The load: `concurrency`, `rate`, `max_tokens` …
    pub(super) load: BTreeMap<String, Value>,
    pub(super) server: BTreeMap<String, Value>,
    /// The outcome, if the file states it.
    pub(super) outcome: Option<CellOutcome>,
    pub(super) at: Option<Timestamp>,
    pub(super) completed: Option<u64>,
    pub(super) failed: Option<u64>,
    pub(super) seconds: Option<f64>,
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    /// All samples in milliseconds, if the file has them.
    pub(super) samples: BTreeMap<LatencyKind, Vec<f64>>,
    /// Numbers without samples, by column of `cells.csv`.
    pub(super) reported: BTreeMap<String, f64>,
}

impl Measurement {
    /// Sets a metric in its unit, if it is known.
    pub(super) fn report(&mut self, metric: Metric, value: Option<f64>) {
        if let Some(value) = value {
            self.reported.insert(metric.column(), value);
        }
    }

    /// Sets a latency in milliseconds by a tool's word for its rank, if it is known.
    pub(super) fn report_rank(&mut self, word: &str, kind: LatencyKind, ms: Option<f64>) {
        if let Some(rank) = rank(word) {
            self.report(Metric::Latency(rank, kind), ms);
        }
    }

    /// Sets a value of the load, if it is known.
    pub(super) fn set_load(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.load.insert(name.into(), plain(value));
        }
    }
}

/// Parses a tool's word for a rank: `mean` or `avg`, `median`, `p95`.
pub(super) fn rank(word: &str) -> Option<Rank> {
    match word {
        "mean" | "avg" => Some(Rank::Mean),
        "median" => Some(Rank::At(Percentile::P50)),
        word => word.parse().ok().map(Rank::At),
    }
}

/// A number as in a manifest: an integer if it is whole.
pub(super) fn plain(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        Value::from(number as i64)
    } else {
        Value::from(number)
    }
}

/// The summary of one or several repeats; `None` if the number of requests is unknown. Samples are pooled,
/// tokens and seconds added, and rates computed from the sums. A sum with an unknown part is unknown.
pub(super) fn summary(rows: &[&Measurement]) -> Option<Summary> {
    let sum = |get: fn(&Measurement) -> Option<u64>| rows.iter().map(|row| get(row)).sum::<Option<u64>>();
    let completed = sum(|row| row.completed)?;
    let failed = sum(|row| row.failed);
    let seconds = rows.iter().map(|row| row.seconds).sum::<Option<f64>>().filter(|seconds| *seconds > 0.0);
    let (input, output) = (sum(|row| row.input_tokens), sum(|row| row.output_tokens));
    let samples = |metric: LatencyKind| -> Option<Vec<f64>> {
        let each: Option<Vec<&Vec<f64>>> = rows.iter().map(|row| row.samples.get(&metric)).collect();
        Some(each?.into_iter().flatten().copied().collect())
    };
    let latency = |metric: LatencyKind| samples(metric).and_then(Latency::of);
    let speeds = samples(LatencyKind::Tpot).map(|tpots| {
        let mut speeds: Vec<f64> = tpots.iter().filter(|tpot| **tpot > 0.0).map(|tpot| 1e3 / tpot).collect();
        speeds.sort_by(f64::total_cmp);
        speeds
    });
    let rate = |amount: Option<u64>| Some(amount? as f64 / seconds?);
    let total = input.zip(output).map(|(input, output)| input + output);
    let mut by_outcome = BTreeMap::from([("completed".to_owned(), completed)]);
    if let Some(failed) = failed.filter(|failed| *failed > 0) {
        by_outcome.insert("failed".into(), failed);
    }
    Some(Summary {
        counts: Counts {
            // Without a number of failures, only the completed requests are known.
            scheduled: completed + failed.unwrap_or_default(),
            completed,
            by_outcome,
        },
        window: seconds.map(|length_s| Window { start_s: 0.0, length_s }),
        ttft: latency(LatencyKind::Ttft),
        itl: latency(LatencyKind::Itl),
        tpot: latency(LatencyKind::Tpot),
        e2e: latency(LatencyKind::E2e),
        user_tok_s: speeds.and_then(|speeds| percentile(&speeds, Percentile::P50)),
        output_tokens: output,
        input_tokens: input,
        throughput_tok_s: rate(output),
        total_tok_s: rate(total),
        req_s: rate(Some(completed)),
        ..Summary::default()
    })
}

/// The mean of each number that all repeats report.
pub(super) fn reported(rows: &[&Measurement]) -> BTreeMap<String, f64> {
    let Some(first) = rows.first() else {
        return BTreeMap::new();
    };
    first
        .reported
        .keys()
        .filter_map(|column| {
            let sum: Option<f64> = rows.iter().map(|row| row.reported.get(column)).sum();
            Some((column.clone(), sum? / rows.len() as f64))
        })
        .collect()
}
