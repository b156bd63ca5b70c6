//! Findings: errors, warnings and notes about a text, with the place they point at and the next step.
//!
//! ```
//! use std::sync::Arc;
//!
//! use runner::diagnostic::{Finding, Findings, Place, Source};
//!
//! let source = Arc::new(Source { name: "day.toml".into(), text: "seeed = 1\n".into() });
//! let place = Place { source, span: 0..5 };
//! let findings = Findings::from(
//!     Finding::error("unknown key `seeed`").at(&place, "unknown").help("did you mean `seed`?"),
//! );
//! assert!(findings.has_errors());
//! assert!(findings.render(false).contains("day.toml:1:1"));
//! ```

use std::{fmt, ops::Range, sync::Arc};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For information; nothing has to change.
    Note,
    /// The run would work, but probably not measure what was intended.
    Warning,
    /// The run cannot start.
    Error,
}

/// A text that findings point into, and the name it is shown under.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The file's path as it was given, or a name such as `--set` for text that is in no file.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A byte range of one [`Source`].
#[derive(Clone, Debug)]
pub struct Place {
    /// The text pointed into.
    pub source: Arc<Source>,
    /// The range, in bytes.
    pub span: Range<usize>,
}

impl Place {
    /// The line where the place begins, counted from 1.
    pub fn line(&self) -> usize {
        let start = self.span.start.min(self.source.text.len());
        1 + self.source.text.as_bytes()[..start].iter().filter(|&&b| b == b'\n').count()
    }
}

impl fmt::Display for Place {
    /// Writes `file:line`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source.name, self.line())
    }
}

/// One error, warning or note.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub title: String,
    /// The place it points at, if it is about a place in a text.
    pub place: Option<Place>,
    /// The text beside the caret.
    pub label: String,
    /// Further places, each with the text beside its caret.
    pub related: Vec<(Place, String)>,
    /// What to do next, one line each.
    pub help: Vec<String>,
}

impl Finding {
    fn new(severity: Severity, title: impl Into<String>) -> Self {
        Self {
            severity,
            title: title.into(),
            place: None,
            label: String::new(),
            related: Vec::new(),
            help: Vec::new(),
        }
    }

    /// Creates an error: the run cannot start.
    pub fn error(title: impl Into<String>) -> Self {
        Self::new(Severity::Error, title)
    }

    /// Creates a warning: the run would work, but probably not measure what was intended.
    pub fn warning(title: impl Into<String>) -> Self {
        Self::new(Severity::Warning, title)
    }

    /// Creates a note.
    pub fn note(title: impl Into<String>) -> Self {
        Self::new(Severity::Note, title)
    }

    /// Points at `place`, with `label` beside the caret.
    pub fn at(mut self, place: &Place, label: impl Into<String>) -> Self {
        self.place = Some(place.clone());
        self.label = label.into();
        self
    }

    /// Points at a second place.
    pub fn related(mut self, place: &Place, label: impl Into<String>) -> Self {
        self.related.push((place.clone(), label.into()));
        self
    }

    /// Adds a next step.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }
}

/// All findings about one input, in the order they should be read.
#[derive(Clone, Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Adds a finding.
    pub fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Whether at least one finding is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// The number of findings of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|f| f.severity == severity).count()
    }

    /// Renders all findings as text, with the lines they point at. `colour` adds terminal styles.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for finding in &self.0 {
            out.push_str(&renderer.render(&report(finding)));
            out.push_str("\n\n");
        }
        out
    }
}

impl Extend<Finding> for Findings {
    fn extend<T: IntoIterator<Item = Finding>>(&mut self, iter: T) {
        self.0.extend(iter);
    }
}

impl From<Finding> for Findings {
    fn from(finding: Finding) -> Self {
        Self(vec![finding])
    }
}

fn report(finding: &Finding) -> Vec<annotate_snippets::Group<'_>> {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut group = level
        .primary_title(&finding.title)
        .elements(finding.place.iter().map(|place| snippet(place, AnnotationKind::Primary, &finding.label)));
    for (place, label) in &finding.related {
        group = group.element(snippet(place, AnnotationKind::Context, label));
    }
    for help in &finding.help {
        group = group.element(Level::HELP.message(help));
    }
    vec![group]
}

fn snippet<'a>(
    place: &'a Place,
    kind: AnnotationKind,
    label: &'a str,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let text = &place.source.text;
    let end = place.span.end.min(text.len());
    let start = place.span.start.min(end);
    let annotation = kind.span(start..end);
    Snippet::source(text.as_str()).path(place.source.name.as_str()).annotation(if label.is_empty() {
        annotation
    } else {
        annotation.label(label)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_file_line_caret_reason_and_next_step() {
        let source =
            Arc::new(Source { name: "day.toml".into(), text: "[experiment]\nnmae = \"x\"\n".into() });
        let place = Place { source, span: 13..17 };
        let findings = Findings::from(
            Finding::error("unknown key `nmae`")
                .at(&place, "not a key of [experiment]")
                .help("did you mean `name`?"),
        );
        let text = findings.render(false);
        assert!(text.contains("error: unknown key `nmae`"), "{text}");
        assert!(text.contains("day.toml:2:1"), "{text}");
        assert!(text.contains("^^^^ not a key of [experiment]"), "{text}");
        assert!(text.contains("help: did you mean `name`?"), "{text}");
        assert_eq!(place.line(), 2);
    }
}
