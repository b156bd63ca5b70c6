//! How throughput and latency grow with the load: efficiency, the knee, and what it costs those who wait.

use super::{Block, Insight, Line, concurrency, coordinate, count, ladder, lines, of, offered};
use crate::{
    manifest::scalar_text,
    report::number::{grouped, ms, percent, times, tok_s},
    store::CellFile,
};

/// Scaling of at least this part of perfect is near-linear.
const NEAR_LINEAR: f64 = 0.85;
/// Throughput that grows by less than this part altogether is flat: what bends in it is noise.
const FLAT: f64 = 0.2;
/// Among cells as good as the fastest, the least load is enough.
const AS_GOOD: f64 = 0.95;
/// A curve bends when it rises above its chord by at least this part of its range.
const BEND: f64 = 0.1;
/// So many lines are told one by one; of more, only those that scale best and worst.
const TOLD: usize = 6;

/// The knee of a line by Kneedle (Satopää, Albrecht, Irwin and Raghavan, "Finding a 'Kneedle' in a Haystack", 2011), without
/// smoothing: load and throughput are each scaled to 0 to 1 between the first cell and the highest one, and the knee is the
/// cell furthest above the diagonal. `None` where no cell is at least a tenth above it: the line is as good as straight.
pub(in crate::report) fn knee<'a>(cells: &[&'a CellFile]) -> Option<&'a CellFile> {
    let points: Vec<(f64, f64, &CellFile)> = cells
        .iter()
        .filter_map(|cell| Some((offered(cell)?, of(cell, "throughput")?, *cell)))
        .collect();
    let (first, last) = (points.first()?, points.last()?);
    let most = points.iter().map(|point| point.1).max_by(f64::total_cmp)?;
    let (wide, high) = (last.0 - first.0, most - first.1);
    if points.len() < 3 || wide <= 0.0 || first.1 <= 0.0 || high < FLAT * first.1 {
        return None;
    }
    let above =
        |point: &(f64, f64, &'a CellFile)| (point.1 - first.1) / high - (point.0 - first.0) / wide;
    // Of equal ones the first: less load for the same gain.
    let best = points
        .iter()
        .rev()
        .max_by(|a, b| above(a).total_cmp(&above(b)))?;
    (above(best) >= BEND).then_some(best.2)
}

/// The cell of a line worth going to: its knee, or where it has none the least load that is as good as the fastest.
pub(in crate::report) fn worth<'a>(cells: &[&'a CellFile]) -> Option<&'a CellFile> {
    knee(cells).or_else(|| {
        let rate = |cell: &&CellFile| of(cell, "throughput");
        let most = cells.iter().filter_map(rate).max_by(f64::total_cmp);
        let as_good = |cell: &&CellFile| {
            rate(cell)
                .zip(most)
                .is_some_and(|(own, most)| own >= AS_GOOD * most)
        };
        cells
            .iter()
            .copied()
            .find(as_good)
            .or(cells.first().copied())
    })
}

/// Everything about growth, the load's own axis first.
pub(in crate::report) fn growth(block: &Block<'_>) -> Vec<Insight> {
    let axis = ladder(block);
    let lines: Vec<Line<'_>> = lines(block, axis)
        .into_iter()
        .filter(|line| line.cells.len() > 1)
        .collect();
    let mut told: Vec<(f64, Vec<Insight>)> = Vec::new();
    for line in &lines {
        let Some((efficiency, scaling)) = scaling(line, axis) else {
            continue;
        };
        let own = [Some(scaling), bend(line, axis), slower(line, axis)];
        told.push((efficiency, own.into_iter().flatten().collect()));
    }
    let lines = told.len();
    if lines > TOLD {
        told.sort_by(|a, b| b.0.total_cmp(&a.0));
        let worst = told.pop();
        told.truncate(1);
        told.extend(worst);
    }
    let mut found: Vec<Insight> = told.into_iter().flat_map(|(_, own)| own).collect();
    if let Some(last) = found.last_mut().filter(|_| lines > TOLD) {
        last.text.push_str(&format!(
            " Of {} along {axis} the one that scales best and the one that scales worst are told here.",
            count(lines, "line")
        ));
    }
    found
}

fn at(line: &Line<'_>) -> String {
    match line.fixed.as_str() {
        "" => String::new(),
        fixed => format!(" at {fixed}"),
    }
}

fn value(cell: &CellFile, axis: &str) -> String {
    coordinate(cell, axis).map(scalar_text).unwrap_or_default()
}

/// Throughput over that of the first cell, against the load over its load: 1 is perfect.
fn efficiency(from: &CellFile, to: &CellFile) -> Option<f64> {
    let (c1, c2) = (offered(from)?, offered(to)?);
    let (t1, t2) = (of(from, "throughput")?, of(to, "throughput")?);
    (c1 > 0.0 && c2 > c1 && t1 > 0.0).then(|| (t2 / t1) / (c2 / c1))
}

fn scaling(line: &Line<'_>, axis: &str) -> Option<(f64, Insight)> {
    let first = line.cells.first()?;
    let unit = match axis {
        "rate" => "requests per second",
        _ => "in flight",
    };
    let mut parts = Vec::new();
    let mut numbers: Vec<(String, f64)> = Vec::new();
    let mut straight = None;
    let mut is_straight = true;
    let mut last = None;
    let mut most: f64 = 0.0;
    for cell in line.cells.iter().skip(1) {
        let (Some(part), Some(own)) = (efficiency(first, cell), of(cell, "throughput")) else {
            continue;
        };
        let ratio = of(first, "throughput").map(|base| own / base)?;
        is_straight &= part >= NEAR_LINEAR;
        if is_straight {
            straight = Some(*cell);
        }
        let of_perfect = if parts.is_empty() { " of perfect" } else { "" };
        parts.push(format!(
            "{} at {} ({}{of_perfect})",
            times(ratio),
            value(cell, axis),
            percent(Some(part))
        ));
        most = most.max(ratio);
        numbers.push((format!("efficiency_at_{}", value(cell, axis)), part));
        last = Some(part);
    }
    let last = last?;
    let steps: Vec<(&CellFile, &CellFile, f64)> = line
        .cells
        .windows(2)
        .filter_map(|pair| Some((pair[0], pair[1], efficiency(pair[0], pair[1])?)))
        .collect();
    let mut text = format!(
        "Throughput{} against that of {} {unit}: {}.",
        at(line),
        value(first, axis),
        parts.join(", ")
    );
    if steps.len() > 1 {
        let each: Vec<String> = steps.iter().map(|step| percent(Some(step.2))).collect();
        text.push_str(&format!(" Step by step: {}.", each.join(", ")));
        numbers.extend(
            steps
                .iter()
                .map(|step| (format!("step_to_{}", value(step.1, axis)), step.2)),
        );
    }
    let falls = steps
        .iter()
        .find(|step| of(step.1, "throughput") < of(step.0, "throughput"));
    match (falls, straight) {
        _ if most < 1.0 + FLAT => text.push_str(" It hardly grows: the engine is at its limit from the first step on."),
        (Some((from, to, _)), _) => text.push_str(&format!(
            " It falls from {} to {} on the step to {}.",
            tok_s(of(from, "throughput")),
            tok_s(of(to, "throughput")),
            value(to, axis)
        )),
        (None, Some(cell)) if last >= NEAR_LINEAR => text.push_str(&format!(
            " That is near-linear up to {}, the most that was {}.",
            value(cell, axis),
            if cell.predicted { "predicted" } else { "measured" }
        )),
        (None, Some(cell)) => text.push_str(&format!(
            " That is near-linear up to {} (at least {} of perfect), with diminishing returns beyond.",
            value(cell, axis),
            percent(Some(NEAR_LINEAR))
        )),
        (None, None) => text.push_str(" Returns diminish from the first step on."),
    }
    let evidence: Vec<(&str, f64)> = numbers
        .iter()
        .map(|(name, number)| (name.as_str(), *number))
        .collect();
    Some((last, Insight::new("scaling", &line.cells, &evidence, text)))
}

fn bend(line: &Line<'_>, axis: &str) -> Option<Insight> {
    let at_knee = knee(&line.cells)?;
    let last = *line.cells.last()?;
    let (load, most) = (offered(at_knee)?, offered(last)?);
    let (rate, end) = (of(at_knee, "throughput")?, of(last, "throughput")?);
    if most <= load || load <= 0.0 || rate <= 0.0 {
        return None;
    }
    let later = of(at_knee, "p95_e2e")
        .zip(of(last, "p95_e2e"))
        // A knee that is slower than what lies beyond it is unstable, which is told elsewhere.
        .filter(|(before, after)| *before > 0.0 && after >= before)
        .map(|(before, after)| format!(" and {} the p95 E2E", times(after / before)))
        .unwrap_or_default();
    Some(Insight::new(
        "knee",
        &[at_knee],
        &[
            ("load", load),
            ("throughput_tok_s", rate),
            ("throughput_ratio_beyond", end / rate),
        ],
        format!(
            "The knee{} is at {axis} {} with {}: from there to {}, {} the load brings {} the tokens per second{later}.",
            at(line),
            value(at_knee, axis),
            tok_s(Some(rate)),
            value(last, axis),
            times(most / load),
            times(end / rate)
        ),
    ))
}

/// What those who wait pay for it.
fn slower(line: &Line<'_>, axis: &str) -> Option<Insight> {
    let key = ["p95_e2e", "p50_e2e", "p95_ttft"].into_iter().find(|key| {
        line.cells
            .iter()
            .filter(|cell| of(cell, key).is_some())
            .count()
            > 1
    })?;
    let known: Vec<&CellFile> = line
        .cells
        .iter()
        .copied()
        .filter(|cell| of(cell, key).is_some())
        .collect();
    let (first, last) = (known.first()?, known.last()?);
    let (from, to) = (of(first, key)?, of(last, key)?);
    let (c1, c2) = (offered(first)?, offered(last)?);
    if from <= 0.0 || c1 <= 0.0 || c2 <= c1 {
        return None;
    }
    let name = crate::report::headline::latency_name(key);
    let share = (to / from - 1.0) / (c2 / c1 - 1.0);
    let judged = match share {
        little if little < 0.1 => ": the cost in latency is mild",
        much if much > 0.8 => ": requests wait their turn rather than share the engine",
        _ => "",
    };
    Some(Insight::new(
        "latency_growth",
        &[first, last],
        &[("from_ms", from), ("to_ms", to), ("growth", to / from)],
        format!(
            "{name}{} goes from {} at {axis} {} to {} at {} ({}) for {} the load{judged}.",
            at(line),
            ms(Some(from)),
            value(first, axis),
            ms(Some(to)),
            value(last, axis),
            times(to / from),
            times(c2 / c1)
        ),
    ))
}

/// How TTFT grows along the line with most steps.
pub(in crate::report) fn ttft_growth(block: &Block<'_>) -> Option<Insight> {
    // The line with most steps tells most; of equal ones the first.
    let line = lines(block, "concurrency")
        .into_iter()
        .rev()
        .max_by_key(|line| line.cells.len())?;
    let known: Vec<&CellFile> = line
        .cells
        .iter()
        .copied()
        .filter(|cell| of(cell, "p50_ttft").is_some())
        .collect();
    let (first, last) = (known.first()?, known.last()?);
    let (from, to) = (of(first, "p50_ttft")?, of(last, "p50_ttft")?);
    let (c1, c2) = (concurrency(first)?, concurrency(last)?);
    (known.len() > 1 && from > 0.0).then(|| {
        Insight::new(
            "ttft_growth",
            &[first, last],
            &[("from_ms", from), ("to_ms", to), ("growth", to / from)],
            format!(
                "TTFT from concurrency {} to {}{}: p50 goes from {} to {} ({}), for {} the requests in flight.",
                grouped(c1, 0),
                grouped(c2, 0),
                at(&line),
                ms(Some(from)),
                ms(Some(to)),
                times(to / from),
                times(c2 / c1)
            ),
        )
    })
}
