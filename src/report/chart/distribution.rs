//! The distributions of TTFT and ITL, one ridge for each value on the horizontal axis of other charts.

use std::collections::BTreeMap;

use minijinja::context;

use super::{
    about,
    canvas::{Canvas, EDGE},
    picture::Chart,
    plane::Plane,
    scale::Scale,
    scope::{Scope, thinned, values},
    sheet::{Key, Sheet},
    svg::{Anchor, Svg},
    text::{fitted, width},
};
use crate::{
    manifest::LatencyKind,
    measure::Latency,
    report::{metrics::at, model::Cell, number},
    unit::Percentile,
};

/// The most ridges.
const ROWS: usize = 8;
const ROW: f64 = 46.0;
/// Height of a ridge, which overlaps the row above.
const RIDGE: f64 = 40.0;
/// Room at the right of a panel for the number of samples.
const COUNT: f64 = 62.0;
/// The most bins of a ridge.
const BINS: usize = 64;
/// Room between two panels side by side.
const GAP: f64 = 34.0;

/// A row of ridges: its label and its cell.
type Row<'m, 'a> = (String, &'m Cell<'a>);

/// Draws the chart; `None` if no cell has a distribution.
pub(super) fn draw(canvas: &Canvas<'_, '_>, scope: &Scope<'_, '_>) -> Option<Chart> {
    let along = scope.along();
    let held = scope.held(&scope.others(along));
    let cells: Vec<&Cell<'_>> =
        held.cells.iter().copied().filter(|cell| cell.file.summary.is_some()).collect();
    let (rows, fewer) = rows(scope, &cells, along);
    let has = |kind: LatencyKind| rows.iter().any(|(_, cell)| latency(cell, kind).is_some());
    let either = |first, second| [first, second].into_iter().find(|kind| has(*kind));
    let first = either(LatencyKind::Ttft, LatencyKind::E2e);
    let panels: Vec<LatencyKind> =
        first.into_iter().chain(either(LatencyKind::Itl, LatencyKind::Tpot)).collect();
    if panels.is_empty() {
        return None;
    }
    let metrics: Vec<String> = panels.iter().map(|kind| name(*kind)).collect();
    let axis = along.map(|axis| scope.label(axis));
    let chart = Chart::new(canvas, "distributions", Some(scope.name), context! { metrics, axis });
    let mut sheet = Sheet::new(canvas, &chart.title, &canvas.source(), &[Key::P50, Key::P95]);
    let bottom = draw_panels(&mut sheet, canvas, scope, &panels, &rows, axis);
    let mut notes = vec![about::only(canvas, scope), about::held(canvas, &held)];
    let fewer = along.filter(|_| fewer).map(|axis| (axis, rows.len()));
    notes.push(about::thinned(canvas, scope, fewer.as_slice()));
    for kind in panels {
        let cells = rows.iter().map(|(_, cell)| *cell);
        notes.push(about::unranked(canvas, cells, at(Percentile::P95, kind)));
    }
    notes.push(canvas.text("curves", context! {}));
    Some(sheet.finish(bottom + Plane::BELOW_BARE, notes, chart))
}

/// One row for each value on the axis, and whether some values are left out.
fn rows<'m, 'a>(
    scope: &Scope<'m, 'a>,
    cells: &[&'m Cell<'a>],
    along: Option<usize>,
) -> (Vec<Row<'m, 'a>>, bool) {
    let Some(axis) = along else {
        return (cells.first().map(|cell| (String::new(), *cell)).into_iter().collect(), false);
    };
    let known = values(cells, axis);
    let shown = thinned(&known, ROWS, scope.best.and_then(|cell| cell.at[axis]));
    let mut first: BTreeMap<usize, &'m Cell<'a>> = BTreeMap::new();
    for cell in cells {
        if let Some(place) = cell.at[axis] {
            first.entry(place).or_insert(cell);
        }
    }
    let row = |place: &usize| {
        let cell = *first.get(place)?;
        Some((scope.value(cell, axis)?, cell))
    };
    (shown.iter().filter_map(row).collect(), shown.len() < known.len())
}

/// Draws the panels side by side, on a phone one below the other; returns where they end.
fn draw_panels(
    sheet: &mut Sheet,
    canvas: &Canvas<'_, '_>,
    scope: &Scope<'_, '_>,
    panels: &[LatencyKind],
    rows: &[Row<'_, '_>],
    axis: Option<&str>,
) -> f64 {
    let narrow = canvas.is_narrow();
    let labels = axis
        .filter(|_| !narrow)
        .map(|axis| width(&down(axis), 14.5))
        .into_iter()
        .chain(rows.iter().map(|(text, _)| width(text, 13.0)))
        .fold(0.0, f64::max)
        .min(if narrow { 90.0 } else { 130.0 });
    let left = EDGE + if labels > 0.0 { labels + 16.0 } else { 0.0 };
    let across = if narrow { 1 } else { panels.len() };
    let wide = (canvas.wide - EDGE - left - GAP * (across - 1) as f64) / across as f64;
    let mut top = sheet.top() + 36.0;
    let high = ROW * rows.len() as f64;
    let mut bottom = top + high;
    let svg = &mut sheet.svg;
    for (index, kind) in panels.iter().enumerate() {
        let column = index % across;
        if index > 0 && column == 0 {
            top = bottom + Plane::BELOW_BARE + 40.0;
            bottom = top + high;
        }
        let from = left + (wide + GAP) * column as f64;
        let plane = Plane { left: from, right: from + wide, top, bottom };
        let mut title = plane.left;
        if let Some(axis) = axis.filter(|_| column == 0) {
            let room = if narrow { 170.0 } else { labels };
            title = title.max(EDGE + 16.0 + steps(svg, axis, rows, &plane, room));
        }
        let panel = Panel { kind: *kind, plane, title, colour: index };
        panel.draw(svg, canvas, scope, rows);
    }
    bottom
}

/// Draws the axis and its values at the left of a panel; returns the width of its name.
fn steps(svg: &mut Svg, axis: &str, rows: &[Row<'_, '_>], plane: &Plane, room: f64) -> f64 {
    let name = fitted(&down(axis), 14.5, room);
    svg.text((EDGE, plane.top - 16.0), Anchor::Start, "axis", &name);
    for (index, (text, _)) in rows.iter().enumerate() {
        let y = plane.top + ROW * (index as f64 + 1.0);
        svg.text((plane.left - 12.0, y - 4.0), Anchor::End, "tick", &fitted(text, 13.0, room));
    }
    width(&name, 14.5)
}

fn down(axis: &str) -> String {
    format!("{axis} ↓")
}

fn name(kind: LatencyKind) -> String {
    kind.name().to_uppercase()
}

fn latency<'a>(cell: &Cell<'a>, kind: LatencyKind) -> Option<&'a Latency> {
    let latency = cell.file.summary.as_ref()?.latency(kind)?;
    (latency.n > 0 && !latency.histogram.buckets.is_empty()).then_some(latency)
}

/// One latency of every row.
struct Panel {
    kind: LatencyKind,
    plane: Plane,
    /// The left end of its title.
    title: f64,
    colour: usize,
}

impl Panel {
    fn draw(&self, svg: &mut Svg, canvas: &Canvas<'_, '_>, scope: &Scope<'_, '_>, rows: &[Row<'_, '_>]) {
        let plane = &self.plane;
        let ends = rows.iter().filter_map(|(_, cell)| latency(cell, self.kind)).flat_map(|latency| {
            let buckets = &latency.histogram.buckets;
            [buckets.first(), buckets.last()].map(|end| end.map(|(value, _)| *value as f64 / 1e3))
        });
        let ends: Vec<f64> = ends.flatten().collect();
        let Some(x) = Scale::around(ends.into_iter(), plane.left + 4.0, plane.right - COUNT) else {
            return;
        };
        let metric = name(self.kind);
        let title =
            canvas.text("distribution_axis", context! { metric => &metric, logarithmic => x.is_log() });
        svg.text((self.title, plane.top - 16.0), Anchor::Start, "axis", &title);
        let ticks = x.placed_ticks();
        for (at, _) in &ticks {
            svg.line((*at, plane.top - 4.0), (*at, plane.bottom), "grid");
        }
        for (index, (_, cell)) in rows.iter().enumerate() {
            let base = plane.top + ROW * (index as f64 + 1.0);
            svg.line((plane.left, base), (plane.right - COUNT, base), "grid");
            match latency(cell, self.kind) {
                Some(latency) => {
                    let tooltip = tooltip(canvas, scope, cell, &metric, latency);
                    svg.open_mark(Some(cell.id()), &tooltip);
                    self.draw_ridge(svg, latency, &x, base, cell.is_usable());
                    svg.close_mark();
                    let n = format!("n {}", number::thousands(Some(latency.n as f64)));
                    svg.text((plane.right, base - 6.0), Anchor::End, "note", &n);
                }
                None => svg.text((plane.left + 6.0, base - 6.0), Anchor::Start, "note", number::ABSENT),
            }
        }
        plane.below(svg, &ticks, "");
    }

    /// Draws a ridge with its p50 and p95, hollow if its cell is not usable.
    fn draw_ridge(&self, svg: &mut Svg, latency: &Latency, x: &Scale, base: f64, is_usable: bool) {
        let (plane, colour) = (&self.plane, self.colour);
        let outline = ridge(latency, x, plane, base);
        svg.rect(plane.left, base - ROW, plane.right - plane.left, ROW, 0.0, "hit");
        if is_usable {
            svg.polygon(&outline, &format!("area f{colour}"));
        }
        svg.polyline(&outline, &format!("line thin s{colour}"));
        for (value, class) in [(latency.p50_ms, "line"), (latency.p95_ms, "line unranked")] {
            let at = x.at(value);
            svg.line((at, base), (at, base - RIDGE * 0.62), &format!("{class} s{colour}"));
        }
    }
}

/// The outline of a ridge: the samples in each bin, slightly smoothed, the highest at full height.
fn ridge(latency: &Latency, x: &Scale, plane: &Plane, base: f64) -> Vec<(f64, f64)> {
    let (from, to) = (plane.left + 4.0, plane.right - COUNT);
    // Few samples get few bins, or each would be a spike of its own.
    let bins = ((latency.n as f64).sqrt() * 4.0).clamp(16.0, BINS as f64) as usize;
    let mut counts = vec![0.0; bins];
    for (value, count) in &latency.histogram.buckets {
        let part = (x.at(*value as f64 / 1e3) - from) / (to - from);
        counts[((part * bins as f64) as usize).min(bins - 1)] += *count as f64;
    }
    let at = |index: i64| {
        usize::try_from(index).ok().and_then(|index| counts.get(index)).copied().unwrap_or_default()
    };
    let smooth: Vec<f64> =
        (0..bins as i64).map(|index| 0.25 * at(index - 1) + 0.5 * at(index) + 0.25 * at(index + 1)).collect();
    let most = smooth.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let wide = (to - from) / bins as f64;
    let within = |x: f64| x.clamp(from, to);
    let occupied: Vec<usize> = (0..bins).filter(|index| smooth[*index] > 0.0).collect();
    let (Some(first), Some(last)) = (occupied.first(), occupied.last()) else {
        return Vec::new();
    };
    // The outline begins and ends on the base, half a bin beyond the outermost samples.
    let mut points = vec![(within(from + wide * (*first as f64 - 0.5)), base)];
    points.extend(
        (*first..=*last)
            .map(|index| (from + wide * (index as f64 + 0.5), base - RIDGE * smooth[index] / most)),
    );
    points.push((within(from + wide * (*last as f64 + 1.5)), base));
    points
}

fn tooltip(
    canvas: &Canvas<'_, '_>,
    scope: &Scope<'_, '_>,
    cell: &Cell<'_>,
    metric: &str,
    latency: &Latency,
) -> String {
    let ms = |value: f64| number::ms(Some(value));
    let (p50, p95, p99) = (ms(latency.p50_ms), ms(latency.p95_ms), ms(latency.p99_ms));
    let (least, most) = (ms(latency.min_ms), ms(latency.max_ms));
    let n = number::thousands(Some(latency.n as f64));
    let lines = [
        about::place(scope, cell),
        canvas.text("curve", context! { metric, p50, p95, p99 }),
        canvas.text("curve_range", context! { least, most, n }),
    ];
    lines.join("\n")
}
