//! Requests, arrivals and a stop → [`Record`]s: the streaming client.
//!
//! The client speaks HTTP/1 through hyper's own connections rather than through reqwest: connections can be opened before
//! the clock starts, what a request used is known, and tests run it over an in-memory pipe under paused time, which over a
//! real socket would jump. It is not a matter of speed; both layers read about two million events a second on one core.
//! Compression is not asked for: it holds tokens back. Nothing here waits for a screen or a disk.

mod chunks;
mod connection;
mod drive;
mod event;
mod exchange;
mod health;
mod progress;
mod record;
mod recorder;
mod records;
mod sink;
mod sse;
#[cfg(test)]
mod tests;

pub use chunks::Chunks;
pub use connection::{Connect, ConnectError, Stream, Target};
pub use drive::{Drive, Schedule, drive};
pub use health::{ClientHealth, LoopDelay, watched};
pub use progress::Progress;
pub use record::{Outcome, Phase, Record, Usage, Wait};
pub use recorder::Recorder;
pub use records::{Iter, Packer, Records};
pub use sink::Sink;
