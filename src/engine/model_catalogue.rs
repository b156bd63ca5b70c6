//! Finds models by name in the built-in catalogue and the user's own.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use super::{
    model::ModelShape,
    model_error::{ModelError, Subject},
    quantization::Quantization,
};
use crate::manifest::{Catalogue, ModelSpec, nearest};

const CATALOGUE: &str = include_str!("models.toml");

#[derive(Deserialize)]
struct Builtin {
    model: BTreeMap<String, ModelSpec>,
}

static BUILTIN: LazyLock<Builtin> = LazyLock::new(|| {
    toml::from_str(CATALOGUE).expect("models.toml is part of the program, and a test reads it")
});

/// A model's name without its organisation and without words that do not change the dimensions, such as
/// `Instruct` or `AWQ`.
fn plain(name: &str) -> String {
    const WORDS: &str = "instruct chat it hf base awq gptq int4 int8 fp8 dynamic bnb 4bit 8bit w4a16 w8a8 w8a16 quantized \
        bf16 fp16 meta unsloth block gguf neuralmagic int";
    let last = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    let words: Vec<&str> = last
        .split(['-', '_', '.'])
        .filter(|word| !word.is_empty() && WORDS.split(' ').all(|other| other != *word))
        .collect();
    words.concat()
}

/// Finds a model by name; `None` if it is in no catalogue. Organisation, case and words such as `Instruct` do
/// not matter, and the quantization is taken from the name. The user's own catalogue comes first.
pub fn find_model(name: &str, own: &Catalogue) -> Option<ModelShape> {
    let wanted = plain(name);
    let find = |specs: &BTreeMap<String, ModelSpec>| {
        specs
            .iter()
            .find(|(known, _)| *known == name)
            .or_else(|| {
                specs.iter().find(|(known, spec)| {
                    std::iter::once(*known).chain(&spec.also).any(|known| plain(known) == wanted)
                })
            })
            .map(|(_, spec)| model_of(name, spec))
    };
    find(&own.model).or_else(|| find(&BUILTIN.model))
}

/// Makes a model from its entry. The quantization is taken from the name.
fn model_of(name: &str, spec: &ModelSpec) -> ModelShape {
    ModelShape {
        name: name.to_owned(),
        layers: spec.layers,
        hidden: spec.hidden,
        heads: spec.heads,
        kv_heads: spec.kv_heads.unwrap_or(spec.heads),
        head_dim: spec.head_dim.unwrap_or(spec.hidden / spec.heads.max(1)),
        intermediate: spec.intermediate,
        vocab: spec.vocab,
        tied: spec.tied,
        qkv_bias: spec.qkv_bias,
        ffn_matrices: if spec.gated { 3 } else { 2 },
        experts: spec.experts.clone(),
        max_positions: spec.max_positions,
        dtype: spec.dtype,
        quantization: Quantization::of_name(name),
        other_attention: ["gemma", "mistral-7b-v0.1", "mistral-7b-instruct-v0.1"]
            .iter()
            .any(|windowed| name.to_lowercase().contains(windowed)),
    }
}

/// The error for a name that is no known model: suggests the nearest, and says how to add one.
pub(super) fn unknown_model(name: &str, own: &Catalogue) -> ModelError {
    let known: Vec<&str> = own.model.keys().chain(BUILTIN.model.keys()).map(String::as_str).collect();
    let last = name.rsplit('/').next().unwrap_or(name);
    let meant = nearest(last, &known).map(|name| format!("; the nearest known is {name}"));
    ModelError {
        subject: Subject::Model,
        title: format!("the dimensions of {name} are unknown{}", meant.unwrap_or_default()),
        help: vec![
            "they are read from the config.json of a local model or of the Hugging Face cache, else from the catalogue"
                .to_owned(),
            format!(
                "to add them, write [catalogue.model.\"{name}\"] with layers, hidden, heads, kv_heads, intermediate, vocab \
                 and max_positions, here or in an included file"
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(name: &str) -> ModelShape {
        find_model(name, &Catalogue::default()).unwrap_or_else(|| panic!("{name}"))
    }

    #[test]
    fn every_entry_has_a_source_and_the_parameters_in_its_name() {
        for (name, spec) in &BUILTIN.model {
            assert!(spec.source.is_some(), "{name}");
            assert_eq!(model_of(name, spec), shape(name), "{name} is found");
            let parameters = model_of(name, spec).parameters() as f64;
            // Published sizes, where the name has one: 0.5B is 494 million, 3B is 3.09 billion.
            let lower = name.to_lowercase();
            let size = lower.split(['-', '_']).find_map(|word| {
                let digits = word.strip_suffix(['b', 'm'])?;
                let unit = if word.ends_with('m') { 1e6 } else { 1e9 };
                digits.parse::<f64>().ok().map(|number| number * unit)
            });
            if let Some(size) = size {
                let ratio = parameters / size;
                assert!((0.85..1.35).contains(&ratio), "{name}: {parameters} is {ratio} of {size}");
            }
        }
    }

    #[test]
    fn parameters_are_the_published_ones() {
        for (name, millions) in [
            ("Qwen/Qwen2.5-1.5B-Instruct", 1543.7),
            ("Qwen/Qwen2.5-7B-Instruct", 7615.6),
            ("meta-llama/Llama-3.1-8B-Instruct", 8030.3),
            ("meta-llama/Llama-3.2-1B", 1235.8),
            ("HuggingFaceTB/SmolLM2-135M-Instruct", 134.5),
            ("mistralai/Mistral-7B-v0.1", 7241.7),
            ("Qwen/Qwen3-30B-A3B", 30532.1),
        ] {
            let found = shape(name).parameters() as f64 / 1e6;
            assert!((found / millions - 1.0).abs() < 2e-3, "{name}: {found}");
        }
    }

    #[test]
    fn names_are_matched_leniently_and_state_the_quantization() {
        assert_eq!(shape("qwen/qwen2.5-1.5b-instruct").quantization, None);
        assert_eq!(
            shape("Qwen/Qwen2.5-7B-Instruct-AWQ").quantization,
            Some(Quantization::Grouped { bits: 4 })
        );
        assert_eq!(
            shape("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8").quantization,
            Some(Quantization::Grouped { bits: 8 })
        );
        assert_eq!(shape("neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8").quantization, Some(Quantization::Fp8));
        assert!(find_model("someone/unheard-of-9B", &Catalogue::default()).is_none());
        let ModelError { title, help, .. } = unknown_model("Qwen/Qwen2.5-9B", &Catalogue::default());
        assert!(title.contains("nearest"), "{title}");
        assert!(help[1].contains("[catalogue.model.\"Qwen/Qwen2.5-9B\"]"));
    }
}
