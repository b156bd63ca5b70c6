//! Fixed prompts, from the manifest or its files. Each is rendered once.

use minijinja::{Environment, UndefinedBehavior, value::Serde};
use serde_json::{Value, json};

use super::{body::escaped, error::RequestError};
use crate::manifest::{Inputs, Source, Workload, output_tokens};

/// One prompt, escaped for JSON.
#[derive(Clone, Debug)]
pub(super) struct FixedPrompt {
    /// The prompt, or the first turn of a conversation.
    pub(super) text: Box<str>,
    /// The system message of its conversation.
    pub(super) system: Option<Box<str>>,
    /// The later user turns of its conversation that are sent.
    pub(super) later: Vec<Box<str>>,
    /// The output length that its line sets, in tokens.
    pub(super) output_tokens: Option<u32>,
}

impl FixedPrompt {
    fn text(text: &str) -> Self {
        Self { text: escaped(text), system: None, later: Vec::new(), output_tokens: None }
    }
}

fn with_length((text, output_tokens): (&str, Option<u32>)) -> FixedPrompt {
    FixedPrompt { output_tokens, ..FixedPrompt::text(text) }
}

/// Renders every prompt of a workload.
///
/// # Errors
/// When an input cannot be read, a template fails, or the prompts are generated.
pub(super) fn fixed_prompts(spec: &Workload, inputs: &Inputs) -> Result<Vec<FixedPrompt>, RequestError> {
    // Output lengths of the lines of a JSONL file.
    let mut lengths: Vec<Option<u32>> = Vec::new();
    let contexts: Vec<Value> = match spec.source()? {
        generated @ (Source::Synthetic(_) | Source::SharedPrefix(_) | Source::Trace(_)) => {
            return Err(RequestError::Generated(generated.key()));
        }
        Source::Inline(prompts) => {
            return Ok(prompts.iter().map(|text| FixedPrompt::text(text)).collect());
        }
        Source::Conversations(file) => {
            let conversations = &inputs.conversations(file)?.kept;
            return Ok(conversations
                .iter()
                .map(|conversation| FixedPrompt {
                    system: conversation.system.as_deref().map(escaped),
                    later: {
                        let turns = conversation.turns.iter().take(file.turns.most());
                        turns.skip(1).map(|turn| escaped(turn)).collect()
                    },
                    ..FixedPrompt::text(&conversation.turns[0])
                })
                .collect());
        }
        Source::Lines(file) => {
            let lines = inputs.lines(file)?;
            let field = file.output_tokens_field.as_deref();
            lengths = lines.iter().map(|line| output_tokens(line, field?)).collect();
            if spec.prompt.is_none() {
                let texts = lines.iter().filter_map(|line| line.get(&file.field)?.as_str());
                return Ok(texts.zip(lengths).map(with_length).collect());
            }
            lines.into_iter().map(Value::Object).collect()
        }
        Source::Documents(documents) => {
            inputs.documents(documents)?.into_iter().map(|text| json!({ "document": text })).collect()
        }
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let text = spec.prompt.as_deref().unwrap_or("{{ document }}");
    let template =
        environment.template_from_str(text).map_err(|error| RequestError::Template(error.to_string()))?;
    let lengths = lengths.into_iter().chain(std::iter::repeat(None));
    contexts
        .iter()
        .zip(lengths)
        .enumerate()
        .map(|(index, (context, length))| match template.render(Serde(context)) {
            Ok(text) => Ok(with_length((&text, length))),
            Err(error) => Err(RequestError::Render { number: index + 1, reason: error.to_string() }),
        })
        .collect()
}
