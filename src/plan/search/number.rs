//! The values that searches try, as they enter the manifest.

use serde_json::Value;

use super::Goal;
use crate::manifest::LoadAxis;

/// Rounds a number to 12 digits, so that 0.1 + 0.2 is 0.3.
pub(super) fn tidy(number: f64) -> f64 {
    format!("{number:.11e}").parse().unwrap_or(number)
}

/// A number as a whole number or a real one.
pub(super) fn value(number: f64, integer: bool) -> Value {
    if integer { Value::from(number.round() as i64) } else { Value::from(tidy(number)) }
}

/// A load as the manifest writes it: whole rates without a fraction.
pub(super) fn load(number: f64, integer: bool) -> Value {
    value(number, integer || number.fract() == 0.0)
}

impl Goal {
    /// A number as a value of the searched axis: whole where the axis is, otherwise without binary noise. A
    /// value that is no number stays as it is.
    pub fn value(&self, given: &Value) -> Value {
        match (self, given.as_f64()) {
            (Self::Load { axis, .. }, Some(number)) => load(number, *axis == LoadAxis::Concurrency),
            (Self::Value { integer, .. }, Some(number)) => value(number, *integer),
            _ => given.clone(),
        }
    }

    /// The goal with the part of its range that skip conditions leave.
    pub(super) fn within(mut self, range: (f64, f64)) -> Self {
        if let Self::Value { from, to, .. } = &mut self {
            (*from, *to) = range;
        }
        self
    }
}
