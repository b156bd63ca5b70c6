//! One metric of pairs of cells that differ in one thing: what it does, how strongly, and whether that may be noise.

use super::{
    chance, coordinate, offered,
    turn::{by_load, turn},
};
use crate::{
    manifest::scalar_text,
    report::{compare::interval::Estimate, insight::spoken, number::times},
    store::CellFile,
};

/// A median ratio this close to 1 is no difference, nor is one pair beside several that agree.
const SAME: f64 = 0.05;
/// Where nobody knows the noise, a change has to be at least this large in every pair.
const ALONE: f64 = 0.1;
/// A single pair, of an axis with one, two and more such pairs: the largest of several is large by chance too.
const SINGLE: [f64; 3] = [1.1, 1.15, 1.2];
/// Pairs that agree but for little, up to this large, are a change that grows along another axis.
const GROWS: f64 = 1.25;
/// So many standard errors from no change are beyond chance.
const SIGMAS: f64 = 3.0;
/// An interval leaves out 1 by this part of its half width: five metrics are looked at.
const SURER: f64 = 0.3;
/// The same of a change so small that a median alone would say there is none.
const SUREST: f64 = 0.7;
/// So small a change is no result at all.
const LEAST: f64 = 0.02;
/// Two or three pairs that do not agree are told one by one where one of them is this far from 1.
const FEW: usize = 3;
const APART: f64 = 1.2;
/// An effect fades or grows with the load when it does so at every step, from end to end by this factor.
const FADES: f64 = 1.15;

/// What a metric does.
pub(super) struct Said {
    pub(super) text: String,
    /// The size of the logarithm.
    pub(super) strength: f64,
    /// Whether it does so at every load, and not at some alone or the other way at others.
    pub(super) throughout: bool,
}

/// One metric of every pair: the second cell's value over the first's, by the load, least first.
pub(super) struct Ratios<'a> {
    each: Vec<(f64, &'a CellFile)>,
    /// Whether chance alone gives none of it, where the samples tell.
    pub(super) beyond_chance: Option<bool>,
    /// How large a change of a single pair has to be.
    single: f64,
}

fn size(ratio: f64) -> f64 {
    ratio.ln().abs()
}

/// Whether all of these are on one side of no change, and clearly.
fn agree(ratios: &[f64], more: bool) -> bool {
    ratios.iter().all(|ratio| match more {
        true => *ratio > 1.0 + ALONE,
        false => *ratio < 1.0 / (1.0 + ALONE),
    })
}

impl<'a> Ratios<'a> {
    pub(super) fn of(key: &str, pairs: &[(&'a CellFile, &'a CellFile)]) -> Self {
        let mut each: Vec<(f64, &CellFile)> = Vec::new();
        // Of the mean of the logarithms: its variance, as far as samples tell it.
        let mut variance = Some(0.0);
        for (a, b) in pairs {
            let (Some(before), Some(after)) = (super::of(a, key), super::of(b, key)) else {
                continue;
            };
            if before <= 0.0 || after <= 0.0 {
                continue;
            }
            each.push((after / before, b));
            variance = variance
                .zip(chance::error(a, key))
                .zip(chance::error(b, key))
                .map(|((sum, one), other)| sum + one * one + other * other);
        }
        each.sort_by(|a, b| {
            let load = |cell: &CellFile| offered(cell).unwrap_or(0.0);
            load(a.1).total_cmp(&load(b.1))
        });
        let n = each.len() as f64;
        let mean = each.iter().map(|(ratio, _)| ratio.ln()).sum::<f64>() / n;
        let beyond_chance = variance
            .filter(|_| !each.is_empty())
            .map(|variance| mean.abs() > SIGMAS * variance.sqrt() / n);
        Self {
            each,
            beyond_chance,
            single: SINGLE[0],
        }
    }

    /// As one of so many values that are held against one.
    pub(super) fn one_of(self, values: usize) -> Self {
        Self {
            single: SINGLE[values.clamp(1, SINGLE.len()) - 1],
            ..self
        }
    }

    pub(super) fn len(&self) -> usize {
        self.each.len()
    }

    pub(super) fn middle(&self) -> Option<f64> {
        let mut ratios: Vec<f64> = self.each.iter().map(|(ratio, _)| *ratio).collect();
        ratios.sort_by(f64::total_cmp);
        let n = ratios.len();
        match n {
            0 => None,
            odd if odd % 2 == 1 => Some(ratios[n / 2]),
            _ => Some((ratios[n / 2 - 1] * ratios[n / 2]).sqrt()),
        }
    }

    /// The least and the largest.
    pub(super) fn ends(&self) -> Option<(f64, f64)> {
        let all = || self.each.iter().map(|(ratio, _)| *ratio);
        Some((all().min_by(f64::total_cmp)?, all().max_by(f64::total_cmp)?))
    }

    /// Whether ratios between these two are all no difference.
    pub(super) fn near(least: f64, most: f64) -> bool {
        size(least) <= SAME && size(most) <= SAME
    }

    /// `0.98× to 1.03×`.
    pub(super) fn range(least: f64, most: f64) -> String {
        match times(least) == times(most) {
            true => times(least),
            false => format!("{} to {}", times(least), times(most)),
        }
    }

    /// Whether of two ratios the lesser is further from no change.
    pub(super) fn is_down(least: f64, most: f64) -> bool {
        size(least) > size(most)
    }

    /// The place of the pair that is furthest from no change, of several.
    pub(super) fn furthest(&self, rest: &[&str]) -> String {
        let by = |a: &&(f64, &CellFile), b: &&(f64, &CellFile)| size(a.0).total_cmp(&size(b.0));
        match self.each.iter().max_by(by).filter(|_| self.len() > 1) {
            Some((_, cell)) => self.at(rest, cell),
            None => String::new(),
        }
    }

    /// What the metric does; `None` where that may be noise.
    pub(super) fn said(&self, rest: &[&str]) -> Option<Said> {
        self.turns()
            .or_else(|| self.steady(rest))
            .or_else(|| self.confined(rest))
            .or_else(|| self.apart(rest))
    }

    /// A change over all pairs.
    fn steady(&self, rest: &[&str]) -> Option<Said> {
        let middle = self.middle()?;
        let by = |a: &&(f64, &CellFile), b: &&(f64, &CellFile)| a.0.total_cmp(&b.0);
        let (low, high) = (self.each.iter().min_by(by)?, self.each.iter().max_by(by)?);
        if self.beyond_chance == Some(false) {
            return None;
        }
        let (first, most) = match middle > 1.0 {
            true => (low.0, high.0),
            false => (1.0 / high.0, 1.0 / low.0),
        };
        let ratios: Vec<f64> = self.each.iter().map(|(ratio, _)| *ratio).collect();
        let interval = Estimate::repeated(middle, &ratios).between;
        let sure = |by: f64| {
            interval.is_some_and(|(low, high)| {
                low.ln() > by * (middle.ln() - low.ln()).abs()
                    || high.ln() < -by * (high.ln() - middle.ln()).abs()
            })
        };
        let little = size(middle) <= SAME;
        let differs = match self.each.len() {
            _ if little => {
                // Small, and yet every pair says so.
                self.each.len() > FEW && size(middle) > LEAST && first > 1.0 && sure(SUREST)
            }
            1 => self.beyond_chance == Some(true) || size(middle) >= self.single.ln(),
            _ => sure(SURER) || first >= 1.0 + ALONE || (first >= 1.0 - SAME && most >= GROWS),
        };
        if !differs {
            return None;
        }
        let text = match self.each.len() {
            1 => format!("is {}", times(middle)),
            _ if little => format!(
                "is a little {}, {} (median; {} in all pairs)",
                if middle > 1.0 { "more" } else { "less" },
                times(middle),
                Self::range(low.0, high.0)
            ),
            _ => format!(
                "is {} (median; {}{} to {}{}){}",
                times(middle),
                times(low.0),
                self.at(rest, low.1),
                times(high.0),
                self.at(rest, high.1),
                self.with_load()
            ),
        };
        Some(Said {
            text,
            strength: size(middle),
            throughout: true,
        })
    }

    /// The place of one pair, by what differs between the pairs.
    fn at(&self, rest: &[&str], cell: &CellFile) -> String {
        let varies = |axis: &&&str| {
            let mut values = self.each.iter().map(|(_, cell)| coordinate(cell, axis));
            let first = values.next().flatten();
            values.any(|value| value != first)
        };
        let parts: Vec<String> = rest
            .iter()
            .filter(varies)
            .filter_map(|axis| {
                Some(format!(
                    "{} {}",
                    spoken(axis),
                    scalar_text(coordinate(cell, axis)?)
                ))
            })
            .collect();
        match parts.is_empty() {
            true => String::new(),
            false => format!(" at {}", parts.join(", ")),
        }
    }

    fn points(&self) -> Option<Vec<(f64, f64)>> {
        self.each
            .iter()
            .map(|(ratio, cell)| Some((offered(cell)?, *ratio)))
            .collect()
    }

    /// Whether the effect fades or grows with the load, step by step.
    fn with_load(&self) -> &'static str {
        let points = self
            .points()
            .map(|points| by_load(&points))
            .unwrap_or_default();
        let sizes: Vec<f64> = points.iter().map(|(_, ratio)| size(*ratio)).collect();
        let (Some(first), Some(last)) = (sizes.first(), sizes.last()) else {
            return "";
        };
        if sizes.len() < 3 || (first - last).abs() < FADES.ln() {
            return "";
        }
        match sizes.windows(2).all(|pair| pair[1] < pair[0]) {
            true => ", fading with the load",
            false if sizes.windows(2).all(|pair| pair[1] > pair[0]) => ", growing with the load",
            false => "",
        }
    }

    /// A change that only the pairs with one value of another axis have, or with several in a row, as a queue has beyond a limit: the
    /// median of all hides it.
    fn confined(&self, rest: &[&str]) -> Option<Said> {
        let mut best: Option<(f64, String)> = None;
        for axis in rest {
            let groups = self.groups(axis);
            if groups.len() < 2 || self.each.len() <= FEW {
                continue;
            }
            for (at, (value, own)) in groups.iter().enumerate() {
                let middle = own[own.len() / 2];
                let least = match own.len() {
                    1 => GROWS.powi(2),
                    _ => GROWS,
                };
                let strength = size(middle);
                if !agree(own, middle > 1.0)
                    || strength < least.ln()
                    || best.as_ref().is_some_and(|(known, _)| strength <= *known)
                {
                    continue;
                }
                let same = |group: &&(String, Vec<f64>)| agree(&group.1, middle > 1.0);
                let numeric = groups.iter().all(|(value, _)| value.parse::<f64>().is_ok());
                let (from, to) = match numeric {
                    true => (
                        at - groups[..at].iter().rev().take_while(same).count(),
                        at + groups[at + 1..].iter().take_while(same).count(),
                    ),
                    false => (at, at),
                };
                let spelled = |at: usize| times(groups[at].1[groups[at].1.len() / 2]);
                let text = match (from == to, own.len()) {
                    (true, 1) => format!(
                        "is {} at {} {value}, and hardly any different over all",
                        times(middle),
                        spoken(axis)
                    ),
                    (true, several) => format!(
                        "is {} at {} {value}, the median of {several} pairs, and hardly any different over all",
                        times(middle),
                        spoken(axis)
                    ),
                    (false, _) => format!(
                        "is {} to {} from {} {} to {}, and hardly any different elsewhere",
                        spelled(from),
                        spelled(to),
                        spoken(axis),
                        groups[from].0,
                        groups[to].0
                    ),
                };
                best = Some((strength, text));
            }
        }
        best.map(|(strength, text)| Said {
            text,
            strength,
            throughout: false,
        })
    }

    /// The ratios of each value of an axis, least first, numbers ascending.
    fn groups(&self, axis: &str) -> Vec<(String, Vec<f64>)> {
        let mut groups: Vec<(String, Vec<f64>)> = Vec::new();
        for (ratio, cell) in &self.each {
            let value = coordinate(cell, axis).map(scalar_text).unwrap_or_default();
            match groups.iter_mut().find(|(known, _)| *known == value) {
                Some((_, own)) => own.push(*ratio),
                None => groups.push((value, vec![*ratio])),
            }
        }
        for (_, own) in &mut groups {
            own.sort_by(f64::total_cmp);
        }
        let number = |group: &(String, Vec<f64>)| group.0.parse::<f64>().ok();
        if groups.iter().all(|group| number(group).is_some()) {
            groups.sort_by(|a, b| {
                number(a)
                    .partial_cmp(&number(b))
                    .unwrap_or(std::cmp::Ordering::Equal)
            });
        }
        groups
    }

    /// Few pairs that say different things: the median of them says nothing.
    fn apart(&self, rest: &[&str]) -> Option<Said> {
        let strength = self
            .each
            .iter()
            .map(|(ratio, _)| size(*ratio))
            .max_by(f64::total_cmp)?;
        if !(2..=FEW).contains(&self.each.len())
            || strength < APART.ln()
            || self.beyond_chance == Some(false)
        {
            return None;
        }
        let each: Vec<String> = self
            .each
            .iter()
            .map(|(ratio, cell)| format!("{}{}", times(*ratio), self.at(rest, cell)))
            .collect();
        Some(Said {
            text: format!("is {}", crate::report::number::listed(&each)),
            strength,
            throughout: false,
        })
    }

    /// A metric that is better with little load and worse with much, or the other way: one median would hide both.
    fn turns(&self) -> Option<Said> {
        let turn = turn(&self.points()?)?;
        let axis = match coordinate(self.each.first()?.1, "concurrency") {
            Some(_) => "concurrency",
            None => "rate",
        };
        let ((low, first), (high, last)) = (turn.first, turn.last);
        Some(Said {
            text: format!(
                "turns: {} at {axis} {low}, {} at {high} (it crosses over between {} and {})",
                times(first),
                times(last),
                turn.between.0,
                turn.between.1
            ),
            strength: size(first).max(size(last)),
            throughout: false,
        })
    }
}
