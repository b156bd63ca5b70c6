//! The frame of every chart: title, source and origin of the numbers, the keys of its signs, and the notes
//! below.

use minijinja::context;

use super::{
    canvas::{Canvas, EDGE, WIDE},
    flow::Flow,
    picture::{Chart, Drawn},
    plane::Plane,
    svg::{Anchor, Svg, px},
    text::{fitted, lines, width, wrapped},
};
use crate::report::origin::{Origin, badge};

/// How much wider a title is than [`width`] says, in the widest of the usual fonts.
const SEMIBOLD: f64 = 1.14;

/// A sign that a chart explains in its row of keys.
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
    /// A probe whose value works, one whose value does not, and one that says nothing.
    Works,
    Fails,
    Invalid,
    /// The same of a value that is judged by an SLO.
    Meets,
    Misses,
    /// A probe that ended early.
    Early,
    /// The band in which a limit lies.
    Bracket,
    /// The best server.
    Best,
    /// The letter beside numbers that were not measured, in a run with several origins.
    Origin(Origin),
}

impl Key {
    /// Its meaning.
    pub(super) fn text(self, canvas: &Canvas<'_, '_>) -> String {
        let (key, origin) = match self {
            Self::Ranked => ("ranked", Some(canvas.origin())),
            Self::Unranked => ("unranked", None),
            Self::Front => ("front", None),
            Self::Limit => ("limit", None),
            Self::Failed => ("failed", None),
            Self::Pick => ("pick", None),
            Self::P50 => ("p50", None),
            Self::P95 => ("p95", None),
            Self::Works => ("works", None),
            Self::Fails => ("fails", None),
            Self::Invalid => ("invalid", None),
            Self::Meets => ("meets", None),
            Self::Misses => ("misses", None),
            Self::Early => ("early", None),
            Self::Bracket => ("bracket", None),
            Self::Best => ("best", None),
            Self::Origin(origin) => ("origin", Some(origin)),
        };
        canvas.text("key", context! { key, origin => origin.map(Origin::word) })
    }
}

/// A chart that is being drawn.
pub(super) struct Sheet {
    pub(super) svg: Svg,
    pub(super) wide: f64,
    head: f64,
}

impl Sheet {
    /// Draws the head; the plot may start at [`Sheet::top`].
    pub(super) fn new(canvas: &Canvas<'_, '_>, title: &str, sub: &str, keys: &[Key]) -> Self {
        let wide = canvas.wide;
        let mut sheet = Self { svg: Svg::default(), wide, head: 11.0 };
        let mut room = wide - 2.0 * EDGE;
        if let Some(text) = badge(canvas.model.run) {
            let badge_width = width(&text, 12.0) * 1.15 + 20.0;
            let x = if sheet.is_narrow() {
                sheet.head += 31.0;
                EDGE
            } else {
                room -= badge_width + 8.0;
                wide - EDGE - badge_width
            };
            sheet.svg.rect(x, 15.0, badge_width, 23.0, 4.0, "badge");
            sheet.svg.text((x + badge_width / 2.0, 31.0), Anchor::Middle, "badge-text", &text);
        }
        for line in headline(title, room / SEMIBOLD, if sheet.is_narrow() { 3 } else { 2 }) {
            sheet.head += 21.0;
            sheet.svg.text((EDGE, sheet.head), Anchor::Start, "title", &line);
        }
        sheet.head += 4.0;
        for line in lines(sub, 13.0, wide - 2.0 * EDGE, 3) {
            sheet.head += 17.0;
            sheet.svg.text((EDGE, sheet.head), Anchor::Start, "sub", &line);
        }
        sheet.head += 13.0;
        if !keys.is_empty() {
            sheet.keys(canvas, keys);
        }
        sheet
    }

    /// The top of the room for the plot.
    pub(super) fn top(&self) -> f64 {
        self.head
    }

    /// Whether the chart is for a phone.
    pub(super) fn is_narrow(&self) -> bool {
        self.wide < WIDE
    }

    /// The plot area of a chart with a value axis, over the whole width.
    pub(super) fn plane(&self, top: f64, height: f64) -> Plane {
        Plane { left: EDGE + 52.0, right: self.wide - EDGE - 14.0, top, bottom: top + height }
    }

    /// Begins a row of keys below the head; [`Sheet::end_row`] adds it to the head.
    pub(super) fn row(&self) -> Flow {
        Flow::new(self.head + 10.0, self.wide)
    }

    pub(super) fn end_row(&mut self, flow: Flow) {
        self.head = flow.y() + 16.0;
    }

    fn keys(&mut self, canvas: &Canvas<'_, '_>, keys: &[Key]) {
        let mut flow = self.row();
        for key in keys {
            let text = key.text(canvas);
            let (x, y) = flow.place(22.0 + width(&text, 12.0));
            let middle = (x + 8.0, y - 4.0);
            let (from, to) = ((x, y - 4.0), (x + 16.0, y - 4.0));
            match key {
                Key::Ranked => self.svg.circle(middle, 4.5, "f5"),
                Key::Unranked => self.svg.circle(middle, 4.5, "hollow s5"),
                Key::Front => self.svg.line(from, to, "line front"),
                Key::Limit => self.svg.line(from, to, "limit"),
                Key::Failed => self.svg.cross(middle, 4.0, "cross s5"),
                Key::Pick | Key::Best => self.svg.circle(middle, 6.5, "halo"),
                Key::Works | Key::Meets => self.svg.marker(0, middle, 4.8, "f0"),
                Key::Fails | Key::Misses => self.svg.marker(1, middle, 5.2, "f1"),
                Key::Invalid => self.svg.cross(middle, 4.0, "cross s5"),
                Key::Early => self.svg.circle(middle, 4.5, "hollow s5"),
                Key::Bracket => self.svg.rect(x, y - 10.0, 16.0, 12.0, 0.0, "window"),
                Key::P50 => self.svg.line((x + 8.0, y - 11.0), (x + 8.0, y + 2.0), "line s5"),
                Key::Origin(origin) => self.svg.text((x + 8.0, y), Anchor::Middle, "origin", origin.letter()),
                Key::P95 => self.svg.line((x + 8.0, y - 11.0), (x + 8.0, y + 2.0), "line unranked s5"),
            }
            self.svg.text((x + 22.0, y), Anchor::Start, "key", &text);
        }
        self.end_row(flow);
    }

    /// Ends the chart with notes below `bottom`, one paragraph each; empty ones are left out.
    pub(super) fn finish(
        mut self,
        bottom: f64,
        notes: impl IntoIterator<Item = String>,
        chart: Chart,
    ) -> Chart {
        let mut y = bottom + 8.0;
        for note in notes {
            for line in wrapped(&note, 12.0, self.wide - 2.0 * EDGE) {
                y += 17.0;
                self.svg.text((EDGE, y), Anchor::Start, "note", &line);
            }
        }
        let height = y + 16.0;
        let frame = format!(
            "<rect width=\"{}\" height=\"{}\" rx=\"6\" class=\"paper\"/>\n",
            px(self.wide),
            px(height)
        );
        Chart {
            wide: Drawn { width: self.wide, height, body: format!("{frame}{}", self.svg.into_body()) },
            ..chart
        }
    }
}

/// The title in at most `most` lines. If the name of a workload is too long, it is cut and the rest is kept.
fn headline(title: &str, room: f64, most: usize) -> Vec<String> {
    match title.rsplit_once(": ") {
        Some((name, what)) if wrapped(title, 17.0, room).len() > most => {
            let mut cut = vec![fitted(&format!("{name}:"), 17.0, room)];
            cut.extend(lines(what, 17.0, room, most));
            cut
        }
        _ => lines(title, 17.0, room, most),
    }
}
