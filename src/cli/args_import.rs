//! The words of `import` and `export`.

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum, ValueHint};

use super::{args::Talk, exit::Exit};
use crate::{
    manifest::{Objective, Slo, SloTerm},
    unit::TimeSpan,
};

/// `runner import`
#[derive(Debug, Args)]
#[command(
    long_about = "Take what another tool measured as a run to compare with and to render notes from.\n\n\
        Read are tables with one row per cell (CSV with columns such as concurrency, max_tokens, p95_e2e_ms, \
        throughput_tok_s), results of `vllm bench serve`, folders of `vllm bench sweep serve`, GuideLLM's benchmarks.json \
        and AIPerf's profile_export_aiperf.json. What a file does not say stays absent, and everything is marked as \
        imported.\n\n\
        Examples:\n  \
        runner import grid.csv --as journal --slo p95_e2e=3s --caveat 'Counts words, not tokens.'\n  \
        runner import sweep-results/ --as sweep --gpu A100-40GB\n  \
        runner import c*/profile_export_aiperf.json --as aiperf --workload chat\n  \
        runner compare day003 journal --despite client",
    after_help = Exit::help()
)]
pub struct Import {
    /// Files, or folders that hold them.
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::AnyPath)]
    pub files: Vec<Utf8PathBuf>,
    /// What the run is called: results/NAME/imported.
    #[arg(long = "as", value_name = "NAME")]
    pub name: String,
    /// The workload's name, where a file does not say. Cells are compared with those of the same name.
    #[arg(long, value_name = "NAME", default_value = "chat")]
    pub workload: String,
    /// What the machine is called; of a file with several machines, the one to take.
    #[arg(long, value_name = "LABEL")]
    pub gpu: Option<String>,
    /// The price of an hour of the machine.
    #[arg(long, value_name = "USD")]
    pub usd_per_hour: Option<f64>,
    /// The model, where a file does not say.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// How many requests the numbers of a cell rest on, where a file does not say.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// A latency target to rank by. May be given several times.
    #[arg(long, value_name = "TERM=LIMIT", value_parser = slo_term)]
    pub slo: Vec<SloTerm>,
    /// What the workload wants most.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub objective: Wanted,
    /// A column of a table that is something the server was started with. May be given several times.
    #[arg(long, value_name = "COLUMN")]
    pub axis: Vec<String>,
    /// A sentence on what is to be known of these numbers, repeated in the notes. May be given several times.
    #[arg(long, value_name = "TEXT")]
    pub caveat: Vec<String>,
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

impl Import {
    /// The targets as one.
    pub fn slo(&self) -> Slo {
        Slo(self.slo.clone())
    }
}

/// What a workload wants most.
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

/// `p95_e2e=3s`
fn slo_term(text: &str) -> Result<SloTerm, String> {
    let (key, limit) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is no target; write p95_e2e=3s"))?;
    let (percentile, metric) = SloTerm::parse_key(key.trim())?;
    let limit: TimeSpan = limit.trim().parse()?;
    Ok(SloTerm {
        percentile,
        metric,
        limit,
    })
}

/// `runner export`
#[derive(Debug, Args)]
#[command(
    long_about = "Write every cell of stored runs as JSON Lines, for notebooks.\n\n\
        One flat object a line: where the cell stands (every axis and load value), what it was measured on, how it ended, \
        and every number of its summary under the names of cells.csv. Absent numbers are null.\n\n\
        Examples:\n  \
        runner export day003 -o day003.jsonl\n  \
        runner export day003 journal | jq -s 'map(select(.concurrency == 8))'\n  \
        python -c \"import pandas; print(pandas.read_json('day003.jsonl', lines=True))\"",
    after_help = Exit::help()
)]
pub struct Export {
    /// Runs: their folders, or experiments' names for their newest runs.
    #[arg(value_name = "RUN", required = true, value_hint = ValueHint::DirPath)]
    pub runs: Vec<Utf8PathBuf>,
    /// Where to write to [default: stdout].
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<Utf8PathBuf>,
    /// Folder that holds the experiments' results [default: results].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub results: Option<Utf8PathBuf>,
    /// How to talk.
    #[command(flatten)]
    pub talk: Talk,
}
