//! Reads a manifest with its includes, `--set` and `--sim` into one tree.

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use indexmap::IndexMap;
use sha2::{Digest, Sha256};

use super::{
    bounded,
    path::Path,
    tree::{self, Entry, Item, Node, Table},
};
use crate::{
    diagnostic::{Finding, Findings, Place, Source},
    flags,
};

/// Changes to a manifest from the command line.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `path=value` pairs; the value is TOML, else a string.
    pub set: Vec<String>,
    /// Whether the embedded engine replaces the declared one.
    pub sim: bool,
    /// The GPU that the embedded engine simulates, with `sim`.
    pub gpu: Option<String>,
}

/// A file that a manifest was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, relative to the working directory unless absolute.
    pub path: Utf8PathBuf,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

pub(crate) struct Reading {
    pub(crate) root: Node,
    pub(crate) files: Vec<SourceFile>,
    /// The bytes of the manifest itself.
    pub(crate) text: String,
}

pub(crate) fn read(path: &Utf8Path, overrides: &Overrides, findings: &mut Findings) -> Option<Reading> {
    let mut files = Vec::new();
    let mut chain = Vec::new();
    let (mut root, text) = file(path, None, &mut chain, &mut files, findings)?;
    for pair in &overrides.set {
        set(&mut root, pair, findings);
    }
    if overrides.sim {
        set(&mut root, "server.engine=\"sim\"", findings);
        if let Some(server) = root.table_mut(&["server"]) {
            server.shift_remove("command");
            server.shift_remove("launch");
        }
        if let Some(gpu) = &overrides.gpu {
            set(&mut root, &format!("server.sim.gpu={gpu:?}"), findings);
        }
    }
    Some(Reading { root, files, text })
}

fn file(
    path: &Utf8Path,
    included_at: Option<&Place>,
    chain: &mut Vec<Utf8PathBuf>,
    files: &mut Vec<SourceFile>,
    findings: &mut Findings,
) -> Option<(Node, String)> {
    let point = |finding: Finding| match included_at {
        Some(place) => finding.at(place, "included here"),
        None => finding,
    };
    let identity = path.canonicalize_utf8().unwrap_or_else(|_| path.to_owned());
    if chain.contains(&identity) {
        findings.push(point(
            Finding::error(format!("{path} includes itself")).help("remove one of the includes"),
        ));
        return None;
    }
    let bytes = match bounded::read(path, bounded::LONGEST_MANIFEST) {
        Ok(bytes) => bytes,
        Err(error) => {
            findings.push(point(
                Finding::error(format!("cannot read {path}: {error}"))
                    .help("check the path; `runner init` writes a manifest to start from"),
            ));
            return None;
        }
    };
    files.push(SourceFile { path: path.to_owned(), sha256: sha256(&bytes) });
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
                .iter()
                .filter(|&&b| b == b'\n')
                .count();
            findings.push(point(
                Finding::error(format!("{path}:{line} is not UTF-8")).help("save the file as UTF-8"),
            ));
            return None;
        }
    };
    let source = Arc::new(Source { name: path.to_string(), text: text.clone() });
    let mut root = tree::parse(&source, findings);
    canonical_flags(&mut root, findings);
    let includes = includes(&mut root, findings);
    if includes.is_empty() {
        return Some((root, text));
    }
    chain.push(identity);
    let folder = path.parent().unwrap_or(Utf8Path::new(""));
    let mut base: Option<Node> = None;
    for (name, place) in includes {
        if let Some((node, _)) = file(&folder.join(name), Some(&place), chain, files, findings) {
            match &mut base {
                Some(below) => below.overlay(node),
                None => base = Some(node),
            }
        }
    }
    chain.pop();
    match base {
        Some(mut below) => {
            below.overlay(root);
            Some((below, text))
        }
        None => Some((root, text)),
    }
}

/// Removes `include` from a tree and returns its paths.
fn includes(root: &mut Node, findings: &mut Findings) -> Vec<(String, Place)> {
    let Some(entry) = root.table_mut(&[]).and_then(|table| table.shift_remove("include")) else {
        return Vec::new();
    };
    let items = entry.node.array().unwrap_or(std::slice::from_ref(&entry.node));
    items
        .iter()
        .filter_map(|item| match item.text() {
            Some(name) => Some((name.to_owned(), item.place.clone())),
            None => {
                findings.push(
                    Finding::error(format!("`include` holds {}", item.kind()))
                        .at(&item.place, "expected the path of a manifest"),
                );
                None
            }
        })
        .collect()
}

/// Gives every server flag its canonical name, so that includes and overrides merge. A flag that is set twice
/// is an error.
fn canonical_flags(root: &mut Node, findings: &mut Findings) {
    let Some(flags) = root.table_mut(&["server", "flags"]) else {
        return;
    };
    let mut renamed: Table = IndexMap::new();
    for (name, entry) in std::mem::take(flags) {
        let canonical = flags::canonical(&name);
        if let Some(first) = renamed.get(&canonical) {
            findings.push(
                Finding::error(format!("the flag `{canonical}` is set twice"))
                    .at(&entry.key, "again: `_` and `-` are the same")
                    .related(&first.key, "first")
                    .help("remove one"),
            );
            continue;
        }
        renamed.insert(canonical, entry);
    }
    *flags = renamed;
}

fn set(root: &mut Node, pair: &str, findings: &mut Findings) {
    let source = Arc::new(Source { name: "--set".into(), text: pair.to_owned() });
    let whole = Place { source: source.clone(), span: 0..pair.len() };
    let Some((key, value)) = pair.split_once('=') else {
        findings.push(
            Finding::error("`--set` needs a path and a value")
                .at(&whole, "no `=` in it")
                .help("--set server.flags.max-num-seqs=64"),
        );
        return;
    };
    let path = match Path::parse(key.trim()) {
        Ok(path) => path,
        Err(error) => {
            findings.push(Finding::error(error.to_string()).at(&whole, "this path"));
            return;
        }
    };
    // A value that is not TOML is a string, so that no second layer of quotes is needed in a shell.
    let mut unread = Findings::default();
    let document = Arc::new(Source { name: "--set".into(), text: format!("v = {value}") });
    let mut parsed = tree::parse(&document, &mut unread);
    let table = parsed.table_mut(&[]).filter(|table| !unread.has_errors() && table.len() == 1);
    let item = table
        .and_then(|table| table.shift_remove("v"))
        .map_or_else(|| Item::Scalar(value.trim().into()), |entry| entry.node.item);
    let mut node = Node { item, place: whole.clone() };
    point_at(&mut node, &whole);
    for key in path.0.into_iter().rev() {
        let entry = Entry { key: whole.clone(), node };
        node = Node { item: Item::Table(IndexMap::from([(key, entry)])), place: whole.clone() };
    }
    canonical_flags(&mut node, findings);
    let place = root.place.clone();
    root.overlay(node);
    root.place = place;
}

/// Makes all places inside a `--set` value point at the whole argument.
fn point_at(node: &mut Node, place: &Place) {
    node.place = place.clone();
    match &mut node.item {
        Item::Array(items) => items.iter_mut().for_each(|item| point_at(item, place)),
        Item::Table(table) => {
            for entry in table.values_mut() {
                entry.key = place.clone();
                point_at(&mut entry.node, place);
            }
        }
        Item::Scalar(_) => {}
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of bytes, in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
