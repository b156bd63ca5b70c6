//! The servers that a search for the best one tried: throughput against p95 TTFT, and the Pareto front.

use minijinja::context;

use super::{Drawn, HEIGHT};
use crate::{
    manifest::scalar_text,
    measure::Metric,
    plan::TuneAxis,
    report::{
        chart::{
            picture::Chart,
            plane::Plane,
            scale::Scale,
            sheet::{Key, Sheet},
        },
        number,
    },
    search::Candidate,
};

impl Drawn<'_, '_, '_> {
    /// Draws the chart of a search for the best server; `None` with fewer than two servers with numbers.
    pub(super) fn best(&self, axes: &[TuneAxis]) -> Option<Chart> {
        let known = |own: &'_ Candidate| Some((own.throughput_tok_s?, own.p95_ttft_ms?));
        let candidates = &self.answer.candidates;
        let points: Vec<(&Candidate, f64, f64)> =
            candidates.iter().filter_map(|own| known(own).map(|(rate, ms)| (own, rate, ms))).collect();
        if points.len() < 2 {
            return None;
        }
        let chart = self.chart();
        let has = |side: bool| points.iter().any(|(own, ..)| own.meets_slo == side);
        let is_best = |own: &Candidate| Some(&own.values) == self.answer.found.as_ref();
        let mut front: Vec<(f64, f64)> =
            points.iter().filter(|(own, ..)| own.is_pareto).map(|(_, rate, ms)| (*rate, *ms)).collect();
        front.sort_by(|a, b| a.0.total_cmp(&b.0));
        let keys = [
            (has(true), Key::Meets),
            (has(false), Key::Misses),
            (front.len() > 1, Key::Front),
            (points.iter().any(|(own, ..)| is_best(own)), Key::Best),
        ];
        let keys: Vec<Key> = keys.into_iter().filter(|(has, _)| *has).map(|(_, key)| key).collect();
        let mut sheet = Sheet::new(self.canvas, &chart.title, &self.canvas.source(), &keys);
        let plane = sheet.plane(sheet.top() + 30.0, HEIGHT);
        let x = Scale::around(points.iter().map(|point| point.1), plane.left + 14.0, plane.right - 14.0)?;
        let y = Scale::over(points.iter().map(|point| point.2), true, plane.bottom, plane.top)?;
        plane.values(&mut sheet.svg, &y, &Metric::P95_TTFT.heading());
        let title = self.canvas.text("output_axis", context! { narrow => false });
        plane.below(&mut sheet.svg, &x.placed_ticks(), &title);
        let path: Vec<(f64, f64)> = front.iter().map(|(rate, ms)| (x.at(*rate), y.at(*ms))).collect();
        sheet.svg.polyline(&path, "line front");
        for (own, rate, ms) in &points {
            let at = (x.at(*rate), y.at(*ms));
            let about = about(axes, own, *rate, *ms);
            draw(&mut sheet, own, at, &about, self.cell_of(own), is_best(own));
        }
        Some(sheet.finish(plane.bottom + Plane::BELOW, [self.sentence()], chart))
    }

    /// The cell of a candidate: the last one that was measured on its server.
    fn cell_of(&self, own: &Candidate) -> Option<&str> {
        let probe = self.answer.probes.iter().rfind(|probe| probe.values == own.values)?;
        probe.cells.first().map(String::as_str)
    }
}

/// The tooltip of a server.
fn about(axes: &[TuneAxis], own: &Candidate, rate: f64, ms: f64) -> String {
    let pairs = axes.iter().zip(&own.values);
    let pairs = pairs.map(|(axis, value)| format!("{} {}", axis.column, scalar_text(value)));
    let place = pairs.collect::<Vec<_>>().join(", ");
    let metric = Metric::P95_TTFT.label();
    format!("{place}\n{} · {metric} {}", number::tok_s(Some(rate)), number::ms(Some(ms)))
}

fn draw(sheet: &mut Sheet, own: &Candidate, at: (f64, f64), about: &str, cell: Option<&str>, best: bool) {
    let svg = &mut sheet.svg;
    svg.open_mark(cell, about);
    svg.circle(at, 11.0, "hit");
    match own.meets_slo {
        true => svg.marker(0, at, 4.8, "f0"),
        false => svg.marker(1, at, 5.2, "f1"),
    }
    svg.close_mark();
    if best {
        svg.circle(at, 9.0, "halo");
    }
}
