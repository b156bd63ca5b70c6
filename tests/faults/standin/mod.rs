//! What can be proven against a stand-in for `vllm`, which serves no model and tells the truth about itself.

mod lost_server;
#[cfg(target_os = "linux")]
mod planted_key;
mod truth;

use std::{env, error::Error, iter, path::Path, process::Command};

use libtest_mimic::{Completion, Failed, Trial};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = truth::trials();
    trials.extend(lost_server::trials());
    #[cfg(target_os = "linux")]
    trials.extend(planted_key::trials());
    trials
}

fn trial(name: &str, test: fn() -> Result<(), Box<dyn Error>>) -> Trial {
    Trial::ignorable_test(name, move || {
        if let Some(reason) = lacks_python()? {
            return Ok(Completion::ignored_with(reason));
        }
        test().map_err(|e| Failed::from(e.to_string()))?;
        Ok(Completion::Completed)
    })
}

/// The stand-in for `vllm` first on the PATH of a command.
fn with_stand_in(command: &mut Command) -> Result<(), String> {
    let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/standin");
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(iter::once(stand_in).chain(env::split_paths(&path)));
    command.env("PATH", path.map_err(|e| e.to_string())?);
    Ok(())
}

/// Why tests with the stand-in cannot run here; an error where every test must.
fn lacks_python() -> Result<Option<&'static str>, String> {
    if Command::new("python3").arg("--version").output().is_ok() {
        return Ok(None);
    }
    if env::var_os("RUNNER_TEST_REQUIRE_ALL").is_some() {
        return Err("python3 is missing, and RUNNER_TEST_REQUIRE_ALL is set".into());
    }
    Ok(Some("the stand-in for vLLM needs python3; install it: apt-get install python3"))
}
