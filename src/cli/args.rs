//! The words on the command line, and the help that teaches them.

use std::ffi::OsString;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueHint, error::ErrorKind};

pub use super::args_import::{Export, Import, Wanted};
pub use super::args_predict::{Calibrate, Predict};
use super::{exit::Exit, settings::ColorChoice};
use crate::report::Gate;

/// Measure what an LLM server can really do, from a TOML manifest.
#[derive(Debug, Parser)]
#[command(
    name = "runner",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    subcommand_required = true,
    long_about = "Measure what an LLM server can really do, from a TOML manifest.\n\n\
        A manifest declares a server, workloads, the values to sweep and the latency targets. `run` starts each \
        distinct server once, measures every cell on it, and leaves a folder of tables, raw records and Markdown \
        notes under results/.\n\n\
        A first quarter of an hour, no GPU needed:\n\n  \
        runner init                           write experiments/first.toml, with comments\n  \
        runner check experiments/first.toml   find mistakes before a model loads\n  \
        runner plan experiments/first.toml    see every cell and every server start\n  \
        runner run experiments/first.toml     measure, and write the notes",
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
    Run(Run),
    /// Find every mistake in a manifest without starting a server.
    Check(Check),
    /// Show the cells and the server starts of a manifest, in order.
    Plan(Plan),
    /// Predict every cell of a manifest, in virtual time.
    Predict(Predict),
    /// Fit the constants of a prediction to a measured run.
    Calibrate(Calibrate),
    /// Write the notes of a stored run again.
    Report(Report),
    /// Lay two stored runs side by side: another GPU, quantization, version or flag.
    Compare(Compare),
    /// Take what another tool measured as a run to compare with.
    Import(Import),
    /// Write every cell of stored runs as JSON Lines, for notebooks.
    Export(Export),
    /// Write the scripts that start the manifest's servers by hand.
    Recipe(Recipe),
    /// Serve the embedded engine: no GPU, no vLLM, an OpenAI-compatible API.
    #[command(
        long_about = "Serve the embedded engine: no GPU, no vLLM, an OpenAI-compatible API.\n\n\
            The words after `sim` are read as the engine's own command line. A manifest with engine = \"sim\" \
            starts this by itself; by hand it is a server to try a client against. What it answers is simulated \
            and marked so wherever it is shown.\n\n\
            Words of its own, beside those of `vllm serve` (`runner schema` says what each means, under SimScript and Faults):\n  \
            --sim-ttft 40ms  --sim-per-token 8ms  --sim-per-token-load 100us  --sim-jitter 0.05\n  \
            --sim-startup 300ms  --sim-kv-tokens 40000  --sim-gpu H100  --sim-seed 1\n  \
            --sim-out-of-memory, --sim-crash, --sim-hang   at_request=20 or after=5s\n  \
            --sim-hang-at-start\n  \
            --sim-fault cut=0.1 crlf=1 …   the share of answers with a fault; an unknown one lists all\n  \
            --sim-http-status 503          of the fault http_error\n\n\
            Examples:\n  \
            runner sim any/model --port 8000\n  \
            runner sim any/model --port 8000 --sim-fault http_error=0.05 stall=0.01"
    )]
    Sim(Raw),
    /// Write a commented manifest to begin with.
    Init(Init),
    /// Print the JSON Schema of manifests, for editors.
    #[command(long_about = "Print the JSON Schema of manifests, for editors.\n\n\
            Examples:\n  \
            runner schema > runner.schema.json\n\n\
            Then put `#:schema ./runner.schema.json` on a manifest's first line: editors with a TOML language server \
            complete and check its keys.")]
    Schema,
    /// Print the completions of a shell.
    #[command(long_about = "Print the completions of a shell.\n\n\
            Examples:\n  \
            runner completions bash > ~/.local/share/bash-completion/completions/runner\n  \
            runner completions zsh > ~/.zfunc/_runner\n  \
            runner completions fish > ~/.config/fish/completions/runner.fish")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Start a server and end its process tree when the runner is gone; the runner starts this itself.
    #[command(hide = true, disable_help_flag = true, disable_version_flag = true)]
    Guard(Raw),
    /// Run a command that is to answer and end, and end its process tree with it; the runner starts this itself.
    #[command(hide = true, disable_help_flag = true, disable_version_flag = true)]
    Ask(Raw),
}

/// `runner run`
#[derive(Debug, Args)]
#[command(
    long_about = "Measure every cell of a manifest and write the notes.\n\n\
        Each distinct server is started once, waited for, and stopped when its cells are done. A server that runs out of \
        memory is a result; the sweep goes on. Everything is stored as soon as it is measured: Ctrl-C once ends cleanly \
        and keeps it, twice ends now.\n\n\
        Examples:\n  \
        runner run experiments/day003.toml\n  \
        runner run experiments/day003.toml --sim                 the same plan on the embedded engine\n  \
        runner run experiments/day003.toml --sim=H100            as if on that GPU: what would not start does not\n  \
        runner run experiments/day003.toml --only 'chat-*'       some of its cells\n  \
        runner run experiments/day003.toml --set workload.chat.requests=64\n  \
        runner run experiments/day003.toml --resume              go on with the newest run\n  \
        runner run experiments/day003.toml --resume a100-monday  go on with that one",
    after_help = Exit::help()
)]
pub struct Run {
    /// What is asked.
    #[command(flatten)]
    pub manifest: Manifest,
    /// Name of the run's folder; the UTC time and the hardware unless told.
    #[arg(long, value_name = "NAME", conflicts_with = "resume")]
    pub name: Option<String>,
    /// Go on with a stored run: the newest of the experiment, or the one named. What is missing, failed or changed is
    /// measured; another GPU or engine is refused.
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = "")]
    pub resume: Option<String>,
    /// Only cells whose id matches; `*` stands for anything, and a pattern without one may stand anywhere in the id. May be
    /// given several times.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
    /// Answer with the embedded engine instead of the manifest's: the whole run without a GPU, marked as simulated. With
    /// the name of a GPU, its memory is rehearsed too.
    #[arg(long, value_name = "GPU", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub sim: Option<String>,
    /// Folder that holds the experiments' results [default: results].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub results: Option<Utf8PathBuf>,
    /// Folder with note templates of your own [default: templates, where it exists].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub templates: Option<Utf8PathBuf>,
    /// How to talk.
    #[command(flatten)]
    pub talk: Talk,
}

impl Run {
    /// The run to go on with: `None` starts anew, `Some(None)` is the newest.
    pub fn resumed(&self) -> Option<Option<&str>> {
        self.resume
            .as_deref()
            .map(|run| (!run.is_empty()).then_some(run))
    }
}

/// A manifest and what the command line changes in it.
#[derive(Debug, Args)]
pub struct Manifest {
    /// The manifest, a TOML file.
    #[arg(value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    pub path: Utf8PathBuf,
    /// Change a value of the manifest: a path in TOML's key syntax, and a value read as TOML, else as text. May be
    /// given several times.
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
}

/// How to talk on stderr.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Talk {
    /// Say only what went wrong.
    #[arg(short, long)]
    pub quiet: bool,
    /// When to use colour [default: auto, on a terminal].
    #[arg(long, value_name = "WHEN", value_enum)]
    pub color: Option<ColorChoice>,
}

/// `runner check`
#[derive(Debug, Args)]
#[command(
    long_about = "Find every mistake in a manifest without starting a server.\n\n\
        All findings are shown at once, each at its line. The engine is asked for the flags it knows, so that a wrong one is \
        found before a model loads.\n\n\
        Examples:\n  \
        runner check experiments/day003.toml\n  \
        runner check experiments/day003.toml --set server.flags.max-model-len=8192",
    after_help = Exit::help()
)]
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
#[command(
    long_about = "Show the cells and the server starts of a manifest, in order.\n\n\
        Nothing is started. Cells that the manifest skips are listed with their reason.\n\n\
        Examples:\n  \
        runner plan experiments/day003.toml\n  \
        runner plan experiments/day003.toml --only '*-c8-*'\n  \
        runner plan experiments/day003.toml --sim=A100           what would fit on another GPU\n  \
        runner plan experiments/day003.toml --json | jq '.groups[].cells[].id'",
    after_help = Exit::help()
)]
pub struct Plan {
    /// What is planned.
    #[command(flatten)]
    pub manifest: Manifest,
    /// Plan for the embedded engine; with the name of a GPU, say what fits on it.
    #[arg(long, value_name = "GPU", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub sim: Option<String>,
    /// Print the plan as JSON.
    #[arg(long)]
    pub json: bool,
    /// Only cells whose id matches; `*` stands for anything, and a pattern without one may stand anywhere in the id. May be
    /// given several times.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
    /// How to talk.
    #[command(flatten)]
    pub talk: Talk,
}

/// `runner report`
#[derive(Debug, Args)]
#[command(
    long_about = "Write the notes of a stored run again.\n\n\
        The light files that git keeps suffice: a clone gives the same notes, byte for byte. Templates are minijinja; a \
        file of your own replaces the built-in one of the same name.\n\n\
        Examples:\n  \
        runner report day003                                     the newest run of that experiment\n  \
        runner report results/day003/20260301T101500Z-rtx2000\n  \
        runner report day003 --values                            everything a template may name\n  \
        runner report day003 --stdout capacity.md                one note, to stdout",
    after_help = Exit::help()
)]
pub struct Report {
    /// A run's folder, or an experiment's name for its newest run.
    #[arg(value_name = "RUN_FOLDER_OR_EXPERIMENT", value_hint = ValueHint::DirPath)]
    pub run: Utf8PathBuf,
    /// Folder that holds the experiments' results [default: results].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub results: Option<Utf8PathBuf>,
    /// Folder with note templates of your own [default: templates, where it exists].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub templates: Option<Utf8PathBuf>,
    /// List the values a template can see, and write nothing.
    #[arg(long, conflicts_with = "stdout")]
    pub values: bool,
    /// Print one note instead of writing all.
    #[arg(long, value_name = "NAME")]
    pub stdout: Option<String>,
    /// How to talk.
    #[command(flatten)]
    pub talk: Talk,
}

/// `runner compare`
#[derive(Debug, Args)]
#[command(
    long_about = "Lay two stored runs side by side: another GPU, quantization, version or flag.\n\n\
        Cells are joined by workload and axis values. Every ratio comes with its 95 % interval, and is called better, \
        worse, or within the noise. When something else than the machine differs (the model, a flag, the lengths, the \
        engine's version, this client), the comparison is refused and the key named; --despite KEY says that this is \
        what you want to compare.\n\n\
        Examples:\n  \
        runner compare day003-a100 day003                        the newest runs of two experiments\n  \
        runner compare results/day003/monday results/day003/friday\n  \
        runner compare awq bf16 --despite model --despite flags.quantization\n  \
        runner compare day003 baseline --fail-on 'p95_ttft_ms > +10%'",
    after_help = Exit::help()
)]
pub struct Compare {
    /// The run: its folder, or an experiment's name for its newest run.
    #[arg(value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub run: Utf8PathBuf,
    /// What it is compared to; with several, to each in turn.
    #[arg(value_name = "ANCHOR", required = true, value_hint = ValueHint::DirPath)]
    pub anchors: Vec<Utf8PathBuf>,
    /// A key that may differ; what begins with it before a dot may, too. May be given several times.
    #[arg(long, value_name = "KEY")]
    pub despite: Vec<String>,
    /// End with 5 when a metric of a cell changed by more than this: 'p95_ttft_ms > +10%'. May be given several times.
    #[arg(long, value_name = "CONDITION")]
    pub fail_on: Vec<Gate>,
    /// Folder that holds the experiments' results [default: results].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub results: Option<Utf8PathBuf>,
    /// Folder with templates of your own [default: templates, where it exists].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub templates: Option<Utf8PathBuf>,
    /// How to talk.
    #[command(flatten)]
    pub talk: Talk,
}

/// `runner recipe`
#[derive(Debug, Args)]
#[command(
    long_about = "Write the scripts that start the manifest's servers by hand.\n\n\
        For every distinct server a serve.sh, quoted for a shell, and a config.yaml that `vllm serve --config` reads. A \
        run stores the same two files beside each server's results.\n\n\
        Examples:\n  \
        runner recipe experiments/day003.toml\n  \
        runner recipe experiments/day003.toml --out deploy",
    after_help = Exit::help()
)]
pub struct Recipe {
    /// Whose servers.
    #[command(flatten)]
    pub manifest: Manifest,
    /// Folder to write to, one folder a server.
    #[arg(long, value_name = "DIR", default_value = "recipe", value_hint = ValueHint::DirPath)]
    pub out: Utf8PathBuf,
    /// How to talk.
    #[command(flatten)]
    pub talk: Talk,
}

/// `runner init`
#[derive(Debug, Args)]
#[command(long_about = "Write a commented manifest to begin with.\n\n\
        It explains every common key and runs anywhere: it uses the embedded engine until you change one line. A file \
        that exists is never overwritten.\n\n\
        Examples:\n  \
        runner init\n  \
        runner init experiments/oom-surface.toml")]
pub struct Init {
    /// Where to write it.
    #[arg(value_name = "PATH", default_value = super::init::DEFAULT_PATH, value_hint = ValueHint::FilePath)]
    pub path: Utf8PathBuf,
}

/// Words that another parser reads.
#[derive(Debug, Args)]
pub struct Raw {
    /// Passed on as they are.
    #[arg(
        value_name = "ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
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
        assert_eq!(
            run("runner run a.toml --resume monday --sim").resumed(),
            Some(Some("monday"))
        );
    }

    #[test]
    fn set_and_only_add_up_and_values_may_hold_equal_signs() {
        let run = run(
            "runner run a.toml --set server.env.X=a=b --only chat-* --set experiment.seed=3 --only batch-* -q",
        );
        assert_eq!(
            run.manifest.set,
            ["server.env.X=a=b", "experiment.seed=3"],
            "in the order given"
        );
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
            let Verb::Guard(raw) = parse(line).unwrap().verb else {
                panic!("not guard")
            };
            assert!(!raw.words.is_empty(), "{line}");
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
