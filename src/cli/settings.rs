//! Settings of the tool: defaults < `runner.toml` < environment < flags. They never change what is measured.

use std::{collections::HashMap, ffi::OsString, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};
use clap::ValueEnum;
use figment::{Figment, providers::Serialized};
use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use crate::diagnostic::{Finding, Findings, Place, Source};

/// The file that holds settings, in the folder the command is called from.
pub const FILE: &str = "runner.toml";

const KEYS: [&str; 4] = ["results", "templates", "color", "quiet"];

/// How the tool behaves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// Folder that holds the experiments' results.
    pub results: Utf8PathBuf,
    /// Folder with note templates of the person's own; absent where there is none.
    #[serde(default)]
    pub templates: Option<Utf8PathBuf>,
    /// When to use colour.
    pub color: ColorChoice,
    /// Whether only what went wrong is said.
    pub quiet: bool,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ColorChoice {
    /// On a terminal that can.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl From<ColorChoice> for anstream::ColorChoice {
    fn from(choice: ColorChoice) -> Self {
        match choice {
            ColorChoice::Auto => Self::Auto,
            ColorChoice::Always => Self::Always,
            ColorChoice::Never => Self::Never,
        }
    }
}

/// What one source says; what it leaves out, the source below it decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// See [`Settings::results`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Utf8PathBuf>,
    /// See [`Settings::templates`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templates: Option<Utf8PathBuf>,
    /// See [`Settings::color`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<ColorChoice>,
    /// See [`Settings::quiet`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<bool>,
}

impl Settings {
    /// Reads all sources for a command called in `folder`; `environment` looks one variable up.
    ///
    /// # Errors
    /// Every mistake of `runner.toml` and of the environment at once, each with its place.
    pub fn read(
        folder: &Utf8Path,
        environment: impl Fn(&str) -> Option<OsString>,
        flags: Layer,
    ) -> Result<Self, Findings> {
        let mut findings = Findings::default();
        let file = from_file(&folder.join(FILE), &mut findings);
        let environment = from_environment(environment, &mut findings);
        if findings.has_errors() {
            return Err(findings);
        }
        let defaults = Layer {
            results: Some("results".into()),
            templates: folder.join("templates").is_dir().then(|| "templates".into()),
            color: Some(ColorChoice::Auto),
            quiet: Some(false),
        };
        Figment::from(Serialized::defaults(defaults))
            .merge(Serialized::defaults(file))
            .merge(Serialized::defaults(environment))
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(|error| Finding::error(format!("the settings do not fit: {error}")).into())
    }
}

fn from_file(path: &Utf8Path, findings: &mut Findings) -> Layer {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Layer::default(),
        Err(error) => {
            findings.push(
                Finding::error(format!("cannot read the settings in {path}: {error}"))
                    .help("make it a readable text file, or remove it: every setting has a default"),
            );
            return Layer::default();
        }
    };
    let source = Arc::new(Source { name: FILE.into(), text });
    let place = |span| Place { source: source.clone(), span };
    match DeTable::parse(&source.text) {
        Err(error) => {
            let finding = Finding::error(format!("{FILE} is not TOML"));
            findings.push(match error.span() {
                Some(span) => finding.at(&place(span), error.message()),
                None => finding.help(error.message()),
            });
            return Layer::default();
        }
        Ok(table) => {
            let mut unknown = false;
            for key in table.get_ref().keys() {
                let name = key.get_ref().as_ref();
                if !KEYS.contains(&name) {
                    unknown = true;
                    findings.push(
                        Finding::error(format!("unknown setting `{name}`"))
                            .at(&place(key.span()), "not a setting of the tool")
                            .help(suggestion(name)),
                    );
                }
            }
            if unknown {
                return Layer::default();
            }
        }
    }
    toml::from_str(&source.text).unwrap_or_else(|error| {
        let finding = Finding::error(format!("a setting in {FILE} has the wrong kind of value")).help(
            "results and templates are folders, color is auto, always or never, quiet is true or false",
        );
        findings.push(match error.span() {
            Some(span) => finding.at(&place(span), error.message()),
            None => finding.help(error.message()),
        });
        Layer::default()
    })
}

fn suggestion(name: &str) -> String {
    // The tables of a manifest are the likeliest strangers here.
    if ["experiment", "hardware", "server", "workload", "sweep"].contains(&name) {
        return format!("`{name}` belongs into a manifest; {FILE} holds settings of the tool only");
    }
    let nearest =
        KEYS.into_iter().map(|key| (strsim::jaro_winkler(key, name), key)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((score, key)) if score > 0.75 => format!("did you mean `{key}`?"),
        _ => format!("the settings are {}", KEYS.join(", ")),
    }
}

/// The variables are named one by one: CI systems set many `RUNNER_*` of their own.
fn from_environment(variable: impl Fn(&str) -> Option<OsString>, findings: &mut Findings) -> Layer {
    let mut texts = HashMap::new();
    for name in ["RUNNER_COLOR", "NO_COLOR", "RUNNER_QUIET", "RUNNER_RESULTS", "RUNNER_TEMPLATES"] {
        match variable(name).map(OsString::into_string) {
            Some(Ok(text)) if !text.is_empty() => drop(texts.insert(name, text)),
            Some(Err(value)) => findings.push(
                Finding::error(format!("the environment variable {name} is {value:?}, which is not UTF-8"))
                    .help(format!("set it to a path or word that is, or `unset {name}`")),
            ),
            _ => {}
        }
    }
    let set = |name: &str| texts.get(name).cloned();
    let mut wrong = |name: &str, value: &str, may: &str| {
        findings.push(
            Finding::error(format!("the environment variable {name} is {value:?}; it may be {may}"))
                .help(format!("set it to one of these, or `unset {name}`")),
        );
    };
    let color = match set("RUNNER_COLOR") {
        Some(value) => ColorChoice::from_str(&value, true)
            .inspect_err(|_| wrong("RUNNER_COLOR", &value, "auto, always or never"))
            .ok(),
        // https://no-color.org: any value that is not empty.
        None => set("NO_COLOR").map(|_| ColorChoice::Never),
    };
    let quiet = set("RUNNER_QUIET").and_then(|value| match value.as_str() {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        other => {
            wrong("RUNNER_QUIET", other, "1, true, 0 or false");
            None
        }
    });
    Layer {
        results: set("RUNNER_RESULTS").map(Into::into),
        templates: set("RUNNER_TEMPLATES").map(Into::into),
        color,
        quiet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Desk(tempfile::TempDir);

    impl Desk {
        fn new(file: Option<&str>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            if let Some(text) = file {
                std::fs::write(dir.path().join(FILE), text).unwrap();
            }
            Self(dir)
        }

        fn read(&self, environment: &[(&str, &str)], flags: Layer) -> Result<Settings, String> {
            let folder = Utf8Path::from_path(self.0.path()).unwrap();
            let look = |name: &str| {
                environment.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
            };
            Settings::read(folder, look, flags).map_err(|findings| findings.render(false))
        }
    }

    #[test]
    fn without_any_source_the_defaults_hold() {
        let desk = Desk::new(None);
        let settings = desk.read(&[], Layer::default()).unwrap();
        assert_eq!(
            settings,
            Settings { results: "results".into(), templates: None, color: ColorChoice::Auto, quiet: false }
        );
        std::fs::create_dir(desk.0.path().join("templates")).unwrap();
        let settings = desk.read(&[], Layer::default()).unwrap();
        assert_eq!(settings.templates, Some("templates".into()));
    }

    #[test]
    fn each_source_covers_the_ones_below_it_key_by_key() {
        let desk =
            Desk::new(Some("results = \"file\"\ntemplates = \"file\"\ncolor = \"always\"\nquiet = true\n"));
        let environment = [
            ("RUNNER_RESULTS", "environment"),
            ("RUNNER_COLOR", "never"),
            ("RUNNER_TEMPLATES", ""),
            ("RUNNER_WORKSPACE", "what a CI system sets"),
        ];
        let flags = Layer { results: Some("flag".into()), ..Layer::default() };
        let settings = desk.read(&environment, flags).unwrap();
        assert_eq!(settings.results, "flag");
        assert_eq!(settings.color, ColorChoice::Never);
        assert_eq!(settings.templates, Some("file".into()), "empty is unset");
        assert!(settings.quiet);
    }

    #[test]
    fn no_color_is_respected_unless_something_nearer_speaks() {
        let desk = Desk::new(Some("color = \"always\""));
        let color = |environment: &[(&str, &str)], flag| {
            let flags = Layer { color: flag, ..Layer::default() };
            desk.read(environment, flags).unwrap().color
        };
        assert_eq!(color(&[("NO_COLOR", "1")], None), ColorChoice::Never);
        assert_eq!(color(&[("NO_COLOR", "")], None), ColorChoice::Always);
        assert_eq!(color(&[("NO_COLOR", "1"), ("RUNNER_COLOR", "auto")], None), ColorChoice::Auto);
        assert_eq!(color(&[("NO_COLOR", "1")], Some(ColorChoice::Always)), ColorChoice::Always);
    }

    #[test]
    fn mistakes_are_shown_together_with_their_lines_and_a_next_step() {
        let desk = Desk::new(Some("quiet = true\nresluts = \"x\"\n[server]\nmodel = 1\n"));
        let text = desk.read(&[("RUNNER_QUIET", "yes")], Layer::default()).unwrap_err();
        for words in [
            "unknown setting `resluts`",
            "runner.toml:2:1",
            "did you mean `results`?",
            "`server` belongs into a manifest",
            "RUNNER_QUIET is \"yes\"; it may be 1, true, 0 or false",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }

    #[test]
    fn a_wrong_value_and_broken_toml_point_at_their_line() {
        for (file, words) in [
            ("\nquiet = \"loud\"\n", "runner.toml:2:9"),
            ("\ncolor = \"mauve\"\n", "runner.toml:2:9"),
            ("results = \"x\"\nquiet = \n", "runner.toml is not TOML"),
        ] {
            let text = Desk::new(Some(file)).read(&[], Layer::default()).unwrap_err();
            assert!(text.contains(words), "{words}\n{text}");
            assert!(text.contains("runner.toml:2:"), "{text}");
        }
    }
}
