//! Describes what predictions rest on, and how they were validated against real servers.

use super::{Assumptions, Calibration, Placed};
use crate::{
    engine::{Speed, hardware::GIB, server_model::ServerModel},
    store::{Basis, CalibrationBasis, ModelBasis},
};

/// GPUs on which predictions of dense, unquantized models with the catalogue's constants were validated, and
/// how accurate they were. Tests hold the numbers.
const VALIDATED: [(&str, &str); 6] = [
    (
        "RTX 2000 Ada",
        "validated against a grid that another tool measured on this GPU: median error of p50 E2E 7 % over 12 cells",
    ),
    ("A100 40GB", PUBLISHED_A100),
    ("A100 80GB", PUBLISHED_A100),
    (
        "H100",
        "validated against published figures for this GPU that were held out from tuning: median error 11 %",
    ),
    (
        "L4",
        "validated against published figures for this GPU that were held out from tuning: median error 7 %, but time to \
         first token 60 to 70 % too low",
    ),
    (
        "RTX 4090",
        "validated against published throughputs for this GPU that were held out from tuning: median error 2 %",
    ),
];

const PUBLISHED_A100: &str =
    "validated against published figures for the A100 that were held out from tuning: median error 12 %";

/// The GPU on which tensor parallelism was validated.
const TENSOR_PARALLEL_VALIDATED: &str = "H100";

/// The basis of the predictions for these servers; `None` without a server.
pub fn basis<'a>(
    placed: impl IntoIterator<Item = &'a Placed>,
    assumed: Assumptions,
    calibration: Option<&Calibration>,
) -> Option<Basis> {
    let mut models: Vec<ModelBasis> = Vec::new();
    let mut first: Option<&Placed> = None;
    let mut doubts: Vec<String> = Vec::new();
    for one in placed {
        first.get_or_insert(one);
        let speed = match (calibration, &one.machine) {
            (Some(calibration), _) => calibration.speed,
            (None, Ok(machine)) => machine.speed(),
            (None, Err(_)) => one.server.speed(),
        };
        let model = of_model(one, speed);
        if !models.contains(&model) {
            models.push(model);
        }
        for doubt in doubts_of(&one.server) {
            if !doubts.contains(&doubt) {
                doubts.push(doubt);
            }
        }
    }
    let gpu = &first?.server.gpu;
    let mut calibration_basis = None;
    let validation = match calibration {
        Some(fit) => {
            calibration_basis = Some(CalibrationBasis {
                run: fit.run.clone(),
                model: fit.model.clone(),
                cells: fit.cells,
                fitted: fit.fitted.clone(),
                median_e2e_error: fit.median_e2e_error,
            });
            format!(
                "constants are fitted to {} cells of {}, with a median error of their p50 E2E of {:.1} %{}",
                fit.cells,
                fit.run,
                fit.median_e2e_error * 100.0,
                match models.iter().all(|model| model.model == fit.model) {
                    true => "",
                    false => "; other models are unvalidated",
                }
            )
        }
        None => match VALIDATED.iter().find(|(name, _)| *name == gpu.name) {
            Some((_, validation)) if doubts.is_empty() => (*validation).to_owned(),
            Some(_) => format!(
                "unvalidated: {} was never compared with measurements on this GPU",
                doubts.join(" and ")
            ),
            None => format!("unvalidated: predictions were never compared with measurements on {}", gpu.name),
        },
    };
    Some(Basis {
        hardware: gpu.name.clone(),
        memory_gib: rounded(gpu.memory_bytes as f64 / GIB),
        source: gpu.source.clone(),
        models,
        answers: assumed.answers,
        calibration: calibration_basis,
        validation,
    })
}

fn of_model(placed: &Placed, speed: Speed) -> ModelBasis {
    let server = &placed.server;
    let shape = &server.model;
    let plain = format!("{:?}", shape.dtype).to_lowercase();
    ModelBasis {
        model: shape.name.clone(),
        shape_from: placed.shape_from.to_owned(),
        parameters: shape.parameters(),
        weights_gib: rounded(server.weights() / GIB),
        weights: match shape.quantization {
            Some(form) => format!("{:.2} bits per weight, otherwise {plain}", form.bits_per_weight()),
            None => plain,
        },
        tensor_parallel: server.settings.tensor_parallel,
        bandwidth_gb_s: rounded(speed.bandwidth / 1e9),
        tflops: rounded(speed.flops / 1e12),
        step_us: rounded(speed.step_s * 1e6),
        sequence_us: rounded(speed.sequence_s * 1e6),
    }
}

/// Properties of a server that were not part of the validation.
fn doubts_of(server: &ServerModel) -> Vec<String> {
    let ranks = server.settings.tensor_parallel > 1 && server.gpu.name != TENSOR_PARALLEL_VALIDATED;
    let doubts = [
        (ranks, "tensor parallelism"),
        (server.settings.gpus > server.settings.tensor_parallel, "pipeline or data parallelism"),
        (server.model.experts.is_some(), "a mixture of experts"),
        (server.model.quantization.is_some(), "a quantized model"),
        (server.model.other_attention, "attention over a window or a latent"),
    ];
    doubts.into_iter().filter(|(is_so, _)| *is_so).map(|(_, what)| what.to_owned()).collect()
}

/// Rounds to three decimals, which is more than predictions are accurate to.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
