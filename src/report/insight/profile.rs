//! What an axis of several numbers does from its first to its last: value by value, where most is won, and where it turns.

use super::{
    Insight,
    effect::{Level, Same, metrics},
    ratios::Ratios,
    spoken,
};
use crate::{
    manifest::scalar_text,
    report::number::{listed, times},
    store::CellFile,
};

/// So many values are told one by one.
const EACH: usize = 8;
/// A step that carries this part of the whole way is where it happens, if it is this large.
const MOST_OF_IT: f64 = 0.6;
const STEP: f64 = 1.25;
/// Values within this factor of each other are alike.
const ALIKE: f64 = 1.05;
/// Of a best value inside of the range: better than both ends by this factor where a single pair says so.
const INSIDE: f64 = 1.15;

/// One metric along the axis.
struct Along<'l, 'a> {
    /// Values, and what the metric is there over that at the first of them, which is 1.
    points: Vec<(&'l Level<'a>, f64)>,
    pairs: usize,
    least: f64,
    most: f64,
}

fn size(ratio: f64) -> f64 {
    ratio.ln().abs()
}

fn value(level: &Level<'_>) -> String {
    scalar_text(level.value)
}

impl<'l, 'a> Along<'l, 'a> {
    fn of(key: &str, base: &'l Level<'a>, levels: &'l [Level<'a>]) -> Option<Self> {
        let mut found = Self {
            points: vec![(base, 1.0)],
            pairs: 0,
            least: f64::INFINITY,
            most: 0.0,
        };
        for level in levels {
            let ratios = Ratios::of(key, &base.pairs(level));
            let (Some(middle), Some((least, most))) = (ratios.middle(), ratios.ends()) else {
                continue;
            };
            found.points.push((level, middle));
            found.pairs = found.pairs.max(ratios.len());
            found.least = found.least.min(least);
            found.most = found.most.max(most);
        }
        (found.points.len() > 1).then_some(found)
    }

    /// `1.15×, 1.26× and 1.09× of that at 0 with 1, 2 and 6`.
    fn values(&self) -> String {
        let (first, rest) = (&self.points[0], &self.points[1..]);
        let shown: Vec<&(&Level<'_>, f64)> = match rest.len() {
            few if few <= EACH => rest.iter().collect(),
            many => [0, many / 2, many - 1].map(|at| &rest[at]).to_vec(),
        };
        let ratios: Vec<String> = shown.iter().map(|(_, ratio)| times(*ratio)).collect();
        let names: Vec<String> = shown.iter().map(|(level, _)| value(level)).collect();
        format!(
            "is {} of that at {} with {}",
            listed(&ratios),
            value(first.0),
            listed(&names)
        )
    }

    /// The highest or lowest value inside of the range, where it is beyond both ends of it in truth.
    fn inside(&self, key: &str) -> Option<String> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        let by = |a: &&(&Level<'_>, f64), b: &&(&Level<'_>, f64)| a.1.total_cmp(&b.1);
        let inner = &self.points[1..self.points.len() - 1];
        let extremes = [
            (inner.iter().rev().max_by(by)?, "highest", 1.0),
            (inner.iter().min_by(by)?, "lowest", -1.0),
        ];
        for (own, word, sign) in extremes {
            let over = |end: &(&Level<'_>, f64)| {
                let far = sign * (own.1 / end.1).ln();
                let ratios = Ratios::of(key, &end.0.pairs(own.0));
                let least = match ratios.len() {
                    1 if ratios.beyond_chance != Some(true) => INSIDE.ln(),
                    _ => 0.0,
                };
                far > least && ratios.said(&[]).is_some_and(|said| said.throughout)
            };
            if !over(first) || !over(last) {
                continue;
            }
            let alike = |point: &(&Level<'_>, f64)| size(point.1 / own.1) <= ALIKE.ln();
            let at = self
                .points
                .iter()
                .position(|point| point.0.value == own.0.value)?;
            let from = self.points[..at].iter().rposition(|point| !alike(point))? + 1;
            let to = at + self.points[at..].iter().position(|point| !alike(point))? - 1;
            let place = match from == to {
                true => format!("at {}", value(own.0)),
                false => format!(
                    "at {}, and hardly any different from {} to {}",
                    value(own.0),
                    value(self.points[from].0),
                    value(self.points[to].0)
                ),
            };
            return Some(format!(
                "{word} {place}; at {} it is {} of that",
                value(last.0),
                times(last.1 / own.1)
            ));
        }
        None
    }

    /// The step on which most of it happens, and the value from which on nothing more does.
    fn step(&self) -> Option<String> {
        let all = || self.points.iter().map(|point| point.1);
        let (low, high) = (all().min_by(f64::total_cmp)?, all().max_by(f64::total_cmp)?);
        let (from, to) = self
            .points
            .windows(2)
            .map(|pair| (&pair[0], &pair[1]))
            .max_by(|a, b| size(a.1.1 / a.0.1).total_cmp(&size(b.1.1 / b.0.1)))?;
        let step = to.1 / from.1;
        let mut said = Vec::new();
        if size(step) >= STEP.ln() && size(step) >= MOST_OF_IT * (high / low).ln() {
            said.push(format!(
                "most of it on the step from {} to {} ({})",
                value(from.0),
                value(to.0),
                times(step)
            ));
        }
        let last = self.points.last()?;
        let flat = self
            .points
            .iter()
            .rposition(|point| size(point.1 / last.1) > ALIKE.ln())
            .map(|at| at + 1)
            .filter(|at| at + 1 < self.points.len());
        if let Some(at) = flat {
            said.push(format!(
                "hardly any more beyond {}",
                value(self.points[at].0)
            ));
        }
        (!said.is_empty()).then(|| said.join(", "))
    }
}

/// What an axis does, in one sentence; `base` is what its other values are held against.
pub(super) fn profile<'a>(
    axis: &str,
    rest: &[&str],
    base: &Level<'a>,
    levels: &[Level<'a>],
) -> Option<Insight> {
    let pairs: Vec<(&CellFile, &CellFile)> =
        levels.iter().flat_map(|level| base.pairs(level)).collect();
    let cells: Vec<&CellFile> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let (mut differs, mut same, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    let (mut strength, mut most_pairs) = (0.0_f64, 0);
    for (name, key) in metrics(&cells) {
        let Some(along) = Along::of(&key, base, levels) else {
            continue;
        };
        most_pairs = most_pairs.max(along.pairs);
        let last = along.points.last().map_or(1.0, |last| last.1);
        numbers.push((format!("{key}_ratio"), last));
        let each: Vec<_> = levels
            .iter()
            .filter_map(|level| {
                let ratios = Ratios::of(&key, &base.pairs(level)).one_of(levels.len());
                Some((level, ratios.said(rest)?))
            })
            .collect();
        let throughout = each.iter().any(|(_, said)| said.throughout);
        let inside = along.inside(&key);
        let furthest = along.points.iter().map(|point| size(point.1));
        let furthest = furthest.max_by(f64::total_cmp).unwrap_or(0.0);
        if throughout || inside.is_some() {
            strength = strength.max(furthest);
            let turn = inside.or_else(|| along.step());
            let turn = turn.map_or_else(String::new, |turn| format!(" ({turn})"));
            differs.push(format!("{name} {}{turn}", along.values()));
        } else if let Some((level, said)) = each
            .iter()
            .max_by(|a, b| a.1.strength.total_cmp(&b.1.strength))
        {
            strength = strength.max(said.strength);
            differs.push(format!("{name} with {} {}", value(level), said.text));
        } else {
            same.push(Same {
                name,
                least: along.least,
                most: along.most,
                furthest: String::new(),
            });
        }
    }
    if numbers.is_empty() {
        return None;
    }
    let last = levels.last()?;
    let mut parts = differs;
    if !same.is_empty() {
        parts.push(Same::said(&same));
    }
    let mut evidence: Vec<(&str, f64)> = numbers
        .iter()
        .map(|(name, number)| (name.as_str(), *number))
        .collect();
    evidence.push(("strength", strength));
    Some(Insight::new(
        "effect",
        &cells.iter().copied().take(40).collect::<Vec<_>>(),
        &evidence,
        format!(
            "{} from {} to {}, all else equal ({}): {}.",
            spoken(axis),
            value(base),
            value(last),
            match most_pairs {
                1 => "1 pair each".to_owned(),
                several => format!("medians of {several} pairs each"),
            },
            parts.join("; ")
        ),
    ))
}
