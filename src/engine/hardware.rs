//! The catalogue of GPUs: memory, bandwidth, throughput, and how much of them a server reaches.

use std::{collections::BTreeMap, sync::LazyLock};

use indexmap::IndexSet;
use serde::Deserialize;

use super::model_error::{ModelError, Subject};
use crate::manifest::{Catalogue, GpuSpec, Tflops, WeightType, nearest};

const CATALOGUE: &str = include_str!("hardware.toml");

/// Bytes in a GiB.
pub const GIB: f64 = (1u64 << 30) as f64;

/// A GPU model.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// Its name in the catalogue.
    pub name: String,
    /// Memory a process can have, bytes.
    pub memory_bytes: u64,
    /// Memory bandwidth by the datasheet, in bytes per second.
    pub bandwidth: f64,
    /// Dense throughput by the datasheet.
    pub tflops: Tflops,
    /// Fraction of the bandwidth that a step reaches, 0 to 1.
    pub bandwidth_efficiency: f64,
    /// Fraction of the throughput that a step reaches, 0 to 1.
    pub compute_efficiency: f64,
    /// Fixed time of a step, in seconds.
    pub step_s: f64,
    /// Fixed time of each layer in a step, in seconds; 0 if the catalogue states `step_us`, which includes
    /// it.
    pub layer_s: f64,
    /// Fixed time of each sequence in a step, in seconds.
    pub sequence_s: f64,
    /// Price in dollars per hour, if the catalogue has one.
    pub usd_per_hour: Option<f64>,
    /// Whether it is the host's CPU instead of a GPU.
    pub is_cpu: bool,
    /// The source of the numbers.
    pub source: Option<String>,
}

/// The number format of matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComputeType {
    /// As stored, unquantized.
    Plain(WeightType),
    /// 8-bit floating point.
    Fp8,
    /// 8-bit integers.
    Int8,
}

impl Gpu {
    /// Dense peak throughput in a number format, in operations per second. A GPU without the format uses the
    /// next larger one.
    pub fn flops(&self, in_type: ComputeType) -> f64 {
        let has = &self.tflops;
        let half = has.bf16.or(has.fp16).unwrap_or(has.fp32);
        let tera = match in_type {
            // vLLM leaves TF32 off.
            ComputeType::Plain(WeightType::Float32) => has.fp32,
            ComputeType::Plain(WeightType::Float16) => has.fp16.unwrap_or(half),
            ComputeType::Plain(WeightType::Bfloat16) => half,
            ComputeType::Fp8 => has.fp8.unwrap_or(half),
            ComputeType::Int8 => has.int8.unwrap_or(half),
        };
        tera * 1e12
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Builtin {
    class: BTreeMap<String, Class>,
    gpu: BTreeMap<String, GpuSpec>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Class {
    bandwidth_efficiency: f64,
    compute_efficiency: f64,
    step_us: f64,
    layer_us: f64,
    sequence_us: f64,
    #[serde(rename = "source")]
    _source: String,
}

static BUILTIN: LazyLock<Builtin> = LazyLock::new(|| {
    toml::from_str(CATALOGUE).expect("hardware.toml is part of the program, and a test reads it")
});

/// Words after a name that make it another card.
const OTHER_CARDS: [&str; 6] = ["ti", "super", "nvl", "mig", "d", "laptop"];

/// The words of a name in lower case, without the vendor's.
fn words(name: &str) -> Vec<String> {
    const VENDOR: [&str; 8] =
        ["nvidia", "amd", "geforce", "tesla", "instinct", "quadro", "gpu", "generation"];
    name.to_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty() && !VENDOR.contains(word))
        .map(|word| {
            // `8xH100`: the number of GPUs is configured elsewhere.
            let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
            match rest.strip_prefix('x') {
                Some(card) if rest.len() < word.len() && !card.is_empty() => card.to_owned(),
                _ => word.to_owned(),
            }
        })
        .collect()
}

/// Whether a name, as letters alone, stands in a label as whole words that are not another card's.
fn is_in(label: &[String], name: &str) -> bool {
    (0..label.len()).any(|from| {
        (from + 1..=label.len()).any(|to| {
            label[from..to].concat() == *name
                && label.get(to).is_none_or(|next| !OTHER_CARDS.contains(&next.as_str()))
        })
    })
}

/// Finds the entry of a catalogue that a label names, and the letters of that name.
fn entry<'a>(
    label: &[String],
    specs: &'a BTreeMap<String, GpuSpec>,
) -> Option<(&'a String, &'a GpuSpec, String)> {
    let of_entry = |(name, spec): (&'a String, &'a GpuSpec)| {
        let names = std::iter::once(name).chain(&spec.also).map(|name| words(name).concat());
        let found = names.filter(|name| is_in(label, name)).max_by_key(String::len)?;
        Some((name, spec, found))
    };
    specs.iter().filter_map(of_entry).max_by_key(|(.., found)| found.len())
}

/// Finds the GPU that a name or a label means; `None` if it is in no catalogue. Case, spaces, dashes and
/// vendors do not matter, and neither do words around the name (`RunPod-RTX2000-16GB`, `NVIDIA
/// A100-SXM4-40GB`). The user's own catalogue comes first.
pub fn find_gpu(label: &str, own: &Catalogue) -> Option<Gpu> {
    let label = words(label);
    let (name, spec, _) = entry(&label, &own.gpu).or_else(|| entry(&label, &BUILTIN.gpu))?;
    gpu_of(name, spec)
}

/// The other GPUs of the catalogue whose names begin with the words that were found in a label: `A100` means
/// the `A100 80GB`, and might have meant the `A100 40GB`. Empty for a name that is specific enough.
pub fn other_gpus(label: &str, own: &Catalogue) -> Vec<String> {
    let label = words(label);
    let specs = [&own.gpu, &BUILTIN.gpu].into_iter();
    let found = specs.filter_map(|specs| Some((specs, entry(&label, specs)?))).next();
    let Some((specs, (taken, _, letters))) = found else {
        return Vec::new();
    };
    let begins_so = |name: &&String| {
        let words = words(name);
        (1..words.len()).any(|to| words[..to].concat() == letters)
    };
    specs.keys().filter(|name| *name != taken).filter(begins_so).cloned().collect()
}

/// Makes a GPU from its entry; `None` for an unknown class.
fn gpu_of(name: &str, spec: &GpuSpec) -> Option<Gpu> {
    let class = BUILTIN.class.get(&spec.class)?;
    Some(Gpu {
        name: name.to_owned(),
        memory_bytes: (spec.memory_gib * GIB) as u64,
        bandwidth: spec.bandwidth_gb_s * 1e9,
        tflops: spec.tflops.clone(),
        bandwidth_efficiency: spec.bandwidth_efficiency.unwrap_or(class.bandwidth_efficiency),
        compute_efficiency: spec.compute_efficiency.unwrap_or(class.compute_efficiency),
        step_s: spec.step_us.unwrap_or(class.step_us) * 1e-6,
        layer_s: spec.step_us.map_or(class.layer_us, |_| 0.0) * 1e-6,
        sequence_s: spec.sequence_us.unwrap_or(class.sequence_us) * 1e-6,
        usd_per_hour: spec.usd_per_hour,
        is_cpu: spec.class == "cpu",
        source: spec.source.clone(),
    })
}

pub(super) fn gpu_classes() -> Vec<&'static str> {
    BUILTIN.class.keys().map(String::as_str).collect()
}

/// The error for a name that is no GPU: lists the known ones, and says how to add one.
pub(super) fn unknown_gpu(label: &str, own: &Catalogue) -> ModelError {
    let known: IndexSet<&str> = own.gpu.keys().chain(BUILTIN.gpu.keys()).map(String::as_str).collect();
    let known: Vec<&str> = known.into_iter().collect();
    let meant = nearest(label, &known).map(|name| format!("; did you mean {name:?}?"));
    ModelError {
        subject: Subject::Gpu,
        title: format!("no GPU called {label:?} is known{}", meant.unwrap_or_default()),
        help: vec![
            format!("known GPUs: {}", known.join(", ")),
            "to add one, write [catalogue.gpu.my-card] with memory_gib, bandwidth_gb_s and \
             tflops = { fp32 = …, bf16 = … }, here or in an included file"
                .to_owned(),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(label: &str) -> Option<String> {
        find_gpu(label, &Catalogue::default()).map(|gpu| gpu.name)
    }

    #[test]
    fn every_entry_has_a_class_and_a_source_and_is_found_by_its_names() {
        assert!(BUILTIN.gpu.len() >= 13);
        for (name, spec) in &BUILTIN.gpu {
            assert!(spec.source.is_some(), "{name}");
            for known in std::iter::once(name).chain(&spec.also) {
                assert_eq!(found(known).as_ref(), Some(name), "{known}");
            }
        }
    }

    #[test]
    fn labels_are_matched_leniently_without_mistaking_other_cards() {
        for (label, expected) in [
            ("RunPod-RTX2000-16GB", Some("RTX 2000 Ada")),
            ("NVIDIA RTX 2000 Ada Generation", Some("RTX 2000 Ada")),
            ("nvidia a100-sxm4-40gb", Some("A100 40GB")),
            ("NVIDIA A100 80GB PCIe", Some("A100 PCIe 80GB")),
            ("NVIDIA A100-SXM4-80GB", Some("A100 80GB")),
            ("NVIDIA H100 80GB HBM3", Some("H100")),
            ("h100-pcie", Some("H100 PCIe")),
            ("8xH100", Some("H100")),
            ("GeForce RTX 4090", Some("RTX 4090")),
            ("rtx4090", Some("RTX 4090")),
            ("AMD Instinct MI300X", Some("MI300X")),
            ("L40", None),
            ("GH200", None),
            ("RTX 3090 Ti", None),
            ("H100 NVL", None),
            ("A10", None),
            ("", None),
        ] {
            assert_eq!(found(label).as_deref(), expected, "{label}");
        }
    }

    #[test]
    fn a_name_of_several_cards_has_others() {
        let others = |name: &str| other_gpus(name, &Catalogue::default());
        assert_eq!(others("NVIDIA A100"), ["A100 40GB", "A100 PCIe 80GB"]);
        assert_eq!(others("8xH100"), ["H100 PCIe"]);
        for specific in ["A100 80GB", "NVIDIA A100-SXM4-40GB", "H100 SXM", "L4", "RTX2000", "nothing"] {
            assert!(others(specific).is_empty(), "{specific}");
        }
    }

    #[test]
    fn the_users_own_come_first_and_an_unknown_name_lists_the_known_ones() {
        let own: Catalogue = toml::from_str(
            "[gpu.T4]\nmemory_gib = 99\nbandwidth_gb_s = 1\ntflops = { fp32 = 1 }\nstep_us = 7",
        )
        .unwrap();
        let gpu = find_gpu("Tesla T4", &own).unwrap();
        assert_eq!(gpu.memory_bytes, 99 << 30);
        assert!((gpu.step_s - 7e-6).abs() < 1e-12);
        assert_eq!(gpu.flops(ComputeType::Fp8), 1e12);
        let ModelError { title, help, .. } = unknown_gpu("A1000", &Catalogue::default());
        assert!(title.contains("did you mean"), "{title}");
        assert!(help[0].contains("RTX 2000 Ada") && help[1].contains("[catalogue.gpu."));
    }
}
