//! The verbs that read a manifest and measure nothing: `check`, `plan` and `recipe`.

use std::time::{Duration, Instant};

use super::{
    super::{
        args,
        exit::Exit,
        flags::{self, Ask},
    },
    Ended, accept, counted, planned, print, print_json, runtime, say, selected, settings, unexpected,
};
use crate::{
    manifest::{Repeats, Slo},
    plan::{Plan, Search, with_first_probes},
    predict::{MemoryFit, Placement, SearchEstimate, estimate, estimate_searches},
    store,
};

/// The most time that the searches of a plan are predicted.
const LONGEST: Duration = Duration::from_secs(30);

pub(super) fn check(args: &args::Check) -> Ended {
    settings(&args.settings)?;
    let (manifest, plan) = planned(&args.manifest, None)?;
    let sample = with_first_probes(&manifest, &plan);
    let findings = flags::verify(&manifest, &sample, Ask::All, &runtime()?, &mut say);
    accept(&findings)?;
    say(&format!("no mistakes found in {}: {}", args.manifest.path, size(&plan)));
    searches(&plan, &sample).iter().for_each(|line| say(line));
    Ok(Exit::Finished)
}

pub(super) fn plan(args: &args::Plan) -> Ended {
    settings(&args.settings)?;
    let (manifest, mut plan) = planned(&args.manifest, args.sim.as_deref())?;
    selected(&plan, &args.only)?;
    plan.keep(&args.only);
    let placement = Placement::of(&manifest);
    let placed = placement.place(&plan).placed;
    let began = Instant::now();
    let may_continue = || began.elapsed() < LONGEST;
    let estimates = estimate_searches(&placement, &plan, &std::env::temp_dir(), &may_continue);
    if args.json {
        let mut value = serde_json::json!(plan);
        for (index, group) in plan.groups.iter().enumerate() {
            if let Some(placed) = placed.get(&group.id) {
                value["groups"][index]["predicted"] = MemoryFit::of(&manifest, group, placed).json();
            }
        }
        for (index, estimate) in estimates.iter().enumerate() {
            value["searches"][index]["estimate"] = serde_json::json!(estimate);
        }
        return print_json(&value).map(|()| Exit::Finished);
    }
    let mut out = String::new();
    for group in &plan.groups {
        out.push_str(&format!("{}  ({})\n", group.id, group.title()));
        if let Some(placed) = placed.get(&group.id) {
            out.push_str(&format!("  {}\n", MemoryFit::of(&manifest, group, placed)));
        }
        for cell in &group.cells {
            let skip = cell.skip.as_ref().map_or_else(String::new, |reason| format!("  skipped: {reason}"));
            let ladder = match &cell.rung_below {
                Some(below) if cell.skip.is_none() => format!("  if climbing goes on after {below}"),
                _ => String::new(),
            };
            out.push_str(&format!("  {}{skip}{ladder}\n", cell.id));
        }
    }
    let searches = searches(&plan, &with_first_probes(&manifest, &plan));
    searches.iter().for_each(|line| out.push_str(&format!("{line}\n")));
    print(&out)?;
    say(&size(&plan));
    if let Some(estimate) = estimate(&manifest, &plan, &placed) {
        say(&estimate.to_string());
    }
    for estimate in estimates.iter().chain(&SearchEstimate::total(&estimates)) {
        say(&estimate.to_string());
    }
    Ok(Exit::Finished)
}

fn size(plan: &Plan) -> String {
    let size = format!("{}, {}", counted(plan.len(), "cell"), counted(plan.groups.len(), "server"));
    let size = match plan.searches.len() {
        0 => size,
        1 => format!("{size}, 1 search"),
        searches => format!("{size}, {searches} searches"),
    };
    match &plan.experiment.repeats {
        // Probes are measured once.
        rule @ Repeats::Rule(_) if !plan.is_empty() => format!("{size}; repeats of each cell: {rule}"),
        _ => size,
    }
}

/// The searches of a plan in plain words, one a line. `sample` is the plan with a probe of each.
fn searches(plan: &Plan, sample: &Plan) -> Vec<String> {
    let line = |search: &Search| {
        let mut cells = sample.groups.iter().flat_map(|group| &group.cells);
        let probe = cells.find(|cell| cell.search.as_ref() == Some(&search.id));
        search.describe(probe.map_or(&Slo::default(), |cell| &cell.spec.slo))
    };
    plan.searches.iter().map(line).collect()
}

pub(super) fn recipe(args: &args::Recipe) -> Ended {
    settings(&args.settings)?;
    let (manifest, mut plan) = planned(&args.manifest, None)?;
    if plan.groups.is_empty() {
        say("the servers of a search depend on its probes; these are the first");
        plan = with_first_probes(&manifest, &plan);
    }
    for group in &plan.groups {
        let folder = args.out.join(&group.id);
        store::write_recipe(&folder, group).map_err(unexpected)?;
        print(&format!("{}\n{}\n", folder.join("serve.sh"), folder.join("config.yaml")))?;
    }
    Ok(Exit::Finished)
}
