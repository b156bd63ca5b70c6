//! Against programs that are not ours: a real vLLM, and the pages in a real browser.
//!
//! What is not installed is ignored, unless `RUNNER_TEST_REQUIRE_ALL` is set.

#[path = "../support/mod.rs"]
mod support;

mod page;
mod vllm;

use libtest_mimic::Arguments;

fn main() {
    let mut arguments = Arguments::from_args();
    // One browser or one start of vLLM fills two cores.
    arguments.test_threads = Some(1);
    let trials = page::trials().map(|trial| trial.with_kind("page"));
    let trials = trials.into_iter().chain(vllm::trials().map(|trial| trial.with_kind("vllm")));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
