//! Tells the crate which commit and which target it is built from, as `RUNNER_BUILD`: ` (3a66371d2c, x86_64-unknown-linux-gnu)`.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=.cargo/build.rs");
    // Every commit and every checkout is written there. A missing file would run this script at each build.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo::rerun-if-changed={log}");
    }
    // A source archive has no commit; a folder inside some other repository must not show that one's.
    let is_own = git(&["rev-parse", "--show-prefix"]).is_some_and(|prefix| prefix.is_empty());
    let commit = is_own.then(|| git(&["rev-parse", "--short=10", "HEAD"])).flatten();
    let parts: Vec<String> = commit.into_iter().chain(env::var("TARGET")).collect();
    println!("cargo::rustc-env=RUNNER_BUILD= ({})", parts.join(", "));
}

/// What git prints, without the line's end; `None` where there is no git or no repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim_end().to_owned())
}
