//! One cell over time: requests in flight, tokens per second, KV cache in use.

use minijinja::context;

use super::{
    about,
    canvas::Canvas,
    picture::Chart,
    plane::Plane,
    scale::Scale,
    scope::Scope,
    sheet::Sheet,
    svg::{Anchor, Svg},
    text::width,
};
use crate::{
    measure::Window,
    observe::GaugePoint,
    report::{model::Cell, number},
};

const HEIGHT: f64 = 92.0;
const GAP: f64 = 44.0;
/// The most ticks of a panel.
const LINES: usize = 4;
/// Colours of what the client sees, and of what the server reports.
const IN_FLIGHT: usize = 0;
const OUTPUT: usize = 1;
const KV_CACHE: usize = 2;
const WAITING: usize = 3;

/// One panel of the chart.
struct Panel {
    title: String,
    lines: Vec<Curve>,
    /// The largest value, if it is known in advance: 100 for a percentage.
    most: Option<f64>,
    /// Whether it counts something: then there are no ticks between whole numbers.
    whole: bool,
}

/// A line over time.
struct Curve {
    label: String,
    colour: usize,
    /// Whether a value holds until the next one.
    stepped: bool,
    points: Vec<(f64, f64)>,
}

/// Draws the chart of the best cell, or of the first one with a timeline; `None` if no cell has one.
pub(super) fn draw(canvas: &Canvas<'_, '_>, scope: &Scope<'_, '_>) -> Option<Chart> {
    let has = |cell: &&Cell<'_>| cell.file.timeline.len() > 1;
    let cell = scope.best.filter(has).or_else(|| scope.measured().find(has))?;
    let place = about::place(scope, cell);
    let chart = Chart::new(canvas, "timeline", Some(scope.name), context! { place => &place });
    let panels = panels(canvas, cell);
    let lines = panels.iter().flat_map(|panel| &panel.lines);
    let length = lines.flat_map(|line| &line.points).map(|(t, _)| *t).fold(0.0, f64::max);
    let sub = canvas.text("timeline_sub", context! { place, source => canvas.source() });
    let mut sheet = Sheet::new(canvas, &chart.title, &sub, &[]);
    let mut top = sheet.top() + 34.0;
    let window = window(cell);
    let mut bottom = top;
    for (index, panel) in panels.iter().enumerate() {
        let plane = sheet.plane(top, HEIGHT);
        let x = Scale::over([length].into_iter(), false, plane.left, plane.right)?;
        let x = Scale::between(0.0, length.max(x.max() * 1e-6), false, plane.left, plane.right);
        row(&mut sheet.svg, &plane, panel, &x, window)?;
        match index + 1 == panels.len() {
            true => {
                let title = canvas.text("timeline_axis", context! {});
                plane.below(&mut sheet.svg, &x.placed_ticks(), &title);
            }
            false => plane.below(&mut sheet.svg, &[], ""),
        }
        bottom = plane.bottom;
        top = bottom + GAP;
    }
    let notes = notes(canvas, cell, &panels, window.is_some());
    Some(sheet.finish(bottom + Plane::BELOW, notes, chart))
}

fn notes(canvas: &Canvas<'_, '_>, cell: &Cell<'_>, panels: &[Panel], has_window: bool) -> Vec<String> {
    let engine = cell.file.server_side.as_ref().and_then(|side| side.engine.as_ref());
    let preempted = engine.and_then(|engine| engine.preemptions);
    let times = preempted.map(|times| number::thousands(Some(times as f64)));
    let by_server = |line: &Curve| [KV_CACHE, WAITING].contains(&line.colour);
    let known = [
        (!canvas.letter(cell).is_empty(), "timeline_origin"),
        (has_window, "timeline_window"),
        (times.is_some(), "timeline_preempted"),
        (panels.iter().flat_map(|panel| &panel.lines).any(by_server), "timeline_clock"),
        (cell.file.repeats.len() > 1, "timeline_repeat"),
    ];
    let f = context! { origin => cell.origin.word(), times => &times };
    known.into_iter().map(|(is_so, name)| canvas.text_if(is_so, name, f.clone())).collect()
}

fn panels(canvas: &Canvas<'_, '_>, cell: &Cell<'_>) -> Vec<Panel> {
    let narrow = canvas.is_narrow();
    let timeline = &cell.file.timeline;
    let start = timeline.first().map_or(0.0, |point| point.t_s.min(0.0));
    let per_chunk = cell.file.summary.as_ref().and_then(|summary| summary.tokens_per_chunk);
    let side = cell.file.server_side.as_ref().map_or(&[][..], |side| side.timeline.as_slice());
    let gauge = |get: fn(&GaugePoint) -> Option<f64>| -> Vec<(f64, f64)> {
        side.iter().filter_map(|point| Some((point.t_s, get(point)?))).collect()
    };
    let title = |panel: &str| {
        let tokens = per_chunk.map(|tokens| number::thousands(Some((tokens * 100.0).round() / 100.0)));
        canvas.text("timeline_panel", context! { panel, narrow, tokens_per_chunk => tokens })
    };
    let label = |line: &str| canvas.text("timeline_line", context! { line, narrow });
    let in_flight = timeline.iter().map(|point| (point.t_s - start, point.in_flight)).collect();
    let tokens = |chunks: f64| chunks * per_chunk.unwrap_or(1.0);
    let output = timeline.iter().map(|point| (point.t_s - start, tokens(point.chunks_s))).collect();
    let mut requests =
        vec![Curve { label: label("in_flight"), colour: IN_FLIGHT, stepped: false, points: in_flight }];
    let waiting = gauge(|point| point.waiting);
    if waiting.len() > 1 {
        requests.push(Curve { label: label("waiting"), colour: WAITING, stepped: true, points: waiting });
    }
    let output = vec![Curve { label: String::new(), colour: OUTPUT, stepped: false, points: output }];
    let mut panels = vec![
        Panel { title: title("requests"), lines: requests, most: None, whole: true },
        Panel { title: title("output"), lines: output, most: None, whole: false },
    ];
    let points = gauge(|point| point.kv_usage.map(|part| part * 100.0));
    if points.len() > 1 {
        let lines = vec![Curve { label: String::new(), colour: KV_CACHE, stepped: true, points }];
        panels.push(Panel { title: title("kv_cache"), lines, most: Some(100.0), whole: false });
    }
    panels
}

/// The measured window of the repeat that is shown.
fn window(cell: &Cell<'_>) -> Option<Window> {
    match cell.file.repeats.last() {
        Some(last) => last.window,
        None => cell.file.summary.as_ref()?.window,
    }
}

fn row(svg: &mut Svg, plane: &Plane, panel: &Panel, x: &Scale, window: Option<Window>) -> Option<()> {
    let values = panel.lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let y = match panel.most {
        Some(most) => Scale::between(0.0, most, false, plane.bottom, plane.top),
        None => Scale::over(values, false, plane.bottom, plane.top)?,
    };
    if let Some(window) = window {
        let (from, to) = (x.at(window.start_s), x.at(window.start_s + window.length_s));
        svg.rect(from, plane.top, to - from, plane.bottom - plane.top, 0.0, "window");
    }
    let mut ticks = y.ticks();
    if panel.whole {
        ticks.retain(|(value, _)| value.fract() == 0.0);
        for (value, text) in &mut ticks {
            *text = number::thousands(Some(*value));
        }
    }
    let every = ticks.len().div_ceil(LINES).max(1);
    for (value, text) in ticks.iter().step_by(every) {
        let at = y.at(*value);
        svg.line((plane.left, at), (plane.right, at), "grid");
        svg.text((plane.left - 8.0, at + 4.5), Anchor::End, "tick", text);
    }
    plane.title(svg, &panel.title);
    let mut label = plane.right;
    for line in panel.lines.iter().rev() {
        let points: Vec<(f64, f64)> = line.points.iter().map(|(t, value)| (x.at(*t), y.at(*value))).collect();
        let points = if line.stepped { stepped(&points) } else { points };
        if let (Some(first), Some(last)) = (points.first(), points.last()) {
            let mut area = vec![(first.0, plane.bottom)];
            area.extend(&points);
            area.push((last.0, plane.bottom));
            svg.polygon(&area, &format!("area f{}", line.colour));
        }
        svg.polyline(&points, &format!("line s{}", line.colour));
        if !line.label.is_empty() {
            svg.text((label, plane.top - 12.0), Anchor::End, &format!("key f{}", line.colour), &line.label);
            label -= width(&line.label, 12.0) + 18.0;
        }
    }
    Some(())
}

/// The corners of a line that holds each value until the next one.
fn stepped(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut corners = Vec::with_capacity(points.len() * 2);
    for point in points {
        if let Some((_, y)) = corners.last().copied() {
            corners.push((point.0, y));
        }
        corners.push(*point);
    }
    corners
}
