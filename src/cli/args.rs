//! The arguments of every verb, and their help.

use std::ffi::OsString;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueHint, error::ErrorKind};

pub use super::args_import::{Export, Import, Wanted};
pub use super::args_predict::{Calibrate, Predict};
use super::{
    exit::Exit,
    help,
    settings::{ColorChoice, Layer},
};
use crate::{report::Gate, run::Resume, unit::TimeSpan};

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
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

impl Cli {
    /// Parses the arguments of this process.
    ///
    /// # Errors
    /// When they are wrong, or ask for help or the version: print the error and exit.
    pub fn read() -> Result<Self, clap::Error> {
        Self::try_parse().map_err(|error| {
            let words = std::env::args_os().enumerate().skip(1);
            match error.kind() {
                ErrorKind::InvalidUtf8 => not_utf8(words).unwrap_or(error),
                _ => error,
            }
        })
    }
}

/// Names the argument that is not UTF-8.
fn not_utf8(mut words: impl Iterator<Item = (usize, OsString)>) -> Option<clap::Error> {
    let (number, word) = words.find(|(_, word)| word.to_str().is_none())?;
    Some(clap::Error::raw(
        ErrorKind::InvalidUtf8,
        format!(
            "argument {number}, {word:?}, is not UTF-8, which the stored files (TOML, JSON, CSV) require; rename the file or \
             folder, or reach it through a link: ln -s {word:?} link\n"
        ),
    ))
}

/// The verbs.
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
    /// Print the man page, or write the page of every command into a folder.
    #[command(long_about = help::MAN)]
    Man {
        /// Folder to write the pages to.
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: Option<Utf8PathBuf>,
    },
    /// Start a server, and end its process tree when the runner is gone; the runner starts this itself.
    #[command(hide = true, disable_help_flag = true, disable_version_flag = true)]
    Guard(Raw),
    /// Run a command whose output is captured, and end its process tree with it; the runner starts this
    /// itself.
    #[command(hide = true, disable_help_flag = true, disable_version_flag = true)]
    GuardCapture(Raw),
}

/// `runner run`
#[derive(Clone, Debug, Args)]
#[command(after_help = Exit::help_of_run())]
pub struct Run {
    /// The manifest.
    #[command(flatten)]
    pub manifest: Manifest,
    /// Name of the run's folder [default: the UTC time and the hardware].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Continue the newest run of the experiment, or the one of --name; start it where there is none.
    /// Measures the cells that are missing, failed or changed. With RUN, continue that run, which must exist.
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = "")]
    pub resume: Option<String>,
    /// Only cells and searches whose id matches, such as 'chat-*'. `*` matches anything; a pattern without `*`
    /// matches any part of an id. Can be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
    /// The most time that the run may take, such as 2h, server starts included. Cells are measured in an order
    /// that makes a cut run useful; what is left out can be measured with --resume.
    #[arg(long, value_name = "TIME", value_parser = time_budget)]
    pub budget: Option<TimeSpan>,
    /// The most US dollars that the run may cost, by the manifest's hardware.usd_per_hour.
    #[arg(long, value_name = "USD", value_parser = usd_budget)]
    pub max_usd: Option<f64>,
    /// Use the embedded engine instead of the manifest's, without a GPU; every result is marked as simulated.
    /// With the name of a GPU, servers that would not fit in its memory fail as they would there.
    #[arg(long, value_name = "GPU", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub sim: Option<String>,
    /// Settings of the tool.
    #[command(flatten)]
    pub settings: NoteSettings,
}

impl Run {
    /// Which stored run to continue.
    pub fn resume(&self) -> Resume {
        match self.resume.as_deref() {
            None => Resume::Never,
            Some("") => Resume::IfPresent,
            Some(run) => Resume::Run(run.to_owned()),
        }
    }

    /// The command that continues this run, quoted for a shell: every argument that decides what is measured
    /// and where it is stored, and `--resume`. `program` is the command's first word.
    pub fn resume_command(&self, program: &str) -> String {
        let mut words = vec![program.to_owned(), "run".to_owned()];
        let path = self.manifest.path.as_str();
        words.push(if path.starts_with('-') { format!("./{path}") } else { path.to_owned() });
        let mut option = |name: &str, value: &str| {
            if value.starts_with('-') {
                words.push(format!("{name}={value}"));
            } else {
                words.extend([name.to_owned(), value.to_owned()]);
            }
        };
        self.manifest.set.iter().for_each(|set| option("--set", set));
        self.name.iter().for_each(|name| option("--name", name));
        self.only.iter().for_each(|pattern| option("--only", pattern));
        self.budget.iter().for_each(|time| option("--budget", &time.to_string()));
        self.max_usd.iter().for_each(|usd| option("--max-usd", &usd.to_string()));
        self.settings.results.iter().for_each(|folder| option("--results", folder.as_str()));
        self.settings.templates.iter().for_each(|folder| option("--templates", folder.as_str()));
        words.extend(self.sim.iter().map(|gpu| match gpu.as_str() {
            "" => "--sim".to_owned(),
            gpu => format!("--sim={gpu}"),
        }));
        words.push("--resume".to_owned());
        words.extend(self.resume.iter().filter(|run| !run.is_empty()).cloned());
        shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default()
    }
}

/// A time above zero.
fn time_budget(text: &str) -> Result<TimeSpan, String> {
    let time: TimeSpan = text.parse().map_err(|error: crate::unit::UnitError| error.to_string())?;
    if time.duration().is_zero() { Err("must be above 0".to_owned()) } else { Ok(time) }
}

/// An amount above zero.
fn usd_budget(text: &str) -> Result<f64, String> {
    let amount = text.trim_start_matches('$').parse::<f64>().ok();
    amount
        .filter(|usd| *usd > 0.0 && usd.is_finite())
        .ok_or_else(|| "write an amount above 0, as in 3 or 2.50".to_owned())
}

/// A manifest and the values that the command line changes in it.
#[derive(Clone, Debug, Args)]
pub struct Manifest {
    /// The manifest, a TOML file.
    #[arg(value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    pub path: Utf8PathBuf,
    /// Change a value of the manifest, such as server.flags.max-model-len=8192. The value is read as TOML, or
    /// else as text. Can be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
}

/// The settings of a command that only prints.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct MessageSettings {
    /// Print only errors and warnings [env: RUNNER_QUIET=1].
    #[arg(short, long)]
    pub quiet: bool,
    /// Use colour: auto (on a terminal), always or never [default: auto] [env: RUNNER_COLOR, NO_COLOR].
    #[arg(long, value_name = "WHEN", value_enum, hide_possible_values = true)]
    pub color: Option<ColorChoice>,
}

/// The settings of a command that reads stored runs.
#[derive(Clone, Debug, Default, Args)]
pub struct ResultSettings {
    /// Folder that holds the experiments' results [default: results] [env: RUNNER_RESULTS].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub results: Option<Utf8PathBuf>,
    /// Messages on stderr.
    #[command(flatten)]
    pub messages: MessageSettings,
}

/// The settings of a command that writes notes.
#[derive(Clone, Debug, Default, Args)]
pub struct NoteSettings {
    /// Folder that holds the experiments' results [default: results] [env: RUNNER_RESULTS].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub results: Option<Utf8PathBuf>,
    /// Folder with your own note templates [default: templates, if it exists] [env: RUNNER_TEMPLATES].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub templates: Option<Utf8PathBuf>,
    /// Messages on stderr.
    #[command(flatten)]
    pub messages: MessageSettings,
}

impl From<&MessageSettings> for Layer {
    fn from(settings: &MessageSettings) -> Self {
        Self { color: settings.color, quiet: settings.quiet.then_some(true), ..Self::default() }
    }
}

impl From<&ResultSettings> for Layer {
    fn from(settings: &ResultSettings) -> Self {
        Self { results: settings.results.clone(), ..Self::from(&settings.messages) }
    }
}

impl From<&NoteSettings> for Layer {
    fn from(settings: &NoteSettings) -> Self {
        Self {
            results: settings.results.clone(),
            templates: settings.templates.clone(),
            ..Self::from(&settings.messages)
        }
    }
}

/// `runner check`
#[derive(Debug, Args)]
#[command(after_help = Exit::help_of_reading())]
pub struct Check {
    /// The manifest.
    #[command(flatten)]
    pub manifest: Manifest,
    /// Settings of the tool.
    #[command(flatten)]
    pub settings: MessageSettings,
}

/// `runner plan`
#[derive(Debug, Args)]
#[command(after_help = Exit::help_of_reading())]
pub struct Plan {
    /// The manifest.
    #[command(flatten)]
    pub manifest: Manifest,
    /// Plan for the embedded engine. With the name of a GPU, show what would fit on it.
    #[arg(long, value_name = "GPU", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub sim: Option<String>,
    /// Print the plan as JSON.
    #[arg(long)]
    pub json: bool,
    /// Only cells and searches whose id matches, such as 'chat-*'. `*` matches anything; a pattern without `*`
    /// matches any part of an id. Can be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
    /// Settings of the tool.
    #[command(flatten)]
    pub settings: MessageSettings,
}

/// `runner report`
#[derive(Debug, Args)]
#[command(after_help = Exit::help_of_reading())]
pub struct Report {
    /// A run: its folder, EXPERIMENT/RUN, or an experiment's name for its newest run.
    #[arg(value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub run: Utf8PathBuf,
    /// Print the values that a template can use, as JSON, and write nothing.
    #[arg(long, conflicts_with = "stdout")]
    pub values: bool,
    /// Print one note, such as capacity.md, instead of writing all.
    #[arg(long, value_name = "NAME")]
    pub stdout: Option<String>,
    /// Settings of the tool.
    #[command(flatten)]
    pub settings: NoteSettings,
}

/// `runner compare`
#[derive(Debug, Args)]
#[command(after_help = Exit::help_of(&[Exit::Finished, Exit::Unexpected, Exit::Usage, Exit::GateFailed]))]
pub struct Compare {
    /// The run: its folder, EXPERIMENT/RUN, or an experiment's name for its newest run.
    #[arg(value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub run: Utf8PathBuf,
    /// The run to compare it with. Several are compared one after the other.
    #[arg(value_name = "ANCHOR", required = true, value_hint = ValueHint::DirPath)]
    pub anchors: Vec<Utf8PathBuf>,
    /// Compare although this key differs, or a key below it: `flags` allows every flag. Can be repeated.
    #[arg(long, value_name = "KEY")]
    pub despite: Vec<String>,
    /// Exit with 5 if this metric of any cell, or the answer of a search, changed by more than this and more
    /// than the noise, such as 'p95_ttft_ms > +10%' or, for the search of the workload chat, 'chat < -5%'. Can
    /// be repeated.
    #[arg(long, value_name = "CONDITION")]
    pub fail_on: Vec<Gate>,
    /// Settings of the tool.
    #[command(flatten)]
    pub settings: NoteSettings,
}

/// `runner recipe`
#[derive(Debug, Args)]
#[command(after_help = Exit::help_of_reading())]
pub struct Recipe {
    /// The manifest.
    #[command(flatten)]
    pub manifest: Manifest,
    /// Folder to write to, with one folder for each server.
    #[arg(long, value_name = "DIR", default_value = "recipe", value_hint = ValueHint::DirPath)]
    pub out: Utf8PathBuf,
    /// Settings of the tool.
    #[command(flatten)]
    pub settings: MessageSettings,
}

/// `runner init`
#[derive(Debug, Args)]
pub struct Init {
    /// File to write.
    #[arg(value_name = "PATH", default_value = super::init::DEFAULT_PATH, value_hint = ValueHint::FilePath)]
    pub path: Utf8PathBuf,
}

/// Arguments that another parser reads.
#[derive(Debug, Args)]
pub struct Raw {
    /// Passed on unchanged.
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

impl Raw {
    /// The arguments as text. The parser that reads them refuses what is not UTF-8, which is replaced here.
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
        assert_eq!(run("runner run a.toml").resume(), Resume::Never);
        assert_eq!(run("runner run a.toml --resume").resume(), Resume::IfPresent);
        assert_eq!(run("runner run a.toml --resume monday --sim").resume(), Resume::Run("monday".into()));
    }

    #[test]
    fn the_suggested_command_means_the_same_run_and_resumes_it() {
        for (line, expected) in [
            ("runner run a.toml", "runner run a.toml --resume"),
            ("runner run a.toml --resume", "runner run a.toml --resume"),
            ("runner run a.toml --sim=H100 -q", "runner run a.toml '--sim=H100' --resume"),
            (
                "runner run a.toml --set a.b=x=y --only -c8-* --name n --results r --sim --resume",
                "runner run a.toml --set 'a.b=x=y' --name n '--only=-c8-*' --results r --sim --resume",
            ),
            ("runner run a.toml --resume monday", "runner run a.toml --resume monday"),
        ] {
            let line = line.replace("--only -c8-*", "--only=-c8-*");
            let command = run(&line).resume_command("runner");
            assert_eq!(command, expected);
            let words = shlex::split(&command).unwrap();
            let Verb::Run(again) = Cli::try_parse_from(words).unwrap().verb else { panic!("{command}") };
            assert_eq!(again.resume_command("runner"), command);
        }
        let odd = Cli::try_parse_from(["runner", "run", "my day's.toml"]).unwrap();
        let Verb::Run(odd) = odd.verb else { panic!() };
        assert_eq!(odd.resume_command("./a b/runner"), "'./a b/runner' run \"my day's.toml\" --resume");
    }

    #[test]
    fn set_and_only_add_up_and_values_may_hold_equal_signs() {
        let run = run(
            "runner run a.toml --set server.env.X=a=b --only chat-* --set experiment.seed=3 --only batch-* -q",
        );
        assert_eq!(run.manifest.set, ["server.env.X=a=b", "experiment.seed=3"], "in the order given");
        assert_eq!(run.only, ["chat-*", "batch-*"]);
        assert!(run.settings.messages.quiet);
    }

    #[test]
    fn arguments_of_the_engine_and_the_guard_pass_unchanged() {
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
