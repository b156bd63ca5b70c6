//! Probes along a server axis, by what became of the server.

use minijinja::context;

use super::{Drawn, Side};
use crate::{
    report::{
        chart::{picture::Chart, plane::Plane, scale::Scale, sheet::Sheet, svg::Anchor},
        searches::Limit,
    },
    search::{Evidence, Probe},
};

/// Height of the lane of one outcome.
const LANE: f64 = 46.0;

/// What became of some servers, with their probes.
struct Lane<'p> {
    name: String,
    /// What works comes first, what says nothing last.
    order: usize,
    probes: Vec<(usize, f64, &'p Probe)>,
}

impl Drawn<'_, '_, '_> {
    /// Draws the chart of a search over a server axis; `None` without two different values.
    pub(super) fn value(&self) -> Option<Chart> {
        let lanes = self.lanes();
        let all: Vec<f64> = lanes.iter().flat_map(|lane| &lane.probes).map(|(_, value, _)| *value).collect();
        let first = *all.first()?;
        if all.iter().all(|value| *value == first) {
            return None;
        }
        let chart = self.chart();
        let probes: Vec<&Probe> = self.answer.probes.iter().collect();
        let mut sheet = Sheet::new(self.canvas, &chart.title, &self.canvas.source(), &self.keys(&probes));
        let whole = sheet.plane(sheet.top() + 8.0, LANE * lanes.len() as f64);
        let plane = Plane { left: whole.left - 40.0, ..whole };
        let x = Scale::around(all.iter().copied(), plane.left + 14.0, plane.right - 14.0)?;
        self.draw_bracket(&mut sheet, &plane, |value| x.at(value));
        let axis = self.f.get_attr("axis").ok();
        let title = self.canvas.text("axis", context! { axis, quantity => "other" });
        plane.below(&mut sheet.svg, &self.ticks(&x), &title);
        for (row, lane) in lanes.iter().enumerate() {
            let y = plane.top + LANE * (row as f64 + 0.68);
            sheet.svg.line((plane.left, y), (plane.right, y), "grid");
            sheet.svg.text((plane.left, y - 15.0), Anchor::Start, "key on", &lane.name);
            for (nth, value, probe) in &lane.probes {
                self.draw_mark(&mut sheet, (*nth, probe), (x.at(*value), y), &lane.name);
            }
        }
        Some(sheet.finish(plane.bottom + Plane::BELOW, [self.sentence()], chart))
    }

    /// The probes by what became of their servers.
    fn lanes(&self) -> Vec<Lane<'_>> {
        let mut lanes: Vec<Lane<'_>> = Vec::new();
        for (nth, probe) in self.answer.probes.iter().enumerate() {
            let Some(value) = probe.values.first().and_then(serde_json::Value::as_f64) else { continue };
            let (order, name) = self.outcome(probe);
            match lanes.iter_mut().find(|lane| lane.name == name) {
                Some(lane) => lane.probes.push((nth, value, probe)),
                None => lanes.push(Lane { name, order, probes: vec![(nth, value, probe)] }),
            }
        }
        // The sort is stable: equal ones keep the order in which they were seen.
        lanes.sort_by_key(|lane| lane.order);
        lanes
    }

    /// The place of an outcome among the lanes, and its name.
    fn outcome(&self, probe: &Probe) -> (usize, String) {
        let say = |limit: Option<Limit>, side: Side| {
            let f = context! {
                side => side.name(),
                why => limit.map(|limit| limit.facts().template_value()),
                ..self.f.clone()
            };
            self.canvas.text("search_lane", f)
        };
        let side = Side::of(probe);
        match &probe.evidence {
            Evidence::Fails { binding, .. } => {
                let limit = Limit::of(binding);
                let order = match limit {
                    Limit::Target(..) | Limit::Errors => 1,
                    Limit::MemoryUnderLoad => 2,
                    Limit::Ended(_) | Limit::Other(_) => 3,
                    Limit::TooSmall => 4,
                    Limit::MemoryAtStart(_) => 5,
                };
                (order, say(Some(limit), side))
            }
            Evidence::Measured(ratio) if side == Side::Fails => {
                (1, say(Some(Limit::of(&ratio.binding)), side))
            }
            Evidence::Invalid(_) => (6, say(None, side)),
            _ => (0, say(None, side)),
        }
    }
}
