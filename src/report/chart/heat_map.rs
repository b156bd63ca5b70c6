//! The latency heat map over the two axes that say most.

use super::{
    Chart, about,
    scope::{Scope, thinned, values},
    sheet::{NARROW, Sheet},
    svg::Anchor,
    text::width,
    tiles::{self, Tile, Tiles},
};
use crate::{
    manifest::scalar_text,
    measure::CellOutcome,
    report::{
        insight::{coordinate, may_rank_by, of},
        number,
    },
    store::{CellFile, StoredRun},
};

/// Tiles that stay readable.
const COLUMNS: usize = 10;
/// The same on a phone.
const FEW_COLUMNS: usize = 5;
const ROWS: usize = 12;
/// Width of one colour in the key.
const STEP: f64 = 22.0;
const FILLS: [&str; 7] = ["t0", "t1", "t2", "t3", "t4", "t5", "t6"];
const INKS: [&str; 7] = ["u0", "u1", "u2", "u3", "u4", "u5", "u6"];
/// Latencies that span this ratio are coloured by their logarithm.
const LOG_FROM: f64 = 5.0;

/// The picture; `None` where fewer than two axes have several values, or fewer than two cells a latency.
pub(super) fn draw(run: &StoredRun, scope: &Scope<'_>) -> Option<Chart> {
    let (key, term) = about::latencies(scope).into_iter().next()?;
    let across = scope.along()?;
    let others: Vec<&str> = scope
        .varying
        .iter()
        .copied()
        .filter(|axis| *axis != across)
        .collect();
    let down = scope.strongest(&others, &key)?;
    let rest: Vec<&str> = others.into_iter().filter(|axis| *axis != down).collect();
    let (cells, held) = scope.held(&rest);
    let best = |axis: &str| {
        scope
            .best
            .and_then(|cell| coordinate(cell, axis))
            .map(scalar_text)
    };
    let most = if scope.wide <= NARROW {
        FEW_COLUMNS
    } else {
        COLUMNS
    };
    let (columns, fewer_columns) = thinned(&values(&cells, across), most, best(across).as_deref());
    let (rows, fewer_rows) = thinned(&values(&cells, down), ROWS, best(down).as_deref());
    if columns.len() < 2 || rows.len() < 2 {
        return None;
    }
    let at = |row: &str, column: &str| {
        cells
            .iter()
            .copied()
            .find(|cell| is_at(cell, down, row) && is_at(cell, across, column))
    };
    let found: Vec<Vec<Option<&CellFile>>> = rows
        .iter()
        .map(|row| columns.iter().map(|column| at(row, column)).collect())
        .collect();
    let shown = || found.iter().flatten().flatten().copied();
    let numbers: Vec<f64> = shown().filter_map(|cell| of(cell, &key)).collect();
    if numbers.len() < 2 {
        return None;
    }
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Numbers that differ by less than a factor of two do not get the whole ramp: it would make noise look like much.
    let darkest = high.max(low * 2.0);
    let limit = term.as_ref().map(|term| term.limit.as_ms());
    let tile = |cell: &CellFile| {
        let value = of(cell, &key);
        let step = value.map(|value| step(value, low, darkest));
        let mark = if value.is_some() && !may_rank_by(cell, &key) {
            " †"
        } else {
            ""
        };
        Tile {
            fill: step.map_or("none", |step| FILLS[step]),
            ink: step.map_or("on-none", |step| INKS[step]),
            lines: vec![value.map_or_else(
                || absent(cell),
                |value| {
                    let letter = scope.letter(cell);
                    let space = if letter.is_empty() { "" } else { " " };
                    format!("{}{mark}{space}{letter}", number::ms_bare(Some(value)))
                },
            )],
            about: about::cell(scope, cell),
            cell: Some(cell.id.clone()),
            picked: scope.best.is_some_and(|best| best.id == cell.id),
            inside: value.zip(limit).map(|(value, limit)| value <= limit),
        }
    };
    let table = Tiles {
        row_axis: down.to_owned(),
        column_axis: across.to_owned(),
        tiles: found
            .iter()
            .map(|row| row.iter().map(|cell| cell.map(tile)).collect())
            .collect(),
        rows,
        columns,
    };
    let name = about::name(&key);
    let chart = Chart::new(
        "heat_map",
        scope.workload,
        format!("{}: {name} over {across} and {down}", scope.workload),
        format!(
            "{name} from {} to {}, over {across} and {down}.",
            number::ms(Some(low)),
            number::ms(Some(high))
        ),
    );
    let picked = shown().any(|cell| scope.best.is_some_and(|best| best.id == cell.id));
    let mut sheet = Sheet::new(&chart.title, &about::source(run), run, &[], scope.wide);
    ramp(&mut sheet, &name, low, darkest, picked);
    let bottom = tiles::draw(&mut sheet, &table);
    let thinned = match (fewer_columns, fewer_rows) {
        (true, true) => {
            format!("Only {most} values of {across} and {ROWS} of {down} are shown.")
        }
        (true, false) => format!("Only {most} values of {across} are shown."),
        (false, true) => format!("Only {ROWS} values of {down} are shown."),
        (false, false) => String::new(),
    };
    let edge = match &term {
        Some(term) if table_crosses(&table) => format!(
            "The line marks the SLO: {name} ≤ {}.",
            number::ms(Some(term.limit.as_ms()))
        ),
        Some(term) => {
            let side = if high <= term.limit.as_ms() {
                "within"
            } else {
                "beyond"
            };
            format!(
                "Every number is {side} the SLO {name} ≤ {}.",
                number::ms(Some(term.limit.as_ms()))
            )
        }
        None => String::new(),
    };
    let unranked = about::unranked(shown(), &key);
    let unranked = if unranked.is_empty() {
        unranked
    } else {
        format!("† {unranked}")
    };
    let notes = super::notes([edge, scope.constant.clone(), held, thinned, unranked]);
    Some(sheet.finish(bottom, &notes, chart))
}

fn is_at(cell: &CellFile, axis: &str, text: &str) -> bool {
    coordinate(cell, axis).is_some_and(|value| scalar_text(value) == text)
}

fn absent(cell: &CellFile) -> String {
    match cell.outcome {
        CellOutcome::Oom => "OOM".into(),
        outcome if outcome.is_measured() => number::ABSENT.into(),
        outcome => outcome.name().replace('_', " "),
    }
}

fn table_crosses(table: &Tiles) -> bool {
    let sides = || {
        table
            .tiles
            .iter()
            .flatten()
            .flatten()
            .filter_map(|tile| tile.inside)
    };
    sides().any(|inside| inside) && sides().any(|inside| !inside)
}

/// Which of the seven fills a value has.
fn step(value: f64, low: f64, high: f64) -> usize {
    let part = if high <= low {
        0.0
    } else if low > 0.0 && high / low >= LOG_FROM {
        (value / low).ln() / (high / low).ln()
    } else {
        (value - low) / (high - low)
    };
    ((part * 7.0) as usize).min(6)
}

/// What the colours mean: from the lowest to the highest value.
fn ramp(sheet: &mut Sheet, name: &str, low: f64, high: f64, picked: bool) {
    let text = format!("{name}, ms");
    let (from, to) = (number::ms_bare(Some(low)), number::ms_bare(Some(high)));
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
        let (x, y) = flow.place(26.0 + width("best cell", 12.0));
        svg.rect(x, y - 11.0, 18.0, 14.0, 2.0, "pick");
        svg.text((x + 26.0, y), Anchor::Start, "key", "best cell");
    }
    sheet.end_row(flow);
}
