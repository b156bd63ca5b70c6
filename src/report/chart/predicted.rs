//! Predicted against measured latency of each cell, with the line on which both are equal.

use minijinja::context;

use super::{
    about,
    canvas::{Canvas, EDGE},
    picture::Chart,
    plane::Plane,
    scale::Scale,
    scope::Scope,
    sheet::Sheet,
};
use crate::{
    measure::Metric,
    report::{model::Cell, number},
    store::PredictedCell,
};

/// Height of the plot.
const HEIGHT: f64 = 380.0;
/// The fewest cells that are worth a chart.
const CELLS: usize = 3;
/// The number of cells from which they are drawn small.
const LARGE: usize = 80;
/// The ratio of the two numbers on the dashed lines.
const OFF: f64 = 1.25;
/// Free room around the numbers, as a factor.
const ROOM: f64 = 1.3;
const METRIC: Metric = Metric::P50_E2E;

/// A cell with both numbers, milliseconds.
struct Point<'m, 'a> {
    cell: &'m Cell<'a>,
    predicted: &'a PredictedCell,
    measured_ms: f64,
    predicted_ms: f64,
}

/// Draws the chart; `None` if too few cells have both numbers.
pub(super) fn draw(canvas: &Canvas<'_, '_>, scope: &Scope<'_, '_>) -> Option<Chart> {
    let predictions = canvas.model.run.predictions.as_ref()?;
    let points = scope.measured().filter(|cell| cell.file.is_real()).filter_map(|cell| {
        let predicted = predictions.cells.get(cell.id())?;
        let (measured_ms, predicted_ms) = (cell.shown(METRIC)?, predicted.p50_e2e_ms?);
        (measured_ms > 0.0 && predicted_ms > 0.0).then_some(Point {
            cell,
            predicted,
            measured_ms,
            predicted_ms,
        })
    });
    let points: Vec<Point<'_, '_>> = points.collect();
    if points.len() < CELLS {
        return None;
    }
    let all = || points.iter().flat_map(|point| [point.measured_ms, point.predicted_ms]);
    let (low, high) = (all().fold(f64::INFINITY, f64::min) / ROOM, all().fold(0.0, f64::max) * ROOM);
    let f = context! { metric => METRIC.label(), cells => points.len() };
    let chart = Chart::new(canvas, "predicted", Some(scope.name), f);
    let mut sheet = Sheet::new(canvas, &chart.title, &canvas.source(), &[]);
    let top = sheet.top() + 30.0;
    let plane = sheet.plane(top, HEIGHT.min(canvas.wide - 2.0 * EDGE - 76.0));
    let x = Scale::between(low, high, true, plane.left, plane.right);
    let y = Scale::between(low, high, true, plane.bottom, plane.top);
    let svg = &mut sheet.svg;
    let axis = |side: &str| canvas.text("predicted_axis", context! { side, metric => METRIC.label() });
    plane.values(svg, &y, &axis("predicted"));
    plane.below(svg, &x.placed_ticks(), &axis("measured"));
    // y = x · factor, as far as it is inside the plot.
    for (factor, class) in [(1.0, "line front"), (OFF, "limit"), (1.0 / OFF, "limit")] {
        let (from, to) = (low.max(low / factor), high.min(high / factor));
        svg.line((x.at(from), y.at(from * factor)), (x.at(to), y.at(to * factor)), class);
    }
    for point in &points {
        svg.open_mark(Some(point.cell.id()), &tooltip(canvas, scope, point));
        let at = (x.at(point.measured_ms), y.at(point.predicted_ms));
        svg.circle(at, 10.0, "hit");
        let class = if point.cell.ranked(METRIC).is_some() { "f0" } else { "hollow s0" };
        svg.circle(at, if points.len() < LARGE { 4.5 } else { 3.0 }, class);
        svg.close_mark();
    }
    let basis = &predictions.basis;
    let (hardware, validation) = (&basis.hardware, &basis.validation);
    let notes = [
        canvas.text("predicted_basis", context! { hardware, validation }),
        canvas.text("predicted_lines", context! { factor => number::times(Some(OFF)) }),
        about::unranked(canvas, points.iter().map(|point| point.cell), METRIC),
        about::only(canvas, scope),
    ];
    Some(sheet.finish(plane.bottom + Plane::BELOW, notes, chart))
}

/// The tooltip of a cell.
fn tooltip(canvas: &Canvas<'_, '_>, scope: &Scope<'_, '_>, point: &Point<'_, '_>) -> String {
    let (predicted, measured) = (number::ms(Some(point.predicted_ms)), number::ms(Some(point.measured_ms)));
    let error = number::signed(Some(point.predicted_ms / point.measured_ms - 1.0));
    let tokens = point.predicted.output_tokens.map(|tokens| number::grouped(tokens, 0));
    let from = serde_json::json!(point.predicted.answers_from);
    let lines = [
        about::place(scope, point.cell),
        canvas.text("predicted_cell", context! { metric => METRIC.label(), predicted, measured, error }),
        canvas.text("predicted_answers", context! { tokens, from => from.as_str() }),
    ];
    lines.join("\n")
}
