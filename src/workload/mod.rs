//! Cell and seed → requests. Pure: the same cell and repeat give the same bytes.

use bytes::Bytes;
use minijinja::{Environment, UndefinedBehavior, value::Serde};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::{Map, Value, json};

use crate::{
    manifest::{Api, Cache, Inputs, Output, Prompts, Workload},
    plan::Cell,
};

/// Words of random hex before a `fresh` prompt. Sixteen fill at least one KV block of the usual size, so that not even
/// the first block of two prompts is the same.
const FRESH_WORDS: usize = 16;

/// Every request a cell may send, by index. Inputs are asked in turn, over and over.
#[derive(Clone, Debug)]
pub struct Requests {
    api: Api,
    /// The body without its prompt.
    body: Map<String, Value>,
    system: Option<String>,
    prompts: Vec<String>,
    /// Seed of the fresh words; absent when prompts are sent as written.
    fresh: Option<u64>,
    max_tokens: u32,
}

/// One request, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number in the cell, warm-up included.
    pub index: u64,
    /// Which input it asks.
    pub input: u32,
    /// The JSON body.
    pub body: Bytes,
    /// The most tokens it may generate.
    pub max_tokens: u32,
}

/// Builds the requests of one repeat of a cell for a server that calls its model `model`.
///
/// # Errors
/// A sentence when an input cannot be read or a template cannot be rendered.
pub fn requests(
    cell: &Cell,
    inputs: &Inputs,
    model: &str,
    repeat: u32,
) -> Result<Requests, String> {
    let spec = &cell.spec;
    let mut body = Map::new();
    body.insert("model".into(), model.into());
    body.insert("max_tokens".into(), cell.max_tokens.into());
    body.insert("temperature".into(), json!(spec.temperature));
    if spec.output == Output::Exact {
        body.insert("ignore_eos".into(), true.into());
        body.insert("min_tokens".into(), cell.max_tokens.into());
    }
    for (name, value) in &spec.extra_body {
        body.insert(name.clone(), value.clone());
    }
    body.insert("stream".into(), true.into());
    body.insert("stream_options".into(), json!({ "include_usage": true }));
    Ok(Requests {
        api: spec.api,
        body,
        system: spec.system.clone(),
        prompts: prompts(spec, inputs)?,
        fresh: (spec.cache == Cache::Fresh).then(|| cell.seed.wrapping_add(u64::from(repeat))),
        max_tokens: cell.max_tokens,
    })
}

/// Every distinct prompt, rendered.
fn prompts(spec: &Workload, inputs: &Inputs) -> Result<Vec<String>, String> {
    let contexts: Vec<Value> = match (&spec.prompts, &spec.documents) {
        (Some(Prompts::Inline(prompts)), _) => return Ok(prompts.clone()),
        (Some(Prompts::File(file)), _) => {
            let lines = inputs.lines(file)?;
            if spec.prompt.is_none() {
                return Ok(lines
                    .iter()
                    .filter_map(|line| line.get(&file.field).and_then(Value::as_str))
                    .map(str::to_owned)
                    .collect());
            }
            lines.into_iter().map(Value::Object).collect()
        }
        (None, Some(documents)) => inputs
            .documents(documents)?
            .into_iter()
            .map(|text| json!({ "document": text }))
            .collect(),
        (None, None) => return Err("there are no prompts and no documents".into()),
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let text = spec.prompt.as_deref().unwrap_or("{{ document }}");
    let template = environment
        .template_from_str(text)
        .map_err(|error| format!("the prompt template cannot be read: {error}"))?;
    contexts
        .iter()
        .enumerate()
        .map(|(index, context)| {
            template.render(Serde(context)).map_err(|error| {
                format!("the prompt template fails for input {}: {error}", index + 1)
            })
        })
        .collect()
}

impl Requests {
    /// The endpoint's path.
    pub fn path(&self) -> &'static str {
        match self.api {
            Api::Completions => "/v1/completions",
            Api::Chat => "/v1/chat/completions",
        }
    }

    /// How many distinct inputs there are.
    pub fn inputs(&self) -> usize {
        self.prompts.len()
    }

    /// The request of an index, whatever was asked before.
    pub fn get(&self, index: u64) -> Request {
        let input = (index % self.prompts.len() as u64) as usize;
        let mut prompt = self.prompts[input].clone();
        if let Some(seed) = self.fresh {
            prompt.insert_str(0, &fresh_words(seed, index));
        }
        let mut body = self.body.clone();
        match self.api {
            Api::Completions => {
                body.insert("prompt".into(), prompt.into());
            }
            Api::Chat => {
                let mut messages = Vec::new();
                if let Some(system) = &self.system {
                    messages.push(json!({ "role": "system", "content": system }));
                }
                messages.push(json!({ "role": "user", "content": prompt }));
                body.insert("messages".into(), messages.into());
            }
        }
        Request {
            index,
            input: input as u32,
            body: Bytes::from(Value::Object(body).to_string()),
            max_tokens: self.max_tokens,
        }
    }
}

/// Words that no other request of this seed begins with.
fn fresh_words(seed: u64, index: u64) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(index);
    let mut words = String::new();
    for _ in 0..FRESH_WORDS {
        words.push_str(&format!("{:06x} ", random.next_u32() & 0xff_ffff));
    }
    words.push('\n');
    words
}
