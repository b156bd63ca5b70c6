//! Models by the `config.json` of their checkpoint.

use serde_json::Value;

use super::{model::ModelShape, quantization::Quantization};
use crate::manifest::{ExpertsSpec, WeightType};

/// The shape that the text of a checkpoint's `config.json` tells, in the names of the transformers library.
///
/// # Errors
/// A sentence that names the fields that are missing or no numbers.
pub(super) fn model_of_config(name: &str, text: &str) -> Result<ModelShape, String> {
    let whole: Value = serde_json::from_str(text).map_err(|why| format!("it is not JSON: {why}"))?;
    // Models that also see keep the part that writes in a table of its own.
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
        return Err(format!("it has no number above 0 for {}", missing.join(", ")));
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
    // The library's own default for these families where the file is silent.
    let tied_unless_told = kind.starts_with("gemma") || kind == "opt" || kind == "gpt2";
    let told = |key: &str| {
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
        tied: told("tie_word_embeddings").unwrap_or(tied_unless_told),
        qkv_bias: told("attention_bias").unwrap_or(kind == "qwen2" || kind == "qwen2_moe"),
        ffn_matrices: if kind == "opt" || kind == "gpt2" { 2 } else { 3 },
        experts,
        max_positions,
        // vLLM takes a checkpoint without a type for half a precision: its weights are stored in 32 bits.
        dtype: dtype.unwrap_or(WeightType::Float16),
        quantization: quantization_of_config(&whole).or_else(|| Quantization::of_name(name)),
        other_attention: attends_otherwise(config),
    })
}

/// Whether a `config.json` tells of layers with a window, a latent or no attention at all.
fn attends_otherwise(config: &Value) -> bool {
    let window = config.get("sliding_window").is_some_and(Value::is_u64);
    let used = config.get("use_sliding_window").and_then(Value::as_bool);
    let layers = config.get("layer_types").and_then(Value::as_array);
    let others = layers.is_some_and(|all| all.iter().any(|kind| kind != "full_attention"));
    let latent = config.get("kv_lora_rank").is_some_and(Value::is_u64);
    latent || others || (window && used.unwrap_or(true))
}

fn quantization_of_config(config: &Value) -> Option<Quantization> {
    let told = config.get("quantization_config")?;
    let bits = told.get("bits").or_else(|| told.get("w_bit"));
    let bits = bits.and_then(Value::as_u64);
    match told.get("quant_method").and_then(Value::as_str)? {
        "awq" | "gptq" => Some(Quantization::Grouped { bits: bits.unwrap_or(4) }),
        "fp8" | "fbgemm_fp8" => Some(Quantization::Fp8),
        "bitsandbytes" => Some(Quantization::Bitsandbytes),
        "compressed-tensors" => {
            let weights = told.pointer("/config_groups/group_0/weights")?;
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
    fn a_config_tells_what_the_catalogue_says() {
        let text = r#"{"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 1536,
            "intermediate_size": 8960, "max_position_embeddings": 32768, "num_attention_heads": 12,
            "num_hidden_layers": 28, "num_key_value_heads": 2, "tie_word_embeddings": true,
            "torch_dtype": "bfloat16", "vocab_size": 151936}"#;
        let name = "Qwen/Qwen2.5-1.5B-Instruct";
        assert_eq!(model_of_config(name, text).unwrap(), shape(name));
        assert!(!shape(name).other_attention);
        for told in [
            r#""sliding_window": 4096"#,
            r#""kv_lora_rank": 512"#,
            r#""layer_types": ["sliding_attention", "full_attention"]"#,
        ] {
            let text = text.replacen('{', &format!("{{{told}, "), 1);
            assert!(model_of_config(name, &text).unwrap().other_attention, "{told}");
        }
        let off = r#"{"sliding_window": 32768, "use_sliding_window": false, "#;
        assert_eq!(model_of_config(name, &text.replacen('{', off, 1)).unwrap(), shape(name));
        let why = model_of_config("x", r#"{"hidden_size": 0, "vocab_size": 5}"#).unwrap_err();
        assert!(why.contains("`hidden_size`") && why.contains("`num_hidden_layers`"), "{why}");
        assert!(!why.contains("vocab"), "{why}");
        assert!(model_of_config("x", "{").unwrap_err().contains("not JSON"));
    }
}
