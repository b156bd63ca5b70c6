//! The content of the files that a manifest names.

use std::{collections::BTreeMap, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value};

use super::declaration::{Documents, PromptFile, Prompts, Workload};

/// Prompt and document files by their path as the manifest writes it. Read once, when the manifest is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs(pub BTreeMap<Utf8PathBuf, Input>);

/// One file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
    /// The text.
    pub text: Arc<str>,
}

impl Inputs {
    /// The content of a file the manifest names.
    pub fn get(&self, path: &Utf8Path) -> Option<&Input> {
        self.0.get(path)
    }

    /// The documents of a file, cut at its separator, trimmed; empty ones are none.
    pub fn documents(&self, documents: &Documents) -> Result<Vec<&str>, String> {
        let input = self
            .get(&documents.file)
            .ok_or_else(|| format!("{} was not read", documents.file))?;
        let whole: &str = &input.text;
        let parts: Vec<&str> = match &documents.separator {
            Some(separator) => whole.split(separator.as_str()).collect(),
            None => vec![whole],
        };
        let documents_found: Vec<&str> = parts
            .into_iter()
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .collect();
        if documents_found.is_empty() {
            return Err(format!("{} holds no document", documents.file));
        }
        Ok(documents_found)
    }

    /// The lines of a JSONL file, each an object with the field that holds the prompt.
    pub fn lines(&self, prompts: &PromptFile) -> Result<Vec<Map<String, Value>>, String> {
        let file = &prompts.file;
        let input = self
            .get(file)
            .ok_or_else(|| format!("{file} was not read"))?;
        let mut lines = Vec::new();
        for (index, line) in input.text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let number = index + 1;
            let map: Map<String, Value> = serde_json::from_str(line)
                .map_err(|error| format!("{file}:{number} is not a JSON object: {error}"))?;
            if !map.get(&prompts.field).is_some_and(Value::is_string) {
                return Err(format!(
                    "{file}:{number} has no text field `{}`",
                    prompts.field
                ));
            }
            lines.push(map);
        }
        if lines.is_empty() {
            return Err(format!("{file} holds no prompt"));
        }
        Ok(lines)
    }

    /// How many distinct inputs a workload has.
    pub fn count(&self, spec: &Workload) -> Result<u64, String> {
        let count = match (&spec.prompts, &spec.documents) {
            (Some(Prompts::Inline(prompts)), None) => prompts.len(),
            (Some(Prompts::File(file)), None) => self.lines(file)?.len(),
            (None, Some(documents)) => self.documents(documents)?.len(),
            (None, None) => return Err("there are no prompts and no documents".into()),
            (Some(_), Some(_)) => {
                return Err("there are prompts and documents; one of them is enough".into());
            }
        };
        Ok(count as u64)
    }
}
