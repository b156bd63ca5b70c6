//! Prompts that the manifest or its files give: each rendered once, asked in turn, over and over.

use minijinja::{Environment, UndefinedBehavior, value::Serde};
use serde_json::{Value, json};

use super::frame::escaped;
use crate::manifest::{Inputs, Source, Workload};

/// One prompt, escaped for JSON.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) text: Box<str>,
    /// The system message it came with.
    pub(super) system: Option<Box<str>>,
}

impl Given {
    fn text(text: &str) -> Self {
        Self {
            text: escaped(text),
            system: None,
        }
    }
}

/// Every distinct prompt, rendered.
pub(super) fn given(spec: &Workload, inputs: &Inputs) -> Result<Vec<Given>, String> {
    let contexts: Vec<Value> = match spec.source()? {
        made @ (Source::Synthetic(_) | Source::SharedPrefix(_)) => {
            return Err(format!("{} gives no prompts; they are made", made.key()));
        }
        Source::Inline(prompts) => {
            return Ok(prompts.iter().map(|text| Given::text(text)).collect());
        }
        Source::Conversations(file) => {
            let conversations = &inputs.conversations(file)?.kept;
            return Ok(conversations
                .iter()
                .map(|conversation| Given {
                    system: conversation.system.as_deref().map(escaped),
                    ..Given::text(&conversation.turns[0])
                })
                .collect());
        }
        Source::Lines(file) => {
            let lines = inputs.lines(file)?;
            if spec.prompt.is_none() {
                return Ok(lines
                    .iter()
                    .filter_map(|line| line.get(&file.field).and_then(Value::as_str))
                    .map(Given::text)
                    .collect());
            }
            lines.into_iter().map(Value::Object).collect()
        }
        Source::Documents(documents) => inputs
            .documents(documents)?
            .into_iter()
            .map(|text| json!({ "document": text }))
            .collect(),
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
        .map(|(index, context)| match template.render(Serde(context)) {
            Ok(text) => Ok(Given::text(&text)),
            Err(error) => Err(format!(
                "the prompt template fails for input {}: {error}",
                index + 1
            )),
        })
        .collect()
}
