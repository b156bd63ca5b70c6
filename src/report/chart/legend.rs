//! Keys in rows: each entry beside the one before, on a new row where the width ends.

use super::{
    scope::Series,
    sheet::{EDGE, Sheet},
    svg::{Anchor, Svg},
    text::{fitted, told_apart, width},
};

/// Height of one row of keys.
const ROW: f64 = 20.0;
/// Room between two entries.
const GAP: f64 = 18.0;

/// Where the next entry goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    x: f64,
    y: f64,
    right: f64,
}

impl Flow {
    /// Rows whose first text stands on the line `y`, of a picture `wide` pixels wide.
    pub(super) fn new(y: f64, wide: f64) -> Self {
        Self { x: EDGE, y, right: wide - EDGE }
    }

    /// Where an entry of this width stands: its left end and the line of its text.
    pub(super) fn place(&mut self, wide: f64) -> (f64, f64) {
        if self.x > EDGE && self.x + wide > self.right {
            self.x = EDGE;
            self.y += ROW;
        }
        let at = (self.x, self.y);
        self.x += wide + GAP;
        at
    }

    /// A tile and what it means.
    pub(super) fn tile_key(&mut self, svg: &mut Svg, fill: &str, text: &str) {
        let (x, y) = self.place(26.0 + width(text, 12.0));
        svg.rect(x, y - 11.0, 18.0, 14.0, 2.0, fill);
        svg.text((x + 26.0, y), Anchor::Start, "key", text);
    }

    /// The line of the last row.
    pub(super) fn y(&self) -> f64 {
        self.y
    }

    /// The most that one entry can have.
    pub(super) fn room(&self) -> f64 {
        self.right - EDGE
    }
}

/// The shapes of some series and what they are, below the head of the picture: the axes first, then their
/// values. One of which nothing is drawn has no key.
pub(super) fn series(sheet: &mut Sheet, series: &[Series<'_, '_>]) {
    let Some(first) = series.first() else { return };
    let has_numbers = |one: &Series<'_, '_>| one.cells.iter().any(|cell| cell.has_numbers());
    let mut flow = sheet.row();
    let names = fitted(&first.names, 12.0, flow.room());
    let (x, y) = flow.place(width(&names, 12.0));
    sheet.svg.text((x, y), Anchor::Start, "key", &names);
    let texts: Vec<&str> = series.iter().map(|one| one.values.as_str()).collect();
    let texts = told_apart(&texts, 12.0, flow.room().min(240.0) - 22.0);
    for (index, text) in texts.iter().enumerate() {
        if !has_numbers(&series[index]) {
            continue;
        }
        let (x, y) = flow.place(22.0 + width(text, 12.0));
        sheet.svg.marker(index, (x + 8.0, y - 4.0), 4.5, &format!("f{index}"));
        sheet.svg.text((x + 22.0, y), Anchor::Start, "key", text);
    }
    sheet.end_row(flow);
}
