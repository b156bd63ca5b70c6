//! A stored run → pictures: SVG files that look after light and dark by themselves.
//!
//! Drawn by a small layer of our own ([`svg`]) and not by a library. What GitHub shows is an SVG file as an image: its
//! colours can follow the reader's light or dark only through classes and a media query inside the file, its text must stay
//! text, and the same run must give the same bytes. `plotters` writes each colour into each element; `charming` draws in a
//! JavaScript engine; `poloto` has classes, but neither direct labels nor heat maps, and its last release is of 2023. What
//! is needed is a few shapes; the work is in choosing what to show, which no library does.
//!
//! Of the six colours those that a colour-blind reader takes for one another (blue and purple, orange and brown, green and
//! grey) differ in lightness; a shape says the same once more. Numbers that may
//! not be ranked are hollow; what was simulated says so inside the picture.

mod about;
mod along;
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

use super::{file_name, insight::Block};
use crate::store::StoredRun;
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
    fn new(kind: &'static str, workload: &str, title: String, alt: String) -> Self {
        Self {
            file: String::new(),
            kind,
            workload: (!workload.is_empty()).then(|| workload.to_owned()),
            title,
            alt,
            wide: Drawn::default(),
            narrow: None,
        }
    }
}

/// Every picture of a run, workloads in the order of the plan. A picture that would be empty is not there.
pub(super) fn charts(run: &StoredRun, blocks: &[Block<'_>]) -> Vec<Chart> {
    let mut workloads: Vec<&str> = blocks.iter().map(|block| block.workload).collect();
    workloads.dedup();
    let mut scopes: Vec<Scope<'_>> = workloads
        .into_iter()
        .filter_map(|workload| Scope::of(run, blocks, workload))
        .collect();
    let mut charts = drawn(run, &scopes, WIDE);
    scopes.iter_mut().for_each(|scope| scope.wide = NARROW);
    // Whether there is a picture does not depend on its width, so each has its other form at the same place.
    for (chart, other) in charts.iter_mut().zip(drawn(run, &scopes, NARROW)) {
        chart.narrow = Some(other.wide);
    }
    named(charts)
}

fn drawn(run: &StoredRun, scopes: &[Scope<'_>], wide: f64) -> Vec<Chart> {
    let mut charts = Vec::new();
    for scope in scopes {
        charts.extend(throughput::draw(run, scope));
        charts.extend(tradeoff::draw(run, scope));
        charts.extend(heat_map::draw(run, scope));
        charts.extend(distribution::draw(run, scope));
        charts.extend(timeline::draw(run, scope));
        charts.extend(predicted::draw(run, scope));
    }
    charts.extend(oom_surface::draw(run, wide));
    charts
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
fn notes<const N: usize>(sentences: [String; N]) -> Vec<String> {
    sentences
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect()
}
