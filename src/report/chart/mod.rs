//! Draws the charts of a run as SVG files that follow the reader's light or dark mode.
//!
//! They are drawn by a small layer of our own (`svg`) instead of a library. GitHub shows an SVG file as an
//! image: its colours can follow light or dark mode only through classes and a media query inside the file,
//! its text must remain text, and the same run must give the same bytes. `plotters` writes each colour into
//! each element; `charming` draws in a JavaScript engine; `poloto` has classes, but neither direct labels nor
//! heat maps, and was last released in 2023. The shapes are few; the work is in choosing what to show, which
//! no library does.
//!
//! Of the six colours, those that colour-blind readers confuse (blue and purple, orange and brown, green and
//! grey) differ in lightness, and every series has a shape as well. Numbers that may not be ranked are
//! hollow; simulated ones say so inside the chart. Every word comes from a macro in `templates/charts.j2`.

mod about;
mod along;
mod canvas;
mod distribution;
mod flow;
mod heat_map;
mod legend;
mod oom_surface;
mod picture;
mod plane;
mod predicted;
mod scale;
mod scope;
mod search;
mod sheet;
mod svg;
mod text;
mod throughput;
mod tiles;
mod timeline;
mod tradeoff;

#[cfg(test)]
mod tests;

pub use picture::Chart;

use super::{file_name, finding::Words, model::Model};
use crate::diagnostic::Findings;
use canvas::{Canvas, NARROW, Say, WIDE};
use scope::Scope;

/// Draws every chart of a run: those of searches, then by workload in the order of the plan. Empty charts are left out.
///
/// # Errors
/// Every macro that fails.
pub(super) fn charts<'a>(model: &Model<'a>, words: &'a Words) -> Result<Vec<Chart>, Findings> {
    let mut charts = in_both_widths(model, words, search::draw)?;
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
        charts.extend(in_both_widths(model, words, of_workload)?);
    }
    charts.extend(in_both_widths(model, words, |canvas| oom_surface::draw(canvas).into_iter().collect())?);
    Ok(named(charts))
}

/// Draws some charts in both widths. Whether there is a chart does not depend on its width.
fn in_both_widths<'a>(
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

/// Gives every chart a unique file name that is safe on any file system.
fn named(mut charts: Vec<Chart>) -> Vec<Chart> {
    let mut taken: Vec<String> = Vec::new();
    for chart in &mut charts {
        let stem = match &chart.workload {
            _ if !chart.file.is_empty() => chart.file.clone(),
            Some(workload) => format!("{}-{}", file_name::plain(workload), chart.kind),
            None => chart.kind.to_owned(),
        }
        .replace('_', "-");
        chart.file = format!("{}.svg", file_name::own(stem, &mut taken));
    }
    charts
}
