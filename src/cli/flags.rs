//! Checks the flags of a plan's servers against those that the engine accepts.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::runtime::Runtime;

use crate::{
    diagnostic::{Finding, Findings},
    manifest::{Engine, LaunchOn, Manifest},
    plan::{Group, Plan},
    server::{AcceptedFlags, accepted_flags, installed_version, unknown_flags},
};

/// Which commands are run for their `--help`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Every command: the person asked for the check.
    All,
    /// Only an installed vLLM. Another program may do anything when it is run with `--help`, so a run does
    /// not run it before its start.
    Installed,
}

/// Reads the accepted flags of each engine once, and finds the flags that it does not accept. `announce` gets
/// a line about what takes time.
pub(super) fn verify(
    manifest: &Manifest,
    plan: &Plan,
    ask: Ask,
    runtime: &Runtime,
    announce: &mut dyn FnMut(&str),
) -> Findings {
    let mut findings = Findings::default();
    let cache = cache_folder();
    let runner = std::env::current_exe().ok();
    let runner = runner.and_then(|path| path.into_os_string().into_string().ok());
    let mut answers: BTreeMap<Vec<String>, Option<AcceptedFlags>> = BTreeMap::new();
    let mut named = BTreeSet::new();
    let launched =
        |group: &&Group| group.server.engine == Engine::Vllm && group.server.launch.on == LaunchOn::Local;
    for group in plan.groups.iter().filter(launched) {
        let command =
            group.server.command.clone().unwrap_or_else(|| vec!["vllm".to_owned(), "serve".to_owned()]);
        let answer = answers.entry(command.clone()).or_insert_with(|| {
            if ask == Ask::Installed && installed_version(&command).is_none() {
                return None;
            }
            let mut on_run = |line: &str| announce(&format!("running `{line}`, to check the flags"));
            let flags = accepted_flags(&command, &cache, runner.as_deref(), &mut on_run);
            match runtime.block_on(flags) {
                Ok(accepted) => Some(accepted),
                Err(error) => {
                    findings.push(Finding::note(format!("the flags are not checked: {error}")));
                    None
                }
            }
        });
        let Some(accepted) = answer else {
            continue;
        };
        for (flag, near) in unknown_flags(&group.server, accepted) {
            if !named.insert(flag.clone()) {
                continue;
            }
            let finding = Finding::error(format!("`{}` knows no flag --{flag}", command.join(" ")))
                .at(&manifest.place(&["server", "flags", &flag]), "unknown to the engine");
            findings.push(match near {
                Some(near) => finding.help(format!("did you mean `{near}`?")),
                None => finding.help("the engine's own help lists the flags it knows"),
            });
        }
    }
    findings
}

/// The folder of the cached flags.
fn cache_folder() -> Utf8PathBuf {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    variable("XDG_CACHE_HOME")
        .map(Utf8PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Utf8Path::new(&home).join(".cache")))
        .unwrap_or_else(|| Utf8PathBuf::from(".cache"))
        .join("runner")
}
