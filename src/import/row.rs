//! One measurement as another tool reports it, before it becomes a cell.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    manifest::LatencyKind,
    measure::{CellOutcome, Counts, Latency, Metric, Rank, Summary, Window, percentile},
    unit::Percentile,
};

/// What a file says of one point of its grid. Everything it does not say is absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) workload: Option<String>,
    pub(super) gpu: Option<String>,
    pub(super) model: Option<String>,
    /// What was asked: `concurrency`, `rate`, `max_tokens` …
    pub(super) load: BTreeMap<String, Value>,
    /// What the server was started with.
    pub(super) server: BTreeMap<String, Value>,
    /// How it ended, where that is not plain from its numbers.
    pub(super) outcome: Option<CellOutcome>,
    /// When it was measured.
    pub(super) at: Option<Timestamp>,
    pub(super) completed: Option<u64>,
    pub(super) failed: Option<u64>,
    pub(super) seconds: Option<f64>,
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    /// Every sample in milliseconds, where the file has them.
    pub(super) samples: BTreeMap<LatencyKind, Vec<f64>>,
    /// Numbers without samples, by column name.
    pub(super) reported: BTreeMap<String, f64>,
}

impl Row {
    /// Takes what is known of a number of the tables, in its unit.
    pub(super) fn report(&mut self, metric: Metric, value: Option<f64>) {
        if let Some(value) = value {
            self.reported.insert(metric.column(), value);
        }
    }

    /// Takes a latency in milliseconds by a tool's word for its rank.
    pub(super) fn report_rank(&mut self, word: &str, kind: LatencyKind, ms: Option<f64>) {
        if let Some(rank) = rank(word) {
            self.report(Metric::Latency(rank, kind), ms);
        }
    }

    /// Sets a load value, where it is known.
    pub(super) fn asked(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.load.insert(name.into(), plain(value));
        }
    }
}

/// The rank that a tool's word stands for: `mean` or `avg`, `median`, `p95`.
pub(super) fn rank(word: &str) -> Option<Rank> {
    match word {
        "mean" | "avg" => Some(Rank::Mean),
        "median" => Some(Rank::At(Percentile::P50)),
        word => word.parse().ok().map(Rank::At),
    }
}

/// A number as a manifest would have it: whole where it is.
pub(super) fn plain(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        Value::from(number as i64)
    } else {
        Value::from(number)
    }
}

/// The summary of one or several repeats; `None` where the files know no number of requests. Samples are pooled, tokens and
/// seconds added, rates taken over the sums. A sum of which a part is unknown is unknown.
pub(super) fn summary(rows: &[&Row]) -> Option<Summary> {
    let sum = |get: fn(&Row) -> Option<u64>| rows.iter().map(|row| get(row)).sum::<Option<u64>>();
    let completed = sum(|row| row.completed)?;
    let failed = sum(|row| row.failed);
    let seconds = rows.iter().map(|row| row.seconds).sum::<Option<f64>>().filter(|seconds| *seconds > 0.0);
    let (input, output) = (sum(|row| row.input_tokens), sum(|row| row.output_tokens));
    let latency = |metric: LatencyKind| {
        let each: Option<Vec<&Vec<f64>>> = rows.iter().map(|row| row.samples.get(&metric)).collect();
        Latency::of(each?.into_iter().flatten().copied().collect())
    };
    let user = || {
        let each: Option<Vec<&Vec<f64>>> =
            rows.iter().map(|row| row.samples.get(&LatencyKind::Tpot)).collect();
        let mut speeds: Vec<f64> =
            each?.into_iter().flatten().filter(|tpot| **tpot > 0.0).map(|tpot| 1e3 / tpot).collect();
        speeds.sort_by(f64::total_cmp);
        percentile(&speeds, Percentile::P50)
    };
    let rate = |amount: Option<u64>| Some(amount? as f64 / seconds?);
    let total = input.zip(output).map(|(input, output)| input + output);
    let mut by_outcome = BTreeMap::from([("completed".to_owned(), completed)]);
    if let Some(failed) = failed.filter(|failed| *failed > 0) {
        by_outcome.insert("failed".into(), failed);
    }
    Some(Summary {
        counts: Counts {
            // Where nobody says that requests failed, only those that completed are known of.
            scheduled: completed + failed.unwrap_or_default(),
            completed,
            by_outcome,
        },
        window: seconds.map(|length_s| Window { start_s: 0.0, length_s }),
        steady: None,
        ttft: latency(LatencyKind::Ttft),
        itl: latency(LatencyKind::Itl),
        tpot: latency(LatencyKind::Tpot),
        e2e: latency(LatencyKind::E2e),
        issue_delay: None,
        user_tok_s: user(),
        output_tokens: output,
        input_tokens: input,
        cached_tokens: None,
        throughput_tok_s: rate(output),
        total_tok_s: rate(total),
        steady_tok_s: None,
        req_s: rate(Some(completed)),
        goodput_req_s: None,
        tokens_per_chunk: None,
        output_length: None,
        peak_in_flight: None,
        peak_queue: None,
        starts: None,
    })
}

/// What repeats report, each number as their mean; what one of them lacks is absent.
pub(super) fn reported(rows: &[&Row]) -> BTreeMap<String, f64> {
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
