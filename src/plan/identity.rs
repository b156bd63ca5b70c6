//! Ids of servers and cells: hashes of a versioned canonical form of what is measured, without settings of
//! the tool.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{Cell, Plan, Stop};
use crate::manifest::{Engine, Inputs, Prompts, Repeats, Server, Workload, sha256};

/// Version of the canonical form. Changing it gives every cell a new id.
const FORM: u32 = 1;

/// The hash of a server, without its timeouts.
pub(super) fn server_key(server: &Server) -> String {
    let mut value = json!(server);
    if let Value::Object(map) = &mut value {
        for key in ["ready_within", "download_within", "stop_within", "hung_after"] {
            map.remove(key);
        }
        if server.engine != Engine::Sim {
            map.remove("sim");
        }
    }
    hash(json!({ "form": FORM, "server": value }))
}

/// The folder name of a server: the last part of its model's name, and a hash.
pub(super) fn server_id(server: &Server, key: &str) -> String {
    let last = server.model.trim_end_matches('/').rsplit('/').next();
    let name: String = last
        .unwrap_or("server")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .take(60)
        .collect();
    format!("{}-{}", name.trim_start_matches(['.', '-']), &key[..8])
}

/// The hash of everything that decides what a cell measures.
pub(super) fn cell_key(
    server_key: &str,
    spec: &Workload,
    stop: Stop,
    inputs: &Inputs,
    seed: u64,
    repeats: &Repeats,
) -> String {
    let content: Vec<&str> = [
        spec.documents.as_ref().map(|documents| &documents.file),
        match &spec.prompts {
            Some(Prompts::File(file)) => Some(&file.file),
            _ => None,
        },
        spec.conversations.as_ref().map(|conversations| &conversations.file),
        spec.trace.as_ref().map(|trace| &trace.file),
    ]
    .into_iter()
    .flatten()
    .filter_map(|path| inputs.get(path).map(|input| input.sha256.as_str()))
    .collect();
    hash(json!({
        "form": FORM,
        "server": server_key,
        "workload": spec,
        "stop": stop,
        "inputs": content,
        "seed": seed,
        "repeats": repeats_form(repeats),
    }))
}

/// The canonical form of `experiment.repeats`, with its defaults: a number stays a number.
fn repeats_form(repeats: &Repeats) -> Value {
    match repeats {
        Repeats::Fixed(times) => json!(times),
        Repeats::Rule(rule) => json!({
            "until": rule.until,
            "at_least": repeats.at_least(),
            "at_most": repeats.at_most(),
            "restart": repeats.restart(),
        }),
    }
}

/// The id of a cell: `chat-c8-t128-1f3a9c20`, or in an open loop `chat-r12.5-t128-…` or
/// `batch-at-once-t128-…`.
pub(super) fn cell_id(workload: &str, spec: &Workload, max_tokens: u32, key: &str) -> String {
    let load = match (spec.streams(), spec.rate) {
        (Some(streams), _) => format!("c{streams}"),
        (None, Some(rate)) => format!("r{rate}"),
        (None, None) => spec.arrivals.to_string(),
    };
    format!("{workload}-{load}-t{max_tokens}-{}", &key[..8])
}

/// The cell that only tries the start of a server. Its workload is empty, so that its id depends on the server
/// alone.
pub(super) fn start_cell(workload: &str, server_key: &str, seed: u64) -> Option<Cell> {
    let spec: Workload = serde_json::from_value(json!({})).ok()?;
    let stop = Stop::Requests(0);
    let key = cell_key(server_key, &spec, stop, &Inputs::default(), seed, &Repeats::ONCE);
    Some(Cell {
        id: format!("start-{}", &key[..8]),
        workload: workload.to_owned(),
        spec: Arc::new(spec),
        stop,
        max_tokens: 0,
        axes: BTreeMap::new(),
        seed: cell_seed(&key),
        skip: None,
        rung_below: None,
        search: None,
        attempt: None,
    })
}

/// Gives a cell another id and another seed, so that it is not the same measurement. `why` is part of the
/// hash.
pub(super) fn renew(cell: &mut Cell, why: &Value) {
    let key = hash(json!({ "form": FORM, "cell": cell.id, "seed": cell.seed, "why": why }));
    let kept = cell.id.len() - 8;
    cell.id.replace_range(kept.., &key[..8]);
    cell.seed = cell_seed(&key);
}

/// The seed of a cell: eight bytes of its hash.
pub(super) fn cell_seed(key: &str) -> u64 {
    u64::from_str_radix(&key[8..24], 16).unwrap_or(u64::MAX)
}

/// The seed of a workload: eight bytes of a hash of its name and the experiment's seed.
fn workload_seed(workload: &str, seed: u64) -> u64 {
    cell_seed(&hash(json!({ "form": FORM, "workload": workload, "seed": seed })))
}

impl Plan {
    /// A seed that all cells of a workload share, for draws that must not differ between them. [`Cell::seed`]
    /// belongs to one cell.
    pub fn shared_seed(&self, cell: &Cell) -> u64 {
        let swept = cell.axes.get("seed").and_then(Value::as_u64);
        workload_seed(&cell.workload, swept.unwrap_or(self.experiment.seed))
    }
}

/// The hash of JSON with sorted keys and without white space. 1 and 1.0 stay different.
fn hash(mut value: Value) -> String {
    value.sort_all_objects();
    sha256(value.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_does_not_matter_and_the_type_of_a_number_does() {
        assert_eq!(hash(json!({"a": 1, "b": 2})), hash(json!({"b": 2, "a": 1})));
        assert_ne!(hash(json!({"a": 1})), hash(json!({"a": 1.0})));
        assert_ne!(hash(json!([1, 2])), hash(json!([2, 1])));
    }
}
