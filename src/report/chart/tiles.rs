//! A table of coloured tiles over two axes: rows down, columns across.

use super::{
    canvas::EDGE,
    sheet::Sheet,
    svg::Anchor,
    text::{fitted, width},
};

/// One tile.
pub(super) struct Tile {
    /// Class of its fill.
    pub(super) fill: &'static str,
    /// Class of its text.
    pub(super) ink: &'static str,
    /// Its text: one or two lines.
    pub(super) lines: Vec<String>,
    /// Its tooltip.
    pub(super) about: String,
    /// The cell whose page it links to.
    pub(super) cell: Option<String>,
    /// Whether it is framed.
    pub(super) picked: bool,
    /// Whether it is inside a limit, for the edge between the two sides; `None` if unknown.
    pub(super) inside: Option<bool>,
}

/// Rows and columns with their tiles; `None` if there is no such cell.
pub(super) struct Tiles {
    pub(super) row_axis: String,
    pub(super) column_axis: String,
    pub(super) rows: Vec<String>,
    pub(super) columns: Vec<String>,
    pub(super) tiles: Vec<Vec<Option<Tile>>>,
}

const HEIGHT: f64 = 42.0;
const WIDEST: f64 = 220.0;

/// Draws the tiles below the head; returns where they end.
pub(super) fn draw(sheet: &mut Sheet, table: &Tiles) -> f64 {
    let mut top = sheet.top() + 26.0;
    let most = if sheet.is_narrow() { 84.0 } else { 170.0 };
    let wide = sheet.wide;
    let svg = &mut sheet.svg;
    let labels = table.rows.iter().map(|row| width(row, 13.0)).fold(0.0, f64::max).min(most);
    let left = if labels > 0.0 { EDGE + labels.max(40.0) + 14.0 } else { EDGE };
    let column_wide = ((wide - EDGE - left) / table.columns.len().max(1) as f64).min(WIDEST);
    let name = |text: &str| fitted(text, 14.5, (wide - 2.0 * EDGE).min(300.0));
    let across = name(&format!("{} →", table.column_axis));
    let mut x = left;
    if !table.row_axis.is_empty() {
        let down = name(&format!("{} ↓", table.row_axis));
        svg.text((EDGE, top - 12.0), Anchor::Start, "axis", &down);
        x = x.max(EDGE + width(&down, 14.5) + 24.0);
        if x + width(&across, 14.5) > wide - EDGE {
            top += 20.0;
            x = left.min(wide - EDGE - width(&across, 14.5)).max(EDGE);
        }
    }
    svg.text((x, top - 12.0), Anchor::Start, "axis", &across);
    for (index, column) in table.columns.iter().enumerate() {
        let x = left + column_wide * (index as f64 + 0.5);
        svg.text((x, top + 8.0), Anchor::Middle, "tick", &fitted(column, 13.0, column_wide - 6.0));
    }
    let start = top + 16.0;
    for (index, row) in table.rows.iter().enumerate() {
        let y = start + HEIGHT * index as f64;
        svg.text((left - 10.0, y + HEIGHT / 2.0 + 4.5), Anchor::End, "tick", &fitted(row, 13.0, labels));
        for (column, tile) in table.tiles[index].iter().enumerate() {
            let x = left + column_wide * column as f64;
            let Some(tile) = tile else { continue };
            svg.open_mark(tile.cell.as_deref(), &tile.about);
            svg.rect(x, y, column_wide, HEIGHT, 3.0, &format!("tile {}", tile.fill));
            let lines = tile.lines.len();
            for (line, text) in tile.lines.iter().enumerate() {
                let (size, class) = if line == 0 { (13.0, "") } else { (11.0, " small") };
                let middle = y + HEIGHT / 2.0 + 4.5;
                let at = if lines == 1 { middle } else { middle - 8.0 + 15.0 * line as f64 };
                svg.text(
                    (x + column_wide / 2.0, at),
                    Anchor::Middle,
                    &format!("{}{class}", tile.ink),
                    &fitted(text, size, column_wide - 6.0),
                );
            }
            svg.close_mark();
        }
    }
    edges(sheet, table, left, start, column_wide);
    let svg = &mut sheet.svg;
    for (row, tiles) in table.tiles.iter().enumerate() {
        for (column, tile) in tiles.iter().enumerate() {
            if tile.as_ref().is_some_and(|tile| tile.picked) {
                let (x, y) = (left + column_wide * column as f64, start + HEIGHT * row as f64);
                svg.rect(x + 2.5, y + 2.5, column_wide - 5.0, HEIGHT - 5.0, 2.0, "pick");
            }
        }
    }
    start + HEIGHT * table.rows.len() as f64
}

/// Draws the border between tiles inside a limit and tiles beyond it.
fn edges(sheet: &mut Sheet, table: &Tiles, left: f64, top: f64, wide: f64) {
    let side = |row: usize, column: usize| {
        let tile = table.tiles.get(row)?.get(column)?.as_ref()?;
        tile.inside
    };
    for row in 0..table.rows.len() {
        for column in 0..table.columns.len() {
            let Some(own) = side(row, column) else {
                continue;
            };
            let (x, y) = (left + wide * column as f64, top + HEIGHT * row as f64);
            if side(row, column + 1).is_some_and(|other| other != own) {
                sheet.svg.line((x + wide, y), (x + wide, y + HEIGHT), "edge");
            }
            if side(row + 1, column).is_some_and(|other| other != own) {
                sheet.svg.line((x, y + HEIGHT), (x + wide, y + HEIGHT), "edge");
            }
        }
    }
}
