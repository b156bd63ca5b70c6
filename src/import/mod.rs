//! Imports what other tools measured, as a [`StoredRun`](crate::store::StoredRun) to compare with and to
//! render notes from.
//!
//! It reads tables (CSV), results of `vllm bench serve` and `vllm bench sweep serve`, reports of GuideLLM,
//! and summaries of AIPerf. What a file does not state stays absent; percentiles without samples are kept as
//! reported; all numbers are marked as imported.
//!
//! ```
//! use runner::import::{File, Options, import};
//!
//! let text = "concurrency,p95_e2e_s,throughput_tok_s\n1,1.5,48\n8,2.25,283\n";
//! let table = File { name: "grid.csv".into(), text: text.into() };
//! let options = Options { name: "theirs".into(), workload: "chat".into(), ..Options::default() };
//! let (run, _) = import(&[table], &options, jiff::Timestamp::UNIX_EPOCH).expect("the table is valid");
//! assert_eq!(run.cells[1].reported["p95_e2e_ms"], 2250.0);
//! ```

mod aiperf;
mod files;
mod guidellm;
mod json_field;
mod measurement;
mod options;
mod read;
mod run;
mod table;
#[cfg(test)]
mod tests;
mod verdicts;
mod vllm;

pub use files::{File, files};
pub use options::Options;
pub use read::import;
