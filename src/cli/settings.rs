//! Settings of the tool: defaults < `runner.toml` < environment < flags. They never change what is measured.
//!
//! ```
//! use runner::cli::settings::{ColorChoice, Layer, Settings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = camino::Utf8Path::from_path(folder.path()).ok_or("the path is not UTF-8")?;
//! std::fs::write(folder.join("runner.toml"), "results = 'measured'\nquiet = true")?;
//! let environment = |name: &str| (name == "NO_COLOR").then(|| "1".into());
//! let flags = Layer { quiet: Some(false), ..Layer::default() };
//! let settings = Settings::read(folder, environment, flags).map_err(|mistakes| mistakes.render(false))?;
//! assert_eq!(settings.results, "measured");
//! assert_eq!(settings.color, ColorChoice::Never);
//! assert!(!settings.quiet);
//! # Ok(())
//! # }
//! ```

use std::{collections::BTreeMap, ffi::OsString, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};
use clap::ValueEnum;
use figment::{Figment, providers::Serialized};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::diagnostic::{Finding, Findings, Place, Source};

/// The file of settings, in the current folder.
pub const FILE: &str = "runner.toml";

/// Each variable and the setting that it decides, the weakest first. They are listed one by one because CI
/// systems set many `RUNNER_*` of their own.
const VARIABLES: [(&str, &str); 5] = [
    // https://no-color.org: any value that is not empty.
    ("NO_COLOR", "color"),
    ("RUNNER_COLOR", "color"),
    ("RUNNER_QUIET", "quiet"),
    ("RUNNER_RESULTS", "results"),
    ("RUNNER_TEMPLATES", "templates"),
];

const HELP: &str =
    "results and templates are folders, color is auto, always or never, quiet is true or false";

/// How the tool behaves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// Folder that holds the experiments' results.
    pub results: Utf8PathBuf,
    /// Folder with the user's note templates, if there is one.
    pub templates: Option<Utf8PathBuf>,
    /// When to use colour.
    pub color: ColorChoice,
    /// Whether only errors and warnings are printed.
    #[serde(deserialize_with = "figment::util::bool_from_str_or_int")]
    pub quiet: bool,
}

/// The settings that one source decides: the flags, the file or the defaults. An absent one is decided by a
/// weaker source.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// See [`Settings::results`].
    pub results: Option<Utf8PathBuf>,
    /// See [`Settings::templates`].
    pub templates: Option<Utf8PathBuf>,
    /// See [`Settings::color`].
    pub color: Option<ColorChoice>,
    /// See [`Settings::quiet`].
    pub quiet: Option<bool>,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ColorChoice {
    /// On a terminal that supports it.
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

impl Settings {
    /// Reads all sources for a command that is called in `folder`. `environment` looks a variable up.
    ///
    /// # Errors
    /// When a source has a wrong value: the finding names the line of `runner.toml`, or the variable.
    pub fn read(
        folder: &Utf8Path,
        environment: impl Fn(&str) -> Option<OsString>,
        flags: Layer,
    ) -> Result<Self, Findings> {
        let defaults = Layer {
            results: Some("results".into()),
            templates: folder.join("templates").is_dir().then(|| "templates".into()),
            color: Some(ColorChoice::Auto),
            quiet: Some(false),
        };
        let sources = Figment::from(Serialized::defaults(defaults))
            .merge(Serialized::defaults(read_file(&folder.join(FILE))?))
            .merge(Serialized::defaults(read_variables(environment)?))
            .merge(Serialized::defaults(flags));
        // The file and the flags were read as settings already, so only a variable can have a wrong value.
        sources.extract().map_err(|error| {
            let key = error.path.join(".");
            let variable = VARIABLES.iter().rfind(|(_, setting)| *setting == key);
            let variable = variable.map_or(key.as_str(), |(variable, _)| variable);
            Finding::error(format!("the environment variable {variable}: {}", error.kind)).help(HELP).into()
        })
    }
}

/// Reads the settings file; decides nothing where there is none.
fn read_file(path: &Utf8Path) -> Result<Layer, Findings> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Layer::default()),
        result => result.map_err(|error| {
            Finding::error(format!("cannot read the settings in {path}: {error}"))
                .help("make it a readable text file, or remove it: every setting has a default")
        })?,
    };
    toml::from_str(&text).map_err(|error| {
        let source = Arc::new(Source { name: FILE.into(), text: text.clone() });
        let place = Place { source, span: error.span().unwrap_or_default() };
        Finding::error(format!("{FILE} cannot be used")).at(&place, error.message()).help(HELP).into()
    })
}

/// Reads the settings that variables decide. An empty variable decides nothing.
fn read_variables(
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<BTreeMap<&'static str, String>, Findings> {
    let mut settings = BTreeMap::new();
    for (variable, setting) in VARIABLES {
        let value = environment(variable).unwrap_or_default().into_string().map_err(|value| {
            Finding::error(format!("the environment variable {variable} is {value:?}, which is not UTF-8"))
                .help(format!("set another value, or `unset {variable}`"))
        })?;
        let value = match (variable, value.as_str()) {
            (_, "") => continue,
            ("NO_COLOR", _) => "never",
            ("RUNNER_QUIET", "1") => "true",
            ("RUNNER_QUIET", "0") => "false",
            (_, value) => value,
        };
        settings.insert(setting, value.to_owned());
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(file: Option<&str>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            if let Some(text) = file {
                std::fs::write(dir.path().join(FILE), text).unwrap();
            }
            Self(dir)
        }

        fn read(&self, environment: &[(&str, &str)], flags: Layer) -> Result<Settings, String> {
            let path = Utf8Path::from_path(self.0.path()).unwrap();
            let look = |name: &str| {
                environment.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
            };
            Settings::read(path, look, flags).map_err(|findings| findings.render(false))
        }
    }

    #[test]
    fn the_defaults_hold_without_any_source() {
        let folder = Folder::new(None);
        let settings = folder.read(&[], Layer::default()).unwrap();
        assert_eq!(
            settings,
            Settings { results: "results".into(), templates: None, color: ColorChoice::Auto, quiet: false }
        );
        std::fs::create_dir(folder.0.path().join("templates")).unwrap();
        let settings = folder.read(&[], Layer::default()).unwrap();
        assert_eq!(settings.templates, Some("templates".into()));
    }

    #[test]
    fn each_source_overrides_the_ones_below_it_key_by_key() {
        let folder =
            Folder::new(Some("results = \"file\"\ntemplates = \"file\"\ncolor = \"always\"\nquiet = true\n"));
        let environment = [
            ("RUNNER_RESULTS", "environment"),
            ("RUNNER_COLOR", "never"),
            ("RUNNER_TEMPLATES", ""),
            ("RUNNER_WORKSPACE", "what a CI system sets"),
        ];
        let flags = Layer { results: Some("flag".into()), ..Layer::default() };
        let settings = folder.read(&environment, flags).unwrap();
        assert_eq!(settings.results, "flag");
        assert_eq!(settings.color, ColorChoice::Never);
        assert_eq!(settings.templates, Some("file".into()), "empty is unset");
        assert!(settings.quiet);
    }

    #[test]
    fn no_color_is_respected_unless_a_stronger_source_decides() {
        let folder = Folder::new(Some("color = \"always\""));
        let color = |environment: &[(&str, &str)], flag| {
            let flags = Layer { color: flag, ..Layer::default() };
            folder.read(environment, flags).unwrap().color
        };
        assert_eq!(color(&[("NO_COLOR", "1")], None), ColorChoice::Never);
        assert_eq!(color(&[("NO_COLOR", "")], None), ColorChoice::Always);
        assert_eq!(color(&[("NO_COLOR", "1"), ("RUNNER_COLOR", "auto")], None), ColorChoice::Auto);
        assert_eq!(color(&[("NO_COLOR", "1")], Some(ColorChoice::Always)), ColorChoice::Always);
    }

    #[test]
    fn a_mistake_names_its_line_or_its_variable() {
        for (file, variable, words) in [
            ("quiet = true\nresluts = 'x'\n", None, ["runner.toml:2:1", "resluts", "one of"]),
            ("[server]\nmodel = 1\n", None, ["runner.toml:1:2", "server", "one of"]),
            ("\nquiet = 'loud'\n", None, ["runner.toml:2:9", "quiet", "true or false"]),
            ("\ncolor = 'mauve'\n", None, ["runner.toml:2:9", "mauve", "`auto`"]),
            ("results = 'x'\nquiet = \n", None, ["runner.toml:2:", "cannot be used", "quiet"]),
            ("quiet = true", Some(("RUNNER_QUIET", "loud")), ["RUNNER_QUIET", "loud", "true or false"]),
            ("", Some(("RUNNER_COLOR", "mauve")), ["RUNNER_COLOR", "mauve", "`auto`"]),
        ] {
            let environment: Vec<(&str, &str)> = variable.into_iter().collect();
            let text = Folder::new(Some(file)).read(&environment, Layer::default()).unwrap_err();
            for words in words {
                assert!(text.contains(words), "{words}\n{text}");
            }
        }
    }

    #[test]
    fn a_path_that_looks_like_a_number_is_a_path() {
        let settings =
            Folder::new(None).read(&[("RUNNER_RESULTS", "2026"), ("RUNNER_QUIET", "1")], Layer::default());
        let settings = settings.unwrap();
        assert_eq!(settings.results, "2026");
        assert!(settings.quiet);
    }
}
