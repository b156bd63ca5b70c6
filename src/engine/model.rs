//! The shape of a model: what its weights weigh, what a token leaves in the KV cache, and what it costs to compute.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::hardware::ComputeType;
use crate::manifest::{Catalogue, ExpertsSpec, ModelSpec, WeightType, nearest};

/// The built-in catalogue.
const CATALOGUE: &str = include_str!("models.toml");

/// How the matrices of a model are stored. Embedding, output layer and norms keep the model's own type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// AWQ, GPTQ or another form with groups: whole bits a weight, and a 16-bit scale and a zero point for each group of 128.
    Grouped {
        /// Bits of one weight: 2, 3, 4 or 8.
        bits: u64,
    },
    /// 8-bit floating point with a scale a tensor or channel.
    Fp8,
    /// 8-bit integers with a scale a channel.
    Int8,
    /// bitsandbytes' 4-bit NF4: a scale for each 64 weights.
    Bitsandbytes,
}

impl Quantization {
    /// Bits that one weight of a matrix takes, with its share of scales and zero points.
    pub fn bits_per_weight(self) -> f64 {
        match self {
            // A scale of 16 bits and a zero of `bits` for each group of 128, the group size AWQ and GPTQ have unless told.
            Self::Grouped { bits } => bits as f64 + (16 + bits) as f64 / 128.0,
            Self::Fp8 | Self::Int8 => 8.0,
            // A 32-bit scale for each block of 64, bitsandbytes' own default.
            Self::Bitsandbytes => 4.5,
        }
    }

    /// By the words of vLLM's `--quantization`; `None` for a word that leaves the form to the checkpoint.
    pub fn of_flag(word: &str) -> Option<Self> {
        match word {
            "awq" | "awq_marlin" | "gptq" | "gptq_marlin" => Some(Self::Grouped { bits: 4 }),
            "fp8" | "ptpc_fp8" | "fbgemm_fp8" => Some(Self::Fp8),
            "experts_int8" => Some(Self::Int8),
            "bitsandbytes" => Some(Self::Bitsandbytes),
            _ => None,
        }
    }

    /// By the words of a checkpoint's name, as hubs write them: `-AWQ`, `-GPTQ-Int8`, `-FP8`, `w4a16`, `bnb-4bit`.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        let has = |word: &str| name.contains(word);
        if has("fp8") {
            Some(Self::Fp8)
        } else if has("w8a8") {
            Some(Self::Int8)
        } else if has("bnb-4bit") {
            Some(Self::Bitsandbytes)
        } else if has("awq") || has("gptq") || has("w4a16") || has("w8a16") || has("int4") {
            let bits = if has("int8") || has("8bit") || has("w8a16") {
                8
            } else {
                4
            };
            Some(Self::Grouped { bits })
        } else {
            None
        }
    }

    /// The type that matrices are multiplied in: forms with groups are unpacked to the model's own.
    pub fn compute(self, plain: WeightType) -> ComputeType {
        match self {
            Self::Fp8 => ComputeType::Fp8,
            Self::Int8 => ComputeType::Int8,
            Self::Grouped { .. } | Self::Bitsandbytes => ComputeType::Plain(plain),
        }
    }
}

/// A decoder-only transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelShape {
    /// What it is called.
    pub name: String,
    /// Decoder layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Width of the feed-forward network.
    pub intermediate: u64,
    /// Rows of the embedding.
    pub vocab: u64,
    /// Whether the output layer is the embedding again.
    pub tied: bool,
    /// Whether query, key and value have a bias.
    pub qkv_bias: bool,
    /// Matrices of a feed-forward network: 3 with a gate, else 2.
    pub ffn_matrices: u64,
    /// Experts of a mixture.
    pub experts: Option<ExpertsSpec>,
    /// The longest sequence, tokens.
    pub max_positions: u64,
    /// The type of its weights and activations.
    pub dtype: WeightType,
    /// How its matrices are stored; absent: in `dtype`.
    pub quantization: Option<Quantization>,
    /// Whether some layers keep keys and values otherwise than of every token and head: a window, a latent. They are taken for
    /// layers with full attention, so its memory and speed are unvalidated.
    pub other_attention: bool,
}

impl ModelShape {
    /// Weights of the attention matrices of one layer: (2·heads + 2·kv_heads) · head_dim · hidden.
    pub fn attention_weights(&self) -> u64 {
        2 * (self.heads + self.kv_heads) * self.head_dim * self.hidden
    }

    /// Weights of one layer's feed-forward matrices: all of them, and those a token passes through.
    pub fn ffn_weights(&self) -> (u64, u64) {
        let of = |width: u64| self.ffn_matrices * self.hidden * width;
        match &self.experts {
            None => (of(self.intermediate), of(self.intermediate)),
            Some(experts) => {
                let one = of(experts.intermediate.unwrap_or(self.intermediate));
                let beside = experts.shared.map_or(0, of) + self.hidden * experts.count;
                (
                    one * experts.count + beside,
                    one * experts.active.min(experts.count) + beside,
                )
            }
        }
    }

    /// Weights of all decoder layers' matrices.
    pub fn matrix_weights(&self) -> u64 {
        self.layers * (self.attention_weights() + self.ffn_weights().0)
    }

    /// Parameters: matrices, biases, norms (two a layer and one at the end), embedding, and the output layer where it is
    /// not the embedding again.
    pub fn parameters(&self) -> u64 {
        self.matrix_weights() + self.small_weights() + self.embedding_weights()
    }

    /// Biases and norms.
    fn small_weights(&self) -> u64 {
        let bias = if self.qkv_bias {
            (self.heads + 2 * self.kv_heads) * self.head_dim
        } else {
            0
        };
        self.layers * (2 * self.hidden + bias) + self.hidden
    }

    fn embedding_weights(&self) -> u64 {
        let tables = if self.tied { 1 } else { 2 };
        tables * self.vocab * self.hidden
    }

    /// Bytes of the decoder layers' matrices as they are stored.
    fn matrix_bytes(&self) -> f64 {
        let plain = self.dtype.bytes() as f64 * 8.0;
        let bits = self
            .quantization
            .map_or(plain, Quantization::bits_per_weight);
        self.matrix_weights() as f64 * bits / 8.0
    }

    /// Bytes of the weights on each of `tp` ranks. Matrices, embedding and output layer are split, norms are not.
    pub fn weight_bytes(&self, tp: u64) -> u64 {
        let tp = tp.max(1) as f64;
        let wide = self.dtype.bytes() as f64;
        let split = self.matrix_bytes() + self.embedding_weights() as f64 * wide;
        (split / tp + self.small_weights() as f64 * wide) as u64
    }

    /// Bytes of weights that one step over `tokens` tokens reads on each of `tp` ranks: the matrices and the output layer,
    /// but not the embedding, of which it reads a row a token. Of a mixture the experts that so many tokens are expected to
    /// call on: count · (1 − (1 − active/count)^tokens), when each expert is as likely.
    pub fn step_weight_bytes(&self, tokens: u64, tp: u64) -> f64 {
        let tp = tp.max(1) as f64;
        let wide = self.dtype.bytes() as f64;
        let output = self.vocab as f64 * self.hidden as f64 * wide;
        let mut matrices = self.matrix_bytes();
        if let Some(experts) = &self.experts {
            let (count, active) = (experts.count as f64, experts.active as f64);
            let called = 1.0 - (1.0 - (active / count).min(1.0)).powf(tokens as f64);
            let one =
                self.ffn_matrices * self.hidden * experts.intermediate.unwrap_or(self.intermediate);
            let all = self.layers as f64 * one as f64 * count;
            let bytes_per_weight = matrices / self.matrix_weights() as f64;
            matrices -= all * (1.0 - called) * bytes_per_weight;
        }
        (matrices + output) / tp + self.small_weights() as f64 * wide
    }

    /// Key and value heads on each of `tp` ranks: where there are fewer heads than ranks, each rank holds a whole one.
    pub fn kv_heads_per_rank(&self, tp: u64) -> u64 {
        self.kv_heads.div_ceil(tp.max(1)).max(1)
    }

    /// Bytes that one token leaves in the KV cache of each of `tp` ranks: 2 · layers · kv_heads · head_dim · bytes.
    pub fn kv_bytes_per_token(&self, kv: KvType, tp: u64) -> u64 {
        let bytes = match kv {
            KvType::Auto => self.dtype.bytes(),
            KvType::Fp8 => 1,
            KvType::Plain(plain) => plain.bytes(),
        };
        2 * self.layers * self.kv_heads_per_rank(tp) * self.head_dim * bytes
    }

    /// Operations that one token takes in the decoder layers' matrices on each of `tp` ranks: two a weight it meets.
    pub fn matrix_flops_per_token(&self, tp: u64) -> f64 {
        let weights = self.layers * (self.attention_weights() + self.ffn_weights().1);
        2.0 * weights as f64 / tp.max(1) as f64
    }

    /// Operations of the output layer for one position that is sampled, on each of `tp` ranks: 2 · vocab · hidden.
    pub fn output_flops(&self, tp: u64) -> f64 {
        2.0 * self.vocab as f64 * self.hidden as f64 / tp.max(1) as f64
    }

    /// Operations of the attention of one token over `context` tokens, on each of `tp` ranks: 4 · layers · heads ·
    /// head_dim · context, for the scores and for the weighted sum.
    pub fn attention_flops(&self, context: u64, tp: u64) -> f64 {
        4.0 * (self.layers * self.heads * self.head_dim) as f64 * context as f64 / tp.max(1) as f64
    }

    /// The type its matrices are multiplied in.
    pub fn compute(&self) -> ComputeType {
        self.quantization
            .map_or(ComputeType::Plain(self.dtype), |q| q.compute(self.dtype))
    }
}

/// The type of the KV cache, as `--kv-cache-dtype` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// The model's own.
    #[default]
    Auto,
    /// 8-bit floating point.
    Fp8,
    /// A type of its own.
    Plain(WeightType),
}

impl KvType {
    /// By the words of `--kv-cache-dtype`; `None` for an unknown one.
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            _ if word.starts_with("fp8") => Some(Self::Fp8),
            _ => WeightType::named(word).map(Self::Plain),
        }
    }
}

#[derive(Deserialize)]
struct Builtin {
    model: BTreeMap<String, ModelSpec>,
}

fn builtin() -> BTreeMap<String, ModelSpec> {
    // A test reads the embedded text, so that no build has another one.
    toml::from_str(CATALOGUE).map_or_else(|_| BTreeMap::new(), |all: Builtin| all.model)
}

/// What a name is without organisation and the words that change no shape: tuning, quantization, date of a build.
fn plain(name: &str) -> String {
    const WORDS: [&str; 26] = [
        "instruct",
        "chat",
        "it",
        "hf",
        "base",
        "awq",
        "gptq",
        "int4",
        "int8",
        "fp8",
        "dynamic",
        "bnb",
        "4bit",
        "8bit",
        "w4a16",
        "w8a8",
        "w8a16",
        "quantized",
        "bf16",
        "fp16",
        "meta",
        "unsloth",
        "block",
        "gguf",
        "neuralmagic",
        "int",
    ];
    let last = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    let words: Vec<&str> = last
        .split(['-', '_', '.'])
        .filter(|word| !word.is_empty() && !WORDS.contains(word))
        .collect();
    words.concat()
}

/// The shape that a model's name means in the catalogues: organisation, case and words such as `Instruct` do not matter, and
/// a quantization is read from the name. The user's own come first. `None` where it is in none.
pub fn find_model(name: &str, own: &Catalogue) -> Option<ModelShape> {
    let wanted = plain(name);
    let builtin = builtin();
    let find = |specs: &BTreeMap<String, ModelSpec>| {
        specs
            .iter()
            .find(|(known, _)| *known == name)
            .or_else(|| {
                specs.iter().find(|(known, spec)| {
                    std::iter::once(*known)
                        .chain(&spec.also)
                        .any(|known| plain(known) == wanted)
                })
            })
            .map(|(_, spec)| model_of(name, spec))
    };
    find(&own.model).or_else(|| find(&builtin))
}

/// A shape from its numbers; a quantization is read from the name.
pub fn model_of(name: &str, spec: &ModelSpec) -> ModelShape {
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

/// The shape that the text of a checkpoint's `config.json` tells, in the names of the transformers library.
///
/// # Errors
/// A sentence that names the fields that are missing or no numbers.
pub fn model_of_config(name: &str, text: &str) -> Result<ModelShape, String> {
    let whole: Value =
        serde_json::from_str(text).map_err(|why| format!("it is not JSON: {why}"))?;
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
        return Err(format!(
            "it has no number above 0 for {}",
            missing.join(", ")
        ));
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
        ffn_matrices: if kind == "opt" || kind == "gpt2" {
            2
        } else {
            3
        },
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
        "awq" | "gptq" => Some(Quantization::Grouped {
            bits: bits.unwrap_or(4),
        }),
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

/// The names of all known models, the user's own first.
pub fn model_names(own: &Catalogue) -> Vec<String> {
    let known: Vec<String> = own.model.keys().cloned().collect();
    let more: Vec<String> = builtin()
        .into_keys()
        .filter(|name| !known.contains(name))
        .collect();
    [known, more].concat()
}

/// Why a name means no shape, and what to do.
pub fn unknown_model(name: &str, own: &Catalogue) -> (String, Vec<String>) {
    let names = model_names(own);
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let last = name.rsplit('/').next().unwrap_or(name);
    let meant = nearest(last, &known).map(|name| format!("; the nearest known is {name}"));
    (
        format!("the shape of {name} is not known{}", meant.unwrap_or_default()),
        vec![
            "it is read from the config.json of a local model or of the Hugging Face cache, else from the catalogue"
                .to_owned(),
            format!(
                "add your own: [catalogue.model.\"{name}\"] with layers, hidden, heads, kv_heads, intermediate, vocab and \
                 max_positions; an included file may hold it"
            ),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(name: &str) -> ModelShape {
        find_model(name, &Catalogue::default()).unwrap_or_else(|| panic!("{name}"))
    }

    #[test]
    fn every_entry_is_sound_and_its_parameters_are_those_of_its_name() {
        let all: Builtin = toml::from_str(CATALOGUE).unwrap();
        for (name, spec) in &all.model {
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
                assert!(
                    (0.85..1.35).contains(&ratio),
                    "{name}: {parameters} is {ratio} of {size}"
                );
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
    fn names_are_read_leniently_and_their_quantization_too() {
        assert_eq!(shape("qwen/qwen2.5-1.5b-instruct").quantization, None);
        assert_eq!(
            shape("Qwen/Qwen2.5-7B-Instruct-AWQ").quantization,
            Some(Quantization::Grouped { bits: 4 })
        );
        assert_eq!(
            shape("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8").quantization,
            Some(Quantization::Grouped { bits: 8 })
        );
        assert_eq!(
            shape("neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8").quantization,
            Some(Quantization::Fp8)
        );
        assert!(find_model("someone/unheard-of-9B", &Catalogue::default()).is_none());
        let (title, help) = unknown_model("Qwen/Qwen2.5-9B", &Catalogue::default());
        assert!(title.contains("nearest"), "{title}");
        assert!(help[1].contains("[catalogue.model.\"Qwen/Qwen2.5-9B\"]"));
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
            assert!(
                model_of_config(name, &text).unwrap().other_attention,
                "{told}"
            );
        }
        let off = r#"{"sliding_window": 32768, "use_sliding_window": false, "#;
        assert_eq!(
            model_of_config(name, &text.replacen('{', off, 1)).unwrap(),
            shape(name)
        );
        let why = model_of_config("x", r#"{"hidden_size": 0, "vocab_size": 5}"#).unwrap_err();
        assert!(
            why.contains("`hidden_size`") && why.contains("`num_hidden_layers`"),
            "{why}"
        );
        assert!(!why.contains("vocab"), "{why}");
        assert!(model_of_config("x", "{").unwrap_err().contains("not JSON"));
    }

    #[test]
    fn kv_bytes_and_ranks_follow_the_heads() {
        let model = shape("Qwen/Qwen2.5-1.5B");
        assert_eq!(model.kv_bytes_per_token(KvType::Auto, 1), 28_672);
        assert_eq!(model.kv_bytes_per_token(KvType::Fp8, 1), 14_336);
        // Two heads on four ranks: each rank keeps one.
        assert_eq!(model.kv_bytes_per_token(KvType::Auto, 4), 14_336);
        let moe = shape("Qwen/Qwen3-30B-A3B");
        assert!(moe.step_weight_bytes(1, 1) < 0.2 * moe.step_weight_bytes(10_000, 1));
        assert!(moe.matrix_flops_per_token(1) < 7e9);
    }
}
