//! Notes: those of committed runs, and the findings on published measurements.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod committed;
mod insight;
