//! Latency against throughput: every cell, the Pareto front, and the SLO's limit.

use std::collections::{BTreeSet, HashMap, HashSet};

use minijinja::context;

use super::{
    about,
    canvas::Canvas,
    legend,
    picture::Chart,
    plane::Plane,
    scale::Scale,
    scope::Scope,
    sheet::{Key, Sheet},
    svg::{Anchor, Svg},
    text::{fitted, width},
};
use crate::{
    manifest::SloTerm,
    measure::Metric,
    report::model::{Cell, pareto},
};

const RATE: Metric = Metric::OUTPUT;
/// Height of one panel's plot.
const HEIGHT: f64 = 230.0;
/// Room between the plots of two panels.
const BETWEEN: f64 = 66.0;
/// The most panels: an SLO rarely has more terms that add something.
const PANELS: usize = 2;
/// The largest ratio of a limit to the highest point at which the limit is drawn: beyond, it would press the
/// points into a strip.
const FAR: f64 = 2.5;
/// Points closer than this count as one, if there are very many.
const GRAIN: f64 = 4.0;
/// The number of cells from which hidden points are left out.
const MANY: usize = 600;
/// The number of points from which they are drawn small.
const LARGE: usize = 80;
/// The most points that the text of a limit may cover.
const COVERED: usize = 3;

/// One latency against throughput.
struct Panel<'m, 'a> {
    metric: Metric,
    term: Option<SloTerm>,
    points: Vec<Point<'m, 'a>>,
    /// Indices of the points that no other one beats in both, by throughput.
    front: Vec<usize>,
    /// The limit in milliseconds, if it is in the chart.
    limit: Option<f64>,
}

/// A cell in one panel.
struct Point<'m, 'a> {
    cell: &'m Cell<'a>,
    rate: f64,
    ms: f64,
    ranked: bool,
}

/// A placed panel: its plot and the position of each point.
struct Placed<'p, 'm, 'a> {
    panel: &'p Panel<'m, 'a>,
    plane: Plane,
    y: Scale,
    at: Vec<(f64, f64)>,
}

/// Draws the chart; `None` if fewer than two cells have both numbers.
pub(super) fn draw(canvas: &Canvas<'_, '_>, scope: &Scope<'_, '_>) -> Option<Chart> {
    let panels = about::latencies(scope).into_iter().map(|(metric, term)| panel(scope, metric, term));
    let panels: Vec<Panel<'_, '_>> = panels.filter(|panel| panel.points.len() > 1).take(PANELS).collect();
    let first = panels.first()?;
    let along = scope.along();
    let colours = scope.colours(along, first.metric);
    let metrics: Vec<String> = panels.iter().map(|panel| panel.metric.label()).collect();
    let front = panels.iter().any(|panel| panel.front.len() > 1);
    let f = context! { metrics, cells => first.points.len(), front };
    let chart = Chart::new(canvas, "latency_throughput", Some(scope.name), f);
    let mut sheet = Sheet::new(canvas, &chart.title, &canvas.source(), &keys(scope, &panels));
    let mut series: HashMap<usize, usize> = HashMap::new();
    if colours.series.len() > 1 {
        legend::series(&mut sheet, &colours.series);
        let own = colours.series.iter().enumerate();
        series.extend(own.flat_map(|(at, series)| series.cells.iter().map(move |cell| (cell.index, at))));
    }
    let mut sentences = Vec::new();
    if let Some(axis) = along.filter(|_| front) {
        sentences.push(canvas.text("front_values", context! { axis => scope.label(axis) }));
    }
    if let Some((axis, others)) = &colours.grouped
        && !others.is_empty()
    {
        let others: Vec<String> = others.iter().map(|axis| scope.label(*axis).to_owned()).collect();
        sentences.push(canvas.text("colours", context! { axis => scope.label(*axis), others }));
    }
    let mut top = sheet.top() + 30.0;
    let mut bottom = top;
    for (index, panel) in panels.iter().enumerate() {
        let is_last = index + 1 == panels.len();
        let plane = sheet.plane(top, HEIGHT);
        let placed = frame(&mut sheet.svg, canvas, panel, plane, is_last)?;
        placed.draw_points(&mut sheet.svg, canvas, scope, &series);
        if let Some(axis) = along {
            placed.name_front(&mut sheet.svg, scope, axis);
        }
        sentences.push(placed.draw_limit(&mut sheet.svg, canvas));
        let cells = panel.points.iter().map(|point| point.cell);
        sentences.push(about::unranked(canvas, cells.clone(), panel.metric));
        if is_last {
            sentences.push(about::unranked(canvas, cells, RATE));
        }
        bottom = plane.bottom;
        top = plane.bottom + BETWEEN;
    }
    Some(sheet.finish(bottom + Plane::BELOW, sentences, chart))
}

fn panel<'m, 'a>(scope: &Scope<'m, 'a>, metric: Metric, term: Option<SloTerm>) -> Panel<'m, 'a> {
    let point = |cell: &'m Cell<'a>| {
        let (rate, ms) = (cell.shown(RATE)?, cell.shown(metric)?);
        let ranked = cell.ranked(RATE).is_some() && cell.ranked(metric).is_some();
        Some(Point { cell, rate, ms, ranked })
    };
    let points: Vec<Point<'_, '_>> = scope.measured().filter_map(point).collect();
    let highest = points.iter().map(|point| point.ms).fold(0.0, f64::max);
    let limit = term.map(|term| term.limit.as_ms()).filter(|limit| *limit <= highest * FAR);
    let front = front(scope, &points);
    Panel { metric, term, points, front, limit }
}

/// The points that no other one beats in both, by throughput: of those that may be ranked, if there are any.
/// An excluded cell is never one of them.
fn front(scope: &Scope<'_, '_>, points: &[Point<'_, '_>]) -> Vec<usize> {
    let usable = |at: &usize| {
        let cell = points[*at].cell;
        cell.is_usable() && Some(cell.origin) == scope.model.workloads[cell.workload].origin
    };
    let mut own: Vec<usize> = (0..points.len()).filter(usable).collect();
    if own.iter().any(|at| points[*at].ranked) {
        own.retain(|at| points[*at].ranked);
    }
    let own: Vec<(f64, f64, usize)> =
        own.into_iter().map(|at| (points[at].ms, points[at].rate, at)).collect();
    pareto(own)
}

fn keys(scope: &Scope<'_, '_>, panels: &[Panel<'_, '_>]) -> Vec<Key> {
    let all = || panels.iter().flat_map(|panel| &panel.points);
    let known = [
        (all().any(|point| point.ranked), Key::Ranked),
        (all().any(|point| !point.ranked), Key::Unranked),
        // If one cell is best in both, there is no front to draw.
        (panels.iter().any(|panel| panel.front.len() > 1), Key::Front),
        (panels.iter().any(|panel| panel.limit.is_some()), Key::Limit),
        (all().any(|point| scope.is_best(point.cell)), Key::Pick),
    ];
    let own = known.into_iter().filter(|(has, _)| *has).map(|(_, key)| key);
    own.chain(scope.other_origins().into_iter().map(Key::Origin)).collect()
}

/// Draws the axes of a panel, and the area beyond its limit.
fn frame<'p, 'm, 'a>(
    svg: &mut Svg,
    canvas: &Canvas<'_, '_>,
    panel: &'p Panel<'m, 'a>,
    plane: Plane,
    is_last: bool,
) -> Option<Placed<'p, 'm, 'a>> {
    let rates = panel.points.iter().map(|point| point.rate);
    let times = panel.points.iter().map(|point| point.ms).chain(panel.limit);
    let x = Scale::over(rates, true, plane.left + 8.0, plane.right - 8.0)?;
    let y = Scale::over(times, true, plane.bottom, plane.top)?;
    if let Some(limit) = panel.limit {
        svg.rect(plane.left, plane.top, plane.right - plane.left, y.at(limit) - plane.top, 0.0, "beyond");
    }
    plane.values(svg, &y, &panel.metric.heading());
    let title =
        if is_last { canvas.text("output_axis", context! { narrow => false }) } else { String::new() };
    plane.below(svg, &x.placed_ticks(), &title);
    let at = panel.points.iter().map(|point| (x.at(point.rate), y.at(point.ms))).collect();
    Some(Placed { panel, plane, y, at })
}

impl Placed<'_, '_, '_> {
    /// Draws the front, every point in the colour of its series, and the ring of the best one.
    fn draw_points(
        &self,
        svg: &mut Svg,
        canvas: &Canvas<'_, '_>,
        scope: &Scope<'_, '_>,
        series: &HashMap<usize, usize>,
    ) {
        let Panel { points, front, .. } = self.panel;
        let sure = front.iter().all(|at| points[*at].ranked);
        let path: Vec<(f64, f64)> = front.iter().map(|at| self.at[*at]).collect();
        svg.polyline(&path, if sure { "line front" } else { "line front unranked" });
        let on_front: HashSet<usize> = front.iter().copied().collect();
        for place in self.thinned(&on_front) {
            let (point, at) = (&points[place], self.at[place]);
            let own = series.get(&point.cell.index).copied();
            let colour = own.unwrap_or(5);
            let class = if point.ranked { format!("f{colour}") } else { format!("hollow s{colour}") };
            let is_large = points.len() < LARGE || on_front.contains(&place);
            svg.open_mark(Some(point.cell.id()), &about::cell(canvas, scope, point.cell));
            svg.circle(at, 10.0, "hit");
            svg.marker(own.unwrap_or(0), at, if is_large { 4.5 } else { 3.0 }, &class);
            svg.letter(at, canvas.letter(point.cell));
            svg.close_mark();
        }
        if let Some(place) = points.iter().position(|point| scope.is_best(point.cell)) {
            svg.circle(self.at[place], 9.0, "halo");
        }
    }

    /// All points, or of very many those that do not hide each other.
    fn thinned(&self, on_front: &HashSet<usize>) -> Vec<usize> {
        let mut taken = BTreeSet::new();
        let is_seen = |place: &usize| {
            let (x, y) = self.at[*place];
            taken.insert(((x / GRAIN) as i64, (y / GRAIN) as i64)) || on_front.contains(place)
        };
        match self.at.len() > MANY {
            true => (0..self.at.len()).filter(is_seen).collect(),
            false => (0..self.at.len()).collect(),
        }
    }

    /// Draws the value on the horizontal axis of other charts below each point of the front. No point can be
    /// there, because it would beat the front.
    fn name_front(&self, svg: &mut Svg, scope: &Scope<'_, '_>, axis: usize) {
        let mut taken: Vec<(f64, f64, f64)> = Vec::new();
        for place in self.panel.front.iter().rev() {
            let Some(value) = scope.value(self.panel.points[*place].cell, axis) else {
                continue;
            };
            let text = fitted(&value, 12.0, 80.0);
            let wide = width(&text, 12.0);
            let (x, y) = (self.at[*place].0, self.at[*place].1 + 15.0);
            let (x, anchor) = match x + 10.0 + wide > self.plane.right {
                true => (x + 4.0, Anchor::End),
                false => (x + 10.0, Anchor::Start),
            };
            let left = if anchor == Anchor::End { x - wide } else { x };
            let free = taken
                .iter()
                .all(|(l, r, t)| left > *r + 3.0 || left + wide < *l - 3.0 || (y - t).abs() > 14.0);
            if free && y < self.plane.bottom - 2.0 {
                svg.text((x, y), anchor, "key on", &text);
                taken.push((left, left + wide, y));
            }
        }
    }

    /// Draws the line of the limit and its text; returns a note instead of the text if there is no room for
    /// it, or no place for the limit.
    fn draw_limit(&self, svg: &mut Svg, canvas: &Canvas<'_, '_>) -> String {
        let Some(slo) = self.panel.term.as_ref().map(about::slo) else {
            return String::new();
        };
        let Some(limit) = self.panel.limit else {
            return canvas.text("slo_above", context! { slo });
        };
        let at = self.y.at(limit);
        svg.line((self.plane.left, at), (self.plane.right, at), "limit");
        match self.beside_limit(at, width(&slo, 12.0)) {
            Some((place, anchor)) => svg.text(place, anchor, "limit-text on", &slo),
            None => return canvas.text("slo_line", context! { slo }),
        }
        String::new()
    }

    /// The place for the text of a limit: at the end and on the side of its line where it covers the fewest
    /// points; `None` if it covers too many everywhere.
    fn beside_limit(&self, at: f64, wide: f64) -> Option<((f64, f64), Anchor)> {
        let (left, right) = (self.plane.left + 8.0, self.plane.right - 8.0);
        let places = [
            ((left, at - 7.0), Anchor::Start),
            ((right, at - 7.0), Anchor::End),
            ((left, at + 16.0), Anchor::Start),
            ((right, at + 16.0), Anchor::End),
        ];
        let covered = |((x, y), anchor): &((f64, f64), Anchor)| {
            let from = if *anchor == Anchor::End { x - wide } else { *x };
            let inside = |(px, py): &&(f64, f64)| {
                *px > from - 6.0 && *px < from + wide + 6.0 && *py > y - 16.0 && *py < y + 8.0
            };
            let outside = y - 12.0 < self.plane.top || *y > self.plane.bottom - 2.0;
            (outside, self.at.iter().filter(inside).count())
        };
        // The first of equal ones.
        let best = places.into_iter().min_by_key(covered)?;
        (covered(&best).1 <= COVERED).then_some(best)
    }
}
