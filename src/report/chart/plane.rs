//! A plot area with a value axis at the left and another axis below.

use super::{
    scale::Scale,
    svg::{Anchor, Svg},
    text::{fitted, width},
};

/// A plot area in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plane {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl Plane {
    /// Draws the ticks of a value axis across the plot, their text at the left, and the name of the axis
    /// above.
    pub(super) fn values(&self, svg: &mut Svg, scale: &Scale, title: &str) {
        for (value, text) in scale.ticks() {
            let y = scale.at(value);
            svg.line((self.left, y), (self.right, y), "grid");
            svg.text((self.left - 8.0, y + 4.5), Anchor::End, "tick", &text);
        }
        self.title(svg, title);
    }

    /// Draws the name of the value axis above the plot, where it reads horizontally.
    pub(super) fn title(&self, svg: &mut Svg, title: &str) {
        let x = self.left - 50.0;
        svg.text((x.max(20.0), self.top - 14.0), Anchor::Start, "axis", &fitted(title, 13.5, self.right - x));
    }

    /// Draws the axis below: its ticks, their texts as far as there is room, and its name.
    pub(super) fn below(&self, svg: &mut Svg, ticks: &[(f64, String)], title: &str) {
        svg.line((self.left, self.bottom), (self.right, self.bottom), "base");
        let room = (self.right - self.left) / ticks.len().max(1) as f64;
        let numeric = ticks.iter().all(|(_, text)| text.replace(',', "").parse::<f64>().is_ok());
        // Long names are cut; of crowded numbers some are left out.
        let cut = if numeric { f64::INFINITY } else { room.max(48.0) - 10.0 };
        let mut free = f64::NEG_INFINITY;
        for (x, text) in ticks {
            let text = fitted(text, 13.0, cut);
            let half = width(&text, 13.0) / 2.0;
            svg.line((*x, self.bottom), (*x, self.bottom + 5.0), "base");
            if x - half >= free {
                svg.text((*x, self.bottom + 20.0), Anchor::Middle, "tick", &text);
                free = x + half + 6.0;
            }
        }
        svg.text(
            ((self.left + self.right) / 2.0, self.bottom + 41.0),
            Anchor::Middle,
            "axis",
            &fitted(title, 13.5, self.right - self.left),
        );
    }

    /// The room that [`Plane::below`] needs under the plot.
    pub(super) const BELOW: f64 = 46.0;

    /// The room that it needs without a name.
    pub(super) const BELOW_BARE: f64 = 26.0;
}
