//! The JSON body around a prompt. What all requests of a cell share is written once; a request is one allocation.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::manifest::{Api, Workload};

/// The fields of every body of a cell.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    api: Api,
    /// The cell's system message, escaped.
    system: Option<Box<str>>,
    /// Whether every answer has exactly its `max_tokens`.
    exact: bool,
    /// The fields of a request's own length that the manifest has not set itself.
    own_max: bool,
    own_min: bool,
    /// The other fields: what follows the lengths, up to the body's end.
    rest: Box<str>,
}

/// What a body asks. Texts are escaped for JSON, without the quotes around them.
#[derive(Clone, Copy)]
pub(super) enum Prompt<'a> {
    /// A text, in pieces that follow each other without a gap.
    Text {
        /// A system message of this prompt's own; the cell's goes before it.
        system: Option<&'a str>,
        /// Messages between the system's and this one, as JSON with a comma behind each.
        history: &'a str,
        /// The pieces.
        pieces: [&'a str; 2],
    },
    /// Token ids, a comma before each.
    Ids(&'a str),
}

/// Appends a message of escaped pieces.
pub(super) fn message(body: &mut String, role: &str, pieces: &[&str]) {
    for part in ["{\"role\":\"", role, "\",\"content\":\""] {
        body.push_str(part);
    }
    pieces.iter().for_each(|piece| body.push_str(piece));
    body.push_str("\"}");
}

/// A text as it stands in JSON, without the quotes around it.
pub(super) fn escaped(text: &str) -> Box<str> {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].into()
}

impl Frame {
    /// The frame of a workload for a server that calls its model `model`.
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
            // A whole answer brings its usage unasked, and servers refuse the option there.
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

    /// The endpoint's path.
    pub(super) fn path(&self) -> &'static str {
        match self.api {
            Api::Completions => "/v1/completions",
            Api::Chat => "/v1/chat/completions",
        }
    }

    /// A body. Tokens: the most that may be generated, and with exact outputs the least.
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
