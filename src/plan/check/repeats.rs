//! Rules for `experiment.repeats`.

use crate::{
    diagnostic::{Finding, Findings},
    manifest::{LatencyKind, LaunchOn, Manifest, Metric, Rate, RepeatRule, Repeats},
    plan::{Cell, Plan},
};

/// Reports a rule for repeats that contradicts itself, or that the servers and cells of the plan cannot
/// follow.
pub(in crate::plan) fn repeats(plan: &Plan, manifest: &Manifest, findings: &mut Findings) {
    let repeats = &manifest.experiment.repeats;
    let Repeats::Rule(rule) = repeats else { return };
    let at = |keys: &[&str]| {
        let path: Vec<&str> = ["experiment", "repeats"].iter().chain(keys).copied().collect();
        manifest.place(&path)
    };
    let (least, most) = (repeats.at_least(), repeats.at_most());
    if let Some(until) = &rule.until {
        if until.0.is_empty() {
            findings.push(
                Finding::error("`experiment.repeats.until` names no metric")
                    .at(&at(&["until"]), "empty")
                    .help("until = { p95_ttft = \"5%\" }, or remove it and set `at_least`"),
            );
        } else if least < 2 {
            findings.push(
                Finding::error("`experiment.repeats.until` needs at least 2 repeats")
                    .at(&at(&["at_least"]), "one repeat has no interval")
                    .help("at_least = 3 or more; with 2, an interval is narrow by chance too often"),
            );
        }
        if least > most {
            let default = |given: Option<u32>| if given.is_some() { "" } else { " by default" };
            let key = if rule.at_most.is_some() { "at_most" } else { "at_least" };
            findings.push(
                Finding::error("`experiment.repeats`: `at_least` is more than `at_most`")
                    .at(
                        &at(&[key]),
                        format!(
                            "at_least is {least}{}, at_most is {most}{}",
                            default(rule.at_least),
                            default(rule.at_most)
                        ),
                    )
                    .help("raise `at_most`, or lower `at_least`"),
            );
        }
    } else {
        without_until(rule, least, manifest, findings);
    }
    let attached = plan.groups.iter().any(|group| group.server.launch.on == LaunchOn::Attach);
    if rule.restart && attached {
        findings.push(
            Finding::error("`experiment.repeats.restart` cannot restart a server that is already running")
                .at(&at(&["restart"]), "an attached server")
                .help("let runner start it (server.launch.on = \"local\"), or remove `restart`"),
        );
    }
    for (metric, _) in repeats.until() {
        if let Some(reason) = never_measured(plan, *metric) {
            let key = metric.key();
            findings.push(
                Finding::error(format!("`experiment.repeats.until`: no cell measures `{key}`"))
                    .at(&at(&["until", &key]), reason)
                    .help("name another metric, such as `p50_e2e` or `throughput`, or change the workload"),
            );
        }
    }
}

/// Reports keys that mean nothing without `until`.
fn without_until(rule: &RepeatRule, least: u32, manifest: &Manifest, findings: &mut Findings) {
    if rule.at_most.is_some_and(|most| most != least) {
        findings.push(
            Finding::error("`experiment.repeats.at_most` needs `until`")
                .at(
                    &manifest.place(&["experiment", "repeats", "at_most"]),
                    "nothing says when fewer repeats suffice",
                )
                .help("until = { p95_ttft = \"5%\" }; for a fixed number, set only `at_least`"),
        );
    } else if *rule == RepeatRule::default() {
        findings.push(
            Finding::error("`experiment.repeats` is an empty table")
                .at(&manifest.place(&["experiment", "repeats"]), "no rule")
                .help("repeats = 3, or repeats = { until = { p95_ttft = \"5%\" } }"),
        );
    }
}

/// Why no cell of the plan can measure a metric; `None` where one can, or where there are no cells.
fn never_measured(plan: &Plan, metric: Metric) -> Option<&'static str> {
    let cells = plan.groups.iter().flat_map(|group| &group.cells);
    let mut reason = None;
    for cell in cells.filter(|cell| cell.skip.is_none()) {
        reason = Some(lacks(cell, metric)?);
    }
    reason
}

/// What a cell lacks to measure a metric.
fn lacks(cell: &Cell, metric: Metric) -> Option<&'static str> {
    let of_tokens = match metric {
        Metric::Rate(Rate::Goodput) => {
            return cell.spec.slo.0.is_empty().then_some("goodput needs an `slo`");
        }
        Metric::Latency(_, LatencyKind::Ttft) => false,
        Metric::Latency(_, LatencyKind::Itl | LatencyKind::Tpot) | Metric::Rate(Rate::User) => true,
        _ => return None,
    };
    if !cell.spec.stream {
        return Some("needs the time of a token, and `stream` is false");
    }
    (of_tokens && cell.max_tokens < 2).then_some("needs answers of two tokens or more")
}
