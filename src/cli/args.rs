//! The words on the command line, and the help that teaches them.

use std::ffi::OsString;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueHint, error::ErrorKind};

pub use super::args_import::{Export, Import, Wanted};
pub use super::args_predict::{Calibrate, Predict};
use super::{exit::Exit, help, settings::ColorChoice};
use crate::report::Gate;

/// Measure what an LLM server can really do, from a TOML manifest.
#[derive(Debug, Parser)]
#[command(
    name = "runner",
    version = crate::VERSION,
    propagate_version = true,
    arg_required_else_help = true,
    subcommand_required = true,
    long_about = help::RUNNER,
    after_help = Exit::help()
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

impl Cli {
    /// The words of this process.
    ///
    /// # Errors
    /// What is wrong with them, or the help that they ask for, to be printed before the exit.
    pub fn read() -> Result<Self, clap::Error> {
        Self::try_parse().map_err(|error| {
            let words = std::env::args_os().enumerate().skip(1);
            match error.kind() {
                ErrorKind::InvalidUtf8 => not_text(words).unwrap_or(error),
                _ => error,
            }
        })
    }
}

/// Says which word is no text.
fn not_text(mut words: impl Iterator<Item = (usize, OsString)>) -> Option<clap::Error> {
    let (number, word) = words.find(|(_, word)| word.to_str().is_none())?;
    Some(clap::Error::raw(
        ErrorKind::InvalidUtf8,
        format!(
            "word {number} of the command, {word:?}, is not UTF-8, and what is stored (TOML, JSON, CSV) can hold nothing else; \
             rename the file or folder, or reach it through a link: ln -s {word:?} link\n"
        ),
    ))
}

/// What the command can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Measure every cell of a manifest and write the notes.
    #[command(long_about = help::RUN)]
    Run(Run),
    /// Find every mistake in a manifest without starting a server.
    #[command(long_about = help::CHECK)]
    Check(Check),
    /// List the cells and the server starts of a manifest, in order.
    #[command(long_about = help::PLAN)]
    Plan(Plan),
    /// Predict every cell of a manifest, or compare a measured run with its prediction.
    #[command(long_about = help::PREDICT)]
    Predict(Predict),
    /// Fit the constants of the predictions to a measured run.
    #[command(long_about = help::CALIBRATE)]
    Calibrate(Calibrate),
    /// Write the notes, charts and page of a stored run again.
    #[command(long_about = help::REPORT)]
    Report(Report),
    /// Compare two stored runs: another GPU, quantization, version or flag.
    #[command(long_about = help::COMPARE)]
    Compare(Compare),
    /// Import what another tool measured, as a run to compare with.
    #[command(long_about = help::IMPORT)]
    Import(Import),
    /// Write every cell of stored runs as JSON Lines, for notebooks.
    #[command(long_about = help::EXPORT)]
    Export(Export),
    /// Write the scripts that start the manifest's servers by hand.
    #[command(long_about = help::RECIPE)]
    Recipe(Recipe),
    /// Serve the embedded engine: an OpenAI-compatible API without a GPU or vLLM.
    #[command(long_about = help::SIM)]
    Sim(Raw),
    /// Write a commented manifest to start from.
    #[command(long_about = help::INIT)]
    Init(Init),
    /// Print the JSON Schema of manifests, for editors.
    #[command(long_about = help::SCHEMA)]
    Schema,
    /// Print shell completions.
    #[command(long_about = help::COMPLETIONS)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Start a server and end its process tree when the runner is gone; the runner starts this itself.
    #[command(hide = true, disable_help_flag = true, disable_version_flag = true)]
    Guard(Raw),
    /// Run a command whose output is captured, and end its process tree with it; started by the runner itself.
    #[command(hide = true, disable_help_flag = true, disable_version_flag = true)]
    GuardCapture(Raw),
}

/// `runner run`
#[derive(Debug, Args)]
#[command(after_help = Exit::help())]
pub struct Run {
    /// What is asked.
    #[command(flatten)]
    pub manifest: Manifest,
    /// Name of the run's folder [default: the UTC time and the hardware].
    #[arg(long, value_name = "NAME", conflicts_with = "resume")]
    pub name: Option<String>,
    /// Continue a stored run: the newest of the experiment, or the one named. Measures what is missing, failed or has
    /// changed; refuses another GPU or engine.
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = "")]
    pub resume: Option<String>,
    /// Only cells whose id matches; `*` stands for anything, and a pattern without `*` may match anywhere in the id. Can be
    /// repeated.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
    /// Use the embedded engine instead of the manifest's: the whole run without a GPU, marked as simulated. With the name
    /// of a GPU, servers that would not fit in its memory fail as they would there.
    #[arg(long, value_name = "GPU", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub sim: Option<String>,
    /// Folder that holds the experiments' results [default: results].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub results: Option<Utf8PathBuf>,
    /// Folder with your own note templates [default: templates, if it exists].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub templates: Option<Utf8PathBuf>,
    /// How to talk.
    #[command(flatten)]
    pub talk: Talk,
}

impl Run {
    /// The run to go on with: `None` starts anew, `Some(None)` is the newest.
    pub fn resumed(&self) -> Option<Option<&str>> {
        self.resume.as_deref().map(|run| (!run.is_empty()).then_some(run))
    }
}

/// A manifest and what the command line changes in it.
#[derive(Debug, Args)]
pub struct Manifest {
    /// The manifest, a TOML file.
    #[arg(value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    pub path: Utf8PathBuf,
    /// Change a value of the manifest: a path in TOML's key syntax, and a value that is read as TOML, or else as text.
    /// Can be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
}

/// How to talk on stderr.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Talk {
    /// Print only errors and warnings.
    #[arg(short, long)]
    pub quiet: bool,
    /// Use colour: auto (on a terminal), always or never [default: auto].
    #[arg(long, value_name = "WHEN", value_enum, hide_possible_values = true)]
    pub color: Option<ColorChoice>,
}

/// `runner check`
#[derive(Debug, Args)]
#[command(after_help = Exit::help_of_reading())]
pub struct Check {
    /// What is checked.
    #[command(flatten)]
    pub manifest: Manifest,
    /// How to talk.
    #[command(flatten)]
    pub talk: Talk,
}

/// `runner plan`
#[derive(Debug, Args)]
#[command(after_help = Exit::help_of_reading())]
pub struct Plan {
    /// What is planned.
    #[command(flatten)]
    pub manifest: Manifest,
    /// Plan for the embedded engine; with the name of a GPU, say what would fit on it.
    #[arg(long, value_name = "GPU", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub sim: Option<String>,
    /// Print the plan as JSON.
    #[arg(long)]
    pub json: bool,
    /// Only cells whose id matches; `*` stands for anything, and a pattern without `*` may match anywhere in the id. Can be
    /// repeated.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
    /// How to talk.
    #[command(flatten)]
    pub talk: Talk,
}

/// `runner report`
#[derive(Debug, Args)]
#[command(after_help = Exit::help_of_reading())]
pub struct Report {
    /// A run: its folder, EXPERIMENT/RUN, or an experiment's name for its newest run.
    #[arg(value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub run: Utf8PathBuf,
    /// Folder that holds the experiments' results [default: results].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub results: Option<Utf8PathBuf>,
    /// Folder with your own note templates [default: templates, if it exists].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub templates: Option<Utf8PathBuf>,
    /// Print the values that a template can use, and write nothing.
    #[arg(long, conflicts_with = "stdout")]
    pub values: bool,
    /// Print one note, such as capacity.md, instead of writing all.
    #[arg(long, value_name = "NAME")]
    pub stdout: Option<String>,
    /// How to talk.
    #[command(flatten)]
    pub talk: Talk,
}

/// `runner compare`
#[derive(Debug, Args)]
#[command(after_help = Exit::help_of(&[Exit::Finished, Exit::Unexpected, Exit::Usage, Exit::GateFailed]))]
pub struct Compare {
    /// The run: its folder, EXPERIMENT/RUN, or an experiment's name for its newest run.
    #[arg(value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub run: Utf8PathBuf,
    /// The run to compare it with; of several, each in turn.
    #[arg(value_name = "ANCHOR", required = true, value_hint = ValueHint::DirPath)]
    pub anchors: Vec<Utf8PathBuf>,
    /// A key that may differ, and everything below it: `flags` allows every flag. Can be repeated.
    #[arg(long, value_name = "KEY")]
    pub despite: Vec<String>,
    /// Exit with 5 if a metric of any cell changed by more than this, beyond the noise: 'p95_ttft_ms > +10%',
    /// 'throughput_tok_s < -5%'. Can be repeated.
    #[arg(long, value_name = "CONDITION")]
    pub fail_on: Vec<Gate>,
    /// Folder that holds the experiments' results [default: results].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub results: Option<Utf8PathBuf>,
    /// Folder with your own templates [default: templates, if it exists].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub templates: Option<Utf8PathBuf>,
    /// How to talk.
    #[command(flatten)]
    pub talk: Talk,
}

/// `runner recipe`
#[derive(Debug, Args)]
#[command(after_help = Exit::help_of_reading())]
pub struct Recipe {
    /// Whose servers.
    #[command(flatten)]
    pub manifest: Manifest,
    /// Where to write, one folder for each server.
    #[arg(long, value_name = "DIR", default_value = "recipe", value_hint = ValueHint::DirPath)]
    pub out: Utf8PathBuf,
    /// How to talk.
    #[command(flatten)]
    pub talk: Talk,
}

/// `runner init`
#[derive(Debug, Args)]
pub struct Init {
    /// Where to write it.
    #[arg(value_name = "PATH", default_value = super::init::DEFAULT_PATH, value_hint = ValueHint::FilePath)]
    pub path: Utf8PathBuf,
}

/// Words that another parser reads.
#[derive(Debug, Args)]
pub struct Raw {
    /// Passed on as they are.
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

impl Raw {
    /// The words as text; what is no UTF-8 is replaced, and refused by whoever reads it.
    pub fn text(&self) -> Vec<String> {
        let text = |word: &OsString| word.to_string_lossy().into_owned();
        self.words.iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    fn run(line: &str) -> Run {
        match parse(line).unwrap().verb {
            Verb::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_errors_exit_with_two_and_help_with_zero() {
        for line in [
            "runner",
            "runner fly",
            "runner run",
            "runner run a.toml --nmae x",
            "runner run a.toml --color sometimes",
            "runner run a.toml --resume --name x",
            "runner report r --values --stdout a.md",
            "runner completions tcl",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{line}");
        }
        assert_eq!(parse("runner run --help").unwrap_err().exit_code(), 0);
        assert_eq!(parse("runner --version").unwrap_err().exit_code(), 0);
    }

    #[test]
    fn resume_takes_the_newest_run_or_a_named_one() {
        assert_eq!(run("runner run a.toml").resumed(), None);
        assert_eq!(run("runner run a.toml --resume").resumed(), Some(None));
        assert_eq!(run("runner run a.toml --resume monday --sim").resumed(), Some(Some("monday")));
    }

    #[test]
    fn set_and_only_add_up_and_values_may_hold_equal_signs() {
        let run = run(
            "runner run a.toml --set server.env.X=a=b --only chat-* --set experiment.seed=3 --only batch-* -q",
        );
        assert_eq!(run.manifest.set, ["server.env.X=a=b", "experiment.seed=3"], "in the order given");
        assert_eq!(run.only, ["chat-*", "batch-*"]);
        assert!(run.talk.quiet);
    }

    #[test]
    fn words_of_the_engine_and_the_guard_pass_untouched() {
        let Verb::Sim(raw) = parse("runner sim --port 0 m --x -q --help").unwrap().verb else {
            panic!("not sim")
        };
        assert_eq!(raw.words, ["--port", "0", "m", "--x", "-q", "--help"]);
        for line in ["runner guard --help", "runner guard -h -- --version -V"] {
            let Verb::Guard(raw) = parse(line).unwrap().verb else { panic!("not guard") };
            assert!(!raw.words.is_empty(), "{line}");
        }
    }

    #[test]
    fn the_help_of_every_command_shows_how_it_is_used() {
        let mut command = Cli::command();
        for verb in command.get_subcommands_mut().filter(|verb| !verb.is_hide_set()) {
            let name = verb.get_name().to_owned();
            let help = verb.render_long_help().to_string();
            assert!(help.contains("Examples:") && help.contains(&format!("runner {name}")), "{help}");
        }
    }

    #[test]
    fn every_exit_code_has_its_line_in_the_help_and_the_readme() {
        let mut command = Cli::command();
        let help = command.render_long_help().to_string();
        let readme = include_str!("../../README.md");
        for exit in Exit::ALL {
            let line = format!("{:>3}  {}", exit.code(), exit.meaning());
            assert!(help.contains(&line), "{line}\n{help}");
            let row = format!("| {} | {} |", exit.code(), exit.meaning());
            assert!(readme.contains(&row), "{row}");
        }
    }
}
