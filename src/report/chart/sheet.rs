//! What every picture has around its plot: title, what was measured, marks of where the numbers come from, the keys of its
//! signs, and the notes below.

use super::{
    Chart,
    svg::{Anchor, Svg, px},
    text::{fitted, width, wrapped},
};
use crate::{
    report::{
        escape,
        origin::{Origin, badge},
    },
    store::StoredRun,
};

/// Width of every picture, pixels.
pub(super) const WIDTH: f64 = 760.0;
/// Free room at the left and right edge.
pub(super) const EDGE: f64 = 20.0;
const STYLE: &str = include_str!("style.css");

/// A sign that the picture uses, for the row of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Ranked,
    Unranked,
    Front,
    Limit,
    Failed,
    Pick,
    P50,
    P95,
    /// The letter beside what was not measured, where a run has cells of several kinds.
    Origin(Origin),
}

impl Key {
    fn text(self, badge: Option<&str>) -> &'static str {
        match self {
            Self::Ranked if badge == Some("PREDICTED") => "predicted",
            Self::Ranked if badge == Some("SIMULATED") => "simulated",
            Self::Ranked => "measured",
            Self::Unranked => "not to be ranked",
            Self::Front => "Pareto front",
            Self::Limit => "SLO",
            Self::Failed => "no numbers",
            Self::Pick => "best cell",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::Origin(origin) => origin.word(),
        }
    }
}

/// A picture that is being drawn.
pub(super) struct Sheet {
    pub(super) svg: Svg,
    head: f64,
}

impl Sheet {
    /// Begins with the head; the plot may start at [`Sheet::top`].
    pub(super) fn new(title: &str, sub: &str, run: &StoredRun, keys: &[Key]) -> Self {
        let badge = badge(run);
        let badge = badge.as_deref();
        let mut svg = Svg::default();
        let badge_width = badge.map_or(0.0, |text| width(text, 12.0) * 1.15 + 20.0);
        let room = WIDTH - 2.0 * EDGE - badge_width - 8.0;
        svg.text(
            (EDGE, 32.0),
            Anchor::Start,
            "title",
            &fitted(title, 17.0, room / 1.06),
        );
        if let Some(text) = badge {
            let x = WIDTH - EDGE - badge_width;
            svg.rect(x, 15.0, badge_width, 23.0, 4.0, "badge");
            svg.text(
                (x + badge_width / 2.0, 31.0),
                Anchor::Middle,
                "badge-text",
                text,
            );
        }
        svg.text(
            (EDGE, 53.0),
            Anchor::Start,
            "sub",
            &fitted(sub, 13.0, WIDTH - 2.0 * EDGE),
        );
        let mut sheet = Self { svg, head: 66.0 };
        if !keys.is_empty() {
            sheet.keys(keys, badge);
            sheet.head = 92.0;
        }
        sheet
    }

    /// Where the plot may start.
    pub(super) fn top(&self) -> f64 {
        self.head
    }

    fn keys(&mut self, keys: &[Key], badge: Option<&str>) {
        let mut x = EDGE;
        let y = 76.0;
        for key in keys {
            let middle = (x + 8.0, y - 4.0);
            let (from, to) = ((x, y - 4.0), (x + 16.0, y - 4.0));
            match key {
                Key::Ranked => self.svg.circle(middle, 4.5, "f5"),
                Key::Unranked => self.svg.circle(middle, 4.5, "hollow s5"),
                Key::Front => self.svg.line(from, to, "line front"),
                Key::Limit => self.svg.line(from, to, "limit"),
                Key::Failed => self.svg.cross(middle, 4.0, "cross s5"),
                Key::Pick => self.svg.circle(middle, 6.5, "halo"),
                Key::P50 => self
                    .svg
                    .line((x + 8.0, y - 11.0), (x + 8.0, y + 2.0), "line s5"),
                Key::Origin(origin) => {
                    self.svg
                        .text((x + 8.0, y), Anchor::Middle, "origin", origin.letter())
                }
                Key::P95 => {
                    self.svg
                        .line((x + 8.0, y - 11.0), (x + 8.0, y + 2.0), "line unranked s5")
                }
            }
            self.svg
                .text((x + 22.0, y), Anchor::Start, "key", key.text(badge));
            x += 22.0 + width(key.text(badge), 12.0) + 20.0;
        }
    }

    /// Ends the picture: notes below `bottom`, one paragraph each.
    pub(super) fn finish(mut self, bottom: f64, notes: &[String], chart: Chart) -> Chart {
        let mut y = bottom + 8.0;
        for note in notes {
            for line in wrapped(note, 12.0, WIDTH - 2.0 * EDGE) {
                y += 17.0;
                self.svg.text((EDGE, y), Anchor::Start, "note", &line);
            }
        }
        let height = y + 16.0;
        let frame = format!(
            "<rect width=\"{}\" height=\"{}\" rx=\"6\" class=\"paper\"/>\n",
            px(WIDTH),
            px(height)
        );
        Chart {
            body: format!("{frame}{}", self.svg.into_body()),
            width: WIDTH,
            height,
            ..chart
        }
    }
}

impl Chart {
    /// The picture as a file of its own: it looks after light and dark by itself.
    pub fn svg(&self) -> String {
        self.element(&format!("<style>\n{STYLE}</style>\n"))
    }

    /// The picture as an element of a page that has [`Chart::style`] once.
    pub(in crate::report) fn inline(&self) -> String {
        self.element("")
    }

    /// The style that [`Chart::inline`] needs.
    pub(in crate::report) fn style() -> &'static str {
        STYLE
    }

    fn element(&self, style: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" role=\"img\">\n<title>{}</title>\n<desc>{}</desc>\n{style}{}</svg>\n",
            escape::xml(&self.title),
            escape::xml(&self.alt),
            self.body,
            w = px(self.width),
            h = px(self.height),
        )
    }
}
