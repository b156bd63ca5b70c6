//! What predictions rest on, and what of it was ever held against a real server.

use super::{Assumptions, Calibration, Placed};
use crate::{
    engine::{Speed, hardware::GIB, modelled::Modelled},
    store::{Basis, CalibrationBasis, ModelBasis},
};

/// Hardware on which measured cells were met with the catalogue's own constants, dense and unquantized, and how well. The
/// README names the commands; tests hold the numbers.
const MET: [(&str, &str); 6] = [
    (
        "RTX 2000 Ada",
        "a grid that another tool measured on this GPU was met with a median error of p50 E2E of 7 % over 12 cells",
    ),
    ("A100 40GB", PUBLISHED_A100),
    ("A100 80GB", PUBLISHED_A100),
    (
        "H100",
        "figures that others published of this GPU, held out from tuning, were met with a median error of 11 %",
    ),
    (
        "L4",
        "figures that others published of this GPU, held out from tuning, were met with a median error of 7 %, time to first \
         token with 60 to 70 % too little",
    ),
    (
        "RTX 4090",
        "throughputs that somebody published of this GPU, held out from tuning, were met with a median error of 2 %",
    ),
];

const PUBLISHED_A100: &str =
    "figures that others published of A100, held out from tuning, were met with a median error of 12 %";

/// The GPU on which a model split over several was held against a measurement.
const RANKS_MET: &str = "H100";

/// What the predictions of some servers rest on.
///
/// `placed` are the servers; there is no basis without one.
pub fn basis<'a>(
    placed: impl IntoIterator<Item = &'a Placed>,
    assumed: Assumptions,
    calibration: Option<&Calibration>,
) -> Option<Basis> {
    let mut models: Vec<ModelBasis> = Vec::new();
    let mut first: Option<&Placed> = None;
    let mut doubts: Vec<String> = Vec::new();
    for server in placed {
        first.get_or_insert(server);
        let speed = match (calibration, &server.machine) {
            (Some(known), _) => known.speed,
            (None, Ok(machine)) => machine.speed(),
            (None, Err(_)) => server.modelled.speed(),
        };
        let model = of_model(server, speed);
        if !models.contains(&model) {
            models.push(model);
        }
        for doubt in doubts_of(&server.modelled) {
            if !doubts.contains(&doubt) {
                doubts.push(doubt);
            }
        }
    }
    let gpu = &first?.modelled.gpu;
    let mut calibration_basis = None;
    let validation = match calibration {
        Some(known) => {
            calibration_basis = Some(CalibrationBasis {
                run: known.run.clone(),
                model: known.model.clone(),
                cells: known.cells,
                fitted: known.fitted.clone(),
                median_e2e_error: known.median_e2e_error,
            });
            format!(
                "constants are fitted to {} cells of {}, whose p50 E2E they meet with a median error of {:.1} %{}",
                known.cells,
                known.run,
                known.median_e2e_error * 100.0,
                match models.iter().all(|model| model.model == known.model) {
                    true => "",
                    false => "; other models than its own are unvalidated",
                }
            )
        }
        None => match MET.iter().find(|(name, _)| *name == gpu.name) {
            Some((_, met)) if doubts.is_empty() => (*met).to_owned(),
            Some(_) => format!(
                "unvalidated: {} was not among what was held against measurements on this GPU",
                doubts.join(" and ")
            ),
            None => format!("unvalidated: no measurement on {} was ever held against a prediction", gpu.name),
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

fn of_model(server: &Placed, speed: Speed) -> ModelBasis {
    let modelled = &server.modelled;
    let shape = &modelled.model;
    let plain = format!("{:?}", shape.dtype).to_lowercase();
    ModelBasis {
        model: shape.name.clone(),
        shape_from: server.shape_from.to_owned(),
        parameters: shape.parameters(),
        weights_gib: rounded(modelled.weights() / GIB),
        weights: match shape.quantization {
            Some(form) => format!("{:.2} bits a weight, {plain} beside", form.bits_per_weight()),
            None => plain,
        },
        tensor_parallel: modelled.settings.tensor_parallel,
        bandwidth_gb_s: rounded(speed.bandwidth / 1e9),
        tflops: rounded(speed.flops / 1e12),
        step_us: rounded(speed.step_s * 1e6),
        sequence_us: rounded(speed.sequence_s * 1e6),
    }
}

/// What makes a server another kind than those that were held against measurements.
fn doubts_of(modelled: &Modelled) -> Vec<String> {
    let ranks = modelled.settings.tensor_parallel > 1 && modelled.gpu.name != RANKS_MET;
    let doubts = [
        (ranks, "tensor parallelism"),
        (modelled.model.experts.is_some(), "a mixture of experts"),
        (modelled.model.quantization.is_some(), "a quantized model"),
        (modelled.model.other_attention, "attention over a window or a latent"),
    ];
    doubts.into_iter().filter(|(is_so, _)| *is_so).map(|(_, what)| what.to_owned()).collect()
}

/// Light files hold it, and more digits would say nothing.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
