//! How often a server is scraped: a time, or `off`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::error::ValueError;
use crate::unit::TimeSpan;

/// How often a server's `/metrics`, processes and GPUs are sampled while a cell runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrapeEvery {
    /// `/metrics` is never requested.
    Off,
    /// The time from one sample to the next; zero for one sample before the cell and one after it.
    Every(TimeSpan),
}

impl Default for ScrapeEvery {
    /// Once per second: often enough to catch the peak of a gauge in a short cell, while a scrape takes a few
    /// milliseconds.
    fn default() -> Self {
        Self::Every(TimeSpan::from_secs(1))
    }
}

impl FromStr for ScrapeEvery {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let span: TimeSpan = text.parse().map_err(ValueError::NotAnInterval)?;
        // The server spends milliseconds on each scrape.
        if !span.duration().is_zero() && span < TimeSpan::from_millis(10) {
            return Err(ValueError::TooOften(text.to_owned()));
        }
        Ok(Self::Every(span))
    }
}

impl fmt::Display for ScrapeEvery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Every(span) => span.fmt(f),
        }
    }
}

impl Serialize for ScrapeEvery {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScrapeEvery {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for ScrapeEvery {
    fn schema_name() -> Cow<'static, str> {
        "ScrapeEvery".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": SCRAPE_EVERY,
            "pattern": "^(off|\\s*([0-9]+(\\.[0-9]+)?\\s*(us|ms|s|m|h|d)\\s*)+)$",
            "description": "A time such as \"1s\"; \"0s\" samples before and after the cell only, \"off\" never reads /metrics."
        })
    }
}

/// The schema's `format` of a time that may be `off`.
pub(crate) const SCRAPE_EVERY: &str = "time-span-or-off";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_too_often_is_refused() {
        for text in ["off", "0s", "10ms", "1s", "5m"] {
            let every: ScrapeEvery = text.parse().unwrap();
            assert_eq!(every.to_string(), text);
        }
        assert_eq!(ScrapeEvery::default().to_string(), "1s");
        for text in ["9ms", "never", "5", ""] {
            let reason = text.parse::<ScrapeEvery>().unwrap_err().to_string();
            assert!(reason.contains("\"off\""), "{text}: {reason}");
        }
    }
}
