//! The types of a manifest's tables. They define its keys, and their doc comments are the descriptions in
//! `runner schema` and in findings.

mod experiment;
mod metric;
mod prompts;
mod repeats;
mod search;
mod server;
mod sim;
mod slo;
mod workload;

pub use experiment::*;
pub use metric::*;
pub use prompts::*;
pub use repeats::*;
pub use search::*;
pub use server::*;
pub use sim::*;
pub use slo::*;
pub use workload::*;

/// Whether a value is the default. Keys that were added later are left out of the canonical form then, which
/// keeps ids stable.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
