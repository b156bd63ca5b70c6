//! What answers at an address, and whether it is the server that was meant.

use std::time::Duration;

use serde_json::Value;

use super::{body::whole_body, command, outcome::Facts};
use crate::manifest::{Server, expand_home};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest name or version of a server that is believed, characters.
const LONGEST_NAME: usize = 512;
/// So many of the models that a server lists are named, each with so many characters.
const NAMED: (usize, usize) = (5, 80);

/// What stands behind an address.
pub(super) enum Answer {
    /// The server that was meant, with what it says of itself.
    Ours(Box<Facts>),
    /// Nothing that is ready, and what was seen instead.
    NotYet(String),
    /// Another server: in what it differs.
    NotOurs(String),
}

/// Asks one address.
pub(super) struct Probe {
    pub(super) url: String,
    client: Result<reqwest::Client, String>,
    api_key: Option<String>,
}

impl Probe {
    pub(super) fn new(url: String, api_key: Option<String>) -> Self {
        // A second installation fails, and the first one is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            // Who answers elsewhere is not who listens here.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()
            .map_err(|error| format!("nothing can be asked here: {error}"));
        Self { url, client, api_key }
    }

    async fn get(&self, path: &str) -> Result<(u16, Value), String> {
        let url = format!("{}{path}", self.url);
        let mut request = self.client.as_ref().map_err(Clone::clone)?.get(&url);
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key);
        }
        let said = |error: reqwest::Error| {
            let mut reason: &dyn std::error::Error = &error;
            while let Some(deeper) = reason.source() {
                reason = deeper;
            }
            let reason = reason.to_string();
            let hint = if reason.contains("certificate") {
                "; where nobody here vouches for it, name the file of its CA, as PEM, in the environment variable SSL_CERT_FILE"
            } else {
                ""
            };
            format!("{url} does not answer: {reason}{hint}")
        };
        let response = request.send().await.map_err(said)?;
        let status = response.status().as_u16();
        let body = whole_body(response).await.map_err(|reason| format!("{url} does not answer: {reason}"))?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// What its `/health` says of a server that was ready once, when that is a failure, as a clause.
    pub(super) async fn ailment(&self) -> Option<String> {
        match self.get("/health").await {
            Ok((status, _)) if status >= 500 => Some(format!("{}/health answers {status}", self.url)),
            Ok(_) => None,
            Err(reason) => Some(reason),
        }
    }

    /// Whether the server answers, is healthy and serves our model. `attached` is a server that somebody else started: it
    /// may call our model by another name, as long as it says that it is ours.
    pub(super) async fn ask(&self, server: &Server, attached: bool) -> Answer {
        match self.get("/health").await {
            // Not every engine has the endpoint.
            Ok((200 | 404, _)) => {}
            Ok((status, _)) => {
                return Answer::NotYet(format!("{}/health answers {status}", self.url));
            }
            Err(reason) => return Answer::NotYet(reason),
        }
        match self.get("/v1/models").await {
            Ok((200, models)) => match recognise(server, &models, attached) {
                Ok(mut facts) => {
                    if let Ok((200, body)) = self.get("/version").await {
                        facts.engine_version = body["version"]
                            .as_str()
                            .map(|version| version.chars().take(LONGEST_NAME).collect());
                    }
                    Answer::Ours(Box::new(facts))
                }
                Err(reason) => Answer::NotOurs(format!("{} {reason}", self.url)),
            },
            Ok((status @ (401 | 403), _)) => Answer::NotOurs(format!(
                "{}/v1/models answers {status}; name the variable that holds its key in server.launch.api_key_env",
                self.url
            )),
            Ok((status, _)) => Answer::NotYet(format!("{}/v1/models answers {status}", self.url)),
            Err(reason) => Answer::NotYet(reason),
        }
    }
}

/// Our model among those that are listed.
fn recognise(server: &Server, models: &Value, attached: bool) -> Result<Facts, String> {
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
        let (most, longest) = NAMED;
        let mut names: Vec<String> = listed
            .iter()
            .take(most)
            .map(|model| model["id"].to_string().chars().take(longest).collect())
            .collect();
        if listed.len() > most {
            names.push(format!("and {} more", listed.len() - most));
        }
        return Err(if names.is_empty() {
            format!("lists no model; {wanted:?} was asked for")
        } else {
            format!("serves {}, not {wanted:?}", names.join(", "))
        });
    };
    // Every request carries it.
    if ours["id"].as_str().is_some_and(|id| id.chars().count() > LONGEST_NAME) {
        return Err(format!("calls the model by a name of more than {LONGEST_NAME} characters"));
    }
    let length = ours["max_model_len"].as_u64();
    if let (Some(asked), Some(length)) = (server.flags.integer("max-model-len"), length)
        && asked != length
    {
        return Err(format!("has a max_model_len of {length}, not {asked}"));
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
    fn our_model_is_known_by_its_served_name_and_its_length() {
        let ours = server(json!({
            "model": "/models/tiny",
            "flags": { "served-model-name": "tiny", "max-model-len": 4096 }
        }));
        let facts = recognise(&ours, &listed(), false).unwrap();
        assert_eq!(facts.served_model.as_deref(), Some("tiny"));
        assert_eq!(facts.max_model_len, Some(4096));
        let longer = server(json!({
            "model": "/models/tiny",
            "flags": { "served-model-name": "tiny", "max-model-len": 8192 }
        }));
        let reason = recognise(&longer, &listed(), false).unwrap_err();
        assert!(reason.contains("4096, not 8192"), "{reason}");
    }

    #[test]
    fn another_model_is_named() {
        let other = server(json!({ "model": "Qwen/Qwen2.5-1.5B-Instruct" }));
        let reason = recognise(&other, &listed(), true).unwrap_err();
        assert!(reason.contains("serves \"tiny\", not \"Qwen/Qwen2.5-1.5B-Instruct\""), "{reason}");
        let reason = recognise(&other, &json!({}), false).unwrap_err();
        assert!(reason.contains("lists no model"), "{reason}");
    }

    #[test]
    fn an_attached_server_may_call_our_model_by_a_name_of_its_own() {
        let same = server(json!({ "model": "/models/tiny" }));
        assert!(recognise(&same, &listed(), false).is_err());
        let facts = recognise(&same, &listed(), true).unwrap();
        assert_eq!(facts.served_model.as_deref(), Some("tiny"));
        let named = server(json!({
            "model": "/models/tiny", "flags": { "served-model-name": "big" }
        }));
        assert!(recognise(&named, &listed(), true).is_err());
    }
}
