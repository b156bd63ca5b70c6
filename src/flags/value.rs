//! `[server.flags]`: the flags that are passed through to the engine, and their values by type.

use std::{borrow::Cow, collections::BTreeMap};

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use thiserror::Error;

use super::catalogue::{all, canonical, info};

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
    /// `{ unset = true }`: not passed, even where a base file or a variant sets it.
    Unset,
}

impl Flags {
    /// The flags that are passed to the engine, in the order written.
    pub fn passed(&self) -> impl Iterator<Item = (&str, &Flag)> {
        self.0.iter().filter(|(_, flag)| **flag != Flag::Unset).map(|(name, flag)| (name.as_str(), flag))
    }

    /// A flag's value by its canonical name, or by another name of it where vLLM has several. `None` when it
    /// is not passed.
    pub fn get(&self, name: &str) -> Option<&Flag> {
        let passed = |name: &str| self.0.get(name).filter(|flag| **flag != Flag::Unset);
        passed(name).or_else(|| {
            let info = info(name)?;
            passed(&info.name).or_else(|| info.also.iter().find_map(|also| passed(&canonical(also))))
        })
    }

    /// The value of a flag that takes one word, or the first of several.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.get(name)? {
            Flag::Value(value) => Some(scalar_text(value)),
            Flag::Many(values) => values.first().map(scalar_text),
            _ => None,
        }
    }

    /// The value of a flag that takes one word. `None` when it is not passed, or when it leaves the choice to
    /// vLLM (`max-model-len = "auto"`).
    fn chosen(&self, name: &str) -> Option<String> {
        let info = info(name);
        self.text(name).filter(|word| !info.is_some_and(|info| info.automatic.contains(word)))
    }

    /// Whether a switch is on; `None` when neither `--name` nor `--no-name` is passed.
    pub fn switch(&self, name: &str) -> Option<bool> {
        match self.get(name) {
            Some(Flag::On) => Some(true),
            Some(Flag::Off) => Some(false),
            _ => (self.get(&format!("no-{name}")) == Some(&Flag::On)).then_some(false),
        }
    }

    /// Whether a switch is on, by its flag or by vLLM's default.
    pub fn enabled(&self, name: &str) -> bool {
        self.switch(name).or_else(|| info(name)?.default.as_ref()?.as_bool()).unwrap_or(false)
    }

    /// A positive whole number; `4k` is 4000 and `4K` is 4096, as vLLM reads them. `None` when the flag is
    /// not passed or leaves the choice to vLLM.
    ///
    /// # Errors
    /// When the value is anything else.
    pub fn count(&self, name: &str) -> Result<Option<u64>, FlagError> {
        self.chosen(name).map_or(Ok(None), |word| {
            let error = || FlagError::new(name, &word, "a whole number above 0, such as 4096, 4k or 4K");
            count(&word).map(Some).ok_or_else(error)
        })
    }

    /// A positive whole number, or `None` for every other value.
    pub fn integer(&self, name: &str) -> Option<u64> {
        self.count(name).ok().flatten()
    }

    /// A number above 0, up to 1; vLLM's default when the flag is not passed.
    ///
    /// # Errors
    /// When the value is anything else.
    pub fn fraction(&self, name: &str) -> Result<f64, FlagError> {
        let default = || info(name).and_then(|info| info.default.as_ref()?.as_f64()).unwrap_or(1.0);
        self.chosen(name).map_or_else(
            || Ok(default()),
            |word| {
                let number = word.parse().ok().filter(|number: &f64| *number > 0.0 && *number <= 1.0);
                number.ok_or_else(|| FlagError::new(name, &word, "a number above 0, up to 1"))
            },
        )
    }

    /// The number of GPUs that the server needs: the product of the flags that split or copy the model.
    ///
    /// # Errors
    /// When one of these flags is no positive whole number.
    pub fn gpus(&self) -> Result<u64, FlagError> {
        let splits = all().iter().filter(|info| info.splits);
        splits.map(|info| Ok(self.count(&info.name)?.unwrap_or(1))).product()
    }

    /// The flags among those passed whose larger value never needs less GPU memory, with their values.
    pub fn memory_flags(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let ordered = all().iter().filter(|info| info.more_memory);
        ordered.filter_map(|info| Some((info.name.as_str(), self.integer(&info.name)?)))
    }

    /// Whether a server with these flags needs no more GPU memory than with `other`. True only where that is
    /// certain: the two differ in nothing but [`Flags::memory_flags`], and none of these is larger here.
    pub fn need_no_more_memory_than(&self, other: &Flags) -> bool {
        let (own, others): (Vec<_>, Vec<_>) = (self.memory_flags().collect(), other.memory_flags().collect());
        let ordered = |flags: &Flags, name: &str| {
            info(name).is_some_and(|info| info.more_memory) && flags.integer(name).is_some()
        };
        let rest = |flags: &Flags| -> BTreeMap<String, Flag> {
            let rest = flags.passed().filter(|(name, _)| !ordered(flags, name));
            rest.map(|(name, flag)| (name.to_owned(), flag.clone())).collect()
        };
        own.len() == others.len()
            && own.iter().zip(&others).all(|(own, other)| own.0 == other.0 && own.1 <= other.1)
            && rest(self) == rest(other)
    }
}

/// Reads a positive whole number as vLLM does: k, m and g are powers of 1000, K, M and G powers of 1024.
fn count(word: &str) -> Option<u64> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale: f64 = match &word[digits.len()..] {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "K" => 1024.0,
        "M" => 1024.0 * 1024.0,
        "G" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let number: f64 = digits.parse().ok()?;
    Some((number * scale) as u64).filter(|number| *number > 0)
}

/// A flag's value that is not of the flag's type.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{flag}` is {value:?}; expected {expected}")]
pub struct FlagError {
    /// The flag's name, without dashes.
    pub flag: String,
    /// The value as written.
    pub value: String,
    /// What was expected.
    pub expected: &'static str,
}

impl FlagError {
    /// An error about a flag.
    pub fn new(flag: &str, value: &str, expected: &'static str) -> Self {
        Self { flag: flag.to_owned(), value: value.to_owned(), expected }
    }
}

/// Why a manifest value cannot be a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAFlag {
    /// There is no value.
    #[error("a flag needs a value")]
    Null,
    /// A list holds a list or a table.
    #[error("a flag's list may hold only strings and numbers")]
    Nested,
}

/// Writes a scalar for a command line or a table: strings without quotes, everything else as JSON.
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
    ///
    /// # Errors
    /// When no command line could carry the value.
    pub fn from_value(value: Value) -> Result<Self, NotAFlag> {
        Ok(match value {
            Value::Bool(true) => Flag::On,
            Value::Bool(false) => Flag::Off,
            Value::Null => return Err(NotAFlag::Null),
            Value::Array(values) => {
                if values.iter().any(|v| v.is_array() || v.is_object()) {
                    return Err(NotAFlag::Nested);
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
            flags.insert(canonical(&name), flag);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flags(flags: Value) -> Flags {
        serde_json::from_value(flags).unwrap()
    }

    #[test]
    fn values_are_read_by_type() {
        let flags = flags(json!({
            "tp": 2, "max-model-len": "16k", "block-size": "1.5K", "max-num-seqs": "many", "port": 0,
            "gpu-memory-utilization": 1.5, "enforce-eager": true, "no-async-scheduling": true, "gone": { "unset": true }
        }));
        assert_eq!(flags.integer("tensor-parallel-size"), Some(2));
        assert_eq!(flags.integer("max-model-len"), Some(16_000));
        assert_eq!(flags.integer("block-size"), Some(1536));
        assert_eq!((flags.integer("max-num-seqs"), flags.integer("port")), (None, None));
        assert_eq!(flags.switch("async-scheduling"), Some(false));
        assert_eq!(flags.switch("enable-prefix-caching"), None);
        assert!(flags.enabled("enable-prefix-caching") && flags.enabled("enforce-eager"));
        assert_eq!(flags.passed().count(), flags.0.len() - 1);
        let why = flags.count("max-num-seqs").unwrap_err();
        assert_eq!((why.flag.as_str(), why.value.as_str()), ("max-num-seqs", "many"));
        let why = flags.fraction("gpu-memory-utilization").unwrap_err();
        assert_eq!(
            why.to_string(),
            "`gpu-memory-utilization` is \"1.5\"; expected a number above 0, up to 1"
        );
        let automatic = Flags(IndexMap::from([("max-model-len".into(), Flag::Value(json!(-1)))]));
        assert_eq!(automatic.count("max-model-len"), Ok(None));
    }

    #[test]
    fn memory_grows_with_some_flags_and_is_unknown_with_others() {
        let small = flags(json!({ "max-model-len": 4096, "max-num-seqs": 8, "dtype": "auto" }));
        for (other, expected) in [
            (json!({ "max-model-len": 8192, "max-num-seqs": 8, "dtype": "auto" }), true),
            (json!({ "max-model-len": "8k", "max-num-seqs": 16, "dtype": "auto" }), true),
            (json!({ "max-model-len": 8192, "max-num-seqs": 4, "dtype": "auto" }), false),
            (json!({ "max-model-len": 2048, "max-num-seqs": 8, "dtype": "auto" }), false),
            (json!({ "max-model-len": "auto", "max-num-seqs": 8, "dtype": "auto" }), false),
            (json!({ "max-model-len": 8192, "max-num-seqs": 8, "dtype": "half" }), false),
            (json!({ "max-model-len": 8192, "dtype": "auto" }), false),
            (
                json!({ "max-model-len": 8192, "max-num-seqs": 8, "dtype": "auto", "gpu-memory-utilization": 0.9 }),
                false,
            ),
        ] {
            assert_eq!(small.need_no_more_memory_than(&flags(other.clone())), expected, "{other}");
        }
    }
}
