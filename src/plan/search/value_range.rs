//! [`ValueRange`]: the server axis of a search for the largest or smallest value, and the values it tries.

use serde_json::{Number, Value};

use super::number::{self, tidy};
use crate::{
    diagnostic::Finding,
    flags::{self, FlagKind},
    manifest::{Manifest, Path, ServerSearch},
};

/// A server axis and the numbers that a search tries on it.
pub(super) struct ValueRange {
    pub(super) path: Path,
    pub(super) from: f64,
    /// The largest value, a whole number of steps above `from`.
    pub(super) to: f64,
    pub(super) step: f64,
    pub(super) integer: bool,
}

/// The path of a server axis that a search varies; `key` is the key that names it.
pub(super) fn server_axis(
    manifest: &Manifest,
    name: &str,
    key: &str,
    text: &str,
    found: &mut Vec<Finding>,
) -> Option<Path> {
    let place = manifest.place(&["search", name, key]);
    match manifest.axis_path(text, &place) {
        Ok(path) if path.starts_with(&["server"]) => return Some(path),
        Ok(path) => found.push(
            Finding::error(format!("search `{name}`: `{path}` is not a server axis"))
                .at(&place, "does not change the server")
                .help("name a path under `server`; the load of a workload is searched by [workload.NAME.search]"),
        ),
        Err(finding) => {
            found.push(Finding { title: format!("search `{name}`: {}", finding.title), ..finding });
        }
    }
    None
}

/// Reads the axis and the range of a search. `None` where there is no valid one, which is reported.
pub(super) fn value_range(
    manifest: &Manifest,
    name: &str,
    axis: &str,
    search: &ServerSearch,
    found: &mut Vec<Finding>,
) -> Option<ValueRange> {
    let at = |key: &str| manifest.place(&["search", name, key]);
    let wrong = |title: String| Finding::error(format!("search `{name}`: {title}"));
    let path = server_axis(manifest, name, "axis", axis, found);
    if let Some(path) = &path
        && let Some(place) = manifest.sweep.place_of(path)
    {
        found.push(
            wrong(format!("a search and [sweep] have the same axis, `{path}`"))
                .at(&at("axis"), "searched here")
                .related(place, "swept here")
                .help("remove one of them; the search chooses the values itself"),
        );
    }
    for (key, _) in [("from", &search.from), ("to", &search.to)].iter().filter(|(_, end)| end.is_none()) {
        found.push(
            wrong(format!("`{key}` is missing"))
                .at(&at(""), format!("needs `{key}`"))
                .help("from = 2048, to = 131072 and step = 1024 name the values to try"),
        );
    }
    let number = |number: &Option<Number>| number.as_ref().and_then(Number::as_f64);
    let path = path?;
    let (from, to) = (number(&search.from)?, number(&search.to)?);
    if !has_numbers(manifest, &path) {
        found.push(
            wrong(format!("the values of `{path}` are not numbers"))
                .at(&at("axis"), "has no largest or smallest value")
                .help("list its values in [sweep], or look for the best one: axes = [\"…\"]"),
        );
        return None;
    }
    let is_whole = |number: f64| number.fract() == 0.0;
    let integer =
        is_integer(manifest, &path).unwrap_or(is_whole(from) && is_whole(to) && step_is_whole(search));
    if search.step.is_none() && !integer {
        found.push(
            wrong("`step` is missing".to_owned())
                .at(&at(""), "values with a fraction need a distance")
                .help("step = 0.01"),
        );
        return None;
    }
    let step = number(&search.step).unwrap_or(1.0);
    let before = found.len();
    if from > to {
        found.push(
            wrong("`from` is above `to`".to_owned())
                .at(&at("from"), format!("{from} is above {to}"))
                .help("swap them; `find` says whether the largest or the smallest value is wanted"),
        );
    }
    if step <= 0.0 {
        found.push(
            wrong("`step` must be above 0".to_owned())
                .at(&at("step"), format!("{step}"))
                .help("the distance between two values, such as 1024"),
        );
    } else if from < to && step > to - from {
        found.push(
            wrong("`step` is larger than the range".to_owned())
                .at(&at("step"), format!("{step} is more than {to} − {from}"))
                .help("the search would try one value; choose a smaller step"),
        );
    }
    for (key, value) in [("from", from), ("to", to), ("step", step)] {
        if integer && !is_whole(value) {
            found.push(
                wrong(format!("`{path}` needs whole numbers"))
                    .at(&at(key), format!("{value} is not a whole number"))
                    .help("write whole numbers for from, to and step"),
            );
        } else if key != "step"
            && let Some(limit) = limit(manifest, &path, &number::value(value, integer))
        {
            found.push(
                wrong(format!("`{key}` is out of range"))
                    .at(&at(key), format!("`{path}` {limit}"))
                    .help("search a smaller range"),
            );
        }
    }
    let to = if from == to { to } else { tidy(from + ((to - from) / step + 1e-9).floor() * step) };
    (found.len() == before).then_some(ValueRange { path, from, to, step, integer })
}

fn step_is_whole(search: &ServerSearch) -> bool {
    search.step.as_ref().and_then(Number::as_f64).is_none_or(|step| step.fract() == 0.0)
}

/// What is known about the flag at a path.
fn flag(path: &Path) -> Option<&'static flags::FlagInfo> {
    path.0.get(2).filter(|_| path.starts_with(&["server", "flags"])).and_then(|name| flags::info(name))
}

/// Whether numbers can stand at a path.
fn has_numbers(manifest: &Manifest, path: &Path) -> bool {
    let accepts = |value: Value| manifest.wrong_value(path, &value, &manifest.place(&[])).is_none();
    match flag(path) {
        Some(flag) => matches!(flag.kind, FlagKind::Integer | FlagKind::Fraction | FlagKind::Number),
        // The limits of a number are another question.
        None => accepts(1.into()) || accepts(0.5.into()) || accepts(100.into()),
    }
}

/// Whether only whole numbers can stand at a path; `None` where that is not known.
fn is_integer(manifest: &Manifest, path: &Path) -> Option<bool> {
    match flag(path) {
        Some(flag) => match flag.kind {
            FlagKind::Integer => Some(true),
            FlagKind::Fraction => Some(false),
            _ => None,
        },
        None if path.starts_with(&["server", "flags"]) => None,
        None => manifest.wrong_value(path, &1.5.into(), &manifest.place(&[])).is_some().then_some(true),
    }
}

/// What a value has to be that cannot stand at a path.
fn limit(manifest: &Manifest, path: &Path, value: &Value) -> Option<String> {
    let number = value.as_f64()?;
    match flag(path).map(|flag| flag.kind) {
        Some(FlagKind::Integer) => (number < 1.0).then(|| "must be at least 1".to_owned()),
        Some(FlagKind::Fraction) => {
            (number <= 0.0 || number > 1.0).then(|| "must be above 0, and at most 1".to_owned())
        }
        _ => manifest.wrong_value(path, value, &manifest.place(&[])).map(|finding| finding.label),
    }
}
