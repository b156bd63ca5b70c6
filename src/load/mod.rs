//! Requests, arrivals and a stop → [`Record`]s: the streaming client.
//!
//! The client speaks HTTP/1.1 by itself, over anything that reads and writes: connections can be opened before the clock
//! starts, what a request used is known, tests run it over an in-memory pipe under paused time, which over a real socket
//! would jump, and an event costs little more than its bytes. Compression is not asked for: it holds tokens back. A redirect is
//! not followed, and nothing is tried again unless the workload asks for it: a request that was refused is a result. Nothing here waits for a screen
//! or a disk.
//!
//! # What an answer ends as
//!
//! Every arrival ends in exactly one [`Outcome`]. `tests/faults/requests.rs` drives each of these over a real socket and follows it to
//! the cell's outcome, its verdicts and the exit code. The last column is what other clients were seen to make of it.
//!
//! | the server sends | here | elsewhere |
//! |---|---|---|
//! | CR LF, or no space behind `data:` | completed | `vllm bench serve`: every request fails |
//! | a first event without output | completed; the first output is the first token | `vllm bench serve`: TTFT of that event, 3 ms for 100 |
//! | comments, other fields, several events or one byte in a write | completed | |
//! | several tokens in an event | completed; tokens by `usage`, `tokens_per_chunk` says how many | |
//! | reasoning, tool calls | completed: both are output | |
//! | usage in every event | completed; the last one counts | |
//! | no usage | completed; every number of tokens is absent | words counted as tokens, or 0 tokens as a success |
//! | no `[DONE]` behind a `finish_reason` | completed | |
//! | JSON in place of a stream | completed; no TTFT, ITL, TPOT | |
//! | neither `finish_reason` nor `[DONE]`, or a cut connection | truncated | completed |
//! | `finish_reason: abort` | aborted | |
//! | an error event after 200 | server_error | |
//! | gzip that nobody asked for | completed; tokens that a block held back arrive at one instant, which a verdict says | |
//! | broken JSON, or an unknown coding | malformed | |
//! | no event, or none with output | empty | 0 tokens as a success |
//! | another status than 200, a redirect among them | rejected(status) | all but two of seven clients: zeros or nothing, exit 0 |
//! | nothing more, the connection open | timed_out(first_token or rest) | |
//! | a connection that ends before the head | reset | |
//! | the same within a second, on a connection that was used before | as of a second try, on a new connection | |

mod alarm;
mod answer;
mod chunks;
mod closed;
mod connection;
mod content_coding;
mod drive;
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
mod schedule;
mod sink;
mod sse;
#[cfg(test)]
mod tests;

pub use alarm::Timer;
pub use chunks::Chunks;
pub use connection::{Connect, ConnectError, Stream, Target};
pub use drive::{Drive, drive};
pub use health::{ClientHealth, LoopDelay, with_health};
pub use open_files::{raise_open_files, too_many_connections};
pub use progress::Progress;
pub use record::{Outcome, Phase, Record, Usage, Wait};
pub use recorder::Recorder;
pub use records::{Iter, Packer, Records};
pub use schedule::{Closed, MOST_ARRIVALS, Open, Schedule, Think, schedule};
pub use sink::Sink;
