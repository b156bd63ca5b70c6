//! What other tools measured → a [`StoredRun`] to compare with and to render notes from.
//!
//! Read are tables (the journal this tool grew from, any CSV with its column names), results of `vllm bench serve` and
//! `vllm bench sweep serve`, GuideLLM's reports and AIPerf's summaries. What a file does not say stays absent; what it says
//! without samples is kept as it is reported, and everything is marked as imported.

mod aiperf;
mod field;
mod guidellm;
mod judge;
mod row;
mod run;
mod table;
#[cfg(test)]
mod tests;
mod vllm;

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    diagnostic::{Finding, Findings},
    manifest::{Objective, Slo},
    store::StoredRun,
};
use field::Field;
use row::Row;

/// What whoever imports says beside the files.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// What the run is called.
    pub name: String,
    /// What the workload is called, where a file does not say.
    pub workload: String,
    /// What the machine is called; of a file with several machines, the one that is taken.
    pub gpu: Option<String>,
    /// Its price.
    pub usd_per_hour: Option<f64>,
    /// The model, where a file does not say.
    pub model: Option<String>,
    /// How many requests each number rests on, where a file does not say.
    pub requests: Option<u64>,
    /// Latency targets to rank by.
    pub slo: Slo,
    /// What the workload wants most.
    pub objective: Objective,
    /// Columns of a table that are axes of the server. A column that is missing is an error.
    pub axes: Vec<String>,
    /// Columns of a table that are axes of the server if the table has them.
    pub optional_axes: Vec<String>,
    /// What is to be known of the numbers, a sentence each.
    pub caveats: Vec<String>,
    /// The command line.
    pub command: Vec<String>,
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path, as it is shown.
    pub name: String,
    /// Its whole text.
    pub text: String,
}

/// Reads files, and in folders every file that may be a result: `summary.json`, else every other `*.json`.
///
/// # Errors
///
/// Everything that cannot be read, and folders without a file that may be a result.
pub fn files(paths: &[Utf8PathBuf]) -> Result<Vec<File>, Findings> {
    let mut findings = Findings::default();
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        walk(path, &mut found, &mut findings);
        if found.len() == before && !findings.has_errors() {
            findings.push(
                Finding::error(format!("{path} holds no *.json, in no folder below it"))
                    .help("give the file itself"),
            );
        }
    }
    let read = |path: &Utf8PathBuf| match fs::read_to_string(path) {
        Ok(text) => Ok(File { name: path.to_string(), text }),
        Err(error) => Err(Finding::error(format!("cannot read {path}: {error}"))),
    };
    let mut files = Vec::new();
    for path in &found {
        match read(path) {
            Ok(file) => files.push(file),
            Err(finding) => findings.push(finding),
        }
    }
    if findings.has_errors() { Err(findings) } else { Ok(files) }
}

fn walk(folder: &Utf8Path, found: &mut Vec<Utf8PathBuf>, findings: &mut Findings) {
    let entries = match folder.read_dir_utf8() {
        Ok(entries) => entries,
        Err(error) => {
            findings.push(Finding::error(format!("cannot read {folder}: {error}")));
            return;
        }
    };
    let mut paths: Vec<Utf8PathBuf> = entries.flatten().map(|entry| entry.into_path()).collect();
    paths.sort();
    let (folders, files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
    let json: Vec<Utf8PathBuf> = files.into_iter().filter(|path| path.extension() == Some("json")).collect();
    // A sweep keeps each run beside the list of them: once is enough.
    let summary = json.iter().find(|path| path.file_name() == Some("summary.json"));
    match summary {
        Some(summary) => found.push(summary.clone()),
        None => found.extend(json),
    }
    for folder in folders {
        walk(&folder, found, findings);
    }
}

/// Turns files into a run, with what is worth saying of them.
///
/// # Errors
///
/// Every mistake at once, each with its file, its field and what is expected there.
pub fn import(files: &[File], told: &Told, now: Timestamp) -> Result<(StoredRun, Findings), Findings> {
    let mut findings = Findings::default();
    let mut rows = Vec::new();
    let mut clients: Vec<String> = Vec::new();
    for file in files {
        let (client, read) = of_file(file, told, &mut findings);
        rows.extend(read);
        if let Some(client) = client.filter(|client| !clients.contains(client)) {
            clients.push(client);
        }
    }
    if clients.len() > 1 {
        findings
            .push(Finding::error(format!("these files are of different tools: {}", clients.join(", "))).help(
            "import those of each tool under a name of their own; `runner compare` lays them side by side",
        ));
    }
    if rows.is_empty() && !findings.has_errors() {
        findings.push(Finding::error("there is nothing in these files to import"));
    }
    if findings.has_errors() {
        return Err(findings);
    }
    let client = clients.into_iter().next().unwrap_or_else(|| "unknown".into());
    let run = run::build(rows, files, client, told, now).map_err(|finding| {
        let mut all = findings.clone();
        all.push(finding);
        all
    })?;
    Ok((run, findings))
}

/// The rows of one file, and which tool wrote it. Mistakes go to `findings`.
fn of_file(file: &File, told: &Told, findings: &mut Findings) -> (Option<String>, Vec<Row>) {
    if !file.text.trim_start().starts_with(['{', '[']) {
        let rows = table::rows(file, told, findings);
        return (Some(told_by_table(&file.text).to_owned()), rows);
    }
    let documents = match documents(file) {
        Ok(documents) => documents,
        Err(finding) => {
            findings.push(finding);
            return (None, Vec::new());
        }
    };
    let mut client = None;
    let mut rows = Vec::new();
    for value in &documents {
        let field = Field::root(&file.name, value);
        let (who, read) = if vllm::is(value) {
            ("vllm bench serve".to_owned(), vllm::row(&field).map(|row| vec![row]))
        } else if guidellm::is(value) {
            (guidellm::client(&field), guidellm::rows(&field))
        } else if aiperf::is(value) {
            (aiperf::client(&field), aiperf::row(&field).map(|row| vec![row]))
        } else {
            findings.push(
                Finding::error(format!("{} is no result that can be imported", file.name)).help(
                    "expected is a table (CSV), or JSON of `vllm bench serve` (with `output_throughput` and `completed`), \
                     of GuideLLM (with `benchmarks[].metrics`) or of AIPerf (with `input_config` and `request_latency`)",
                ),
            );
            return (None, Vec::new());
        };
        client = Some(who);
        match read {
            Ok(read) => rows.extend(read),
            Err(finding) => findings.push(finding),
        }
    }
    (client, rows)
}

fn told_by_table(text: &str) -> &'static str {
    match text.lines().next() {
        Some(header) if header.contains("output_throughput") => "vllm bench serve",
        Some(header) if header.starts_with("cell,") => "runner",
        _ => "unknown",
    }
}

/// One document, a list of them, or one on each line.
fn documents(file: &File) -> Result<Vec<Value>, Finding> {
    match serde_json::from_str(&file.text) {
        Ok(Value::Array(items)) => Ok(items),
        Ok(value) => Ok(vec![value]),
        Err(whole) => {
            let lines = file.text.lines().filter(|line| !line.trim().is_empty());
            let each: Result<Vec<Value>, _> = lines.map(serde_json::from_str).collect();
            each.map_err(|_| Finding::error(format!("{} is no JSON: {whole}", file.name)))
        }
    }
}
