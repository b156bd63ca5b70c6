//! Quantities with units: durations and percentiles as a manifest writes them, and instants of a cell's
//! clock.
//!
//! ```
//! use runner::unit::{Percentile, TimeSpan};
//!
//! let span: TimeSpan = "1h30m".parse()?;
//! assert_eq!(span.as_ms(), 5_400_000.0);
//! assert_eq!("0.5ms".parse::<TimeSpan>()?.to_string(), "500us");
//! assert_eq!("p95".parse::<Percentile>()?.samples_needed(), 130);
//! # Ok::<(), runner::unit::UnitError>(())
//! ```

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnitError {
    /// A time has no characters.
    #[error("an empty time; write a number and a unit, as in \"1500ms\"")]
    EmptyTime,
    /// A time does not begin with a number.
    #[error("{0:?} is not a time; write a number and a unit, as in \"1500ms\"")]
    NotATime(String),
    /// A number without a unit.
    #[error("{0:?} has no unit; use us, ms, s, m, h or d, as in \"1500ms\"")]
    NoUnit(String),
    /// A unit that does not exist.
    #[error("unknown unit {unit:?} in {text:?}; use us, ms, s, m, h or d")]
    UnknownUnit {
        /// The unit as written.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// More than about 100 years.
    #[error("{0:?} is longer than a century")]
    TooLong(String),
    /// Not a positive number and `%`.
    #[error("{0:?} is not a percentage; write a number above 0 and `%`, as in \"5%\"")]
    NotAPercentage(String),
    /// Not `p` and a number between 0 and 100.
    #[error("{0:?} is not a percentile; write p50, p95, p99 or p99.9")]
    NotAPercentile(String),
}

/// A duration, written as a number and a unit, once or several times: `"1500ms"`, `"1h30m"`.
///
/// Units: `us`, `ms`, `s`, `m`, `h`, `d`. A number without a unit is an error, because its unit would be a
/// guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeSpan(Duration);

impl TimeSpan {
    /// A span of whole milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// A span of whole seconds.
    pub const fn from_secs(s: u64) -> Self {
        Self(Duration::from_secs(s))
    }

    /// The span as a standard library duration.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// The span in milliseconds.
    pub fn as_ms(self) -> f64 {
        self.0.as_secs_f64() * 1e3
    }
}

impl From<Duration> for TimeSpan {
    fn from(value: Duration) -> Self {
        Self(value)
    }
}

const UNITS: [(&str, u128); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

impl FromStr for TimeSpan {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(UnitError::EmptyTime);
        }
        let mut total: f64 = 0.0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let number: f64 = rest[..digits].parse().map_err(|_| UnitError::NotATime(text.to_owned()))?;
            rest = rest[digits..].trim_start();
            let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
            let unit = &rest[..letters];
            let Some((_, ns)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(match unit {
                    "" => UnitError::NoUnit(text.to_owned()),
                    unit => UnitError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() },
                });
            };
            total += number * *ns as f64;
            rest = rest[letters..].trim_start();
        }
        // Keeps sums of spans far from overflow.
        if total > 3.2e18 {
            return Err(UnitError::TooLong(text.to_owned()));
        }
        Ok(Self(Duration::from_nanos(total.round() as u64)))
    }
}

impl fmt::Display for TimeSpan {
    /// Writes the shortest exact spelling: `1500ms`, `10m`, `1h30m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_nanos();
        if rest == 0 {
            return f.write_str("0s");
        }
        // Below ten seconds, 1500ms reads better than 1s500ms.
        let skip_seconds = rest < 10_000_000_000 && !rest.is_multiple_of(1_000_000_000);
        for (unit, ns) in UNITS {
            if skip_seconds && unit == "s" {
                continue;
            }
            let count = rest / ns;
            if count > 0 {
                write!(f, "{count}{unit}")?;
                rest %= ns;
            }
        }
        Ok(())
    }
}

impl Serialize for TimeSpan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for TimeSpan {
    fn schema_name() -> Cow<'static, str> {
        "TimeSpan".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "time-span",
            "pattern": "^\\s*([0-9]+(\\.[0-9]+)?\\s*(us|ms|s|m|h|d)\\s*)+$",
            "description": "A duration: a number and a unit (us, ms, s, m, h, d), as in \"1500ms\" or \"1h30m\"."
        })
    }
}

/// An instant: nanoseconds since the cell's epoch, on one monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The instant in milliseconds since the epoch.
    pub fn as_ms(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The instant in seconds since the epoch.
    pub fn as_secs(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Milliseconds from `earlier` to this instant; negative when `earlier` comes later.
    pub fn ms_since(self, earlier: Nanos) -> f64 {
        (self.0 as i128 - earlier.0 as i128) as f64 / 1e6
    }
}

/// A positive percentage, written `"5%"`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl Percent {
    /// A percentage: 5.0 for 5 %.
    pub const fn new(percent: f64) -> Self {
        Self(percent)
    }

    /// The percentage as a fraction: 0.05 for 5 %.
    pub fn fraction(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let number = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match number {
            Some(percent) if percent > 0.0 && percent.is_finite() => Ok(Self(percent)),
            _ => Err(UnitError::NotAPercentage(text.to_owned())),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "percent",
            "pattern": "^\\s*[0-9]+(\\.[0-9]+)?\\s*%\\s*$",
            "description": "A percentage above 0, as in \"5%\"."
        })
    }
}

/// A percentile rank strictly between 0 and 100, written `p50`, `p95`, `p99.9`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Percentile(f64);

impl Percentile {
    /// The median.
    pub const P50: Self = Self(50.0);
    /// The 95th percentile: one value in 20 is larger.
    pub const P95: Self = Self(95.0);
    /// The 99th percentile: one value in 100 is larger.
    pub const P99: Self = Self(99.0);

    /// The rank as a fraction between 0 and 1.
    pub fn fraction(self) -> f64 {
        self.0 / 100.0
    }

    /// The fewest samples from which this percentile can be estimated: the smallest n for which the chance of
    /// seeing at most one sample beyond the percentile is at most 1 %, that is pⁿ + n (1 − p) pⁿ⁻¹ ≤ 0.01.
    /// These are the first values of MLPerf LoadGen's early-stopping rule (99 % confidence): 64 for p90, 130
    /// for p95, 662 for p99.
    pub fn samples_needed(self) -> u64 {
        let p = self.fraction();
        let enough = |n: u64| {
            let n = n as f64;
            p.powf(n) + n * (1.0 - p) * p.powf(n - 1.0) <= 0.01
        };
        let mut high = 2;
        while !enough(high) {
            high *= 2;
        }
        let mut low = high / 2;
        while low < high {
            let middle = low.midpoint(high);
            if enough(middle) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        high
    }
}

impl FromStr for Percentile {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let rank = text.strip_prefix('p').and_then(|digits| digits.parse::<f64>().ok());
        match rank {
            Some(rank) if rank > 0.0 && rank < 100.0 => Ok(Self(rank)),
            _ => Err(UnitError::NotAPercentile(text.to_owned())),
        }
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_read_and_written_back() {
        for (text, ns, spelled) in [
            ("1500ms", 1_500_000_000, "1500ms"),
            ("3s", 3_000_000_000, "3s"),
            ("10m", 600_000_000_000, "10m"),
            ("1h30m", 5_400_000_000_000, "1h30m"),
            ("90 s", 90_000_000_000, "1m30s"),
            ("0.5ms", 500_000, "500us"),
        ] {
            let span: TimeSpan = text.parse().unwrap();
            assert_eq!(span.duration().as_nanos(), ns, "{text}");
            assert_eq!(span.to_string(), spelled);
            assert_eq!(spelled.parse::<TimeSpan>().unwrap(), span);
        }
    }

    #[test]
    fn a_time_without_a_known_unit_says_which_units_exist() {
        for text in ["5", "5 parsecs", "", "ms", "1.2.3s", "-4s"] {
            let error = text.parse::<TimeSpan>().unwrap_err().to_string();
            assert!(error.contains("ms"), "{text}: {error}");
        }
    }

    #[test]
    fn samples_needed_are_those_of_the_early_stopping_table() {
        let needed = |text: &str| text.parse::<Percentile>().unwrap().samples_needed();
        assert_eq!([needed("p90"), needed("p95"), needed("p99")], [64, 130, 662]);
        assert_eq!(needed("p50"), 11);
    }

    #[test]
    fn percentiles_are_strictly_inside_the_range() {
        assert_eq!("p99.9".parse::<Percentile>().unwrap().to_string(), "p99.9");
        for text in ["p0", "p100", "95", "p", "pp", "p-5"] {
            assert!(text.parse::<Percentile>().is_err(), "{text}");
        }
    }
}
