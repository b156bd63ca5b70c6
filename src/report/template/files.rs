//! Template files: the built-in ones, and the user's own that replace or add to them.

use std::{fs, io, sync::Arc};

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
/// Files with the macros for findings, searches and charts.
pub(crate) const WORDS: [(&str, &str); 3] = [
    ("findings.md.j2", include_str!("../../../templates/findings.md.j2")),
    ("searches.j2", include_str!("../../../templates/searches.j2")),
    ("charts.j2", include_str!("../../../templates/charts.j2")),
];
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

    pub(super) fn built_in((name, text): (&str, &str)) -> Self {
        Self::new(name, &format!("built-in {name}"), text.into())
    }

    fn read(name: &str, path: &Utf8Path) -> Result<Self, Finding> {
        let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        Ok(Self::new(name, path.as_str(), text))
    }

    /// Its text.
    pub(crate) fn text(&self) -> &str {
        &self.source.text
    }
}

fn unreadable(path: &Utf8Path, error: &io::Error) -> Finding {
    Finding::error(format!("cannot read {path}: {error}"))
        .help("give a folder of *.md.j2 files, or leave the setting out to use the built-in notes")
}

/// Reads the user's own file of a name; `None` if there is none.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn own(folder: Option<&Utf8Path>, name: &str) -> Result<Option<Template>, Findings> {
    let path = folder.map(|folder| folder.join(name)).filter(|path| path.exists());
    Ok(path.map(|path| Template::read(name, &path)).transpose()?)
}

/// Returns the template of a comparison: the built-in one, or the user's own of its name.
///
/// # Errors
/// If the user's file cannot be read.
pub(crate) fn comparison(folder: Option<&Utf8Path>) -> Result<Template, Findings> {
    Ok(own(folder, COMPARISON.0)?.unwrap_or_else(|| Template::built_in(COMPARISON)))
}

/// Returns the built-in templates of a run's notes and the user's own, sorted by name, without that of a
/// comparison.
///
/// # Errors
/// If the folder or a file in it cannot be read.
pub(crate) fn sources(folder: Option<&Utf8Path>) -> Result<Vec<Template>, Findings> {
    let mut templates: Vec<Template> = NOTES.into_iter().map(Template::built_in).collect();
    let Some(folder) = folder else {
        return Ok(templates);
    };
    let others = || SHARED.into_iter().chain(WORDS).chain([COMPARISON]);
    let is_note = |name: &str| {
        name.ends_with(SUFFIX) && !name.starts_with('.') && others().all(|(other, _)| name != other)
    };
    let mut findings = Findings::default();
    for entry in folder.read_dir_utf8().map_err(|error| unreadable(folder, &error))? {
        let own = match entry {
            Ok(entry) if is_note(entry.file_name()) => Template::read(entry.file_name(), entry.path()),
            Ok(_) => continue,
            Err(error) => Err(unreadable(folder, &error)),
        };
        match own {
            Ok(own) => {
                templates.retain(|template| template.name != own.name);
                templates.push(own);
            }
            Err(finding) => findings.push(finding),
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
