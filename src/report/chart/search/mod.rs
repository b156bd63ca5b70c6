//! The probes of each search, and what they found.

mod best;
mod load;
mod value;

use minijinja::{Value, context};

use super::{
    canvas::Canvas,
    picture::Chart,
    plane::Plane,
    scale::Scale,
    sheet::{Key, Sheet},
};
use crate::{
    manifest::{LoadAxis, scalar_text},
    plan::Goal,
    report::{
        file_name,
        model::Cell,
        number::grouped,
        searches::{facts, places},
    },
    search::{Answer, Evidence, Probe},
};

/// The most charts of searches.
const CHARTS: usize = 12;
/// Height of a plot.
const HEIGHT: f64 = 230.0;

/// A search that is being drawn.
pub(super) struct Drawn<'d, 'c, 'a> {
    canvas: &'d Canvas<'c, 'a>,
    answer: &'c Answer,
    /// Its facts, as the macros of sentences see them.
    f: Value,
}

/// Draws a chart for each of the first searches. One without two different values has none.
pub(super) fn draw(canvas: &Canvas<'_, '_>) -> Vec<Chart> {
    let model = canvas.model;
    let places = places(model).into_iter().take(CHARTS);
    let drawn = places.filter_map(|(answer, place)| {
        let own = Drawn { canvas, answer, f: facts(model, answer, &place).template_value() };
        match &answer.search.goal {
            Goal::Load { .. } => own.load(),
            Goal::Value { .. } => own.value(),
            Goal::Best { axes, .. } => own.best(axes),
        }
    });
    drawn.collect()
}

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// The value works.
    Works,
    /// It does not.
    Fails,
    /// The probe says nothing.
    Invalid,
}

impl Side {
    fn of(probe: &Probe) -> Self {
        match &probe.evidence {
            Evidence::Measured(ratio) if ratio.log > 0.0 => Self::Fails,
            Evidence::Scored(score) if !score.meets_slo() => Self::Fails,
            Evidence::Measured(_) | Evidence::Scored(_) | Evidence::Works => Self::Works,
            Evidence::Fails { .. } => Self::Fails,
            Evidence::Invalid(_) => Self::Invalid,
        }
    }

    fn key(self, by_slo: bool) -> Key {
        match self {
            Self::Works if by_slo => Key::Meets,
            Self::Works => Key::Works,
            Self::Fails if by_slo => Key::Misses,
            Self::Fails => Key::Fails,
            Self::Invalid => Key::Invalid,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Fails => "fails",
            Self::Invalid => "invalid",
        }
    }
}

impl<'c, 'a> Drawn<'_, 'c, 'a> {
    /// The chart with its title and description, without a drawing.
    fn chart(&self) -> Chart {
        let search = &self.answer.search;
        let chart =
            Chart::new(self.canvas, "search", search.workload.as_deref(), context! { ..self.f.clone() });
        Chart { file: format!("{}-search", file_name::plain(&search.name)), ..chart }
    }

    /// The keys of the signs that some probes need, by what they say.
    fn keys(&self, probes: &[&Probe]) -> Vec<Key> {
        let sides = [Side::Works, Side::Fails, Side::Invalid];
        let has = |side: &Side| probes.iter().any(|probe| Side::of(probe) == *side);
        let by_slo = matches!(self.answer.search.goal, Goal::Load { .. });
        let early = probes.iter().any(|probe| probe.ended_early).then_some(Key::Early);
        let bracket = self.bracket().map(|_| Key::Bracket);
        sides.into_iter().filter(has).map(|side| side.key(by_slo)).chain(early).chain(bracket).collect()
    }

    /// Both ends of the answer, the smaller one first.
    fn bracket(&self) -> Option<(f64, f64)> {
        let (one, other) = self.answer.feasible.zip(self.answer.infeasible)?;
        Some((one.min(other), one.max(other)))
    }

    /// Draws the band in which the limit lies.
    fn draw_bracket(&self, sheet: &mut Sheet, plane: &Plane, x: impl Fn(f64) -> f64) {
        let Some((low, high)) = self.bracket() else { return };
        let (left, right) = (x(low), x(high));
        let wide = (right - left).max(2.0);
        sheet.svg.rect(left, plane.top, wide, plane.bottom - plane.top, 0.0, "window");
    }

    /// The first cell of a probe.
    fn cell(&self, probe: &Probe) -> Option<&'c Cell<'a>> {
        let first = probe.cells.first()?;
        self.canvas.model.cells.iter().find(|cell| cell.id() == first)
    }

    /// Draws the mark of a probe with its tooltip. One that ended early is hollow.
    fn draw_mark(&self, sheet: &mut Sheet, (nth, probe): (usize, &Probe), at: (f64, f64), number: &str) {
        let side = Side::of(probe);
        let why = match &probe.evidence {
            Evidence::Invalid(why) => why.as_str(),
            Evidence::Fails { binding, .. } => binding.as_str(),
            _ => "",
        };
        let cell = self.cell(probe);
        let f = context! {
            nth => nth + 1,
            probes => self.answer.probes.len(),
            side => side.name(),
            number,
            why,
            requests => probe.requests,
            early => probe.ended_early,
            ..self.f.clone()
        };
        let values: Vec<String> = probe.values.iter().map(scalar_text).collect();
        let lines = [values.join(", "), self.canvas.text("search_probe", f)];
        let svg = &mut sheet.svg;
        svg.open_mark(probe.cells.first().map(String::as_str), &lines.join("\n"));
        svg.circle(at, 11.0, "hit");
        let hollow = probe.ended_early;
        match side {
            Side::Works => svg.marker(0, at, 4.8, if hollow { "hollow s0" } else { "f0" }),
            Side::Fails => svg.marker(1, at, 5.2, if hollow { "hollow s1" } else { "f1" }),
            Side::Invalid => svg.cross(at, 4.2, "cross s5"),
        }
        if let Some(cell) = cell {
            svg.letter(at, self.canvas.letter(cell));
        }
        svg.close_mark();
    }

    /// The ticks of the axis of the search: whole numbers where its values are.
    fn ticks(&self, x: &Scale) -> Vec<(f64, String)> {
        let is_whole = match self.answer.search.goal {
            Goal::Load { axis, .. } => axis == LoadAxis::Concurrency,
            Goal::Value { integer, .. } => integer,
            Goal::Best { .. } => false,
        };
        if !is_whole {
            return x.placed_ticks();
        }
        let whole = x.ticks().into_iter().filter(|(value, _)| value.fract() == 0.0);
        whole.map(|(value, _)| (x.at(value), grouped(value, 0))).collect()
    }

    /// The sentence of the answer, for the note below.
    fn sentence(&self) -> String {
        self.canvas.text("search_answer", self.f.clone())
    }
}
