//! `experiment.repeats`: how many times each cell is measured.

use std::{borrow::Cow, fmt};

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::metric::{Metric, Rate};
use crate::{manifest::error::ValueError, unit::Percent};

/// How many times each cell is measured.
///
/// ```
/// use runner::manifest::Repeats;
/// // As a manifest writes it: { until = { p95_ttft = "5%" }, at_most = 8, restart = true }
/// let table = serde_json::json!({ "until": { "p95_ttft": "5%" }, "at_most": 8, "restart": true });
/// let repeats: Repeats = serde_json::from_value(table)?;
/// assert_eq!((repeats.at_least(), repeats.at_most()), (3, 8));
/// assert!(repeats.restart());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Repeats {
    /// A number, such as 3, or a table, such as `{ until = { p95_ttft = "5%" } }`.
    Fixed(#[schemars(range(min = 1, max = 1000))] u32),
    /// A rule.
    Rule(RepeatRule),
}

/// When a cell has been measured often enough, and whether its server starts anew for each repeat. Without
/// `until`, each cell is measured `at_least` times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepeatRule {
    /// Metrics, each with the largest half width of its 95 % confidence interval over the repeats, relative
    /// to their mean: `{ p95_ttft = "5%" }`. A cell is measured again until all are as narrow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
    /// The fewest repeats. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub at_least: Option<u32>,
    /// The most repeats, with `until`. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub at_most: Option<u32>,
    /// Whether each repeat of a cell runs on another start of its server, since some noise differs only from
    /// start to start. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restart: bool,
}

/// Metrics with the relative half width that their intervals may have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Until(pub Vec<(Metric, Percent)>);

impl Repeats {
    /// The repeats of a cell that is measured once.
    pub const ONCE: Self = Self::Fixed(1);
    /// The fewest repeats by default.
    const AT_LEAST: u32 = 3;
    /// The most repeats by default, with `until`.
    const AT_MOST: u32 = 10;

    /// [`Repeats::ONCE`], to be borrowed.
    pub fn once() -> &'static Self {
        static ONCE: Repeats = Repeats::ONCE;
        &ONCE
    }

    /// The fewest repeats of a cell.
    pub fn at_least(&self) -> u32 {
        match self {
            Self::Fixed(repeats) => *repeats,
            Self::Rule(rule) => rule.at_least.unwrap_or(Self::AT_LEAST),
        }
    }

    /// The most repeats of a cell.
    pub fn at_most(&self) -> u32 {
        match self {
            Self::Rule(rule) if rule.until.is_some() => rule.at_most.unwrap_or(Self::AT_MOST),
            _ => self.at_least(),
        }
    }

    /// The metrics whose intervals have to be narrow, each with its largest relative half width.
    pub fn until(&self) -> &[(Metric, Percent)] {
        match self {
            Self::Rule(RepeatRule { until: Some(Until(metrics)), .. }) => metrics,
            _ => &[],
        }
    }

    /// Whether each repeat runs on another start of its server.
    pub fn restart(&self) -> bool {
        matches!(self, Self::Rule(RepeatRule { restart: true, .. }))
    }
}

impl Default for Repeats {
    fn default() -> Self {
        Self::ONCE
    }
}

impl fmt::Display for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = (self.at_least(), self.at_most());
        write!(f, "{least}")?;
        if least != most {
            write!(f, " to {most}")?;
        }
        for (index, (metric, half_width)) in self.until().iter().enumerate() {
            let gap = if index == 0 { " until " } else { " and " };
            write!(f, "{gap}{} ± {half_width}", metric.label())?;
        }
        if self.restart() {
            f.write_str(", each on a server start of its own")?;
        }
        Ok(())
    }
}

impl Until {
    /// The metric of a name, as SLO terms spell it: `p95_ttft`, `mean_e2e`, `throughput`.
    ///
    /// # Errors
    /// When there is no metric of that name.
    pub(crate) fn metric(name: &str) -> Result<Metric, ValueError> {
        let metric = Metric::parse(name).filter(|metric| metric.key() == name);
        metric.ok_or_else(|| ValueError::NotAMetric(name.to_owned()))
    }
}

impl Serialize for Until {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(metric, half_width)| (metric.key(), half_width)))
    }
}

impl<'de> Deserialize<'de> for Until {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IndexMap::<String, Percent>::deserialize(deserializer)?
            .into_iter()
            .map(|(name, half_width)| Ok((Self::metric(&name).map_err(de::Error::custom)?, half_width)))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl JsonSchema for Until {
    fn schema_name() -> Cow<'static, str> {
        "Until".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let share = generator.subschema_for::<Percent>();
        let rates = [Rate::Output, Rate::Total, Rate::Requests, Rate::User, Rate::Goodput];
        let rates: serde_json::Map<String, serde_json::Value> =
            rates.into_iter().map(|rate| (rate.name().to_owned(), share.clone().to_value())).collect();
        json_schema!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": { "format": "metric" },
            "properties": rates,
            "patternProperties": { "^(p[0-9]+(\\.[0-9]+)?|mean)_(ttft|itl|tpot|e2e)$": share },
            "additionalProperties": false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Repeats {
        let mut table: IndexMap<String, Repeats> = toml::from_str(&format!("repeats = {text}")).unwrap();
        table.swap_remove("repeats").unwrap()
    }

    #[test]
    fn a_number_stays_a_number_and_a_table_has_defaults() {
        let three = read("3");
        assert_eq!((three.at_least(), three.at_most(), three.restart()), (3, 3, false));
        assert_eq!(serde_json::to_string(&three).unwrap(), "3");
        let until = read("{ until = { p95_ttft = \"5%\", throughput = \"2.5%\" } }");
        assert_eq!((until.at_least(), until.at_most(), until.restart()), (3, 10, false));
        assert_eq!(until.until().len(), 2);
        assert_eq!(until.to_string(), "3 to 10 until p95 TTFT ± 5% and throughput ± 2.5%");
        let restarted = read("{ at_least = 4, restart = true }");
        assert_eq!((restarted.at_least(), restarted.at_most(), restarted.restart()), (4, 4, true));
        for repeats in [three, until, restarted] {
            let stored = serde_json::to_string(&repeats).unwrap();
            assert_eq!(serde_json::from_str::<Repeats>(&stored).unwrap(), repeats);
        }
    }

    #[test]
    fn metrics_have_the_names_of_slo_terms() {
        for name in ["p95_ttft", "p99.9_e2e", "mean_tpot", "throughput", "goodput", "req_s", "user"] {
            assert_eq!(Until::metric(name).unwrap().key(), name);
        }
        for name in ["p95_ttft_ms", "throughput_tok_s", "latency", "ttft"] {
            assert!(Until::metric(name).is_err(), "{name}");
        }
    }
}
