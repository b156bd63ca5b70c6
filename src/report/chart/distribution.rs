//! How TTFT and ITL are distributed, one ridge for each step of what is asked for.

use super::{
    Chart, about,
    plane::Plane,
    scale::Scale,
    scope::{Scope, thinned, values},
    sheet::{EDGE, Key, NARROW, Sheet},
    svg::{Anchor, Svg},
    text::{fitted, width},
};
use crate::{
    manifest::scalar_text,
    measure::{Latency, Summary},
    report::{insight::coordinate, number},
    store::{CellFile, StoredRun},
};

/// Ridges that stay readable.
const ROWS: usize = 8;
const ROW: f64 = 46.0;
/// Height of a ridge; more than its row, so that it leans into the one above.
const RIDGE: f64 = 40.0;
/// Room at the right of a panel for the number of samples.
const COUNT: f64 = 62.0;
/// Places along a ridge.
const BINS: usize = 64;

type Get = fn(&Summary) -> &Option<Latency>;

/// The picture; `None` where no cell has a distribution.
pub(super) fn draw(run: &StoredRun, scope: &Scope<'_>) -> Option<Chart> {
    let along = scope.along();
    let others: Vec<&str> = scope
        .varying
        .iter()
        .copied()
        .filter(|axis| Some(*axis) != along)
        .collect();
    let (cells, held) = scope.held(&others);
    let cells: Vec<&CellFile> = cells
        .into_iter()
        .filter(|cell| cell.summary.is_some())
        .collect();
    let own = along
        .and_then(|axis| scope.best.and_then(|cell| coordinate(cell, axis)))
        .map(scalar_text);
    let (rows, fewer): (Vec<(String, &CellFile)>, bool) = match along {
        Some(axis) => {
            let (shown, fewer) = thinned(&values(&cells, axis), ROWS, own.as_deref());
            let rows = shown.into_iter().filter_map(|text| {
                let cell = cells.iter().find(|cell| {
                    coordinate(cell, axis).is_some_and(|value| scalar_text(value) == text)
                })?;
                Some((text, *cell))
            });
            (rows.collect(), fewer)
        }
        None => (
            cells
                .first()
                .map(|cell| (String::new(), *cell))
                .into_iter()
                .collect(),
            false,
        ),
    };
    let has = |get: Get| rows.iter().any(|(_, cell)| latency(cell, get).is_some());
    let first: (&str, Get) = if has(|s| &s.ttft) {
        ("TTFT", |s| &s.ttft)
    } else {
        ("E2E", |s| &s.e2e)
    };
    let second: (&str, Get) = if has(|s| &s.itl) {
        ("ITL", |s| &s.itl)
    } else {
        ("TPOT", |s| &s.tpot)
    };
    let panels: Vec<(&str, Get)> = [first, second]
        .into_iter()
        .filter(|(_, get)| has(*get))
        .collect();
    if panels.is_empty() {
        return None;
    }
    let names: Vec<&str> = panels.iter().map(|(name, _)| *name).collect();
    let what = names.join(" and ");
    let by = along.map_or_else(String::new, |axis| format!(" by {axis}"));
    let chart = Chart::new(
        "distributions",
        scope.workload,
        format!("{}: distribution of {what}{by}", scope.workload),
        format!("Distribution of {what}{by}, with p50 and p95."),
    );
    let mut sheet = Sheet::new(
        &chart.title,
        &about::source(run),
        run,
        &[Key::P50, Key::P95],
        scope.wide,
    );
    let narrow = scope.wide <= NARROW;
    let labels = along
        .filter(|_| !narrow)
        .map(|axis| width(&down(axis), 14.5))
        .into_iter()
        .chain(rows.iter().map(|(text, _)| width(text, 13.0)))
        .fold(0.0, f64::max)
        .min(if narrow { 90.0 } else { 130.0 });
    let left = EDGE + if labels > 0.0 { labels + 16.0 } else { 0.0 };
    let gap = 34.0;
    // On a phone the second panel stands below the first.
    let across = if narrow { 1 } else { panels.len() };
    let wide = (scope.wide - EDGE - left - gap * (across - 1) as f64) / across as f64;
    let mut top = sheet.top() + 36.0;
    let high = ROW * rows.len() as f64;
    let mut bottom = top + high;
    let svg = &mut sheet.svg;
    for (index, (name, get)) in panels.iter().enumerate() {
        let column = index % across;
        if index > 0 && column == 0 {
            top = bottom + Plane::BELOW_BARE + 40.0;
            bottom = top + high;
        }
        let from = left + (wide + gap) * column as f64;
        let plane = Plane {
            left: from,
            right: from + wide,
            top,
            bottom,
        };
        let mut title = plane.left;
        if let Some(axis) = along.filter(|_| column == 0) {
            let room = if narrow { 170.0 } else { labels };
            title = title.max(EDGE + 16.0 + steps(svg, axis, &rows, &plane, room));
        }
        panel(svg, scope, &plane, (name, title), *get, &rows, index);
    }
    let thinned = match along {
        Some(axis) if fewer => format!("Only {ROWS} values of {axis} are shown."),
        _ => String::new(),
    };
    let few = few(&rows, &panels);
    let notes = super::notes([
        scope.constant.clone(),
        held,
        thinned,
        few,
        "Each curve is scaled to its own height; n is the number of samples.".into(),
    ]);
    Some(sheet.finish(bottom + Plane::BELOW_BARE, &notes, chart))
}

/// The axis and its steps, at the left of a panel; how wide the name is.
fn steps(svg: &mut Svg, axis: &str, rows: &[(String, &CellFile)], plane: &Plane, room: f64) -> f64 {
    let name = fitted(&down(axis), 14.5, room);
    svg.text((EDGE, plane.top - 16.0), Anchor::Start, "axis", &name);
    for (index, (text, _)) in rows.iter().enumerate() {
        let y = plane.top + ROW * (index as f64 + 1.0);
        svg.text(
            (plane.left - 12.0, y - 4.0),
            Anchor::End,
            "tick",
            &fitted(text, 13.0, room),
        );
    }
    width(&name, 14.5)
}

fn down(axis: &str) -> String {
    format!("{axis} ↓")
}

fn latency(cell: &CellFile, get: Get) -> Option<&Latency> {
    let latency = get(cell.summary.as_ref()?).as_ref()?;
    (latency.n > 0 && !latency.histogram.buckets.is_empty()).then_some(latency)
}

/// One latency of every row.
fn panel(
    svg: &mut Svg,
    scope: &Scope<'_>,
    plane: &Plane,
    (name, title): (&str, f64),
    get: Get,
    rows: &[(String, &CellFile)],
    colour: usize,
) {
    let ends = rows
        .iter()
        .filter_map(|(_, cell)| latency(cell, get))
        .flat_map(|latency| {
            let buckets = &latency.histogram.buckets;
            let first = buckets.first().map(|(value, _)| *value as f64 / 1e3);
            let last = buckets.last().map(|(value, _)| *value as f64 / 1e3);
            [first, last]
        });
    let ends: Vec<f64> = ends.flatten().collect();
    let (from, to) = (plane.left + 4.0, plane.right - COUNT);
    let Some(x) = Scale::around(ends.into_iter(), from, to) else {
        return;
    };
    svg.text(
        (title, plane.top - 16.0),
        Anchor::Start,
        "axis",
        &format!(
            "{name}, ms{}",
            if x.is_log() { " (logarithmic)" } else { "" }
        ),
    );
    let ticks: Vec<(f64, String)> = x
        .ticks()
        .into_iter()
        .map(|(value, text)| (x.at(value), text))
        .collect();
    for (at, _) in &ticks {
        svg.line((*at, plane.top - 4.0), (*at, plane.bottom), "grid");
    }
    for (index, (_, cell)) in rows.iter().enumerate() {
        let base = plane.top + ROW * (index as f64 + 1.0);
        svg.line((plane.left, base), (plane.right - COUNT, base), "grid");
        let Some(latency) = latency(cell, get) else {
            svg.text(
                (plane.left + 6.0, base - 6.0),
                Anchor::Start,
                "note",
                number::ABSENT,
            );
            continue;
        };
        let outline = ridge(latency, &x, plane, base);
        svg.open_mark(Some(&cell.id), &said(scope, cell, name, latency));
        svg.rect(
            plane.left,
            base - ROW,
            plane.right - plane.left,
            ROW,
            0.0,
            "hit",
        );
        svg.polygon(&outline, &format!("area f{colour}"));
        svg.polyline(&outline, &format!("line thin s{colour}"));
        for (value, class) in [(latency.p50_ms, "line"), (latency.p95_ms, "line unranked")] {
            let at = x.at(value);
            svg.line(
                (at, base),
                (at, base - RIDGE * 0.62),
                &format!("{class} s{colour}"),
            );
        }
        svg.close_mark();
        svg.text(
            (plane.right, base - 6.0),
            Anchor::End,
            "note",
            &format!("n {}", number::thousands(Some(latency.n as f64))),
        );
    }
    plane.below(svg, &ticks, "");
}

/// The line of a ridge: how many samples fall to each place, a little smoothed, the highest at full height.
fn ridge(latency: &Latency, x: &Scale, plane: &Plane, base: f64) -> Vec<(f64, f64)> {
    let (from, to) = (plane.left + 4.0, plane.right - COUNT);
    // Few samples have few places, or each would be a spike of its own.
    let bins = ((latency.n as f64).sqrt() * 4.0).clamp(16.0, BINS as f64) as usize;
    let mut counts = vec![0.0; bins];
    for (value, count) in &latency.histogram.buckets {
        let part = (x.at(*value as f64 / 1e3) - from) / (to - from);
        counts[((part * bins as f64) as usize).min(bins - 1)] += *count as f64;
    }
    let at = |index: i64| {
        usize::try_from(index)
            .ok()
            .and_then(|index| counts.get(index))
            .copied()
            .unwrap_or_default()
    };
    let smooth: Vec<f64> = (0..bins as i64)
        .map(|index| 0.25 * at(index - 1) + 0.5 * at(index) + 0.25 * at(index + 1))
        .collect();
    let most = smooth.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let wide = (to - from) / bins as f64;
    let within = |x: f64| x.clamp(from, to);
    let occupied: Vec<usize> = (0..bins).filter(|index| smooth[*index] > 0.0).collect();
    let (Some(first), Some(last)) = (occupied.first(), occupied.last()) else {
        return Vec::new();
    };
    // The outline begins and ends on the base, half a place beyond the outermost samples.
    let mut points = vec![(within(from + wide * (*first as f64 - 0.5)), base)];
    points.extend((*first..=*last).map(|index| {
        (
            from + wide * (index as f64 + 0.5),
            base - RIDGE * smooth[index] / most,
        )
    }));
    points.push((within(from + wide * (*last as f64 + 1.5)), base));
    points
}

fn said(scope: &Scope<'_>, cell: &CellFile, name: &str, latency: &Latency) -> String {
    let ms = |value: f64| number::ms(Some(value));
    format!(
        "{}\n{name} p50 {} · p95 {} · p99 {}\nfrom {} to {}, n {}",
        about::place(scope, cell),
        ms(latency.p50_ms),
        ms(latency.p95_ms),
        ms(latency.p99_ms),
        ms(latency.min_ms),
        ms(latency.max_ms),
        number::thousands(Some(latency.n as f64))
    )
}

/// A sentence on ridges whose p95 rests on few samples; empty when none does.
fn few(rows: &[(String, &CellFile)], panels: &[(&str, Get)]) -> String {
    let names: Vec<&str> = panels
        .iter()
        .filter(|(name, _)| {
            let key = format!("p95_{}", name.to_lowercase());
            rows.iter().any(|(_, cell)| {
                cell.summary.is_some() && !crate::report::insight::may_rank_by(cell, &key)
            })
        })
        .map(|(name, _)| *name)
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(
            "p95 of {} is not ranked in some cells: see n and the verdicts.",
            names.join(" and ")
        )
    }
}
