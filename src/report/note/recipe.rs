//! A recipe for each workload: what to set, what to expect of it, and what to keep away from. Its words stand in
//! `playbook.md.j2`.

use serde::Serialize;

use super::table::Picked;
use crate::{
    manifest::{Flag, LatencyKind, Objective, scalar_text},
    report::{
        finding::{Finding, Kind, middle, tail},
        model::{Cell, Effect, Met, Model},
    },
};

/// So many things to keep away from are named.
const NAMED: usize = 6;

/// The recipe of one workload on its best server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Recipe {
    pub(in crate::report) workload: String,
    /// `latency` or `throughput`.
    pub(in crate::report) objective: &'static str,
    /// `no_slo`, `yes`, `stand_in`, `contradicted` or `no`.
    pub(in crate::report) met: &'static str,
    /// The answer in one sentence.
    pub(in crate::report) statement: String,
    /// What it rests on.
    pub(in crate::report) basis: String,
    /// The targets in words; empty without an SLO.
    pub(in crate::report) slo: String,
    /// The model; absent where it is not known.
    pub(in crate::report) model: Option<String>,
    /// The server's axes; empty where there is one server.
    pub(in crate::report) server: String,
    pub(in crate::report) pick: Picked,
    /// US dollars for a million output tokens, where the price is known and the SLO is met.
    pub(in crate::report) usd_per_million: Option<f64>,
    /// GPU energy for an output token, joules, where it was measured.
    pub(in crate::report) j_per_token: Option<f64>,
    /// The load to keep to.
    pub(in crate::report) load: Option<LoadKnob>,
    /// Flags of the server.
    pub(in crate::report) flags: Vec<FlagKnob>,
    /// What to keep away from, sentences of findings.
    pub(in crate::report) avoid: Vec<String>,
}

/// How much to ask for at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct LoadKnob {
    /// `concurrency` or `rate`.
    pub(in crate::report) quantity: &'static str,
    pub(in crate::report) value: f64,
    /// The most tokens of an answer.
    pub(in crate::report) max_tokens: Option<String>,
    /// The usable cells beside it on its line.
    pub(in crate::report) before: Option<Beside>,
    pub(in crate::report) next: Option<Beside>,
}

/// A neighbour of the recommended cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Beside {
    pub(in crate::report) load: Option<f64>,
    /// What it brings per second, and its unit: `tok/s`.
    pub(in crate::report) brings: Option<f64>,
    pub(in crate::report) unit: Option<&'static str>,
    /// The latencies that say most of it: label and milliseconds.
    pub(in crate::report) latencies: Vec<(String, f64)>,
}

/// One flag.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct FlagKnob {
    pub(in crate::report) name: String,
    pub(in crate::report) value: String,
    /// The values that were tried, where there were several.
    pub(in crate::report) tried: Vec<String>,
    /// What trying them showed: `none` (no difference), `unclear`, `differs`; empty where one value was tried, or no cells
    /// could be compared.
    pub(in crate::report) effect: &'static str,
    /// Values that did not fit into memory.
    pub(in crate::report) too_much: Vec<String>,
}

/// A recipe for every workload that has a recommended cell. `said` has the sentence of each finding.
pub(in crate::report) fn recipes(model: &Model<'_>, findings: &[Finding], said: &[String]) -> Vec<Recipe> {
    let recipe = |workload: usize| {
        let block = model.best(workload)?;
        let ranking = model.ranking(block);
        let pick = *ranking.picks.first()?;
        let cell = &model.cells[pick.cell];
        let own = &model.blocks[block];
        let sentence = |kind: Kind| {
            let at =
                findings.iter().position(|finding| finding.kind == kind && finding.block == Some(block))?;
            said.get(at).cloned()
        };
        let server = own.server.map(|at| &model.servers[at]);
        let targets: Vec<String> = own.slo.0.iter().map(|term| term.to_string()).collect();
        Some(Recipe {
            workload: model.workloads[workload].name.to_owned(),
            objective: match own.objective {
                Objective::Latency => "latency",
                Objective::Throughput => "throughput",
            },
            met: match ranking.met {
                Met::NoSlo => "no_slo",
                Met::Yes => "yes",
                Met::ByStandIn => "stand_in",
                Met::Contradicted => "contradicted",
                Met::No => "no",
            },
            statement: sentence(Kind::Answer).unwrap_or_default(),
            basis: sentence(Kind::Basis).unwrap_or_default(),
            slo: targets.join(" and "),
            model: server.map(|server| server.group.server.model.clone()).filter(|model| !model.is_empty()),
            server: model.server_label(own.server),
            pick: Picked::of(model, cell, pick.reason.name()),
            usd_per_million: crate::report::finding::usd_per_million(model, cell)
                .filter(|_| matches!(ranking.met, Met::NoSlo | Met::Yes | Met::ByStandIn)),
            j_per_token: cell.file.gpu_j_per_output_token(),
            load: load_knob(model, block, cell),
            flags: flags(model, workload, block),
            avoid: avoid(findings, said, workload, block),
        })
    };
    (0..model.workloads.len()).filter_map(recipe).collect()
}

fn load_knob(model: &Model<'_>, block: usize, cell: &Cell<'_>) -> Option<LoadKnob> {
    let own = &model.blocks[block];
    let value = cell.load.reached?;
    let on_line = own.load_lines().iter().find_map(|line| Some((line, line.position(cell.index)?)));
    let beside = |step: isize| {
        let (line, at) = on_line?;
        let other = &model.cells[*line.cells.get(at.checked_add_signed(step)?)?];
        let latencies = [LatencyKind::Ttft, LatencyKind::E2e]
            .into_iter()
            .filter_map(|kind| other.first_ranked(&[tail(kind), middle(kind)].concat()))
            .map(|(metric, ms)| (metric.label(), ms));
        Some(Beside {
            load: other.load.reached,
            brings: own.brings.and_then(|brings| other.ranked(brings)),
            unit: own.brings.map(|brings| brings.unit().symbol()),
            latencies: latencies.collect(),
        })
    };
    Some(LoadKnob {
        quantity: if cell.load.is_open { "rate" } else { "concurrency" },
        value,
        max_tokens: cell.file.load.get("max_tokens").filter(|value| !value.is_null()).map(scalar_text),
        before: beside(-1),
        next: beside(1),
    })
}

fn flags(model: &Model<'_>, workload: usize, block: usize) -> Vec<FlagKnob> {
    let Some(server) = model.blocks[block].server.map(|at| &model.servers[at]) else { return Vec::new() };
    let set = server.group.server.flags.passed();
    set.map(|(name, flag)| {
        let axis = model.axes.iter().position(|axis| axis.name == name);
        let effect = model.effects(workload).iter().find(|effect| Some(effect.axis) == axis);
        let values = axis.map(|axis| &model.axes[axis]).filter(|axis| axis.values.len() > 1);
        let fits = |place: usize| {
            let text = values.map(|axis| axis.text(place)).unwrap_or_default();
            let own = model.servers.iter().filter(|server| server.value(name).as_ref() == Some(&text));
            own.filter_map(|server| server.fate.fits()).any(|fits| fits)
        };
        let tried = values.map_or(0, |axis| axis.values.len());
        let text = |place: usize| values.map(|axis| axis.text(place)).unwrap_or_default();
        FlagKnob {
            name: name.to_owned(),
            value: match flag {
                Flag::On => "on".into(),
                Flag::Off => "off".into(),
                other => scalar_text(&other.to_value()),
            },
            tried: (0..tried).map(text).collect(),
            effect: effect.map_or("", judged),
            too_much: (0..tried).filter(|place| !fits(*place)).map(text).collect(),
        }
    })
    .collect()
}

fn judged(effect: &Effect) -> &'static str {
    match () {
        () if effect.strength() > 0.0 => "differs",
        () if effect.is_none() => "none",
        () => "unclear",
    }
}

/// What to keep away from: where the SLO breaks, where the numbers are unstable, where memory ends.
fn avoid(findings: &[Finding], said: &[String], workload: usize, block: usize) -> Vec<String> {
    let kinds = [
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
    let own = findings.iter().zip(said).filter(|(finding, _)| {
        kinds.contains(&finding.kind)
            && match finding.block {
                Some(of) => of == block,
                None => finding.workload.is_none_or(|of| of == workload),
            }
    });
    own.map(|(_, said)| said.clone()).take(NAMED).collect()
}
