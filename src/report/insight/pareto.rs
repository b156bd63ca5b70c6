//! The Pareto front of a block: the cells of which no other one has both more tokens per second and less latency.

use serde::Serialize;

use super::{Block, Insight, Rank, may_rank, of, place};
use crate::{
    report::number::{ms, tok_s},
    store::CellFile,
};

/// So many points of a front are named in its sentence.
const NAMED: usize = 5;
/// So many that are not on it are named.
const BEATEN: usize = 4;

/// The front.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Front {
    /// The latency it is drawn against: the first term of the SLO, else the tail of E2E, else that of TTFT.
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
        .map(|term| term.key())
        .filter(|key| block.cells.iter().any(|cell| of(cell, key).is_some()))
        .or_else(|| Rank::Tail.key(&block.cells, "e2e"))
        .or_else(|| Rank::Tail.key(&block.cells, "ttft"))?;
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
    let name = crate::report::headline::latency_name(&front.latency);
    let beaten: Vec<&CellFile> = block
        .cells
        .iter()
        .copied()
        .filter(|cell| {
            of(cell, &front.latency).is_some()
                && of(cell, "throughput").is_some()
                && !points.iter().any(|point| point.cell == cell.id)
        })
        .collect();
    let rest = match beaten.len() {
        0 => " No cell is beaten in both.".to_owned(),
        few if few <= BEATEN => format!(
            " Beaten in both: {}.",
            beaten
                .iter()
                .map(|cell| place(block, cell))
                .collect::<Vec<_>>()
                .join("; ")
        ),
        _ => " Each of the others is beaten in both by one of these.".to_owned(),
    };
    Some(Insight::new(
        "pareto",
        &cells,
        &[("cells", points.len() as f64), ("of", front.of as f64)],
        format!(
            "{} of {} cells are on the Pareto front of throughput against {name}{among}: {}.{rest}",
            points.len(),
            front.of,
            named.join("; ")
        ),
    ))
}
