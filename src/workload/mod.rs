//! The `workload` room.
