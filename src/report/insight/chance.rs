//! How much of a difference between cells chance alone would give.

use super::{Rank, Yield, metric, of};
use crate::{
    measure::Latency, report::compare::interval::Estimate, store::CellFile, unit::Percentile,
};

/// The standard normal's 95th and 99th percentiles.
const Z95: f64 = 1.644_854;
const Z99: f64 = 2.326_348;
/// The standard error of a sample's median and 95th percentile, in standard deviations times the root of their number:
/// √(q (1 − q)) / φ(z), with the density φ of the normal distribution at its quantile z.
const MEDIAN_ERROR: f64 = 1.2533;
const P95_ERROR: f64 = 2.1132;
/// So many standard errors apart are beyond chance where the shape of the distribution had to be assumed.
const SIGMAS: f64 = 4.0;
/// The same of two throughputs, whose errors are those of means.
const SIGMAS_OF_MEANS: f64 = 3.0;

/// The same for a spread that was itself estimated from `n` samples.
fn sigmas(n: f64) -> f64 {
    SIGMAS * (1.0 + 6.0 / n)
}

/// Of cells that were measured once, what is within this part of another one's throughput may be another run of it.
pub(super) const ONCE: f64 = 0.8;

/// The samples of a latency of a cell.
pub(super) fn latency<'a>(cell: &'a CellFile, metric: &str) -> Option<&'a Latency> {
    let summary = cell.summary.as_ref()?;
    match metric {
        "ttft" => summary.ttft.as_ref(),
        "tpot" => summary.tpot.as_ref(),
        "itl" => summary.itl.as_ref(),
        _ => summary.e2e.as_ref(),
    }
}

/// How many samples a latency of a cell rests on, where somebody says so.
pub(super) fn samples(cell: &CellFile, metric: &str) -> Option<u64> {
    latency(cell, metric)
        .map(|latency| latency.n)
        .or_else(|| Some(cell.summary.as_ref()?.counts.completed))
        .filter(|n| *n > 0)
}

/// The standard deviation of a latency's logarithm, from how far its tail is from its median.
fn scale(cell: &CellFile, metric: &str) -> Option<f64> {
    let middle = of(cell, &format!("p50_{metric}"))?;
    let (tail, z) = match of(cell, &format!("p95_{metric}")) {
        Some(tail) => (tail, Z95),
        None => (of(cell, &format!("p99_{metric}"))?, Z99),
    };
    (middle > 0.0 && tail >= middle).then(|| (tail / middle).ln() / z)
}

/// The spread of a number over a cell's repeats: the standard deviation of its logarithm.
pub(super) fn spread(cell: &CellFile, key: &str) -> Option<f64> {
    let logs: Option<Vec<f64>> = cell
        .repeats
        .iter()
        .map(|repeat| Some(metric(repeat, key).filter(|value| *value > 0.0)?.ln()))
        .collect();
    let logs = logs.filter(|logs| logs.len() > 1)?;
    let n = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / n;
    let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
    Some((squares / (n - 1.0)).sqrt())
}

/// The standard error of the logarithm of a number of a cell, from its samples and its repeats; `None` where neither tells.
pub(super) fn error(cell: &CellFile, key: &str) -> Option<f64> {
    let over_repeats = spread(cell, key).map(|spread| spread / (cell.repeats.len() as f64).sqrt());
    let own = match key.split_once('_') {
        Some((rank @ ("p50" | "mean" | "p95"), metric @ ("ttft" | "tpot" | "e2e"))) => {
            let of_rank = if rank == "p95" {
                P95_ERROR
            } else {
                MEDIAN_ERROR
            };
            let n = samples(cell, metric)? as f64;
            scale(cell, metric).map(|scale| of_rank * scale / n.sqrt())
        }
        None if key == "throughput" => {
            let e2e = latency(cell, "e2e")?;
            let (low, high) = Estimate::by_littles_law(of(cell, key)?, e2e).between?;
            Some((high / low).ln() / 2.0 / 1.96)
        }
        _ => None,
    };
    match (own, over_repeats) {
        (Some(own), Some(repeats)) => Some(own.max(repeats)),
        (own, repeats) => own.or(repeats),
    }
}

/// Whether one throughput is below another beyond chance, by at least `least` of it: by the repeats of both where there are some,
/// else by what their samples tell and [`ONCE`], for nobody knows how far another run of them would be.
pub(super) fn is_less(own: &CellFile, other: &CellFile, brings: Yield, least: f64) -> bool {
    let Some(ratio) = brings
        .of(own)
        .zip(brings.of(other))
        .map(|(own, other)| own / other)
    else {
        return false;
    };
    let repeated = [own, other].iter().all(|cell| cell.repeats.len() > 1);
    let error = error(own, brings.key()).zip(error(other, brings.key()));
    let sure = error.is_none_or(|(one, other)| -ratio.ln() > SIGMAS_OF_MEANS * one.hypot(other));
    ratio < if repeated { least } else { least.min(ONCE) } && sure
}

/// Whether a p95, or a median, is above others beyond chance; `None` where nobody says on how many samples they rest.
///
/// By the order statistics of the samples where they reach that far, and as if the logarithms were normal and this cell had
/// the spread of the others: with few samples its own says little.
pub(super) fn beyond(
    own: &CellFile,
    others: &[&CellFile],
    metric: &str,
    rank: Rank,
) -> Option<bool> {
    let percentile = match rank {
        Rank::Middle => Percentile::P50,
        Rank::Tail => Percentile::P95,
    };
    let between =
        |cell: &CellFile| Estimate::percentile(latency(cell, metric)?, percentile)?.between;
    let highs: Option<Vec<f64>> = others.iter().map(|cell| Some(between(cell)?.1)).collect();
    let exact = between(own)
        .zip(highs)
        .map(|((low, _), highs)| highs.iter().all(|high| low > *high));
    if exact == Some(false) {
        return exact;
    }
    let key = match rank {
        Rank::Middle => format!("p50_{metric}"),
        Rank::Tail => format!("p95_{metric}"),
    };
    let highest = others
        .iter()
        .filter_map(|cell| of(cell, &key))
        .max_by(f64::total_cmp)?;
    match error_between(own, others, metric, rank) {
        Some(error) => Some((of(own, &key)? / highest).ln() > error),
        None => exact,
    }
}

/// Whether the tail of a cell, its p95 over its p50, is longer than those of others beyond chance.
pub(super) fn longer(
    own: &CellFile,
    others: &[&CellFile],
    metric: &str,
    jump: f64,
) -> Option<bool> {
    let error = error_between(own, others, metric, Rank::Tail)?;
    Some(jump.ln() > error)
}

/// How far a logarithm of a cell may be from those of others by chance, if it had their spread.
fn error_between(own: &CellFile, others: &[&CellFile], metric: &str, rank: Rank) -> Option<f64> {
    let scale = others
        .iter()
        .filter_map(|cell| scale(cell, metric))
        .max_by(f64::total_cmp)?;
    let fewest = others
        .iter()
        .map(|cell| samples(cell, metric))
        .min()
        .flatten()? as f64;
    let n = samples(own, metric)? as f64;
    let of_rank = match rank {
        Rank::Middle => MEDIAN_ERROR,
        Rank::Tail => P95_ERROR,
    };
    Some(sigmas(n.min(fewest)) * of_rank * scale * (1.0 / n + 1.0 / fewest).sqrt())
}
