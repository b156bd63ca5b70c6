//! Throughput against what was asked for, a line for each series.

use super::{
    Chart, about,
    along::{self, Along},
    legend,
    plane::Plane,
    scale::Scale,
    scope::Scope,
    sheet::{EDGE, Key, NARROW, Sheet},
    svg::{Anchor, Svg},
    text::{apart, told_apart, width},
};
use crate::{
    report::{
        insight::{count, may_rank_by, of},
        number,
    },
    store::{CellFile, StoredRun},
};

const KEY: &str = "throughput";
/// Points of one line that are still told apart.
const POINTS: usize = 60;
const HEIGHT: f64 = 270.0;
/// The most that the name of a line takes of the width.
const LABEL: f64 = 190.0;

/// The picture; `None` where nothing varies, or fewer than two places along the axis have numbers.
pub(super) fn draw(run: &StoredRun, scope: &Scope<'_>) -> Option<Chart> {
    let axis = scope.along()?;
    let choice = scope.series(Some(axis), KEY);
    let shown: Vec<&CellFile> = choice
        .series
        .iter()
        .flat_map(|series| series.cells.clone())
        .collect();
    let with: Vec<&CellFile> = shown
        .iter()
        .copied()
        .filter(|cell| of(cell, KEY).is_some())
        .collect();
    if super::scope::values(&with, axis).len() < 2 {
        return None;
    }
    let texts = |values: bool| -> Vec<&str> {
        let series = choice.series.iter();
        series
            .map(|series| match values {
                true => series.values.as_str(),
                false => series.label.as_str(),
            })
            .collect()
    };
    let widest = |texts: &[&str]| {
        let widths = texts.iter().map(|text| width(text, 13.0));
        widths.fold(0.0, f64::max)
    };
    // At the end of each line stands its name; where that is long the axes' names stand once, above.
    let long = widest(&texts(false)) > LABEL;
    let narrow = scope.wide <= NARROW;
    let labels = match (narrow, long) {
        (true, _) => Vec::new(),
        (false, _) => told_apart(&texts(long), 13.0, LABEL),
    };
    let label_room = labels
        .iter()
        .map(|text| width(text, 13.0))
        .fold(0.0, f64::max);
    let best = scope
        .best
        .filter(|best| with.iter().any(|cell| cell.id == best.id));
    let failed: Vec<&CellFile> = shown.iter().copied().filter(|cell| is_lost(cell)).collect();
    let hollow = with.iter().any(|cell| !may_rank_by(cell, KEY));
    let mut keys = vec![Key::Ranked];
    if with.iter().all(|cell| !may_rank_by(cell, KEY)) {
        keys.clear();
    }
    keys.extend(hollow.then_some(Key::Unranked));
    keys.extend(best.map(|_| Key::Pick));
    keys.extend((!failed.is_empty()).then_some(Key::Failed));
    let chart = Chart::new(
        "throughput",
        scope.workload,
        format!("{}: throughput by {axis}", scope.workload),
        alt(&with, axis, best),
    );
    let mut sheet = Sheet::new(&chart.title, &about::source(run), run, &keys, scope.wide);
    if choice.series.len() > 1 && (narrow || long) {
        legend::series(&mut sheet, &choice.series);
    }
    let plane = Plane {
        left: EDGE + 52.0,
        right: scope.wide
            - EDGE
            - if label_room > 0.0 {
                label_room + 18.0
            } else {
                14.0
            },
        top: sheet.top() + 30.0,
        bottom: sheet.top() + 30.0 + HEIGHT,
    };
    let y = Scale::over(
        with.iter().filter_map(|cell| of(cell, KEY)),
        false,
        plane.bottom,
        plane.top,
    )?;
    let x = Along::new(&shown, axis, plane.left + 14.0, plane.right - 14.0);
    let svg = &mut sheet.svg;
    let title = if narrow {
        "output tok/s"
    } else {
        "output tokens per second (tok/s)"
    };
    plane.values(svg, &y, title);
    plane.below(svg, x.ticks(), &along::title(axis));
    let mut ends = Vec::new();
    let mut drawn: Vec<Vec<(f64, f64)>> = Vec::new();
    for (index, series) in choice.series.iter().enumerate() {
        let points = points(&series.cells, &x, &y);
        if x.is_numeric() {
            for path in unbroken(&points, &series.cells, &x) {
                svg.polyline(&path, &format!("line s{index}"));
            }
        }
        for (at, cell) in &points {
            svg.open_mark(Some(&cell.id), &about::cell(scope, cell));
            svg.circle(*at, 11.0, "hit");
            let class = if may_rank_by(cell, KEY) {
                format!("f{index}")
            } else {
                format!("hollow s{index}")
            };
            svg.marker(index, *at, 4.5, &class);
            let letter = scope.letter(cell);
            if !letter.is_empty() {
                svg.text((at.0 - 6.0, at.1 - 5.0), Anchor::End, "origin on", letter);
            }
            svg.close_mark();
        }
        drawn.push(points.iter().map(|(at, _)| *at).collect());
        if let (Some((at, _)), Some(text)) = (points.last(), labels.get(index)) {
            ends.push((index, at.1, text.as_str()));
        }
    }
    name_ends(svg, &ends, &plane);
    lost(svg, scope, &failed, &x, &plane);
    if let Some((best, x, value)) = best.and_then(|best| Some((best, x.at(best)?, of(best, KEY)?)))
    {
        let y = y.at(value);
        svg.circle((x, y), 9.0, "halo");
        let text = number::tok_s(of(best, KEY));
        let at = uncovered((x, y), width(&text, 13.0) / 2.0, &drawn, &plane);
        svg.text(at, Anchor::Middle, "strong on", &text);
    }
    let notes = super::notes([
        scope.constant.clone(),
        choice.held,
        about::unranked(with.into_iter(), KEY),
    ]);
    Some(sheet.finish(plane.bottom + Plane::BELOW, &notes, chart))
}

/// A cell that should have numbers and has none.
fn is_lost(cell: &CellFile) -> bool {
    !cell.outcome.is_measured() && cell.outcome != crate::measure::CellOutcome::Skipped
}

/// Points from left to right; of very many, some evenly.
fn points<'a>(cells: &[&'a CellFile], x: &Along, y: &Scale) -> Vec<((f64, f64), &'a CellFile)> {
    let mut points: Vec<((f64, f64), &CellFile)> = cells
        .iter()
        .filter_map(|cell| Some(((x.at(cell)?, y.at(of(cell, KEY)?)), *cell)))
        .collect();
    points.sort_by(|a, b| a.0.0.total_cmp(&b.0.0));
    let last = points.len().saturating_sub(1);
    let every = points.len().div_ceil(POINTS).max(1);
    points
        .into_iter()
        .enumerate()
        .filter(|(index, _)| index % every == 0 || *index == last)
        .map(|(_, point)| point)
        .collect()
}

/// The stretches of a line: where a cell between two others has no number, nothing is drawn from one to the other.
fn unbroken(
    points: &[((f64, f64), &CellFile)],
    cells: &[&CellFile],
    x: &Along,
) -> Vec<Vec<(f64, f64)>> {
    let lost: Vec<f64> = cells
        .iter()
        .filter(|cell| of(cell, KEY).is_none())
        .filter_map(|cell| x.at(cell))
        .collect();
    let mut paths: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut before: Option<f64> = None;
    for (at, _) in points {
        let broken = before.is_none_or(|left| lost.iter().any(|x| *x > left && *x < at.0));
        match paths.last_mut() {
            Some(path) if !broken => path.push(*at),
            _ => paths.push(vec![*at]),
        }
        before = Some(at.0);
    }
    paths
}

/// The names of the lines, at their ends.
fn name_ends(svg: &mut Svg, ends: &[(usize, f64, &str)], plane: &Plane) {
    let wanted: Vec<f64> = ends.iter().map(|(_, y, _)| *y).collect();
    let placed = apart(&wanted, 17.0, plane.top + 4.0, plane.bottom - 8.0);
    for ((index, _, label), y) in ends.iter().zip(placed) {
        svg.text(
            (plane.right + 4.0, y + 4.5),
            Anchor::Start,
            &format!("strong f{index}"),
            label,
        );
    }
}

/// Where the number of a point stands: above, below or beside it, where it covers least of the lines.
fn uncovered(
    (x, y): (f64, f64),
    half: f64,
    lines: &[Vec<(f64, f64)>],
    plane: &Plane,
) -> (f64, f64) {
    let middle = x.clamp(plane.left + half, plane.right - half);
    let places = [
        (middle, y - 15.0),
        (middle, y + 25.0),
        (x - half - 15.0, y - 6.0),
        (x + half + 15.0, y + 14.0),
    ];
    let covered = |(at, base): (f64, f64)| -> usize {
        let inside = |(x, y): (f64, f64)| {
            (x - at).abs() <= half + 4.0 && y <= base + 6.0 && y >= base - 14.0
        };
        let outside =
            at - half < plane.left || at + half > plane.right || base > plane.bottom - 4.0;
        let steps = lines
            .iter()
            .flat_map(|line| line.windows(2))
            .flat_map(|ends| {
                let ((x0, y0), (x1, y1)) = (ends[0], ends[1]);
                (0..=40).map(move |step| {
                    let part = f64::from(step) / 40.0;
                    (x0 + (x1 - x0) * part, y0 + (y1 - y0) * part)
                })
            });
        // A place outside of the picture is the last to be taken.
        steps.filter(|point| inside(*point)).count() + if outside { 10_000 } else { 0 }
    };
    let mut places = places.into_iter();
    let first = places.next().unwrap_or((middle, y - 15.0));
    places
        .fold(
            (first, covered(first)),
            |(best, least), place| match covered(place) {
                fewer if fewer < least => (place, fewer),
                _ => (best, least),
            },
        )
        .0
}

/// Cells without numbers, crossed at the bottom: one cross for those at the same place.
fn lost(svg: &mut Svg, scope: &Scope<'_>, failed: &[&CellFile], x: &Along, plane: &Plane) {
    for (at, _) in x.ticks() {
        let here: Vec<&CellFile> = failed
            .iter()
            .copied()
            .filter(|cell| x.at(cell) == Some(*at))
            .collect();
        let Some(first) = here.first() else { continue };
        let mut said: Vec<String> = here
            .iter()
            .take(8)
            .map(|cell| about::cell(scope, cell))
            .collect();
        if here.len() > 8 {
            said.push(format!("and {} more", here.len() - 8));
        }
        svg.open_mark(Some(&first.id), &said.join("\n"));
        svg.circle((*at, plane.bottom - 9.0), 9.0, "hit");
        svg.cross((*at, plane.bottom - 9.0), 4.0, "cross s5");
        svg.close_mark();
    }
}

fn alt(cells: &[&CellFile], axis: &str, best: Option<&CellFile>) -> String {
    let mut text = format!(
        "Output tokens per second of {} along {axis}",
        count(cells.len(), "cell")
    );
    if let Some(value) = best.and_then(|best| of(best, KEY)) {
        text.push_str(&format!(
            "; the best cell has {}",
            number::tok_s(Some(value))
        ));
    }
    text.push('.');
    text
}
