//! The arguments of `import` and `export`.

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum, ValueHint};

use super::{
    args::{NoteSettings, ResultSettings},
    exit::Exit,
};
use crate::{
    manifest::{Objective, SloTerm},
    unit::{TimeSpan, UnitError},
};

/// `runner import`
#[derive(Debug, Args)]
#[command(after_help = Exit::help_of_reading())]
pub struct Import {
    /// Files, or folders that contain them.
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::AnyPath)]
    pub files: Vec<Utf8PathBuf>,
    /// Name of the experiment: the run becomes results/NAME/imported.
    #[arg(long = "as", value_name = "NAME")]
    pub name: String,
    /// The workload's name, if the file does not say. `compare` joins cells of the same workload.
    #[arg(long, value_name = "NAME", default_value = "chat")]
    pub workload: String,
    /// Name of the GPU. A file with several GPUs: the one to import.
    #[arg(long, value_name = "LABEL")]
    pub gpu: Option<String>,
    /// Price of the machine in US dollars per hour.
    #[arg(long, value_name = "USD")]
    pub usd_per_hour: Option<f64>,
    /// The model, if the file does not say.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// The number of requests in each cell, if the file does not say.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// A latency target to rank by, such as p95_e2e=3s. Can be repeated.
    #[arg(long, value_name = "TERM=LIMIT", value_parser = slo_term)]
    pub slo: Vec<SloTerm>,
    /// What the workload is optimized for.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub objective: Wanted,
    /// A column of a table that is a server setting, such as max_num_seqs. Can be repeated.
    #[arg(long, value_name = "COLUMN")]
    pub axis: Vec<String>,
    /// A sentence that readers of these numbers must know; the notes repeat it. Can be repeated.
    #[arg(long, value_name = "TEXT")]
    pub caveat: Vec<String>,
    /// Settings of the tool.
    #[command(flatten)]
    pub settings: NoteSettings,
}

/// What a workload is optimized for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    /// Latency: a person waits.
    #[default]
    Latency,
    /// Tokens per second: nobody waits.
    Throughput,
}

impl From<Wanted> for Objective {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Latency => Self::Latency,
            Wanted::Throughput => Self::Throughput,
        }
    }
}

/// Parses `p95_e2e=3s`.
fn slo_term(text: &str) -> Result<SloTerm, String> {
    let (key, limit) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not a latency target; write for example p95_e2e=3s"))?;
    let (percentile, metric) = SloTerm::parse_key(key.trim()).map_err(|error| error.to_string())?;
    let limit: TimeSpan = limit.trim().parse().map_err(|error: UnitError| error.to_string())?;
    Ok(SloTerm { percentile, metric, limit })
}

/// `runner export`
#[derive(Debug, Args)]
#[command(after_help = Exit::help_of_reading())]
pub struct Export {
    /// Runs: their folders, EXPERIMENT/RUN, or experiments' names for their newest runs.
    #[arg(value_name = "RUN", required = true, value_hint = ValueHint::DirPath)]
    pub runs: Vec<Utf8PathBuf>,
    /// The file to write [default: stdout].
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<Utf8PathBuf>,
    /// Settings of the tool.
    #[command(flatten)]
    pub settings: ResultSettings,
}
