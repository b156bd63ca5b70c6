//! The arguments of `predict` and `calibrate`.

use camino::Utf8PathBuf;
use clap::{Args, ValueHint};

use super::{
    args::{Manifest, NoteSettings, ResultSettings},
    exit::Exit,
};

/// `runner predict`
#[derive(Debug, Args)]
#[command(after_help = Exit::help_of_reading())]
pub struct Predict {
    /// A manifest; or a measured run, to compare it with its prediction: its folder, EXPERIMENT/RUN, or an
    /// experiment's name.
    #[arg(value_name = "MANIFEST_OR_RUN", value_hint = ValueHint::AnyPath)]
    pub target: Utf8PathBuf,
    /// Change a value of the manifest, such as server.flags.max-model-len=8192. The value is read as TOML, or
    /// else as text. Can be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// For a run: the manifest with its prompts [default: the run's own copy, or the one in its command].
    #[arg(long, value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    pub manifest: Option<Utf8PathBuf>,
    /// The GPU to predict for [default: `hardware.gpu`, the GPU that `hardware.label` names, or the one the
    /// run saw].
    #[arg(long, value_name = "NAME")]
    pub gpu: Option<String>,
    /// Constants from `runner calibrate`, instead of the catalogue's.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub calibration: Option<Utf8PathBuf>,
    /// Measurements to compare with: a stored run, or any file that `import` reads, with a p50 E2E or a
    /// throughput and the columns that identify a cell.
    #[arg(long, value_name = "FILE_OR_RUN", value_hint = ValueHint::AnyPath)]
    pub against: Option<Utf8PathBuf>,
    /// The length of answers that end by themselves, as a fraction of max_tokens.
    #[arg(long, value_name = "PART", default_value_t = 1.0, value_parser = part)]
    pub answers: f64,
    /// Store the prediction as a run, results/EXPERIMENT/NAME, with notes, charts and page, all marked as
    /// predicted. `report`, `compare` and `export` take it like a measured one.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Print JSON.
    #[arg(long, conflicts_with = "against")]
    pub json: bool,
    /// Print the rows of cells.csv.
    #[arg(long, conflicts_with_all = ["against", "json"])]
    pub csv: bool,
    /// Only cells and searches whose id matches, such as 'chat-*'. `*` matches anything; a pattern without `*`
    /// matches any part of an id. Can be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
    /// Settings of the tool.
    #[command(flatten)]
    pub settings: NoteSettings,
}

impl Predict {
    /// Whether the target is a stored run, not a manifest.
    pub fn is_of_run(&self) -> bool {
        let path = &self.target;
        path.join("run.json").exists() || !(path.is_file() || path.extension() == Some("toml"))
    }

    /// The target as a manifest.
    pub fn as_manifest(&self) -> Manifest {
        Manifest { path: self.target.clone(), set: self.set.clone() }
    }

    /// Returns an option that was given and needs a manifest.
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
#[command(after_help = Exit::help_of_reading())]
pub struct Calibrate {
    /// The run: its folder, EXPERIMENT/RUN, or an experiment's name for its newest run.
    #[arg(value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub run: Utf8PathBuf,
    /// The file to write the constants to [default: stdout].
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<Utf8PathBuf>,
    /// The GPU of the run [default: the one that `hardware.label` names].
    #[arg(long, value_name = "NAME")]
    pub gpu: Option<String>,
    /// The manifest with the run's prompts [default: the run's own copy, or the one in its command].
    #[arg(long, value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    pub manifest: Option<Utf8PathBuf>,
    /// Only cells whose id matches. Can be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
    /// Settings of the tool.
    #[command(flatten)]
    pub settings: ResultSettings,
}

fn part(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(part) if part > 0.0 && part <= 1.0 => Ok(part),
        _ => Err("write a fraction of max_tokens, more than 0 and at most 1".to_owned()),
    }
}
