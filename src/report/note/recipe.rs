//! A recipe for each workload: what to set, what to expect, and what to avoid. Its words are in
//! `playbook.md.j2`.

use serde_json::{Value, json};

use super::table::picked;
use crate::{
    manifest::{Flag, scalar_text},
    report::{
        finding::{Kind, Statement, latencies, usd_per_million},
        model::{Block, Cell, Effect, Met, Model, slo_text},
    },
};

/// The most things to avoid that are named.
const NAMED: usize = 6;
/// What to avoid: where the SLO breaks, where the numbers are unstable, where memory runs out.
const AVOID: [Kind; 10] = [
    Kind::Limit,
    Kind::Saturation,
    Kind::Cliff,
    Kind::Ridge,
    Kind::TailRidge,
    Kind::Dip,
    Kind::RepeatsDisagree,
    Kind::Stalls,
    Kind::LongTail,
    Kind::Boundary,
];

/// The recipe of a workload on its best server; `None` without a recommended cell.
pub(super) fn recipe(model: &Model<'_>, statements: &[Statement], workload: usize) -> Option<Value> {
    let at = model.best(workload)?;
    let ranking = model.ranking(at);
    let pick = *ranking.picks.first()?;
    let (block, cell) = (&model.blocks[at], &model.cells[pick.cell]);
    let sentence = |kind: Kind| {
        let mut own = statements.iter().filter(|own| own.finding.kind == kind);
        own.find(|own| own.finding.block == Some(at)).map_or("", |own| own.text.as_str())
    };
    let avoid = statements.iter().filter(|own| AVOID.contains(&own.finding.kind)).filter(|own| {
        match (own.finding.block, own.finding.workload) {
            (Some(of), _) => of == at,
            (None, of) => of.is_none_or(|of| of == workload),
        }
    });
    let server = block.server.map(|at| &model.servers[at]);
    let is_met = matches!(ranking.met, Met::NoSlo | Met::Yes | Met::ByStandIn);
    Some(json!({
        "workload": model.workloads[workload].name,
        "objective": block.objective,
        "met": ranking.met,
        "statement": sentence(Kind::Answer),
        "basis": sentence(Kind::Basis),
        "slo": slo_text(block.slo),
        "model": server.map(|server| &server.group.server.model).filter(|model| !model.is_empty()),
        "server": model.server_label(block.server),
        "pick": picked(model, cell, pick.reason),
        "usd_per_million": usd_per_million(model, cell).filter(|_| is_met),
        "j_per_token": cell.file.gpu_j_per_output_token(),
        "load": load(model, at, cell),
        "flags": flags(model, workload, at),
        "avoid": avoid.map(|own| &own.text).take(NAMED).collect::<Vec<_>>(),
    }))
}

/// The load to keep to, and the usable cells before and after it on its line.
fn load(model: &Model<'_>, at: usize, cell: &Cell<'_>) -> Option<Value> {
    let block = &model.blocks[at];
    let on_line = block.load_line_of(cell.index);
    let neighbour = |step: isize| {
        let (line, at) = on_line?;
        let other = &model.cells[*line.cells.get(at.checked_add_signed(step)?)?];
        let latencies = latencies(other).into_iter().map(|(metric, ms)| (metric.label(), ms));
        Some(json!({
            "load": other.load.reached,
            "brings": block.brings.and_then(|brings| other.ranked(brings)),
            "unit": block.brings.map(|brings| brings.unit().symbol()),
            "latencies": latencies.collect::<Vec<_>>(),
        }))
    };
    Some(json!({
        "quantity": cell.load.quantity(),
        "value": cell.load.reached?,
        "max_tokens": cell.file.load.get("max_tokens").filter(|value| !value.is_null()).map(scalar_text),
        "before": neighbour(-1),
        "next": neighbour(1).filter(|_| block.searches.is_empty()),
        // The load from which a search knows that the SLO is missed.
        "misses": misses(model, block, cell),
    }))
}

/// The load at which the search that a cell is a probe of knows the SLO to be missed; absent without a search,
/// and where every load meets it.
fn misses(model: &Model<'_>, block: &Block<'_>, cell: &Cell<'_>) -> Option<f64> {
    let mut answers = block.searches.iter().map(|at| &model.answers[*at]);
    answers.find(|answer| Some(&answer.search.id) == cell.file.search.as_ref())?.infeasible
}

/// The flags of the recommended server, with the values that were tried.
fn flags(model: &Model<'_>, workload: usize, at: usize) -> Vec<Value> {
    let Some(server) = model.blocks[at].server.map(|at| &model.servers[at]) else { return Vec::new() };
    let knob = |(name, flag): (&str, &Flag)| {
        let axis = model.axes.iter().position(|axis| axis.name == name);
        let effect = model.effects(workload).iter().find(|effect| Some(effect.axis) == axis);
        let axis = axis.map(|axis| &model.axes[axis]).filter(|axis| axis.values.len() > 1);
        let tried = axis.map_or(0..0, |axis| 0..axis.values.len());
        let tried: Vec<String> = tried.filter_map(|place| Some(axis?.text(place))).collect();
        let fits = |text: &String| {
            let own = model.servers.iter().filter(|server| server.value(name).as_ref() == Some(text));
            own.filter_map(|server| server.fate.fits()).any(|fits| fits)
        };
        json!({
            "name": name,
            "value": match flag {
                Flag::On => "on".into(),
                Flag::Off => "off".into(),
                other => scalar_text(&other.to_value()),
            },
            "tried": tried,
            // Empty if a single value was tried, or no cells could be compared.
            "effect": effect.map_or("", judged),
            // Values that did not fit into memory.
            "too_much": tried.iter().filter(|text| !fits(text)).collect::<Vec<_>>(),
        })
    };
    server.group.server.flags.passed().map(knob).collect()
}

fn judged(effect: &Effect) -> &'static str {
    match () {
        () if effect.strength() > 0.0 => "differs",
        () if effect.is_none() => "none",
        () => "unclear",
    }
}
