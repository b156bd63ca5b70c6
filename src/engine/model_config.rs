//! Reads a model's dimensions from the `config.json` of its checkpoint.

use serde_json::Value;

use super::{model::ModelShape, quantization::Quantization};
use crate::manifest::{ExpertsSpec, WeightType};

/// Why a `config.json` does not describe a model.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("it is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("it has no number above 0 for {0}")]
    Missing(String),
}

/// Reads a model's dimensions from the text of its `config.json`, which uses the names of the transformers
/// library.
///
/// # Errors
/// When the text is not JSON, or lacks a dimension.
pub(super) fn model_of_config(name: &str, text: &str) -> Result<ModelShape, ConfigError> {
    let whole: Value = serde_json::from_str(text)?;
    // Multimodal models keep the dimensions of the language model in a table of their own.
    let config = whole.get("text_config").unwrap_or(&whole);
    let number = |keys: &[&str]| keys.iter().find_map(|key| config.get(*key)?.as_u64());
    let mut missing = Vec::new();
    let mut need = |keys: &[&str]| {
        let found = number(keys).filter(|n| *n > 0);
        if found.is_none() {
            missing.push(format!("`{}`", keys[0]));
        }
        found.unwrap_or(1)
    };
    let layers = need(&["num_hidden_layers", "n_layer"]);
    let hidden = need(&["hidden_size", "n_embd"]);
    let heads = need(&["num_attention_heads", "n_head"]);
    let intermediate = need(&["intermediate_size", "ffn_dim", "n_inner"]);
    let vocab = need(&["vocab_size"]);
    let max_positions = need(&["max_position_embeddings", "n_positions"]);
    if !missing.is_empty() {
        return Err(ConfigError::Missing(missing.join(", ")));
    }
    let kind = config.get("model_type").and_then(Value::as_str);
    let kind = kind.unwrap_or_default();
    let count = number(&["num_local_experts", "num_experts", "n_routed_experts"]);
    let active = number(&["num_experts_per_tok"]);
    let experts = count.zip(active).map(|(count, active)| ExpertsSpec {
        count,
        active,
        intermediate: number(&["moe_intermediate_size"]),
        shared: number(&["shared_expert_intermediate_size"]),
    });
    // The library's default for these families.
    let tied_by_default = kind.starts_with("gemma") || kind == "opt" || kind == "gpt2";
    let flag = |key: &str| {
        let own = config.get(key).and_then(Value::as_bool);
        own.or_else(|| whole.get(key).and_then(Value::as_bool))
    };
    let dtype = ["torch_dtype", "dtype"].iter().find_map(|key| {
        let own = config.get(*key).or_else(|| whole.get(*key));
        WeightType::named(own?.as_str()?)
    });
    Ok(ModelShape {
        name: name.to_owned(),
        layers,
        hidden,
        heads,
        kv_heads: number(&["num_key_value_heads"]).unwrap_or(heads),
        head_dim: number(&["head_dim"]).unwrap_or(hidden / heads),
        intermediate,
        vocab,
        tied: flag("tie_word_embeddings").unwrap_or(tied_by_default),
        qkv_bias: flag("attention_bias").unwrap_or(kind == "qwen2" || kind == "qwen2_moe"),
        ffn_matrices: if kind == "opt" || kind == "gpt2" { 2 } else { 3 },
        experts,
        max_positions,
        // vLLM loads a checkpoint without a type, stored in 32 bits, in half precision.
        dtype: dtype.unwrap_or(WeightType::Float16),
        quantization: quantization_of_config(&whole).or_else(|| Quantization::of_name(name)),
        other_attention: has_other_attention(config),
    })
}

/// Whether some layers have sliding-window, latent or no attention.
fn has_other_attention(config: &Value) -> bool {
    let window = config.get("sliding_window").is_some_and(Value::is_u64);
    let used = config.get("use_sliding_window").and_then(Value::as_bool);
    let layers = config.get("layer_types").and_then(Value::as_array);
    let others = layers.is_some_and(|all| all.iter().any(|kind| kind != "full_attention"));
    let latent = config.get("kv_lora_rank").is_some_and(Value::is_u64);
    latent || others || (window && used.unwrap_or(true))
}

fn quantization_of_config(config: &Value) -> Option<Quantization> {
    let own = config.get("quantization_config")?;
    let bits = own.get("bits").or_else(|| own.get("w_bit"));
    let bits = bits.and_then(Value::as_u64);
    match own.get("quant_method").and_then(Value::as_str)? {
        "awq" | "gptq" => Some(Quantization::Grouped { bits: bits.unwrap_or(4) }),
        "fp8" | "fbgemm_fp8" => Some(Quantization::Fp8),
        "bitsandbytes" => Some(Quantization::Bitsandbytes),
        "compressed-tensors" => {
            let weights = own.pointer("/config_groups/group_0/weights")?;
            let bits = weights.get("num_bits").and_then(Value::as_u64)?;
            let float = weights.get("type").and_then(Value::as_str) == Some("float");
            Some(match (bits, float) {
                (8, true) => Quantization::Fp8,
                (8, false) => Quantization::Int8,
                (bits, _) => Quantization::Grouped { bits },
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::model_catalogue::find_model, manifest::Catalogue};

    fn shape(name: &str) -> ModelShape {
        find_model(name, &Catalogue::default()).unwrap_or_else(|| panic!("{name}"))
    }

    #[test]
    fn a_config_gives_what_the_catalogue_has() {
        let text = r#"{"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 1536,
            "intermediate_size": 8960, "max_position_embeddings": 32768, "num_attention_heads": 12,
            "num_hidden_layers": 28, "num_key_value_heads": 2, "tie_word_embeddings": true,
            "torch_dtype": "bfloat16", "vocab_size": 151936}"#;
        let name = "Qwen/Qwen2.5-1.5B-Instruct";
        assert_eq!(model_of_config(name, text).unwrap(), shape(name));
        assert!(!shape(name).other_attention);
        for field in [
            r#""sliding_window": 4096"#,
            r#""kv_lora_rank": 512"#,
            r#""layer_types": ["sliding_attention", "full_attention"]"#,
        ] {
            let text = text.replacen('{', &format!("{{{field}, "), 1);
            assert!(model_of_config(name, &text).unwrap().other_attention, "{field}");
        }
        let off = r#"{"sliding_window": 32768, "use_sliding_window": false, "#;
        assert_eq!(model_of_config(name, &text.replacen('{', off, 1)).unwrap(), shape(name));
        let why = model_of_config("x", r#"{"hidden_size": 0, "vocab_size": 5}"#).unwrap_err().to_string();
        assert!(why.contains("`hidden_size`") && why.contains("`num_hidden_layers`"), "{why}");
        assert!(!why.contains("vocab"), "{why}");
        assert!(model_of_config("x", "{").unwrap_err().to_string().contains("not JSON"));
    }
}
