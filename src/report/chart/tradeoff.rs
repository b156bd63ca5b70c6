//! Latency against throughput: every cell, the Pareto front, and the SLO's limit.

use std::collections::HashMap;

use super::{
    Chart, about, legend,
    plane::Plane,
    scale::Scale,
    scope::Scope,
    sheet::{EDGE, Key, Sheet},
    svg::{Anchor, Svg},
    text::{fitted, width},
};
use crate::{
    manifest::{SloTerm, scalar_text},
    report::{
        insight::{coordinate, count, may_rank, may_rank_by, of},
        number,
    },
    store::{CellFile, StoredRun},
};

/// Height of one panel's plot.
const HEIGHT: f64 = 230.0;
/// Panels at most: an SLO rarely has more terms that say something new.
const PANELS: usize = 2;
/// A limit further above the highest point than this factor would press the points into a strip.
const FAR: f64 = 2.5;
/// Points closer than this are one, where there are very many.
const GRAIN: f64 = 4.0;
/// From this number of cells on, points that hide one another are drawn once.
const MANY: usize = 600;

/// A cell in one panel.
struct Point<'a> {
    at: (f64, f64),
    cell: &'a CellFile,
    ranked: bool,
}

/// The picture; `None` where fewer than two cells have both numbers.
pub(super) fn draw(run: &StoredRun, scope: &Scope<'_>) -> Option<Chart> {
    let both = |key: &str| -> Vec<&CellFile> {
        scope
            .measured()
            .filter(|cell| of(cell, key).is_some() && of(cell, "throughput").is_some())
            .collect()
    };
    let mut panels: Vec<(String, Option<SloTerm>, Vec<&CellFile>)> = about::latencies(scope)
        .into_iter()
        .map(|(key, term)| {
            let cells = both(&key);
            (key, term, cells)
        })
        .filter(|(_, _, cells)| cells.len() > 1)
        .collect();
    panels.truncate(PANELS);
    let first = panels.first()?;
    let all = first.2.clone();
    let ranked =
        |key: &str, cell: &CellFile| may_rank_by(cell, key) && may_rank_by(cell, "throughput");
    let hollow = panels
        .iter()
        .any(|(key, _, cells)| cells.iter().any(|cell| !ranked(key, cell)));
    let filled = panels
        .iter()
        .any(|(key, _, cells)| cells.iter().any(|cell| ranked(key, cell)));
    let best = scope
        .best
        .filter(|best| all.iter().any(|cell| cell.id == best.id));
    let mut keys = Vec::new();
    keys.extend(filled.then_some(Key::Ranked));
    keys.extend(hollow.then_some(Key::Unranked));
    let beaten = |key: &str, cells: &[&CellFile]| {
        let fastest = cells.iter().filter_map(|cell| of(cell, "throughput"));
        let quickest = cells.iter().filter_map(|cell| of(cell, key));
        let (most, least) = (
            fastest.fold(f64::NEG_INFINITY, f64::max),
            quickest.fold(f64::INFINITY, f64::min),
        );
        !cells
            .iter()
            .any(|cell| of(cell, "throughput") == Some(most) && of(cell, key) == Some(least))
    };
    // Where one cell is best in both there is no front to draw.
    keys.extend(
        panels
            .iter()
            .any(|(key, _, cells)| beaten(key, cells))
            .then_some(Key::Front),
    );
    keys.extend(
        panels
            .iter()
            .any(|(key, term, cells)| near(key, term.as_ref(), cells).is_some())
            .then_some(Key::Limit),
    );
    keys.extend(best.map(|_| Key::Pick));
    keys.extend(scope.letters());
    let chart = Chart::new(
        "latency_throughput",
        scope.workload,
        format!("{}: latency against throughput", scope.workload),
        format!(
            "{} of {}, with the Pareto front.",
            panels
                .iter()
                .map(|(key, _, _)| about::name(key))
                .collect::<Vec<_>>()
                .join(" and "),
            count(all.len(), "cell")
        ),
    );
    let along = scope.along();
    let (series, shared) = scope.colours(along, &first.0);
    let named = series.len() > 1;
    let colours: HashMap<&str, usize> = series
        .iter()
        .enumerate()
        .flat_map(|(index, series)| {
            series
                .cells
                .iter()
                .map(move |cell| (cell.id.as_str(), index))
        })
        .collect();
    let mut sheet = Sheet::new(&chart.title, &about::source(run), run, &keys, scope.wide);
    if named {
        legend::series(&mut sheet, &series);
    }
    let mut top = sheet.top() + 30.0;
    let series_of = |cell: &CellFile| colours.get(cell.id.as_str()).copied().filter(|_| named);
    let mut bottom = top;
    let mut sentences = Vec::new();
    let last = panels.len() - 1;
    for (index, (key, term, cells)) in panels.iter().enumerate() {
        let plane = Plane {
            left: EDGE + 52.0,
            right: scope.wide - EDGE - 14.0,
            top,
            bottom: top + HEIGHT,
        };
        let near = near(key, term.as_ref(), cells);
        let x = Scale::over(
            cells.iter().filter_map(|cell| of(cell, "throughput")),
            true,
            plane.left + 8.0,
            plane.right - 8.0,
        )?;
        let y = Scale::over(
            cells.iter().filter_map(|cell| of(cell, key)).chain(near),
            true,
            plane.bottom,
            plane.top,
        )?;
        let svg = &mut sheet.svg;
        if let Some(limit) = near {
            svg.rect(
                plane.left,
                plane.top,
                plane.right - plane.left,
                y.at(limit) - plane.top,
                0.0,
                "beyond",
            );
        }
        plane.values(svg, &y, &format!("{}, ms", about::name(key)));
        let ticks: Vec<(f64, String)> = x
            .ticks()
            .into_iter()
            .map(|(value, text)| (x.at(value), text))
            .collect();
        let title = if index == last {
            "output tokens per second (tok/s)"
        } else {
            ""
        };
        plane.below(svg, &ticks, title);
        let points: Vec<Point<'_>> = cells
            .iter()
            .filter_map(|cell| {
                Some(Point {
                    at: (x.at(of(cell, "throughput")?), y.at(of(cell, key)?)),
                    cell,
                    ranked: ranked(key, cell),
                })
            })
            .collect();
        let front = front(&points, key);
        let sure = front.iter().all(|point| point.ranked);
        let path: Vec<(f64, f64)> = front.iter().map(|point| point.at).collect();
        svg.polyline(
            &path,
            if sure {
                "line front"
            } else {
                "line front unranked"
            },
        );
        for point in thin(&points, &front) {
            let on_front = front.iter().any(|other| other.cell.id == point.cell.id);
            let own = series_of(point.cell);
            svg.open_mark(Some(&point.cell.id), &about::cell(scope, point.cell));
            svg.circle(point.at, 10.0, "hit");
            let colour = own.unwrap_or(5);
            let class = if point.ranked {
                format!("f{colour}")
            } else {
                format!("hollow s{colour}")
            };
            let size = if on_front || points.len() < 80 {
                4.5
            } else {
                3.0
            };
            svg.marker(own.unwrap_or(0), point.at, size, &class);
            let letter = scope.letter(point.cell);
            if !letter.is_empty() {
                let at = (point.at.0 - 6.0, point.at.1 - 5.0);
                svg.text(at, Anchor::End, "origin on", letter);
            }
            svg.close_mark();
        }
        if let Some(point) =
            best.and_then(|best| points.iter().find(|point| point.cell.id == best.id))
        {
            svg.circle(point.at, 9.0, "halo");
        }
        if let Some(axis) = along {
            front_labels(svg, &front, axis, &plane);
        }
        match (near, term) {
            (Some(limit), Some(term)) => {
                let at = y.at(limit);
                svg.line((plane.left, at), (plane.right, at), "limit");
                let text = said(term);
                match beside_limit(&points, at, &plane, width(&text, 12.0)) {
                    Some((place, anchor)) => svg.text(place, anchor, "limit-text on", &text),
                    None => sentences.push(format!("The SLO line is {text}.")),
                }
            }
            (None, Some(term)) => {
                sentences.push(format!("The SLO {} is above the range shown.", said(term)))
            }
            _ => {}
        }
        sentences.push(about::unranked(cells.iter().copied(), key));
        bottom = plane.bottom;
        top = plane.bottom + if index == last { 0.0 } else { 66.0 };
    }
    let mut notes = Vec::new();
    if let Some(axis) = along {
        notes.push(format!("Numbers next to the front: {axis}."));
    }
    notes.extend((!shared.is_empty()).then_some(shared));
    notes.extend(sentences.into_iter().filter(|text| !text.is_empty()));
    Some(sheet.finish(bottom + Plane::BELOW, &notes, chart))
}

/// More points than this under the words of a limit, and neither can be read.
const COVERED: usize = 3;

/// Where the words of a limit stand: at the end and on the side of its line where they cover the fewest points; `None` where there
/// are too many everywhere.
fn beside_limit(
    points: &[Point<'_>],
    at: f64,
    plane: &Plane,
    wide: f64,
) -> Option<((f64, f64), Anchor)> {
    let (left, right) = (plane.left + 8.0, plane.right - 8.0);
    let places = [
        ((left, at - 7.0), Anchor::Start),
        ((right, at - 7.0), Anchor::End),
        ((left, at + 16.0), Anchor::Start),
        ((right, at + 16.0), Anchor::End),
    ];
    let covered = |((x, y), anchor): &((f64, f64), Anchor)| {
        let from = if *anchor == Anchor::End { x - wide } else { *x };
        let inside = |point: &&Point<'_>| {
            point.at.0 > from - 6.0
                && point.at.0 < from + wide + 6.0
                && point.at.1 > y - 16.0
                && point.at.1 < y + 8.0
        };
        let outside = y - 12.0 < plane.top || *y > plane.bottom - 2.0;
        (outside, points.iter().filter(inside).count())
    };
    // The first of equals.
    let best = places.into_iter().min_by_key(covered)?;
    (covered(&best).1 <= COVERED).then_some(best)
}

/// The limit of a term in milliseconds, where it lies in the picture.
fn near(key: &str, term: Option<&SloTerm>, cells: &[&CellFile]) -> Option<f64> {
    let highest = cells
        .iter()
        .filter_map(|cell| of(cell, key))
        .fold(0.0, f64::max);
    term.map(|term| term.limit.as_ms())
        .filter(|limit| *limit <= highest * FAR)
}

/// A term as it stands at its line: `p95 TTFT ≤ 1,500 ms`.
fn said(term: &SloTerm) -> String {
    format!(
        "{} ≤ {}",
        about::name(&term.key()),
        number::ms(Some(term.limit.as_ms()))
    )
}

/// The cells that no other beats in both, by throughput; of those that may be ranked, where there are such.
fn front<'p, 'a>(points: &'p [Point<'a>], key: &str) -> Vec<&'p Point<'a>> {
    let mut candidates: Vec<&Point<'_>> = points.iter().filter(|point| point.ranked).collect();
    if candidates.is_empty() {
        candidates = points.iter().filter(|point| may_rank(point.cell)).collect();
    }
    if candidates.is_empty() {
        candidates = points.iter().collect();
    }
    let numbers = |point: &Point<'_>| {
        (
            of(point.cell, "throughput").unwrap_or(f64::NEG_INFINITY),
            of(point.cell, key).unwrap_or(f64::INFINITY),
        )
    };
    // Fastest first; of equals the one with less latency.
    candidates.sort_by(|a, b| {
        let (a, b) = (numbers(a), numbers(b));
        b.0.total_cmp(&a.0).then(a.1.total_cmp(&b.1))
    });
    let mut lowest = f64::INFINITY;
    candidates.retain(|point| {
        let latency = numbers(point).1;
        let keep = latency < lowest;
        lowest = lowest.min(latency);
        keep
    });
    candidates.reverse();
    candidates
}

/// All points, or of very many those that do not hide one another.
fn thin<'p, 'a>(points: &'p [Point<'a>], front: &[&Point<'_>]) -> Vec<&'p Point<'a>> {
    if points.len() <= MANY {
        return points.iter().collect();
    }
    let mut taken = std::collections::BTreeSet::new();
    points
        .iter()
        .filter(|point| {
            let place = ((point.at.0 / GRAIN) as i64, (point.at.1 / GRAIN) as i64);
            let on_front = front.iter().any(|other| other.cell.id == point.cell.id);
            taken.insert(place) || on_front
        })
        .collect()
}

/// The value along which more is asked for, right below each point of the front: nothing can stand there, for it would
/// beat the front.
fn front_labels(svg: &mut Svg, front: &[&Point<'_>], axis: &str, plane: &Plane) {
    let mut taken: Vec<(f64, f64, f64)> = Vec::new();
    for point in front.iter().rev() {
        let Some(value) = coordinate(point.cell, axis) else {
            continue;
        };
        let text = fitted(&scalar_text(value), 12.0, 80.0);
        let wide = width(&text, 12.0);
        let (mut x, y) = (point.at.0 + 10.0, point.at.1 + 15.0);
        let mut anchor = Anchor::Start;
        if x + wide > plane.right {
            x = point.at.0 + 4.0;
            anchor = Anchor::End;
        }
        let left = if anchor == Anchor::End { x - wide } else { x };
        let free = taken
            .iter()
            .all(|(l, r, t)| left > *r + 3.0 || left + wide < *l - 3.0 || (y - t).abs() > 14.0);
        if free && y < plane.bottom - 2.0 {
            svg.text((x, y), anchor, "key on", &text);
            taken.push((left, left + wide, y));
        }
    }
}
