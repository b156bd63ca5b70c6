//! The latency heat map over two axes.

use std::collections::{BTreeSet, HashMap};

use minijinja::context;

use super::{
    about,
    canvas::Canvas,
    picture::Chart,
    scope::{Scope, thinned, values},
    sheet::{Key, Sheet},
    svg::Anchor,
    text::width,
    tiles::{self, Tile, Tiles},
};
use crate::{
    manifest::SloTerm,
    measure::Metric,
    report::{model::Cell, number},
};

/// The most columns.
const COLUMNS: usize = 10;
/// The most columns on a phone.
const FEW_COLUMNS: usize = 5;
const ROWS: usize = 12;
/// Width of one colour in the key.
const STEP: f64 = 22.0;
const FILLS: [&str; 7] = ["t0", "t1", "t2", "t3", "t4", "t5", "t6"];
const INKS: [&str; 7] = ["u0", "u1", "u2", "u3", "u4", "u5", "u6"];
/// The ratio from which latencies are coloured by their logarithm.
const LOG_FROM: f64 = 5.0;
/// The smallest ratio that gets all colours: with less, noise would look significant.
const WHOLE_RAMP: f64 = 2.0;

/// The meaning of the colours.
struct Colours {
    metric: Metric,
    term: Option<SloTerm>,
    low: f64,
    /// The value with the darkest colour.
    darkest: f64,
}

/// Draws the chart; `None` if fewer than two axes have several values, or fewer than two cells have a
/// latency.
pub(super) fn draw(canvas: &Canvas<'_, '_>, scope: &Scope<'_, '_>) -> Option<Chart> {
    let (metric, term) = about::latencies(scope).into_iter().next()?;
    let across = scope.along()?;
    let others = scope.others(Some(across));
    let down = scope.strongest(&others, metric)?;
    let rest: Vec<usize> = others.into_iter().filter(|axis| *axis != down).collect();
    let held = scope.held(&rest);
    let best = |axis: usize| scope.best.and_then(|cell| cell.at[axis]);
    let most = if canvas.is_narrow() { FEW_COLUMNS } else { COLUMNS };
    let (all_columns, all_rows) = (values(&held.cells, across), values(&held.cells, down));
    let columns = thinned(&all_columns, most, best(across));
    let rows = thinned(&all_rows, ROWS, best(down));
    if columns.len() < 2 || rows.len() < 2 {
        return None;
    }
    let mut places: HashMap<(Option<usize>, Option<usize>), &Cell<'_>> = HashMap::new();
    for cell in &held.cells {
        places.entry((cell.at[down], cell.at[across])).or_insert(cell);
    }
    let at = |row: &usize, column: &usize| places.get(&(Some(*row), Some(*column))).copied();
    let found: Vec<Vec<Option<&Cell<'_>>>> =
        rows.iter().map(|row| columns.iter().map(|column| at(row, column)).collect()).collect();
    let shown: Vec<&Cell<'_>> = found.iter().flatten().flatten().copied().collect();
    let numbers: Vec<f64> = shown.iter().filter_map(|cell| cell.shown(metric)).collect();
    if numbers.len() < 2 {
        return None;
    }
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let colours = Colours { metric, term, low, darkest: high.max(low * WHOLE_RAMP) };
    let texts = |axis: usize, own: &[usize]| own.iter().map(|at| scope.model.axes[axis].text(*at)).collect();
    let tile = |cell: &Cell<'_>| tile(canvas, scope, &colours, cell);
    let table = Tiles {
        row_axis: scope.label(down).to_owned(),
        column_axis: scope.label(across).to_owned(),
        tiles: found.iter().map(|row| row.iter().map(|cell| cell.map(tile)).collect()).collect(),
        rows: texts(down, &rows),
        columns: texts(across, &columns),
    };
    let ms = |value: f64| number::ms(Some(value));
    let f = context! {
        metric => metric.label(),
        low => ms(low),
        high => ms(high),
        across => scope.label(across),
        down => scope.label(down),
    };
    let chart = Chart::new(canvas, "heat_map", Some(scope.name), f);
    let mut sheet = Sheet::new(canvas, &chart.title, &canvas.source(), &[]);
    ramp(&mut sheet, canvas, &colours, shown.iter().any(|cell| scope.is_best(cell)));
    let bottom = tiles::draw(&mut sheet, &table);
    let fewer = [(across, all_columns.len(), columns.len()), (down, all_rows.len(), rows.len())];
    let fewer = fewer.into_iter().filter(|(_, all, shown)| shown < all);
    let fewer: Vec<(usize, usize)> = fewer.map(|(axis, _, shown)| (axis, shown)).collect();
    let unranked = about::unranked(canvas, shown.iter().copied(), metric);
    let notes = [
        side(canvas, &table, term.as_ref()),
        about::only(canvas, scope),
        about::held(canvas, &held),
        about::thinned(canvas, scope, &fewer),
        about::not_reached(canvas, scope, &shown, across),
        if unranked.is_empty() { unranked } else { format!("† {unranked}") },
    ];
    Some(sheet.finish(bottom, notes, chart))
}

fn tile(canvas: &Canvas<'_, '_>, scope: &Scope<'_, '_>, colours: &Colours, cell: &Cell<'_>) -> Tile {
    let number = cell.number(colours.metric);
    let step = number.map(|number| colours.step(number.value));
    let text = match number {
        Some(number) => {
            let mark = if number.excluded.is_some() { " †" } else { "" };
            let text = format!("{}{mark} {}", number::ms_bare(Some(number.value)), canvas.letter(cell));
            text.trim_end().to_owned()
        }
        None if cell.file.outcome.is_measured() => number::ABSENT.into(),
        None => about::outcome(canvas, cell),
    };
    let limit = colours.term.as_ref().map(|term| term.limit.as_ms());
    let judged = number.filter(|_| cell.is_usable());
    Tile {
        fill: step.map_or("none", |step| FILLS[step]),
        ink: step.map_or("on-none", |step| INKS[step]),
        lines: vec![text],
        about: about::cell(canvas, scope, cell),
        cell: Some(cell.id().to_owned()),
        picked: scope.is_best(cell),
        inside: judged.zip(limit).map(|(number, limit)| number.value <= limit),
    }
}

impl Colours {
    /// The fill of a value, one of seven.
    fn step(&self, value: f64) -> usize {
        let (low, high) = (self.low, self.darkest);
        let part = if high <= low {
            0.0
        } else if low > 0.0 && high / low >= LOG_FROM {
            (value / low).ln() / (high / low).ln()
        } else {
            (value - low) / (high - low)
        };
        ((part * 7.0) as usize).min(6)
    }
}

/// A note on which side of the SLO the numbers are; empty if none is judged.
fn side(canvas: &Canvas<'_, '_>, table: &Tiles, term: Option<&SloTerm>) -> String {
    let sides: BTreeSet<bool> =
        table.tiles.iter().flatten().flatten().filter_map(|tile| tile.inside).collect();
    let side = match (sides.contains(&true), sides.contains(&false)) {
        (true, true) => "both",
        (true, false) => "within",
        (false, true) => "beyond",
        (false, false) => return String::new(),
    };
    term.map_or_else(String::new, |term| canvas.text("slo_side", context! { side, slo => about::slo(term) }))
}

/// Draws the key of the colours, from the lowest to the highest value.
fn ramp(sheet: &mut Sheet, canvas: &Canvas<'_, '_>, colours: &Colours, picked: bool) {
    let text = colours.metric.heading();
    let (from, to) = (number::ms_bare(Some(colours.low)), number::ms_bare(Some(colours.darkest)));
    let mut flow = sheet.row();
    let (x, y) = flow.place(width(&text, 12.0));
    sheet.svg.text((x, y), Anchor::Start, "key", &text);
    let (before, after) = (width(&from, 12.0) + 8.0, width(&to, 12.0) + 8.0);
    let fills = STEP * FILLS.len() as f64;
    let (mut x, y) = flow.place(before + fills + after);
    let svg = &mut sheet.svg;
    svg.text((x, y), Anchor::Start, "key", &from);
    x += before;
    for fill in FILLS {
        svg.rect(x, y - 11.0, STEP, 14.0, 0.0, fill);
        x += STEP;
    }
    svg.text((x + 8.0, y), Anchor::Start, "key", &to);
    if picked {
        flow.tile_key(svg, "pick", &Key::Pick.text(canvas));
    }
    sheet.end_row(flow);
}
