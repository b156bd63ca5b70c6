//! The content of the files that a manifest names.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value};

use super::{
    arrivals::Trace,
    conversation::Conversations,
    declaration::{ConversationFile, Documents, PromptFile, Workload},
    error::{InputError, LineProblem},
    json_lines::json_lines,
    source::Source,
    trace::TraceLine,
};

/// Files of prompts, documents, conversations and traces, by their path as the manifest writes it. They are
/// read once, together with the manifest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs(pub BTreeMap<Utf8PathBuf, Input>);

/// One file's content.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
    /// The text.
    pub text: Arc<str>,
    /// The text as conversations, parsed on first use: such files are large, and every cell needs them.
    conversations: Arc<OnceLock<Result<Conversations, InputError>>>,
    /// The text as a trace, parsed on first use.
    trace: Arc<OnceLock<Result<Arc<[TraceLine]>, InputError>>>,
}

impl Input {
    /// A file's content, with the hash of its bytes in hex.
    pub fn new(sha256: String, text: String) -> Self {
        Self { sha256, text: Arc::from(text), conversations: Arc::default(), trace: Arc::default() }
    }
}

impl Inputs {
    /// The content of a file the manifest names.
    pub fn get(&self, path: &Utf8Path) -> Option<&Input> {
        self.0.get(path)
    }

    fn read(&self, file: &Utf8Path) -> Result<&Input, InputError> {
        self.get(file).ok_or_else(|| InputError::NotRead(file.to_owned()))
    }

    /// The documents of a file: split at the separator, trimmed, without empty ones.
    ///
    /// # Errors
    /// When no document is left.
    pub fn documents(&self, documents: &Documents) -> Result<Vec<&str>, InputError> {
        let whole: &str = &self.read(&documents.file)?.text;
        let parts: Vec<&str> = match &documents.separator {
            Some(separator) => whole.split(separator.as_str()).collect(),
            None => vec![whole],
        };
        let documents_found: Vec<&str> =
            parts.into_iter().map(str::trim).filter(|text| !text.is_empty()).collect();
        if documents_found.is_empty() {
            return Err(InputError::Empty { file: documents.file.clone(), what: "document" });
        }
        Ok(documents_found)
    }

    /// The lines of a JSONL file, each an object with the field that holds the prompt.
    ///
    /// # Errors
    /// When a line lacks a field, or there is no line.
    pub fn lines(&self, prompts: &PromptFile) -> Result<Vec<Map<String, Value>>, InputError> {
        let file = &prompts.file;
        let wrong = |line, problem| InputError::Line { file: file.clone(), line, problem };
        let input = self.read(file)?;
        let mut lines = Vec::new();
        for line in json_lines::<Map<String, Value>>(file, &input.text, "a JSON object") {
            let (number, map) = line?;
            if !map.get(&prompts.field).is_some_and(Value::is_string) {
                return Err(wrong(number, LineProblem::NoPrompt(prompts.field.clone())));
            }
            if let Some(field) = &prompts.output_tokens_field
                && output_tokens(&map, field).is_none()
            {
                return Err(wrong(number, LineProblem::NoLength(field.clone())));
            }
            lines.push(map);
        }
        if lines.is_empty() {
            return Err(InputError::Empty { file: file.clone(), what: "prompt" });
        }
        Ok(lines)
    }

    /// The conversations of a file.
    ///
    /// # Errors
    /// When a line is not a conversation, or no conversation has a user's turn.
    pub fn conversations(&self, conversations: &ConversationFile) -> Result<&Conversations, InputError> {
        let file = &conversations.file;
        let input = self.read(file)?;
        input
            .conversations
            .get_or_init(|| Conversations::parse(file, &input.text))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// The arrivals of a trace, in order of time.
    ///
    /// # Errors
    /// When a line cannot be read, or there is none.
    pub fn trace(&self, trace: &Trace) -> Result<Arc<[TraceLine]>, InputError> {
        let file = &trace.file;
        let input = self.read(file)?;
        input.trace.get_or_init(|| TraceLine::parse(file, &input.text).map(Arc::from)).clone()
    }

    /// The most tokens that any request of a workload may generate; `None` when the workload does not limit
    /// it.
    pub fn longest_output(&self, spec: &Workload) -> Option<u32> {
        if let Some(length) = spec.output_tokens() {
            return Some(length.bounds().1);
        }
        match spec.source() {
            Ok(Source::Lines(file)) if file.output_tokens_field.is_some() => {
                let field = file.output_tokens_field.as_deref()?;
                let lines = self.lines(file).ok()?;
                lines.iter().filter_map(|line| output_tokens(line, field)).max()
            }
            Ok(Source::Trace(trace)) => {
                let lines = self.trace(trace).ok()?;
                lines.iter().filter_map(|line| line.output_tokens).max()
            }
            _ => spec.max_tokens,
        }
    }

    /// The number of distinct inputs of a workload: prompts, documents, or turns of conversations. `None` for
    /// generated prompts, which are different in every request.
    ///
    /// # Errors
    /// When the workload has no input, or a file cannot be read.
    pub fn count(&self, spec: &Workload) -> Result<Option<u64>, InputError> {
        let count = match spec.source()? {
            Source::Inline(prompts) => prompts.len(),
            Source::Lines(file) => self.lines(file)?.len(),
            Source::Documents(documents) => self.documents(documents)?.len(),
            Source::Conversations(file) => {
                let conversations = &self.conversations(file)?.kept;
                let turns = conversations.iter().map(|one| one.turns.len());
                turns.map(|turns| turns.min(file.turns.most())).sum()
            }
            Source::Synthetic(_) | Source::SharedPrefix(_) | Source::Trace(_) => return Ok(None),
        };
        Ok(Some(count as u64))
    }
}

/// The output length that a line of prompts sets, in tokens.
pub(crate) fn output_tokens(line: &Map<String, Value>, field: &str) -> Option<u32> {
    let tokens = line.get(field)?.as_u64()?;
    u32::try_from(tokens).ok().filter(|tokens| *tokens > 0)
}
