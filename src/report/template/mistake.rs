//! Explains a mistake in a template: where it is, why it fails, and what may have been meant.

use std::ops::Range;

use minijinja::{Error, ErrorKind};

use super::{files::Template, filters};
use crate::{
    diagnostic::{Finding, Place},
    manifest::nearest,
};

/// Turns an error of a template into a finding with its place and suggestions.
pub(crate) fn explain(error: &Error, templates: &[Template], values: &serde_json::Value) -> Finding {
    // An include wraps the error that matters: the innermost one with a place in a template.
    let mut error = error;
    while let Some(inner) = std::error::Error::source(error).and_then(|inner| inner.downcast_ref::<Error>()) {
        if inner.name().is_none() {
            break;
        }
        error = inner;
    }
    let name = error.name().unwrap_or("the template").to_owned();
    let reason = error
        .detail()
        .map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    let Some(template) = templates.iter().find(|template| template.name == name) else {
        return Finding::error(format!("{name} cannot be rendered: {reason}"));
    };
    let text = &template.source.text;
    let span = error
        .range()
        .filter(|span| text.get(span.clone()).is_some_and(|part| !part.is_empty()))
        .map(|span| match error.kind() {
            ErrorKind::UndefinedError => before_filter(text, span),
            _ => span,
        })
        .or_else(|| error.line().map(|line| line_span(text, line)));
    let title = format!("the template {name} cannot be rendered");
    let mut finding = match &span {
        Some(span) => {
            Finding::error(title).at(&Place { source: template.source.clone(), span: span.clone() }, reason)
        }
        None => Finding::error(format!("{title}: {reason}")),
    };
    let expression = span.and_then(|span| text.get(span)).unwrap_or_default();
    for help in help(error.kind(), expression, values) {
        finding = finding.help(help);
    }
    finding
}

/// Moves the span of an undefined value from the filter, at which the engine points, to the expression before
/// it.
fn before_filter(text: &str, span: Range<usize>) -> Range<usize> {
    let Some(before) = text[..span.start].trim_end().strip_suffix('|').map(str::trim_end) else {
        return span;
    };
    if text[span.clone()].contains(|c: char| !c.is_alphanumeric() && c != '_') {
        return span;
    }
    let opened = before.rfind("{{").max(before.rfind("{%")).map(|at| at + 2);
    match opened {
        Some(opened) => {
            let inside = &before[opened..];
            opened + inside.len() - inside.trim_start_matches(['-', '+', ' ']).len()..before.len()
        }
        None => span,
    }
}

/// The bytes of a 1-based line, without its indentation.
fn line_span(text: &str, line: usize) -> Range<usize> {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let own = text[start.min(text.len())..].lines().next().unwrap_or_default();
    let indent = own.len() - own.trim_start().len();
    start + indent..start + own.trim_end().len().max(indent)
}

fn help(kind: ErrorKind, expression: &str, values: &serde_json::Value) -> Vec<String> {
    match kind {
        ErrorKind::UndefinedError => undefined_help(expression, values),
        ErrorKind::UnknownFilter => {
            let near = words(expression).into_iter().rev().find_map(|word| nearest(word, &filters::NAMES));
            let mut help: Vec<String> =
                near.map(|near| format!("did you mean `{near}`?")).into_iter().collect();
            help.push(format!("filters for notes: {}; and those of Jinja", filters::NAMES.join(", ")));
            help
        }
        ErrorKind::SyntaxError => {
            vec!["templates are Jinja's; templates/README.md shows one that works".into()]
        }
        _ => Vec::new(),
    }
}

/// Follows the path in the expression as far as it exists, and suggests a name from there.
fn undefined_help(expression: &str, values: &serde_json::Value) -> Vec<String> {
    let mut known: Vec<&str> = keys(values);
    let mut place = "at hand".to_owned();
    let mut missing = None;
    let mut at = values;
    let mut path = Vec::new();
    for word in words(expression) {
        match at.get(word) {
            Some(inner) => {
                at = inner;
                path.push(word);
                known = keys(inner);
                place = format!("in `{}`", path.join("."));
            }
            None => {
                missing = Some(word);
                break;
            }
        }
    }
    let word = missing.unwrap_or(expression);
    let mut everywhere = Vec::new();
    all_keys(values, &mut everywhere);
    // The name may belong to a loop variable: then it is a key somewhere below.
    let below = || {
        words(expression)
            .into_iter()
            .rev()
            .filter(|word| !filters::NAMES.contains(word) && !everywhere.contains(word))
            .find_map(|word| nearest(word, &everywhere))
    };
    let near = nearest(word, &known).or_else(below);
    let mut help: Vec<String> =
        near.filter(|near| *near != word).map(|near| format!("did you mean `{near}`?")).into_iter().collect();
    if !known.is_empty() {
        help.push(format!("names {place}: {}", known.join(", ")));
    }
    help.push("templates/README.md documents every value".into());
    help
}

fn keys(value: &serde_json::Value) -> Vec<&str> {
    value.as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn all_keys<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, inner) in map {
                if !found.contains(&key.as_str()) {
                    found.push(key);
                }
                all_keys(inner, found);
            }
        }
        // The elements of a list have the same keys: the first is enough.
        serde_json::Value::Array(items) => {
            if let Some(first) = items.first() {
                all_keys(first, found);
            }
        }
        _ => {}
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect()
}
