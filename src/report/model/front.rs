//! The Pareto front of a block: the cells that no other cell beats in both throughput and latency.

use super::{Block, Cell, Grid};
use crate::{
    manifest::LatencyKind,
    measure::Metric,
    report::metrics::{middle, tail},
};

/// A latency is common if at least this part of the cells with the most common one have it.
const COMMON: f64 = 0.5;

/// The Pareto front of throughput and a latency.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Front {
    /// The latency: that of the first SLO term or its median, else E2E, else TTFT, the tail before the
    /// middle; the first that is common.
    pub(crate) latency: Metric,
    /// Indices of its cells, least latency first.
    pub(crate) points: Vec<usize>,
    /// The number of cells with both numbers.
    pub(crate) of: usize,
}

/// The Pareto front of the usable cells of a block; `None` if no cell has both numbers.
pub(crate) fn front(grid: &Grid<'_>, block: &Block<'_>) -> Option<Front> {
    let brings = block.brings?;
    let cells = grid.usable(block);
    let points = |latency: Metric| -> Vec<(f64, f64, usize)> {
        let point = |cell: &Cell<'_>| Some((cell.ranked(latency)?, cell.ranked(brings)?, cell.index));
        cells.clone().filter_map(point).collect()
    };
    let latency = latency(block, |metric| points(metric).len())?;
    let points = points(latency);
    Some(Front { latency, of: points.len(), points: pareto(points) })
}

/// The indices of the points (latency, throughput, index) that no other one beats in both, least latency
/// first.
pub(crate) fn pareto(mut points: Vec<(f64, f64, usize)>) -> Vec<usize> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let mut best = f64::NEG_INFINITY;
    points.retain(|(_, rate, _)| {
        let is_better = *rate > best;
        best = best.max(*rate);
        is_better
    });
    points.into_iter().map(|(_, _, index)| index).collect()
}

/// The first common latency.
fn latency(block: &Block<'_>, known: impl Fn(Metric) -> usize) -> Option<Metric> {
    let first = block.slo.0.first();
    // As in the ranking, the median stands in for a percentile that may not be ranked.
    let wanted = first.map(|term| [&[Metric::of_term(term)], &middle(term.metric)[..]].concat());
    let any = [LatencyKind::E2e, LatencyKind::Ttft].map(|kind| [tail(kind), middle(kind)].concat());
    let all = wanted.into_iter().chain(any).flatten();
    let all: Vec<(Metric, usize)> = all.map(|metric| (metric, known(metric))).collect();
    let most = all.iter().map(|(_, count)| *count).max().filter(|most| *most > 0)?;
    let is_common = |count: usize| count as f64 >= COMMON * most as f64;
    all.into_iter().find(|(_, count)| is_common(*count)).map(|(metric, _)| metric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixtures, model::Model};

    #[test]
    fn a_cell_that_another_beats_in_both_is_not_on_it() {
        let mut run = fixtures::streamed();
        run.cells[2].summary.as_mut().unwrap().throughput_tok_s = Some(100.0);
        let model = Model::of(&run);
        let front = front(&model, &model.blocks[0]).unwrap();
        assert_eq!((front.latency, front.of), (Metric::P95_TTFT, 4));
        assert_eq!(front.points, [0, 1, 3]);
    }

    #[test]
    fn what_a_verdict_excludes_is_neither_on_it_nor_compared() {
        // Every p95 of the grid rests on few samples: its medians are compared.
        let run = fixtures::grid();
        let model = Model::of(&run);
        let front = front(&model, &model.blocks[0]).unwrap();
        assert_eq!((front.latency, front.of), (Metric::P50_TTFT, 12));
        let rate = |at: &usize| model.cells[*at].ranked(Metric::OUTPUT).unwrap();
        assert!(front.points.windows(2).all(|pair| rate(&pair[0]) < rate(&pair[1])));
    }
}
