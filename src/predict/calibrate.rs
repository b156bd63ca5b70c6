//! Fits the constants of the hardware to measured cells.
//!
//! The fit minimizes the squared logarithms of predicted / measured, over the median TTFT, TPOT and E2E and
//! the throughput of each cell. With logarithms, twice and half weigh the same, and so do short and long
//! cells.

use std::{collections::BTreeMap, path::Path};

use super::{
    Assumptions, Calibration, Comparison, Machine, Placed, PredictError, Predicted, Setup,
    calibration::FORMAT,
};
use crate::{
    engine::Speed,
    manifest::Inputs,
    measure::Summary,
    plan::{Cell, selects},
    store::StoredRun,
    workload,
};

#[derive(Clone, Copy, Debug)]
pub(super) struct Measured<'a> {
    pub(super) cell: &'a Cell,
    pub(super) machine: &'a Machine,
    pub(super) summary: &'a Summary,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Fitted {
    pub(super) speed: Speed,
    /// Prompt tokens by the server's tokenizer, per token of the embedded engine's.
    pub(super) prompts: f64,
    /// Median absolute error of p50 E2E, as a fraction.
    pub(super) median_e2e_error: f64,
    /// Largest absolute error of p50 E2E, as a fraction.
    pub(super) largest_e2e_error: f64,
    /// Median absolute error of the throughput, as a fraction.
    pub(super) median_throughput_error: f64,
}

/// Fits the constants of a run's hardware to the measured cells that `only` selects.
///
/// # Errors
/// When no selected cell was measured, or one cannot be predicted.
pub fn calibrate(
    stored: &StoredRun,
    placed: &BTreeMap<String, Placed>,
    inputs: &Inputs,
    only: &[String],
    spill: &Path,
) -> Result<Calibration, PredictError> {
    let mut measured = Vec::new();
    for group in &stored.plan.groups {
        let machine = placed.get(&group.id).and_then(|placed| placed.machine.as_ref().ok());
        let Some(machine) = machine else { continue };
        for cell in group.cells.iter().filter(|cell| selects(only, &cell.id)) {
            let file = stored.cells.iter().find(|file| file.id == cell.id);
            if let Some(summary) = file.and_then(|file| file.summary.as_ref()) {
                measured.push(Measured { cell, machine, summary });
            }
        }
    }
    let fitted = fit_cells(&measured, inputs, spill)?;
    Ok(Calibration {
        format: FORMAT,
        run: stored.run.name.clone(),
        hardware: placed.values().next().map_or_else(String::new, |placed| placed.server.gpu.name.clone()),
        model: stored.plan.groups.first().map_or_else(String::new, |group| group.server.model.clone()),
        cells: measured.len(),
        fitted: measured.iter().map(|one| one.cell.id.clone()).collect(),
        prompts: fitted.prompts,
        median_e2e_error: fitted.median_e2e_error,
        largest_e2e_error: fitted.largest_e2e_error,
        median_throughput_error: fitted.median_throughput_error,
        speed: fitted.speed,
    })
}

/// Fits the constants to measured cells.
///
/// # Errors
/// When there is no cell, or one cannot be predicted.
pub(super) fn fit_cells(
    cells: &[Measured<'_>],
    inputs: &Inputs,
    spill: &Path,
) -> Result<Fitted, PredictError> {
    let first = cells.first().ok_or(PredictError::NothingToFit)?;
    let prompts = prompt_ratio(cells, inputs, spill)?;
    let predict_all = |speed: Speed| -> Result<Vec<Predicted>, PredictError> {
        let predict = |measured: &Measured<'_>| {
            let setup = Setup { inputs, assumed: assumed(measured, prompts), spill };
            setup.predict(measured.cell, &measured.machine.with_speed(speed))
        };
        cells.iter().map(predict).collect()
    };
    let residuals = |speed: Speed| -> Result<Vec<f64>, PredictError> {
        let predicted = predict_all(speed)?;
        let each = cells.iter().zip(&predicted);
        Ok(each
            .flat_map(|(measured, predicted)| ratios(&predicted.summary, measured.summary))
            .map(|ratio| ratio.map_or(0.0, f64::ln))
            .collect())
    };
    let speed = fit(first.machine.speed(), residuals)?;
    let predicted = predict_all(speed)?;
    let compared = |which: usize| -> Vec<Comparison> {
        let each = cells.iter().zip(&predicted);
        each.filter_map(|(m, p)| Comparison::of(numbers(&p.summary)[which], numbers(m.summary)[which]))
            .collect()
    };
    let (e2e, throughput) = (compared(2), compared(3));
    let largest = e2e.iter().map(|one| one.error().abs()).reduce(f64::max);
    let medians = Comparison::median_error(&e2e).zip(Comparison::median_error(&throughput));
    let (Some(largest_e2e_error), Some((median_e2e_error, median_throughput_error))) = (largest, medians)
    else {
        return Err(PredictError::NoNumbers);
    };
    Ok(Fitted { speed, prompts, median_e2e_error, largest_e2e_error, median_throughput_error })
}

/// Takes the length of a cell's answers from its measurement.
fn assumed(measured: &Measured<'_>, prompts: f64) -> Assumptions {
    let answers = measured.summary.output_length.as_ref();
    Assumptions {
        answers: answers.map_or(1.0, |length| (length.p50 / length.asked_p50()).clamp(0.01, 1.0)),
        prompts,
    }
}

/// The servers' count of prompt tokens, per token of the embedded engine's count; 1 where the servers
/// reported none. Synthetic prompts are left out, because they have the same length by both counts.
fn prompt_ratio(cells: &[Measured<'_>], inputs: &Inputs, spill: &Path) -> Result<f64, PredictError> {
    let (mut theirs, mut ours) = (0.0, 0.0);
    let is_written = |measured: &&Measured<'_>| !workload::needs_vocabulary(&measured.cell.spec);
    for measured in cells.iter().filter(is_written) {
        let setup = Setup { inputs, assumed: assumed(measured, 1.0), spill };
        let predicted = setup.predict(measured.cell, measured.machine)?;
        let summary = measured.summary;
        let measured = summary.input_tokens.zip(Some(summary.counts.completed));
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

/// Median TTFT, TPOT and E2E, and the throughput.
fn numbers(summary: &Summary) -> [Option<f64>; 4] {
    [
        summary.ttft.as_ref().map(|latency| latency.p50_ms),
        summary.tpot.as_ref().map(|latency| latency.p50_ms),
        summary.e2e.as_ref().map(|latency| latency.p50_ms),
        summary.throughput_tok_s,
    ]
}

/// Predicted / measured for each of the [`numbers`] that both summaries have.
fn ratios(predicted: &Summary, measured: &Summary) -> [Option<f64>; 4] {
    let (predicted, measured) = (numbers(predicted), numbers(measured));
    std::array::from_fn(|which| {
        let (p, m) = predicted[which].zip(measured[which])?;
        (p > 0.0 && m > 0.0).then(|| p / m)
    })
}

/// Weight of a constant's distance from the catalogue's, so that constants which the cells do not determine
/// stay near it. A factor of e weighs as much as one number that is 2 % off.
const PRIOR: f64 = 0.02;

/// Minimizes the sum of squared residuals by the Levenberg–Marquardt method, in the logarithms of the
/// constants. It starts also with throughputs far below the catalogue's, because a throughput that limits no
/// step has no slope.
fn fit(
    start: Speed,
    residuals: impl Fn(Speed) -> Result<Vec<f64>, PredictError>,
) -> Result<Speed, PredictError> {
    // Zero has no logarithm.
    let origin = [
        start.bandwidth.ln(),
        start.flops.ln(),
        start.step_s.max(1e-6).ln(),
        start.sequence_s.max(1e-6).ln(),
    ];
    let at = |theta: [f64; 4]| -> Result<Vec<f64>, PredictError> {
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

/// Descends from a start. Returns the least sum of squares and where it is.
fn descend(
    mut theta: [f64; 4],
    at: &impl Fn([f64; 4]) -> Result<Vec<f64>, PredictError>,
) -> Result<(f64, [f64; 4]), PredictError> {
    const ROUNDS: usize = 20;
    const NUDGE: f64 = 0.02;
    // Longest step, in logarithms: the slope is only local.
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

/// Solves four linear equations, each row ending with its right-hand side. The prior keeps them from being
/// singular.
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
