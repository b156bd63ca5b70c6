//! The Pareto front of a block: the cells of which no other one has both more tokens per second and less latency.

use serde::Serialize;

use super::{Block, Insight, may_rank, of, place};
use crate::{
    report::number::{ms, tok_s},
    store::CellFile,
};

/// So many points of a front are named in its sentence.
const NAMED: usize = 6;

/// The front.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Front {
    /// The latency it is drawn against: the first term of the SLO, else `p95_e2e`.
    pub(in crate::report) latency: String,
    /// Its cells, least latency first.
    pub(in crate::report) points: Vec<Point>,
    /// How many cells have both numbers.
    pub(in crate::report) of: usize,
}

/// One cell of the front.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Point {
    pub(in crate::report) cell: String,
    pub(in crate::report) place: String,
    pub(in crate::report) throughput_tok_s: f64,
    pub(in crate::report) latency_ms: f64,
}

/// The front of the cells that may be ranked, or of all where none may; `None` where none has both numbers.
pub(in crate::report) fn front(block: &Block<'_>) -> Option<Front> {
    let latency = block
        .slo
        .0
        .first()
        .map_or_else(|| "p95_e2e".to_owned(), |term| term.key());
    let known = |only: &dyn Fn(&CellFile) -> bool| -> Vec<(f64, f64, &CellFile)> {
        let cells = block
            .cells
            .iter()
            .copied()
            .filter(|cell| cell.has_numbers() && only(cell));
        cells
            .filter_map(|cell| Some((of(cell, &latency)?, of(cell, "throughput")?, cell)))
            .collect()
    };
    let mut points = known(&may_rank);
    if points.is_empty() {
        points = known(&|_| true);
    }
    let of = points.len();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let mut best = f64::NEG_INFINITY;
    points.retain(|point| {
        let better = point.1 > best;
        best = best.max(point.1);
        better
    });
    (!points.is_empty()).then(|| Front {
        latency,
        of,
        points: points
            .into_iter()
            .map(|(latency_ms, throughput_tok_s, cell)| Point {
                cell: cell.id.clone(),
                place: place(block, cell),
                throughput_tok_s,
                latency_ms,
            })
            .collect(),
    })
}

/// The front in a sentence, where there is something to choose from.
pub(in crate::report) fn said(block: &Block<'_>) -> Option<Insight> {
    let front = front(block).filter(|front| front.of > 2)?;
    let cells: Vec<&CellFile> = front
        .points
        .iter()
        .filter_map(|point| {
            block
                .cells
                .iter()
                .copied()
                .find(|cell| cell.id == point.cell)
        })
        .collect();
    let shown = |point: &Point| {
        format!(
            "{} ({}, {})",
            point.place,
            ms(Some(point.latency_ms)),
            tok_s(Some(point.throughput_tok_s))
        )
    };
    let points = &front.points;
    let named: Vec<String> = if points.len() <= NAMED {
        points.iter().map(shown).collect()
    } else {
        // Evenly over the front, both ends among them.
        let step = (points.len() - 1) as f64 / (NAMED - 1) as f64;
        (0..NAMED)
            .map(|at| shown(&points[(at as f64 * step).round() as usize]))
            .collect()
    };
    let among = if points.len() > NAMED {
        ", among them"
    } else {
        ""
    };
    Some(Insight::new(
        "pareto",
        &cells,
        &[("cells", points.len() as f64), ("of", front.of as f64)],
        format!(
            "On the Pareto front of throughput against {} are {} of {} cells{among}: {}. Every other cell has another one that is \
             at least as quick and gives more tokens per second.",
            crate::report::headline::latency_name(&front.latency),
            points.len(),
            front.of,
            named.join("; ")
        ),
    ))
}
