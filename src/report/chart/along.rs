//! The horizontal axis: numbers to scale, names at equal distances.

use super::{
    scale::Scale,
    scope::{Scope, values},
};
use crate::report::model::Cell;

/// The ratio from which numbers are on a logarithmic axis: 1, 2, 4, 8 at equal distances.
const LOG_FROM: f64 = 8.0;

/// The horizontal axis of a chart.
pub(super) struct Along<'s, 'm, 'a> {
    scope: &'s Scope<'m, 'a>,
    axis: usize,
    scale: Option<Scale>,
    /// Indices of its values.
    values: Vec<usize>,
    ticks: Vec<(f64, String)>,
}

impl<'s, 'm, 'a> Along<'s, 'm, 'a> {
    /// An axis over the values that some cells have, and the loads that they reached.
    pub(super) fn new(
        scope: &'s Scope<'m, 'a>,
        cells: &[&Cell<'_>],
        axis: usize,
        from: f64,
        to: f64,
    ) -> Self {
        let own = &scope.model.axes[axis];
        let values = values(cells, axis);
        let asked: Option<Vec<f64>> = values.iter().map(|value| own.values[*value].as_f64()).collect();
        let scale = asked.as_ref().and_then(|asked| {
            let reached = cells.iter().filter_map(|cell| scope.number(cell, axis));
            let (first, last) = (reached.fold(*asked.first()?, f64::min), *asked.last()?);
            let log = first > 0.0 && last / first >= LOG_FROM;
            Some(Scale::between(first, last, log, from, to))
        });
        let side_by_side = |index: usize| from + (index as f64 + 0.5) / values.len() as f64 * (to - from);
        let x = |index: usize| match (&scale, &asked) {
            (Some(scale), Some(asked)) => scale.at(asked[index]),
            _ => side_by_side(index),
        };
        let ticks = values.iter().enumerate().map(|(index, value)| (x(index), own.text(*value))).collect();
        Self { scope, axis, scale, values, ticks }
    }

    /// The position of a cell, by the load it reached; `None` without a value.
    pub(super) fn at(&self, cell: &Cell<'_>) -> Option<f64> {
        match self.scale {
            Some(scale) => self.scope.number(cell, self.axis).map(|number| scale.at(number)),
            None => {
                let index = self.values.binary_search(&cell.at[self.axis]?).ok()?;
                Some(self.ticks[index].0)
            }
        }
    }

    /// Whether a line may connect neighbours.
    pub(super) fn is_numeric(&self) -> bool {
        self.scale.is_some()
    }

    /// Its values with their positions.
    pub(super) fn ticks(&self) -> &[(f64, String)] {
        &self.ticks
    }
}
