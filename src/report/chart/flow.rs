//! Keys in rows: each entry beside the previous one, on a new row where the width ends.

use super::{
    canvas::EDGE,
    svg::{Anchor, Svg},
    text::width,
};

/// Height of one row of keys.
const ROW: f64 = 20.0;
/// Room between two entries.
const GAP: f64 = 18.0;

/// The position of the next entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    x: f64,
    y: f64,
    right: f64,
}

impl Flow {
    /// Rows in a chart `wide` pixels wide, the first at the baseline `y`.
    pub(super) fn new(y: f64, wide: f64) -> Self {
        Self { x: EDGE, y, right: wide - EDGE }
    }

    /// Places an entry of some width; returns its left end and baseline.
    pub(super) fn place(&mut self, wide: f64) -> (f64, f64) {
        if self.x > EDGE && self.x + wide > self.right {
            self.x = EDGE;
            self.y += ROW;
        }
        let at = (self.x, self.y);
        self.x += wide + GAP;
        at
    }

    /// Draws a tile and its meaning.
    pub(super) fn tile_key(&mut self, svg: &mut Svg, fill: &str, text: &str) {
        let (x, y) = self.place(26.0 + width(text, 12.0));
        svg.rect(x, y - 11.0, 18.0, 14.0, 2.0, fill);
        svg.text((x + 26.0, y), Anchor::Start, "key", text);
    }

    /// The baseline of the last row.
    pub(super) fn y(&self) -> f64 {
        self.y
    }

    /// The largest width of an entry.
    pub(super) fn room(&self) -> f64 {
        self.right - EDGE
    }
}
