//! The 90 % interval of a predicted number.
//!
//! An interval is the prediction divided and multiplied by a factor. The factors come from the errors of
//! predictions against measurements that others published and that this project made (`tests/data/README.md`).
//! Errors within one source are strongly correlated: its engine, its card and its client are the same in all
//! figures. So the sources are the sample, not the figures. With the signed errors ln(measured / predicted),
//! `k` sources, the mean `m` of the errors of each, and their pooled variance `w²` within a source, the factor
//! is exp(t · √(mean of m² + w²)), where t is the 95 % quantile of Student's distribution with `k` degrees of
//! freedom. It is the prediction interval of one figure of a new source, with a mean error of zero, because
//! predictions are not corrected by their mean error.
//!
//! TTFT also has an absolute part: the time in the client and in the server's front end, which the model of
//! the engine leaves out. Only what is beyond it counts as an error.
//!
//! `cargo test --test cli coverage -- --nocapture` estimates the factors anew, holds the constants here
//! against them, and counts how many figures lie inside, each source with the factors of all others.

use std::collections::BTreeMap;

use crate::{
    manifest::LatencyKind,
    measure::{Metric, Rate},
    store::Basis,
};

/// How predictions on a basis were compared with measurements, which decides how wide their intervals are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Accuracy {
    /// Constants of the catalogue, on hardware on which they were compared with real servers.
    Validated,
    /// Constants of the catalogue, on other hardware, or for a model or a layout that was never compared.
    Unvalidated,
    /// Constants that were fitted to cells of the same machine and model.
    Calibrated {
        /// Median absolute error of p50 E2E over the fitted cells, as a fraction.
        median_error: f64,
    },
}

impl Accuracy {
    /// The accuracy of predictions on this basis.
    pub fn of(basis: &Basis) -> Self {
        match &basis.calibration {
            _ if basis.validation.contains("unvalidated") => Self::Unvalidated,
            Some(calibration) => Self::Calibrated { median_error: calibration.median_e2e_error },
            None => Self::Validated,
        }
    }

    /// The name in JSON: `validated`, `unvalidated` or `calibrated`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validated => "validated",
            Self::Unvalidated => "unvalidated",
            Self::Calibrated { .. } => "calibrated",
        }
    }
}

/// How far a measurement lies from its prediction, with a probability of 90 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The measurement is at least the prediction divided by this, and at most the product.
    pub factor: f64,
    /// Milliseconds that the measurement may have in addition.
    pub plus_ms: f64,
}

/// Factors for one accuracy.
struct Factors {
    ttft: f64,
    tpot: f64,
    e2e: f64,
    rate: f64,
}

/// From every published figure, as the constants of today predict it.
const VALIDATED: Factors = Factors { ttft: 1.76, tpot: 1.26, e2e: 1.27, rate: 1.45 };
/// From the same figures, as they were predicted before any constant was tuned with such measurements. They
/// have no long TTFT, which is computed with the same constants as E2E: it has the factor of E2E.
const UNVALIDATED: Factors = Factors { ttft: 2.23, tpot: 1.70, e2e: 2.23, rate: 1.80 };
/// Standard deviations of the errors within one source: what a calibration, which removes what the figures of
/// a source have in common, leaves.
const WITHIN: Factors = Factors { ttft: 0.245, tpot: 0.091, e2e: 0.080, rate: 0.099 };
/// Time in the client and the front end: twice the largest excess over a TTFT that was predicted below 50 ms.
/// Twice, because the largest of a handful of sources is not the largest there is: without its source, the
/// next smaller one is a third of it.
const FRONT_END_MS: f64 = 180.0;
/// Standard deviation of a normal distribution over its median absolute deviation.
const SCALE: f64 = 1.4826;
/// 95 % quantile of the normal distribution.
const NORMAL: f64 = 1.645;

/// Factor of the predicted tokens of a KV cache, from the logs in `tests/recorded/kv-cache-sizes.toml` by the
/// same formula.
pub const KV_CACHE: f64 = 1.16;

impl Spread {
    /// The spread of a metric; `None` for goodput, which a small error of a latency may change by any factor.
    pub fn of(metric: Metric, accuracy: Accuracy) -> Option<Self> {
        let pick = |factors: &Factors| match metric {
            Metric::Latency(_, LatencyKind::Ttft) => Some(factors.ttft),
            // What one user gets is 1 / TPOT.
            Metric::Latency(_, LatencyKind::Itl | LatencyKind::Tpot) | Metric::Rate(Rate::User) => {
                Some(factors.tpot)
            }
            Metric::Latency(_, LatencyKind::E2e) => Some(factors.e2e),
            Metric::Rate(Rate::Output | Rate::Total | Rate::Requests) => Some(factors.rate),
            Metric::Rate(Rate::Goodput) => None,
        };
        let factor = match accuracy {
            Accuracy::Validated => pick(&VALIDATED)?,
            Accuracy::Unvalidated => pick(&UNVALIDATED)?,
            Accuracy::Calibrated { median_error } => {
                (NORMAL * pick(&WITHIN)?.max(SCALE * median_error)).exp()
            }
        };
        let is_ttft = matches!(metric, Metric::Latency(_, LatencyKind::Ttft));
        // A calibration has the machine's own front end in its constants.
        let is_fitted = matches!(accuracy, Accuracy::Calibrated { .. });
        Some(Self { factor, plus_ms: if is_ttft && !is_fitted { FRONT_END_MS } else { 0.0 } })
    }

    /// The ends of the interval around a prediction.
    pub fn around(self, predicted: f64) -> [f64; 2] {
        [predicted / self.factor, predicted * self.factor + self.plus_ms]
    }

    /// The ends of the interval of predictions of which a measurement is this.
    pub fn behind(self, measured: f64) -> [f64; 2] {
        [((measured - self.plus_ms) / self.factor).max(0.0), measured * self.factor]
    }
}

/// The 90 % intervals of predicted numbers, by the name of their column.
pub fn intervals(accuracy: Accuracy, number: impl Fn(Metric) -> Option<f64>) -> BTreeMap<String, [f64; 2]> {
    let interval = |metric: Metric| {
        let around = Spread::of(metric, accuracy)?.around(number(metric)?);
        Some((metric.column(), around.map(super::basis::rounded)))
    };
    Metric::COLUMNS.into_iter().filter_map(interval).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_less_is_predicted_more_widely() {
        for metric in Metric::COLUMNS {
            let of = |accuracy| Spread::of(metric, accuracy).map(|spread| spread.around(1000.0));
            let all =
                [Accuracy::Calibrated { median_error: 0.03 }, Accuracy::Validated, Accuracy::Unvalidated];
            match all.map(of) {
                [Some(fitted), Some(known), Some(unknown)] => {
                    assert!(fitted[0] > known[0] && known[0] > unknown[0], "{metric:?}");
                    assert!(fitted[1] < known[1] && known[1] < unknown[1], "{metric:?}");
                }
                none => assert_eq!(none, [None; 3]),
            }
        }
        // A calibration that meets its own cells badly says so.
        let bad = Spread::of(Metric::P50_E2E, Accuracy::Calibrated { median_error: 0.5 }).unwrap();
        assert!(bad.factor > 3.0);
    }

    #[test]
    fn the_predictions_behind_a_measurement_have_it_in_their_interval() {
        for metric in [Metric::P50_TTFT, Metric::P50_TPOT] {
            let spread = Spread::of(metric, Accuracy::Validated).unwrap();
            let [low, high] = spread.behind(400.0);
            assert!((spread.around(low)[1] - 400.0).abs() < 1e-9);
            assert!((spread.around(high)[0] - 400.0).abs() < 1e-9);
            assert!(spread.behind(10.0)[0] >= 0.0);
        }
    }
}
