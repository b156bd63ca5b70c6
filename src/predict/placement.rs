//! Decides which GPU a server is predicted on, and models the server on it.

use std::collections::BTreeMap;

use super::{Calibration, Machine};
use crate::{
    diagnostic::{Finding, Findings},
    engine::{
        Speed,
        hardware::{GIB, Gpu, find_gpu, other_gpus},
        memory::Misfit,
        model_error::{ModelError, Subject},
        server_model::ServerModel,
    },
    manifest::{Catalogue, Engine, EnvValue, LaunchOn, Manifest, Server, config_of_model},
    plan::Plan,
};

/// GiB of KV cache on a CPU unless `VLLM_CPU_KVCACHE_SPACE` is set.
const CPU_KV_GIB: f64 = 4.0;

/// What decides which GPU the servers of a plan are predicted on.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    /// The manifest, with its catalogue of GPUs and models.
    pub manifest: &'a Manifest,
    /// The GPU that `--gpu` names.
    pub gpu: Option<&'a str>,
    /// Constants fitted to measurements, which replace the catalogue's.
    pub calibration: Option<&'a Calibration>,
    /// The GPU that was detected where the servers ran.
    pub detected: Option<&'a str>,
    /// Whether the user asked for a prediction. If so, every server is placed, whatever its engine, and a
    /// server that cannot be placed is an error. Otherwise only servers that surely run vLLM on a known GPU
    /// are placed.
    pub required: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NamedBy {
    /// `--gpu`, a calibration, or the detected GPU: nothing in the manifest.
    Outside,
    Rehearsal,
    Hardware,
    Label,
}

impl NamedBy {
    /// The key of the manifest.
    fn key(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Outside => None,
            Self::Rehearsal => Some(&["server", "sim", "gpu"]),
            Self::Hardware => Some(&["hardware", "gpu"]),
            Self::Label => Some(&["hardware", "label"]),
        }
    }
}

/// The servers of a plan on their GPUs.
#[derive(Debug, Default)]
pub struct Placements {
    /// The servers that could be placed, by the id of their group.
    pub placed: BTreeMap<String, Placed>,
    /// Servers that could not be placed, and names of GPUs that have more than one meaning; each once.
    pub findings: Findings,
}

impl<'a> Placement<'a> {
    /// Placement by the manifest alone, where the user did not ask for a prediction.
    pub fn of(manifest: &'a Manifest) -> Self {
        Self { manifest, gpu: None, calibration: None, detected: None, required: false }
    }

    /// Places the servers of a plan.
    pub fn place(&self, plan: &Plan) -> Placements {
        let mut placements = Placements::default();
        let mut unknown: Vec<ModelError> = Vec::new();
        let mut ambiguous: Vec<&str> = Vec::new();
        for group in &plan.groups {
            let Some((gpu, named_by)) = self.gpu_of(&group.server, plan) else {
                if self.required && unknown.is_empty() {
                    let unnamed = ModelError {
                        subject: Subject::Gpu,
                        title: "no GPU is named, so nothing can be predicted".to_owned(),
                        help: vec![
                            "add --gpu NAME (--gpu cpu for vLLM on a CPU), or `gpu` or a label under [hardware] of the manifest".to_owned(),
                        ],
                    };
                    placements.findings.push(self.unknown(&unnamed, &group.server, NamedBy::Outside));
                    unknown.push(unnamed);
                }
                continue;
            };
            match Placed::new(&group.server, gpu, &self.manifest.catalogue) {
                Ok(placed) => {
                    if !ambiguous.contains(&gpu) {
                        placements.findings.extend(self.ambiguous(gpu, named_by, &placed.server.gpu));
                        ambiguous.push(gpu);
                    }
                    let placed = match self.calibration {
                        Some(calibration) => placed.with_speed(calibration.speed),
                        None => placed,
                    };
                    placements.placed.insert(group.id.clone(), placed);
                }
                Err(why) if !unknown.contains(&why) => {
                    placements.findings.push(self.unknown(&why, &group.server, named_by));
                    unknown.push(why);
                }
                Err(_) => {}
            }
        }
        placements
    }

    /// The GPU that a server is predicted on, and where its name comes from. In order: `--gpu`, the
    /// calibration's GPU, the GPU that a server of the embedded engine rehearses, `hardware.gpu`,
    /// `hardware.label` if it names a known GPU, and the GPU that was detected.
    fn gpu_of<'s>(&'s self, server: &'s Server, plan: &'s Plan) -> Option<(&'s str, NamedBy)> {
        let outside = self.gpu.or(self.calibration.map(|calibration| calibration.hardware.as_str()));
        if let Some(gpu) = outside {
            return Some((gpu, NamedBy::Outside));
        }
        let rehearsed = server.sim.gpu.as_deref().map(|gpu| (gpu, NamedBy::Rehearsal));
        if server.engine == Engine::Sim && (rehearsed.is_some() || !self.required) {
            return rehearsed;
        }
        if !self.required && (server.engine != Engine::Vllm || server.launch.on == LaunchOn::Attach) {
            return None;
        }
        let is_known = |(name, _): &(&str, NamedBy)| find_gpu(name, &self.manifest.catalogue).is_some();
        let hardware = plan.hardware.gpu.as_deref().map(|gpu| (gpu, NamedBy::Hardware));
        let label = plan.hardware.label.as_deref().map(|label| (label, NamedBy::Label));
        let detected = self.detected.map(|gpu| (gpu, NamedBy::Outside));
        let known = hardware.or_else(|| label.filter(is_known)).or_else(|| detected.filter(is_known));
        // An unknown name is better than none where a prediction is required: the error repeats it.
        known.or_else(|| detected.or(label).or(rehearsed).filter(|_| self.required))
    }

    /// The finding for a server that cannot be placed.
    fn unknown(&self, unknown: &ModelError, server: &Server, named_by: NamedBy) -> Finding {
        // A server that rehearses an unknown GPU would not start.
        let is_error = self.required || server.engine == Engine::Sim || unknown.subject == Subject::Gpu;
        let finding = match is_error {
            true => Finding::error(&unknown.title),
            false => Finding::note(format!("not predicted: {}", unknown.title)),
        };
        let key: Option<&[&str]> = match unknown.subject {
            Subject::Model => Some(&["server", "model"]),
            Subject::Flags => Some(&["server", "flags"]),
            Subject::Gpu => named_by.key(),
        };
        let finding = unknown.help.iter().fold(finding, Finding::help);
        match key {
            Some(key) => finding.at(&self.manifest.place(key), ""),
            None => finding,
        }
    }

    /// The finding for a name that means one GPU of several.
    fn ambiguous(&self, name: &str, named_by: NamedBy, taken: &Gpu) -> Option<Finding> {
        // A calibration holds the catalogue's own names.
        let is_calibrated = named_by == NamedBy::Outside && self.gpu.is_none() && self.calibration.is_some();
        let others = other_gpus(name, &self.manifest.catalogue);
        if is_calibrated || others.is_empty() {
            return None;
        }
        let others: Vec<String> = others.iter().map(|other| format!("{other:?}")).collect();
        let finding = Finding::note(format!(
            "{name:?} is taken to be the {} with {:.0} GiB and {:.0} GB/s",
            taken.name,
            taken.memory_bytes as f64 / GIB,
            taken.bandwidth / 1e9
        ))
        .help(format!("for another GPU of that name, write {}", others.join(" or ")));
        Some(match named_by.key() {
            Some(key) => finding.at(&self.manifest.place(key), ""),
            None => finding,
        })
    }
}

/// A server on a GPU, and whether it would start there.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The GPU, the model and the flags that matter.
    pub server: ServerModel,
    /// The running server, or how its start would fail.
    pub machine: Result<Machine, Misfit>,
    /// The source of the model's dimensions.
    pub shape_from: &'static str,
}

impl Placed {
    /// Models a server on a GPU. The user's own catalogue goes before a `config.json` of the model, and that
    /// before the built-in catalogue.
    ///
    /// # Errors
    /// When the GPU, the model, or the value of a flag is unknown.
    pub fn new(server: &Server, gpu: &str, own: &Catalogue) -> Result<Self, ModelError> {
        let config = config_of_model(&server.model);
        let text = config.as_ref().map(|(_, text)| text.as_str());
        let mut model = ServerModel::of(gpu, &server.model, &server.flags, own, text)?;
        if model.gpu.is_cpu {
            let gib = match server.env.get("VLLM_CPU_KVCACHE_SPACE") {
                Some(EnvValue::Text(text)) => text.parse().unwrap_or(CPU_KV_GIB),
                _ => CPU_KV_GIB,
            };
            let bytes = Some((gib * GIB) as u64);
            model.settings.kv_bytes = model.settings.kv_bytes.or(bytes);
        }
        let shape_from = match (own.model.contains_key(&server.model), text) {
            (true, _) => "the manifest's catalogue",
            (false, Some(_)) => "config.json",
            (false, None) => "the catalogue",
        };
        let prefix_caching = server.flags.enabled("enable-prefix-caching");
        Ok(Self { machine: Machine::of(&model, prefix_caching), server: model, shape_from })
    }

    /// Replaces the catalogue's constants.
    pub fn with_speed(self, speed: Speed) -> Self {
        Self { machine: self.machine.map(|machine| machine.with_speed(speed)), ..self }
    }
}
