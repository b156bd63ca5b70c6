//! Which flags an engine has, by its own help. There is no list of ours that could be out of date.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::asker::{Asker, Refusal};
use crate::flags;
use crate::manifest::{Flag, Server, expand_home, hex, nearest};

/// How long the engine may take for one answer: half of it goes into imports.
const PATIENCE: Duration = Duration::from_secs(120);
/// A help with fewer flags is another program's, or cut.
const FEWEST: usize = 10;
/// The flags an engine says it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFlags {
    /// The engine's version, when it tells.
    pub version: Option<String>,
    /// Names without the leading dashes, `no-` forms among them.
    pub names: BTreeSet<String>,
}

/// The version of the vLLM package beside a command's program, read from the package's metadata without starting anything;
/// `None` for a wrapper, and for whatever is no installed vLLM.
pub fn installed_version(command: &[String]) -> Option<String> {
    let program = expand_home(command.first()?);
    let found = if program.as_str().contains('/') {
        program
    } else {
        std::env::split_paths(&std::env::var_os("PATH")?)
            .filter_map(|folder| Utf8PathBuf::from_path_buf(folder.join(&program)).ok())
            .find(|path| path.is_file())?
    };
    // A link in ~/.local/bin leads to the environment that holds the package.
    let prefix = found.canonicalize_utf8().ok()?.parent()?.parent()?.to_owned();
    let entries = |folder: &Utf8Path| {
        let read = folder.read_dir_utf8().into_iter().flatten().flatten();
        read.map(|entry| entry.path().to_owned()).collect::<Vec<_>>()
    };
    entries(&prefix.join("lib"))
        .into_iter()
        // Debian's own Python calls the folder by the second name.
        .flat_map(|python| ["site-packages", "dist-packages"].map(|name| python.join(name)))
        .flat_map(|packages| entries(&packages))
        .find_map(|path| {
            let name = path.file_name()?.strip_prefix("vllm-")?;
            Some(name.strip_suffix(".dist-info")?.to_owned())
        })
}

/// Asks a server's command for its version and its flags. The answer is kept in `cache_folder` by command and version, so
/// that the long one is given once. The command runs under the guardian of `runner`, this binary; `None` runs it without.
/// It costs at most 120 s for each of three questions, less when one is not answered, and 8 MiB of memory.
///
/// # Errors
/// Why the flags could not be learnt, as a sentence that begins with "flags not verified".
pub async fn known_flags(
    command: &[String],
    cache_folder: &Utf8Path,
    runner: Option<&str>,
) -> Result<KnownFlags, String> {
    let asker = Asker { runner, patience: PATIENCE };
    learn(&asker, command, cache_folder).await
}

async fn learn(asker: &Asker<'_>, command: &[String], cache_folder: &Utf8Path) -> Result<KnownFlags, String> {
    // What follows a placeholder belongs to one server.
    let words: Vec<&str> =
        command.iter().map(String::as_str).take_while(|word| !word.contains('{')).collect();
    let name = words.join(" ");
    let program = words.strip_suffix(&["serve"]).unwrap_or(&words);
    // Asking takes ten seconds of imports, reading none.
    let version = match installed_version(command) {
        Some(version) => Some(version),
        None => match asker.ask(program, "--version").await {
            Ok(text) => version(&text),
            Err(Refusal::Absent(error)) => {
                return Err(format!("flags not verified: cannot run {name}: {error}"));
            }
            Err(Refusal::Answered(_)) => None,
            Err(Refusal::Endless(reason)) => {
                return Err(format!("flags not verified: {name} --version: {reason}"));
            }
        },
    };
    let file = version.as_ref().map(|version| cache_file(cache_folder, command, version));
    if let Some(known) = file.as_ref().and_then(|file| read(file)) {
        return Ok(known);
    }
    let help = match asker.ask(&words, "--help=all").await {
        // Only newer versions know a help of everything.
        Err(Refusal::Answered(_)) => asker.ask(&words, "--help").await,
        answer => answer,
    };
    let help = help.map_err(|refusal| {
        let reason = refusal.reason();
        format!("flags not verified: {name} --help: {reason}")
    })?;
    let names = flags_in(&help);
    if names.len() < FEWEST {
        return Err(format!(
            "flags not verified: the help of {name} lists {} flags, which cannot be all",
            names.len()
        ));
    }
    let known = KnownFlags { version, names };
    if let Some(file) = file {
        // Without a cache it is asked again, which is slow and right.
        let _ = write(&file, &known);
    }
    Ok(known)
}

/// The flags of a server that its engine does not have, each as it would be passed, with the nearest one it does have.
pub fn unknown_flags(server: &Server, known: &KnownFlags) -> Vec<(String, Option<String>)> {
    let passed = server.flags.passed().map(|(name, flag)| match flag {
        Flag::Off => format!("no-{name}"),
        _ => name.to_owned(),
    });
    let names: Vec<&str> = known.names.iter().map(String::as_str).collect();
    passed
        // `--kv-transfer-config.key value` sets one key of a flag's JSON.
        .filter(|name| !known.names.contains(name.split('.').next().unwrap_or(name)))
        .map(|name| {
            // A short option such as -tp has a long name that the command line can carry.
            let long = flags::info(&name).map(|info| info.name.as_str());
            let near = long.filter(|long| known.names.contains(*long)).or_else(|| nearest(&name, &names));
            (name, near.map(str::to_owned))
        })
        .collect()
}

/// The version in the last line that has one: `0.32.0+cpu`, `vllm 0.8.5`.
fn version(text: &str) -> Option<String> {
    text.lines().rev().find_map(|line| {
        let word = line.split_whitespace().last()?;
        let word = word.strip_prefix('v').unwrap_or(word);
        let numbered = word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
        numbered.then(|| word.to_owned())
    })
}

/// Every long option that a help text lists: those of the lines that stand where most options do. Explanations name options
/// too, and stand elsewhere.
fn flags_in(help: &str) -> BTreeSet<String> {
    let indent = |line: &str| {
        let text = line.trim_start();
        let option = text.starts_with('-') && !text.starts_with("- ");
        option.then(|| line.len() - text.len())
    };
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for at in help.lines().filter_map(indent) {
        *counts.entry(at).or_default() += 1;
    }
    let column = counts.into_iter().max_by_key(|(_, count)| *count);
    let column = column.map(|(at, _)| at);
    help.lines()
        .filter(|line| column.is_some() && indent(line) == column)
        .flat_map(|line| line.split([' ', ',', '\t', '[', ']', '|']))
        .filter_map(|word| {
            let name = word.strip_prefix("--")?;
            let name = name.split('=').next().unwrap_or(name);
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
            (name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain))
                .then(|| name.replace('_', "-"))
        })
        .collect()
}

fn cache_file(folder: &Utf8Path, command: &[String], version: &str) -> Utf8PathBuf {
    let mut hash = Sha256::new();
    for part in command.iter().map(String::as_str).chain([version]) {
        // A length before each part keeps ["a b"] and ["a", "b"] apart.
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    folder.join(format!("flags-{}.json", &hex(&hash.finalize())[..16]))
}

fn read(file: &Utf8Path) -> Option<KnownFlags> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

fn write(file: &Utf8Path, known: &KnownFlags) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Utf8Path::new("."));
    std::fs::create_dir_all(folder)?;
    let beside = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&beside, known)?;
    beside.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use serde_json::json;

    use tokio::time::timeout;

    use super::*;

    fn recorded() -> KnownFlags {
        KnownFlags { version: None, names: flags_in(include_str!("../../tests/recorded/vllm/help-all.txt")) }
    }

    #[test]
    fn the_recorded_help_names_every_flag_and_its_negation() {
        let known = recorded();
        assert!(known.names.len() > 300, "{}", known.names.len());
        for name in [
            "max-model-len",
            "tensor-parallel-size",
            "enable-prefix-caching",
            "no-enable-prefix-caching",
            "help",
        ] {
            assert!(known.names.contains(name), "{name}");
        }
        // These stand in explanations only.
        for name in ["json-arg", "task", "no-dtype"] {
            assert!(!known.names.contains(name), "{name}");
        }
    }

    #[test]
    fn an_unknown_flag_comes_with_the_nearest_one() {
        let server: Server = serde_json::from_value(json!({
            "model": "m",
            "flags": {
                "max-model-len": 4096, "max_num_sequences": 1, "enable-prefix-caching": false,
                "disable-log-stats": false, "no-such-flag-at-all": true,
                "gone": { "unset": true }, "compilation-config.level": 3, "tp": 2
            }
        }))
        .unwrap();
        let unknown = unknown_flags(&server, &recorded());
        let names: Vec<&str> = unknown.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["max-num-sequences", "no-disable-log-stats", "no-such-flag-at-all", "tp"]);
        assert_eq!(unknown[0].1.as_deref(), Some("max-num-seqs"));
        assert_eq!(unknown[3].1.as_deref(), Some("tensor-parallel-size"));
    }

    #[test]
    fn versions_are_read_past_noise() {
        assert_eq!(version("W1124 triton not found\n0.32.0+cpu\n").as_deref(), Some("0.32.0+cpu"));
        assert_eq!(version("vllm 0.8.5").as_deref(), Some("0.8.5"));
        assert_eq!(version("no idea"), None);
    }

    /// An engine that counts how often it is asked for help.
    fn engine(folder: &Utf8Path, help: &str) -> Vec<String> {
        let path = folder.join("engine");
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in\n--version) echo 1.2.3 ;;\n'serve --help') echo x >> {folder}/asked\n{help} ;;\n*) echo no such option >&2; exit 2 ;;\nesac\n"
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        vec![path.into_string(), "serve".into()]
    }

    #[tokio::test]
    async fn an_engine_is_asked_once_per_version() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let help = "for n in 1 2 3 4 5 6 7 8 9 10; do echo \"  --flag-$n VALUE, -f$n\"; done";
        let command = engine(folder, help);
        let cache = folder.join("cache");
        let first = known_flags(&command, &cache, None).await.unwrap();
        assert_eq!(first.version.as_deref(), Some("1.2.3"));
        assert!(first.names.contains("flag-10"));
        assert_eq!(known_flags(&command, &cache, None).await.unwrap(), first);
        assert_eq!(fs::read_to_string(folder.join("asked")).unwrap(), "x\n");
    }

    #[test]
    fn an_installed_engine_is_known_without_starting_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        for made in [
            "venv/bin",
            "venv/lib/python3.12/site-packages/vllm-0.32.0+cpu.dist-info",
            "venv/lib/python3.12/site-packages/vllm_extra-1.0.dist-info",
            "elsewhere",
        ] {
            fs::create_dir_all(folder.join(made)).unwrap();
        }
        let program = folder.join("venv/bin/vllm");
        fs::write(&program, "").unwrap();
        let link = folder.join("elsewhere/vllm");
        std::os::unix::fs::symlink(&program, &link).unwrap();
        for path in [&program, &link] {
            let command = [path.to_string(), "serve".to_owned()];
            assert_eq!(installed_version(&command).as_deref(), Some("0.32.0+cpu"));
        }
        let stand_in = folder.join("elsewhere/other");
        fs::write(&stand_in, "").unwrap();
        assert_eq!(installed_version(&[stand_in.into_string()]), None);
        assert_eq!(installed_version(&["/nonexistent/vllm".to_owned()]), None);
    }

    #[tokio::test]
    async fn what_has_no_end_is_asked_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let made = |name: &str, script: &str| {
            let path = folder.join(name);
            fs::write(&path, format!("#!/bin/sh\necho x >> {path}.asked\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            vec![path.into_string(), "serve".into()]
        };
        for (command, says) in [
            (made("flood", "exec yes flag"), "longer than"),
            (made("line", "exec cat /dev/zero"), "longer than"),
            (made("noise", "exec yes flag >&2"), "longer than"),
            (made("hung", "exec sleep 300"), "no answer within 1 s"),
        ] {
            let asker = Asker { runner: None, patience: Duration::from_secs(1) };
            let begun = std::time::Instant::now();
            let cache = folder.join("cache");
            let asked = learn(&asker, &command, &cache);
            let reason = timeout(Duration::from_secs(60), asked).await;
            let reason = reason.unwrap().unwrap_err();
            assert!(reason.contains(says), "{reason}");
            let asked = fs::read_to_string(format!("{}.asked", command[0])).unwrap();
            assert_eq!(asked, "x\n", "{} s", begun.elapsed().as_secs());
        }
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let cache = folder.join("cache");
        let made = |name: &str| {
            fs::create_dir(folder.join(name)).unwrap();
            folder.join(name)
        };
        for (command, says) in [
            (vec!["/nonexistent/vllm".to_owned()], "No such file"),
            (engine(&made("one"), "echo '  --one'"), "lists 1 flags"),
            (engine(&made("broken"), "echo broken >&2; exit 3"), "broken"),
        ] {
            let reason = known_flags(&command, &cache, None).await.unwrap_err();
            assert!(reason.starts_with("flags not verified: "), "{reason}");
            assert!(reason.contains(says), "{reason}");
        }
        assert!(!cache.exists());
    }
}
