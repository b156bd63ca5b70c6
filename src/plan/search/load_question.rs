//! [`LoadQuestion`]: `[workload.NAME.search]`, checked.

use serde_json::Value;

use super::number;
use crate::{
    diagnostic::{Finding, Findings},
    manifest::{BaseWorkload, LoadAxis, LoadSearch, Manifest, Path},
};

/// A search for the most load of a workload.
pub(super) struct LoadQuestion {
    /// The searched axis.
    pub(super) path: Path,
    pub(super) search: LoadSearch,
    /// Whether its range is. Otherwise only the workload is checked, so that all mistakes are reported at once.
    pub(super) is_valid: bool,
}

/// Keys that a search needs, each with an example.
const NEEDED: [(&str, &str); 3] = [
    ("axis", "axis = \"concurrency\", or \"rate\" in an open loop"),
    ("from", "from = 1, the smallest load to try"),
    ("to", "to = 1000, the largest load to try"),
];

/// Reads the search of a workload, and reports what is not valid. `None` where a key is missing.
pub(super) fn read(
    manifest: &Manifest,
    base: &BaseWorkload,
    value: &Value,
    findings: &mut Findings,
) -> Option<LoadQuestion> {
    let name = &base.name;
    let at = |key: &str| manifest.place(&["workload", name, "search", key]);
    let mut found = Vec::new();
    for (key, example) in NEEDED.iter().filter(|(key, _)| value.get(key).is_none()) {
        found.push(
            Finding::error(format!("`workload.{name}.search.{key}` is missing"))
                .at(&at(key), format!("needs `{key}`"))
                .help(*example),
        );
    }
    // Types and names are checked by the schema.
    let search = serde_json::from_value::<LoadSearch>(value.clone()).ok();
    let search = search.filter(|_| found.is_empty());
    if let Some(search) = &search {
        found.extend(check(manifest, base, search));
    }
    let is_valid = found.is_empty();
    findings.extend(found);
    search.map(|search| LoadQuestion { path: path(name, search.axis), search, is_valid })
}

fn path(workload: &str, axis: LoadAxis) -> Path {
    Path::of(&["workload", workload, axis.key()])
}

fn check(manifest: &Manifest, base: &BaseWorkload, search: &LoadSearch) -> Vec<Finding> {
    let LoadSearch { axis, from, to, within, .. } = search;
    let name = &base.name;
    let at = |key: &str| manifest.place(&["workload", name, "search", key]);
    let wrong = |title: &str| Finding::error(format!("workload `{name}`: {title}"));
    let path = path(name, *axis);
    let mut found = Vec::new();
    if from > to {
        found.push(
            wrong("the search's `from` is above its `to`")
                .at(&at("from"), format!("{from} is above {to}"))
                .help("swap them, or raise `to`"),
        );
    }
    let integer = *axis == LoadAxis::Concurrency;
    for (key, end) in [("from", *from), ("to", *to)] {
        if end <= 0.0 {
            found.push(
                wrong(&format!("the search's `{key}` must be above 0"))
                    .at(&at(key), "no request would ever start")
                    .help(format!("{key} = 1")),
            );
        } else if integer && end.fract() != 0.0 {
            found.push(
                wrong("a search over `concurrency` needs whole numbers")
                    .at(&at(key), format!("{end} is not a whole number"))
                    .help(
                        "concurrency counts the requests in flight; for requests per second, axis = \"rate\"",
                    ),
            );
        } else if let Some(limit) = manifest.wrong_value(&path, &number::load(end, integer), &at(key)) {
            found.push(
                wrong(&format!("the search's `{key}` is out of range"))
                    .at(&at(key), format!("`{path}` {}", limit.label))
                    .help("search a smaller range"),
            );
        }
    }
    if within.fraction() > 1.0 {
        found.push(
            wrong("the search's `within` is above 100%")
                .at(&at("within"), "one end may then be more than twice the other")
                .help("within = \"5%\""),
        );
    }
    let swept = [&manifest.sweep, &base.sweep].into_iter().find_map(|sweep| sweep.place_of(&path));
    if let Some(place) = swept {
        let key = axis.key();
        found.push(
            wrong(&format!("a search and a sweep have the same axis, `{key}`"))
                .at(&at("axis"), "searched here")
                .related(place, "swept here")
                .help("remove one of them; the search chooses the values itself"),
        );
    }
    found
}
