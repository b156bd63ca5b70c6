//! Requests, arrivals and a stop → [`Record`]s: the streaming client.

mod progress;
mod record;

pub use progress::Progress;
pub use record::{Outcome, Phase, Record, Usage, Wait};
