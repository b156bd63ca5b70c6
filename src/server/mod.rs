//! Server specification → a ready server, or how it ended.

mod outcome;

pub use outcome::{Facts, OomAt, ServerOutcome, StartPhase};
