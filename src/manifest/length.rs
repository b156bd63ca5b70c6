//! How many tokens something has: a number, or a distribution that each request draws from.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

/// A number of tokens, the same for every request or drawn for each.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Length {
    /// Always the same.
    Fixed(u32),
    /// Drawn for each request.
    Drawn(Distribution),
}

/// A distribution of lengths, in tokens. What falls outside its bounds is drawn again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// `[least, most]`, both included, each as likely as the other.
    Uniform([u32; 2]),
    /// Normal, rounded to whole tokens.
    Normal(Moments),
    /// Lognormal, rounded to whole tokens: many are short, a few are long.
    Lognormal(Moments),
    /// `[[length, weight], …]`: each length as often as its weight says.
    Histogram(Vec<(u32, f64)>),
}

/// Mean and spread of a distribution before its bounds cut it, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// Mean of the lengths themselves, also of a lognormal.
    pub mean: f64,
    /// Standard deviation of the lengths themselves.
    pub stddev: f64,
    /// The least; 1 unless told.
    #[serde(default = "one")]
    pub min: u32,
    /// The most; four standard deviations above the mean unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

fn one() -> u32 {
    1
}

impl Moments {
    /// The most, told or not.
    pub fn most(&self) -> u32 {
        // A float that is too large for the type becomes its largest value.
        self.max.unwrap_or((self.mean + 4.0 * self.stddev).ceil() as u32)
    }

    fn wrong(&self) -> Option<String> {
        let Self { mean, stddev, min, .. } = *self;
        let most = self.most();
        if !(mean.is_finite() && mean > 0.0 && stddev.is_finite() && stddev >= 0.0) {
            return Some(format!("a mean of {mean} and a standard deviation of {stddev} give no length"));
        }
        if min == 0 || min > most {
            return Some(format!("no length lies between {min} and {most}"));
        }
        // Drawing again ends only where the bounds leave something to be drawn.
        let far = |bound: f64| (bound - mean).abs() > 4.0 * stddev + 1.0;
        if (f64::from(most) < mean && far(f64::from(most))) || (f64::from(min) > mean && far(f64::from(min)))
        {
            return Some(format!(
                "{min} to {most} lies more than four standard deviations ({stddev}) away from the mean {mean}"
            ));
        }
        None
    }
}

impl Length {
    /// The shortest and the longest that may occur.
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

    /// Why nothing can be drawn from it, when nothing can.
    pub fn wrong(&self) -> Option<String> {
        match self {
            Self::Fixed(0) => Some("it is 0".into()),
            Self::Fixed(_) => None,
            Self::Drawn(Distribution::Uniform([least, most])) => {
                (*least == 0 || least > most).then(|| format!("no length lies between {least} and {most}"))
            }
            Self::Drawn(Distribution::Normal(m) | Distribution::Lognormal(m)) => m.wrong(),
            Self::Drawn(Distribution::Histogram(rows)) => {
                if rows.iter().any(|(_, weight)| !(weight.is_finite() && *weight >= 0.0)) {
                    Some("a weight is a number from 0 up".into())
                } else if rows.iter().all(|(_, weight)| *weight == 0.0) {
                    Some("no length has a weight".into())
                } else if rows.iter().any(|(length, _)| *length == 0) {
                    Some("a length is 0".into())
                } else {
                    None
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
                    "min": { "description": "The least; 1 unless told.", "type": "integer", "minimum": 1 },
                    "max": { "description": "The most; four standard deviations above the mean unless told.", "type": "integer", "minimum": 1 },
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
                            "description": "The least and the most, both included.",
                            "type": "array", "items": { "type": "integer", "minimum": 1 }, "minItems": 2, "maxItems": 2
                        },
                        "normal": moments("Normal, rounded to whole tokens; what lies outside min and max is drawn again."),
                        "lognormal": moments("Lognormal, by the mean and the standard deviation of the lengths themselves."),
                        "histogram": {
                            "description": "Pairs of a length and how often it occurs, relative to the others.",
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

    fn read(value: Value) -> Result<Length, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
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
            assert_eq!(length.wrong(), None, "{form}");
            assert_eq!(json!(length), form);
        }
    }

    #[test]
    fn what_nothing_can_be_drawn_from_says_why() {
        for (form, why) in [
            (json!(0), "is 0"),
            (json!({ "uniform": [9, 3] }), "between 9 and 3"),
            (json!({ "normal": { "mean": -1.0, "stddev": 1.0 } }), "give no length"),
            (json!({ "normal": { "mean": 10.0, "stddev": 1.0, "min": 50, "max": 20 } }), "between 50 and 20"),
            (
                json!({ "normal": { "mean": 10.0, "stddev": 1.0, "min": 500, "max": 600 } }),
                "away from the mean",
            ),
            (json!({ "histogram": [[16, 0.0]] }), "no length has a weight"),
            (json!({ "histogram": [[16, -1.0]] }), "a weight is"),
        ] {
            let said = read(form.clone()).unwrap().wrong().unwrap_or_default();
            assert!(said.contains(why), "{form}: {said}");
        }
        for form in
            [json!(1.5), json!(-1), json!({ "gamma": [1, 2] }), json!({ "uniform": [1] }), json!("12")]
        {
            assert!(read(form.clone()).is_err(), "{form}");
        }
    }
}
