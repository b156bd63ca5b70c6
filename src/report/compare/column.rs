//! The numbers that are compared, with their intervals.

use crate::{
    manifest::LatencyKind,
    measure::{Metric, Rank, Rate, Summary},
    report::{
        metrics::{RATES, at, mean, middle, pace, tail},
        model::{Cell, Model, Origin},
        statistics::Estimate,
    },
    unit::Percentile,
};

/// A number by which two cells are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Column {
    /// A metric of the summary.
    Metric(Metric),
    /// US dollars for a million output tokens: the price of the machine over its throughput.
    Cost,
    /// GPU energy for an output token, joules.
    Energy,
}

/// The columns of tables, in their order: of each row the first that some cell has on both sides. All other
/// numbers serve gates only.
fn rows() -> [Vec<Column>; 9] {
    use LatencyKind::{E2e, Itl, Ttft};
    let row = |metrics: &[Metric]| metrics.iter().copied().map(Column::Metric).collect();
    [
        row(&RATES),
        vec![Column::Cost],
        vec![Column::Energy],
        row(&middle(Ttft)),
        row(&tail(Ttft)),
        row(&pace()),
        row(&[at(Percentile::P99, Itl), at(Percentile::P95, Itl)]),
        row(&middle(E2e)),
        row(&tail(E2e)),
    ]
}

impl Column {
    /// All numbers by which two cells are compared: the columns of `cells.csv`, the means, numbers that
    /// another tool reported, cost and energy.
    pub(super) fn all(one: &Cell<'_>, other: &Cell<'_>) -> Vec<Self> {
        let mut metrics: Vec<Metric> =
            Metric::COLUMNS.into_iter().chain(LatencyKind::ALL.map(mean)).collect();
        for name in one.file.reported.keys().filter(|name| other.file.reported.contains_key(*name)) {
            metrics.extend(Metric::parse(name).filter(|metric| !metrics.contains(metric)));
        }
        metrics.into_iter().map(Self::Metric).chain([Self::Cost, Self::Energy]).collect()
    }

    /// The columns of tables that some cell has.
    pub(super) fn shown(has: impl Fn(Self) -> bool) -> Vec<Self> {
        rows().into_iter().filter_map(|row| row.into_iter().find(|column| has(*column))).collect()
    }

    /// Its name, as a gate spells it: `p95_ttft_ms`, `usd_per_million_output_tokens`.
    pub fn name(self) -> String {
        match self {
            Self::Metric(metric) => metric.column(),
            Self::Cost => "usd_per_million_output_tokens".into(),
            Self::Energy => "gpu_j_per_output_token".into(),
        }
    }

    /// Its label: `p95 TTFT`.
    pub(super) fn label(self) -> String {
        match self {
            Self::Metric(metric) => metric.label(),
            Self::Cost => "cost per million output tokens".into(),
            Self::Energy => "GPU energy per output token".into(),
        }
    }

    /// Its unit: `ms`, `tok/s`.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Metric(metric) => metric.unit().symbol(),
            Self::Cost => "USD",
            Self::Energy => "J",
        }
    }

    /// Whether a smaller number is better.
    pub(super) fn is_cost(self) -> bool {
        match self {
            Self::Metric(metric) => metric.is_cost(),
            Self::Cost | Self::Energy => true,
        }
    }

    /// The number of a cell with its interval; `None` if the cell has none or a verdict excludes it.
    pub(super) fn estimate(self, model: &Model<'_>, cell: &Cell<'_>) -> Option<Estimate> {
        match self {
            Self::Metric(metric) => of_metric(cell, metric),
            Self::Cost => {
                let per_million = model.usd_per_hour()? / 3600.0 * 1e6;
                Some(of_metric(cell, Metric::OUTPUT)?.under(per_million))
            }
            // A cell has a single number without samples, and so no interval.
            Self::Energy => {
                let joules = cell.file.gpu_j_per_output_token().filter(|joules| *joules > 0.0)?;
                cell.is_usable().then_some(Estimate::alone(joules))
            }
        }
    }
}

/// Whether the numbers of a cell were computed: then they have no noise and no interval.
pub(super) fn is_computed(cell: &Cell<'_>) -> bool {
    matches!(cell.origin, Origin::Predicted | Origin::Simulated)
}

fn of_metric(cell: &Cell<'_>, metric: Metric) -> Option<Estimate> {
    let value = cell.ranked(metric).filter(|value| *value > 0.0)?;
    let own = cell.file.summary.as_ref().filter(|summary| metric.of(summary).is_some());
    let sampled =
        own.filter(|_| !is_computed(cell)).and_then(|summary| sampled(cell, metric, value, summary));
    Some(sampled.unwrap_or(Estimate::alone(value)))
}

/// A number with its interval, from samples and repeats.
fn sampled(cell: &Cell<'_>, metric: Metric, value: f64, summary: &Summary) -> Option<Estimate> {
    let repeats: Vec<f64> = cell.file.repeats.iter().filter_map(|repeat| metric.of(repeat)).collect();
    let own = match metric {
        Metric::Latency(Rank::At(rank), kind) => Estimate::percentile(summary.latency(kind)?, rank)?,
        Metric::Latency(Rank::Mean, kind) => Estimate::mean(summary.latency(kind)?),
        Metric::Rate(_) if repeats.len() > 1 => return Some(Estimate::repeated(value, &repeats)),
        // The median over requests of 1 / TPOT is one over the median TPOT.
        Metric::Rate(Rate::User) => {
            let tpot = Estimate::percentile(summary.tpot.as_ref()?, Percentile::P50)?;
            return Some(tpot.under(value * tpot.value));
        }
        // The throughput of an open loop follows its schedule, and goodput follows no law of a mean.
        Metric::Rate(Rate::Goodput) => return None,
        Metric::Rate(_) if cell.load.is_open => return None,
        Metric::Rate(_) => return Some(Estimate::by_littles_law(value, summary.e2e.as_ref()?)),
    };
    Some(own.with_repeats(&repeats))
}
