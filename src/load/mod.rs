//! Requests, arrivals and a stop → [`Record`]s: the streaming client.
//!
//! The client speaks HTTP/1 through hyper's own connections rather than through reqwest: connections can be opened before
//! the clock starts, what a request used is known, and tests run it over an in-memory pipe under paused time, which over a
//! real socket would jump. It is not a matter of speed; both layers read about two million events a second on one core.
//! Compression is not asked for: it holds tokens back. Nothing here waits for a screen or a disk.

mod alarm;
mod chunks;
mod closed;
mod connection;
mod drive;
mod event;
mod exchange;
mod health;
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
