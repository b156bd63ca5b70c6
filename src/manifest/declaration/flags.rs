//! `[server.flags]`: what is passed through to the engine.

use std::borrow::Cow;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

/// Server flags by name, in the order written. Names are kept with dashes: `max_num_seqs` is `max-num-seqs`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flags(pub IndexMap<String, Flag>);

/// The value of one server flag.
#[derive(Clone, Debug, PartialEq)]
pub enum Flag {
    /// `--flag`
    On,
    /// `--no-flag`
    Off,
    /// `--flag value`
    Value(Value),
    /// `--flag value value`
    Many(Vec<Value>),
    /// `--flag '{"json": 1}'`
    Json(serde_json::Map<String, Value>),
    /// Not passed at all, whatever was inherited.
    Unset,
}

impl Flags {
    /// The canonical spelling of a flag's name: dashes, no leading dashes.
    pub fn canonical(name: &str) -> String {
        name.trim_start_matches('-').replace('_', "-")
    }

    /// The flag's value by its canonical name; `None` when it is not passed.
    pub fn get(&self, name: &str) -> Option<&Flag> {
        self.0.get(name).filter(|flag| **flag != Flag::Unset)
    }

    /// A flag that is a whole number.
    pub fn integer(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Flag::Value(value) => {
                value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
            }
            _ => None,
        }
    }

    /// A flag that is one word.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.get(name)? {
            Flag::Value(value) => Some(scalar_text(value)),
            Flag::Many(values) => values.first().map(scalar_text),
            _ => None,
        }
    }
}

/// A scalar as it stands on a command line or in a table: strings bare, everything else as JSON.
pub fn scalar_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Flag {
    /// The flag as a manifest value.
    pub fn to_value(&self) -> Value {
        match self {
            Flag::On => Value::Bool(true),
            Flag::Off => Value::Bool(false),
            Flag::Value(value) => value.clone(),
            Flag::Many(values) => Value::Array(values.clone()),
            Flag::Json(map) => Value::Object(map.clone()),
            Flag::Unset => serde_json::json!({ "unset": true }),
        }
    }

    /// Reads a manifest value as a flag.
    pub fn from_value(value: Value) -> Result<Self, String> {
        Ok(match value {
            Value::Bool(true) => Flag::On,
            Value::Bool(false) => Flag::Off,
            Value::Null => return Err("a flag needs a value".into()),
            Value::Array(values) => {
                if values.iter().any(|v| v.is_array() || v.is_object()) {
                    return Err("a flag's list holds strings and numbers only".into());
                }
                Flag::Many(values)
            }
            Value::Object(map) if map.len() == 1 && map.get("unset") == Some(&true.into()) => Flag::Unset,
            Value::Object(map) => Flag::Json(map),
            scalar => Flag::Value(scalar),
        })
    }
}

impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, flag)| (name, flag.to_value())))
    }
}

impl<'de> Deserialize<'de> for Flags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = IndexMap::<String, Value>::deserialize(deserializer)?;
        let mut flags = IndexMap::new();
        for (name, value) in raw {
            let flag = Flag::from_value(value)
                .map_err(|reason| de::Error::custom(format!("flag {name:?}: {reason}")))?;
            flags.insert(Self::canonical(&name), flag);
        }
        Ok(Self(flags))
    }
}

impl JsonSchema for Flags {
    fn schema_name() -> Cow<'static, str> {
        "Flags".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    { "type": "boolean" }, { "type": "string" }, { "type": "integer" }, { "type": "number" },
                    { "type": "array", "items": { "anyOf": [
                        { "type": "string" }, { "type": "integer" }, { "type": "number" }, { "type": "boolean" } ] } },
                    { "type": "object", "additionalProperties": true }
                ]
            }
        })
    }
}
