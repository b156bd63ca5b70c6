//! `compare`: compares two stored runs.

use super::{
    super::{args, exit::Exit},
    Ended, counted, print, refuse, report, say, settings, wrong,
};
use crate::report::{Comparison, compare, render_comparison};

pub(super) fn compare_verb(args: &args::Compare) -> Ended {
    let settings = settings(&args.settings)?;
    let run = report::stored(&args.run, &settings)?;
    let mut failures = Vec::new();
    for anchor in &args.anchors {
        let anchor = report::stored(anchor, &settings)?;
        if anchor.folder == run.folder {
            say("note: the run is compared with itself");
        }
        let comparison = compare(&run, &anchor);
        check_comparable(&comparison, &args.despite)?;
        let text = render_comparison(&comparison, settings.templates.as_deref()).map_err(refuse)?;
        // A gate that matches nothing is an error before any table is printed.
        for gate in &args.fail_on {
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

/// Refuses runs that are not comparable, and names each key that differs.
fn check_comparable(comparison: &Comparison, despite: &[String]) -> Result<(), Exit> {
    if comparison.cells.is_empty() && comparison.answers.is_empty() {
        return Err(wrong(
            "no cell was measured in both runs, and no search is in both: no two cells have the same workload name and axis values. For an import, \
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
