//! The streaming client: sends the requests of a cell on schedule and stamps every chunk of their answers.
//!
//! A [`Repeat`] says what to send and when; [`run_repeat`] sends it and hands a [`Record`] for each arrival
//! to a [`Sink`], such as the [`Recorder`] that keeps them in bounded memory.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use runner::{
//!     load::{Outcome, Record, Repeat, Target, Timer, run_repeat, schedule},
//!     manifest::Inputs,
//!     plan::Cell,
//!     workload::requests,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // One request, to a port where no server listens.
//! let cell: Cell = serde_json::from_value(serde_json::json!({
//!     "id": "example", "workload": "chat", "max_tokens": 8, "axes": {}, "seed": 7,
//!     "spec": { "prompts": ["Hello"], "concurrency": 1 }, "stop": { "requests": 1 },
//! }))?;
//! let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
//! let target = Target::parse(&format!("http://127.0.0.1:{port}"))?;
//! let repeat = Repeat {
//!     requests: Arc::new(requests(&cell, &Inputs::default(), "model", 1)?),
//!     schedule: schedule(&cell, &Inputs::default(), 1)?,
//!     stop: cell.stop,
//!     warmup: 0,
//!     timeout: std::time::Duration::from_secs(60),
//!     retries: 0,
//!     timer: Timer::Kernel,
//!     authority: target.authority(),
//!     base: target.base().to_owned(),
//!     api_key: None,
//! };
//! let (_keep, cancel) = tokio::sync::watch::channel(false);
//! let sink = Arc::new(Mutex::new(Vec::<Record>::new()));
//! run_repeat(repeat, target, Arc::default(), cancel, sink.clone()).await?;
//! assert_eq!(sink.lock().expect("no panic")[0].outcome, Outcome::Refused);
//! # Ok(())
//! # }
//! ```
//!
//! # Why the client reads HTTP itself
//!
//! The first version used hyper. Profiled at 16 events per write, each in a chunk of its own as vLLM sends
//! them, it took 0.9 s of CPU time per million events: about half in serde_json, which copied every text, and
//! most of the rest in hyper's channel between connection and body, which hands over one chunk at a time.
//! Parsing HTTP/1.1 in place (`http`) and comparing each event with the last one before parsing it (`event`)
//! brought that to 0.28 s, 1.4 times a raw reader that only counts events. A stream in flight takes 6 KB,
//! because streams share one read buffer. `httparse`, hyper's own parser, still reads the heads. `cargo bench
//! --bench load` measures all of this again; `tests/bench/README.md` explains how.
//!
//! Its own client also allows what the measurement needs: connections are opened before the clock starts, a
//! record knows whether its connection was reused, and tests run over in-memory pipes under paused time. It
//! requests no compression, which would hold tokens back, follows no redirect, and retries only where the
//! workload says so: a rejected request is a result. Nothing on the client's thread waits for a screen or a
//! disk.
//!
//! # Outcomes
//!
//! Every arrival ends in exactly one [`Outcome`]. `tests/faults/requests.rs` produces each of these over a
//! real socket and checks the cell's outcome, its verdicts and the exit code. The last column is what other
//! clients were observed to report.
//!
//! | the server sends | outcome | other clients |
//! |---|---|---|
//! | CR LF, or no space behind `data:` | completed | `vllm bench serve`: every request fails |
//! | a first event without output | completed; TTFT is that of the first output | `vllm bench serve`: TTFT of that event, 3 ms instead of 100 |
//! | comments, other fields, several events or one byte in a write | completed | |
//! | several tokens per event | completed; tokens are counted by `usage`, see `tokens_per_chunk` | |
//! | reasoning, tool calls | completed: both are output | |
//! | usage in every event | completed; the last one counts | |
//! | no usage | completed; all token counts are absent | count words as tokens, or report 0 tokens as a success |
//! | no `[DONE]` after a `finish_reason` | completed | |
//! | one JSON value instead of a stream | completed; no TTFT, ITL, TPOT | |
//! | neither `finish_reason` nor `[DONE]`, or a cut connection | truncated | completed |
//! | `finish_reason: abort` | aborted | |
//! | an error event after 200 | server_error | |
//! | gzip that was not requested | completed; tokens of one block arrive at one instant, which a verdict reports | |
//! | broken JSON, or an unknown coding | malformed | |
//! | no event, or none with output | empty | report 0 tokens as a success |
//! | another status than 200, including redirects | rejected(status) | five of seven clients: zeros or nothing, exit 0 |
//! | nothing more, on an open connection | timed_out(first_token or rest) | |
//! | a connection that ends before the head | reset | |
//! | the same within a second on a reused connection | that of a second attempt on a new connection | |

mod answer;
mod chunks;
mod closed;
mod connection;
mod content_coding;
mod error;
mod event;
mod exchange;
mod health;
mod http;
mod open;
mod open_files;
mod progress;
mod record;
mod recorder;
mod records;
mod repeat;
mod schedule;
mod session;
mod sink;
mod sse;
#[cfg(test)]
mod tests;
mod timer;

pub use chunks::Chunks;
pub use connection::{Connect, ConnectError, Stream, Target};
pub use error::LoadError;
pub use health::{ClientHealth, LoopDelay, with_health};
pub use open_files::{raise_open_files, too_many_connections};
pub use progress::Progress;
pub use record::{Outcome, Phase, Record, UnknownOutcome, Usage, Wait};
pub use recorder::Recorder;
pub use records::{Iter, Packer, Records};
pub use repeat::run_repeat;
pub use schedule::{Closed, MOST_ARRIVALS, Open, Schedule, Think, schedule};
pub use session::Repeat;
pub use sink::Sink;
pub use timer::Timer;
