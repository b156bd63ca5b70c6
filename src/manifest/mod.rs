//! Reads manifests: TOML text to a [`Manifest`], and everything that is wrong with it as findings.
//!
//! Values keep their places in the text, and become typed once the plan has applied the axes.
//!
//! ```
//! use runner::manifest::{Manifest, Overrides};
//!
//! let folder = tempfile::tempdir()?;
//! let path = camino::Utf8Path::from_path(folder.path()).unwrap().join("day.toml");
//! std::fs::write(&path, "[experiment]\nname = 'day'\n[server]\nmodel = 'm'\nengine = 'sim'\n\
//!     [workload.chat]\nprompts = ['hi']\nrequests = 16\nmax_tokns = 64\n")?;
//! let (manifest, findings) = Manifest::load(&path, &Overrides::default());
//! assert!(manifest.is_none());
//! assert!(findings.render(false).contains("did you mean `max_tokens`?"));
//! # Ok::<(), std::io::Error>(())
//! ```

mod arrivals;
mod axis_path;
mod bounded;
mod catalogue;
mod conversation;
mod declaration;
mod error;
mod faults;
mod files;
mod grammar;
mod inputs;
mod json_lines;
mod length;
mod lookup;
mod path;
mod range;
mod read;
mod scrape;
mod source;
mod suggest;
mod sweep;
mod trace;
mod tree;

use camino::Utf8Path;
use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::diagnostic::{Finding, Findings, Place};
use grammar::Grammar;
use tree::{Entry, Node, Table};

pub use crate::flags::{Flag, Flags, scalar_text};
pub use arrivals::{Arrivals, Mean, Start, StopClimbing, ThinkTime, Trace};
pub use catalogue::{Catalogue, ExpertsSpec, GpuSpec, ModelSpec, Tflops, WeightType};
pub use conversation::{Conversation, Conversations};
pub use declaration::*;
pub use error::{InputError, LineProblem, ValueError};
pub use faults::{AnswerFault, AnswerFaults, Faults, Moment};
pub use grammar::schema;
pub use inputs::{Input, Inputs};
pub use length::{Distribution, Length, LengthError, Moments};
pub use read::{Overrides, SourceFile};
pub use scrape::ScrapeEvery;
pub use source::Source;
pub use trace::TraceLine;

pub(crate) use files::{config_of_model, expand_home};
pub(crate) use inputs::output_tokens;
pub(crate) use path::Path;
pub(crate) use read::{hex, sha256};
pub(crate) use suggest::nearest;
pub(crate) use sweep::{Column, Derived, Factor, Skip, Sweep};
pub(crate) use tree::set_value;

/// A manifest: base values, axes, and the content of the files it names.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Name, seed, repeats, order.
    pub experiment: Experiment,
    /// Label and price.
    pub hardware: Hardware,
    /// The manifest's own GPUs and models.
    pub catalogue: Catalogue,
    /// The content of the input files.
    pub inputs: Inputs,
    /// The files that the manifest was read from: itself, then its includes.
    pub files: Vec<SourceFile>,
    /// The text of the manifest itself.
    pub text: String,
    /// The server before axes.
    pub(crate) server: Value,
    /// The workloads before axes, in the order written.
    pub(crate) workloads: Vec<BaseWorkload>,
    /// The server axes.
    pub(crate) sweep: Sweep,
    /// The searches over servers, in the order written.
    pub(crate) searches: IndexMap<String, ServerSearch>,
    root: Node,
}

#[derive(Clone, Debug)]
pub(crate) struct BaseWorkload {
    pub(crate) name: String,
    pub(crate) value: Value,
    pub(crate) sweep: Sweep,
}

impl Manifest {
    /// Reads a manifest with its includes, overrides and input files, and reports all findings at once. There
    /// is no manifest when one of them is an error.
    pub fn load(path: &Utf8Path, overrides: &Overrides) -> (Option<Self>, Findings) {
        let mut findings = Findings::default();
        let manifest = read::read(path, overrides, &mut findings)
            .and_then(|reading| Self::build(path, reading, &mut findings));
        let manifest = manifest.filter(|_| !findings.has_errors());
        (manifest, findings)
    }

    fn build(path: &Utf8Path, reading: read::Reading, findings: &mut Findings) -> Option<Self> {
        // With syntax errors, a table that seems to be missing may be there.
        let broken = findings.has_errors();
        let grammar = Grammar::new();
        let whole = reading.root.clone();
        let mut root = reading.root;
        let workloads = root.get(&["workload"]).and_then(Node::table);
        let names: Vec<String> = workloads.into_iter().flat_map(|table| table.keys().cloned()).collect();
        let mut take = |path: &[&str]| Some(root.table_mut(path)?.shift_remove("sweep")?.node);
        let global = take(&[]);
        let sweeps: Vec<Option<Node>> = names.iter().map(|name| take(&["workload", name])).collect();
        grammar.check(&root, findings);
        let mut read = |node: Option<Node>, prefix: &[&str]| match node {
            Some(node) => sweep::read(&node, prefix, &grammar, &names, findings),
            None => Sweep::default(),
        };
        let sweep = read(global, &[]);
        let own: Vec<Sweep> =
            names.iter().zip(sweeps).map(|(name, node)| read(node, &["workload", name])).collect();
        for key in ["experiment", "server"] {
            match root.get(&[key]) {
                Some(node) => {
                    findings.extend(grammar.missing(node, &Path::of(&[key]), |path| sweep.sets_path(path)));
                }
                None if broken => {}
                None => findings.push(
                    Finding::error(format!("there is no [{key}] table"))
                        .at(&head(&root.place), "in this file")
                        .help(if key == "experiment" {
                            "[experiment]\nname = \"my-experiment\""
                        } else {
                            "[server]\nmodel = \"Qwen/Qwen2.5-1.5B-Instruct\""
                        }),
                ),
            }
        }
        let needs_none = root.get(&["search"]).and_then(Node::table).is_some_and(only_start_servers);
        if names.is_empty() && !broken && !needs_none {
            findings.push(
                Finding::error("there is no workload")
                    .at(&head(&root.place), "in this file")
                    .help("[workload.chat]\nprompts = [\"…\"]\nrequests = 16\nmax_tokens = 64"),
            );
        }
        check_names(&root, findings);
        if findings.has_errors() {
            return None;
        }
        let folder = path.parent().unwrap_or(Utf8Path::new("")).to_owned();
        let inputs = files::inputs(&root, &names, &sweep, &own, &folder, findings);
        let server = root.get(&["server"]).map(Node::to_value)?;
        files::models(&root, &sweep, findings);
        let mut workloads: Vec<BaseWorkload> = names
            .into_iter()
            .zip(own)
            .filter_map(|(name, sweep)| {
                let value = root.get(&["workload", &name])?.to_value();
                Some(BaseWorkload { name, value, sweep })
            })
            .collect();
        if workloads.is_empty() {
            // The cells of searches that only start servers belong to it.
            let value = Value::Object(Map::new());
            workloads.push(BaseWorkload { name: "start".to_owned(), value, sweep: Sweep::default() });
        }
        Some(Self {
            experiment: typed(&root, "experiment", findings)?,
            hardware: typed(&root, "hardware", findings)?,
            catalogue: typed(&root, "catalogue", findings)?,
            inputs,
            files: reading.files,
            text: reading.text,
            server,
            workloads,
            sweep,
            searches: typed(&root, "search", findings)?,
            root: whole,
        })
    }

    /// The place of the value at a path, or of the nearest table above it.
    pub(crate) fn place(&self, path: &[&str]) -> Place {
        (0..=path.len())
            .rev()
            .find_map(|depth| self.root.get(&path[..depth]))
            .map_or_else(|| self.root.place.clone(), |node| head(&node.place))
    }

    /// The manifest with includes, overrides and `--sim` applied, as TOML. Comments list the files it was
    /// read from.
    ///
    /// # Errors
    /// When a value cannot be written as TOML.
    pub fn effective(&self) -> Result<String, toml::ser::Error> {
        let mut out = String::from("# The manifest with includes and overrides applied. It was made of:\n");
        for file in &self.files {
            let name = file.path.file_name().unwrap_or("manifest");
            out.push_str(&format!("#   {name}  sha256 {}\n", file.sha256));
        }
        for (path, input) in &self.inputs.0 {
            out.push_str(&format!("#   {path}  sha256 {}\n", input.sha256));
        }
        out.push('\n');
        out.push_str(&toml::to_string(&self.root.to_value())?);
        Ok(out)
    }
}

/// The first line of a place, so that a caret does not mark a whole table.
fn head(place: &Place) -> Place {
    let text = &place.source.text;
    let start = place.span.start.min(text.len());
    let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    Place { source: place.source.clone(), span: start..end.min(place.span.end.max(start)) }
}

/// Whether searches send nothing, so that the manifest needs no workload.
fn only_start_servers(searches: &Table) -> bool {
    let is_start = |entry: &Entry| {
        let that = entry.node.get(&["that"]).map_or(Some("fits"), Node::text);
        that == Some("fits") && entry.node.get(&["axes"]).is_none()
    };
    !searches.is_empty() && searches.values().all(is_start)
}

/// Checks names, which become folder names and table cells.
fn check_names(root: &Node, findings: &mut Findings) {
    let harmless = |name: &str| {
        name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.len() <= 100
    };
    let hint = "use letters, digits, `-`, `_` and `.`, starting with a letter or a digit";
    if let Some(node) = root.get(&["experiment", "name"])
        && let Some(name) = node.text()
        && !harmless(name)
    {
        findings.push(
            Finding::error(format!("the experiment's name {name:?} cannot be the name of a folder"))
                .at(&node.place, "")
                .help(hint),
        );
    }
    for table in ["workload", "search"] {
        let entries = root.get(&[table]).and_then(Node::table).into_iter().flatten();
        for (name, entry) in entries.filter(|(name, _)| !harmless(name)) {
            findings.push(
                Finding::error(format!("the {table}'s name {name:?} cannot be part of the name of a folder"))
                    .at(&entry.key, "")
                    .help(hint),
            );
        }
    }
}

/// Converts a table, empty if there is none, to its type. After the schema check, only rules that the type
/// itself enforces can fail.
fn typed<T: DeserializeOwned>(root: &Node, key: &str, findings: &mut Findings) -> Option<T> {
    let node = root.get(&[key]);
    match serde_json::from_value(node.map_or_else(|| Value::Object(Map::new()), Node::to_value)) {
        Ok(value) => Some(value),
        Err(error) => {
            let place = head(&node.unwrap_or(root).place);
            findings.push(Finding::error(format!("[{key}]: {error}")).at(&place, ""));
            None
        }
    }
}
