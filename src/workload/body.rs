//! Request bodies. The fields that all requests of a cell share are serialized once, so a body costs one
//! allocation.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::manifest::{Api, Workload};

/// The fields that all bodies of a cell share.
#[derive(Clone, Debug)]
pub(super) struct BodyTemplate {
    api: Api,
    /// The cell's system message, escaped.
    system: Option<Box<str>>,
    /// Whether answers have exactly `max_tokens` tokens.
    exact: bool,
    /// Whether to write `max_tokens` and `min_tokens`: not when the manifest's `extra_body` sets them.
    own_max: bool,
    own_min: bool,
    /// All other fields, up to the end of the body.
    rest: Box<str>,
}

/// The prompt of a body. Texts are escaped for JSON, without quotes.
#[derive(Clone, Copy)]
pub(super) enum Prompt<'a> {
    /// A text in two parts, which are joined without a gap.
    Text {
        /// The prompt's own system message. The workload's takes precedence.
        system: Option<&'a str>,
        /// Earlier messages as JSON, each followed by a comma.
        history: &'a str,
        /// The two parts.
        pieces: [&'a str; 2],
    },
    /// Token ids, each preceded by a comma.
    Ids(&'a str),
}

/// Appends a chat message whose content is already escaped.
pub(super) fn message(body: &mut String, role: &str, pieces: &[&str]) {
    for part in ["{\"role\":\"", role, "\",\"content\":\""] {
        body.push_str(part);
    }
    pieces.iter().for_each(|piece| body.push_str(piece));
    body.push_str("\"}");
}

/// Escapes a text for JSON, without quotes.
pub(super) fn escaped(text: &str) -> Box<str> {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].into()
}

impl BodyTemplate {
    /// The template of a workload's bodies. `model` is the name that the server gives its model.
    pub(super) fn new(spec: &Workload, model: &str) -> Self {
        let mut rest = Map::new();
        rest.insert("model".into(), model.into());
        rest.insert("temperature".into(), json!(spec.temperature));
        if spec.exact_output() {
            rest.insert("ignore_eos".into(), true.into());
        }
        for (name, value) in &spec.extra_body {
            rest.insert(name.clone(), value.clone());
        }
        rest.insert("stream".into(), spec.stream.into());
        if spec.stream {
            // Without streaming, answers always contain the usage, and servers reject the option.
            rest.insert("stream_options".into(), json!({ "include_usage": true }));
        }
        let rest = Value::Object(rest).to_string();
        let own = |name| !spec.extra_body.contains_key(name);
        Self {
            api: spec.api,
            system: spec.system.as_deref().map(escaped),
            exact: spec.exact_output(),
            own_max: own("max_tokens"),
            own_min: own("min_tokens"),
            rest: rest[1..].into(),
        }
    }

    pub(super) fn path(&self) -> &'static str {
        match self.api {
            Api::Completions => "/v1/completions",
            Api::Chat => "/v1/chat/completions",
        }
    }

    /// A request body. `max_tokens` is the most tokens to generate, with exact output also the fewest.
    pub(super) fn body(&self, prompt: Prompt<'_>, max_tokens: u32) -> Bytes {
        let (pieces, quote) = match prompt {
            Prompt::Text { pieces, .. } => (pieces, true),
            Prompt::Ids(ids) => ([ids.get(1..).unwrap_or_default(), ""], false),
        };
        let long: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut body = String::with_capacity(self.rest.len() + long + 256);
        let (open, close) = match (self.api, quote) {
            (Api::Completions, true) => ("{\"prompt\":\"", "\","),
            (Api::Completions, false) => ("{\"prompt\":[", "],"),
            (Api::Chat, _) => {
                body.push_str("{\"messages\":[");
                if let Prompt::Text { system, history, .. } = prompt {
                    if let Some(system) = self.system.as_deref().or(system) {
                        message(&mut body, "system", &[system]);
                        body.push(',');
                    }
                    body.push_str(history);
                }
                ("{\"role\":\"user\",\"content\":\"", "\"}],")
            }
        };
        body.push_str(open);
        pieces.iter().for_each(|piece| body.push_str(piece));
        body.push_str(close);
        if self.own_max {
            body.push_str(&format!("\"max_tokens\":{max_tokens},"));
        }
        if self.exact && self.own_min {
            body.push_str(&format!("\"min_tokens\":{max_tokens},"));
        }
        body.push_str(&self.rest);
        Bytes::from(body)
    }
}
