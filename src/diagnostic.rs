//! A mistake, where it stands, why it is one, and what to do next.

use std::{fmt, ops::Range, sync::Arc};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing has to change.
    Note,
    /// The run would work, and probably not say what was meant.
    Warning,
    /// The run cannot start.
    Error,
}

/// A text a finding can point into, with the name it is shown under.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The file as the person named it, or a pseudo name such as `--set`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A byte range of one [`Source`].
#[derive(Clone, Debug)]
pub struct Place {
    /// The text pointed into.
    pub source: Arc<Source>,
    /// The bytes meant.
    pub span: Range<usize>,
}

impl Place {
    /// The 1-based line the place begins on.
    pub fn line(&self) -> usize {
        let start = self.span.start.min(self.source.text.len());
        1 + self.source.text.as_bytes()[..start].iter().filter(|&&b| b == b'\n').count()
    }
}

impl fmt::Display for Place {
    /// `file:line`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source.name, self.line())
    }
}

/// One thing a person should know about what they wrote.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub title: String,
    /// Where it stands; absent when it stands nowhere in a text.
    pub place: Option<Place>,
    /// Words beside the caret.
    pub label: String,
    /// Other places that belong to it, each with its words.
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

    /// A mistake that keeps a run from starting.
    pub fn error(title: impl Into<String>) -> Self {
        Self::new(Severity::Error, title)
    }

    /// Something that works and probably does not mean what was meant.
    pub fn warning(title: impl Into<String>) -> Self {
        Self::new(Severity::Warning, title)
    }

    /// Something worth knowing.
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

/// Findings in the order they should be read, all of them at once.
#[derive(Clone, Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Adds one.
    pub fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Whether something keeps a run from starting.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many there are of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|f| f.severity == severity).count()
    }

    /// All findings as text, with the lines they point at; `colour` adds terminal styles.
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
