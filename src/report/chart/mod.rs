//! A stored run → pictures: SVG files that look after light and dark by themselves.
//!
//! Drawn by a small layer of our own ([`svg`]) and not by a library. What GitHub shows is an SVG file as an
//! image: its colours can follow the reader's light or dark only through classes and a media query inside the
//! file, its text must stay text, and the same run must give the same bytes. `plotters` writes each colour
//! into each element; `charming` draws in a JavaScript engine; `poloto` has classes, but neither direct
//! labels nor heat maps, and its last release is of 2023. What is needed is a few shapes; the work is in
//! choosing what to show, which no library does.
//!
//! Of the six colours those that a colour-blind reader takes for one another (blue and purple, orange and
//! brown, green and grey) differ in lightness; a shape says the same once more. Numbers that may not be
//! ranked are hollow; what was simulated says so inside the picture. Every word is a macro of
//! `templates/charts.j2`.

mod about;
mod along;
mod canvas;
mod distribution;
mod heat_map;
mod legend;
mod oom_surface;
mod plane;
mod predicted;
mod scale;
mod scope;
mod sheet;
mod svg;
mod text;
mod throughput;
mod tiles;
mod timeline;
mod tradeoff;

#[cfg(test)]
mod tests;

use minijinja::{Value, context};

use super::{file_name, finding::Words, model::Model};
use crate::diagnostic::Findings;
use canvas::{Canvas, Say};
use scope::Scope;
use sheet::{NARROW, WIDE};

/// One picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Its file name under `charts/`: `chat-throughput.svg`.
    pub file: String,
    /// What it shows, in one word: `throughput`, `oom_surface` …
    pub kind: &'static str,
    /// The workload it is about; absent when it is about the servers.
    pub workload: Option<String>,
    /// Its title.
    pub title: String,
    /// What it shows for who cannot see it, one sentence.
    pub alt: String,
    wide: Drawn,
    narrow: Option<Drawn>,
}

/// What was drawn, for one width of screen.
#[derive(Clone, Debug, Default, PartialEq)]
struct Drawn {
    width: f64,
    height: f64,
    body: String,
}

impl Chart {
    /// A picture whose macros `<kind>_title` and `<kind>_alt` say what it shows, of `f` and its workload.
    fn new(canvas: &Canvas<'_, '_>, kind: &'static str, workload: Option<&str>, f: Value) -> Self {
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
}

/// Every picture of a run, workloads in the order of the plan. A picture that would be empty is not there.
///
/// # Errors
/// Every macro that fails.
pub(super) fn charts<'a>(model: &Model<'a>, words: &'a Words) -> Result<Vec<Chart>, Findings> {
    let mut charts = Vec::new();
    for scope in (0..model.workloads.len()).filter_map(|workload| Scope::of(model, workload)) {
        let of_workload = |canvas: &Canvas<'_, '_>| {
            let pictures = [
                throughput::draw(canvas, &scope),
                tradeoff::draw(canvas, &scope),
                heat_map::draw(canvas, &scope),
                distribution::draw(canvas, &scope),
                timeline::draw(canvas, &scope),
                predicted::draw(canvas, &scope),
            ];
            pictures.into_iter().flatten().collect()
        };
        charts.extend(drawn(model, words, of_workload)?);
    }
    charts.extend(drawn(model, words, |canvas| oom_surface::draw(canvas).into_iter().collect())?);
    Ok(named(charts))
}

/// Some pictures in both widths: whether there is one does not depend on its width.
fn drawn<'a>(
    model: &Model<'a>,
    words: &'a Words,
    draw: impl Fn(&Canvas<'_, '_>) -> Vec<Chart>,
) -> Result<Vec<Chart>, Findings> {
    let say = Say::new(words)?;
    let mut charts = draw(&Canvas { model, say: &say, wide: WIDE });
    let narrow = draw(&Canvas { model, say: &say, wide: NARROW });
    for (chart, other) in charts.iter_mut().zip(narrow) {
        chart.narrow = Some(other.wide);
    }
    say.finish()?;
    Ok(charts)
}

/// Gives every picture a file name that is safe anywhere and its own.
fn named(mut charts: Vec<Chart>) -> Vec<Chart> {
    let mut taken: Vec<String> = Vec::new();
    for chart in &mut charts {
        let stem = match &chart.workload {
            Some(workload) => format!("{}-{}", file_name::plain(workload), chart.kind),
            None => chart.kind.to_owned(),
        }
        .replace('_', "-");
        chart.file = format!("{}.svg", file_name::own(stem, &mut taken));
    }
    charts
}

/// The sentences that say something.
fn notes(sentences: impl IntoIterator<Item = String>) -> Vec<String> {
    sentences.into_iter().filter(|text| !text.is_empty()).collect()
}
