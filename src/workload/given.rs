//! Prompts that the manifest or its files give: each rendered once, asked in turn, over and over.

use minijinja::{Environment, UndefinedBehavior, value::Serde};
use serde_json::{Value, json};

use super::frame::escaped;
use crate::manifest::{Inputs, Source, Workload, output_tokens};

/// One prompt, escaped for JSON.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) text: Box<str>,
    /// The system message it came with.
    pub(super) system: Option<Box<str>>,
    /// What the person says after each answer, where the workload asks for more than one turn.
    pub(super) later: Vec<Box<str>>,
    /// The length of its answer, where its line says it.
    pub(super) output_tokens: Option<u32>,
}

impl Given {
    fn text(text: &str) -> Self {
        Self { text: escaped(text), system: None, later: Vec::new(), output_tokens: None }
    }
}

fn with_length((text, output_tokens): (&str, Option<u32>)) -> Given {
    Given { output_tokens, ..Given::text(text) }
}

/// Every distinct prompt, rendered.
pub(super) fn given(spec: &Workload, inputs: &Inputs) -> Result<Vec<Given>, String> {
    // By line; where there are no lines, none.
    let mut lengths: Vec<Option<u32>> = Vec::new();
    let contexts: Vec<Value> = match spec.source()? {
        made @ (Source::Synthetic(_) | Source::SharedPrefix(_) | Source::Trace(_)) => {
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
                    later: {
                        let turns = conversation.turns.iter().take(file.turns.most());
                        turns.skip(1).map(|turn| escaped(turn)).collect()
                    },
                    ..Given::text(&conversation.turns[0])
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
    let template = environment
        .template_from_str(text)
        .map_err(|error| format!("the prompt template cannot be read: {error}"))?;
    let lengths = lengths.into_iter().chain(std::iter::repeat(None));
    contexts
        .iter()
        .zip(lengths)
        .enumerate()
        .map(|(index, (context, length))| match template.render(Serde(context)) {
            Ok(text) => Ok(with_length((&text, length))),
            Err(error) => Err(format!("the prompt template fails for input {}: {error}", index + 1)),
        })
        .collect()
}
