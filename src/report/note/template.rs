//! Templates: the environment they are rendered in, their filters, and what is said when one has a mistake.

use std::{fs, ops::Range, sync::Arc};

use camino::Utf8Path;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, context,
    syntax::SyntaxConfig,
    value::{Serde, Value},
};

use super::filters;
use crate::{
    diagnostic::{Finding, Findings, Place, Source},
    manifest::nearest,
    report::{Note, escape, number},
};

const SUFFIX: &str = ".md.j2";
/// Under this name a template that replaces a built-in one can still include it.
const BUILT_IN: &str = "built-in/";
/// A template of this name is rendered once for each workload: `capacity.workload.md.j2` gives `capacity-chat.md`.
const PER_WORKLOAD: &str = ".workload.md.j2";
/// The notes of a run, in the order of their names.
const NOTES: [(&str, &str); 5] = [
    ("batch.md.j2", include_str!("../../../templates/batch.md.j2")),
    ("capacity.md.j2", include_str!("../../../templates/capacity.md.j2")),
    ("capacity.workload.md.j2", include_str!("../../../templates/capacity.workload.md.j2")),
    ("definitions.md.j2", include_str!("../../../templates/definitions.md.j2")),
    ("playbook.md.j2", include_str!("../../../templates/playbook.md.j2")),
];
/// What they share; no notes of their own.
const SHARED: [(&str, &str); 4] = [
    ("macros.md.j2", include_str!("../../../templates/macros.md.j2")),
    ("page.md.j2", include_str!("../../../templates/page.md.j2")),
    ("prediction.md.j2", include_str!("../../../templates/prediction.md.j2")),
    ("workload.md.j2", include_str!("../../../templates/workload.md.j2")),
];
/// Files that are no notes: their macros put findings and pictures into words.
const WORDS: [&str; 2] = ["findings.md.j2", "charts.j2"];
const COMPARISON: (&str, &str) = ("comparison.md.j2", include_str!("../../../templates/comparison.md.j2"));
/// Steps that one note may take: the built-in one takes a few thousand per cell. A loop without end is a mistake that says so.
const FUEL: u64 = 20_000_000;

/// A template's name and where its text is shown to come from.
pub(in crate::report) struct Template {
    name: String,
    source: Arc<Source>,
}

impl Template {
    pub(in crate::report) fn new(name: &str, shown: &str, text: String) -> Self {
        Self { name: name.into(), source: Arc::new(Source { name: shown.into(), text }) }
    }

    /// Its text.
    pub(in crate::report) fn text(&self) -> &str {
        &self.source.text
    }
}

/// The user's own file of a name; `None` where there is none.
///
/// # Errors
/// A file that cannot be read.
pub(in crate::report) fn own(folder: Option<&Utf8Path>, name: &str) -> Result<Option<Template>, Findings> {
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

/// The template of a comparison: the built-in one, or the user's own of its name.
pub(in crate::report) fn comparison(folder: Option<&Utf8Path>) -> Result<Template, Findings> {
    Ok(own(folder, COMPARISON.0)?
        .unwrap_or_else(|| Template::new(COMPARISON.0, "built-in comparison.md.j2", COMPARISON.1.into())))
}

/// The built-in templates of a run's notes and the user's own, sorted by name. That of a comparison is none of them.
pub(in crate::report) fn sources(folder: Option<&Utf8Path>) -> Result<Vec<Template>, Findings> {
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

/// Renders every template.
pub(in crate::report) fn render(
    templates: &[Template],
    values: &serde_json::Value,
) -> Result<Vec<Note>, Findings> {
    let mut environment = environment();
    let mut findings = Findings::default();
    for (name, text) in NOTES.into_iter().chain(SHARED) {
        if let Err(error) = environment.add_template_owned(format!("{BUILT_IN}{name}"), text) {
            findings.push(finding(&error, templates, values));
        }
    }
    for template in templates {
        if let Err(error) = environment.add_template(&template.name, &template.source.text) {
            findings.push(finding(&error, templates, values));
        }
    }
    let context = Value::from(Serde(values));
    let mut notes = Vec::new();
    for template in templates {
        // One that could not be added has its finding already.
        let Ok(compiled) = environment.get_template(&template.name) else {
            continue;
        };
        let file = template.name.trim_end_matches(".j2");
        let files: Vec<(String, Value)> = match template.name.strip_suffix(PER_WORKLOAD) {
            Some(stem) => each_workload(stem, values, &context),
            None => vec![(file.to_owned(), context.clone())],
        };
        for (file, context) in files {
            match compiled.render(context) {
                // One that has nothing to say of this run is no note.
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => notes.push(Note { file, text: tidy(&text) }),
                Err(error) => {
                    findings.push(finding(&error, templates, values));
                    break;
                }
            }
        }
    }
    if findings.has_errors() { Err(findings) } else { Ok(notes) }
}

/// Whether one of some templates uses `cells`, every cell of the run.
pub(in crate::report) fn need_cells(templates: &[Template]) -> bool {
    let is_built_in = |template: &&Template| template.source.name.starts_with("built-in ");
    templates
        .iter()
        .filter(|template| !is_built_in(template))
        .any(|template| template.text().contains("cells"))
}

/// The first page alone, as Markdown, by the built-in template: what `report.html` opens with.
///
/// # Errors
/// A mistake in it.
pub(in crate::report) fn first_page(values: &serde_json::Value) -> Result<String, Findings> {
    let text = "{% set shown_workloads = workloads %}{% set surface_table = surface %}{% include \"built-in/page.md.j2\" %}";
    let page = Template::new("page.md.j2", "built-in page.md.j2", text.into());
    let notes = render(&[page], values)?;
    Ok(notes.into_iter().map(|note| note.text).collect())
}

/// File and context of a note of every workload.
fn each_workload(stem: &str, values: &serde_json::Value, context: &Value) -> Vec<(String, Value)> {
    let workloads = values["workloads"].as_array();
    workloads
        .into_iter()
        .flatten()
        .map(|workload| {
            let file = workload["file"].as_str().unwrap_or_default();
            let workload = Value::from(Serde(workload));
            (format!("{stem}-{file}.md"), context! { workload, ..context.clone() })
        })
        .collect()
}

/// Never more than one blank line outside a fence, no blanks at the end of a line, one line break at the end of the
/// text: loops and conditions in a template need not care.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut fence: Option<&str> = None;
    let mut blank = true;
    for line in text.lines() {
        let line = line.trim_end();
        let ticks = &line[..line.len() - line.trim_start_matches('`').len()];
        if let Some(open) = fence {
            if ticks == open && line == ticks {
                fence = None;
            }
        } else {
            if ticks.len() >= 3 {
                fence = Some(ticks);
            } else if line.is_empty() && blank {
                continue;
            }
            blank = line.is_empty();
        }
        out.push_str(line);
        out.push('\n');
    }
    format!("{}\n", out.trim_end())
}

/// Strict about what does not exist, Markdown-safe about what does: every string is escaped when it is printed
/// unless a filter made it safe, and an absent value is a dash.
fn environment<'source>() -> Environment<'source> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    configure(&mut environment);
    // The formatter below does the escaping. This only tells macros and blocks that what they caught is escaped.
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("markdown".into()));
    environment.set_formatter(|out, _, value| {
        if value.is_undefined() {
            return Err(Error::from(ErrorKind::UndefinedError));
        }
        let text = match value.as_str() {
            _ if value.is_none() => number::ABSENT.to_owned(),
            Some(text) if !value.is_safe() => escape::markdown(text),
            _ => value.to_string(),
        };
        out.write_str(&text).map_err(Error::from)
    });
    environment
}

/// What every template of reports has: filters, syntax, and an end to loops without one.
pub(in crate::report) fn configure(environment: &mut Environment<'_>) {
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL));
    environment.set_syntax(
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().unwrap_or_default(),
    );
    filters::add(environment);
}

/// The error as a person reads it: where, why, and what could have been meant.
pub(in crate::report) fn finding(
    error: &Error,
    templates: &[Template],
    values: &serde_json::Value,
) -> Finding {
    // An include wraps the error that counts: the innermost one with a place in a template.
    let mut error = error;
    while let Some(inner) = std::error::Error::source(error).and_then(|inner| inner.downcast_ref::<Error>()) {
        if inner.name().is_none() {
            break;
        }
        error = inner;
    }
    let name = error.name().unwrap_or("the template").to_owned();
    let reason = error
        .detail()
        .map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    let Some(template) = templates.iter().find(|template| template.name == name) else {
        return Finding::error(format!("{name} cannot be rendered: {reason}"));
    };
    let text = &template.source.text;
    let span = error
        .range()
        .filter(|span| text.get(span.clone()).is_some_and(|part| !part.is_empty()))
        .map(|span| match error.kind() {
            ErrorKind::UndefinedError => before_filter(text, span),
            _ => span,
        })
        .or_else(|| error.line().map(|line| line_span(text, line)));
    let title = format!("the template {name} cannot be rendered");
    let mut finding = match &span {
        Some(span) => {
            Finding::error(title).at(&Place { source: template.source.clone(), span: span.clone() }, reason)
        }
        None => Finding::error(format!("{title}: {reason}")),
    };
    let expression = span.and_then(|span| text.get(span)).unwrap_or_default();
    for help in help(error.kind(), expression, values) {
        finding = finding.help(help);
    }
    finding
}

/// Where a filter got a value that does not exist the engine points at the filter; the mistake stands before it.
fn before_filter(text: &str, span: Range<usize>) -> Range<usize> {
    let Some(before) = text[..span.start].trim_end().strip_suffix('|').map(str::trim_end) else {
        return span;
    };
    if text[span.clone()].contains(|c: char| !c.is_alphanumeric() && c != '_') {
        return span;
    }
    let opened = before.rfind("{{").max(before.rfind("{%")).map(|at| at + 2);
    match opened {
        Some(opened) => {
            let inside = &before[opened..];
            opened + inside.len() - inside.trim_start_matches(['-', '+', ' ']).len()..before.len()
        }
        None => span,
    }
}

/// The bytes of a 1-based line, without what indents it.
fn line_span(text: &str, line: usize) -> Range<usize> {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let own = text[start.min(text.len())..].lines().next().unwrap_or_default();
    let indent = own.len() - own.trim_start().len();
    start + indent..start + own.trim_end().len().max(indent)
}

fn help(kind: ErrorKind, expression: &str, values: &serde_json::Value) -> Vec<String> {
    match kind {
        ErrorKind::UndefinedError => undefined_help(expression, values),
        ErrorKind::UnknownFilter => {
            let near = words(expression).into_iter().rev().find_map(|word| nearest(word, &filters::NAMES));
            let mut help: Vec<String> =
                near.map(|near| format!("did you mean `{near}`?")).into_iter().collect();
            help.push(format!("filters for notes: {}; and those of Jinja", filters::NAMES.join(", ")));
            help
        }
        ErrorKind::SyntaxError => {
            vec!["templates are Jinja's; templates/README.md shows one that works".into()]
        }
        _ => Vec::new(),
    }
}

/// Follows the path in the expression as far as it exists: what is at hand there, and what it resembles.
fn undefined_help(expression: &str, values: &serde_json::Value) -> Vec<String> {
    let mut known: Vec<&str> = keys(values);
    let mut place = "at hand".to_owned();
    let mut missing = None;
    let mut at = values;
    let mut path = Vec::new();
    for word in words(expression) {
        match at.get(word) {
            Some(inner) => {
                at = inner;
                path.push(word);
                known = keys(inner);
                place = format!("in `{}`", path.join("."));
            }
            None => {
                missing = Some(word);
                break;
            }
        }
    }
    let word = missing.unwrap_or(expression);
    let mut everywhere = Vec::new();
    all_keys(values, &mut everywhere);
    // The name may belong to a loop's variable: then it is a key somewhere below.
    let below = || {
        words(expression)
            .into_iter()
            .rev()
            .filter(|word| !filters::NAMES.contains(word) && !everywhere.contains(word))
            .find_map(|word| nearest(word, &everywhere))
    };
    let near = nearest(word, &known).or_else(below);
    let mut help: Vec<String> =
        near.filter(|near| *near != word).map(|near| format!("did you mean `{near}`?")).into_iter().collect();
    if !known.is_empty() {
        help.push(format!("names {place}: {}", known.join(", ")));
    }
    help.push("templates/README.md documents every value".into());
    help
}

fn keys(value: &serde_json::Value) -> Vec<&str> {
    value.as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn all_keys<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, inner) in map {
                if !found.contains(&key.as_str()) {
                    found.push(key);
                }
                all_keys(inner, found);
            }
        }
        // The elements of a list look alike: the first tells the names.
        serde_json::Value::Array(items) => {
            if let Some(first) = items.first() {
                all_keys(first, found);
            }
        }
        _ => {}
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect()
}
