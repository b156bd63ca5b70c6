//! Throughput and latency along the load, one row for each combination of the other axes: for spark lines.

use serde::Serialize;

use crate::{
    manifest::scalar_text,
    report::insight::{
        Block,
        best::{Pick, fastest_of},
        coordinate, ladder, lines, of,
        scaling::share,
    },
};

/// One line of a block along its load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Curve {
    /// The axis: `concurrency` or `rate`.
    pub(in crate::report) axis: &'static str,
    /// The other axes: `max_tokens 64`; empty where there are none.
    pub(in crate::report) at: String,
    /// Values of the axis, ascending.
    pub(in crate::report) loads: Vec<String>,
    pub(in crate::report) throughput_tok_s: Vec<Option<f64>>,
    /// What each step brings of its share, one less than there are loads: see the definition in the note.
    pub(in crate::report) steps: Vec<Option<f64>>,
    pub(in crate::report) p95_ttft_ms: Vec<Option<f64>>,
    pub(in crate::report) p95_e2e_ms: Vec<Option<f64>>,
    /// The cell with most tokens per second, among those that meet the SLO where there is one.
    pub(in crate::report) best: Option<Pick>,
}

/// The curves of a block with at least two cells each.
pub(in crate::report) fn curves(block: &Block<'_>) -> Vec<Curve> {
    let axis = ladder(block);
    lines(block, axis)
        .into_iter()
        .filter(|line| line.cells.len() > 1)
        .map(|line| {
            let each = |key: &str| line.cells.iter().map(|cell| of(cell, key)).collect();
            let spelled = |cell: &&crate::store::CellFile| coordinate(cell, axis).map(scalar_text);
            Curve {
                axis,
                loads: line.cells.iter().filter_map(spelled).collect(),
                throughput_tok_s: each("throughput"),
                steps: line
                    .cells
                    .windows(2)
                    .map(|pair| share(pair[0], pair[1]))
                    .collect(),
                p95_ttft_ms: each("p95_ttft"),
                p95_e2e_ms: each("p95_e2e"),
                best: fastest_of(block, &line.cells),
                at: line.fixed,
            }
        })
        .collect()
}
