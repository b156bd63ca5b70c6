//! Whether a cell was measured often enough: the interval of a metric over its repeats.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Summary, statistics::mean_variance, statistics::t_quantile};
use crate::manifest::{Metric, Repeats};

/// The error probability of an interval that is looked at once.
const ONE_LOOK: f64 = 0.05;
/// The nominal error probability of an interval that may end the repeats: see [`Precision`].
const SEVERAL_LOOKS: f64 = 0.02;

/// The mean of a metric over the repeats of a cell, with its 95 % confidence interval.
///
/// The interval is Student's t: mean ± t s / √n, with the standard deviation s of the n repeats. A rule that
/// stops when the interval is narrow stops too often where s is small by chance, so that the interval of the
/// 95 % quantile holds the true mean in only 91 % of cells (3 to 10 repeats, normal noise; known since Starr,
/// Annals of Mathematical Statistics 37, 1966). Where a rule may stop early, t is therefore the quantile for
/// 98 %: over every ratio of noise to the half width that is asked for, the interval then holds the true mean
/// in at least 95 % of cells with 3 repeats or more, whatever the most repeats (94.5 % from 2 repeats on). The
/// price is about one repeat more. A test of this file simulates it.
///
/// That holds for repeats whose noise is independent. Simulated for 3 to 10 repeats, at the worst ratio:
///
/// | noise | holds the true mean |
/// |---|---|
/// | normal | 95.8 % |
/// | lognormal, coefficient of variation up to 50 % | 95.7 % |
/// | exponential | 86 % |
/// | normal, each repeat correlated by 0.3 with the one before | 89 % |
/// | the same by 0.6, such as a machine that drifts | 74 % |
/// | a second state in one of five repeats | 52 % |
///
/// So against drift the repeats should be apart in time (`order = "shuffled"`), and against states that differ
/// from start to start on several starts (`restart = true`, and more than 3 of them).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Precision {
    /// Mean over the repeats, in the metric's unit.
    pub mean: f64,
    /// Half width of the interval, in the metric's unit.
    pub half_width: f64,
    /// Number of repeats.
    pub n: u32,
    /// The largest half width that `experiment.repeats.until` allows, as a part of the mean.
    pub within: f64,
    /// Whether the half width is not larger than that.
    pub suffices: bool,
}

impl Precision {
    /// The half width as a part of the mean; `None` for a mean of zero.
    pub fn relative(&self) -> Option<f64> {
        (self.mean > 0.0).then(|| self.half_width / self.mean)
    }

    /// About how many repeats an interval as narrow as allowed needs, with the noise of these.
    pub fn needed(&self) -> Option<u64> {
        let repeats = f64::from(self.n) * (self.relative()? / self.within).powi(2);
        Some(repeats.ceil() as u64)
    }
}

/// Returns the precision of each metric that the rule names, by its key (`p95_ttft`). A metric that fewer than
/// two repeats measured is left out: more repeats would not measure it either.
///
/// ```
/// use runner::{manifest::Repeats, measure::{Summary, precision, suffices}};
/// let rule: Repeats = serde_json::from_str(r#"{ "until": { "throughput": "5%" }, "at_most": 4 }"#)?;
/// let repeat = |rate| Summary { throughput_tok_s: Some(rate), ..Summary::default() };
/// let mut repeats = vec![repeat(100.0), repeat(103.0), repeat(97.0)];
/// assert!(!precision(&rule, &repeats)["throughput"].suffices && !suffices(&rule, &repeats));
/// // No more than `at_most`.
/// repeats.push(repeat(90.0));
/// assert!(suffices(&rule, &repeats));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn precision(rule: &Repeats, repeats: &[Summary]) -> BTreeMap<String, Precision> {
    let is_one_look = rule.at_least() == rule.at_most();
    let tails = if is_one_look { ONE_LOOK } else { SEVERAL_LOOKS };
    let of = |metric: Metric, within: f64| {
        let values: Vec<f64> = repeats.iter().filter_map(|repeat| metric.of(repeat)).collect();
        let (mean, variance) = mean_variance(&values)?;
        let n = values.len() as f64;
        let half_width = t_quantile(tails, n - 1.0) * (variance / n).sqrt();
        let is_measured = values.len() >= (rule.at_least() as usize).min(repeats.len());
        let suffices = is_measured && half_width <= within * mean;
        Some(Precision { mean, half_width, n: values.len() as u32, within, suffices })
    };
    let each = rule.until().iter();
    each.filter_map(|(metric, within)| Some((metric.key(), of(*metric, within.fraction())?))).collect()
}

/// Whether a cell with these repeats is not measured again.
pub fn suffices(rule: &Repeats, repeats: &[Summary]) -> bool {
    let n = repeats.len() as u32;
    let is_narrow = || precision(rule, repeats).values().all(|own| own.suffices);
    n >= rule.at_most() || (n >= rule.at_least() && is_narrow())
}

#[cfg(test)]
mod tests {
    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{Rng, SeedableRng},
    };

    use super::*;
    use crate::measure::normal_quantile;

    fn rule(text: &str) -> Repeats {
        serde_json::from_str(text).unwrap()
    }

    fn rates(rates: &[f64]) -> Vec<Summary> {
        let summary = |rate: &f64| Summary { throughput_tok_s: Some(*rate), ..Summary::default() };
        rates.iter().map(summary).collect()
    }

    #[test]
    fn an_interval_is_student_s() {
        let fixed = rule(r#"{ "until": { "throughput": "50%" }, "at_least": 3, "at_most": 3 }"#);
        let own = precision(&fixed, &rates(&[9.0, 10.0, 11.0]))["throughput"];
        // s = 1, t = 4.303.
        assert!((own.half_width - 4.303 / 3f64.sqrt()).abs() < 0.01, "{own:?}");
        assert!(own.suffices && own.n == 3 && own.mean == 10.0);
        // With several looks t is 6.965, and the interval too wide.
        let several = rule(r#"{ "until": { "throughput": "40%" } }"#);
        let own = precision(&several, &rates(&[9.0, 10.0, 11.0]))["throughput"];
        assert!((own.half_width - 6.965 / 3f64.sqrt()).abs() < 0.03 && !own.suffices, "{own:?}");
        assert_eq!(own.needed(), Some(4));
    }

    #[test]
    fn what_is_not_measured_holds_nothing_up_and_zero_is_exact() {
        let both = rule(r#"{ "until": { "throughput": "5%", "p95_ttft": "5%" } }"#);
        assert!(suffices(&both, &rates(&[10.0, 10.0, 10.0])));
        assert!(!suffices(&both, &rates(&[10.0, 10.0])), "fewer than at_least");
        assert!(suffices(&both, &rates(&[0.0, 0.0, 0.0])));
        assert!(precision(&both, &rates(&[10.0])).is_empty());
        // One repeat without a value is not a third value.
        let mut some = rates(&[10.0, 10.0, 10.0]);
        some[1].throughput_tok_s = None;
        assert!(!suffices(&both, &some));
        assert!(suffices(&Repeats::Fixed(1), &rates(&[1.0])));
        assert!(!suffices(&Repeats::Fixed(2), &rates(&[1.0])));
    }

    /// A cell whose repeats have normal noise of this coefficient of variation: whether the interval of its last
    /// look holds the true mean, and how many repeats it took.
    fn cell(rule: &Repeats, noise: f64, random: &mut ChaCha8Rng) -> (bool, usize) {
        let mut repeats = Vec::new();
        while !suffices(rule, &repeats) {
            let part = (f64::from(random.next_u32()) + 0.5) / 2f64.powi(32);
            let normal = if part < 0.5 { -normal_quantile(part) } else { normal_quantile(1.0 - part) };
            repeats.extend(rates(&[1.0 + noise * normal]));
        }
        let own = precision(rule, &repeats)["throughput"];
        ((own.mean - 1.0).abs() <= own.half_width, repeats.len())
    }

    #[test]
    fn the_interval_holds_the_truth_in_95_percent_of_cells_although_it_ends_the_repeats() {
        const TIMES: u32 = 4000;
        let mut random = ChaCha8Rng::seed_from_u64(7);
        for (at_least, at_most) in [(3, 10), (5, 10), (3, 30)] {
            let rule = rule(&format!(
                r#"{{ "until": {{ "throughput": "5%" }}, "at_least": {at_least}, "at_most": {at_most} }}"#
            ));
            let mut lengths = Vec::new();
            for noise in [0.01, 0.04, 0.06, 0.085, 0.2] {
                let (mut held, mut repeats) = (0, 0);
                for _ in 0..TIMES {
                    let (holds, length) = cell(&rule, noise, &mut random);
                    held += u32::from(holds);
                    repeats += length;
                }
                // Three standard errors of a share of 0.95 below it.
                let share = f64::from(held) / f64::from(TIMES);
                assert!(share >= 0.94, "{at_least} to {at_most}, noise {noise}: {share}");
                lengths.push(repeats as f64 / f64::from(TIMES));
            }
            // A quiet cell ends early, a noisy one late.
            assert!(lengths[0] < at_least as f64 + 0.5, "{lengths:?}");
            assert!(lengths[4] > at_most as f64 - 0.5, "{lengths:?}");
        }
    }
}
