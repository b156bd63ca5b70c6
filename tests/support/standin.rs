//! The stand-in for `vllm`: a script that serves no model, and does what its environment says.

use std::{env, iter, path::Path, process::Command};

use super::{lacking, missing};

/// Puts the stand-in first on the `PATH` of a command.
pub(crate) fn with_stand_in(command: &mut Command) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/standin");
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(iter::once(folder).chain(env::split_paths(&path)));
    command.env("PATH", path.expect("no folder on the PATH has a colon in its name"));
}

/// Why the stand-in cannot run here.
pub(crate) fn lacks_python() -> Result<Option<String>, String> {
    if missing("python3") {
        return lacking("the stand-in for vLLM needs python3; install it: apt-get install python3").map(Some);
    }
    Ok(None)
}
