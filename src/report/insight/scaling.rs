//! How throughput grows with the load: what each step brings, where it bends, and what that costs those who wait.

use super::{
    Block, Insight, Line, Yield, coordinate, count,
    knee::{FLAT, bend, bends},
    ladder, lines, offered,
    slower::{slower, slower_of_all},
};
use crate::{
    manifest::scalar_text,
    report::number::{listed, percent, times},
    store::CellFile,
};

/// Each step brings at least this part of its share: near-linear.
const NEAR_LINEAR: f64 = 0.7;
/// Throughput that goes below this part of what it was has fallen; below the other one even where more load makes up for it.
const FALLS: f64 = 0.97;
const DEEP: f64 = 0.85;
/// More than this part of perfect says something about the first cell, not about the engine.
const TOO_GOOD: f64 = 1.1;

/// What a step brings of its share: the throughput it adds over that of the cell before, against the load it adds over the
/// load before. 1 is perfect, 0 is nothing, less than 0 a loss.
pub(in crate::report) fn share(from: &CellFile, to: &CellFile) -> Option<f64> {
    let (c1, c2) = (offered(from)?, offered(to)?);
    let brings = Yield::of_cells(&[from, to])?;
    let (t1, t2) = (brings.of(from)?, brings.of(to)?);
    (c1 > 0.0 && c2 > c1).then(|| (t2 / t1 - 1.0) / (c2 / c1 - 1.0))
}

/// One line, measured.
pub(super) struct Scaled<'l, 'a> {
    pub(super) line: &'l Line<'a>,
    /// What the load brings.
    pub(super) brings: Yield,
    first: &'a CellFile,
    last: &'a CellFile,
    /// Cells after the first with their throughput over that of the first and the part of perfect that this is.
    ratios: Vec<(&'a CellFile, f64, f64)>,
    /// Both cells of each step, and what it brings of its share.
    steps: Vec<(&'a CellFile, &'a CellFile, f64)>,
}

impl<'l, 'a> Scaled<'l, 'a> {
    fn of(line: &'l Line<'a>) -> Option<Self> {
        let brings = Yield::of_cells(&line.cells)?;
        let known: Vec<&'a CellFile> = line
            .cells
            .iter()
            .copied()
            .filter(|cell| brings.of(cell).is_some())
            .collect();
        let (first, last) = (*known.first()?, *known.last()?);
        let (c1, t1) = (offered(first)?, brings.of(first)?);
        let ratios: Vec<(&CellFile, f64, f64)> = known
            .iter()
            .skip(1)
            .filter_map(|cell| {
                let ratio = brings.of(cell)? / t1;
                Some((*cell, ratio, ratio / (offered(cell)? / c1)))
            })
            .collect();
        (!ratios.is_empty() && c1 > 0.0).then(|| Self {
            line,
            brings,
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

    /// More load brings less from the first step on, and is not made up for.
    fn sinks(&self) -> bool {
        self.is_flat() && self.ratio() < 1.0 - FLAT / 2.0
    }

    /// The first step on which throughput falls, and is not made up for by more load.
    fn fall(&self) -> Option<(&'a CellFile, &'a CellFile)> {
        let rate = |cell: &CellFile| self.brings.of(cell).unwrap_or(f64::NAN);
        self.steps
            .iter()
            .enumerate()
            .find(|(at, (from, to, _))| {
                let made_up = self.steps[*at..]
                    .iter()
                    .any(|later| rate(later.1) > rate(from));
                let falls = rate(to) / rate(from);
                falls < if made_up { DEEP } else { FALLS }
            })
            .map(|(_, step)| (step.0, step.1))
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
    let all: Vec<&Line<'_>> = lines.iter().collect();
    match scaled.as_slice() {
        // Latency grows with the load whether or not anybody counted what came out.
        [] => found.extend(match all.as_slice() {
            [one] => slower(one, axis),
            several => slower_of_all(several),
        }),
        [one] => {
            found.push(scaling(one, axis));
            found.extend(bend(one.line, axis));
            found.extend(slower(one.line, axis));
        }
        several => {
            found.extend(scaling_of_all(several, axis));
            found.extend(bends(several, axis));
            found.extend(slower_of_all(&all));
        }
    }
    found
}

pub(super) fn at(line: &Line<'_>) -> String {
    match line.fixed.as_str() {
        "" => String::new(),
        fixed => format!(" at {fixed}"),
    }
}

pub(super) fn value(cell: &CellFile, axis: &str) -> String {
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
        "{}{} against that of {} {}: {}.",
        capital(scaled.brings.name()),
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
        _ if scaled.sinks() => text.push_str(&format!(
            ". More load brings less: it falls from {} at {} to {} at {}.",
            scaled.brings.said(scaled.brings.of(scaled.first)),
            value(scaled.first, axis),
            scaled.brings.said(scaled.brings.of(scaled.last)),
            value(scaled.last, axis)
        )),
        _ if scaled.is_flat() => {
            text.push_str(". It hardly grows: the engine is at its limit from the first step on.")
        }
        (Some((from, to)), _) => text.push_str(&format!(
            ". It falls from {} to {} on the step to {}.",
            scaled.brings.said(scaled.brings.of(from)),
            scaled.brings.said(scaled.brings.of(to)),
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
    let mut text = if all.iter().all(|scaled| scaled.sinks()) {
        format!(
            "More load brings less on each of {}: at {} {} gives {} of what it gives at {} ({}) at best, and {} ({}) at worst.",
            count(all.len(), "line"),
            axis,
            value(best.last, axis),
            percent(Some(best.ratio())),
            value(best.first, axis),
            best.line.fixed,
            percent(Some(worst.ratio())),
            worst.line.fixed
        )
    } else if flat == all.len() {
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
        let ends = capital(&ends(best));
        format!(
            "{ends} {} grows {} at best and {} at worst, over {}.",
            best.brings.name(),
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

/// A sentence begins with a capital.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        format!("{}{}", first.to_uppercase(), chars.as_str())
    })
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
