//! Where memory ends, over two server axes.
//!
//! Of more than two axes the two are shown along which what becomes of a server changes most often; the
//! others are held where the most servers of the smaller kind stand, so that the boundary is in the picture.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use minijinja::context;

use super::{
    Chart,
    canvas::Canvas,
    scope::thinned,
    sheet::Sheet,
    tiles::{self, Tile, Tiles},
};
use crate::{
    measure::CellOutcome,
    plan::Role,
    report::{
        model::{Fate, Model, Server},
        number,
    },
};

const COLUMNS: usize = 8;
/// The same on a phone.
const FEW_COLUMNS: usize = 4;
const ROWS: usize = 12;

/// A server and where it stands on each axis of the model.
struct Placed<'m, 'a> {
    server: &'m Server<'a>,
    at: Vec<Option<usize>>,
}

/// Rows and columns.
struct Table {
    /// `None` where one axis is all there is.
    down: Option<usize>,
    across: usize,
    rows: Vec<usize>,
    columns: Vec<usize>,
    /// Whether some values are left out.
    fewer: bool,
}

/// The picture; `None` where no server met the end of memory, or the run has no server axis.
pub(super) fn draw(canvas: &Canvas<'_, '_>) -> Option<Chart> {
    let model = canvas.model;
    let servers = placed(model);
    let ends = servers.iter().filter(|own| own.server.fate.is_end()).count();
    let is_shown = |axis: &usize| model.axes[*axis].role == Role::Server && values(&servers, *axis).len() > 1;
    let axes: Vec<usize> = (0..model.axes.len()).filter(is_shown).collect();
    if ends == 0 || axes.is_empty() {
        return None;
    }
    let shown = strongest(&servers, &axes);
    let rest: Vec<usize> = axes.iter().copied().filter(|axis| !shown.contains(axis)).collect();
    let all = servers.len();
    let (kept, place) = held(model, servers, &rest);
    let table = table(canvas, &kept, &shown)?;
    let axes: Vec<String> = table
        .down
        .into_iter()
        .chain([table.across])
        .map(|axis| model.axes[axis].label().to_owned())
        .collect();
    let chart = Chart::new(canvas, "oom_surface", None, context! { ends, servers => all, axes });
    let mut sheet = Sheet::new(canvas, &chart.title, &canvas.source(), &[]);
    keys(&mut sheet, canvas, &kept);
    let bottom = tiles::draw(&mut sheet, &table.tiles(canvas, &kept));
    let sides: BTreeSet<bool> = kept.iter().filter_map(|own| own.server.fate.fits()).collect();
    let mut notes =
        vec![canvas.text("oom_surface_ends", context! { ends, servers => all, boundary => sides.len() > 1 })];
    let is_told =
        |own: &Placed<'_, '_>| own.server.fate == Fate::Fits && own.server.full_length_requests().is_some();
    if kept.iter().any(is_told) {
        notes.push(canvas.text("oom_surface_fits", context! {}));
    }
    if !place.is_empty() {
        notes.push(canvas.text("oom_surface_held", context! { place }));
    }
    if table.fewer {
        notes.push(canvas.text("oom_surface_thinned", context! {}));
    }
    Some(sheet.finish(bottom, &super::notes(notes), chart))
}

fn placed<'m, 'a>(model: &'m Model<'a>) -> Vec<Placed<'m, 'a>> {
    let place = |server: &Server<'_>| {
        let axes = model.axes.iter();
        axes.map(|axis| axis.place(server.group.axes.get(&axis.name)?)).collect()
    };
    model.servers.iter().map(|server| Placed { at: place(server), server }).collect()
}

/// The values of an axis that some servers have.
fn values(servers: &[Placed<'_, '_>], axis: usize) -> Vec<usize> {
    let found: BTreeSet<usize> = servers.iter().filter_map(|own| own.at[axis]).collect();
    found.into_iter().collect()
}

fn table(canvas: &Canvas<'_, '_>, kept: &[Placed<'_, '_>], shown: &[usize]) -> Option<Table> {
    let (down, across) = match *shown {
        [] => return None,
        [one] => (None, one),
        // On a phone there is more room down than across.
        [one, other, ..] if canvas.is_narrow() && values(kept, other).len() > values(kept, one).len() => {
            (Some(other), one)
        }
        [one, other, ..] => (Some(one), other),
    };
    let most = if canvas.is_narrow() { FEW_COLUMNS } else { COLUMNS };
    let all_rows = down.map_or_else(Vec::new, |axis| values(kept, axis));
    let all_columns = values(kept, across);
    let (rows, columns) = (thinned(&all_rows, ROWS, None), thinned(&all_columns, most, None));
    let fewer = rows.len() < all_rows.len() || columns.len() < all_columns.len();
    Some(Table { down, across, rows, columns, fewer })
}

impl Table {
    fn tiles(&self, canvas: &Canvas<'_, '_>, kept: &[Placed<'_, '_>]) -> Tiles {
        let axes = &canvas.model.axes;
        let mut places: HashMap<(Option<usize>, Option<usize>), &Placed<'_, '_>> = HashMap::new();
        for own in kept {
            let row = self.down.and_then(|axis| own.at[axis]);
            places.entry((row, own.at[self.across])).or_insert(own);
        }
        let rows: Vec<Option<usize>> = match self.down {
            Some(_) => self.rows.iter().copied().map(Some).collect(),
            None => vec![None],
        };
        let row = |row: &Option<usize>| {
            let columns = self.columns.iter();
            columns.map(|column| places.get(&(*row, Some(*column))).map(|own| tile(canvas, own))).collect()
        };
        let name = |row: &Option<usize>| match (self.down, row) {
            (Some(axis), Some(row)) => axes[axis].text(*row),
            _ => String::new(),
        };
        Tiles {
            row_axis: self.down.map_or_else(String::new, |axis| axes[axis].label().to_owned()),
            column_axis: axes[self.across].label().to_owned(),
            tiles: rows.iter().map(row).collect(),
            rows: rows.iter().map(name).collect(),
            columns: self.columns.iter().map(|column| axes[self.across].text(*column)).collect(),
        }
    }
}

fn tile(canvas: &Canvas<'_, '_>, own: &Placed<'_, '_>) -> Tile {
    let (server, model) = (own.server, canvas.model);
    let cells: Vec<_> = server.cells.iter().map(|at| &model.cells[*at]).collect();
    let lost = cells.iter().filter(|cell| cell.file.outcome == CellOutcome::Oom).count();
    let longest = server.file.and_then(|file| file.facts.estimated_max_model_len);
    let lines = |narrow: bool| {
        let f = context! {
            fate => server.fate.name(),
            narrow,
            at_once => server.full_length_requests().map(|most| number::rate_bare(Some(most))),
            lost,
            cells => cells.len(),
            longest => longest.map(|tokens| number::thousands(Some(tokens as f64))),
            step => server.ended_at(),
        };
        super::notes(["fate", "fate_more"].map(|name| canvas.text(name, f.clone())))
    };
    let (fill, ink) = fill(server.fate);
    let end = cells.iter().find(|cell| cell.file.outcome.is_on_oom_surface());
    Tile {
        fill,
        ink,
        about: format!("{}\n{}", spelled(model, own, 0..model.axes.len()), lines(false).join(", ")),
        // Of a narrow tile the picture's keys say the rest.
        lines: lines(canvas.is_narrow()),
        cell: end.or(cells.first()).map(|cell| cell.id().to_owned()),
        picked: false,
        inside: server.fate.fits(),
    }
}

/// Classes of a tile and its text.
fn fill(fate: Fate) -> (&'static str, &'static str) {
    match fate {
        Fate::Fits => ("fits", "on-fits"),
        Fate::EndsUnderLoad | Fate::TooSmall => ("tight", "on-tight"),
        Fate::EndsAtStart => ("oom", "on-oom"),
        Fate::Implied | Fate::Failed | Fate::NotReached => ("none", "on-none"),
    }
}

/// A server's values on some axes with their names.
fn spelled(model: &Model<'_>, own: &Placed<'_, '_>, axes: impl IntoIterator<Item = usize>) -> String {
    let value =
        |axis: usize| Some(format!("{} {}", model.axes[axis].label(), model.axes[axis].text(own.at[axis]?)));
    axes.into_iter().filter_map(value).collect::<Vec<_>>().join(", ")
}

/// The two axes, or the one, along which fates change most often between servers that share everything else.
fn strongest(servers: &[Placed<'_, '_>], axes: &[usize]) -> Vec<usize> {
    let changes = |axis: usize| {
        let mut lines: BTreeMap<Vec<Option<usize>>, BTreeSet<Fate>> = BTreeMap::new();
        for own in servers {
            let others = axes.iter().filter(|other| **other != axis).map(|other| own.at[*other]);
            lines.entry(others.collect()).or_default().insert(own.server.fate);
        }
        lines.values().filter(|fates| fates.len() > 1).count()
    };
    let mut order: Vec<(usize, usize)> = axes.iter().map(|axis| (changes(*axis), *axis)).collect();
    // Of equals the first.
    order.sort_by_key(|(changes, axis)| (std::cmp::Reverse(*changes), *axis));
    let mut shown: Vec<usize> = order.into_iter().take(2).map(|(_, axis)| axis).collect();
    shown.sort_unstable();
    shown
}

/// The servers at the place of the other axes that shows the boundary best, and that place.
fn held<'m, 'a>(
    model: &Model<'_>,
    servers: Vec<Placed<'m, 'a>>,
    rest: &[usize],
) -> (Vec<Placed<'m, 'a>>, String) {
    let mut found: BTreeMap<Vec<Option<usize>>, Vec<Placed<'m, 'a>>> = BTreeMap::new();
    for own in servers {
        found.entry(rest.iter().map(|axis| own.at[*axis]).collect()).or_default().push(own);
    }
    let smaller = |own: &Vec<Placed<'_, '_>>| {
        let side = |fits: bool| own.iter().filter(|own| own.server.fate.fits() == Some(fits)).count();
        side(true).min(side(false))
    };
    // Of equals the first.
    let best = found.into_values().rev().max_by_key(smaller).unwrap_or_default();
    let place = best.first().map_or_else(String::new, |own| spelled(model, own, rest.iter().copied()));
    (best, place)
}

/// The colours that occur, with their words.
fn keys(sheet: &mut Sheet, canvas: &Canvas<'_, '_>, kept: &[Placed<'_, '_>]) {
    let fates: BTreeSet<Fate> = kept.iter().map(|own| own.server.fate).collect();
    let mut flow = sheet.row();
    for fate in fates {
        let word = canvas.text("fate_key", context! { fate => fate.name() });
        flow.tile_key(&mut sheet.svg, fill(fate).0, &word);
    }
    sheet.end_row(flow);
}
