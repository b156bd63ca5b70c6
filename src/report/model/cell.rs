//! A cell as rules see it: where it stands, what load it reached, and each number as it may be used.

use crate::{
    manifest::LatencyKind,
    measure::{Metric, VerdictKind},
    plan,
    store::CellFile,
};

use super::{Numbers, Origin};

/// TTFT of at least this part of E2E: the answers came whole.
const WHOLE: f64 = 0.99;

/// One stored cell.
pub(in crate::report) struct Cell<'a> {
    pub(in crate::report) file: &'a CellFile,
    /// What was planned for it; `None` where it was imported.
    pub(in crate::report) plan: Option<&'a plan::Cell>,
    /// Its place in [`super::Model::cells`].
    pub(in crate::report) index: usize,
    /// Its workload's place in [`super::Model::workloads`].
    pub(in crate::report) workload: usize,
    /// Its server's place in [`super::Model::servers`]; `None` where the plan has no such server.
    pub(in crate::report) server: Option<usize>,
    /// Its value on each axis of the model, as a place in the axis' values.
    pub(in crate::report) at: Vec<Option<usize>>,
    pub(in crate::report) origin: Origin,
    pub(in crate::report) load: Load,
    pub(in crate::report) streaming: Streaming,
    pub(super) numbers: Numbers,
}

/// A number, and whether anything may be concluded from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Number {
    pub(in crate::report) value: f64,
    /// The verdict against it; `None` where it may be ranked.
    pub(in crate::report) excluded: Option<VerdictKind>,
}

/// How much was asked of the server at once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::report) struct Load {
    /// Streams of a closed loop, or requests per second of an open one, as the manifest asked.
    pub(in crate::report) asked: Option<f64>,
    /// The same as it came to be: at most as many streams as requests were in flight.
    pub(in crate::report) reached: Option<f64>,
    /// Whether arrivals follow a clock, whatever is in flight.
    pub(in crate::report) is_open: bool,
    /// The rate at the end of a ramp.
    pub(in crate::report) ramp_to: Option<f64>,
}

/// How the answers of a cell came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Streaming {
    /// Token by token, as far as is known.
    Streamed,
    /// Nothing was streamed: there is no TTFT.
    NotStreamed,
    /// Streamed, and yet in one piece: TTFT is E2E.
    Whole,
}

impl<'a> Cell<'a> {
    pub(super) fn load_of(file: &CellFile, plan: Option<&plan::Cell>) -> Load {
        let number = |name: &str| {
            let value = file.axes.get(name).or_else(|| file.load.get(name));
            value.and_then(serde_json::Value::as_f64)
        };
        let Some(streams) = number("concurrency") else {
            let rate = number("rate");
            return Load {
                asked: rate,
                reached: rate,
                is_open: true,
                ramp_to: plan.and_then(|cell| cell.spec.ramp_to),
            };
        };
        // A stream that thinks is a user all the same.
        let thinks = plan.is_some_and(|cell| cell.spec.think_time.is_some());
        let peak = file.summary.as_ref().and_then(|summary| summary.peak_in_flight);
        let reached = match peak {
            Some(peak) if !thinks => streams.min(f64::from(peak)),
            _ => streams,
        };
        Load { asked: Some(streams), reached: Some(reached), is_open: false, ramp_to: None }
    }

    pub(super) fn streaming_of(file: &CellFile) -> Streaming {
        let seen = file.verdicts.iter().any(|verdict| verdict.kind == VerdictKind::NotStreamed);
        match (file.number(Metric::P50_TTFT), file.number(Metric::P50_E2E)) {
            // What another tool does not report may have been streamed all the same.
            (None, Some(_)) if file.reported.is_empty() => Streaming::NotStreamed,
            // A few tokens behind a long prompt take as little of E2E: the chunks tell, and the verdict has seen them.
            (Some(ttft), Some(e2e)) if e2e > 0.0 && ttft >= WHOLE * e2e && seen => Streaming::Whole,
            _ => Streaming::Streamed,
        }
    }

    pub(in crate::report) fn id(&self) -> &'a str {
        &self.file.id
    }

    /// A number with what stands against it; absent where it was not measured.
    pub(in crate::report) fn number(&self, metric: Metric) -> Option<Number> {
        self.numbers.get(self.file, metric)
    }

    /// A number to show; whether it may be ranked is another question.
    pub(in crate::report) fn shown(&self, metric: Metric) -> Option<f64> {
        self.number(metric).map(|number| number.value)
    }

    /// A number to conclude from: absent where a verdict excludes it.
    pub(in crate::report) fn ranked(&self, metric: Metric) -> Option<f64> {
        self.number(metric).filter(|number| number.excluded.is_none()).map(|number| number.value)
    }

    /// The standard error that its samples alone give the logarithm of a number.
    pub(in crate::report) fn sampled(&self, metric: Metric) -> Option<f64> {
        self.numbers.sampled(metric, || super::noise::sampling(self, metric))
    }

    /// Whether the cell has numbers.
    pub(in crate::report) fn has_numbers(&self) -> bool {
        self.file.has_numbers()
    }

    /// Whether it has numbers, and no verdict excludes all of them.
    pub(in crate::report) fn is_usable(&self) -> bool {
        self.has_numbers() && self.excluded().is_none()
    }

    /// The verdict that excludes the whole cell.
    pub(in crate::report) fn excluded(&self) -> Option<VerdictKind> {
        use crate::measure::Severity;
        let verdicts = self.file.verdicts.iter();
        verdicts
            .filter(|verdict| verdict.severity == Severity::Cell && verdict.kind != VerdictKind::Simulated)
            .map(|verdict| verdict.kind)
            .next()
    }

    /// How many samples a metric rests on: those of its latency, else the completed requests.
    pub(in crate::report) fn samples(&self, metric: Metric) -> Option<u64> {
        let summary = self.file.summary.as_ref()?;
        let own = metric.distribution(summary).map(|latency| latency.n);
        own.or(Some(summary.counts.completed)).filter(|n| *n > 0)
    }

    /// Tokens of a mean prompt, where they were counted.
    pub(in crate::report) fn prompt_tokens(&self) -> Option<f64> {
        self.tokens(|summary| summary.input_tokens)
    }

    /// Tokens of a mean answer, where they were counted.
    pub(in crate::report) fn answer_tokens(&self) -> Option<f64> {
        self.tokens(|summary| summary.output_tokens)
    }

    fn tokens(&self, of: fn(&crate::measure::Summary) -> Option<u64>) -> Option<f64> {
        let summary = self.file.summary.as_ref()?;
        let completed = summary.counts.completed;
        (completed > 0).then_some(())?;
        Some(of(summary)? as f64 / completed as f64)
    }

    /// The first of some metrics that the cell has and that may be ranked.
    pub(in crate::report) fn first_ranked(&self, metrics: &[Metric]) -> Option<(Metric, f64)> {
        metrics.iter().find_map(|metric| Some((*metric, self.ranked(*metric)?)))
    }

    /// A percentile over the median of the same latency, where both may be ranked.
    pub(in crate::report) fn tail(&self, rank: crate::unit::Percentile, kind: LatencyKind) -> Option<f64> {
        use crate::{measure::Rank, unit::Percentile};
        let at = |rank| self.ranked(Metric::Latency(Rank::At(rank), kind));
        let (middle, tail) = (at(Percentile::P50)?, at(rank)?);
        (middle > 0.0).then(|| tail / middle)
    }
}
