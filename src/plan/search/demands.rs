//! What a search demands of a workload: a load that can vary, and targets that can be measured.

use crate::{
    diagnostic::{Finding, Place},
    manifest::{Arrivals, LatencyKind, LoadAxis, Manifest, SloTerm, Workload},
};

/// What keeps the load of a workload from being searched.
pub(super) fn load(manifest: &Manifest, name: &str, axis: LoadAxis, spec: &Workload) -> Vec<Finding> {
    let at = |keys: &[&str]| at(manifest, name, keys);
    let wrong = |title: String| Finding::error(format!("workload `{name}`: {title}"));
    let mut found = Vec::new();
    let (key, arrivals) = (axis.key(), spec.arrivals);
    let needed = match axis {
        LoadAxis::Concurrency if arrivals.is_open() => {
            Some("remove `arrivals`: only a closed loop keeps requests in flight; or axis = \"rate\"")
        }
        LoadAxis::Rate if !arrivals.has_rate() => Some(
            "arrivals = \"poisson\", \"constant\", \"gamma\" or \"bursts\" have a rate; or axis = \"concurrency\"",
        ),
        LoadAxis::Rate if arrivals == Arrivals::Ramp => {
            Some("a ramp has many rates: arrivals = \"poisson\", \"constant\", \"gamma\" or \"bursts\"")
        }
        _ => None,
    };
    if let Some(help) = needed {
        found.push(
            wrong(format!("arrivals = \"{arrivals}\" has no `{key}` to search"))
                .at(&at(&["search", "axis"]), format!("`{key}`"))
                .help(help),
        );
    }
    found.extend(climbing(manifest, name, spec));
    if spec.slo.0.is_empty() {
        found.push(
            wrong("its search has no SLO to check".to_owned())
                .at(&at(&["search"]), "needs an SLO")
                .help("slo = { p95_ttft = \"500ms\" }"),
        );
    }
    found.extend(targets(manifest, name, spec));
    found
}

/// Reports `stop_climbing`, which chooses the loads too.
pub(super) fn climbing(manifest: &Manifest, name: &str, spec: &Workload) -> Option<Finding> {
    spec.stop_climbing.is_some().then(|| {
        Finding::error(format!("workload `{name}`: `stop_climbing` and a search exclude each other"))
            .at(&at(manifest, name, &["stop_climbing"]), "has no effect on a search")
            .help("remove `stop_climbing`: the search decides what is measured next")
    })
}

/// The targets of a workload that cannot be measured.
pub(super) fn targets(manifest: &Manifest, name: &str, spec: &Workload) -> Vec<Finding> {
    let longest = manifest.inputs.longest_output(spec);
    let lacks = |term: &SloTerm| {
        let needs_two = matches!(term.metric, LatencyKind::Itl | LatencyKind::Tpot);
        if term.metric != LatencyKind::E2e && !spec.stream {
            Some("needs the time of a token, and `stream` is false")
        } else {
            (needs_two && longest == Some(1)).then_some("needs answers of two tokens or more")
        }
    };
    let terms = spec.slo.0.iter().filter_map(|term| Some((term.key(), lacks(term)?)));
    terms
        .map(|(key, reason)| {
            Finding::error(format!("workload `{name}`: a search cannot use `{key}`, which is never measured"))
                .at(&at(manifest, name, &["slo", &key]), reason)
                .help("target another latency, such as p95_e2e, or change the workload")
        })
        .collect()
}

fn at(manifest: &Manifest, name: &str, keys: &[&str]) -> Place {
    let path: Vec<&str> = ["workload", name].iter().chain(keys).copied().collect();
    manifest.place(&path)
}
