//! Cells along one axis, everything else the same; pairs of cells that differ in one axis.

use std::collections::HashMap;

use super::{Cell, Model};

/// Usable cells along one axis, in the order of its values, everything else the same; at least one.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Line {
    /// The axis' place in [`Model::axes`].
    pub(in crate::report) axis: usize,
    /// Places in [`Model::cells`].
    pub(in crate::report) cells: Vec<usize>,
}

impl Line {
    /// Its cells.
    pub(in crate::report) fn iter<'m, 'a>(
        &'m self,
        model: &'m Model<'a>,
    ) -> impl Iterator<Item = &'m Cell<'a>> {
        self.cells.iter().filter_map(|at| model.cells.get(*at))
    }

    /// Whether a cell stands on it, and where.
    pub(in crate::report) fn position(&self, cell: usize) -> Option<usize> {
        self.cells.iter().position(|at| *at == cell)
    }
}

/// The lines of some cells along an axis, in the order in which their first cells come.
pub(super) fn lines(cells: &[Cell<'_>], own: &[usize], axis: usize) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut known: HashMap<Vec<Option<usize>>, usize> = HashMap::new();
    for at in own {
        let Some(cell) = cells.get(*at).filter(|cell| cell.at.get(axis).copied().flatten().is_some()) else {
            continue;
        };
        let mut key = cell.at.clone();
        key[axis] = None;
        let line = *known.entry(key).or_insert(lines.len());
        match lines.get_mut(line) {
            Some(line) => line.cells.push(*at),
            None => lines.push(Line { axis, cells: vec![*at] }),
        }
    }
    for line in &mut lines {
        line.cells.sort_by_key(|at| cells[*at].at[axis]);
    }
    lines
}
