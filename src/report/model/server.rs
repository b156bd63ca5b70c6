//! What became of each server.

use std::collections::{BTreeMap, HashMap};

use super::{Cell, Model};
use crate::{
    manifest::scalar_text,
    measure::CellOutcome,
    plan::{Group, Role},
    store::{ServerFile, StoredRun},
};

/// A surface has at most so many rows.
const ROWS: usize = 12;
/// And so many columns.
const COLUMNS: usize = 8;

/// One server of the plan.
pub(in crate::report) struct Server<'a> {
    pub(in crate::report) group: &'a Group,
    /// `None` where it was never started.
    pub(in crate::report) file: Option<&'a ServerFile>,
    /// Places of its cells in [`super::Model::cells`].
    pub(in crate::report) cells: Vec<usize>,
    pub(in crate::report) fate: Fate,
}

/// What became of a server. One word for tables, sentences and pictures alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::report) enum Fate {
    /// It started, and no cell ran out of memory.
    Fits,
    /// It started, and some of its cells ran out of memory.
    EndsUnderLoad,
    /// Its KV cache cannot hold one request of `max-model-len`.
    TooSmall,
    /// Out of memory at its start.
    EndsAtStart,
    /// It was not tried: one that needs no more memory had ended.
    Implied,
    /// It ended for another reason than memory.
    Failed,
    /// It was not reached.
    NotReached,
}

impl Fate {
    /// Whether it says that memory suffices; `None` where it says nothing.
    pub(in crate::report) fn fits(self) -> Option<bool> {
        match self {
            Self::Fits => Some(true),
            Self::EndsUnderLoad | Self::TooSmall | Self::EndsAtStart | Self::Implied => Some(false),
            Self::Failed | Self::NotReached => None,
        }
    }

    /// Whether memory was seen to end there.
    pub(in crate::report) fn is_end(self) -> bool {
        matches!(self, Self::EndsUnderLoad | Self::TooSmall | Self::EndsAtStart)
    }

    /// The word for templates.
    pub(in crate::report) fn name(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::EndsUnderLoad => "ends_under_load",
            Self::TooSmall => "too_small",
            Self::EndsAtStart => "ends_at_start",
            Self::Implied => "implied",
            Self::Failed => "failed",
            Self::NotReached => "not_reached",
        }
    }
}

impl<'a> Server<'a> {
    /// The servers of a run, in the order of the plan.
    pub(super) fn all(run: &'a StoredRun) -> Vec<Self> {
        let files: BTreeMap<&str, &ServerFile> =
            run.servers.iter().map(|server| (server.id.as_str(), server)).collect();
        let server = |group: &'a Group| Self {
            file: files.get(group.id.as_str()).copied(),
            group,
            cells: Vec::new(),
            fate: Fate::NotReached,
        };
        run.plan.groups.iter().map(server).collect()
    }

    pub(super) fn judge(&mut self, cells: &[Cell<'_>]) {
        let outcomes: Vec<CellOutcome> = self.cells.iter().map(|at| cells[*at].file.outcome).collect();
        let has = |outcome: CellOutcome| outcomes.contains(&outcome);
        let measured = outcomes.iter().any(|outcome| outcome.is_measured());
        let implied = self.cells.iter().any(|at| cells[*at].file.proved_impossible_by.is_some());
        self.fate = if has(CellOutcome::DoesNotFit) {
            Fate::TooSmall
        } else if has(CellOutcome::Oom) {
            match measured || self.is_oom_under_load() {
                true => Fate::EndsUnderLoad,
                false => Fate::EndsAtStart,
            }
        } else if measured {
            Fate::Fits
        } else if implied {
            Fate::Implied
        } else if outcomes.iter().all(|outcome| *outcome == CellOutcome::Skipped) {
            Fate::NotReached
        } else {
            Fate::Failed
        };
    }

    fn is_oom_under_load(&self) -> bool {
        self.file.is_some_and(|file| file.is_ready()) || self.ended_at().as_deref() == Some("load")
    }

    /// The step of its start at which memory ended: `weights`, `kv_cache`, `graphs`.
    pub(in crate::report) fn ended_at(&self) -> Option<String> {
        let text = self.file?.outcome.to_string();
        Some(text.strip_prefix("oom(")?.trim_end_matches(')').to_owned())
    }

    /// The value of one of its axes as text; `None` where it has none.
    pub(in crate::report) fn value(&self, axis: &str) -> Option<String> {
        self.group.axes.get(axis).map(scalar_text)
    }

    /// How many requests of `max-model-len` its KV cache holds at once, by its own log.
    pub(in crate::report) fn full_length_requests(&self) -> Option<f64> {
        self.file?.facts.max_concurrency.filter(|most| most.is_finite())
    }
}

/// What became of the servers over at most two axes: one table, and one picture.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Surface {
    /// Axes down, joined; their places in [`Model::axes`].
    pub(in crate::report) rows: Vec<usize>,
    /// The axis across; `None` where only one axis varies.
    pub(in crate::report) column: Option<usize>,
    /// The values of each row, one for each axis down.
    pub(in crate::report) row_labels: Vec<Vec<String>>,
    /// The values across; one that is empty where there is no axis across.
    pub(in crate::report) column_labels: Vec<String>,
    /// By row and column the servers there, as places in [`Model::servers`]; none where the plan has none.
    pub(in crate::report) servers: Vec<Vec<Vec<usize>>>,
    /// Axes that are in neither, and the place of the value at which each is held.
    pub(in crate::report) held: Vec<(usize, usize)>,
    /// How many servers of the plan are not on it.
    pub(in crate::report) left_out: usize,
}

/// Where a server stands on some axes.
type Place = Vec<Option<usize>>;

impl Model<'_> {
    /// A server's value on an axis, as a place in its values.
    pub(in crate::report) fn server_at(&self, server: usize, axis: usize) -> Option<usize> {
        let own = &self.axes[axis];
        own.place(self.servers[server].group.axes.get(&own.name)?)
    }

    fn server_place(&self, server: usize, axes: &[usize]) -> Place {
        axes.iter().map(|axis| self.server_at(server, *axis)).collect()
    }

    /// The server axes along which servers differ.
    pub(in crate::report) fn server_axes(&self) -> Vec<usize> {
        let varies = |axis: &usize| {
            let first = self.servers.first().map(|_| self.server_at(0, *axis));
            (0..self.servers.len()).any(|server| Some(self.server_at(server, *axis)) != first)
        };
        (0..self.axes.len()).filter(|axis| self.axes[*axis].role == Role::Server).filter(varies).collect()
    }

    /// The servers along an axis, everything else the same, in the order of its values.
    pub(in crate::report) fn server_lines(&self, axis: usize) -> Vec<Vec<usize>> {
        let mut others = self.server_axes();
        others.retain(|other| *other != axis);
        let known = (0..self.servers.len()).filter(|server| self.server_at(*server, axis).is_some());
        let mut lines: Vec<Vec<usize>> = grouped(known, |server| self.server_place(server, &others));
        for line in &mut lines {
            line.sort_by_key(|server| self.server_at(*server, axis));
        }
        lines
    }

    /// How often what is known of memory differs between neighbours along an axis, by the place of the first of the two.
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

    /// Where memory ends over the server axes: down and across the two along which it ends most often. The rest is joined
    /// to the axis down where that leaves few enough rows, else held where the boundary shows best. `None` where memory
    /// ended nowhere, or no axis varies.
    pub(in crate::report) fn surface(&self) -> Option<Surface> {
        let mut axes = self.server_axes();
        if axes.is_empty() || !self.servers.iter().any(|server| server.fate.is_end()) {
            return None;
        }
        // Stable: of equal ones the first of the plan.
        axes.sort_by_key(|axis| std::cmp::Reverse(self.turns(*axis).iter().sum::<usize>()));
        let mut rest = axes.split_off(axes.len().min(2));
        axes.sort_unstable();
        rest.sort_unstable();
        let count = |axis: usize| self.axes[axis].values.len();
        let (mut rows, column) = match axes[..] {
            // Fewer of them fit across than down.
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

    /// The servers of that combination of some axes in which most servers of the smaller kind stand: those that fit, or
    /// those that do not.
    fn clearest(&self, axes: &[usize]) -> Vec<usize> {
        let groups = grouped(0..self.servers.len(), |server| self.server_place(server, axes));
        let of = |group: &[usize], fits: bool| {
            group.iter().filter(|server| self.servers[**server].fate.fits() == Some(fits)).count()
        };
        // Of equal ones the first.
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

    /// The places of some servers on some axes, in order, at most `most`: of one long axis those next to a boundary come
    /// first, then its ends.
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
            let beside = turn(at) + at.checked_sub(1).map_or(0, turn);
            (beside, at == 0 || at == last)
        };
        let mut order: Vec<usize> = (0..=last).collect();
        order.sort_by_key(|at| std::cmp::Reverse(weight(*at)));
        order.truncate(most);
        order.sort_unstable();
        order.into_iter().map(|at| places[at].clone()).collect()
    }
}

/// Servers by a key, groups and their members in the order in which they come.
fn grouped(servers: impl Iterator<Item = usize>, key: impl Fn(usize) -> Place) -> Vec<Vec<usize>> {
    let mut known: HashMap<Place, usize> = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for server in servers {
        let at = *known.entry(key(server)).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => group.push(server),
            None => groups.push(vec![server]),
        }
    }
    groups
}
