//! What goes wrong, and what becomes of the run: one table of faults for each of a request, a run, and a hostile server.
//!
//! `RUNNER_TEST_WRITE=1` writes the tables in the READMEs beside this file anew.

#[path = "../support/mod.rs"]
mod support;

#[cfg(target_os = "linux")]
mod hostile;
mod requests;
mod runs;
mod standin;

use std::env;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    if env::var_os("RUNNER_TEST_WRITE").is_some() {
        runs::write().expect("the table can be written");
        #[cfg(target_os = "linux")]
        hostile::every_harm_costs_a_bounded_time_and_memory_and_is_never_ranked();
        return;
    }
    let groups = [
        ("requests", requests::trials()),
        ("runs", runs::trials()),
        ("standin", standin::trials()),
        #[cfg(target_os = "linux")]
        ("hostile", hostile::trials()),
    ];
    let trials = groups
        .into_iter()
        .flat_map(|(group, trials)| trials.into_iter().map(move |trial| trial.with_kind(group)));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// A test that fails by panicking.
fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}
