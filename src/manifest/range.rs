//! An axis's values as a range: `{ from, to, step }` or `{ from, to, factor }`.

use serde_json::{Number, Value};

use super::tree::Node;

/// The most values one range may have; more is a slip of the pen.
const LONGEST_RANGE: usize = 10_000;

/// Whether a table is meant as a range.
pub(super) fn is_range(node: &Node) -> bool {
    node.table().is_some_and(|table| table.contains_key("from") || table.contains_key("to"))
}

/// The values from `from` up to `to`, whole numbers where all three are.
///
/// # Errors
/// Half a sentence: what the range lacks, or why it never ends.
pub(super) fn values(node: &Node) -> Result<Vec<Value>, String> {
    let table = node.table().ok_or("not a range")?;
    if let Some(key) = table.keys().find(|key| !["from", "to", "step", "factor"].contains(&key.as_str())) {
        return Err(format!("a range has no key `{key}`"));
    }
    let number = |key: &str| -> Result<Option<&Value>, String> {
        match node.get(&[key]).map(Node::scalar) {
            None => Ok(None),
            Some(Some(value)) if value.is_number() => Ok(Some(value)),
            Some(_) => Err(format!("`{key}` is not a number")),
        }
    };
    let (Some(from), Some(to)) = (number("from")?, number("to")?) else {
        return Err("a range needs `from` and `to`".into());
    };
    let (step, factor) = (number("step")?, number("factor")?);
    let (by, multiply) = match (step, factor) {
        (Some(step), None) => (step, false),
        (None, Some(factor)) => (factor, true),
        _ => return Err("a range needs one of `step` and `factor`".into()),
    };
    let whole = [from, to, by].iter().all(|value| value.is_i64());
    let as_f64 = |value: &Value| value.as_f64().ok_or("not a number");
    let (start, end, by) = (as_f64(from)?, as_f64(to)?, as_f64(by)?);
    if start > end {
        return Err(format!("`from` {from} is above `to` {to}"));
    }
    if multiply && (by <= 1.0 || start <= 0.0) {
        return Err("`factor` must be above 1 and `from` above 0, or the range never ends".into());
    }
    if !multiply && by <= 0.0 {
        return Err("`step` must be above 0, or the range never ends".into());
    }
    let mut values = Vec::new();
    // The slack keeps the last value of 0.1, 0.2 … 0.5, whatever binary fractions make of it.
    let slack = (end.abs() + by) * 1e-9;
    for index in 0.. {
        let value = if multiply { start * by.powi(index) } else { start + by * f64::from(index) };
        if value > end + slack {
            break;
        }
        if values.len() == LONGEST_RANGE {
            return Err(format!("more than {LONGEST_RANGE} values"));
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
