//! Tokenizes the prompt of a request's body as the embedded engine does.

use serde_json::Value;

use super::PredictError;
use crate::{
    engine::tokenizer,
    manifest::Workload,
    workload::{TokenCount, Vocabulary, token_count_body},
};

pub(super) fn tokens(body: &[u8]) -> Vec<u64> {
    match serde_json::from_slice(body) {
        Ok(body) => of_body(&body),
        Err(_) => Vec::new(),
    }
}

fn of_body(body: &Value) -> Vec<u64> {
    if let Some(messages) = body["messages"].as_array() {
        return tokenizer::chat(messages);
    }
    match &body["prompt"] {
        Value::String(text) => tokenizer::tokenize(text),
        Value::Array(ids) => ids.iter().filter_map(Value::as_u64).collect(),
        _ => Vec::new(),
    }
}

/// Scales the length of a prompt. Its beginning stays, so that prompts with a common prefix keep it.
pub(super) fn stretched(tokens: Vec<u64>, by: f64) -> Vec<u64> {
    let wanted = ((tokens.len() as f64 * by).round() as usize).max(1);
    if wanted <= tokens.len() {
        return tokens[..wanted].to_vec();
    }
    tokens.iter().copied().cycle().take(wanted).collect()
}

/// The embedded engine's vocabulary, from which synthetic prompts are made.
pub(super) fn vocabulary(spec: &Workload, model: &str) -> Result<Vocabulary, PredictError> {
    let counts: Vec<TokenCount> = Vocabulary::samples()
        .iter()
        .map(|text| {
            let ids = of_body(&Value::Object(token_count_body(spec, model, text)));
            TokenCount { tokens: ids.len() as u32, ids: ids.into_iter().map(|id| id as u32).collect() }
        })
        .collect();
    Ok(Vocabulary::learn(&counts)?)
}
