//! The filters and functions of templates.

use minijinja::{
    Environment, Error, ErrorKind,
    value::{Value, ValueKind},
};

use super::grid::grid;
use crate::report::{escape, number};

/// The filters that error messages suggest: those of this module, and the most common ones of Jinja.
pub(crate) const NAMES: [&str; 24] = [
    "ms",
    "s",
    "duration",
    "tok_s",
    "rate",
    "thousands",
    "percent",
    "signed",
    "times",
    "usd",
    "gib",
    "spark",
    "latency",
    "counted",
    "capital",
    "listed",
    "code",
    "prose",
    "md",
    "fence",
    "join",
    "length",
    "default",
    "safe",
];

/// A filter that formats a number.
type Shown = (&'static str, fn(Option<f64>) -> String);

const NUMBERS: [Shown; 10] = [
    ("ms", number::ms),
    ("s", number::s),
    ("duration", number::duration),
    ("rate", number::rate_bare),
    ("thousands", number::thousands),
    ("percent", number::percent),
    ("signed", number::signed),
    ("times", number::times),
    ("usd", number::usd),
    ("gib", number::gib),
];

pub(crate) fn add(environment: &mut Environment<'_>) {
    for (name, show) in NUMBERS {
        environment.add_filter(name, move |value: &Value| numeric(name, value, show));
    }
    environment.add_function("grid", grid);
    environment.add_filter("spark", spark);
    environment.add_filter("tok_s", |value: &Value, digits: Option<u8>| {
        let rate = f64::try_from(value.clone()).ok().zip(digits);
        match rate {
            Some((rate, digits)) => Ok(format!("{} tok/s", number::rate(rate, digits))),
            None => numeric("tok_s", value, number::tok_s),
        }
    });
    environment.add_filter("latency", |value: &Value, digits: u8| {
        f64::try_from(value.clone()).map(|ms| number::latency(ms, digits))
    });
    environment.add_filter("counted", counted);
    environment.add_filter("capital", capital);
    environment.add_filter("listed", listed);
    environment.add_filter("md", |value: &Value| textual(value, escape::markdown));
    environment.add_filter("code", |value: &Value| textual(value, escape::code));
    environment.add_filter("prose", |value: &Value| textual(value, escape::prose));
    environment.add_filter("fence", |value: &Value, language: Option<String>| {
        let language = language.unwrap_or_default();
        textual(value, |text| escape::fence(text, &language))
    });
}

/// A number with its noun in singular or plural: `{{ n | counted("cell") }}` gives `1 cell` or `2 cells`.
fn counted(value: &Value, noun: &str, plural: Option<&str>) -> Result<String, Error> {
    let number = match value.get_attr("value") {
        Ok(own) if !own.is_undefined() => f64::try_from(own)?,
        _ => f64::try_from(value.clone())?,
    };
    let shown = number::thousands(Some(number));
    Ok(match (number == 1.0, plural) {
        (true, _) => format!("{shown} {noun}"),
        (false, Some(plural)) => format!("{shown} {plural}"),
        (false, None) => format!("{shown} {noun}s"),
    })
}

/// The text with its first letter in upper case, except for percentiles: `p95 TTFT`.
fn capital(text: &str) -> String {
    if text.strip_prefix('p').is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_digit())) {
        return text.to_owned();
    }
    let mut chars = text.chars();
    let first = chars.next();
    first.map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), chars.as_str()))
}

/// A list as text: `a`, `a and b`, `a, b and c`.
fn listed(items: &Value) -> Result<String, Error> {
    let texts: Vec<String> = items.try_iter()?.map(|item| item.to_string()).collect();
    Ok(number::listed(&texts))
}

/// Numbers as bars between their minimum and maximum; an absent one is a dot.
fn spark(values: &Value) -> Result<String, Error> {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let numbers: Vec<Option<f64>> = values
        .try_iter()?
        .map(|value| f64::try_from(value).ok().filter(|number| number.is_finite()))
        .collect();
    let known = || numbers.iter().flatten().copied();
    let least = known().fold(f64::INFINITY, f64::min);
    let most = known().fold(f64::NEG_INFINITY, f64::max);
    let bar = |number: f64| {
        let part = if most > least { (number - least) / (most - least) } else { 0.5 };
        BARS[((part * 7.0).round() as usize).min(7)]
    };
    Ok(numbers.iter().map(|number| number.map_or('·', bar)).collect())
}

fn numeric(filter: &str, value: &Value, show: fn(Option<f64>) -> String) -> Result<String, Error> {
    match value.kind() {
        ValueKind::None => Ok(show(None)),
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        _ => match f64::try_from(value.clone()) {
            Ok(number) => Ok(show(Some(number))),
            Err(_) => Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("the filter `{filter}` shows a number, and this is a {}", value.kind()),
            )),
        },
    }
}

fn textual(value: &Value, shape: impl Fn(&str) -> String) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::None => Ok(Value::from(number::ABSENT)),
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        _ => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Ok(Value::from_safe_string(shape(&text)))
        }
    }
}

#[cfg(test)]
mod tests {
    use minijinja::value::Serde;

    use super::*;

    #[test]
    fn a_spark_line_goes_from_least_to_most_and_shows_what_is_absent() {
        let values = Value::from(Serde(&[Some(1.0), None, Some(8.0), Some(4.5)]));
        assert_eq!(spark(&values).unwrap(), "▁·█▅");
        assert_eq!(spark(&Value::from(Serde(&[2.0, 2.0]))).unwrap(), "▅▅");
        assert_eq!(spark(&Value::from(Serde(&[0.0; 0]))).unwrap(), "");
    }
}
