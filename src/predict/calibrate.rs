//! Measured cells → the few constants of their hardware.
//!
//! The constants go to where the sum of squared logarithms of predicted over measured is least: of each cell's median TTFT,
//! TPOT and E2E and its throughput. A logarithm, so that twice and half weigh the same, and cells of any length too.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Assumptions, Comparison, Machine, Predicted, predict};
use crate::{engine::Speed, manifest::Inputs, measure::Summary, plan::Cell, workload};

/// What `runner calibrate` stores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Version of this form.
    pub format: u32,
    /// The run it was fitted to.
    pub run: String,
    /// The hardware it holds for.
    pub hardware: String,
    /// The model it was measured with.
    pub model: String,
    /// How many cells it was fitted to.
    pub cells: usize,
    /// Their ids: they are no test of it.
    #[serde(default)]
    pub fitted: Vec<String>,
    /// The server's tokens of a prompt for each of the embedded engine's.
    pub prompts: f64,
    /// Median over the fitted cells of the absolute error of the median E2E, as a fraction.
    pub median_e2e_error: f64,
    /// The largest of them.
    pub largest_e2e_error: f64,
    /// Median over the fitted cells of the absolute error of the throughput, as a fraction.
    pub median_throughput_error: f64,
    /// The constants.
    pub speed: Speed,
}

/// A measured cell to fit to, with the machine its server was.
#[derive(Clone, Copy, Debug)]
pub struct Fitted<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// Its server.
    pub machine: &'a Machine,
    /// What was measured.
    pub summary: &'a Summary,
}

/// The constants that explain measured cells best, the ratio of their prompts' tokens, and the errors that are left:
/// median and largest of the median E2E, and the median of the throughput.
///
/// # Errors
/// A sentence when there is no cell, or one cannot be predicted.
pub fn calibrate(
    cells: &[Fitted<'_>],
    inputs: &Inputs,
    spill: &Path,
) -> Result<(Speed, f64, [f64; 3]), String> {
    let Some(first) = cells.first() else {
        return Err("no cell of the run was measured, so there is nothing to fit to".to_owned());
    };
    let prompts = prompt_ratio(cells, inputs, spill)?;
    let all = |speed: Speed| -> Result<Vec<Predicted>, String> {
        let one = |fitted: &Fitted<'_>| {
            let machine = fitted.machine.with_speed(speed);
            predict(fitted.cell, inputs, &machine, assumed(fitted, prompts), spill)
        };
        cells.iter().map(one).collect()
    };
    let residuals = |speed: Speed| -> Result<Vec<f64>, String> {
        let predicted = all(speed)?;
        let each = cells.iter().zip(&predicted);
        Ok(each
            .flat_map(|(fitted, predicted)| ratios(&predicted.summary, fitted.summary))
            .map(|ratio| ratio.map_or(0.0, f64::ln))
            .collect())
    };
    let speed = fit(first.machine.speed(), residuals)?;
    let predicted = all(speed)?;
    let compared = |which: usize| -> Vec<Comparison> {
        let each = cells.iter().zip(&predicted);
        let both = |(f, p): (&Fitted<'_>, &Predicted)| {
            let (predicted, measured) = numbers(&p.summary)[which].zip(numbers(f.summary)[which])?;
            (measured > 0.0).then_some(Comparison { predicted, measured })
        };
        each.filter_map(both).collect()
    };
    let (e2e, throughput) = (compared(2), compared(3));
    let largest = e2e.iter().map(|one| one.error().abs()).reduce(f64::max);
    let medians = Comparison::median_error(&e2e).zip(Comparison::median_error(&throughput));
    let (Some(largest), Some((median, of_throughput))) = (largest, medians) else {
        return Err("no cell of the run has a latency and a throughput".to_owned());
    };
    Ok((speed, prompts, [median, largest, of_throughput]))
}

/// What is known of a measured cell need not be assumed.
fn assumed(fitted: &Fitted<'_>, prompts: f64) -> Assumptions {
    let answers = fitted.summary.output_length.as_ref();
    Assumptions {
        answers: answers.map_or(1.0, |length| (length.p50 / length.asked_p50()).clamp(0.01, 1.0)),
        prompts,
    }
}

/// Prompt tokens as the servers counted them over those the embedded engine counts; 1 where nobody counted. Prompts that are
/// made to a length have it by both counts, and tell nothing.
fn prompt_ratio(cells: &[Fitted<'_>], inputs: &Inputs, spill: &Path) -> Result<f64, String> {
    let (mut theirs, mut ours) = (0.0, 0.0);
    let written = |fitted: &&Fitted<'_>| !workload::needs_vocabulary(&fitted.cell.spec);
    for fitted in cells.iter().filter(written) {
        let predicted = predict(fitted.cell, inputs, fitted.machine, assumed(fitted, 1.0), spill)?;
        let measured = fitted.summary.input_tokens.zip(Some(fitted.summary.counts.completed));
        let counted = predicted.summary.input_tokens.zip(Some(predicted.summary.counts.completed));
        if let (Some((measured, m)), Some((counted, c))) = (measured, counted)
            && m > 0
            && c > 0
        {
            theirs += measured as f64 / m as f64;
            ours += counted as f64 / c as f64;
        }
    }
    Ok(if ours > 0.0 && theirs > 0.0 { theirs / ours } else { 1.0 })
}

/// Median TTFT, TPOT, E2E, and throughput; what a summary lacks is absent.
fn numbers(summary: &Summary) -> [Option<f64>; 4] {
    [
        summary.ttft.as_ref().map(|latency| latency.p50_ms),
        summary.tpot.as_ref().map(|latency| latency.p50_ms),
        summary.e2e.as_ref().map(|latency| latency.p50_ms),
        summary.throughput_tok_s,
    ]
}

/// Predicted over measured, of each of the [`numbers`] that both have.
fn ratios(predicted: &Summary, measured: &Summary) -> [Option<f64>; 4] {
    let (predicted, measured) = (numbers(predicted), numbers(measured));
    std::array::from_fn(|which| {
        let (p, m) = predicted[which].zip(measured[which])?;
        (p > 0.0 && m > 0.0).then(|| p / m)
    })
}

/// How much a constant may cost that is far from the catalogue's: where cells do not tell two constants apart, they stay
/// near it. A factor of e weighs as much as one number that is 2 % off.
const PRIOR: f64 = 0.02;

/// Where the sum of squared residuals is least, by Levenberg and Marquardt's method in the logarithms of the constants.
/// It begins also where the throughput is far below the catalogue's: while it bounds no step, nothing draws it down.
fn fit(start: Speed, residuals: impl Fn(Speed) -> Result<Vec<f64>, String>) -> Result<Speed, String> {
    // A constant of nothing has no logarithm.
    let origin = [
        start.bandwidth.ln(),
        start.flops.ln(),
        start.step_s.max(1e-6).ln(),
        start.sequence_s.max(1e-6).ln(),
    ];
    let at = |theta: [f64; 4]| -> Result<Vec<f64>, String> {
        let mut all = residuals(speed(theta))?;
        all.extend(theta.iter().zip(origin).map(|(now, then)| PRIOR * (now - then)));
        Ok(all)
    };
    let mut best: Option<(f64, [f64; 4])> = None;
    for slower in [1.0f64, 10.0, 100.0] {
        let mut from = origin;
        from[1] -= slower.ln();
        let found = descend(from, &at)?;
        if best.is_none_or(|(least, _)| found.0 < least) {
            best = Some(found);
        }
    }
    Ok(best.map_or(start, |(_, theta)| speed(theta)))
}

fn speed(theta: [f64; 4]) -> Speed {
    let [bandwidth, flops, step_s, sequence_s] = theta.map(f64::exp);
    Speed { bandwidth, flops, step_s, sequence_s }
}

/// The least sum of squares that is found from a start, and where.
fn descend(
    mut theta: [f64; 4],
    at: &impl Fn([f64; 4]) -> Result<Vec<f64>, String>,
) -> Result<(f64, [f64; 4]), String> {
    const ROUNDS: usize = 20;
    const NUDGE: f64 = 0.02;
    // The farthest one step goes, in logarithms: the slope says little beyond.
    const FARTHEST: f64 = 1.5;
    let sum = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
    let mut here = at(theta)?;
    let mut least = sum(&here);
    let mut damping = 0.01;
    for _ in 0..ROUNDS {
        let mut slopes = Vec::with_capacity(theta.len());
        for which in 0..theta.len() {
            let mut nudged = theta;
            nudged[which] += NUDGE;
            let there = at(nudged)?;
            let slope: Vec<f64> = there.iter().zip(&here).map(|(b, a)| (b - a) / NUDGE).collect();
            slopes.push(slope);
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let before = least;
        for _ in 0..8 {
            let mut rows = [[0.0; 5]; 4];
            for (i, row) in rows.iter_mut().enumerate() {
                for (j, value) in row.iter_mut().take(4).enumerate() {
                    *value = dot(&slopes[i], &slopes[j]) * if i == j { 1.0 + damping } else { 1.0 };
                }
                row[4] = -dot(&slopes[i], &here);
            }
            let step = solve(rows);
            let tried: [f64; 4] = std::array::from_fn(|i| theta[i] + step[i].clamp(-FARTHEST, FARTHEST));
            let there = at(tried)?;
            let lost = sum(&there);
            if lost < least {
                (theta, here, least) = (tried, there, lost);
                damping /= 5.0;
                break;
            }
            damping *= 5.0;
        }
        if least > before * 0.9999 {
            break;
        }
    }
    Ok((least, theta))
}

/// Solves four linear equations; each row ends with its right side. The prior keeps them from being singular.
fn solve(mut rows: [[f64; 5]; 4]) -> [f64; 4] {
    for column in 0..4 {
        let largest = (column..4)
            .max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))
            .unwrap_or(column);
        rows.swap(column, largest);
        let pivot = rows[column];
        for row in rows.iter_mut().skip(column + 1) {
            let factor = row[column] / pivot[column];
            for (value, above) in row.iter_mut().zip(pivot) {
                *value -= factor * above;
            }
        }
    }
    let mut solution = [0.0; 4];
    for row in (0..4).rev() {
        let known: f64 = (row + 1..4).map(|column| rows[row][column] * solution[column]).sum();
        solution[row] = (rows[row][4] - known) / rows[row][row];
    }
    solution
}
