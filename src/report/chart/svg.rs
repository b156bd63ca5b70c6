//! The drawing layer: shapes and text with classes, written as SVG. It escapes every text and attribute.

use crate::report::escape;

/// The position of a text relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// The shapes of a chart, in the order in which they are painted.
#[derive(Debug, Default)]
pub(super) struct Svg {
    body: String,
}

impl Svg {
    pub(super) fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, radius: f64, class: &str) {
        self.put(&format!(
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\" class=\"{class}\"/>\n",
            px(x),
            px(y),
            px(width.max(0.0)),
            px(height.max(0.0)),
            px(radius)
        ));
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        self.put(&format!(
            "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" class=\"{class}\"/>\n",
            px(from.0),
            px(from.1),
            px(to.0),
            px(to.1)
        ));
    }

    /// A line through points; nothing if there are fewer than two.
    pub(super) fn polyline(&mut self, points: &[(f64, f64)], class: &str) {
        if points.len() > 1 {
            let path = path(points);
            self.put(&format!("<path d=\"{path}\" class=\"{class}\"/>\n"));
        }
    }

    /// The area inside points.
    pub(super) fn polygon(&mut self, points: &[(f64, f64)], class: &str) {
        if points.len() > 2 {
            let path = path(points);
            self.put(&format!("<path d=\"{path}Z\" class=\"{class}\"/>\n"));
        }
    }

    pub(super) fn circle(&mut self, at: (f64, f64), radius: f64, class: &str) {
        self.put(&format!(
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" class=\"{class}\"/>\n",
            px(at.0),
            px(at.1),
            px(radius)
        ));
    }

    /// A marker whose shape distinguishes its series without colour.
    pub(super) fn marker(&mut self, series: usize, at: (f64, f64), size: f64, class: &str) {
        let (x, y) = at;
        let corners: Vec<(f64, f64)> = match series % 6 {
            0 => return self.circle(at, size, class),
            1 => {
                let s = size * 0.88;
                vec![(x - s, y - s), (x + s, y - s), (x + s, y + s), (x - s, y + s)]
            }
            2 => {
                vec![(x, y - size * 1.2), (x + size * 1.1, y + size * 0.8), (x - size * 1.1, y + size * 0.8)]
            }
            3 => {
                let s = size * 1.25;
                vec![(x, y - s), (x + s, y), (x, y + s), (x - s, y)]
            }
            4 => {
                vec![(x, y + size * 1.2), (x + size * 1.1, y - size * 0.8), (x - size * 1.1, y - size * 0.8)]
            }
            _ => (0..6)
                .map(|k| {
                    let turn = std::f64::consts::FRAC_PI_3 * f64::from(k);
                    (x + size * 1.1 * turn.sin(), y - size * 1.1 * turn.cos())
                })
                .collect(),
        };
        self.polygon(&corners, class);
    }

    pub(super) fn cross(&mut self, at: (f64, f64), size: f64, class: &str) {
        let (x, y) = at;
        self.line((x - size, y - size), (x + size, y + size), class);
        self.line((x - size, y + size), (x + size, y - size), class);
    }

    pub(super) fn text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, text: &str) {
        self.put(&format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"{}\" class=\"{class}\">{}</text>\n",
            px(at.0),
            px(at.1),
            anchor.name(),
            escape::xml(text)
        ));
    }

    /// A letter beside a mark; nothing if it is empty.
    pub(super) fn letter(&mut self, at: (f64, f64), letter: &str) {
        if !letter.is_empty() {
            self.text((at.0 - 6.0, at.1 - 5.0), Anchor::End, "origin on", letter);
        }
    }

    /// Opens a mark with a tooltip; `cell` is the cell whose page it links to.
    pub(super) fn open_mark(&mut self, cell: Option<&str>, about: &str) {
        let cell = cell.map_or_else(String::new, |id| format!(" data-cell=\"{}\"", escape::xml(id)));
        self.put(&format!("<g class=\"mark\"{cell}><title>{}</title>\n", escape::xml(about)));
    }

    pub(super) fn close_mark(&mut self) {
        self.put("</g>\n");
    }

    /// The SVG elements.
    pub(super) fn into_body(self) -> String {
        self.body
    }

    fn put(&mut self, text: &str) {
        self.body.push_str(text);
    }
}

fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::with_capacity(points.len() * 12);
    for (index, (x, y)) in points.iter().enumerate() {
        path.push(if index == 0 { 'M' } else { 'L' });
        path.push_str(&px(*x));
        path.push(' ');
        path.push_str(&px(*y));
    }
    path
}

/// A coordinate to a tenth of a pixel, without a trailing zero, so that the same chart gives the same bytes.
pub(super) fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".into(),
        Some(whole) => whole.into(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short_and_never_minus_zero() {
        assert_eq!(px(1.0), "1");
        assert_eq!(px(1.25), "1.2");
        assert_eq!(px(-0.01), "0");
        assert_eq!(px(-3.46), "-3.5");
    }

    #[test]
    fn text_cannot_leave_its_element() {
        let mut svg = Svg::default();
        svg.open_mark(Some("a\"b"), "<script>&\u{1b}");
        svg.close_mark();
        assert_eq!(
            svg.into_body(),
            "<g class=\"mark\" data-cell=\"a&quot;b\"><title>&lt;script&gt;&amp;\u{fffd}</title>\n</g>\n"
        );
    }
}
