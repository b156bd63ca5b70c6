//! The OOM surface: what became of the servers over at most two axes.

use super::{Grid, line::grouped};
use crate::plan::Role;

/// The most rows of a surface.
const ROWS: usize = 12;
/// The most columns.
const COLUMNS: usize = 8;

/// The servers over at most two axes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Surface {
    /// Indices of the axes down, which are joined.
    pub(crate) rows: Vec<usize>,
    /// The axis across; `None` if only one axis varies.
    pub(crate) column: Option<usize>,
    /// The values of each row, one for each axis down.
    pub(crate) row_labels: Vec<Vec<String>>,
    /// The values across; a single empty one if there is no axis across.
    pub(crate) column_labels: Vec<String>,
    /// Indices of the servers by row and column.
    pub(crate) servers: Vec<Vec<Vec<usize>>>,
    /// The axes that are in neither, each with the index of the value at which it is held.
    pub(crate) held: Vec<(usize, usize)>,
    /// The number of servers that are not on it.
    pub(crate) left_out: usize,
}

/// The values of a server on some axes, as indices.
type Place = Vec<Option<usize>>;

impl Grid<'_> {
    /// The value of a server on an axis, as an index.
    pub(crate) fn server_at(&self, server: usize, axis: usize) -> Option<usize> {
        let own = &self.axes[axis];
        own.place(self.servers[server].group.axes.get(&own.name)?)
    }

    fn server_place(&self, server: usize, axes: &[usize]) -> Place {
        axes.iter().map(|axis| self.server_at(server, *axis)).collect()
    }

    /// The server axes on which servers differ.
    pub(crate) fn server_axes(&self) -> Vec<usize> {
        let varies = |axis: &usize| {
            let first = self.servers.first().map(|_| self.server_at(0, *axis));
            (0..self.servers.len()).any(|server| Some(self.server_at(server, *axis)) != first)
        };
        (0..self.axes.len()).filter(|axis| self.axes[*axis].role == Role::Server).filter(varies).collect()
    }

    /// The servers along an axis, everything else equal, in the order of its values.
    pub(crate) fn server_lines(&self, axis: usize) -> Vec<Vec<usize>> {
        let mut others = self.server_axes();
        others.retain(|other| *other != axis);
        let known = (0..self.servers.len()).filter(|server| self.server_at(*server, axis).is_some());
        let mut lines: Vec<Vec<usize>> = grouped(known, |server| self.server_place(server, &others));
        for line in &mut lines {
            line.sort_by_key(|server| self.server_at(*server, axis));
        }
        lines
    }

    /// How often neighbours along an axis differ in whether they fit, by the index of the first of the two.
    fn turns(&self, axis: usize) -> Vec<usize> {
        let mut turns = vec![0; self.axes[axis].values.len()];
        for line in self.server_lines(axis) {
            let known = line.iter().filter(|server| self.servers[**server].fate.fits().is_some());
            let known: Vec<usize> = known.copied().collect();
            for pair in known.windows(2) {
                let [one, other] = [pair[0], pair[1]];
                if let Some(place) = self.server_at(one, axis)
                    && self.servers[one].fate.fits() != self.servers[other].fate.fits()
                {
                    turns[place] += 1;
                }
            }
        }
        turns
    }

    /// Where memory runs out over the server axes: down and across are the two with most boundaries. The
    /// other axes are joined to the axis down if that leaves few enough rows, else held where the boundary
    /// shows best. `None` if memory never ran out or no axis varies.
    pub(crate) fn surface(&self) -> Option<Surface> {
        let mut axes = self.server_axes();
        if axes.is_empty() || !self.servers.iter().any(|server| server.fate.is_end()) {
            return None;
        }
        // The sort is stable: equal ones keep the order of the plan.
        axes.sort_by_key(|axis| std::cmp::Reverse(self.turns(*axis).iter().sum::<usize>()));
        let mut rest = axes.split_off(axes.len().min(2));
        axes.sort_unstable();
        rest.sort_unstable();
        let count = |axis: usize| self.axes[axis].values.len();
        let (mut rows, column) = match axes[..] {
            // Fewer values fit across than down.
            [one, other] if count(other) > COLUMNS && count(one) <= COLUMNS => (vec![other], Some(one)),
            [one, other] => (vec![one], Some(other)),
            _ => (axes, None),
        };
        let all: Vec<usize> = (0..self.servers.len()).collect();
        let joined: Vec<usize> = rest.iter().chain(&rows).copied().collect();
        let mut held = Vec::new();
        let kept = if grouped(all.iter().copied(), |server| self.server_place(server, &joined)).len() <= ROWS
        {
            rows = joined;
            all
        } else {
            let kept = self.clearest(&rest);
            held = rest
                .iter()
                .filter_map(|axis| Some((*axis, self.server_at(*kept.first()?, *axis)?)))
                .collect();
            kept
        };
        Some(self.surface_of(rows, column, held, &kept))
    }

    /// The servers that share the values on some axes for which the smaller group of those that fit and those
    /// that do not is largest.
    pub(crate) fn clearest(&self, axes: &[usize]) -> Vec<usize> {
        let groups = grouped(0..self.servers.len(), |server| self.server_place(server, axes));
        let of = |group: &[usize], fits: bool| {
            group.iter().filter(|server| self.servers[**server].fate.fits() == Some(fits)).count()
        };
        // The first of equal ones.
        let best = groups.into_iter().rev().max_by_key(|group| of(group, true).min(of(group, false)));
        best.unwrap_or_default()
    }

    fn surface_of(
        &self,
        rows: Vec<usize>,
        column: Option<usize>,
        held: Vec<(usize, usize)>,
        kept: &[usize],
    ) -> Surface {
        let across: Vec<usize> = column.into_iter().collect();
        let down = self.thinned(kept, &rows, ROWS);
        let columns = self.thinned(kept, &across, COLUMNS);
        let at = |row: &Place, column: &Place| -> Vec<usize> {
            let here = |server: &usize| {
                self.server_place(*server, &rows) == *row && self.server_place(*server, &across) == *column
            };
            kept.iter().copied().filter(here).collect()
        };
        let servers: Vec<Vec<Vec<usize>>> =
            down.iter().map(|row| columns.iter().map(|column| at(row, column)).collect()).collect();
        let texts = |place: &Place, axes: &[usize]| -> Vec<String> {
            let text = |(at, axis): (&Option<usize>, &usize)| {
                at.map_or_else(String::new, |at| self.axes[*axis].text(at))
            };
            place.iter().zip(axes).map(text).collect()
        };
        let shown: usize = servers.iter().flatten().map(Vec::len).sum();
        Surface {
            row_labels: down.iter().map(|row| texts(row, &rows)).collect(),
            column_labels: columns.iter().map(|column| texts(column, &across).concat()).collect(),
            left_out: self.servers.len() - shown,
            rows,
            column,
            servers,
            held,
        }
    }

    /// The values of some servers on some axes, in order, at most `most`: on one long axis those next to a
    /// boundary come first, then its ends.
    fn thinned(&self, servers: &[usize], axes: &[usize], most: usize) -> Vec<Place> {
        let mut places: Vec<Place> = servers.iter().map(|server| self.server_place(*server, axes)).collect();
        places.sort();
        places.dedup();
        let ([axis], true) = (axes, places.len() > most) else { return places };
        let turns = self.turns(*axis);
        let turn =
            |at: usize| places.get(at).and_then(|place| turns.get(place[0]?)).copied().unwrap_or_default();
        let last = places.len() - 1;
        let weight = |at: usize| {
            let turns_here = turn(at) + at.checked_sub(1).map_or(0, turn);
            (turns_here, at == 0 || at == last)
        };
        let mut order: Vec<usize> = (0..=last).collect();
        order.sort_by_key(|at| std::cmp::Reverse(weight(*at)));
        order.truncate(most);
        order.sort_unstable();
        order.into_iter().map(|at| places[at].clone()).collect()
    }
}
