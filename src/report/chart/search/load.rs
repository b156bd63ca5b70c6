//! Probes along the load: the latency that limits, its target, and where the limit lies.

use minijinja::context;

use super::{Drawn, HEIGHT, Side};
use crate::{
    manifest::SloTerm,
    measure::Metric,
    report::{
        chart::{
            about,
            picture::Chart,
            plane::Plane,
            scale::Scale,
            sheet::{Key, Sheet},
            svg::Anchor,
            text::width,
        },
        number,
        searches::Limit,
    },
    search::{Evidence, Probe},
};

/// The number of standard errors to each side of a mark: a 95 % interval.
const INTERVAL: f64 = 1.96;
/// The distance of a mark without a latency from the edge of the plot.
const INSET: f64 = 9.0;

/// One probe in the plot.
struct Point<'p> {
    nth: usize,
    probe: &'p Probe,
    load: f64,
    /// The latency, and its 95 % interval where the search judged by it; absent without numbers.
    ms: Option<(f64, Option<(f64, f64)>)>,
}

impl Drawn<'_, '_, '_> {
    /// Draws the chart of a search over the load; `None` without two different loads.
    pub(super) fn load(&self) -> Option<Chart> {
        let term = self.term()?;
        let limit = term.limit.as_ms();
        let points: Vec<Point<'_>> = self.points(&term);
        let first = points.first()?;
        if points.iter().all(|point| point.load == first.load) {
            return None;
        }
        let chart = self.chart();
        let probes: Vec<&Probe> = points.iter().map(|point| point.probe).collect();
        let mut keys = self.keys(&probes);
        keys.push(Key::Limit);
        let mut sheet = Sheet::new(self.canvas, &chart.title, &self.canvas.source(), &keys);
        let plane = sheet.plane(sheet.top() + 30.0, HEIGHT);
        let known = points.iter().filter_map(|point| Some(point.ms?.0)).chain([limit]);
        let y = Scale::over(known, true, plane.bottom, plane.top)?;
        let loads = points.iter().map(|point| point.load);
        let x = Scale::around(loads, plane.left + 14.0, plane.right - 14.0)?;
        self.draw_bracket(&mut sheet, &plane, |load| x.at(load));
        let metric = Metric::of_term(&term);
        plane.values(&mut sheet.svg, &y, &metric.heading());
        let axis = self.f.get_attr("axis").ok();
        let title = self.canvas.text("axis", context! { axis => axis.clone(), quantity => axis });
        plane.below(&mut sheet.svg, &self.ticks(&x), &title);
        draw_limit(&mut sheet, &plane, y.at(limit), &about::slo(&term));
        for point in &points {
            self.draw_point(&mut sheet, &plane, point, (&x, &y), metric);
        }
        let bottom = plane.bottom + Plane::BELOW;
        let lines = points.iter().any(|point| point.ms.is_some_and(|(_, between)| between.is_some()));
        let note = self.canvas.text_if(lines, "search_intervals", context! { metric => metric.label() });
        Some(sheet.finish(bottom, [self.sentence(), note], chart))
    }

    /// The SLO term that is shown: the one that limits, else the one that most probes are closest to.
    fn term(&self) -> Option<SloTerm> {
        let terms =
            self.answer.probes.iter().find_map(|probe| self.cell(probe)).map(|cell| &cell.file.slo.0)?;
        let of = |binding: &str| match Limit::of(binding) {
            Limit::Target(metric, _) => terms.iter().find(|term| Metric::of_term(term) == metric),
            _ => None,
        };
        let nearest = |term: &SloTerm| {
            let is_own = |probe: &&Probe| match &probe.evidence {
                Evidence::Measured(ratio) => of(&ratio.binding) == Some(term),
                _ => false,
            };
            self.answer.probes.iter().filter(is_own).count()
        };
        let limits = self.answer.binding.as_deref().and_then(of);
        // The first of equal ones.
        limits.or_else(|| terms.iter().rev().max_by_key(|term| nearest(term))).copied()
    }

    fn points(&self, term: &SloTerm) -> Vec<Point<'_>> {
        let metric = Metric::of_term(term);
        let latency = |probe: &Probe| {
            let shown = self.cell(probe).and_then(|cell| cell.shown(metric));
            let Evidence::Measured(ratio) = &probe.evidence else { return shown.map(|ms| (ms, None)) };
            if ratio.binding != term.key() {
                return shown.map(|ms| (ms, None));
            }
            let ms = term.limit.as_ms() * ratio.log.exp();
            let factor = (INTERVAL * ratio.error).exp();
            Some((ms, Some((ms / factor, ms * factor))))
        };
        let probes = self.answer.probes.iter().enumerate();
        let point = |(nth, probe): (usize, &'_ Probe)| {
            let load = probe.values.first()?.as_f64()?;
            Some((nth, load, latency(probe).filter(|(ms, _)| ms.is_finite() && *ms > 0.0)))
        };
        probes
            .filter_map(|(nth, probe)| {
                let (_, load, ms) = point((nth, probe))?;
                Some(Point { nth, probe, load, ms })
            })
            .collect()
    }

    /// Draws a probe: at its latency, or at the edge of the plot on its side of the limit.
    fn draw_point(
        &self,
        sheet: &mut Sheet,
        plane: &Plane,
        point: &Point<'_>,
        (x, y): (&Scale, &Scale),
        metric: Metric,
    ) {
        let left = x.at(point.load);
        let side = Side::of(point.probe);
        let (at, number) = match point.ms {
            Some((ms, between)) => {
                if let Some((low, high)) = between {
                    let class = if side == Side::Works { "line thin s0" } else { "line thin s1" };
                    sheet.svg.line((left, y.at(low)), (left, y.at(high)), class);
                }
                let shown = format!("{} {}", metric.label(), number::ms(Some(ms)));
                ((left, y.at(ms)), shown)
            }
            None if side == Side::Fails => ((left, plane.top + INSET), String::new()),
            None => ((left, plane.bottom - INSET), String::new()),
        };
        self.draw_mark(sheet, (point.nth, point.probe), at, &number);
    }
}

/// Draws the line of the target and its text, above the line where there is room.
fn draw_limit(sheet: &mut Sheet, plane: &Plane, at: f64, text: &str) {
    sheet.svg.line((plane.left, at), (plane.right, at), "limit");
    let below = if at - 22.0 < plane.top { 16.0 } else { -7.0 };
    let room = plane.right - plane.left - 16.0;
    if width(text, 12.0) <= room {
        sheet.svg.text((plane.left + 8.0, at + below), Anchor::Start, "limit-text on", text);
    }
}
