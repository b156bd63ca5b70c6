//! Helpers that the test binaries share.
#![allow(dead_code, reason = "no test binary uses all of them")]

pub(crate) mod experiment;
#[cfg(target_os = "linux")]
pub(crate) mod processes;
pub(crate) mod records;
pub(crate) mod standin;

use std::{
    env,
    error::Error,
    path::Path,
    process::{Command, Stdio},
};

use libtest_mimic::{Completion, Failed, Trial};

/// The program under test.
pub(crate) const RUNNER: &str = env!("CARGO_BIN_EXE_runner");

/// Runs `runner` to its end: its standard output, its standard error, and its exit code.
pub(crate) fn runner(folder: &Path, arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = Command::new(RUNNER).args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// The reason why a test is ignored on this machine.
///
/// # Errors
///
/// With the reason, when `RUNNER_TEST_REQUIRE_ALL` is set: then no test may be ignored.
pub(crate) fn lacking(reason: &str) -> Result<String, String> {
    if env::var_os("RUNNER_TEST_REQUIRE_ALL").is_some() {
        return Err(format!("{reason}; and RUNNER_TEST_REQUIRE_ALL is set"));
    }
    Ok(reason.to_owned())
}

/// A test that is ignored where this machine lacks something, for the reason that `lacks` gives.
pub(crate) fn ignorable(
    name: impl Into<String>,
    lacks: fn() -> Result<Option<String>, String>,
    test: impl FnOnce() -> Result<(), Box<dyn Error>> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || {
        if let Some(reason) = lacks()? {
            return Ok(Completion::ignored_with(reason));
        }
        test().map_err(|error| Failed::from(error.to_string()))?;
        Ok(Completion::Completed)
    })
}

/// Whether a program is not installed.
pub(crate) fn missing(program: &str) -> bool {
    let run = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_err()
}
