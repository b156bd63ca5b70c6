//! The evidence of a finding: numbers with their units, names and places. It has no sentence.

use std::{fmt, sync::Arc};

use minijinja::value::{Enumerator, Object, ObjectRepr, Value};
use serde_json::{Map, json};

use crate::{
    measure::{self, Metric},
    plan::Axis,
    report::number,
};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Unit {
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
    /// A part: 0.25 is `25 %`.
    Part,
    /// A whole number of anything.
    Count,
    /// A number as it is: a value of an axis, a load.
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

/// One number. In a template it prints itself with its unit, in the digits that the data carries; `.value` is the number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Quantity {
    pub(in crate::report) value: f64,
    pub(in crate::report) unit: Unit,
    /// Digits that matter, of latencies and ratios.
    pub(in crate::report) digits: u8,
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

/// One value of one axis, as a sentence needs it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Coordinate {
    /// The axis' label.
    pub(in crate::report) axis: String,
    /// What the axis counts: `concurrency`, `rate`, `answer_tokens`, `prompt_tokens`, `other`.
    pub(in crate::report) quantity: &'static str,
    /// The value; of a load that was not reached, the one that was.
    pub(in crate::report) value: String,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) enum Fact {
    Number(Quantity),
    /// A name: of a metric, an axis, a value, an outcome.
    Name(String),
    Flag(bool),
    /// Where a cell stands.
    Place(Vec<Coordinate>),
    List(Vec<Fact>),
    Facts(Facts),
}

/// The evidence by name, in the order it was put in.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::report) struct Facts(Vec<(&'static str, Fact)>);

impl Facts {
    pub(in crate::report) fn new() -> Self {
        Self::default()
    }

    fn put(mut self, name: &'static str, fact: Fact) -> Self {
        self.0.push((name, fact));
        self
    }

    /// A number in a unit, with the digits that matter.
    pub(in crate::report) fn number(self, name: &'static str, value: f64, unit: Unit, digits: u8) -> Self {
        self.put(name, Fact::Number(Quantity { value, unit, digits }))
    }

    /// A value of a metric.
    pub(in crate::report) fn measure(
        self,
        name: &'static str,
        metric: Metric,
        value: f64,
        digits: u8,
    ) -> Self {
        self.number(name, value, metric.unit().into(), digits)
    }

    /// A value of a metric that somebody set: in all the digits it has.
    pub(in crate::report) fn exact(self, name: &'static str, metric: Metric, value: f64) -> Self {
        let is_exact = |digits: &u8| {
            let scale = 10f64.powi(i32::from(*digits) - 1 - value.abs().log10().floor() as i32);
            ((value * scale).round() / scale - value).abs() < 1e-9 * value.abs()
        };
        let digits = (1..=9).find(is_exact).unwrap_or(9);
        self.measure(name, metric, value, digits)
    }

    /// A factor.
    pub(in crate::report) fn times(self, name: &'static str, value: f64, digits: u8) -> Self {
        self.number(name, value, Unit::Times, digits)
    }

    /// A part of a whole.
    pub(in crate::report) fn part(self, name: &'static str, value: f64) -> Self {
        self.number(name, value, Unit::Part, 2)
    }

    /// How many.
    pub(in crate::report) fn count(self, name: &'static str, value: usize) -> Self {
        self.number(name, value as f64, Unit::Count, 3)
    }

    /// A number as it is.
    pub(in crate::report) fn plain(self, name: &'static str, value: f64) -> Self {
        self.number(name, value, Unit::Plain, 3)
    }

    /// A name.
    pub(in crate::report) fn name(self, name: &'static str, text: impl Into<String>) -> Self {
        self.put(name, Fact::Name(text.into()))
    }

    /// A value of an axis by its place: a whole number as such, anything else as it was written.
    pub(in crate::report) fn axis_value(self, name: &'static str, axis: &Axis, place: usize) -> Self {
        match axis
            .values
            .get(place)
            .and_then(serde_json::Value::as_f64)
            .filter(|number| number.fract() == 0.0)
        {
            Some(number) => self.plain(name, number),
            None => self.name(name, axis.text(place)),
        }
    }

    /// The label of a metric: `p95 TTFT`.
    pub(in crate::report) fn metric(self, name: &'static str, metric: Metric) -> Self {
        self.name(name, metric.label())
    }

    /// Yes or no.
    pub(in crate::report) fn flag(self, name: &'static str, value: bool) -> Self {
        self.put(name, Fact::Flag(value))
    }

    /// Where a cell stands; see [`super::place`].
    pub(in crate::report) fn place(self, name: &'static str, place: Vec<Coordinate>) -> Self {
        self.put(name, Fact::Place(place))
    }

    /// Several of the same kind.
    pub(in crate::report) fn list(self, name: &'static str, items: impl IntoIterator<Item = Facts>) -> Self {
        self.put(name, Fact::List(items.into_iter().map(Fact::Facts).collect()))
    }

    /// Several names.
    pub(in crate::report) fn names(
        self,
        name: &'static str,
        items: impl IntoIterator<Item = String>,
    ) -> Self {
        self.put(name, Fact::List(items.into_iter().map(Fact::Name).collect()))
    }

    /// Facts below a name.
    pub(in crate::report) fn facts(self, name: &'static str, facts: Facts) -> Self {
        self.put(name, Fact::Facts(facts))
    }

    /// A number by its name; `None` where there is none.
    pub(in crate::report) fn value(&self, name: &str) -> Option<f64> {
        match self.get(name)? {
            Fact::Number(quantity) => Some(quantity.value),
            _ => None,
        }
    }

    /// A fact by its name.
    pub(in crate::report) fn get(&self, name: &str) -> Option<&Fact> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, fact)| fact)
    }

    /// The numbers at the top, by name.
    pub(in crate::report) fn numbers(&self) -> Map<String, serde_json::Value> {
        let numbers = self.0.iter().filter_map(|(name, fact)| match fact {
            Fact::Number(quantity) => Some(((*name).to_owned(), json!(quantity.value))),
            _ => None,
        });
        numbers.collect()
    }

    /// Everything as plain data.
    pub(in crate::report) fn json(&self) -> serde_json::Value {
        let facts = self.0.iter().map(|(name, fact)| ((*name).to_owned(), fact.json()));
        serde_json::Value::Object(facts.collect())
    }

    /// As a template sees it.
    pub(in crate::report) fn template_value(&self) -> Value {
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
