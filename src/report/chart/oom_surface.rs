//! The OOM surface: where memory runs out, over two server axes.
//!
//! Of more than two axes the chart shows the two on which the fate of a server changes most often. The others
//! are held at the values that have the largest smaller group of fitting and not fitting servers, so that the
//! chart includes the boundary.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
};

use minijinja::{context, value::Serde};

use super::{
    canvas::Canvas,
    picture::Chart,
    scope::thinned,
    sheet::Sheet,
    tiles::{self, Tile, Tiles},
};
use crate::{
    measure::CellOutcome,
    plan::Role,
    report::{
        model::{Fate, Model},
        number,
    },
};

const COLUMNS: usize = 8;
/// The most columns on a phone.
const FEW_COLUMNS: usize = 4;
const ROWS: usize = 12;

/// The axes of the table and the values that it shows.
struct Table {
    /// `None` if one axis varies.
    down: Option<usize>,
    across: usize,
    rows: Vec<usize>,
    columns: Vec<usize>,
    /// Whether some values are left out.
    fewer: bool,
}

/// Draws the chart; `None` if no server ran out of memory, or no server axis varies.
pub(super) fn draw(canvas: &Canvas<'_, '_>) -> Option<Chart> {
    let model = canvas.model;
    let all: Vec<usize> = (0..model.servers.len()).collect();
    let ends = model.servers.iter().filter(|server| server.fate.is_end()).count();
    let axes = (0..model.axes.len()).filter(|axis| model.axes[*axis].role == Role::Server);
    let axes: Vec<usize> = axes.filter(|axis| values(model, &all, *axis).len() > 1).collect();
    // The chart of a search shows its own axis.
    let is_searched = model.cells.iter().all(|cell| cell.file.search.is_some());
    if ends == 0 || axes.is_empty() || is_searched && axes.len() == 1 {
        return None;
    }
    let shown = strongest(model, &axes);
    let rest: Vec<usize> = axes.iter().copied().filter(|axis| !shown.contains(axis)).collect();
    let kept = model.clearest(&rest);
    let place = kept.first().map(|server| spelled(model, *server, rest.iter().copied())).unwrap_or_default();
    let table = table(canvas, &kept, &shown)?;
    let fates: BTreeSet<Fate> = kept.iter().map(|server| model.servers[*server].fate).collect();
    let labels = table.down.into_iter().chain([table.across]).map(|axis| model.axes[axis].label().to_owned());
    let axes: Vec<String> = labels.collect();
    let chart = Chart::new(canvas, "oom_surface", None, context! { ends, servers => all.len(), axes });
    let mut sheet = Sheet::new(canvas, &chart.title, &canvas.source(), &[]);
    let mut flow = sheet.row();
    for fate in &fates {
        let word = canvas.text("fate_key", context! { fate => Serde(fate) });
        flow.tile_key(&mut sheet.svg, fill(*fate).0, &word);
    }
    sheet.end_row(flow);
    let bottom = tiles::draw(&mut sheet, &table.tiles(canvas, &kept));
    let sides: BTreeSet<bool> = fates.iter().filter_map(|fate| fate.fits()).collect();
    let has_requests = kept
        .iter()
        .map(|server| &model.servers[*server])
        .any(|server| server.fate == Fate::Fits && server.full_length_requests().is_some());
    let f = context! { ends, servers => all.len(), boundary => sides.len() > 1, place => &place };
    let notes = [
        (true, "oom_surface_ends"),
        (has_requests, "oom_surface_fits"),
        (!place.is_empty(), "oom_surface_held"),
        (table.fewer, "oom_surface_thinned"),
    ];
    let notes = notes.map(|(is_so, name)| canvas.text_if(is_so, name, f.clone()));
    Some(sheet.finish(bottom, notes, chart))
}

/// The values of an axis that some servers have.
fn values(model: &Model<'_>, servers: &[usize], axis: usize) -> Vec<usize> {
    let found: BTreeSet<usize> = servers.iter().filter_map(|server| model.server_at(*server, axis)).collect();
    found.into_iter().collect()
}

fn table(canvas: &Canvas<'_, '_>, kept: &[usize], shown: &[usize]) -> Option<Table> {
    let values = |axis: usize| values(canvas.model, kept, axis);
    let (down, across) = match *shown {
        [] => return None,
        [one] => (None, one),
        // A phone has more room down than across.
        [one, other, ..] if canvas.is_narrow() && values(other).len() > values(one).len() => {
            (Some(other), one)
        }
        [one, other, ..] => (Some(one), other),
    };
    let most = if canvas.is_narrow() { FEW_COLUMNS } else { COLUMNS };
    let (all_rows, all_columns) = (down.map_or_else(Vec::new, values), values(across));
    let (rows, columns) = (thinned(&all_rows, ROWS, None), thinned(&all_columns, most, None));
    let fewer = rows.len() < all_rows.len() || columns.len() < all_columns.len();
    Some(Table { down, across, rows, columns, fewer })
}

impl Table {
    fn tiles(&self, canvas: &Canvas<'_, '_>, kept: &[usize]) -> Tiles {
        let model = canvas.model;
        let mut places: HashMap<(Option<usize>, Option<usize>), usize> = HashMap::new();
        for server in kept {
            let row = self.down.and_then(|axis| model.server_at(*server, axis));
            places.entry((row, model.server_at(*server, self.across))).or_insert(*server);
        }
        let rows: Vec<Option<usize>> = match self.down {
            Some(_) => self.rows.iter().copied().map(Some).collect(),
            None => vec![None],
        };
        let row = |row: &Option<usize>| {
            let columns = self.columns.iter();
            columns.map(|column| Some(tile(canvas, *places.get(&(*row, Some(*column)))?))).collect()
        };
        let name = |row: &Option<usize>| match (self.down, row) {
            (Some(axis), Some(row)) => model.axes[axis].text(*row),
            _ => String::new(),
        };
        let label = |axis: usize| model.axes[axis].label().to_owned();
        Tiles {
            row_axis: self.down.map_or_else(String::new, label),
            column_axis: label(self.across),
            tiles: rows.iter().map(row).collect(),
            rows: rows.iter().map(name).collect(),
            columns: self.columns.iter().map(|column| model.axes[self.across].text(*column)).collect(),
        }
    }
}

fn tile(canvas: &Canvas<'_, '_>, at: usize) -> Tile {
    let model = canvas.model;
    let server = &model.servers[at];
    let cells: Vec<_> = model.cells_at(&server.cells).collect();
    let lost = cells.iter().filter(|cell| cell.file.outcome == CellOutcome::Oom).count();
    let longest = server.file.and_then(|file| file.facts.estimated_max_model_len);
    let lines = |narrow: bool| {
        let f = context! {
            fate => Serde(server.fate),
            narrow,
            at_once => server.full_length_requests().map(|most| number::rate_bare(Some(most))),
            lost,
            cells => cells.len(),
            longest => longest.map(|tokens| number::thousands(Some(tokens as f64))),
            step => server.ended_at(),
        };
        let lines = ["fate", "fate_more"].map(|name| canvas.text(name, f.clone()));
        lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let (fill, ink) = fill(server.fate);
    let end = cells.iter().find(|cell| cell.file.outcome.is_on_oom_surface());
    Tile {
        fill,
        ink,
        about: format!("{}\n{}", spelled(model, at, 0..model.axes.len()), lines(false).join(", ")),
        // The keys of the chart say the rest of a narrow tile.
        lines: lines(canvas.is_narrow()),
        cell: end.or(cells.first()).map(|cell| cell.id().to_owned()),
        picked: false,
        inside: server.fate.fits(),
    }
}

/// The classes of a tile and its text.
fn fill(fate: Fate) -> (&'static str, &'static str) {
    match fate {
        Fate::Fits => ("fits", "on-fits"),
        Fate::EndsUnderLoad | Fate::TooSmall => ("tight", "on-tight"),
        Fate::EndsAtStart => ("oom", "on-oom"),
        Fate::Implied | Fate::Failed | Fate::NotReached => ("none", "on-none"),
    }
}

/// The values of a server on some axes with the labels of these.
fn spelled(model: &Model<'_>, server: usize, axes: impl IntoIterator<Item = usize>) -> String {
    model.spelled(|axis| model.server_at(server, axis), axes)
}

/// The two axes, or the one, on which fates change most often between servers that share everything else.
fn strongest(model: &Model<'_>, axes: &[usize]) -> Vec<usize> {
    let differ = |line: &&Vec<usize>| {
        let fates: BTreeSet<Fate> = line.iter().map(|server| model.servers[*server].fate).collect();
        fates.len() > 1
    };
    let changes = |axis: usize| model.server_lines(axis).iter().filter(differ).count();
    let mut shown = axes.to_vec();
    // The sort is stable: equal ones keep their order.
    shown.sort_by_cached_key(|axis| Reverse(changes(*axis)));
    shown.truncate(2);
    shown.sort_unstable();
    shown
}
