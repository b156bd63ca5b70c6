//! Maps values to pixels, and chooses the ticks of an axis.

use crate::report::number::grouped;

/// A value axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    min: f64,
    max: f64,
    log: bool,
    from: f64,
    to: f64,
}

/// The ratio of largest to smallest from which an axis is logarithmic: a linear one would press most values
/// into a corner.
const LOG_FROM: f64 = 15.0;
/// The most ticks.
const TICKS: usize = 7;

impl Scale {
    /// From zero to a round number above every value. If `may_log` and the values span a large ratio,
    /// logarithmic from a round number below. `None` without a finite value.
    pub(super) fn over(values: impl Iterator<Item = f64>, may_log: bool, from: f64, to: f64) -> Option<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        if !low.is_finite() {
            return None;
        }
        if may_log && low > 0.0 && high / low >= LOG_FROM {
            return Some(Self {
                min: round_125(low, false),
                max: round_125(high, true),
                log: true,
                from,
                to,
            });
        }
        let high = if high > 0.0 { high } else { 1.0 };
        let step = step(high);
        Some(Self { min: 0.0, max: (high / step - 1e-9).ceil() * step, log: false, from, to })
    }

    /// From a round number below every value to one above, for values that are read by position only;
    /// logarithmic as in [`Scale::over`].
    pub(super) fn around(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Option<Self> {
        let scale = Self::over(values.clone(), true, from, to)?;
        if scale.log {
            return Some(scale);
        }
        let low = values.filter(|value| value.is_finite()).fold(scale.max, f64::min);
        let step = step((scale.max - low).max(scale.max * 0.05));
        Some(Self {
            min: ((low / step).floor() * step).max(0.0),
            max: ((scale.max / step) - 1e-9).ceil() * step,
            ..scale
        })
    }

    /// Between two values, logarithmic if requested and possible.
    pub(super) fn between(min: f64, max: f64, log: bool, from: f64, to: f64) -> Self {
        let max = if max > min { max } else { min + 1.0 };
        Self { min, max, log: log && min > 0.0, from, to }
    }

    /// The position of a value; beyond the ends, that of the end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let part = if self.log {
            (value.max(self.min) / self.min).ln() / (self.max / self.min).ln()
        } else {
            (value - self.min) / (self.max - self.min)
        };
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    pub(super) fn max(&self) -> f64 {
        self.max
    }

    pub(super) fn is_log(&self) -> bool {
        self.log
    }

    /// The ticks with their texts.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        if self.log {
            return self.log_ticks();
        }
        let step = step(self.max - self.min);
        let decimals = decimals(step);
        let count = ((self.max - self.min) / step + 1e-9).floor() as usize;
        (0..=count)
            .map(|index| self.min + step * index as f64)
            .map(|value| {
                let digits = if value == 0.0 { 0 } else { decimals };
                (value, grouped(value, digits))
            })
            .collect()
    }

    /// The positions of the ticks with their texts.
    pub(super) fn placed_ticks(&self) -> Vec<(f64, String)> {
        self.ticks().into_iter().map(|(value, text)| (self.at(value), text)).collect()
    }

    fn log_ticks(&self) -> Vec<(f64, String)> {
        let sets: [&[f64]; 4] = [&[1.0, 2.0, 3.0, 5.0, 7.0], &[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
        let within = |set: &[f64]| -> Vec<f64> {
            let (low, high) = (self.min.log10().floor() as i32, self.max.log10().ceil() as i32);
            (low..=high)
                .flat_map(|power| set.iter().map(move |digit| digit * 10f64.powi(power)))
                .filter(|value| *value >= self.min * (1.0 - 1e-9) && *value <= self.max * (1.0 + 1e-9))
                .collect()
        };
        let values =
            sets.iter().map(|set| within(set)).find(|values| values.len() <= TICKS).unwrap_or_else(|| {
                let all = within(&[1.0]);
                let every = all.len().div_ceil(TICKS);
                all.into_iter().step_by(every).collect()
            });
        values.into_iter().map(|value| (value, grouped(value, decimals(value)))).collect()
    }
}

/// A round step for four to seven ticks over a span.
fn step(span: f64) -> f64 {
    let rough = span / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let digit = rough / power;
    let nice = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .min_by(|a, b| (a / digit).ln().abs().total_cmp(&(b / digit).ln().abs()));
    nice.unwrap_or(1.0) * power
}

/// The next of 1, 2, 5 times a power of ten, above or below.
fn round_125(value: f64, up: bool) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let digit = value / power;
    let steps = [1.0, 2.0, 5.0, 10.0];
    let found = if up {
        steps.into_iter().find(|step| *step >= digit * (1.0 - 1e-9))
    } else {
        steps.into_iter().rev().find(|step| *step <= digit * (1.0 + 1e-9))
    };
    found.unwrap_or(digit) * power
}

/// The decimals that a step needs.
fn decimals(step: f64) -> usize {
    (0..6)
        .find(|digits| {
            let scaled = step * 10f64.powi(*digits);
            (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1.0)
        })
        .unwrap_or(6) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scale: Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn lines_stand_at_round_numbers() {
        let over = |values: &[f64]| Scale::over(values.iter().copied(), true, 0.0, 100.0).unwrap();
        assert_eq!(texts(over(&[3.0, 16.0])), ["0", "2.5", "5.0", "7.5", "10.0", "12.5", "15.0", "17.5"]);
        assert_eq!(texts(over(&[40.0, 900.0])), ["20", "50", "100", "200", "500", "1,000"]);
    }

    #[test]
    fn no_finite_value_has_no_scale_and_zero_alone_has_one() {
        assert_eq!(Scale::over([f64::NAN].into_iter(), true, 0.0, 1.0), None);
        assert_eq!(Scale::over([0.0].into_iter(), true, 0.0, 1.0).unwrap().at(0.0), 0.0);
    }

    #[test]
    fn pixels_grow_with_the_value_and_stay_inside() {
        let scale = Scale::over([1.0, 1000.0].into_iter(), true, 200.0, 0.0).unwrap();
        assert!(scale.is_log());
        assert_eq!((scale.at(1.0), scale.at(1000.0), scale.at(5000.0)), (200.0, 0.0, 0.0));
        assert!(scale.at(10.0) > scale.at(100.0));
    }
}
