//! Where cells stand along one axis: numbers to scale, names side by side.

use super::{scale::Scale, scope::values};
use crate::{manifest::scalar_text, report::insight::coordinate, store::CellFile};

/// Numbers that span this ratio stand on a logarithmic axis: 1, 2, 4, 8 at equal distances.
const LOG_FROM: f64 = 8.0;

/// The horizontal axis of a picture.
pub(super) struct Along {
    axis: String,
    scale: Option<Scale>,
    ticks: Vec<(f64, String)>,
}

impl Along {
    /// The axis over the values that some cells have.
    pub(super) fn new(cells: &[&CellFile], axis: &str, from: f64, to: f64) -> Self {
        let texts = values(cells, axis);
        let numbers: Option<Vec<f64>> = texts.iter().map(|text| text.parse().ok()).collect();
        let numbers = numbers.filter(|numbers| numbers.iter().all(|number| number.is_finite()));
        let scale = numbers.as_ref().and_then(|numbers| {
            let (first, last) = (*numbers.first()?, *numbers.last()?);
            let log = first > 0.0 && last / first >= LOG_FROM;
            Some(Scale::between(first, last, log, from, to))
        });
        let place = |index: usize| {
            let part = (index as f64 + 0.5) / texts.len() as f64;
            from + part * (to - from)
        };
        let ticks = texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let number = numbers.as_ref().and_then(|numbers| numbers.get(index));
                let x = match (&scale, number) {
                    (Some(scale), Some(number)) => scale.at(*number),
                    _ => place(index),
                };
                (x, text.clone())
            })
            .collect();
        Self {
            axis: axis.to_owned(),
            scale,
            ticks,
        }
    }

    /// Where a cell stands; `None` without a value.
    pub(super) fn at(&self, cell: &CellFile) -> Option<f64> {
        let text = scalar_text(coordinate(cell, &self.axis)?);
        self.ticks
            .iter()
            .find(|(_, known)| *known == text)
            .map(|(x, _)| *x)
    }

    /// Whether neighbours may be joined by a line.
    pub(super) fn is_numeric(&self) -> bool {
        self.scale.is_some()
    }

    /// Its values with their places.
    pub(super) fn ticks(&self) -> &[(f64, String)] {
        &self.ticks
    }
}

/// An axis with its unit, where it has one.
pub(super) fn title(axis: &str) -> String {
    match axis {
        "concurrency" => "concurrency (requests in flight)".into(),
        "rate" => "rate (requests per second)".into(),
        "max_tokens" => "max_tokens (output tokens per request)".into(),
        other => other.into(),
    }
}
