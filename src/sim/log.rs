//! The log on stdout, in the format of vLLM's.

use std::io::Write;

use jiff::Timestamp;
use serde_json::Value;

use super::SimArgs;

/// Writes one line, marked as the embedded engine's. Errors are ignored, because the server outlives its
/// stdout.
pub(super) fn log_line(level: &str, text: &str) {
    let now = Timestamp::now().strftime("%m-%d %H:%M:%S").to_string();
    let line = format!(
        "(EmbeddedEngine pid={}) {level} {now} [runner sim, the embedded engine] {text}\n",
        std::process::id()
    );
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).ok();
}

/// The flags as a Python dictionary, as vLLM logs them.
pub(super) fn non_default_args(args: &SimArgs) -> String {
    let model = Value::from(args.model.as_str());
    let head = [("model_tag", &model), ("model", &model)];
    let shown = args.flags.iter().filter(|(name, _)| name != "model");
    let pairs: Vec<String> = head
        .into_iter()
        .chain(shown.map(|(name, value)| (name.as_str(), value)))
        .map(|(name, value)| format!("'{name}': {}", python(value)))
        .collect();
    format!("non-default args: {{{}}}", pairs.join(", "))
}

/// The line with the size of the KV cache.
pub(super) fn kv_cache_size(kv_tokens: u64, max_model_len: u64) -> String {
    format!(
        "GPU KV cache size: {} tokens, Maximum concurrency for {} tokens per request: {:.2}x",
        grouped(kv_tokens),
        grouped(max_model_len),
        kv_tokens as f64 / max_model_len as f64
    )
}

/// The error for a KV cache that cannot hold one request. It begins and ends as vLLM's.
pub(super) fn kv_too_small(kv_tokens: u64, max_model_len: u64) -> String {
    format!(
        "ValueError: To serve at least one request with the model's max seq len ({max_model_len}), a KV cache for \
         {max_model_len} tokens is needed, which is larger than the scripted {kv_tokens} tokens. The estimated \
         maximum model length is {kv_tokens}. Raise --sim-kv-tokens or lower --max-model-len."
    )
}

fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => {
            let escaped = s.replace('\\', "\\\\").replace('\n', "\\n");
            // As in Python: double quotes only where they save an escape.
            if s.contains('\'') && !s.contains('"') {
                format!("\"{escaped}\"")
            } else {
                format!("'{}'", escaped.replace('\'', "\\'"))
            }
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(python).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let items: Vec<_> = map
                .iter()
                .map(|(k, v)| format!("{}: {}", python(&Value::from(k.as_str())), python(v)))
                .collect();
            format!("{{{}}}", items.join(", "))
        }
    }
}

fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_logged_as_a_python_dictionary() {
        let words = [
            "tiny",
            "--dtype",
            "bfloat16",
            "--max-num-seqs",
            "4",
            "--no-x",
            "--o",
            "{\"a\": [1, true, null]}",
            "--q",
            "it's",
        ];
        let args = super::super::parse_args(words.map(str::to_owned).to_vec()).unwrap();
        assert_eq!(
            non_default_args(&args),
            "non-default args: {'model_tag': 'tiny', 'model': 'tiny', 'dtype': 'bfloat16', 'max_num_seqs': 4, \
             'x': False, 'o': {'a': [1, True, None]}, 'q': \"it's\"}"
        );
    }

    #[test]
    fn the_kv_cache_line_is_vllms() {
        assert_eq!(
            kv_cache_size(2_097_152, 4096),
            "GPU KV cache size: 2,097,152 tokens, Maximum concurrency for 4,096 tokens per request: 512.00x"
        );
    }
}
