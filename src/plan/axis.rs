//! The axes of a plan.

use std::{cmp::Ordering, collections::HashSet};

use serde_json::Value;

use super::Plan;
use crate::manifest::scalar_text;

/// An axis with its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Its column name: the last key of its path, or the whole path where two axes would have the same name.
    pub name: String,
    /// Whether it changes the server or the load.
    pub role: Role,
    /// Its distinct values: numbers ascending, others in the order of the manifest.
    pub values: Vec<Value>,
}

/// What an axis changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Changes the load, without a restart.
    Load,
    /// Changes the server: each value costs a start.
    Server,
}

/// The quantity on an axis, for those that reports treat specially.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Requests in flight.
    Concurrency,
    /// Requests, or conversations, per second.
    Rate,
    /// The most tokens of an answer.
    AnswerTokens,
    /// Tokens of a prompt, or of a part of it.
    PromptTokens,
    /// Anything else.
    Other,
}

impl Quantity {
    /// The quantity on the axis of this name.
    pub fn of(name: &str) -> Self {
        match name {
            "concurrency" => Self::Concurrency,
            "rate" => Self::Rate,
            "max_tokens" => Self::AnswerTokens,
            _ if name.ends_with("output_tokens") => Self::AnswerTokens,
            _ if ["input_tokens", "prefix_tokens", "suffix_tokens", "prompt_tokens"]
                .iter()
                .any(|end| name.ends_with(end)) =>
            {
                Self::PromptTokens
            }
            _ => Self::Other,
        }
    }

    /// Whether it is the amount of load.
    pub fn is_amount(self) -> bool {
        matches!(self, Self::Concurrency | Self::Rate)
    }

    /// The name in templates: `concurrency`, `rate`, `answer_tokens`, `prompt_tokens`, `other`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::Rate => "rate",
            Self::AnswerTokens => "answer_tokens",
            Self::PromptTokens => "prompt_tokens",
            Self::Other => "other",
        }
    }
}

impl Axis {
    /// An axis with these values, in any order and with duplicates.
    pub fn new(name: &str, role: Role, values: impl IntoIterator<Item = Value>) -> Self {
        let mut seen = HashSet::new();
        let mut values: Vec<Value> =
            values.into_iter().filter(|value| seen.insert(value.to_string())).collect();
        if values.iter().all(Value::is_number) {
            values.sort_by(|a, b| a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal));
        }
        Self { name: name.to_owned(), role, values }
    }

    /// The quantity of its values.
    pub fn quantity(&self) -> Quantity {
        match self.role {
            Role::Load => Quantity::of(&self.name),
            Role::Server => Quantity::Other,
        }
    }

    /// Whether all its values are numbers.
    pub fn is_numeric(&self) -> bool {
        self.values.iter().all(Value::is_number)
    }

    /// The name in reports: plain words for generated prompts, otherwise the column name.
    pub fn label(&self) -> &str {
        match self.name.as_str() {
            "synthetic.input_tokens" => "prompt tokens",
            "synthetic.output_tokens" | "shared_prefix.output_tokens" => "answer tokens",
            "shared_prefix.prefix_tokens" => "shared prompt tokens",
            "shared_prefix.suffix_tokens" => "own prompt tokens",
            "shared_prefix.groups" => "groups of prompts",
            path => path,
        }
    }

    /// The index of a value.
    pub fn place(&self, value: &Value) -> Option<usize> {
        self.values.iter().position(|known| known == value)
    }

    /// A value as text.
    pub fn text(&self, place: usize) -> String {
        self.values.get(place).map(scalar_text).unwrap_or_default()
    }
}

impl Plan {
    /// The axes: load before server, each in the order of the manifest. `more` adds values to an axis, for
    /// imported cells that were never planned.
    pub fn axes(&self, more: impl Fn(&str) -> Vec<Value>) -> Vec<Axis> {
        let load = self.load_axes.iter().map(|name| {
            let cells = self.groups.iter().flat_map(|group| &group.cells);
            let planned = cells.filter_map(|cell| cell.axes.get(name).cloned());
            Axis::new(name, Role::Load, planned.chain(more(name)))
        });
        let server = self.server_axes.iter().map(|name| {
            let planned = self.groups.iter().filter_map(|group| group.axes.get(name).cloned());
            Axis::new(name, Role::Server, planned.chain(more(name)))
        });
        load.chain(server).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_ascend_and_names_keep_their_order() {
        let numbers = Axis::new("concurrency", Role::Load, [json!(8), json!(1), json!(8), json!(2.5)]);
        assert_eq!(numbers.values, [json!(1), json!(2.5), json!(8)]);
        assert_eq!(numbers.place(&json!(8)), Some(2));
        let names = Axis::new("dtype", Role::Server, [json!("half"), json!("bfloat16"), json!("half")]);
        assert_eq!(names.values, [json!("half"), json!("bfloat16")]);
        assert!(!names.is_numeric());
    }

    #[test]
    fn quantities_are_of_load_axes_alone() {
        assert_eq!(Quantity::of("synthetic.input_tokens"), Quantity::PromptTokens);
        let flag = Axis::new("max-num-batched-tokens", Role::Server, []);
        assert_eq!(flag.quantity(), Quantity::Other);
    }
}
