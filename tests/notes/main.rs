//! Notes: those of committed runs, and the findings on published measurements.

mod committed;
mod insight;
