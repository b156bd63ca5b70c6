//! Exports a run as JSON Lines: one flat object per cell.

use serde_json::{Map, Value, json};

use super::note::values;
use crate::store::{CellFile, StoredRun};

/// The latencies of a summary, which are nested.
const LATENCIES: [&str; 5] = ["ttft", "itl", "tpot", "e2e", "issue_delay"];

/// Returns every cell as one line of flat JSON under the names of `cells.csv`, for notebooks.
pub fn json_lines(run: &StoredRun) -> String {
    let mut out = String::new();
    for cell in &run.cells {
        out.push_str(&Value::Object(line(run, cell)).to_string());
        out.push('\n');
    }
    out
}

fn line(run: &StoredRun, cell: &CellFile) -> Map<String, Value> {
    let group = run.plan.groups.iter().find(|group| group.id == cell.server);
    let model = group.map(|group| &group.server.model).filter(|model| !model.is_empty());
    let verdicts: Vec<&str> = cell.verdicts.iter().map(|verdict| verdict.kind.name()).collect();
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    put("experiment", json!(run.plan.experiment.name));
    put("run", json!(run.run.name));
    put("imported", json!(run.run.imported.is_some()));
    put("predicted", json!(run.run.predicted.is_some()));
    put("gpu", json!(run.machine()));
    put("usd_per_hour", json!(run.plan.hardware.usd_per_hour));
    put("model", json!(model));
    for (key, value) in values::cell(run, cell) {
        match key.as_str() {
            "id" => put("cell", value),
            "verdicts" => put("verdicts", json!(verdicts)),
            "axes" | "load" => {}
            key => put(key, value),
        }
    }
    if let Some(predicted) = run.predictions.as_ref().and_then(|all| all.cells.get(&cell.id)) {
        put("predicted_p50_e2e_ms", json!(predicted.p50_e2e_ms));
        put("predicted_throughput_tok_s", json!(predicted.throughput_tok_s));
    }
    if let Ok(Value::Object(summary)) = serde_json::to_value(&cell.summary) {
        flatten(summary, &mut out);
    }
    for (column, value) in &cell.reported {
        out.entry(column.clone()).or_insert(json!(value));
    }
    for (name, value) in cell.load.iter().chain(&cell.axes) {
        // The name may already belong to a number.
        let taken = out.get(name).is_some_and(|known| known != value);
        let key = if taken { format!("axis.{name}") } else { name.clone() };
        out.insert(key, value.clone());
    }
    out
}

/// Adds every number of a summary that is missing: `mean_ttft_ms`, `counts_by_outcome_completed`.
fn flatten(summary: Map<String, Value>, out: &mut Map<String, Value>) {
    for (name, value) in summary {
        match value {
            Value::Object(inner) if LATENCIES.contains(&name.as_str()) => {
                for (key, value) in inner.into_iter().filter(|(key, _)| key != "histogram") {
                    let column = match key.strip_suffix("_ms") {
                        Some(rank) => format!("{rank}_{name}_ms"),
                        None => format!("{key}_{name}"),
                    };
                    out.entry(column).or_insert(value);
                }
            }
            Value::Object(inner) => {
                let inner = inner.into_iter().map(|(key, value)| (format!("{name}_{key}"), value));
                flatten(inner.collect(), out);
            }
            value => {
                out.entry(name).or_insert(value);
            }
        }
    }
}
