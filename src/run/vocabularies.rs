//! Asking a server how many tokens texts have, before the clock of a cell starts.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::{
    manifest::{Api, Workload},
    server::{Address, HttpClient, HttpRequest},
    workload::{self, TokenCount, Vocabulary},
};

/// How long one count may take: counted in an answer's `usage`, it waits for a first token.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one may take that the engine has no part in.
const WITHOUT_ENGINE: Duration = Duration::from_secs(10);
/// Limit on the body of an answer, bytes.
const MAX_BODY: usize = 1 << 20;
/// Texts that are counted at once.
const AT_ONCE: usize = 8;
/// Seed of the texts that a vocabulary is tried with. They are nobody's prompts, so no cell's seed decides them.
const PROOF_SEED: u64 = 1;

/// What was learned of one server's tokens, by what else stands in a body.
#[derive(Default)]
pub(super) struct Vocabularies(BTreeMap<String, Arc<Vocabulary>>);

impl Vocabularies {
    /// The vocabulary for a workload's prompts; learned when it is asked for first.
    ///
    /// # Errors
    /// A sentence when nothing counts this server's tokens, or they cannot be counted word by word.
    pub(super) async fn of(
        &mut self,
        spec: &Workload,
        address: &Address,
        api_key: Option<&str>,
        mut cancel: watch::Receiver<bool>,
    ) -> Result<Arc<Vocabulary>, String> {
        let shape = Value::Object(workload::token_count_body(spec, "", "")).to_string();
        if let Some(known) = self.0.get(&shape) {
            return Ok(known.clone());
        }
        let counter = Counter::new(address, api_key)?;
        let learned = tokio::select! {
            learned = learn(&counter, spec) => Arc::new(learned?),
            _ = cancel.wait_for(|cancelled| *cancelled) => {
                return Err("cancelled while the server counted tokens".into());
            }
        };
        self.0.insert(shape, learned.clone());
        Ok(learned)
    }
}

async fn learn(counter: &Counter, spec: &Workload) -> Result<Vocabulary, String> {
    let samples = Vocabulary::samples();
    // The first text shows which way of counting the server has.
    let way = counter.way(spec, &samples[0]).await?;
    let counts = counter.count_all(way, spec, &samples).await?;
    let vocabulary = Vocabulary::learn(&counts).map_err(|error| error.to_string())?;
    let (texts, expected): (Vec<String>, Vec<u32>) = vocabulary.probes(PROOF_SEED).into_iter().unzip();
    let counts = counter.count_all(way, spec, &texts).await?;
    match expected.iter().zip(&counts).find(|(expected, counted)| **expected != counted.tokens) {
        None => Ok(vocabulary),
        Some((expected, counted)) => Err(format!(
            "the server counts {} tokens in a text that was made of {expected}: its words have other lengths together than one by one, so no exact length can be made; give prompts instead",
            counted.tokens
        )),
    }
}

/// How a server counts.
#[derive(Clone, Copy)]
enum Way {
    /// `/tokenize`, as vLLM has it.
    Tokenize,
    /// The `usage` of an answer of one token.
    Usage,
}

/// Asks a server for counts.
#[derive(Clone)]
struct Counter {
    client: HttpClient,
    url: String,
    model: String,
    api_key: Option<String>,
}

impl Counter {
    fn new(address: &Address, api_key: Option<&str>) -> Result<Self, String> {
        Ok(Self {
            client: HttpClient::new().map_err(|error| error.to_string())?,
            url: address.url.trim_end_matches('/').to_owned(),
            model: address.model.clone(),
            api_key: api_key.map(str::to_owned),
        })
    }

    /// The cheaper way that the server has.
    async fn way(&self, spec: &Workload, text: &str) -> Result<Way, String> {
        let without = match self.count(Way::Tokenize, spec, text).await {
            Ok(_) => return Ok(Way::Tokenize),
            Err(reason) => reason,
        };
        match self.count(Way::Usage, spec, text).await {
            Ok(_) => Ok(Way::Usage),
            Err(reason) => Err(format!(
                "nothing counts this server's tokens, so no prompt of an exact length can be made: {without}; {reason}; give prompts instead, or a server that has /tokenize or counts in `usage`"
            )),
        }
    }

    async fn count_all(
        &self,
        way: Way,
        spec: &Workload,
        texts: &[String],
    ) -> Result<Vec<TokenCount>, String> {
        let mut counts = Vec::with_capacity(texts.len());
        for some in texts.chunks(AT_ONCE) {
            let asked: Vec<_> = some
                .iter()
                .map(|text| {
                    let (counter, spec, text) = (self.clone(), spec.clone(), text.clone());
                    tokio::spawn(async move { counter.count(way, &spec, &text).await })
                })
                .collect();
            for one in asked {
                counts.push(one.await.map_err(|error| format!("counting failed: {error}"))??);
            }
        }
        Ok(counts)
    }

    async fn count(&self, way: Way, spec: &Workload, text: &str) -> Result<TokenCount, String> {
        let mut body = workload::token_count_body(spec, &self.model, text);
        let path = match (way, spec.api) {
            (Way::Tokenize, api) => {
                if api == Api::Completions {
                    // The same text under llama.cpp's name for it; each server ignores the other's.
                    body.insert("content".into(), text.into());
                }
                "/tokenize"
            }
            (Way::Usage, api) => {
                body.insert("max_tokens".into(), 1.into());
                body.insert("temperature".into(), 0.into());
                match api {
                    Api::Completions => "/v1/completions",
                    Api::Chat => "/v1/chat/completions",
                }
            }
        };
        let patience = match way {
            Way::Tokenize => WITHOUT_ENGINE,
            Way::Usage => PATIENCE,
        };
        let answer = self.ask(path, body, patience).await?;
        counted(way, &answer).ok_or_else(|| format!("{path} answers without a count"))
    }

    async fn ask(&self, path: &str, body: Map<String, Value>, patience: Duration) -> Result<Value, String> {
        let request = HttpRequest {
            url: &format!("{}{path}", self.url),
            api_key: self.api_key.as_deref(),
            body: Some(&body),
            timeout: patience,
            max_body: MAX_BODY,
        };
        let bytes = self.client.fetch(request).await.map_err(|error| error.to_string())?;
        serde_json::from_slice(&bytes).map_err(|error| format!("{path} answers no JSON: {error}"))
    }
}

/// The count in an answer; none where it is missing or zero, which no text here has.
fn counted(way: Way, answer: &Value) -> Option<TokenCount> {
    let whole = |value: &Value| value.as_u64().and_then(|count| u32::try_from(count).ok());
    let counted = match way {
        Way::Tokenize => {
            let ids: Option<Vec<u32>> = match &answer["tokens"] {
                Value::Array(ids) => ids.iter().map(whole).collect(),
                _ => None,
            };
            let ids = ids.unwrap_or_default();
            TokenCount { tokens: whole(&answer["count"]).or(u32::try_from(ids.len()).ok())?, ids }
        }
        Way::Usage => TokenCount { tokens: whole(&answer["usage"]["prompt_tokens"])?, ids: Vec::new() },
    };
    (counted.tokens > 0).then_some(counted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_count_is_read_from_either_answer_and_never_made_up() {
        let recorded =
            json!({ "count": 3, "max_model_len": 4096, "tokens": [392, 75, 568], "token_strs": null });
        let read = counted(Way::Tokenize, &recorded).unwrap();
        assert_eq!((read.tokens, read.ids), (3, vec![392, 75, 568]));
        let without_count = json!({ "tokens": [1, 2] });
        assert_eq!(counted(Way::Tokenize, &without_count).unwrap().tokens, 2);
        for nothing in [json!({}), json!({ "tokens": [] }), json!({ "count": 0 })] {
            assert_eq!(counted(Way::Tokenize, &nothing), None);
        }
        let usage = json!({ "usage": { "prompt_tokens": 9 } });
        assert_eq!(counted(Way::Usage, &usage).unwrap().tokens, 9);
        assert_eq!(counted(Way::Usage, &json!({ "usage": null })), None);
    }
}
