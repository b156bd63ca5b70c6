//! The verbs that read a manifest and measure nothing: `check`, `plan` and `recipe`.

use super::{
    super::{
        args,
        exit::Exit,
        flags::{self, Ask},
    },
    Ended, accept, counted, planned, print, print_json, runtime, say, selected, settings, unexpected,
};
use crate::{
    plan::Plan,
    predict::{MemoryFit, Placement, estimate},
    store,
};

pub(super) fn check(args: &args::Check) -> Ended {
    settings(&args.settings)?;
    let (manifest, plan) = planned(&args.manifest, None)?;
    let findings = flags::verify(&manifest, &plan, Ask::All, &runtime()?, &mut say);
    accept(&findings)?;
    say(&format!("no mistakes found in {}: {}", args.manifest.path, size(&plan)));
    Ok(Exit::Finished)
}

pub(super) fn plan(args: &args::Plan) -> Ended {
    settings(&args.settings)?;
    let (manifest, mut plan) = planned(&args.manifest, args.sim.as_deref())?;
    selected(&plan, &args.only)?;
    plan.keep(&args.only);
    let placed = Placement::of(&manifest).place(&plan).placed;
    if args.json {
        let mut value = serde_json::json!(plan);
        for (index, group) in plan.groups.iter().enumerate() {
            if let Some(placed) = placed.get(&group.id) {
                value["groups"][index]["predicted"] = MemoryFit::of(&manifest, group, placed).json();
            }
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
    print(&out)?;
    say(&size(&plan));
    if let Some(estimate) = estimate(&manifest, &plan, &placed) {
        say(&estimate.to_string());
    }
    Ok(Exit::Finished)
}

fn size(plan: &Plan) -> String {
    format!("{}, {}", counted(plan.len(), "cell"), counted(plan.groups.len(), "server"))
}

pub(super) fn recipe(args: &args::Recipe) -> Ended {
    settings(&args.settings)?;
    let (_, plan) = planned(&args.manifest, None)?;
    for group in &plan.groups {
        let folder = args.out.join(&group.id);
        store::write_recipe(&folder, group).map_err(unexpected)?;
        print(&format!("{}\n{}\n", folder.join("serve.sh"), folder.join("config.yaml")))?;
    }
    Ok(Exit::Finished)
}
