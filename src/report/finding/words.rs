//! Findings and pictures → words, by the macros of `templates/findings.md.j2` and `templates/charts.j2`, or
//! those of the user's own files of these names.

use camino::Utf8Path;
use minijinja::{AutoEscape, Captured, Environment, UndefinedBehavior, Value};

use super::Finding;
use crate::{
    diagnostic::Findings,
    report::{
        model::Model,
        note::template::{self, Template},
    },
};

/// The macros, compiled.
pub(in crate::report) struct Words {
    environment: Environment<'static>,
    /// Names of the files in the environment, in the order in which a macro is looked for.
    files: Vec<String>,
    /// The user's own files, for messages.
    own: Vec<Template>,
}

/// The files with macros.
const FILES: [(&str, &str); 2] = [
    ("findings.md.j2", include_str!("../../../templates/findings.md.j2")),
    ("charts.j2", include_str!("../../../templates/charts.j2")),
];

impl Words {
    /// The built-in macros, and those of the files of the same names in a folder: a macro there takes the
    /// place of the built-in one of its name.
    ///
    /// # Errors
    /// A file that cannot be read, or is no Jinja.
    pub(in crate::report) fn new(folder: Option<&Utf8Path>) -> Result<Self, Findings> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // Sentences are plain text: whoever prints one escapes it for its place.
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        template::configure(&mut environment);
        let mut words = Self { environment, files: Vec::new(), own: Vec::new() };
        for (name, text) in FILES {
            if let Some(own) = template::own(folder, name)? {
                let text = own.text().to_owned();
                words.own.push(own);
                words.add(name.to_owned(), text)?;
            }
            words.add(format!("built-in/{name}"), text.to_owned())?;
        }
        Ok(words)
    }

    fn add(&mut self, name: String, text: String) -> Result<(), Findings> {
        let added = self.environment.add_template_owned(name.clone(), text);
        added.map_err(|error| self.failed(&error))?;
        self.files.push(name);
        Ok(())
    }

    fn failed(&self, error: &minijinja::Error) -> Findings {
        Findings::from(template::finding(error, &self.own, &serde_json::Value::Null))
    }

    /// Makes the macros ready to be called.
    ///
    /// # Errors
    /// A file of the user that does more than define macros, and fails.
    pub(in crate::report) fn open(&self) -> Result<Speech<'_>, Findings> {
        let file = |name: &String| self.environment.get_template(name)?.render_captured(());
        let files: Result<Vec<Captured<'_>>, minijinja::Error> = self.files.iter().map(file).collect();
        Ok(Speech { words: self, files: files.map_err(|error| self.failed(&error))? })
    }

    /// The sentence of every finding, in their order.
    ///
    /// # Errors
    /// A macro that is not there or fails, with its line.
    pub(in crate::report) fn say(
        &self,
        model: &Model<'_>,
        findings: &[Finding],
    ) -> Result<Vec<String>, Findings> {
        let calls = findings.iter().map(|finding| (finding.kind.name(), context(model, finding)));
        self.call(calls)
    }

    /// What macros give for some values, in their order: for sentences that are no finding.
    ///
    /// # Errors
    /// A macro that is not there or fails, with its line.
    pub(in crate::report) fn call<'c>(
        &self,
        calls: impl IntoIterator<Item = (&'c str, Value)>,
    ) -> Result<Vec<String>, Findings> {
        let mut speech = self.open()?;
        calls.into_iter().map(|(name, value)| speech.call(name, value)).collect()
    }

    /// The kinds without a macro.
    #[cfg(test)]
    pub(in crate::report) fn missing(&self) -> Vec<&'static str> {
        let template = self.environment.get_template("built-in/findings.md.j2").expect("the built-in file");
        let captured = template.render_captured(()).expect("macros alone");
        let names = super::Kind::ALL.iter().map(|kind| kind.name());
        names.filter(|name| captured.state().lookup(name).is_none()).collect()
    }
}

/// The macros, ready to be called many times.
pub(in crate::report) struct Speech<'w> {
    words: &'w Words,
    files: Vec<Captured<'w>>,
}

impl Speech<'_> {
    /// What a macro gives for a value, in one line.
    ///
    /// # Errors
    /// A macro that is not there or fails, with its line.
    pub(in crate::report) fn call(&mut self, name: &str, value: Value) -> Result<String, Findings> {
        let place = self.files.iter().position(|file| file.state().lookup(name).is_some());
        let file = &mut self.files[place.unwrap_or(0)];
        let text = file.with_state_mut(|state| state.call_macro(name, &[value]));
        let text = text.map_err(|error| self.words.failed(&error))?;
        Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// What a macro sees of a finding: its evidence by name, and `kind`, `cells` (how many), `workload`,
/// `server`, `done` (whether cells were measured or predicted).
fn context(model: &Model<'_>, finding: &Finding) -> Value {
    let workload = finding.workload.map(|at| model.workloads[at].name);
    let server = finding.block.map(|at| model.server_label(model.blocks[at].server));
    let predicted = finding.workload.and_then(|at| model.workloads[at].origin)
        == Some(crate::report::origin::Origin::Predicted);
    let own = [
        ("kind", Value::from(finding.kind.name())),
        ("cells", Value::from(finding.cells.len())),
        ("workload", Value::from(workload)),
        ("server", Value::from(server.unwrap_or_default())),
        ("done", Value::from(if predicted { "predicted" } else { "measured" })),
    ];
    minijinja::value::merge_maps([Value::from_pairs(own), finding.facts.template_value()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_macro_has_two_places() {
        let words = Words::new(None).unwrap();
        let speech = words.open().unwrap();
        let mut names: Vec<&str> = speech.files.iter().flat_map(|file| file.state().exports()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert!(all > 40);
        assert_eq!(names.len(), all);
    }
}
