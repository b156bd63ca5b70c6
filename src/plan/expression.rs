//! Expressions over axis names, in Jinja syntax. Unknown names are errors, and values keep their types.

use std::collections::BTreeMap;

use minijinja::{Environment, Expression, UndefinedBehavior, value::Serde};
use serde_json::Value;

use crate::{
    diagnostic::{Finding, Place},
    manifest::nearest,
};

/// The names that an expression may use, with their values.
pub(super) type Scope = BTreeMap<String, Value>;

/// An environment in which unknown names are errors.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

pub(super) fn compile<'e>(
    environment: &'e Environment<'static>,
    text: &'e str,
    place: &Place,
) -> Result<Expression<'e, 'e>, Finding> {
    environment.compile_expression(text).map_err(|error| {
        Finding::error(format!("the expression {text:?} is not valid"))
            .at(place, error.detail().unwrap_or("not an expression").to_owned())
            .help("write a Jinja expression, such as max_model_len * max_num_seqs > 1000000")
    })
}

pub(super) fn evaluate(
    expression: &Expression<'_, '_>,
    text: &str,
    scope: &Scope,
    place: &Place,
) -> Result<Value, Finding> {
    let result = expression.eval(minijinja::Value::from(Serde(scope)));
    let reason = match result {
        Ok(value) if !value.is_undefined() => match serde_json::to_value(&value) {
            Ok(value) => return Ok(value),
            Err(error) => error.to_string(),
        },
        Ok(_) => "a name in it does not exist".to_owned(),
        Err(error) => error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
    };
    let names: Vec<&str> = scope.keys().map(String::as_str).collect();
    let finding = Finding::error(format!("the expression {text:?} cannot be evaluated")).at(place, reason);
    let mut unknown: Vec<String> = expression.undeclared_variables(false).into_iter().collect();
    unknown.retain(|word| !scope.contains_key(word));
    unknown.sort();
    let near = unknown.first().and_then(|word| nearest(word, &names));
    let finding = match near {
        Some(near) => finding.help(format!("did you mean `{near}`?")),
        None => finding,
    };
    Err(finding.help(format!("available names: {}", names.join(", "))))
}

/// The spelling of an axis name in an expression: `max_model_len`.
pub(super) fn variable(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect()
}
