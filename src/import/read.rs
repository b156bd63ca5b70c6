//! Imports files: recognizes the tool, reads its measurements, and builds a run.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    File, Options, aiperf, guidellm, json_field::JsonField, measurement::Measurement, run, table, vllm,
};
use crate::{
    diagnostic::{Finding, Findings},
    store::StoredRun,
};

/// Imports files as one run. Also returns findings about them that are not errors.
///
/// # Errors
/// When a file is not a result of a known tool; each error names its file, field and expected value.
pub fn import(files: &[File], options: &Options, now: Timestamp) -> Result<(StoredRun, Findings), Findings> {
    let mut findings = Findings::default();
    let mut rows = Vec::new();
    let mut clients: Vec<String> = Vec::new();
    for file in files {
        let (client, read) = of_file(file, options, &mut findings);
        rows.extend(read);
        if let Some(client) = client.filter(|client| !clients.contains(client)) {
            clients.push(client);
        }
    }
    if clients.len() > 1 {
        findings
            .push(Finding::error(format!("these files come from different tools: {}", clients.join(", "))).help(
            "import the files of each tool under a name of its own, and compare them with `runner compare`",
        ));
    }
    if rows.is_empty() && !findings.has_errors() {
        findings.push(Finding::error("these files contain nothing to import"));
    }
    if findings.has_errors() {
        return Err(findings);
    }
    let client = clients.into_iter().next().unwrap_or_else(|| "unknown".into());
    let run = run::build(rows, files, client, options, now).map_err(|finding| {
        let mut all = findings.clone();
        all.push(finding);
        all
    })?;
    Ok((run, findings))
}

/// The measurements of one file, and the tool that wrote it. Errors go to `findings`.
fn of_file(file: &File, options: &Options, findings: &mut Findings) -> (Option<String>, Vec<Measurement>) {
    if !file.text.trim_start().starts_with(['{', '[']) {
        let rows = table::rows(file, options, findings);
        return (Some(client_of_table(&file.text).to_owned()), rows);
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
        let field = JsonField::root(&file.name, value);
        let (who, read) = if vllm::is(value) {
            ("vllm bench serve".to_owned(), vllm::row(&field).map(|row| vec![row]))
        } else if guidellm::is(value) {
            (guidellm::client(&field), guidellm::rows(&field))
        } else if aiperf::is(value) {
            (aiperf::client(&field), aiperf::row(&field).map(|row| vec![row]))
        } else {
            findings.push(
                Finding::error(format!("{} is not a result that can be imported", file.name)).help(
                    "supported are tables (CSV), and JSON of `vllm bench serve` (with `output_throughput` and `completed`), \
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

/// Recognizes the tool that wrote a table by its header.
fn client_of_table(text: &str) -> &'static str {
    match text.lines().next() {
        Some(header) if header.contains("output_throughput") => "vllm bench serve",
        Some(header) if header.starts_with("cell,") => "runner",
        _ => "unknown",
    }
}

/// Parses a document, a list of documents, or one document per line.
fn documents(file: &File) -> Result<Vec<Value>, Finding> {
    match serde_json::from_str(&file.text) {
        Ok(Value::Array(items)) => Ok(items),
        Ok(value) => Ok(vec![value]),
        Err(whole) => {
            let lines = file.text.lines().filter(|line| !line.trim().is_empty());
            let each: Result<Vec<Value>, _> = lines.map(serde_json::from_str).collect();
            each.map_err(|_| Finding::error(format!("{} is not JSON: {whole}", file.name)))
        }
    }
}
