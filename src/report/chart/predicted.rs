//! Predicted against measured: each cell, and the line on which both are the same.

use super::{
    Chart, about,
    plane::Plane,
    scale::Scale,
    scope::Scope,
    sheet::{EDGE, Sheet},
};
use crate::{
    report::{
        insight::{
            count, may_rank_by, of,
            prediction::{answers, error, signed},
        },
        number,
    },
    store::{CellFile, PredictedCell, StoredRun},
};

/// Height of the plot.
const HEIGHT: f64 = 380.0;
/// With fewer cells a table says it better.
const CELLS: usize = 3;
/// Where the dashed lines are.
const OFF: f64 = 0.25;
const KEY: &str = "p50_e2e";

/// The picture; `None` where too few cells have both numbers.
pub(super) fn draw(run: &StoredRun, scope: &Scope<'_>) -> Option<Chart> {
    let predictions = run.predictions.as_ref()?;
    let points: Vec<(&CellFile, &PredictedCell, f64, f64)> = scope
        .measured()
        .filter(|cell| cell.is_real())
        .filter_map(|cell| {
            let predicted = predictions.cells.get(&cell.id)?;
            let (got, told) = (of(cell, KEY)?, predicted.p50_e2e_ms?);
            (got > 0.0 && told > 0.0).then_some((cell, predicted, got, told))
        })
        .collect();
    if points.len() < CELLS {
        return None;
    }
    let all = points.iter().flat_map(|(_, _, got, told)| [*got, *told]);
    let (low, high) = all.fold((f64::INFINITY, 0.0f64), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let (low, high) = (low / 1.3, high * 1.3);
    let chart = Chart::new(
        "predicted",
        scope.workload,
        format!("{}: predicted against measured", scope.workload),
        format!(
            "p50 E2E of {}, predicted against measured, with the line on which both are the same.",
            count(points.len(), "cell")
        ),
    );
    let mut sheet = Sheet::new(&chart.title, &about::source(run), run, &[], scope.wide);
    let top = sheet.top() + 30.0;
    let plane = Plane {
        left: EDGE + 52.0,
        right: scope.wide - EDGE - 14.0,
        top,
        bottom: top + HEIGHT.min(scope.wide - 2.0 * EDGE - 76.0),
    };
    let x = Scale::between(low, high, true, plane.left, plane.right);
    let y = Scale::between(low, high, true, plane.bottom, plane.top);
    let svg = &mut sheet.svg;
    plane.values(svg, &y, "predicted p50 E2E, ms");
    let ticks: Vec<(f64, String)> = x
        .ticks()
        .into_iter()
        .map(|(value, text)| (x.at(value), text))
        .collect();
    plane.below(svg, &ticks, "measured p50 E2E, ms");
    // y = x · factor, as far as it is inside.
    for (factor, class) in [
        (1.0, "line front"),
        (1.0 + OFF, "limit"),
        (1.0 / (1.0 + OFF), "limit"),
    ] {
        let (from, to) = (low.max(low / factor), high.min(high / factor));
        svg.line(
            (x.at(from), y.at(from * factor)),
            (x.at(to), y.at(to * factor)),
            class,
        );
    }
    for (cell, predicted, got, told) in &points {
        let off = error(cell, predicted, KEY).map_or_else(String::new, signed);
        let said = format!(
            "{}\npredicted p50 E2E {}, measured {} ({off})\nanswers, tokens: {}",
            about::place(scope, cell),
            number::ms(Some(*told)),
            number::ms(Some(*got)),
            answers(predicted)
        );
        svg.open_mark(Some(&cell.id), &said);
        let at = (x.at(*got), y.at(*told));
        svg.circle(at, 10.0, "hit");
        let class = if may_rank_by(cell, KEY) {
            "f0"
        } else {
            "hollow s0"
        };
        svg.circle(at, if points.len() < 80 { 4.5 } else { 3.0 }, class);
        svg.close_mark();
    }
    let notes = super::notes([
        format!(
            "Predicted for {}: {}.",
            predictions.basis.hardware, predictions.basis.validation
        ),
        "On the line both are equal; on the dashed lines one is 1.25× the other.".into(),
        about::unranked(points.iter().map(|point| point.0), KEY),
        scope.constant.clone(),
    ]);
    Some(sheet.finish(plane.bottom + Plane::BELOW, &notes, chart))
}
