//! `compare`: two stored runs side by side.

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
        say("note: a run is compared with itself");
    }
    let mut failures = Vec::new();
    for anchor in &words.anchors {
        let comparison = compare(&run, &read(anchor)?);
        refuse(&comparison, &words.despite)?;
        let text = render_comparison(&comparison, settings.templates.as_deref()).map_err(|findings| {
            show(&findings);
            Exit::Usage
        })?;
        // A gate that looks at nothing is told before pages of tables.
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
    say(&format!("--fail-on: {} changed by more than is allowed", counted(failures.len(), "number")));
    Err(Exit::GateFailed)
}

/// Refuses what is not comparable, naming each key.
fn refuse(comparison: &Comparison, despite: &[String]) -> Result<(), Exit> {
    if comparison.cells.is_empty() {
        return Err(wrong(
            "no cell was measured in both runs: none has the same workload name and the same axis values in both. For an import, \
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
        "the runs are not comparable as they are. Add the differences that you mean to compare:{differences}"
    )))
}
