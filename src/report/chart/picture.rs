//! A finished chart and its forms: a file of its own, and elements of a page.

use minijinja::{Value, context};

use super::{canvas::Canvas, svg::px};
use crate::report::escape;

const STYLE: &str = include_str!("style.css");

/// One chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Its file name under `charts/`: `chat-throughput.svg`.
    pub file: String,
    /// What it shows, in one word: `throughput`, `oom_surface` …
    pub kind: &'static str,
    /// Its workload; `None` if it is about the servers.
    pub workload: Option<String>,
    /// Its title.
    pub title: String,
    /// One sentence on what it shows, for readers who cannot see it.
    pub alt: String,
    pub(super) wide: Drawn,
    pub(super) narrow: Option<Drawn>,
}

/// A drawing for one width of screen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Drawn {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) body: String,
}

impl Chart {
    /// An empty chart; the macros `<kind>_title` and `<kind>_alt` give its title and description from `f` and
    /// its workload.
    pub(super) fn new(canvas: &Canvas<'_, '_>, kind: &'static str, workload: Option<&str>, f: Value) -> Self {
        let f = context! { workload, ..f };
        Self {
            file: String::new(),
            kind,
            workload: workload.map(str::to_owned),
            title: canvas.text(&format!("{kind}_title"), f.clone()),
            alt: canvas.text(&format!("{kind}_alt"), f),
            wide: Drawn::default(),
            narrow: None,
        }
    }

    /// The chart as a file of its own, which follows the reader's light or dark mode.
    pub fn svg(&self) -> String {
        self.element(&self.wide, "", &format!("<style>\n{STYLE}</style>\n"))
    }

    /// The chart as elements of a page that includes [`Chart::style`] once: one for wide screens and one for
    /// phones.
    pub(crate) fn inline(&self) -> String {
        match &self.narrow {
            Some(narrow) => {
                self.element(&self.wide, " for-wide", "") + &self.element(narrow, " for-narrow", "")
            }
            None => self.element(&self.wide, "", ""),
        }
    }

    /// The style sheet for [`Chart::inline`].
    pub(crate) fn style() -> &'static str {
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
