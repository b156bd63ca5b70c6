//! Template files: the built-in ones, and the user's own that replace or add to them.

use std::{fs, sync::Arc};

use camino::Utf8Path;

use crate::diagnostic::{Finding, Findings, Source};

/// The ending of the templates of notes.
const SUFFIX: &str = ".md.j2";
/// Prefix under which a template that replaces a built-in one can still include it.
pub(super) const BUILT_IN: &str = "built-in/";
/// The ending of templates that are rendered once for each workload: `capacity.workload.md.j2` gives
/// `capacity-chat.md`.
pub(super) const PER_WORKLOAD: &str = ".workload.md.j2";
/// The notes of a run, by name.
pub(super) const NOTES: [(&str, &str); 5] = [
    ("batch.md.j2", include_str!("../../../templates/batch.md.j2")),
    ("capacity.md.j2", include_str!("../../../templates/capacity.md.j2")),
    ("capacity.workload.md.j2", include_str!("../../../templates/capacity.workload.md.j2")),
    ("definitions.md.j2", include_str!("../../../templates/definitions.md.j2")),
    ("playbook.md.j2", include_str!("../../../templates/playbook.md.j2")),
];
/// Templates that notes include.
pub(super) const SHARED: [(&str, &str); 4] = [
    ("macros.md.j2", include_str!("../../../templates/macros.md.j2")),
    ("page.md.j2", include_str!("../../../templates/page.md.j2")),
    ("prediction.md.j2", include_str!("../../../templates/prediction.md.j2")),
    ("workload.md.j2", include_str!("../../../templates/workload.md.j2")),
];
/// Files with the macros for findings and charts.
const WORDS: [&str; 2] = ["findings.md.j2", "charts.j2"];
const COMPARISON: (&str, &str) = ("comparison.md.j2", include_str!("../../../templates/comparison.md.j2"));
/// A template with its name and text, and the path that error messages show.
pub(crate) struct Template {
    pub(super) name: String,
    pub(super) source: Arc<Source>,
}

impl Template {
    pub(crate) fn new(name: &str, shown: &str, text: String) -> Self {
        Self { name: name.into(), source: Arc::new(Source { name: shown.into(), text }) }
    }

    /// Its text.
    pub(crate) fn text(&self) -> &str {
        &self.source.text
    }
}

/// Reads the user's own file of a name; `None` if there is none.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn own(folder: Option<&Utf8Path>, name: &str) -> Result<Option<Template>, Findings> {
    let path = folder.map(|folder| folder.join(name));
    let Some(path) = path.filter(|path| path.exists()) else {
        return Ok(None);
    };
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Template::new(name, path.as_str(), text))),
        Err(error) => {
            let finding = Finding::error(format!("cannot read {path}: {error}"));
            Err(Findings::from(finding))
        }
    }
}

/// Returns the template of a comparison: the built-in one, or the user's own of its name.
///
/// # Errors
/// If the user's file cannot be read.
pub(crate) fn comparison(folder: Option<&Utf8Path>) -> Result<Template, Findings> {
    Ok(own(folder, COMPARISON.0)?
        .unwrap_or_else(|| Template::new(COMPARISON.0, "built-in comparison.md.j2", COMPARISON.1.into())))
}

/// Returns the built-in templates of a run's notes and the user's own, sorted by name, without that of a
/// comparison.
///
/// # Errors
/// If the folder or a file in it cannot be read.
pub(crate) fn sources(folder: Option<&Utf8Path>) -> Result<Vec<Template>, Findings> {
    let built_in =
        |(name, text): (&str, &str)| Template::new(name, &format!("built-in {name}"), text.to_owned());
    let mut templates: Vec<Template> = NOTES.into_iter().map(built_in).collect();
    let Some(folder) = folder else {
        return Ok(templates);
    };
    let unread = |what: &Utf8Path, error: &std::io::Error| {
        Finding::error(format!("cannot read {what}: {error}"))
            .help("give a folder of *.md.j2 files, or leave the setting out to use the built-in notes")
    };
    let mut findings = Findings::default();
    let entries = folder.read_dir_utf8().map_err(|error| Findings::from(unread(folder, &error)))?;
    for entry in entries {
        let path = match entry {
            Ok(entry) => entry.into_path(),
            Err(error) => {
                findings.push(unread(folder, &error));
                continue;
            }
        };
        let Some(name) = path.file_name().filter(|name| {
            name.ends_with(SUFFIX)
                && !name.starts_with('.')
                && *name != COMPARISON.0
                && SHARED.iter().all(|(shared, _)| name != shared)
                && !WORDS.contains(name)
        }) else {
            continue;
        };
        match fs::read_to_string(&path) {
            Ok(text) => {
                templates.retain(|template| template.name != name);
                templates.push(Template::new(name, path.as_str(), text));
            }
            Err(error) => findings.push(unread(&path, &error)),
        }
    }
    templates.sort_by(|a, b| a.name.cmp(&b.name));
    if findings.has_errors() { Err(findings) } else { Ok(templates) }
}

/// Whether a template of the user mentions `cells`, the list of every cell.
pub(crate) fn need_cells(templates: &[Template]) -> bool {
    let is_built_in = |template: &&Template| template.source.name.starts_with("built-in ");
    templates
        .iter()
        .filter(|template| !is_built_in(template))
        .any(|template| template.text().contains("cells"))
}
