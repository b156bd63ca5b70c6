//! Lengths in tokens: a number, or a distribution that each request draws from.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use thiserror::Error;

/// A number of tokens, fixed or drawn for each request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Length {
    /// The same for every request.
    Fixed(u32),
    /// Drawn for each request.
    Drawn(Distribution),
}

/// A distribution of lengths, in tokens. Values outside its bounds are drawn again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// `[min, max]`, both included; every length is equally likely.
    Uniform([u32; 2]),
    /// Normal, rounded to whole tokens.
    Normal(Moments),
    /// Lognormal, rounded to whole tokens: many short lengths and a few long ones.
    Lognormal(Moments),
    /// `[[length, weight], …]`: each length in proportion to its weight.
    Histogram(Vec<(u32, f64)>),
}

/// Mean and standard deviation of a distribution before it is cut at its bounds, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// Mean of the lengths, also of a lognormal distribution.
    pub mean: f64,
    /// Standard deviation of the lengths.
    pub stddev: f64,
    /// Lower bound. Default: 1.
    #[serde(default = "one")]
    pub min: u32,
    /// Upper bound. Default: four standard deviations above the mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

fn one() -> u32 {
    1
}

/// Why no length can be drawn.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum LengthError {
    /// A length of 0.
    #[error("a length must be at least 1 token")]
    Zero,
    /// The bounds exclude every length.
    #[error("no length lies between {0} and {1}")]
    NoneBetween(u32, u32),
    /// Mean or standard deviation is out of range.
    #[error("a mean of {mean} with a standard deviation of {stddev} gives no length")]
    Moments {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        stddev: f64,
    },
    /// The bounds are so far from the mean that drawing would hardly ever hit them.
    #[error("{min} to {max} lies more than four standard deviations ({stddev}) away from the mean {mean}")]
    FarFromMean {
        /// Lower bound.
        min: u32,
        /// Upper bound.
        max: u32,
        /// The mean.
        mean: f64,
        /// The standard deviation.
        stddev: f64,
    },
    /// A weight is negative or not finite.
    #[error("a weight must be a number from 0 up")]
    Weight,
    /// Every weight is 0.
    #[error("at least one length needs a weight above 0")]
    NoWeight,
}

impl Moments {
    /// The upper bound, given or by default.
    pub fn most(&self) -> u32 {
        // `as` saturates at the type's largest value.
        self.max.unwrap_or((self.mean + 4.0 * self.stddev).ceil() as u32)
    }

    fn check(&self) -> Result<(), LengthError> {
        let Self { mean, stddev, min, .. } = *self;
        let max = self.most();
        if !(mean.is_finite() && mean > 0.0 && stddev.is_finite() && stddev >= 0.0) {
            return Err(LengthError::Moments { mean, stddev });
        }
        if min == 0 || min > max {
            return Err(LengthError::NoneBetween(min, max));
        }
        // Bounds that are hardly ever hit would make drawing again endless.
        let far = |bound: f64| (bound - mean).abs() > 4.0 * stddev + 1.0;
        if (f64::from(max) < mean && far(f64::from(max))) || (f64::from(min) > mean && far(f64::from(min))) {
            return Err(LengthError::FarFromMean { min, max, mean, stddev });
        }
        Ok(())
    }
}

impl Length {
    /// The smallest and the largest length that can occur.
    pub fn bounds(&self) -> (u32, u32) {
        match self {
            Self::Fixed(tokens) => (*tokens, *tokens),
            Self::Drawn(Distribution::Uniform([least, most])) => (*least, *most),
            Self::Drawn(Distribution::Normal(m) | Distribution::Lognormal(m)) => (m.min, m.most()),
            Self::Drawn(Distribution::Histogram(rows)) => {
                let lengths = || rows.iter().filter(|row| row.1 > 0.0).map(|row| row.0);
                (lengths().min().unwrap_or(u32::MAX), lengths().max().unwrap_or(u32::MIN))
            }
        }
    }

    /// Checks that a length can be drawn.
    ///
    /// # Errors
    /// Why none can.
    pub fn check(&self) -> Result<(), LengthError> {
        match self {
            Self::Fixed(0) => Err(LengthError::Zero),
            Self::Drawn(Distribution::Uniform([least, most])) if *least == 0 || least > most => {
                Err(LengthError::NoneBetween(*least, *most))
            }
            Self::Fixed(_) | Self::Drawn(Distribution::Uniform(_)) => Ok(()),
            Self::Drawn(Distribution::Normal(m) | Distribution::Lognormal(m)) => m.check(),
            Self::Drawn(Distribution::Histogram(rows)) => {
                if rows.iter().any(|(_, weight)| !(weight.is_finite() && *weight >= 0.0)) {
                    Err(LengthError::Weight)
                } else if rows.iter().all(|(_, weight)| *weight == 0.0) {
                    Err(LengthError::NoWeight)
                } else if rows.iter().any(|(length, _)| *length == 0) {
                    Err(LengthError::Zero)
                } else {
                    Ok(())
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match &value {
            Value::Number(number) => number
                .as_u64()
                .and_then(|tokens| u32::try_from(tokens).ok())
                .map(Self::Fixed)
                .ok_or_else(|| de::Error::custom(format!("{number} is not a number of tokens"))),
            _ => Distribution::deserialize(value).map(Self::Drawn).map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for Length {
    fn schema_name() -> Cow<'static, str> {
        "Length".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let moments = |what: &str| {
            serde_json::json!({
                "description": what, "type": "object", "additionalProperties": false, "required": ["mean", "stddev"],
                "properties": {
                    "mean": { "description": "Mean of the lengths, in tokens.", "type": "number", "exclusiveMinimum": 0 },
                    "stddev": { "description": "Standard deviation of the lengths, in tokens.", "type": "number", "minimum": 0 },
                    "min": { "description": "Lower bound. Default: 1.", "type": "integer", "minimum": 1 },
                    "max": { "description": "Upper bound. Default: four standard deviations above the mean.", "type": "integer", "minimum": 1 },
                }
            })
        };
        json_schema!({
            "description": "A number of tokens, or a distribution that each request draws from: { uniform = [64, 512] }, { normal = { mean = 256, stddev = 64 } }, { lognormal = { mean = 256, stddev = 200, max = 2048 } }, { histogram = [[128, 3], [1024, 1]] }.",
            "anyOf": [
                {
                    "description": "a number of tokens from 1 up, or a distribution such as { uniform = [64, 512] }",
                    "type": "integer", "minimum": 1
                },
                {
                    "type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
                    "properties": {
                        "uniform": {
                            "description": "Lower and upper bound, both included.",
                            "type": "array", "items": { "type": "integer", "minimum": 1 }, "minItems": 2, "maxItems": 2
                        },
                        "normal": moments("Normal, rounded to whole tokens; values outside min and max are drawn again."),
                        "lognormal": moments("Lognormal, by the mean and the standard deviation of the lengths."),
                        "histogram": {
                            "description": "Pairs of a length and its weight.",
                            "type": "array", "minItems": 1,
                            "items": { "type": "array", "items": { "type": "number", "minimum": 0 }, "minItems": 2, "maxItems": 2 }
                        }
                    }
                }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> serde_json::Result<Length> {
        serde_json::from_value(value)
    }

    #[test]
    fn every_form_is_read_and_written_as_it_was() {
        for (form, bounds) in [
            (json!(512), (512, 512)),
            (json!({ "uniform": [3, 9] }), (3, 9)),
            (json!({ "normal": { "mean": 100.0, "stddev": 10.0, "min": 1 } }), (1, 140)),
            (json!({ "lognormal": { "mean": 100.0, "stddev": 50.0, "min": 8, "max": 4096 } }), (8, 4096)),
            (json!({ "histogram": [[16, 1.0], [64, 3.0], [999, 0.0]] }), (16, 64)),
        ] {
            let length = read(form.clone()).unwrap();
            assert_eq!(length.bounds(), bounds, "{form}");
            assert_eq!(length.check(), Ok(()), "{form}");
            assert_eq!(json!(length), form);
        }
    }

    #[test]
    fn a_length_that_cannot_be_drawn_is_an_error() {
        for (form, why) in [
            (json!(0), "at least 1"),
            (json!({ "uniform": [9, 3] }), "between 9 and 3"),
            (json!({ "normal": { "mean": -1.0, "stddev": 1.0 } }), "gives no length"),
            (json!({ "normal": { "mean": 10.0, "stddev": 1.0, "min": 50, "max": 20 } }), "between 50 and 20"),
            (
                json!({ "normal": { "mean": 10.0, "stddev": 1.0, "min": 500, "max": 600 } }),
                "away from the mean",
            ),
            (json!({ "histogram": [[16, 0.0]] }), "at least one length"),
            (json!({ "histogram": [[16, -1.0]] }), "a weight must"),
        ] {
            let error = read(form.clone()).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(why), "{form}: {error}");
        }
        for form in
            [json!(1.5), json!(-1), json!({ "gamma": [1, 2] }), json!({ "uniform": [1] }), json!("12")]
        {
            assert!(read(form.clone()).is_err(), "{form}");
        }
    }
}
