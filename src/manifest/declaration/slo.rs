//! `slo`: latency targets.

use std::{borrow::Cow, fmt, str::FromStr};

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    manifest::error::ValueError,
    unit::{Percentile, TimeSpan},
};

/// Latency targets: percentiles of latencies with their limits. A request counts as goodput when it meets
/// every limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slo(pub Vec<SloTerm>);

/// One latency target: a percentile of a metric and its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SloTerm {
    /// The percentile.
    pub percentile: Percentile,
    /// The latency.
    pub metric: LatencyKind,
    /// The largest value that meets the target.
    pub limit: TimeSpan,
}

/// A latency that an SLO may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LatencyKind {
    /// Time to first token: from the request's origin to the first chunk with output.
    Ttft,
    /// Inter-token latency: between consecutive chunks with output.
    Itl,
    /// Time per output token after the first.
    Tpot,
    /// End-to-end latency: from the request's origin to the last chunk with output.
    E2e,
}

impl LatencyKind {
    /// All latencies, in the order of the tables.
    pub const ALL: [Self; 4] = [Self::Ttft, Self::Itl, Self::Tpot, Self::E2e];

    /// The name in manifests and column names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Itl => "itl",
            Self::Tpot => "tpot",
            Self::E2e => "e2e",
        }
    }
}

impl SloTerm {
    /// The term's name in a manifest: `p95_ttft`.
    pub fn key(&self) -> String {
        format!("{}_{}", self.percentile, self.metric.name())
    }

    /// Reads a name such as `p95_ttft`.
    ///
    /// # Errors
    /// When the name is not a percentile and a latency.
    pub fn parse_key(key: &str) -> Result<(Percentile, LatencyKind), ValueError> {
        let reason = || ValueError::NotATarget(key.to_owned());
        let (percentile, metric) = key.split_once('_').ok_or_else(reason)?;
        let percentile = Percentile::from_str(percentile).map_err(|_| reason())?;
        let metric = LatencyKind::ALL.into_iter().find(|m| m.name() == metric).ok_or_else(reason)?;
        Ok((percentile, metric))
    }
}

impl fmt::Display for SloTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ≤ {}", self.key(), self.limit)
    }
}

impl Serialize for Slo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|term| (term.key(), term.limit)))
    }
}

impl<'de> Deserialize<'de> for Slo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IndexMap::<String, TimeSpan>::deserialize(deserializer)?
            .into_iter()
            .map(|(key, limit)| {
                let (percentile, metric) = SloTerm::parse_key(&key).map_err(de::Error::custom)?;
                Ok(SloTerm { percentile, metric, limit })
            })
            .collect::<Result<_, _>>()
            .map(Slo)
    }
}

impl JsonSchema for Slo {
    fn schema_name() -> Cow<'static, str> {
        "Slo".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let span = generator.subschema_for::<TimeSpan>();
        json_schema!({
            "type": "object",
            "patternProperties": { "^p[0-9]+(\\.[0-9]+)?_(ttft|itl|tpot|e2e)$": span },
            "additionalProperties": false
        })
    }
}
