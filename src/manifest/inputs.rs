//! The content of the files that a manifest names.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value};

use super::{
    arrivals::Trace,
    content::{ConversationFile, Source},
    conversation::Conversations,
    declaration::{Documents, PromptFile, Workload},
    trace::TraceLine,
};

/// Files of prompts, documents and conversations by their path as the manifest writes it. Read once, when the manifest
/// is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs(pub BTreeMap<Utf8PathBuf, Input>);

/// One file's content.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
    /// The text.
    pub text: Arc<str>,
    /// The text as conversations, once somebody asked: such files are large, and every cell asks.
    conversations: Arc<OnceLock<Result<Conversations, String>>>,
    /// The text as a trace, once somebody asked.
    trace: Arc<OnceLock<Result<Arc<[TraceLine]>, String>>>,
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

    fn read(&self, file: &Utf8Path) -> Result<&Input, String> {
        self.get(file).ok_or_else(|| format!("{file} was not read"))
    }

    /// The documents of a file, cut at its separator, trimmed; empty ones are none.
    pub fn documents(&self, documents: &Documents) -> Result<Vec<&str>, String> {
        let whole: &str = &self.read(&documents.file)?.text;
        let parts: Vec<&str> = match &documents.separator {
            Some(separator) => whole.split(separator.as_str()).collect(),
            None => vec![whole],
        };
        let documents_found: Vec<&str> =
            parts.into_iter().map(str::trim).filter(|text| !text.is_empty()).collect();
        if documents_found.is_empty() {
            return Err(format!("{} holds no document", documents.file));
        }
        Ok(documents_found)
    }

    /// The lines of a JSONL file, each an object with the field that holds the prompt.
    pub fn lines(&self, prompts: &PromptFile) -> Result<Vec<Map<String, Value>>, String> {
        let file = &prompts.file;
        let input = self.read(file)?;
        let mut lines = Vec::new();
        for (index, line) in input.text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let number = index + 1;
            let map: Map<String, Value> = serde_json::from_str(line)
                .map_err(|error| format!("{file}:{number} is not a JSON object: {error}"))?;
            if !map.get(&prompts.field).is_some_and(Value::is_string) {
                return Err(format!("{file}:{number} has no text field `{}`", prompts.field));
            }
            if let Some(field) = &prompts.output_tokens_field
                && output_tokens(&map, field).is_none()
            {
                return Err(format!(
                    "{file}:{number} has no number of tokens from 1 up in its field `{field}`"
                ));
            }
            lines.push(map);
        }
        if lines.is_empty() {
            return Err(format!("{file} holds no prompt"));
        }
        Ok(lines)
    }

    /// The conversations of a file.
    pub fn conversations(&self, conversations: &ConversationFile) -> Result<&Conversations, String> {
        let file = &conversations.file;
        let input = self.read(file)?;
        input
            .conversations
            .get_or_init(|| Conversations::parse(file, &input.text))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// The arrivals of a trace, ascending in time.
    ///
    /// # Errors
    /// A sentence that names the line which cannot be read.
    pub fn trace(&self, trace: &Trace) -> Result<Arc<[TraceLine]>, String> {
        let file = &trace.file;
        let input = self.read(file)?;
        input.trace.get_or_init(|| TraceLine::parse(file, &input.text).map(Arc::from)).clone()
    }

    /// The most tokens that any request of a workload may generate; `None` when nothing says it.
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

    /// How many distinct inputs a workload has: prompts, documents, or the turns of conversations that are asked. Made prompts have no such number: each request is its own.
    pub fn count(&self, spec: &Workload) -> Result<Option<u64>, String> {
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

/// The length of the answer that a line asks for.
pub(crate) fn output_tokens(line: &Map<String, Value>, field: &str) -> Option<u32> {
    let tokens = line.get(field)?.as_u64()?;
    u32::try_from(tokens).ok().filter(|tokens| *tokens > 0)
}
