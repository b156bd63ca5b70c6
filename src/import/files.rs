//! Reads the files to import.

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};

use crate::diagnostic::{Finding, Findings};

/// A file and its text.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path as the user named it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Reads files. In folders it reads `summary.json`, or every `*.json` where there is none.
///
/// # Errors
/// When a file cannot be read, or a folder has no `*.json`.
pub fn files(paths: &[Utf8PathBuf]) -> Result<Vec<File>, Findings> {
    let mut findings = Findings::default();
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        find_files(path, &mut found, &mut findings);
        if found.len() == before && !findings.has_errors() {
            findings.push(
                Finding::error(format!("{path} and the folders in it contain no *.json"))
                    .help("name the file itself"),
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

fn find_files(folder: &Utf8Path, found: &mut Vec<Utf8PathBuf>, findings: &mut Findings) {
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
    // A sweep stores each result again in its summary.
    let summary = json.iter().find(|path| path.file_name() == Some("summary.json"));
    match summary {
        Some(summary) => found.push(summary.clone()),
        None => found.extend(json),
    }
    for folder in folders {
        find_files(&folder, found, findings);
    }
}
