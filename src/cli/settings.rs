//! Settings of the tool: defaults < `runner.toml` < environment < flags. They never change what is measured.
//!
//! ```
//! use runner::cli::settings::{ColorChoice, Flags, Settings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = camino::Utf8Path::from_path(folder.path()).ok_or("the path is not UTF-8")?;
//! std::fs::write(folder.join("runner.toml"), "results = 'measured'\nquiet = true")?;
//! let environment = |name: &str| (name == "NO_COLOR").then(|| "1".into());
//! let flags = Flags { quiet: Some(false), ..Flags::default() };
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
use figment::{
    Figment, Metadata, Profile, Provider,
    error::Kind,
    providers::Serialized,
    value::{Dict, Map},
};
use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use crate::diagnostic::{Finding, Findings, Place, Source};

/// The file of settings, in the current folder.
pub const FILE: &str = "runner.toml";

/// Each variable and the setting that it decides, the weakest first. They are listed one by one because CI systems set many
/// `RUNNER_*` of their own.
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
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Folder that holds the experiments' results.
    pub results: Utf8PathBuf,
    /// Folder with the user's note templates, if there is one.
    #[serde(default)]
    pub templates: Option<Utf8PathBuf>,
    /// When to use colour.
    pub color: ColorChoice,
    /// Whether only errors and warnings are printed.
    #[serde(deserialize_with = "figment::util::bool_from_str_or_int")]
    pub quiet: bool,
}

/// Settings that were given as flags, or by default. An absent one is decided by the sources below.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Flags {
    /// See [`Settings::results`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results: Option<Utf8PathBuf>,
    /// See [`Settings::templates`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub templates: Option<Utf8PathBuf>,
    /// See [`Settings::color`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<ColorChoice>,
    /// See [`Settings::quiet`].
    #[serde(skip_serializing_if = "Option::is_none")]
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
        flags: Flags,
    ) -> Result<Self, Findings> {
        let defaults = Flags {
            results: Some("results".into()),
            templates: folder.join("templates").is_dir().then(|| "templates".into()),
            color: Some(ColorChoice::Auto),
            quiet: Some(false),
        };
        let file = read_file(&folder.join(FILE))?;
        let place = |span| Place { source: file.clone(), span };
        let table: toml::Table = file.text.parse().map_err(|error: toml::de::Error| {
            let finding = Finding::error(format!("{FILE} is not valid TOML"));
            match error.span() {
                Some(span) => finding.at(&place(span), error.message()),
                None => finding.help(error.message()),
            }
        })?;
        let mut figment = Figment::from(Serialized::defaults(defaults)).merge(Layer(FILE.into(), table));
        for (variable, key) in VARIABLES {
            let name = format!("the environment variable {variable}");
            let value = match environment(variable).map(OsString::into_string) {
                None => continue,
                Some(Ok(value)) if value.is_empty() => continue,
                Some(Ok(value)) => value,
                Some(Err(value)) => {
                    let finding = Finding::error(format!("{name} is {value:?}, which is not UTF-8"));
                    return Err(finding.help(format!("set another value, or `unset {variable}`")).into());
                }
            };
            let value = match (variable, value.as_str()) {
                ("NO_COLOR", _) => "never",
                ("RUNNER_QUIET", "1") => "true",
                ("RUNNER_QUIET", "0") => "false",
                (_, value) => value,
            };
            figment = figment.merge(Layer(name, BTreeMap::from([(key, value)])));
        }
        figment.merge(Serialized::defaults(flags)).extract().map_err(|error| {
            let source = error.metadata.as_ref().map(|source| source.name.as_ref());
            // Only the file can hold a key that is not a setting.
            let (key, is_key) = match &error.kind {
                Kind::UnknownField(key, _) => (key.clone(), true),
                _ => (error.path.join("."), false),
            };
            let span = (is_key || source == Some(FILE)).then(|| span(&file.text, &key, is_key)).flatten();
            let source = source.filter(|_| !is_key).unwrap_or(FILE);
            let finding = Finding::error(format!("{source}, setting `{key}`: {}", error.kind)).help(HELP);
            Findings::from(match span {
                Some(span) => finding.at(&place(span), ""),
                None => finding,
            })
        })
    }
}

/// A source of settings, with the name that errors show.
struct Layer<T>(String, T);

impl<T: Serialize> Provider for Layer<T> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::defaults(&self.1).data()
    }
}

/// The text of the settings file; empty where there is none.
fn read_file(path: &Utf8Path) -> Result<Arc<Source>, Findings> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        result => result.map_err(|error| {
            Finding::error(format!("cannot read the settings in {path}: {error}"))
                .help("make it a readable text file, or remove it: every setting has a default")
        })?,
    };
    Ok(Arc::new(Source { name: FILE.into(), text }))
}

/// The bytes of a key of the file, or of its value.
fn span(text: &str, key: &str, is_key: bool) -> Option<std::ops::Range<usize>> {
    let table = DeTable::parse(text).ok()?;
    let (found, value) = table.get_ref().iter().find(|(found, _)| found.get_ref() == key)?;
    Some(if is_key { found.span() } else { value.span() })
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

        fn read(&self, environment: &[(&str, &str)], flags: Flags) -> Result<Settings, String> {
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
        let settings = folder.read(&[], Flags::default()).unwrap();
        assert_eq!(
            settings,
            Settings { results: "results".into(), templates: None, color: ColorChoice::Auto, quiet: false }
        );
        std::fs::create_dir(folder.0.path().join("templates")).unwrap();
        let settings = folder.read(&[], Flags::default()).unwrap();
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
        let flags = Flags { results: Some("flag".into()), ..Flags::default() };
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
            let flags = Flags { color: flag, ..Flags::default() };
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
            ("results = 'x'\nquiet = \n", None, ["runner.toml:2:", "not valid TOML", "quiet"]),
            ("quiet = true", Some(("RUNNER_QUIET", "loud")), ["RUNNER_QUIET", "loud", "true or false"]),
            ("", Some(("RUNNER_COLOR", "mauve")), ["RUNNER_COLOR", "mauve", "`auto`"]),
        ] {
            let environment: Vec<(&str, &str)> = variable.into_iter().collect();
            let text = Folder::new(Some(file)).read(&environment, Flags::default()).unwrap_err();
            for words in words {
                assert!(text.contains(words), "{words}\n{text}");
            }
        }
    }

    #[test]
    fn a_path_that_looks_like_a_number_is_a_path() {
        let settings =
            Folder::new(None).read(&[("RUNNER_RESULTS", "2026"), ("RUNNER_QUIET", "1")], Flags::default());
        let settings = settings.unwrap();
        assert_eq!(settings.results, "2026");
        assert!(settings.quiet);
    }
}
