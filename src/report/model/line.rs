//! Cells along one axis, everything else equal.

use std::collections::HashMap;

use super::Cell;

/// Usable cells along one axis, in the order of its values, everything else equal; at least one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// Index of the axis.
    pub(crate) axis: usize,
    /// Indices of the cells.
    pub(crate) cells: Vec<usize>,
}

impl Line {
    /// The position of a cell on the line.
    pub(crate) fn position(&self, cell: usize) -> Option<usize> {
        self.cells.iter().position(|at| *at == cell)
    }
}

/// The lines of some cells along an axis, in the order of their first cells.
pub(super) fn lines(cells: &[Cell<'_>], own: &[usize], axis: usize) -> Vec<Line> {
    let on_axis = own.iter().copied().filter(|at| cells[*at].at[axis].is_some());
    let groups = grouped(on_axis, |at| {
        let mut key = cells[at].at.clone();
        key[axis] = None;
        key
    });
    let line = |mut own: Vec<usize>| {
        own.sort_by_key(|at| cells[*at].at[axis]);
        Line { axis, cells: own }
    };
    groups.into_iter().map(line).collect()
}

/// Groups items by a key; groups and their members keep the order of the items.
pub(super) fn grouped<K: std::hash::Hash + Eq>(
    items: impl IntoIterator<Item = usize>,
    key: impl Fn(usize) -> K,
) -> Vec<Vec<usize>> {
    let mut known: HashMap<K, usize> = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for item in items {
        let at = *known.entry(key(item)).or_insert(groups.len());
        if at == groups.len() {
            groups.push(Vec::new());
        }
        groups[at].push(item);
    }
    groups
}
