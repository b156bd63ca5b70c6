//! Lists as values of templates: failures, verdicts, the OOM surface, the engine's times, predictions.

use serde_json::{Value, json};

use crate::report::{
    finding::{
        EngineRow, PREDICTED, PredictionRow, engine_rows, prediction, prediction_medians, prediction_rows,
        verdict_rows,
    },
    model::{Ended, Model, failures},
};

/// The most predicted cells that are all listed; of more, the worst are.
const LISTED: usize = 24;

/// Cells without numbers, grouped by how and why they ended.
pub(super) fn failed(model: &Model<'_>) -> Vec<Value> {
    let failures = failures(model).into_iter();
    failures
        .map(|own| {
            json!({
                "outcome": own.ended.name(),
                "retried": matches!(own.ended, Ended::Attempt(_)),
                "workloads": own.workloads,
                "servers": own.servers.iter().map(|at| model.server_label(Some(*at))).collect::<Vec<_>>(),
                "cells": own.cells,
                "reason": own.reason,
                "errors": own.errors,
                "log_tail": own.log_tail,
            })
        })
        .collect()
}

/// Verdicts, one row for each kind and severity, most severe first.
pub(super) fn verdicts(model: &Model<'_>) -> Vec<Value> {
    let rows = verdict_rows(model).into_iter();
    rows.map(|row| {
        json!({
            "kind": row.kind.name(),
            "severity": row.severity,
            "cells": row.cells.iter().map(|at| model.cells[*at].id()).collect::<Vec<_>>(),
            "touches": row.touches.keys().collect::<Vec<_>>(),
            "reason": row.reasons.first(),
            "same_reason": row.is_same,
            "hint": row.hint,
        })
    })
    .collect()
}

/// Where memory runs out over the server axes; `None` if it never does.
pub(super) fn surface(model: &Model<'_>) -> Option<Value> {
    let surface = model.surface()?;
    let names =
        |axes: &[usize]| axes.iter().map(|axis| model.axes[*axis].label()).collect::<Vec<_>>().join(", ");
    let fate = |at: &usize| {
        let server = &model.servers[*at];
        json!({
            "fate": server.fate,
            "ended_at": server.ended_at(),
            "full_length_requests": server.full_length_requests(),
            "largest_length": server.file.and_then(|file| file.facts.estimated_max_model_len),
        })
    };
    let rows = surface.row_labels.iter().zip(&surface.servers).map(|(labels, row)| {
        let cells: Vec<Vec<Value>> = row.iter().map(|servers| servers.iter().map(fate).collect()).collect();
        json!({ "label": labels.join(", "), "cells": cells })
    });
    let held = surface.held.iter().map(|(axis, value)| {
        let axis = &model.axes[*axis];
        json!({ "axis": axis.label(), "value": axis.text(*value) })
    });
    Some(json!({
        "rows_axis": names(&surface.rows),
        "columns_axis": names(&surface.column.into_iter().collect::<Vec<_>>()),
        "columns": surface.column_labels,
        "rows": rows.collect::<Vec<_>>(),
        "held": held.collect::<Vec<_>>(),
        "left_out": surface.left_out,
    }))
}

/// Where the time of a block's requests went, as the server reports it: a row for each cell whose engine
/// reported.
pub(super) fn engine(model: &Model<'_>, block: usize) -> Vec<Value> {
    let value = |row: EngineRow| {
        let cell = &model.cells[row.cell];
        let mut value = json!({ "cell": cell.id(), "place": model.place(cell) });
        if let (Value::Object(value), Value::Object(times)) = (&mut value, json!(row)) {
            value.extend(times);
        }
        value
    };
    let rows = engine_rows(model, &model.blocks[block]).into_iter();
    rows.filter(|row| row.has_engine).map(value).collect()
}

/// Predictions and measurements; `None` without predictions. An error is (predicted − measured) / measured.
pub(super) fn predictions(model: &Model<'_>) -> Option<Value> {
    model.run.predictions.as_ref()?;
    let mut rows = prediction_rows(model);
    let medians = prediction_medians(&rows).into_iter().map(|own| {
        json!({
            "label": own.metric.label(),
            "signed": own.signed,
            "absolute": own.absolute,
            "largest": own.largest,
            "cells": own.cells,
            "inside": own.inside.0,
            "with_interval": own.inside.1,
        })
    });
    let medians: Vec<Value> = medians.collect();
    let compared = rows.len();
    if compared > LISTED {
        let size = |error: Option<f64>| error.map_or(0.0, |error| (1.0 + error).ln().abs());
        rows.sort_by(|a, b| size(b.errors[0]).total_cmp(&size(a.errors[0])));
        rows.truncate(LISTED / 2);
    }
    let row = |own: &PredictionRow<'_>| {
        let cell = &model.cells[own.cell];
        let label = model.server_label(cell.server);
        let place = [model.place(cell), label].into_iter().filter(|part| !part.is_empty());
        json!({
            "cell": cell.id(),
            "workload": cell.file.workload,
            "place": place.collect::<Vec<_>>().join(", "),
            "answers": own.predicted.output_tokens,
            "answers_from": own.predicted.answers_from,
            "measured": PREDICTED.map(|metric| cell.ranked(metric)),
            "predicted": PREDICTED.map(|metric| prediction(own.predicted, metric)),
            "intervals": PREDICTED.map(|metric| own.predicted.intervals.get(&metric.column())),
            "errors": own.errors,
            "inside": own.inside,
            "fitted": own.is_fitted,
        })
    };
    Some(
        json!({ "medians": medians, "rows": rows.iter().map(row).collect::<Vec<_>>(), "compared": compared }),
    )
}
