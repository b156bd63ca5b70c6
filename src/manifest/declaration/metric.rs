//! [`Metric`]: the names of what is measured, as manifests and columns spell them.

use std::fmt;

use super::slo::{LatencyKind, SloTerm};
use crate::unit::Percentile;

/// A number of a cell: a percentile or mean of a latency, or a rate.
///
/// ```
/// use runner::manifest::Metric;
/// let metric = Metric::parse("p95_ttft_ms").unwrap();
/// assert_eq!(metric.label(), "p95 TTFT");
/// assert_eq!(metric, Metric::parse("p95_ttft").unwrap());
/// assert_eq!(Metric::OUTPUT.column(), "throughput_tok_s");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// A percentile or the mean of a latency, milliseconds.
    Latency(Rank, LatencyKind),
    /// A rate per second.
    Rate(Rate),
}

/// Which statistic of a latency's distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rank {
    /// A percentile.
    At(Percentile),
    /// The arithmetic mean.
    Mean,
}

/// What a rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Output tokens of all requests.
    Output,
    /// Prompt and output tokens of all requests.
    Total,
    /// Completed requests.
    Requests,
    /// Output tokens of one request after its first token: the median over requests of 1 / TPOT.
    User,
    /// Completed requests that met every SLO term.
    Goodput,
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Tokens per second.
    TokS,
    /// Requests per second.
    ReqS,
}

impl Unit {
    /// The symbol in headings: `ms`, `tok/s`, `req/s`.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::TokS => "tok/s",
            Self::ReqS => "req/s",
        }
    }

    /// The suffix of column names: `_ms`, `_tok_s`, `_req_s`.
    fn suffix(self) -> &'static str {
        match self {
            Self::Ms => "_ms",
            Self::TokS => "_tok_s",
            Self::ReqS => "_req_s",
        }
    }
}

const fn at(percentile: Percentile, kind: LatencyKind) -> Metric {
    Metric::Latency(Rank::At(percentile), kind)
}

impl Metric {
    /// Output tokens per second.
    pub const OUTPUT: Self = Self::Rate(Rate::Output);
    /// Median time to first token.
    pub const P50_TTFT: Self = at(Percentile::P50, LatencyKind::Ttft);
    /// 95th percentile of the time to first token.
    pub const P95_TTFT: Self = at(Percentile::P95, LatencyKind::Ttft);
    /// Median time per output token.
    pub const P50_TPOT: Self = at(Percentile::P50, LatencyKind::Tpot);
    /// Median end-to-end latency.
    pub const P50_E2E: Self = at(Percentile::P50, LatencyKind::E2e);
    /// 95th percentile of the end-to-end latency.
    pub const P95_E2E: Self = at(Percentile::P95, LatencyKind::E2e);

    /// Every metric that has a column in `cells.csv`, in the order of the columns.
    pub const COLUMNS: [Self; 17] = {
        use LatencyKind::{E2e, Itl, Tpot, Ttft};
        const P50: Percentile = Percentile::P50;
        const P95: Percentile = Percentile::P95;
        const P99: Percentile = Percentile::P99;
        [
            at(P50, Ttft),
            at(P95, Ttft),
            at(P99, Ttft),
            at(P50, Itl),
            at(P95, Itl),
            at(P99, Itl),
            at(P50, Tpot),
            at(P95, Tpot),
            at(P99, Tpot),
            at(P50, E2e),
            at(P95, E2e),
            at(P99, E2e),
            Self::Rate(Rate::Output),
            Self::Rate(Rate::Total),
            Self::Rate(Rate::Requests),
            Self::Rate(Rate::User),
            Self::Rate(Rate::Goodput),
        ]
    };

    /// The metric that an SLO term limits.
    pub fn of_term(term: &SloTerm) -> Self {
        at(term.percentile, term.metric)
    }

    /// The unit.
    pub fn unit(self) -> Unit {
        match self {
            Self::Latency(..) => Unit::Ms,
            Self::Rate(Rate::Output | Rate::Total | Rate::User) => Unit::TokS,
            Self::Rate(Rate::Requests | Rate::Goodput) => Unit::ReqS,
        }
    }

    /// Whether lower is better.
    pub fn is_cost(self) -> bool {
        matches!(self, Self::Latency(..))
    }

    /// The name of its column in every table: `p95_ttft_ms`, `throughput_tok_s`.
    pub fn column(self) -> String {
        match self {
            // "req_s" is its own unit.
            Self::Rate(Rate::Requests) => self.key(),
            _ => format!("{}{}", self.key(), self.unit().suffix()),
        }
    }

    /// The column's name without its unit, as SLO terms and verdicts spell it: `p95_ttft`, `throughput`.
    pub fn key(self) -> String {
        match self {
            Self::Latency(rank, kind) => format!("{rank}_{}", kind.name()),
            Self::Rate(rate) => rate.name().into(),
        }
    }

    /// Parses a column's name, with or without its unit; `None` for any other text.
    pub fn parse(name: &str) -> Option<Self> {
        let rates = [Rate::Output, Rate::Total, Rate::Requests, Rate::User, Rate::Goodput];
        let rate = rates.map(Self::Rate).into_iter().find(|rate| rate.key() == name || rate.column() == name);
        rate.or_else(|| {
            let key = name.strip_suffix("_ms").unwrap_or(name);
            if let Some(kind) = key.strip_prefix("mean_") {
                let kind = LatencyKind::ALL.into_iter().find(|known| known.name() == kind)?;
                return Some(Self::Latency(Rank::Mean, kind));
            }
            let (percentile, kind) = SloTerm::parse_key(key).ok()?;
            Some(at(percentile, kind))
        })
    }

    /// The name for people: `p95 TTFT`, `throughput`.
    pub fn label(self) -> String {
        match self {
            Self::Latency(rank, kind) => format!("{rank} {}", kind.name().to_uppercase()),
            Self::Rate(Rate::Output) => "throughput".into(),
            Self::Rate(Rate::Total) => "total throughput".into(),
            Self::Rate(Rate::Requests) => "request rate".into(),
            Self::Rate(Rate::User) => "speed per user".into(),
            Self::Rate(Rate::Goodput) => "goodput".into(),
        }
    }

    /// The heading of its column in a note: `p95 TTFT, ms`.
    pub fn heading(self) -> String {
        format!("{}, {}", self.label(), self.unit().symbol())
    }

    /// Its definition, in one line.
    pub fn definition(self) -> &'static str {
        match self {
            Self::Latency(_, LatencyKind::Ttft) => {
                "first chunk that carries output − origin; the origin is the scheduled instant in an open loop, the send instant in a closed one"
            }
            Self::Latency(_, LatencyKind::Itl) => "gaps between consecutive chunks that carry output, pooled",
            Self::Latency(_, LatencyKind::Tpot) => {
                "(E2E − TTFT) / (n − 1) per request, n output tokens by the server's own usage; absent for n < 2"
            }
            Self::Latency(_, LatencyKind::E2e) => "last chunk that carries output − origin",
            Self::Rate(Rate::Output) => {
                "output tokens / window, first origin to last end of the measured phase"
            }
            Self::Rate(Rate::Total) => "(prompt + output tokens) / window",
            Self::Rate(Rate::Requests) => "completed requests / window",
            Self::Rate(Rate::User) => "median over requests of 1 / TPOT",
            Self::Rate(Rate::Goodput) => "completed requests that met every SLO term / window",
        }
    }
}

impl Rate {
    /// The column's name without its unit.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Output => "throughput",
            Self::Total => "total",
            Self::Requests => "req_s",
            Self::User => "user",
            Self::Goodput => "goodput",
        }
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(percentile) => percentile.fmt(f),
            Self::Mean => f.write_str("mean"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_read_back() {
        for metric in Metric::COLUMNS {
            assert_eq!(Metric::parse(&metric.column()), Some(metric));
            assert_eq!(Metric::parse(&metric.key()), Some(metric));
        }
        for unknown in ["p95", "ttft", "p95_walltime_ms", "mean_", "tok_s", "p0_ttft"] {
            assert_eq!(Metric::parse(unknown), None, "{unknown}");
        }
    }
}
