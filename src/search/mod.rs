//! Searches: decides from the stored probes of a search what to measure next, or what the answer is.
//!
//! Everything here is a pure function of the plan and the stored cells, so a run that is killed anywhere goes
//! on with the same bracket, and the notes come to the same answer as the run.

mod answer;
mod best;
mod bounds;
mod bracket;
mod load;
mod posterior;
mod probe;
mod ratio;
mod step;
mod surrogate;
mod table;
mod trust;
mod value;

pub use answer::{Answer, Candidate, Decision, Ending, State};
pub use best::decide as decide_best;
pub use bounds::{Bounds, bounds};
pub use load::{decide as decide_load, most_probes as most_load_probes};
pub use probe::{Evidence, Next, Probe, Score};
pub use ratio::Ratio;
pub use step::{answers, decide, next};
pub use table::table;
pub use value::most_starts;
