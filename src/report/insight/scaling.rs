//! How throughput grows with the load: what each step brings, where it bends, and what that costs those who wait.

use super::{
    Block, Insight, Line, coordinate, count, ladder, lines, of, offered,
    slower::{price, slower, slower_of_all},
};
use crate::{
    manifest::scalar_text,
    report::number::{listed, percent, times, tok_s},
    store::CellFile,
};

/// Each step brings at least this part of its share: near-linear.
const NEAR_LINEAR: f64 = 0.7;
/// Throughput that grows by less than this part altogether is flat: what bends in it is noise.
const FLAT: f64 = 0.2;
/// Among cells as good as the fastest, the least load is enough.
const AS_GOOD: f64 = 0.95;
/// A curve bends when it rises above its chord by at least this part of its range.
const BEND: f64 = 0.1;
/// Beyond a knee one more request brings at most this part of what one brought up to it.
const LESS_EACH: f64 = 0.5;
/// More than this part of perfect says something about the first cell, not about the engine.
const TOO_GOOD: f64 = 1.1;

/// The knee of a line by Kneedle (Satopää, Albrecht, Irwin and Raghavan, "Finding a 'Kneedle' in a Haystack", 2011), without
/// smoothing: load and throughput are each scaled to 0 to 1 between the first cell and the highest one, and the knee is the
/// cell furthest above the diagonal. `None` where no cell is at least a tenth above it, or where one more request still
/// brings more than half of what it brought up to there: the line is as good as straight.
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
    if above(best) < BEND {
        return None;
    }
    let each = |from: &(f64, f64, &CellFile), to: &(f64, f64, &CellFile)| {
        (to.1 - from.1) / (to.0 - from.0)
    };
    (each(best, last) <= LESS_EACH * each(first, best)).then_some(best.2)
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

/// What a step brings of its share: the throughput it adds over that of the cell before, against the load it adds over the
/// load before. 1 is perfect, 0 is nothing, less than 0 a loss.
pub(in crate::report) fn share(from: &CellFile, to: &CellFile) -> Option<f64> {
    let (c1, c2) = (offered(from)?, offered(to)?);
    let (t1, t2) = (of(from, "throughput")?, of(to, "throughput")?);
    (c1 > 0.0 && c2 > c1 && t1 > 0.0).then(|| (t2 / t1 - 1.0) / (c2 / c1 - 1.0))
}

/// One line, measured.
struct Scaled<'l, 'a> {
    line: &'l Line<'a>,
    first: &'a CellFile,
    last: &'a CellFile,
    /// Cells after the first with their throughput over that of the first and the part of perfect that this is.
    ratios: Vec<(&'a CellFile, f64, f64)>,
    /// Both cells of each step, and what it brings of its share.
    steps: Vec<(&'a CellFile, &'a CellFile, f64)>,
}

impl<'l, 'a> Scaled<'l, 'a> {
    fn of(line: &'l Line<'a>) -> Option<Self> {
        let known: Vec<&'a CellFile> = line
            .cells
            .iter()
            .copied()
            .filter(|cell| of(cell, "throughput").is_some_and(|rate| rate > 0.0))
            .collect();
        let (first, last) = (*known.first()?, *known.last()?);
        let (c1, t1) = (offered(first)?, of(first, "throughput")?);
        let ratios: Vec<(&CellFile, f64, f64)> = known
            .iter()
            .skip(1)
            .filter_map(|cell| {
                let ratio = of(cell, "throughput")? / t1;
                Some((*cell, ratio, ratio / (offered(cell)? / c1)))
            })
            .collect();
        (!ratios.is_empty() && c1 > 0.0).then(|| Self {
            line,
            first,
            last,
            ratios,
            steps: known
                .windows(2)
                .filter_map(|pair| Some((pair[0], pair[1], share(pair[0], pair[1])?)))
                .collect(),
        })
    }

    /// Throughput of the last cell over that of the first.
    fn ratio(&self) -> f64 {
        self.ratios.last().map_or(1.0, |last| last.1)
    }

    /// The same over the ratio of the load.
    fn efficiency(&self) -> f64 {
        self.ratios.last().map_or(1.0, |last| last.2)
    }

    /// As far as every step brings nearly its share; `None` where the first does not.
    fn straight(&self) -> Option<&'a CellFile> {
        self.steps
            .iter()
            .take_while(|step| step.2 >= NEAR_LINEAR)
            .last()
            .map(|step| step.1)
    }

    fn is_flat(&self) -> bool {
        self.ratios.iter().all(|cell| cell.1 < 1.0 + FLAT)
    }

    /// The first step on which throughput falls.
    fn fall(&self) -> Option<(&'a CellFile, &'a CellFile)> {
        self.steps
            .iter()
            .find(|step| step.2 < 0.0)
            .map(|step| (step.0, step.1))
    }
}

/// Everything about growth, the load's own axis first.
pub(in crate::report) fn growth(block: &Block<'_>) -> Vec<Insight> {
    let axis = ladder(block);
    let lines: Vec<Line<'_>> = lines(block, axis)
        .into_iter()
        .filter(|line| line.cells.len() > 1)
        .collect();
    let scaled: Vec<Scaled<'_, '_>> = lines.iter().filter_map(Scaled::of).collect();
    let mut found = Vec::new();
    match scaled.as_slice() {
        [] => {}
        [one] => {
            found.push(scaling(one, axis));
            found.extend(bend(one.line, axis));
            found.extend(slower(one.line, axis));
        }
        several => {
            found.extend(scaling_of_all(several, axis));
            found.extend(bends(several, axis));
            found.extend(slower_of_all(&lines.iter().collect::<Vec<_>>()));
        }
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

fn unit(axis: &str) -> &'static str {
    match axis {
        "rate" => "per second",
        _ => "in flight",
    }
}

fn scaling(scaled: &Scaled<'_, '_>, axis: &str) -> Insight {
    let last = scaled.ratios.len() - 1;
    let parts: Vec<String> = scaled
        .ratios
        .iter()
        .enumerate()
        .map(|(index, (cell, ratio, part))| {
            let of_perfect = match index == last {
                true => format!(" ({} of perfect)", percent(Some(*part))),
                false => String::new(),
            };
            format!("{} at {}{of_perfect}", times(*ratio), value(cell, axis))
        })
        .collect();
    let mut text = format!(
        "Throughput{} against that of {} {}: {}.",
        at(scaled.line),
        value(scaled.first, axis),
        unit(axis),
        parts.join(", ")
    );
    let each: Vec<String> = scaled
        .steps
        .iter()
        .map(|step| percent(Some(step.2)))
        .collect();
    text.push_str(&format!(
        " Step by step, the added load brings {} of its share",
        listed(&each)
    ));
    match (scaled.fall(), scaled.straight()) {
        _ if scaled.is_flat() => {
            text.push_str(". It hardly grows: the engine is at its limit from the first step on.")
        }
        (Some((from, to)), _) => text.push_str(&format!(
            ". It falls from {} to {} on the step to {}.",
            tok_s(of(from, "throughput")),
            tok_s(of(to, "throughput")),
            value(to, axis)
        )),
        (None, Some(cell)) if cell.id == scaled.last.id => text.push_str(&format!(
            ": near-linear up to {}, the most that was {}.",
            value(cell, axis),
            if cell.predicted {
                "predicted"
            } else {
                "measured"
            }
        )),
        (None, Some(cell)) => text.push_str(&format!(
            ": near-linear up to {}, with diminishing returns beyond.",
            value(cell, axis)
        )),
        (None, None) => text.push_str(": returns diminish from the first step on."),
    }
    if let Some((cell, _, _)) = scaled.ratios.iter().find(|cell| cell.2 > TOO_GOOD) {
        text.push_str(&format!(
            " More than perfect at {} means that the cell at {} is slower than it should be (a cold start, or few requests): ratios to it \
             flatter.",
            value(cell, axis),
            value(scaled.first, axis)
        ));
    }
    let mut numbers: Vec<(String, f64)> = scaled
        .ratios
        .iter()
        .map(|(cell, _, part)| (format!("efficiency_at_{}", value(cell, axis)), *part))
        .collect();
    numbers.extend(
        scaled
            .steps
            .iter()
            .map(|step| (format!("step_to_{}", value(step.1, axis)), step.2)),
    );
    let evidence: Vec<(&str, f64)> = numbers
        .iter()
        .map(|(name, number)| (name.as_str(), *number))
        .collect();
    Insight::new("scaling", &scaled.line.cells, &evidence, text)
}

/// Several lines in one sentence: from the one that scales worst to the one that scales best.
fn scaling_of_all(all: &[Scaled<'_, '_>], axis: &str) -> Option<Insight> {
    let by = |scaled: &&Scaled<'_, '_>| scaled.efficiency();
    let worst = all.iter().min_by(|a, b| by(a).total_cmp(&by(b)))?;
    // Of equal ones the first.
    let best = all.iter().rev().max_by(|a, b| by(a).total_cmp(&by(b)))?;
    let flat = all.iter().filter(|scaled| scaled.is_flat()).count();
    let mut text = if flat == all.len() {
        format!(
            "Throughput hardly grows along {axis} on any of {}: the engine is at its limit from the first step on.",
            count(all.len(), "line")
        )
    } else {
        let ends = |scaled: &Scaled<'_, '_>| {
            format!(
                "from {axis} {} to {}",
                value(scaled.first, axis),
                value(scaled.last, axis)
            )
        };
        let said = |scaled: &Scaled<'_, '_>| {
            format!(
                "{} ({}; {} of perfect)",
                times(scaled.ratio()),
                match ends(scaled) == ends(best) {
                    true => scaled.line.fixed.clone(),
                    false => format!("{}, {}", scaled.line.fixed, ends(scaled)),
                },
                percent(Some(scaled.efficiency()))
            )
        };
        let ends = ends(best);
        let mut chars = ends.chars();
        let ends = chars.next().map_or_else(String::new, |first| {
            format!("{}{}", first.to_uppercase(), chars.as_str())
        });
        format!(
            "{ends} throughput grows {} at best and {} at worst, over {}.",
            said(best),
            said(worst),
            count(all.len(), "line")
        )
    };
    if flat < all.len() {
        let mut reached: Vec<(String, Vec<&str>)> = Vec::new();
        for scaled in all {
            let to = match scaled.straight() {
                Some(cell) if cell.id == scaled.last.id => {
                    format!(
                        "up to {} (the most that was {})",
                        value(cell, axis),
                        if cell.predicted {
                            "predicted"
                        } else {
                            "measured"
                        }
                    )
                }
                Some(cell) => format!("up to {}", value(cell, axis)),
                None => "not even on the first step".into(),
            };
            match reached.iter_mut().find(|(known, _)| *known == to) {
                Some((_, lines)) => lines.push(&scaled.line.fixed),
                None => reached.push((to, vec![&scaled.line.fixed])),
            }
        }
        let few = all.len() <= 6;
        let parts: Vec<String> = reached
            .iter()
            .map(|(to, lines)| match (reached.len(), few) {
                (1, _) => to.clone(),
                (_, true) => format!("{to} at {}", listed(&shared(lines))),
                (_, false) => format!("{to} on {}", count(lines.len(), "line")),
            })
            .collect();
        let none = all.iter().all(|scaled| scaled.straight().is_none());
        text.push_str(&match none {
            true => " Returns diminish from the first step on.".to_owned(),
            false => format!(" Near-linear {}.", parts.join("; ")),
        });
    }
    let cells: Vec<&CellFile> = worst
        .line
        .cells
        .iter()
        .chain(&best.line.cells)
        .copied()
        .collect();
    Some(Insight::new(
        "scaling",
        &cells,
        &[
            ("best_efficiency", best.efficiency()),
            ("worst_efficiency", worst.efficiency()),
        ],
        text,
    ))
}

/// `max_tokens 64`, `max_tokens 128` with the name of the axis once.
fn shared(lines: &[&str]) -> Vec<String> {
    let name = lines
        .first()
        .and_then(|line| line.rsplit_once(' '))
        .map(|(name, _)| format!("{name} "));
    lines
        .iter()
        .enumerate()
        .map(|(index, line)| match &name {
            Some(name) if index > 0 && !line.contains(", ") => {
                line.strip_prefix(name.as_str()).unwrap_or(line).to_owned()
            }
            _ => (*line).to_owned(),
        })
        .collect()
}

fn bend(line: &Line<'_>, axis: &str) -> Option<Insight> {
    let at_knee = knee(&line.cells)?;
    let last = *line.cells.last()?;
    let (load, most) = (offered(at_knee)?, offered(last)?);
    let (rate, end) = (of(at_knee, "throughput")?, of(last, "throughput")?);
    if most <= load || load <= 0.0 || rate <= 0.0 {
        return None;
    }
    let mut brings = vec![format!("{} the tokens per second", times(end / rate))];
    brings.extend(price(line, at_knee, last));
    Some(Insight::new(
        "knee",
        &[at_knee],
        &[
            ("load", load),
            ("throughput_tok_s", rate),
            ("throughput_ratio_beyond", end / rate),
        ],
        format!(
            "The knee{} is at {axis} {} with {}: from there to {}, {} the load brings {}.",
            at(line),
            value(at_knee, axis),
            tok_s(Some(rate)),
            value(last, axis),
            times(most / load),
            listed(&brings)
        ),
    ))
}

/// The knees of several lines: the one whose throughput is highest in full, the others by their place.
fn bends(all: &[Scaled<'_, '_>], axis: &str) -> Option<Insight> {
    let mut knees: Vec<(&Scaled<'_, '_>, &CellFile)> = all
        .iter()
        .filter_map(|scaled| Some((scaled, knee(&scaled.line.cells)?)))
        .collect();
    let rate = |cell: &CellFile| of(cell, "throughput").unwrap_or(0.0);
    // Of equal ones the first.
    let top = knees
        .iter()
        .rev()
        .max_by(|a, b| rate(a.1).total_cmp(&rate(b.1)))?
        .1;
    let at = knees.iter().position(|(_, cell)| cell.id == top.id)?;
    let (scaled, _) = knees.remove(at);
    let mut insight = bend(scaled.line, axis)?;
    if !knees.is_empty() {
        let mut places: Vec<(String, usize)> = Vec::new();
        for (_, cell) in &knees {
            let place = value(cell, axis);
            match places.iter_mut().find(|(known, _)| *known == place) {
                Some((_, number)) => *number += 1,
                None => places.push((place, 1)),
            }
        }
        let said: Vec<String> = places
            .iter()
            .map(|(place, number)| format!("{place} on {}", count(*number, "line")))
            .collect();
        insight
            .text
            .push_str(&format!(" Elsewhere it is at {}.", listed(&said)));
    }
    let straight = all.len() - knees.len() - 1;
    if straight > 0 {
        insight.text.push_str(&format!(
            " {} no knee.",
            match straight {
                1 => "1 line has".to_owned(),
                several => format!("{several} lines have"),
            }
        ));
    }
    Some(insight)
}
