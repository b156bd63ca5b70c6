//! What every picture has around its plot: title, what was measured, marks of where the numbers come from,
//! the keys of its signs, and the notes below.

use minijinja::context;

use super::{
    Chart, Drawn,
    canvas::Canvas,
    legend::Flow,
    svg::{Anchor, Svg, px},
    text::{fitted, lines, width, wrapped},
};
use crate::report::{
    escape,
    origin::{Origin, badge},
};

/// Width of every picture, pixels.
pub(super) const WIDE: f64 = 760.0;
/// The same on a phone, where the wide one would be too small to read.
pub(super) const NARROW: f64 = 372.0;
/// Free room at the left and right edge.
pub(super) const EDGE: f64 = 20.0;
/// How much wider a title is than [`width`] says, in the widest of the usual fonts.
const SEMIBOLD: f64 = 1.14;
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
    /// What it means, in the reader's words.
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
            Self::Origin(origin) => ("origin", Some(origin)),
        };
        canvas.text("key", context! { key, origin => origin.map(Origin::word) })
    }
}

/// A picture that is being drawn.
pub(super) struct Sheet {
    pub(super) svg: Svg,
    pub(super) wide: f64,
    head: f64,
}

impl Sheet {
    /// Begins with the head; the plot may start at [`Sheet::top`].
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

    /// Where the plot may start.
    pub(super) fn top(&self) -> f64 {
        self.head
    }

    /// Whether it is drawn for a phone.
    pub(super) fn is_narrow(&self) -> bool {
        self.wide < WIDE
    }

    /// Begins a row of keys below the head; [`Sheet::end_row`] makes it part of the head.
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
                Key::Pick => self.svg.circle(middle, 6.5, "halo"),
                Key::P50 => self.svg.line((x + 8.0, y - 11.0), (x + 8.0, y + 2.0), "line s5"),
                Key::Origin(origin) => self.svg.text((x + 8.0, y), Anchor::Middle, "origin", origin.letter()),
                Key::P95 => self.svg.line((x + 8.0, y - 11.0), (x + 8.0, y + 2.0), "line unranked s5"),
            }
            self.svg.text((x + 22.0, y), Anchor::Start, "key", &text);
        }
        self.end_row(flow);
    }

    /// Ends the picture: notes below `bottom`, one paragraph each.
    pub(super) fn finish(mut self, bottom: f64, notes: &[String], chart: Chart) -> Chart {
        let mut y = bottom + 8.0;
        for note in notes {
            for line in wrapped(note, 12.0, self.wide - 2.0 * EDGE) {
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

/// The title in a few lines. Where the name of a workload is too long for that, it is cut and not what the
/// picture shows.
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

impl Chart {
    /// The picture as a file of its own: it looks after light and dark by itself.
    pub fn svg(&self) -> String {
        self.element(&self.wide, "", &format!("<style>\n{STYLE}</style>\n"))
    }

    /// The picture as elements of a page that has [`Chart::style`] once: for a wide screen and for a phone,
    /// one of which is shown.
    pub(in crate::report) fn inline(&self) -> String {
        match &self.narrow {
            Some(narrow) => format!(
                "{}{}",
                self.element(&self.wide, " for-wide", ""),
                self.element(narrow, " for-narrow", "")
            ),
            None => self.element(&self.wide, "", ""),
        }
    }

    /// The style that [`Chart::inline`] needs.
    pub(in crate::report) fn style() -> &'static str {
        STYLE
    }

    fn element(&self, drawn: &Drawn, class: &str, style: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart{class}\" viewBox=\"0 0 {w} {h}\" \
             width=\"{w}\" height=\"{h}\" role=\"img\">\n\
             <title>{}</title>\n<desc>{}</desc>\n{style}{}</svg>\n",
            escape::xml(&self.title),
            escape::xml(&self.alt),
            drawn.body,
            w = px(drawn.width),
            h = px(drawn.height),
        )
    }
}
