//! Renders templates to Markdown.

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, context,
    syntax::SyntaxConfig,
    value::{Serde, Value},
};

use super::{
    files::{BUILT_IN, NOTES, PER_WORKLOAD, SHARED, Template},
    filters,
    mistake::explain,
};
use crate::{
    diagnostic::Findings,
    report::{escape, number},
};

/// The most steps of rendering one note; the built-in ones take a few thousand per cell. An endless loop
/// becomes an error.
const FUEL: u64 = 20_000_000;

/// A rendered note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its file name under `notes/`: `capacity.md`.
    pub file: String,
    /// Its Markdown, ending with one line break.
    pub text: String,
}

/// Renders every template that has something to say.
///
/// # Errors
/// Every mistake in the templates.
pub(crate) fn render(templates: &[Template], values: &serde_json::Value) -> Result<Vec<Note>, Findings> {
    let mut environment = environment();
    let mut findings = Findings::default();
    for (name, text) in NOTES.into_iter().chain(SHARED) {
        if let Err(error) = environment.add_template_owned(format!("{BUILT_IN}{name}"), text) {
            findings.push(explain(&error, templates, values));
        }
    }
    for template in templates {
        if let Err(error) = environment.add_template(&template.name, &template.source.text) {
            findings.push(explain(&error, templates, values));
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
                // A template without text for this run gives no note.
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => notes.push(Note { file, text: tidy(&text) }),
                Err(error) => {
                    findings.push(explain(&error, templates, values));
                    break;
                }
            }
        }
    }
    if findings.has_errors() { Err(findings) } else { Ok(notes) }
}

/// Renders the first page, which opens `report.html`, by the built-in template.
///
/// # Errors
/// If a value is missing.
pub(crate) fn first_page(values: &serde_json::Value) -> Result<String, Findings> {
    let text = "{% set shown_workloads = workloads %}{% set surface_table = surface %}{% include \"built-in/page.md.j2\" %}";
    let notes = render(&[Template::built_in(("page.md.j2", text))], values)?;
    Ok(notes.into_iter().map(|note| note.text).collect())
}

/// File name and values of the note of each workload.
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

/// Removes repeated blank lines outside fences, trailing blanks, and line breaks at the end, so that loops
/// and conditions in templates need not care.
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

/// The environment of notes: undefined values are errors, an absent value prints as a dash, and strings are
/// escaped for Markdown unless a filter made them safe.
fn environment<'source>() -> Environment<'source> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    configure(&mut environment);
    // The formatter below escapes. This only marks the output of macros and blocks as escaped.
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

/// Sets what all templates share: filters, syntax, and a limit on loops.
pub(crate) fn configure(environment: &mut Environment<'_>) {
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL));
    environment.set_syntax(
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().unwrap_or_default(),
    );
    filters::add(environment);
}
