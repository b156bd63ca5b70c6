//! The texts of the values that a search looks for.

use crate::{
    manifest::LoadAxis,
    plan::Goal,
    report::number::{grouped, significant, thousands},
};

/// Fewest and most significant digits of a rate.
const DIGITS: (u8, u8) = (3, 6);

/// How the values on the axis of a search are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// Whole numbers: users.
    Whole,
    /// Real numbers with some significant digits: a rate that is known to some per cent.
    Real(u8),
    /// Multiples of a step, with as many decimals as the step has.
    Steps(usize),
    /// Anything else.
    Plain,
}

impl Scale {
    /// The scale of the values of a search.
    pub(crate) fn of(goal: &Goal) -> Self {
        match goal {
            Goal::Load { axis: LoadAxis::Concurrency, .. } => Self::Whole,
            Goal::Load { axis: LoadAxis::Rate, within, .. } => {
                // A digit more than the width of the answer needs.
                let digits = (-within.max(1e-9).log10()).ceil() as u8 + 1;
                Self::Real(digits.clamp(DIGITS.0, DIGITS.1))
            }
            Goal::Value { step, from, .. } => Self::Steps(decimals(*step).max(decimals(*from))),
            Goal::Best { .. } => Self::Plain,
        }
    }

    /// A value as text: `1,024`, `12.5`, `0.85`.
    pub(crate) fn text(self, value: f64) -> String {
        match self {
            Self::Whole => grouped(value, 0),
            Self::Real(digits) => significant(value, digits),
            Self::Steps(decimals) => grouped(value, decimals),
            Self::Plain => thousands(Some(value)),
        }
    }
}

/// The decimals that a number is written with, at most nine.
pub(super) fn decimals(value: f64) -> usize {
    let is_whole = |digits: &usize| {
        let scaled = value * 10f64.powi(*digits as i32);
        (scaled - scaled.round()).abs() <= 1e-9 * scaled.abs().max(1.0)
    };
    (0..9).find(is_whole).unwrap_or(9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_decimals_that_tell_them_apart() {
        let value = |from, step| Goal::Value {
            axis: "server.flags.x".into(),
            column: "x".into(),
            find: crate::manifest::Find::Largest,
            that: crate::manifest::That::Fits,
            from,
            to: 1e6,
            step,
            integer: false,
        };
        assert_eq!(Scale::of(&value(2048.0, 1024.0)).text(11_264.0), "11,264");
        assert_eq!(Scale::of(&value(0.5, 0.01)).text(0.9), "0.90");
        assert_eq!(Scale::of(&value(0.125, 0.1)).text(0.225), "0.225");
        let load = |axis, within| Goal::Load { axis, from: 1.0, to: 1e3, within, confidence: 0.95 };
        assert_eq!(Scale::of(&load(LoadAxis::Concurrency, 0.05)).text(1000.0), "1,000");
        assert_eq!(Scale::of(&load(LoadAxis::Rate, 0.05)).text(12.345), "12.3");
        assert_eq!(Scale::of(&load(LoadAxis::Rate, 0.001)).text(12.345), "12.35");
    }
}
