//! Learns from a server how many tokens words have, before the clock of a cell starts, so that prompts of an
//! exact length can be generated.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::{
    manifest::{Api, Workload},
    server::{Address, HttpClient, HttpError, HttpRequest},
    workload::{self, TokenCount, Vocabulary, VocabularyError},
};

/// Timeout of a count that is read from an answer's `usage`: it has to wait for a first token.
const USAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of a count by `/tokenize`, which does not wait for the engine.
const TOKENIZE_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit on the body of an answer, bytes.
const MAX_BODY: usize = 1 << 20;
const CONCURRENCY: usize = 8;
/// Seed of the texts that verify a vocabulary. They are not prompts, so they do not depend on a cell's seed.
const PROOF_SEED: u64 = 1;

/// Why the tokens of a server's texts cannot be counted.
#[derive(Debug, thiserror::Error)]
pub(super) enum CountError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("counting failed: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[error(
        "nothing counts this server's tokens, so no prompt of an exact length can be made: {tokenize}; {usage}; give prompts instead, or a server that has /tokenize or counts in `usage`"
    )]
    NoCounter { tokenize: Box<CountError>, usage: Box<CountError> },
    #[error("{path} answers no JSON: {error}")]
    NotJson { path: &'static str, error: serde_json::Error },
    #[error("{path} answers without a count")]
    NoCount { path: &'static str },
    #[error(
        "the server counts {counted} tokens in a text that was made of {expected}: words have other lengths together than one by one, so no exact length can be made; give prompts instead"
    )]
    NotAdditive { counted: u32, expected: u32 },
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
    #[error("cancelled while the server counted tokens")]
    Cancelled,
}

/// The vocabularies that were learned from one server. The key is everything else in a request's body that
/// changes a count.
#[derive(Default)]
pub(super) struct TokenCounts(BTreeMap<String, Arc<Vocabulary>>);

impl TokenCounts {
    /// Returns the vocabulary for a workload's prompts, which is learned on first use.
    ///
    /// # Errors
    /// When the server cannot count tokens, or the counts of words do not add up.
    pub(super) async fn vocabulary(
        &mut self,
        spec: &Workload,
        address: &Address,
        api_key: Option<&str>,
        mut cancel: watch::Receiver<bool>,
    ) -> Result<Arc<Vocabulary>, CountError> {
        let shape = Value::Object(workload::token_count_body(spec, "", "")).to_string();
        if let Some(known) = self.0.get(&shape) {
            return Ok(known.clone());
        }
        let counter = Counter::new(address, api_key)?;
        let learned = tokio::select! {
            learned = learn(&counter, spec) => Arc::new(learned?),
            _ = cancel.wait_for(|cancelled| *cancelled) => {
                return Err(CountError::Cancelled);
            }
        };
        self.0.insert(shape, learned.clone());
        Ok(learned)
    }
}

async fn learn(counter: &Counter, spec: &Workload) -> Result<Vocabulary, CountError> {
    let samples = Vocabulary::samples();
    // The first text shows which method the server supports.
    let method = counter.method(spec, &samples[0]).await?;
    let counts = counter.count_all(method, spec, &samples).await?;
    let vocabulary = Vocabulary::learn(&counts)?;
    let (texts, expected): (Vec<String>, Vec<u32>) = vocabulary.probes(PROOF_SEED).into_iter().unzip();
    let counts = counter.count_all(method, spec, &texts).await?;
    match expected.iter().zip(&counts).find(|(expected, counted)| **expected != counted.tokens) {
        None => Ok(vocabulary),
        Some((expected, counted)) => {
            Err(CountError::NotAdditive { counted: counted.tokens, expected: *expected })
        }
    }
}

#[derive(Clone, Copy)]
enum Method {
    /// `/tokenize`, as vLLM has it.
    Tokenize,
    /// The `usage` of an answer of one token.
    Usage,
}

#[derive(Clone)]
struct Counter {
    client: HttpClient,
    url: String,
    model: String,
    api_key: Option<String>,
}

impl Counter {
    fn new(address: &Address, api_key: Option<&str>) -> Result<Self, CountError> {
        Ok(Self {
            client: HttpClient::new()?,
            url: address.url.trim_end_matches('/').to_owned(),
            model: address.model.clone(),
            api_key: api_key.map(str::to_owned),
        })
    }

    /// Finds the cheapest method that the server supports.
    async fn method(&self, spec: &Workload, text: &str) -> Result<Method, CountError> {
        let tokenize = match self.count(Method::Tokenize, spec, text).await {
            Ok(_) => return Ok(Method::Tokenize),
            Err(error) => Box::new(error),
        };
        match self.count(Method::Usage, spec, text).await {
            Ok(_) => Ok(Method::Usage),
            Err(error) => Err(CountError::NoCounter { tokenize, usage: Box::new(error) }),
        }
    }

    async fn count_all(
        &self,
        method: Method,
        spec: &Workload,
        texts: &[String],
    ) -> Result<Vec<TokenCount>, CountError> {
        let mut counts = Vec::with_capacity(texts.len());
        for some in texts.chunks(CONCURRENCY) {
            let counting: Vec<_> = some
                .iter()
                .map(|text| {
                    let (counter, spec, text) = (self.clone(), spec.clone(), text.clone());
                    tokio::spawn(async move { counter.count(method, &spec, &text).await })
                })
                .collect();
            for one in counting {
                counts.push(one.await??);
            }
        }
        Ok(counts)
    }

    async fn count(&self, method: Method, spec: &Workload, text: &str) -> Result<TokenCount, CountError> {
        let mut body = workload::token_count_body(spec, &self.model, text);
        let path = match (method, spec.api) {
            (Method::Tokenize, api) => {
                if api == Api::Completions {
                    // llama.cpp calls the text `content`; each server ignores the other's key.
                    body.insert("content".into(), text.into());
                }
                "/tokenize"
            }
            (Method::Usage, api) => {
                body.insert("max_tokens".into(), 1.into());
                body.insert("temperature".into(), 0.into());
                match api {
                    Api::Completions => "/v1/completions",
                    Api::Chat => "/v1/chat/completions",
                }
            }
        };
        let timeout = match method {
            Method::Tokenize => TOKENIZE_TIMEOUT,
            Method::Usage => USAGE_TIMEOUT,
        };
        let answer = self.post(path, body, timeout).await?;
        counted(method, &answer).ok_or(CountError::NoCount { path })
    }

    async fn post(
        &self,
        path: &'static str,
        body: Map<String, Value>,
        timeout: Duration,
    ) -> Result<Value, CountError> {
        let request = HttpRequest {
            url: &format!("{}{path}", self.url),
            api_key: self.api_key.as_deref(),
            body: Some(&body),
            timeout,
            max_body: MAX_BODY,
        };
        let bytes = self.client.fetch(request).await?;
        serde_json::from_slice(&bytes).map_err(|error| CountError::NotJson { path, error })
    }
}

/// Reads the count from an answer; `None` where it is missing or zero, which no text here has.
fn counted(method: Method, answer: &Value) -> Option<TokenCount> {
    let whole = |value: &Value| value.as_u64().and_then(|count| u32::try_from(count).ok());
    let counted = match method {
        Method::Tokenize => {
            let ids: Option<Vec<u32>> = match &answer["tokens"] {
                Value::Array(ids) => ids.iter().map(whole).collect(),
                _ => None,
            };
            let ids = ids.unwrap_or_default();
            TokenCount { tokens: whole(&answer["count"]).or(u32::try_from(ids.len()).ok())?, ids }
        }
        Method::Usage => TokenCount { tokens: whole(&answer["usage"]["prompt_tokens"])?, ids: Vec::new() },
    };
    (counted.tokens > 0).then_some(counted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_count_is_read_from_either_answer_and_never_invented() {
        let recorded =
            json!({ "count": 3, "max_model_len": 4096, "tokens": [392, 75, 568], "token_strs": null });
        let read = counted(Method::Tokenize, &recorded).unwrap();
        assert_eq!((read.tokens, read.ids), (3, vec![392, 75, 568]));
        let without_count = json!({ "tokens": [1, 2] });
        assert_eq!(counted(Method::Tokenize, &without_count).unwrap().tokens, 2);
        for nothing in [json!({}), json!({ "tokens": [] }), json!({ "count": 0 })] {
            assert_eq!(counted(Method::Tokenize, &nothing), None);
        }
        let usage = json!({ "usage": { "prompt_tokens": 9 } });
        assert_eq!(counted(Method::Usage, &usage).unwrap().tokens, 9);
        assert_eq!(counted(Method::Usage, &json!({ "usage": null })), None);
    }
}
