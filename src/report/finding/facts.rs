//! The evidence of a finding: named numbers with units, names and places.

use std::{fmt, sync::Arc};

use minijinja::value::{Enumerator, Object, ObjectRepr, Value};
use serde::Serialize;
use serde_json::{Map, json};

use crate::{
    manifest::scalar_text,
    measure::{self, Metric},
    plan::Axis,
    report::number,
};

/// The unit of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
    /// Tokens per second.
    TokS,
    /// Requests per second.
    ReqS,
    /// A factor: 2 is `2×`.
    Times,
    /// A part of a whole: 0.25 is `25 %`.
    Part,
    /// A number of things.
    Count,
    /// No unit: a value of an axis, a load.
    Plain,
    /// US dollars.
    Usd,
    /// Memory, GiB.
    Gib,
    /// Energy, joules.
    Joule,
}

impl From<measure::Unit> for Unit {
    fn from(unit: measure::Unit) -> Self {
        match unit {
            measure::Unit::Ms => Self::Ms,
            measure::Unit::TokS => Self::TokS,
            measure::Unit::ReqS => Self::ReqS,
        }
    }
}

/// One number. A template prints it with its unit and significant digits; `.value` is the bare number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quantity {
    pub(crate) value: f64,
    pub(crate) unit: Unit,
    /// Significant digits of latencies, rates and ratios.
    pub(crate) digits: u8,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, digits) = (self.value, self.digits);
        f.write_str(&match self.unit {
            Unit::Ms => number::latency(value, digits),
            Unit::S => number::s(Some(value)),
            Unit::TokS => format!("{} tok/s", number::rate(value, digits)),
            Unit::ReqS => format!("{} req/s", number::rate(value, digits)),
            Unit::Times => number::factor(value, digits),
            Unit::Part => number::percent(Some(value)),
            Unit::Count => number::grouped(value, 0),
            Unit::Plain => number::thousands(Some(value)),
            Unit::Usd => number::usd(Some(value)),
            Unit::Gib => number::gib(Some(value)),
            Unit::Joule => format!("{} J", number::significant(value, digits)),
        })
    }
}

impl Object for Quantity {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some("value")).then(|| Value::from(self.value))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["value"])
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A value on one axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Coordinate {
    /// Label of the axis.
    pub(crate) axis: String,
    /// What the axis counts: `concurrency`, `rate`, `answer_tokens`, `prompt_tokens`, `other`.
    pub(crate) quantity: &'static str,
    /// The value as text; of a load, the one that was reached.
    pub(crate) value: String,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    Number(Quantity),
    /// A name: of a metric, an axis, a value, an outcome.
    Name(String),
    Flag(bool),
    /// The values of a cell on some axes.
    Place(Vec<Coordinate>),
    List(Vec<Fact>),
    Facts(Facts),
}

/// Facts by name, in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts(Vec<(&'static str, Fact)>);

impl Facts {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a fact; an absent one is left out.
    fn put(mut self, name: &'static str, fact: Option<Fact>) -> Self {
        self.0.extend(fact.map(|fact| (name, fact)));
        self
    }

    /// Adds facts that rest on a value, if there is one.
    pub(crate) fn when<T>(self, value: Option<T>, add: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => add(self, value),
            None => self,
        }
    }

    /// A number with its unit and its significant digits.
    pub(crate) fn number(
        self,
        name: &'static str,
        value: impl Into<Option<f64>>,
        unit: Unit,
        digits: u8,
    ) -> Self {
        self.put(name, value.into().map(|value| Fact::Number(Quantity { value, unit, digits })))
    }

    /// A value of a metric.
    pub(crate) fn measure(
        self,
        name: &'static str,
        metric: Metric,
        value: impl Into<Option<f64>>,
        digits: u8,
    ) -> Self {
        self.number(name, value, metric.unit().into(), digits)
    }

    /// A value of a metric that somebody configured: with all the digits it has.
    pub(crate) fn exact(self, name: &'static str, metric: Metric, value: f64) -> Self {
        let is_exact = |digits: &u8| {
            let scale = 10f64.powi(i32::from(*digits) - 1 - value.abs().log10().floor() as i32);
            ((value * scale).round() / scale - value).abs() < 1e-9 * value.abs()
        };
        let digits = (1..=9).find(is_exact).unwrap_or(9);
        self.measure(name, metric, value, digits)
    }

    /// A metric of two cells: its label, both values and their ratio, under the four names.
    pub(crate) fn change(
        self,
        names: [&'static str; 4],
        change: impl Into<Option<(Metric, f64, f64)>>,
        digits: u8,
    ) -> Self {
        self.when(change.into(), |facts, (metric, from, to)| {
            facts
                .metric(names[0], metric)
                .measure(names[1], metric, from, digits)
                .measure(names[2], metric, to, digits)
                .times(names[3], to / from, digits)
        })
    }

    /// A factor.
    pub(crate) fn times(self, name: &'static str, value: impl Into<Option<f64>>, digits: u8) -> Self {
        self.number(name, value, Unit::Times, digits)
    }

    /// A part of a whole: 0.25 is 25 %.
    pub(crate) fn part(self, name: &'static str, value: impl Into<Option<f64>>) -> Self {
        self.number(name, value, Unit::Part, 2)
    }

    /// A number of things.
    pub(crate) fn count(self, name: &'static str, value: impl Into<Option<usize>>) -> Self {
        self.number(name, value.into().map(|count| count as f64), Unit::Count, 3)
    }

    /// A number without a unit.
    pub(crate) fn plain(self, name: &'static str, value: impl Into<Option<f64>>) -> Self {
        self.number(name, value, Unit::Plain, 3)
    }

    /// A name.
    pub(crate) fn name(self, name: &'static str, text: impl Into<String>) -> Self {
        self.put(name, Some(Fact::Name(text.into())))
    }

    /// A name that is serialized as text.
    pub(crate) fn word(self, name: &'static str, value: impl Serialize) -> Self {
        self.name(name, scalar_text(&json!(value)))
    }

    /// A value of an axis by its index: a whole number as a number, anything else as it was written.
    pub(crate) fn axis_value(self, name: &'static str, axis: &Axis, index: usize) -> Self {
        let number = axis.values.get(index).and_then(serde_json::Value::as_f64);
        match number.filter(|number| number.fract() == 0.0) {
            Some(number) => self.plain(name, number),
            None => self.name(name, axis.text(index)),
        }
    }

    /// The label of a metric: `p95 TTFT`.
    pub(crate) fn metric(self, name: &'static str, metric: impl Into<Option<Metric>>) -> Self {
        self.put(name, metric.into().map(|metric| Fact::Name(metric.label())))
    }

    /// A boolean.
    pub(crate) fn flag(self, name: &'static str, value: bool) -> Self {
        self.put(name, Some(Fact::Flag(value)))
    }

    /// Where a cell stands; see [`super::place`].
    pub(crate) fn place(self, name: &'static str, place: impl Into<Option<Vec<Coordinate>>>) -> Self {
        self.put(name, place.into().map(Fact::Place))
    }

    /// A list of facts.
    pub(crate) fn list(self, name: &'static str, items: impl IntoIterator<Item = Facts>) -> Self {
        self.put(name, Some(Fact::List(items.into_iter().map(Fact::Facts).collect())))
    }

    /// A list of names.
    pub(crate) fn names(self, name: &'static str, items: impl IntoIterator<Item = String>) -> Self {
        self.put(name, Some(Fact::List(items.into_iter().map(Fact::Name).collect())))
    }

    /// Nested facts.
    pub(crate) fn facts(self, name: &'static str, facts: impl Into<Option<Facts>>) -> Self {
        self.put(name, facts.into().map(Fact::Facts))
    }

    /// Returns the number of a name.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        match self.get(name)? {
            Fact::Number(quantity) => Some(quantity.value),
            _ => None,
        }
    }

    /// Returns the fact of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&Fact> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, fact)| fact)
    }

    /// Returns the numbers that are not nested, by name.
    pub(crate) fn numbers(&self) -> Map<String, serde_json::Value> {
        let numbers = self.0.iter().filter_map(|(name, fact)| match fact {
            Fact::Number(quantity) => Some(((*name).to_owned(), json!(quantity.value))),
            _ => None,
        });
        numbers.collect()
    }

    /// Returns all facts as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        let facts = self.0.iter().map(|(name, fact)| ((*name).to_owned(), fact.json()));
        serde_json::Value::Object(facts.collect())
    }

    /// Returns all facts as a template sees them.
    pub(crate) fn template_value(&self) -> Value {
        Value::from_pairs(self.0.iter().map(|(name, fact)| (*name, fact.template_value())))
    }
}

impl Fact {
    fn json(&self) -> serde_json::Value {
        match self {
            Self::Number(quantity) => json!(quantity.value),
            Self::Name(text) => json!(text),
            Self::Flag(flag) => json!(flag),
            Self::Place(place) => {
                let pairs = place.iter().map(|own| (own.axis.clone(), json!(own.value)));
                serde_json::Value::Object(pairs.collect())
            }
            Self::List(items) => items.iter().map(Self::json).collect(),
            Self::Facts(facts) => facts.json(),
        }
    }

    fn template_value(&self) -> Value {
        match self {
            Self::Number(quantity) => Value::from_object(*quantity),
            Self::Name(text) => Value::from(text.as_str()),
            Self::Flag(flag) => Value::from(*flag),
            Self::Place(place) => place
                .iter()
                .map(|own| {
                    Value::from_pairs([
                        ("axis", Value::from(own.axis.as_str())),
                        ("quantity", Value::from(own.quantity)),
                        ("value", Value::from(own.value.as_str())),
                    ])
                })
                .collect(),
            Self::List(items) => items.iter().map(Self::template_value).collect(),
            Self::Facts(facts) => facts.template_value(),
        }
    }
}
