//! Fault injection: misbehaving answers, faults of a run, a failing stand-in for vLLM, and hostile servers.
//!
//! `RUNNER_TEST_WRITE=1 cargo test --test faults` writes the tables in the READMEs of `runs` and `hostile`
//! again.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

#[cfg(target_os = "linux")]
mod hostile;
mod requests;
mod runs;
mod standin;
mod table;

use std::thread::available_parallelism;

use libtest_mimic::Arguments;

/// Tests that run concurrently per core: they mostly wait for a server or a timeout.
const PER_CORE: usize = 3;

fn main() {
    let mut arguments = Arguments::from_args();
    let cores = available_parallelism().map_or(1, Into::into);
    arguments.test_threads.get_or_insert(cores * PER_CORE);
    let groups = [
        #[cfg(target_os = "linux")]
        ("hostile", hostile::trials()),
        ("requests", requests::trials()),
        ("runs", runs::trials()),
        ("standin", standin::trials()),
    ];
    let trials = groups
        .into_iter()
        .flat_map(|(group, trials)| trials.into_iter().map(move |trial| trial.with_kind(group)));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
