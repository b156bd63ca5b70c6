//! The typed form of a manifest's tables. The doc comments here are what `runner schema` and the findings say, and
//! the types are the only place where the manifest's keys are named.

mod experiment;
mod prompts;
mod server;
mod sim;
mod slo;
mod workload;

pub use experiment::*;
pub use prompts::*;
pub use server::*;
pub use sim::*;
pub use slo::*;
pub use workload::*;

/// A key added later stays out of the canonical form while it has its default, so that older ids hold.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
