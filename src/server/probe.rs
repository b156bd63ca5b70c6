//! Checks over HTTP what answers at an address, and whether it is the intended server.

use std::time::Duration;

use serde_json::Value;

use super::{
    command,
    http::{HttpClient, HttpError, HttpRequest},
    outcome::Facts,
};
use crate::manifest::{Server, expand_home};

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Limit on a response's body, bytes: a real server's have kilobytes. Parsed, a body may take eighty times
/// its size.
pub(super) const MAX_BODY: usize = 1 << 20;
/// Limit on the length of a server's model name and version, characters.
const MAX_NAME: usize = 512;
/// How many of the models that a server lists an error names, and how many characters of each.
const LISTED: (usize, usize) = (5, 80);

/// What a probe found.
pub(super) enum Answer {
    /// The intended server, with what it reports about itself.
    Ours(Box<Facts>),
    /// Nothing that is ready, with what was found instead.
    NotYet(String),
    /// Another server, with the difference.
    NotOurs(String),
}

/// Probes one address.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) url: String,
    client: HttpClient,
    api_key: Option<String>,
}

impl Probe {
    pub(super) fn new(url: String, api_key: Option<String>) -> Result<Self, HttpError> {
        Ok(Self { url, client: HttpClient::new()?, api_key })
    }

    /// The status and the JSON body of a response; another body is null.
    async fn get(&self, path: &str) -> Result<(u16, Value), HttpError> {
        let (status, body) = self
            .client
            .send(HttpRequest {
                url: &format!("{}{path}", self.url),
                api_key: self.api_key.as_deref(),
                body: None,
                timeout: TIMEOUT,
                max_body: MAX_BODY,
            })
            .await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// How `/health` of a server that was ready before fails; `None` when it does not.
    pub(super) async fn health_failure(&self) -> Option<String> {
        match self.get("/health").await {
            Ok((status, _)) if status >= 500 => Some(format!("{}/health returned {status}", self.url)),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        }
    }

    /// Whether the server answers, is healthy and serves our model. An `attached` server may serve our model
    /// under another name if it lists our model as the root of that name.
    pub(super) async fn ask(&self, server: &Server, attached: bool) -> Answer {
        match self.get("/health").await {
            // Not every engine has the endpoint.
            Ok((200 | 404, _)) => {}
            Ok((status, _)) => {
                return Answer::NotYet(format!("{}/health returned {status}", self.url));
            }
            Err(error) => return Answer::NotYet(error.to_string()),
        }
        match self.get("/v1/models").await {
            Ok((200, models)) => match find_model(server, &models, attached) {
                Ok(mut facts) => {
                    if let Ok((200, body)) = self.get("/version").await {
                        facts.engine_version =
                            body["version"].as_str().map(|version| version.chars().take(MAX_NAME).collect());
                    }
                    Answer::Ours(Box::new(facts))
                }
                Err(mismatch) => Answer::NotOurs(format!("{} {mismatch}", self.url)),
            },
            Ok((status @ (401 | 403), _)) => Answer::NotOurs(format!(
                "{}/v1/models returned {status}; set server.launch.api_key_env to the variable that holds its key",
                self.url
            )),
            Ok((status, _)) => Answer::NotYet(format!("{}/v1/models returned {status}", self.url)),
            Err(error) => Answer::NotYet(error.to_string()),
        }
    }
}

/// How a server differs from the intended one; completes a sentence that begins with its URL.
#[derive(Debug, thiserror::Error)]
enum Mismatch {
    #[error("lists no model, so not {0:?}")]
    NoModel(String),
    #[error("serves {listed}, not {wanted:?}")]
    OtherModel { listed: String, wanted: String },
    #[error("serves the model under a name of more than {MAX_NAME} characters")]
    LongName,
    #[error("has a max_model_len of {found}, not {wanted}")]
    OtherLength { found: u64, wanted: u64 },
}

/// Finds our model among those that `/v1/models` lists.
fn find_model(server: &Server, models: &Value, attached: bool) -> Result<Facts, Mismatch> {
    let wanted = command::served_model(server);
    let expanded = expand_home(&wanted).to_string();
    let root = expand_home(&server.model).to_string();
    let listed = models["data"].as_array().map_or(&[][..], Vec::as_slice);
    let by_name = listed.iter().find(|model| model["id"] == wanted || model["id"] == expanded);
    let ours = by_name.or_else(|| {
        let named = server.flags.get("served-model-name").is_some();
        listed.iter().find(|model| attached && !named && model["root"] == root)
    });
    let Some(ours) = ours else {
        let (most, longest) = LISTED;
        let mut names: Vec<String> = listed
            .iter()
            .take(most)
            .map(|model| model["id"].to_string().chars().take(longest).collect())
            .collect();
        if listed.len() > most {
            names.push(format!("and {} more", listed.len() - most));
        }
        return Err(if names.is_empty() {
            Mismatch::NoModel(wanted)
        } else {
            Mismatch::OtherModel { listed: names.join(", "), wanted }
        });
    };
    // Every request carries the name.
    if ours["id"].as_str().is_some_and(|id| id.chars().count() > MAX_NAME) {
        return Err(Mismatch::LongName);
    }
    let length = ours["max_model_len"].as_u64();
    if let (Some(wanted), Some(found)) = (server.flags.integer("max-model-len"), length)
        && wanted != found
    {
        return Err(Mismatch::OtherLength { found, wanted });
    }
    Ok(Facts {
        served_model: ours["id"].as_str().map(str::to_owned),
        max_model_len: length,
        ..Facts::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn server(manifest: Value) -> Server {
        serde_json::from_value(manifest).unwrap()
    }

    fn listed() -> Value {
        let text = include_str!("../../tests/recorded/vllm/get-v1-models.txt");
        serde_json::from_str(&text[text.find('{').unwrap()..]).unwrap()
    }

    #[test]
    fn our_model_is_recognised_by_served_name_and_length() {
        let ours = server(json!({
            "model": "/models/tiny",
            "flags": { "served-model-name": "tiny", "max-model-len": 4096 }
        }));
        let facts = find_model(&ours, &listed(), false).unwrap();
        assert_eq!(facts.served_model.as_deref(), Some("tiny"));
        assert_eq!(facts.max_model_len, Some(4096));
        let longer = server(json!({
            "model": "/models/tiny",
            "flags": { "served-model-name": "tiny", "max-model-len": 8192 }
        }));
        let reason = find_model(&longer, &listed(), false).unwrap_err().to_string();
        assert!(reason.contains("4096, not 8192"), "{reason}");
    }

    #[test]
    fn another_model_is_named() {
        let other = server(json!({ "model": "Qwen/Qwen2.5-1.5B-Instruct" }));
        let reason = find_model(&other, &listed(), true).unwrap_err().to_string();
        assert!(reason.contains("serves \"tiny\", not \"Qwen/Qwen2.5-1.5B-Instruct\""), "{reason}");
        let reason = find_model(&other, &json!({}), false).unwrap_err().to_string();
        assert!(reason.contains("lists no model"), "{reason}");
    }

    #[test]
    fn an_attached_server_may_serve_our_model_under_another_name() {
        let same = server(json!({ "model": "/models/tiny" }));
        assert!(find_model(&same, &listed(), false).is_err());
        let facts = find_model(&same, &listed(), true).unwrap();
        assert_eq!(facts.served_model.as_deref(), Some("tiny"));
        let named = server(json!({
            "model": "/models/tiny", "flags": { "served-model-name": "big" }
        }));
        assert!(find_model(&named, &listed(), true).is_err());
    }
}
