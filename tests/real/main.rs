//! Tests that need the machine to themselves, one at a time: a real vLLM, a real browser, and measurements
//! against an independent clock.
//!
//! Tests of what is not installed are ignored, unless `RUNNER_TEST_REQUIRE_ALL` is set.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod page;
mod truth;
mod vllm;

use libtest_mimic::Arguments;

fn main() {
    let mut arguments = Arguments::from_args();
    // One browser or one start of vLLM fills two cores.
    arguments.test_threads = Some(1);
    let mut trials = vec![truth::trial().with_kind("truth")];
    trials.extend(page::trials().map(|trial| trial.with_kind("page")));
    trials.extend(vllm::trials().map(|trial| trial.with_kind("vllm")));
    libtest_mimic::run(&arguments, trials).exit();
}
