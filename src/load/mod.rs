//! Requests, arrivals and a stop → [`Record`]s: the streaming client.
//!
//! The client speaks HTTP/1.1 by itself, over anything that reads and writes: connections can be opened before the clock
//! starts, what a request used is known, tests run it over an in-memory pipe under paused time, which over a real socket
//! would jump, and an event costs little more than its bytes. Compression is not asked for: it holds tokens back. A redirect is
//! not followed, and nothing is tried again: a request that was refused is a result. Nothing here waits for a screen
//! or a disk.

mod alarm;
mod chunks;
mod closed;
mod connection;
mod drive;
mod event;
mod exchange;
mod health;
mod http;
mod open;
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
pub use progress::Progress;
pub use record::{Outcome, Phase, Record, Usage, Wait};
pub use recorder::Recorder;
pub use records::{Iter, Packer, Records};
pub use schedule::{Closed, MOST_ARRIVALS, Open, Schedule, schedule};
pub use sink::Sink;
