//! `compare`: compares two stored runs.

use super::{
    super::{args, exit::Exit},
    Ended, counted, print, report, say, settings, show, unexpected, wrong,
};
use crate::{
    report::{Comparison, compare, render_comparison},
    store,
};

pub(super) fn compare_verb(words: &args::Compare) -> Ended {
    let settings = settings(&words.talk, words.results.as_ref(), words.templates.as_ref())?;
    let read = |run| store::read(&report::folder(run, &settings)?).map_err(unexpected);
    let run = read(&words.run)?;
    let named = |run| report::folder(run, &settings);
    if words.anchors.iter().any(|anchor| named(anchor).ok() == named(&words.run).ok()) {
        say("note: the run is compared with itself");
    }
    let mut failures = Vec::new();
    for anchor in &words.anchors {
        let comparison = compare(&run, &read(anchor)?);
        refuse(&comparison, &words.despite)?;
        let text = render_comparison(&comparison, settings.templates.as_deref()).map_err(|findings| {
            show(&findings);
            Exit::Usage
        })?;
        // A gate that matches nothing is an error before any table is printed.
        for gate in &words.fail_on {
            failures.extend(gate.failures(&comparison).map_err(wrong)?);
        }
        print(&text)?;
    }
    if failures.is_empty() {
        return Ok(Exit::Finished);
    }
    for failure in &failures {
        say(failure);
    }
    say(&format!("--fail-on: {} changed by more than is allowed", counted(failures.len(), "metric")));
    Err(Exit::GateFailed)
}

/// Refuses runs that are not comparable, and names each key that differs.
fn refuse(comparison: &Comparison, despite: &[String]) -> Result<(), Exit> {
    if comparison.cells.is_empty() {
        return Err(wrong(
            "no cell was measured in both runs: no two cells have the same workload name and axis values. For an import, \
             `runner import --workload NAME` sets the name",
        ));
    }
    let differences: String = comparison
        .differences
        .iter()
        .filter(|difference| !difference.is_allowed(despite))
        .map(|difference| {
            format!("\n  --despite {}    {} against {}", difference.key, difference.run, difference.anchor)
        })
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    Err(wrong(format!(
        "the runs differ in more than the machine. Add the differences that you want to compare:{differences}"
    )))
}
