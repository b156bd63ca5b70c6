//! Ranges of axis values: `{ from, to, step }` or `{ from, to, factor }`.

use serde_json::{Number, Value};
use thiserror::Error;

use super::tree::Node;

/// The most values of one range. More is a mistake.
const MAX_VALUES: usize = 10_000;

#[derive(Debug, Error)]
pub(super) enum RangeError {
    #[error("a range has no key `{0}`")]
    UnknownKey(String),
    #[error("`{0}` is not a number")]
    NotANumber(&'static str),
    #[error("a range needs `from` and `to`")]
    NoBounds,
    #[error("a range needs either `step` or `factor`")]
    NoStep,
    #[error("`from` {from} is above `to` {to}")]
    Descends { from: Value, to: Value },
    #[error("`factor` must be above 1 and `from` above 0, or the range never ends")]
    Factor,
    #[error("`step` must be above 0, or the range never ends")]
    Step,
    #[error("a range of more than {MAX_VALUES} values")]
    TooLong,
}

pub(super) fn is_range(node: &Node) -> bool {
    node.table().is_some_and(|table| table.contains_key("from") || table.contains_key("to"))
}

/// The values from `from` up to `to`: whole numbers if all three numbers are whole.
///
/// # Errors
/// When a key is missing, or the range never ends.
pub(super) fn values(node: &Node) -> Result<Vec<Value>, RangeError> {
    let table = node.table().ok_or(RangeError::NoBounds)?;
    if let Some(key) = table.keys().find(|key| !["from", "to", "step", "factor"].contains(&key.as_str())) {
        return Err(RangeError::UnknownKey(key.clone()));
    }
    let number = |key: &'static str| -> Result<Option<&Value>, RangeError> {
        match node.get(&[key]).map(Node::scalar) {
            None => Ok(None),
            Some(Some(value)) if value.is_number() => Ok(Some(value)),
            Some(_) => Err(RangeError::NotANumber(key)),
        }
    };
    let (Some(from), Some(to)) = (number("from")?, number("to")?) else {
        return Err(RangeError::NoBounds);
    };
    let (step, factor) = (number("step")?, number("factor")?);
    let (by, multiply) = match (step, factor) {
        (Some(step), None) => (step, false),
        (None, Some(factor)) => (factor, true),
        _ => return Err(RangeError::NoStep),
    };
    let whole = [from, to, by].iter().all(|value| value.is_i64());
    let as_f64 = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let (start, end, by) = (as_f64(from), as_f64(to), as_f64(by));
    if start > end {
        return Err(RangeError::Descends { from: from.clone(), to: to.clone() });
    }
    if multiply && (by <= 1.0 || start <= 0.0) {
        return Err(RangeError::Factor);
    }
    if !multiply && by <= 0.0 {
        return Err(RangeError::Step);
    }
    let mut values = Vec::new();
    // Binary fractions must not cut off the last value of 0.1, 0.2 … 0.5.
    let slack = (end.abs() + by) * 1e-9;
    for index in 0.. {
        let value = if multiply { start * by.powi(index) } else { start + by * f64::from(index) };
        if value > end + slack {
            break;
        }
        if values.len() == MAX_VALUES {
            return Err(RangeError::TooLong);
        }
        values.push(if whole {
            Value::from(value.round() as i64)
        } else {
            let tidy: f64 = format!("{value:.12e}").parse().unwrap_or(value);
            Number::from_f64(tidy).map_or(Value::Null, Value::Number)
        });
    }
    Ok(values)
}
