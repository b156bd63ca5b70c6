//! Throughput against load, a line for each series.

use std::collections::BTreeMap;

use minijinja::context;

use super::{
    about,
    along::Along,
    canvas::{Canvas, EDGE},
    legend,
    picture::Chart,
    plane::Plane,
    scale::Scale,
    scope::{Scope, Series, values},
    sheet::{Key, Sheet},
    svg::{Anchor, Svg},
    text::{apart, told_apart, width},
};
use crate::{
    measure::{CellOutcome, Metric},
    report::{
        model::{Cell, Origin},
        number,
    },
};

const METRIC: Metric = Metric::OUTPUT;
/// The most points of a line.
const POINTS: usize = 60;
const HEIGHT: f64 = 270.0;
/// The largest width of the name of a line.
const LABEL: f64 = 190.0;
/// The most failed cells of one place that a tooltip lists.
const LISTED: usize = 8;

/// The plot with its axes.
struct Plot<'s, 'm, 'a> {
    x: Along<'s, 'm, 'a>,
    y: Scale,
    plane: Plane,
}

/// A series as it is drawn.
#[derive(Default)]
struct Line<'m, 'a> {
    points: Vec<((f64, f64), &'m Cell<'a>)>,
    /// Its connected parts: a cell without a usable number ends one.
    paths: Vec<Vec<(f64, f64)>>,
}

/// Draws the chart; `None` if nothing varies, or fewer than two values on the axis have numbers.
pub(super) fn draw(canvas: &Canvas<'_, '_>, scope: &Scope<'_, '_>) -> Option<Chart> {
    let axis = scope.along()?;
    let choice = scope.series(Some(axis), METRIC);
    let shown: Vec<&Cell<'_>> = choice.series.iter().flat_map(|series| series.cells.clone()).collect();
    let with: Vec<&Cell<'_>> = shown.iter().copied().filter(|cell| cell.shown(METRIC).is_some()).collect();
    if values(&with, axis).len() < 2 {
        return None;
    }
    let best = scope.best.filter(|best| with.iter().any(|cell| cell.index == best.index));
    let best_rate = best.and_then(|best| best.shown(METRIC)).map(|rate| number::tok_s(Some(rate)));
    let failed: Vec<&Cell<'_>> = shown.iter().copied().filter(|cell| is_lost(cell)).collect();
    let label = scope.label(axis);
    let f = context! { cells => with.len(), axis => label, best => &best_rate };
    let chart = Chart::new(canvas, "throughput", Some(scope.name), f);
    let keys = keys(&with, best.is_some(), !failed.is_empty());
    let mut sheet = Sheet::new(canvas, &chart.title, &canvas.source(), &keys);
    let labels = labels(canvas, &mut sheet, &choice.series);
    let room = labels.iter().map(|text| width(text, 13.0)).fold(0.0, f64::max);
    let whole = sheet.plane(sheet.top() + 30.0, HEIGHT);
    let right = if room > 0.0 { canvas.wide - EDGE - room - 18.0 } else { whole.right };
    let plane = Plane { right, ..whole };
    let y = Scale::over(with.iter().filter_map(|cell| cell.shown(METRIC)), false, plane.bottom, plane.top)?;
    let x = Along::new(scope, &shown, axis, plane.left + 14.0, plane.right - 14.0);
    let plot = Plot { x, y, plane };
    let svg = &mut sheet.svg;
    plane.values(svg, &y, &canvas.text("output_axis", context! { narrow => canvas.is_narrow() }));
    let quantity = scope.model.axes[axis].quantity().name();
    plane.below(svg, plot.x.ticks(), &canvas.text("axis", context! { axis => label, quantity }));
    let lines: Vec<Line<'_, '_>> = choice.series.iter().map(|series| line(&series.cells, &plot)).collect();
    draw_lines(svg, canvas, scope, &lines, plot.x.is_numeric());
    name_ends(svg, &lines, &labels, &plane);
    draw_lost(svg, canvas, scope, &failed, axis, &plot);
    if let (Some(best), Some(text)) = (best, &best_rate) {
        name_best(svg, best, text, &lines, &plot);
    }
    let thinned = choice.thinned.map(|own| (own, choice.series.len()));
    let held = choice.held.as_ref().map_or_else(String::new, |held| about::held(canvas, held));
    let notes = [
        about::only(canvas, scope),
        [about::thinned(canvas, scope, thinned.as_slice()), held].join(" ").trim().to_owned(),
        about::unranked(canvas, with.into_iter(), METRIC),
    ];
    Some(sheet.finish(plane.bottom + Plane::BELOW, notes, chart))
}

fn keys(with: &[&Cell<'_>], has_best: bool, has_lost: bool) -> Vec<Key> {
    let is_ranked = |cell: &&Cell<'_>| cell.ranked(METRIC).is_some();
    let known = [
        (with.iter().any(is_ranked), Key::Ranked),
        (!with.iter().all(is_ranked), Key::Unranked),
        (has_best, Key::Pick),
        (has_lost, Key::Failed),
    ];
    known.into_iter().filter(|(has, _)| *has).map(|(_, key)| key).collect()
}

/// Whether a cell should have numbers and has none.
fn is_lost(cell: &Cell<'_>) -> bool {
    !cell.file.outcome.is_measured() && cell.file.outcome != CellOutcome::Skipped
}

/// The names of the lines, for their ends. If one is long, the names of the axes are above the plot; on a
/// phone, all names are.
fn labels(canvas: &Canvas<'_, '_>, sheet: &mut Sheet, series: &[Series<'_, '_>]) -> Vec<String> {
    let long = series.iter().any(|series| width(&series.label, 13.0) > LABEL);
    if series.len() > 1 && (canvas.is_narrow() || long) {
        legend::series(sheet, series);
    }
    if canvas.is_narrow() {
        return Vec::new();
    }
    let texts: Vec<&str> =
        series.iter().map(|series| if long { &*series.values } else { &*series.label }).collect();
    told_apart(&texts, 13.0, LABEL)
}

/// A series from left to right; of too many points, evenly spread ones.
fn line<'m, 'a>(cells: &[&'m Cell<'a>], plot: &Plot<'_, '_, '_>) -> Line<'m, 'a> {
    let mut places: Vec<(f64, &Cell<'a>)> =
        cells.iter().filter_map(|cell| Some((plot.x.at(cell)?, *cell))).collect();
    places.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all = places.iter().filter(|(_, cell)| cell.shown(METRIC).is_some()).count();
    let every = all.div_ceil(POINTS).max(1);
    let mut line = Line::default();
    let mut nth = 0;
    // The origin of the previous cell: numbers of different origins are not connected.
    let mut before: Option<Origin> = None;
    for (x, cell) in places {
        let Some(value) = cell.shown(METRIC) else {
            before = None;
            continue;
        };
        nth += 1;
        let at = (x, plot.y.at(value));
        let is_kept = (nth - 1) % every == 0 || nth == all;
        if is_kept {
            line.points.push((at, cell));
        }
        if !cell.is_usable() {
            before = None;
        } else if is_kept {
            match line.paths.last_mut() {
                Some(path) if before == Some(cell.origin) => path.push(at),
                _ => line.paths.push(vec![at]),
            }
            before = Some(cell.origin);
        }
    }
    line
}

fn draw_lines(
    svg: &mut Svg,
    canvas: &Canvas<'_, '_>,
    scope: &Scope<'_, '_>,
    lines: &[Line<'_, '_>],
    joined: bool,
) {
    for (index, line) in lines.iter().enumerate() {
        for path in line.paths.iter().filter(|_| joined) {
            svg.polyline(path, &format!("line s{index}"));
        }
        for (at, cell) in &line.points {
            let class = match cell.ranked(METRIC) {
                Some(_) => format!("f{index}"),
                None => format!("hollow s{index}"),
            };
            svg.open_mark(Some(cell.id()), &about::cell(canvas, scope, cell));
            svg.circle(*at, 11.0, "hit");
            svg.marker(index, *at, 4.5, &class);
            svg.letter(*at, canvas.letter(cell));
            svg.close_mark();
        }
    }
}

/// Draws the names of the lines at their ends.
fn name_ends(svg: &mut Svg, lines: &[Line<'_, '_>], labels: &[String], plane: &Plane) {
    let end = |line: &Line<'_, '_>| {
        let joined = line.paths.last().and_then(|path| path.last());
        joined.copied().or_else(|| line.points.last().map(|(at, _)| *at))
    };
    let ends = lines.iter().zip(labels).enumerate();
    let ends: Vec<(usize, f64, &String)> =
        ends.filter_map(|(index, (line, label))| Some((index, end(line)?.1, label))).collect();
    let wanted: Vec<f64> = ends.iter().map(|(_, y, _)| *y).collect();
    let placed = apart(&wanted, 17.0, plane.top + 4.0, plane.bottom - 8.0);
    for ((index, _, label), y) in ends.iter().zip(placed) {
        svg.text((plane.right + 4.0, y + 4.5), Anchor::Start, &format!("strong f{index}"), label);
    }
}

/// Draws the ring and the number of the best cell.
fn name_best(svg: &mut Svg, best: &Cell<'_>, text: &str, lines: &[Line<'_, '_>], plot: &Plot<'_, '_, '_>) {
    let (Some(x), Some(value)) = (plot.x.at(best), best.shown(METRIC)) else { return };
    let at = (x, plot.y.at(value));
    svg.circle(at, 9.0, "halo");
    let drawn: Vec<Vec<(f64, f64)>> =
        lines.iter().map(|line| line.points.iter().map(|(at, _)| *at).collect()).collect();
    let at = uncovered(at, width(text, 13.0) / 2.0, &drawn, &plot.plane);
    svg.text(at, Anchor::Middle, "strong on", text);
}

/// The place for the number of a point: above, below or beside it, where it covers least of the lines.
fn uncovered((x, y): (f64, f64), half: f64, lines: &[Vec<(f64, f64)>], plane: &Plane) -> (f64, f64) {
    let middle = x.clamp(plane.left + half, plane.right - half);
    let places =
        [(middle, y - 15.0), (middle, y + 25.0), (x - half - 15.0, y - 6.0), (x + half + 15.0, y + 14.0)];
    let covered = |(at, base): &(f64, f64)| -> usize {
        let inside = |(x, y): (f64, f64)| (x - at).abs() <= half + 4.0 && y <= base + 6.0 && y >= base - 14.0;
        let outside = at - half < plane.left || at + half > plane.right || *base > plane.bottom - 4.0;
        let steps = lines.iter().flat_map(|line| line.windows(2)).flat_map(|ends| {
            let ((x0, y0), (x1, y1)) = (ends[0], ends[1]);
            (0..=40).map(move |step| {
                let part = f64::from(step) / 40.0;
                (x0 + (x1 - x0) * part, y0 + (y1 - y0) * part)
            })
        });
        // A place outside of the plot is the last resort.
        steps.filter(|point| inside(*point)).count() + if outside { 10_000 } else { 0 }
    };
    // The first of equal ones.
    places.into_iter().min_by_key(covered).unwrap_or(places[0])
}

/// Draws a cross at the bottom for the cells of each place that have no numbers.
fn draw_lost(
    svg: &mut Svg,
    canvas: &Canvas<'_, '_>,
    scope: &Scope<'_, '_>,
    failed: &[&Cell<'_>],
    axis: usize,
    plot: &Plot<'_, '_, '_>,
) {
    let mut by_place: BTreeMap<usize, Vec<&Cell<'_>>> = BTreeMap::new();
    for cell in failed {
        if let Some(place) = cell.at[axis] {
            by_place.entry(place).or_default().push(cell);
        }
    }
    for here in by_place.values() {
        let Some(x) = plot.x.at(here[0]) else { continue };
        let mut lines_about: Vec<String> =
            here.iter().take(LISTED).map(|cell| about::cell(canvas, scope, cell)).collect();
        if here.len() > LISTED {
            lines_about.push(canvas.text("more_cells", context! { n => here.len() - LISTED }));
        }
        let at = (x, plot.plane.bottom - 9.0);
        svg.open_mark(Some(here[0].id()), &lines_about.join("\n"));
        svg.circle(at, 9.0, "hit");
        svg.cross(at, 4.0, "cross s5");
        svg.close_mark();
    }
}
