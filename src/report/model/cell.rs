//! A cell as rules see it: its values on the axes, the load it reached, and its numbers with their verdicts.

use crate::{
    manifest::LatencyKind,
    measure::{Metric, Rank, Severity, Summary, VerdictKind},
    plan::{self, Quantity},
    report::{
        metrics::{RATES, at},
        origin::Origin,
        statistics::{Estimate, relative_error},
    },
    store::CellFile,
    unit::Percentile,
};

use super::numbers::{Number, Numbers};

/// TTFT of at least this part of E2E means that answers arrived in one piece.
const WHOLE: f64 = 0.99;

/// One stored cell.
pub(crate) struct Cell<'a> {
    pub(crate) file: &'a CellFile,
    /// The planned cell; `None` if it was imported.
    pub(crate) plan: Option<&'a plan::Cell>,
    /// Its index among the cells of the run.
    pub(crate) index: usize,
    /// Index of its workload.
    pub(crate) workload: usize,
    /// Index of its server; `None` if the plan has no such server.
    pub(crate) server: Option<usize>,
    /// Its value on each axis, as an index of the values of the axis.
    pub(crate) at: Vec<Option<usize>>,
    pub(crate) origin: Origin,
    pub(crate) load: Load,
    pub(crate) streaming: Streaming,
    /// Whether it belongs to a probe that says nothing, or that was measured again. It is listed, and no rule
    /// looks at it.
    pub(crate) is_set_aside: bool,
    pub(super) numbers: Numbers,
}

/// The load on the server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Load {
    /// Configured streams of a closed loop, or requests per second of an open one.
    pub(crate) configured: Option<f64>,
    /// The load that was reached: no more streams than requests were in flight.
    pub(crate) reached: Option<f64>,
    /// Whether it is an open loop: arrivals do not depend on what is in flight.
    pub(crate) is_open: bool,
    /// The rate at the end of a ramp.
    pub(crate) ramp_to: Option<f64>,
}

impl Load {
    /// What it counts: `rate` in an open loop, `concurrency` in a closed one.
    pub(crate) fn quantity(&self) -> &'static str {
        if self.is_open { Quantity::Rate.name() } else { Quantity::Concurrency.name() }
    }
}

/// How the answers of a cell arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streaming {
    /// Token by token, as far as is known.
    Streamed,
    /// Streaming was off: there is no TTFT.
    NotStreamed,
    /// Streamed, but in one piece: TTFT equals E2E.
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
                configured: rate,
                reached: rate,
                is_open: true,
                ramp_to: plan.and_then(|cell| cell.spec.ramp_to),
            };
        };
        // A stream that pauses to think still is a user.
        let thinks = plan.is_some_and(|cell| cell.spec.think_time.is_some());
        let peak = file.summary.as_ref().and_then(|summary| summary.peak_in_flight);
        let reached = match peak {
            Some(peak) if !thinks => streams.min(f64::from(peak)),
            _ => streams,
        };
        Load { configured: Some(streams), reached: Some(reached), is_open: false, ramp_to: None }
    }

    pub(super) fn streaming_of(file: &CellFile) -> Streaming {
        let seen = file.verdicts.iter().any(|verdict| verdict.kind == VerdictKind::NotStreamed);
        match (file.number(Metric::P50_TTFT), file.number(Metric::P50_E2E)) {
            // Another tool may have streamed and not reported TTFT.
            (None, Some(_)) if file.reported.is_empty() => Streaming::NotStreamed,
            // A few tokens after a long prompt take as small a part of E2E; only the verdict knows the
            // chunks.
            (Some(ttft), Some(e2e)) if e2e > 0.0 && ttft >= WHOLE * e2e && seen => Streaming::Whole,
            _ => Streaming::Streamed,
        }
    }

    pub(crate) fn id(&self) -> &'a str {
        &self.file.id
    }

    /// Returns a number with the verdict against it; `None` if it was not measured.
    pub(crate) fn number(&self, metric: Metric) -> Option<Number> {
        self.numbers.get(self.file, metric)
    }

    /// Returns a number to show, whether or not it may be ranked.
    pub(crate) fn shown(&self, metric: Metric) -> Option<f64> {
        self.number(metric).map(|number| number.value)
    }

    /// Returns a number to draw conclusions from; `None` if a verdict excludes it.
    pub(crate) fn ranked(&self, metric: Metric) -> Option<f64> {
        self.number(metric).filter(|number| number.excluded.is_none()).map(|number| number.value)
    }

    /// Whether the cell measured a latency for itself: an answer that arrived in one piece has neither a
    /// first token nor gaps, so that its TTFT is its E2E.
    pub(crate) fn has_own(&self, kind: LatencyKind) -> bool {
        kind == LatencyKind::E2e || self.streaming == Streaming::Streamed
    }

    /// Returns a positive number to draw conclusions from; of a latency, only the cell's own.
    pub(crate) fn ranked_own(&self, metric: Metric) -> Option<f64> {
        let is_own = !matches!(metric, Metric::Latency(_, kind) if !self.has_own(kind));
        self.ranked(metric).filter(|value| is_own && *value > 0.0)
    }

    /// Returns the standard error of the logarithm of a number, from its samples alone.
    pub(crate) fn sampled(&self, metric: Metric) -> Option<f64> {
        self.numbers.sampled(metric, || self.sampling(metric))
    }

    /// Whether the cell has numbers.
    pub(crate) fn has_numbers(&self) -> bool {
        self.file.has_numbers()
    }

    /// Whether it has numbers and no verdict excludes the whole cell.
    pub(crate) fn is_usable(&self) -> bool {
        self.has_numbers() && self.excluded().is_none()
    }

    /// Whether conclusions about cells of an origin may rest on it.
    pub(crate) fn is_usable_as(&self, origin: Option<Origin>) -> bool {
        self.is_usable() && Some(self.origin) == origin
    }

    /// The verdict that excludes the whole cell.
    pub(crate) fn excluded(&self) -> Option<VerdictKind> {
        let verdicts = self.file.verdicts.iter();
        let grave = verdicts.filter(|verdict| verdict.severity == Severity::Cell);
        grave.map(|verdict| verdict.kind).find(|kind| *kind != VerdictKind::Simulated)
    }

    /// The number of samples of a metric: those of its latency, else the completed requests.
    pub(crate) fn samples(&self, metric: Metric) -> Option<u64> {
        let summary = self.file.summary.as_ref()?;
        let own = metric.distribution(summary).map(|latency| latency.n);
        own.or(Some(summary.counts.completed)).filter(|n| *n > 0)
    }

    /// The mean tokens of a prompt, if they were counted.
    pub(crate) fn prompt_tokens(&self) -> Option<f64> {
        self.tokens(|summary| summary.input_tokens)
    }

    /// The mean tokens of an answer, if they were counted.
    pub(crate) fn answer_tokens(&self) -> Option<f64> {
        self.tokens(|summary| summary.output_tokens)
    }

    fn tokens(&self, of: fn(&Summary) -> Option<u64>) -> Option<f64> {
        let summary = self.file.summary.as_ref()?;
        let completed = summary.counts.completed;
        (completed > 0).then_some(())?;
        Some(of(summary)? as f64 / completed as f64)
    }

    /// The first of some metrics by which the cell may be ranked, with its value.
    pub(crate) fn first_ranked(&self, metrics: &[Metric]) -> Option<(Metric, f64)> {
        metrics.iter().find_map(|metric| Some((*metric, self.ranked(*metric)?)))
    }

    /// A percentile over the median of a latency, if both may be ranked.
    pub(crate) fn tail(&self, rank: Percentile, kind: LatencyKind) -> Option<f64> {
        let (middle, tail) = (self.ranked(at(Percentile::P50, kind))?, self.ranked(at(rank, kind))?);
        (middle > 0.0).then(|| tail / middle)
    }

    fn sampling(&self, metric: Metric) -> Option<f64> {
        let summary = self.file.summary.as_ref()?;
        match metric {
            Metric::Latency(Rank::At(rank), kind) => {
                Estimate::percentile(summary.latency(kind)?, rank)?.log_error()
            }
            Metric::Latency(Rank::Mean, kind) => relative_error(summary.latency(kind)?),
            // By Little's law the relative error of a rate is that of the mean latency.
            Metric::Rate(_) if !self.load.is_open => relative_error(summary.e2e.as_ref()?),
            // The number of random arrivals varies by its square root.
            Metric::Rate(_) => {
                let completed = summary.counts.completed;
                (completed > 0).then(|| 1.0 / (completed as f64).sqrt())
            }
        }
    }
}

/// The throughput metric of some cells: the first that one of them has.
pub(super) fn brings<'c, 'a: 'c>(cells: impl Iterator<Item = &'c Cell<'a>> + Clone) -> Option<Metric> {
    let has = |rate: Metric, cell: &Cell<'_>| cell.ranked(rate).is_some_and(|value| value > 0.0);
    RATES.into_iter().find(|rate| cells.clone().any(|cell| has(*rate, cell)))
}
