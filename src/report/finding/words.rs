//! Turns findings and the parts of charts into sentences, by the macros of `templates/findings.md.j2` and
//! `templates/charts.j2`, or of the user's own files of these names.

use camino::Utf8Path;
use minijinja::{AutoEscape, Captured, Environment, UndefinedBehavior, Value};

use super::Finding;
use crate::{
    diagnostic::Findings,
    report::{
        model::{Model, Origin},
        template::{self, Template},
    },
};

/// A finding with its sentence.
pub(crate) struct Statement {
    pub(crate) finding: Finding,
    pub(crate) text: String,
}

/// The compiled macros.
pub(crate) struct Words {
    environment: Environment<'static>,
    /// Names of the files in the environment, in the order in which a macro is looked up.
    files: Vec<String>,
    /// The user's own files, for error messages.
    own: Vec<Template>,
}

impl Words {
    /// Compiles the built-in macros and those in the files of the same names in a folder. A macro there
    /// replaces the built-in one of its name.
    ///
    /// # Errors
    /// If a file cannot be read or is not valid Jinja.
    pub(crate) fn new(folder: Option<&Utf8Path>) -> Result<Self, Findings> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // Sentences are plain text: they are escaped where they are printed.
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        template::configure(&mut environment);
        let mut words = Self { environment, files: Vec::new(), own: Vec::new() };
        for (name, text) in template::WORDS {
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
        Findings::from(template::explain(error, &self.own, &serde_json::Value::Null))
    }

    /// Evaluates the files, so that their macros can be called.
    ///
    /// # Errors
    /// If a user's file does more than define macros and fails.
    pub(crate) fn open(&self) -> Result<Macros<'_>, Findings> {
        let file = |name: &String| self.environment.get_template(name)?.render_captured(());
        let files: Result<Vec<Captured<'_>>, minijinja::Error> = self.files.iter().map(file).collect();
        Ok(Macros { words: self, files: files.map_err(|error| self.failed(&error))? })
    }

    /// Returns the sentence of every finding.
    ///
    /// # Errors
    /// If a macro is missing or fails.
    pub(crate) fn say(&self, model: &Model<'_>, findings: &[Finding]) -> Result<Vec<String>, Findings> {
        let mut macros = self.open()?;
        findings.iter().map(|own| macros.call(own.kind.name(), context(model, own))).collect()
    }

    /// The kinds without a macro.
    #[cfg(test)]
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let template = self.environment.get_template("built-in/findings.md.j2").expect("the built-in file");
        let captured = template.render_captured(()).expect("macros alone");
        let names = super::Kind::ALL.iter().map(|kind| kind.name());
        names.filter(|name| captured.state().lookup(name).is_none()).collect()
    }
}

/// Macros that can be called.
pub(crate) struct Macros<'w> {
    words: &'w Words,
    files: Vec<Captured<'w>>,
}

impl Macros<'_> {
    /// Calls a macro with a value and returns its text as one line.
    ///
    /// # Errors
    /// If the macro is missing or fails.
    pub(crate) fn call(&mut self, name: &str, value: Value) -> Result<String, Findings> {
        let place = self.files.iter().position(|file| file.state().lookup(name).is_some());
        let file = &mut self.files[place.unwrap_or(0)];
        let text = file.with_state_mut(|state| state.call_macro(name, &[value]));
        let text = text.map_err(|error| self.words.failed(&error))?;
        Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// The values that the macro of a finding sees: its facts, and `kind`, `cells` (a number), `workload`,
/// `server`, and `done` (`measured` or `predicted`).
fn context(model: &Model<'_>, finding: &Finding) -> Value {
    let workload = finding.workload.map(|at| model.workloads[at].name);
    let server = finding.block.map(|at| model.server_label(model.blocks[at].server));
    let origin = finding.workload.and_then(|at| model.workloads[at].origin);
    let done = if origin == Some(Origin::Predicted) { "predicted" } else { "measured" };
    let own = [
        ("kind", Value::from(finding.kind.name())),
        ("cells", Value::from(finding.cells.len())),
        ("workload", Value::from(workload)),
        ("server", Value::from(server.unwrap_or_default())),
        ("done", Value::from(done)),
    ];
    minijinja::value::merge_maps([Value::from_pairs(own), finding.facts.template_value()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_macro_has_two_places() {
        let words = Words::new(None).unwrap();
        let macros = words.open().unwrap();
        let mut names: Vec<&str> = macros.files.iter().flat_map(|file| file.state().exports()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert!(all > 40);
        assert_eq!(names.len(), all);
    }
}
