//! What the repeats of cells say: how far one differs from another as a rule, and the cells whose repeats disagree.

use super::{Block, Insight, Yield, chance::spread, count, metric, place};
use crate::{
    report::number::{ms, percent},
    store::CellFile,
};

/// Repeats disagree when their throughput or median differs by more than this part of the smallest.
const APART: f64 = 0.1;
/// And by this many times what is usual between the repeats of the other cells, where these tell.
const USUAL: f64 = 8.0;
/// So many other cells tell what is usual.
const FEWEST: usize = 3;

/// The definition for the reader.
pub(super) fn threshold() -> String {
    format!(
        "repeats more than {} apart, and further than {} the usual deviation of the other cells' repeats",
        percent(Some(APART)),
        crate::report::number::times(USUAL)
    )
}

/// The least and the largest value of a number over a cell's repeats.
fn ends(cell: &CellFile, key: &str) -> Option<(f64, f64)> {
    let values: Option<Vec<f64>> = cell.repeats.iter().map(|one| metric(one, key)).collect();
    let values = values.filter(|values| values.len() > 1)?;
    let low = values.iter().copied().min_by(f64::total_cmp)?;
    let high = values.iter().copied().max_by(f64::total_cmp)?;
    (low > 0.0).then_some((low, high))
}

fn middle(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

/// Cells whose repeats disagree.
pub(super) fn repeats(block: &Block<'_>, found: &mut Vec<Insight>) {
    let brings = Yield::of_cells(&block.cells);
    let keys = [brings.map(Yield::key), Some("p50_e2e"), Some("p50_ttft")];
    for cell in &block.cells {
        let apart = |key: &'static str| {
            let (low, high) = ends(cell, key)?;
            let others: Vec<f64> = block
                .cells
                .iter()
                .filter(|other| other.id != cell.id)
                .filter_map(|other| spread(other, key))
                .collect();
            let usual = match others.len() {
                few if few < FEWEST => 0.0,
                _ => middle(others)?,
            };
            let disagree = high > (1.0 + APART) * low && (high / low).ln() > USUAL * usual;
            disagree.then_some((key, low, high))
        };
        let Some((key, low, high)) = keys.into_iter().flatten().find_map(apart) else {
            continue;
        };
        let (name, said): (&str, Box<dyn Fn(f64) -> String>) = match (key, brings) {
            ("p50_e2e", _) => ("p50 E2E", Box::new(|value| ms(Some(value)))),
            ("p50_ttft", _) | (_, None) => ("p50 TTFT", Box::new(|value| ms(Some(value)))),
            (_, Some(brings)) => (
                brings.name(),
                Box::new(move |value| brings.said(Some(value))),
            ),
        };
        found.push(Insight::new(
            "repeats_disagree",
            &[cell],
            &[("low", low), ("high", high), ("spread", high / low - 1.0)],
            format!(
                "Repeats disagree at {}: {name} from {} to {} over {} repeats, {} apart.",
                place(block, cell),
                said(low),
                said(high),
                cell.repeats.len(),
                percent(Some(high / low - 1.0))
            ),
        ));
    }
}

/// How far one repeat of a cell is from another as a rule: what a reader has to hold differences between cells against.
pub(super) fn noise(block: &Block<'_>) -> Option<Insight> {
    let brings = Yield::of_cells(&block.cells)?;
    let known: Vec<(&CellFile, f64)> = block
        .cells
        .iter()
        .filter_map(|cell| {
            let (low, high) = ends(cell, brings.key())?;
            Some((*cell, high / low - 1.0))
        })
        .collect();
    let usual = middle(known.iter().map(|(_, apart)| *apart).collect())?;
    let (worst, most) = known.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let cells: Vec<&CellFile> = known.iter().map(|(cell, _)| *cell).collect();
    Some(Insight::new(
        "noise",
        &cells,
        &[("usual_spread", usual), ("largest_spread", *most)],
        format!(
            "Noise: the repeats of a cell are {} apart in {} in the median of {}, at most {} (at {}). Smaller differences between cells \
             are no result.",
            percent(Some(usual)),
            brings.name(),
            count(known.len(), "cell"),
            percent(Some(*most)),
            place(block, worst)
        ),
    ))
}
