//! The words of `predict` and `calibrate`.

use camino::Utf8PathBuf;
use clap::{Args, ValueHint};

use super::{
    args::{Manifest, Talk},
    exit::Exit,
};

/// `runner predict`
#[derive(Debug, Args)]
#[command(
    long_about = "Predict every cell of a manifest, in virtual time; or lay predictions beside a measured run.\n\n\
        Nothing is started. The cells' own requests arrive at a model of vLLM: its scheduler, its KV cache, and steps as long \
        as a roofline of the hardware says. What is printed is predicted, not measured.\n\n\
        With a run in place of a manifest its cells are predicted as they were asked, where answers end by themselves with the \
        length that was measured; predicted.json, the table, the notes and the page of the run then show both.\n\n\
        Examples:\n  \
        runner predict experiments/day003.toml\n  \
        runner predict experiments/day003.toml --gpu L4 --json\n  \
        runner predict experiments/day003.toml --gpu A100 --name a100-predicted   notes, charts and page, as of a run\n  \
        runner predict experiments/day003.toml --only 'chat-*' --against measured.csv\n  \
        runner predict day003                                     its newest run, predicted beside measured\n  \
        runner predict results/day003/monday --gpu L4 --calibration l4.toml",
    after_help = Exit::help()
)]
pub struct Predict {
    /// A manifest; or a measured run, to lay predictions beside it: its folder, or an experiment's name for its newest run.
    #[arg(value_name = "MANIFEST_OR_RUN", value_hint = ValueHint::AnyPath)]
    pub target: Utf8PathBuf,
    /// Change a value of the manifest: a path in TOML's key syntax, and a value read as TOML, else as text. May be
    /// given several times.
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Of a run: the manifest with its prompts [default: the run's own copy, or the one its command names].
    #[arg(long, value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    pub manifest: Option<Utf8PathBuf>,
    /// The GPU it would run on (default: `hardware.gpu`, or the one that `hardware.label` means; of a run also the one it saw).
    #[arg(long, value_name = "NAME")]
    pub gpu: Option<String>,
    /// Constants that `runner calibrate` fitted, in place of the catalogue's.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub calibration: Option<Utf8PathBuf>,
    /// A CSV of measurements to lay beside: p50_e2e_ms, and the columns a cell is found by.
    #[arg(long, value_name = "CSV", value_hint = ValueHint::FilePath)]
    pub against: Option<Utf8PathBuf>,
    /// How long answers are that end by themselves, as part of max_tokens.
    #[arg(long, value_name = "PART", default_value_t = 1.0, value_parser = part)]
    pub answers: f64,
    /// Store it as a run of that name, results/EXPERIMENT/NAME, with notes, charts and page; all of it says that it is
    /// predicted. `report`, `compare` and `export` take it like a measured one.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Print JSON.
    #[arg(long, conflicts_with = "against")]
    pub json: bool,
    /// Print the rows of cells.csv.
    #[arg(long, conflicts_with_all = ["against", "json"])]
    pub csv: bool,
    /// Only cells whose id matches; `*` stands for anything, and a pattern without one may stand anywhere in the id. May be
    /// given several times.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
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

impl Predict {
    /// Whether a stored run is meant, and not a manifest.
    pub fn is_of_run(&self) -> bool {
        let path = &self.target;
        path.join("run.json").exists() || !(path.is_file() || path.extension() == Some("toml"))
    }

    /// The manifest that is meant.
    pub fn as_manifest(&self) -> Manifest {
        Manifest {
            path: self.target.clone(),
            set: self.set.clone(),
        }
    }

    /// An option that only a manifest has, where one was given.
    pub fn of_manifest(&self) -> Option<&'static str> {
        [
            (self.name.is_some(), "--name"),
            (self.against.is_some(), "--against"),
            (!self.set.is_empty(), "--set"),
            (!self.only.is_empty(), "--only"),
        ]
        .into_iter()
        .find_map(|(given, option)| given.then_some(option))
    }
}

/// `runner calibrate`
#[derive(Debug, Args)]
#[command(
    long_about = "Fit the constants of a prediction to a measured run.\n\n\
        Bandwidth and throughput that the hardware really reaches, and what every step and every sequence takes, so that \
        predicted cells come closest to the measured ones. `runner predict --calibration FILE` uses them for other cells, \
        lengths and flags.\n\n\
        Examples:\n  \
        runner calibrate day003 -o rtx2000.toml\n  \
        runner calibrate results/cpu-smollm2/cpu-2core --gpu cpu --only 'c1-' --only 'c8-' -o cpu.toml",
    after_help = Exit::help()
)]
pub struct Calibrate {
    /// The run: its folder, or an experiment's name for its newest run.
    #[arg(value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub run: Utf8PathBuf,
    /// Where the constants go [default: printed].
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<Utf8PathBuf>,
    /// The GPU of the run (default: the one that `hardware.label` means).
    #[arg(long, value_name = "NAME")]
    pub gpu: Option<String>,
    /// The manifest with the run's prompts [default: the run's own copy, or the one its command names].
    #[arg(long, value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    pub manifest: Option<Utf8PathBuf>,
    /// Only cells whose id matches. May be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
    /// Folder that holds the experiments' results [default: results].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub results: Option<Utf8PathBuf>,
    /// How to talk.
    #[command(flatten)]
    pub talk: Talk,
}

fn part(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(part) if part > 0.0 && part <= 1.0 => Ok(part),
        _ => Err("write a part of max_tokens, more than 0 and at most 1".to_owned()),
    }
}
