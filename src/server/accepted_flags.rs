//! Reads the flags an engine accepts from its own `--help`, so the list cannot go out of date.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::process::{CaptureError, capture};
use crate::{
    flags,
    manifest::{Flag, Server, expand_home, hex, nearest},
};

/// Timeout of one call of the engine. Importing vLLM alone takes about half of it.
const TIMEOUT: Duration = Duration::from_secs(120);
/// A help text with fewer flags is truncated, or another program's.
const MIN_FLAGS: usize = 10;
/// Programs that execute the argument after `-c` (or after options that include it).
const INTERPRETERS: [&str; 8] = ["sh", "bash", "dash", "ash", "ksh", "zsh", "fish", "python"];

/// The flags an engine accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedFlags {
    /// The engine's version, where known.
    pub version: Option<String>,
    /// Names without the leading dashes, including `no-` forms.
    pub names: BTreeSet<String>,
}

/// Why an engine's flags could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagsError {
    /// The command holds a script, which would run with `--help` as its argument.
    #[error("`{0}` holds a script, which is not run to read the flags it accepts")]
    Script(String),
    /// The command cannot be run, fails, hangs or floods its output.
    #[error("`{command}`: {error}")]
    Capture {
        /// The command as it was run.
        command: String,
        /// What went wrong.
        error: CaptureError,
    },
    /// The help text lists too few flags to be complete.
    #[error("the help of `{command}` lists {count} flags, which cannot be all")]
    TooFew {
        /// The command as it was run.
        command: String,
        /// Number of flags found.
        count: usize,
    },
}

/// The version of the installed vLLM package that a command's program belongs to, read from the package's
/// metadata without running anything; `None` for any other program.
pub fn installed_version(command: &[String]) -> Option<String> {
    let program = expand_home(command.first()?);
    let found = if program.as_str().contains('/') {
        program
    } else {
        std::env::split_paths(&std::env::var_os("PATH")?)
            .filter_map(|folder| Utf8PathBuf::from_path_buf(folder.join(&program)).ok())
            .find(|path| path.is_file())?
    };
    // A link in ~/.local/bin leads to the environment with the package.
    let prefix = found.canonicalize_utf8().ok()?.parent()?.parent()?.to_owned();
    let entries = |folder: &Utf8Path| {
        let read = folder.read_dir_utf8().into_iter().flatten().flatten();
        read.map(|entry| entry.path().to_owned()).collect::<Vec<_>>()
    };
    entries(&prefix.join("lib"))
        .into_iter()
        // Debian's own Python uses the second name.
        .flat_map(|python| ["site-packages", "dist-packages"].map(|name| python.join(name)))
        .flat_map(|packages| entries(&packages))
        .find_map(|path| {
            let name = path.file_name()?.strip_prefix("vllm-")?;
            Some(name.strip_suffix(".dist-info")?.to_owned())
        })
}

/// Reads the flags that a server's command accepts from its help. They are kept in `cache_folder` by command
/// and version, so the slow call is made once per version. Each call of the command takes at most 120 s and 8
/// MiB of memory, and `on_run` gets its command line beforehand. The command runs under the guardian of
/// `runner`, the path of this binary; `None` runs it without.
///
/// # Errors
/// When the command is a script, does not answer, or its help is no help of an engine.
pub async fn accepted_flags(
    command: &[String],
    cache_folder: &Utf8Path,
    runner: Option<&str>,
    on_run: &mut dyn FnMut(&str),
) -> Result<AcceptedFlags, FlagsError> {
    read_flags(&mut Engine { runner, timeout: TIMEOUT, on_run }, command, cache_folder).await
}

/// How an engine's command is called.
struct Engine<'a> {
    runner: Option<&'a str>,
    timeout: Duration,
    on_run: &'a mut dyn FnMut(&str),
}

impl Engine<'_> {
    async fn call(&mut self, words: &[&str], option: &str) -> Result<String, FlagsError> {
        let command = format!("{} {option}", shown(words));
        let words = [words, &[option]].concat();
        (self.on_run)(&command);
        capture(self.runner, self.timeout, &words)
            .await
            .map_err(|error| FlagsError::Capture { command, error })
    }
}

async fn read_flags(
    engine: &mut Engine<'_>,
    command: &[String],
    cache_folder: &Utf8Path,
) -> Result<AcceptedFlags, FlagsError> {
    // The words after a placeholder belong to one server.
    let words: Vec<&str> =
        command.iter().map(String::as_str).take_while(|word| !word.contains('{')).collect();
    if holds_script(command) {
        return Err(FlagsError::Script(shown(&command.iter().map(String::as_str).collect::<Vec<_>>())));
    }
    let program = words.strip_suffix(&["serve"]).unwrap_or(&words);
    // Reading the package's metadata takes no time, `--version` ten seconds of imports.
    let version = match installed_version(command) {
        Some(version) => Some(version),
        None => match engine.call(program, "--version").await {
            Ok(text) => version(&text),
            // Not every engine has the option.
            Err(FlagsError::Capture { error: CaptureError::Failed { .. }, .. }) => None,
            Err(error) => return Err(error),
        },
    };
    let file = version.as_ref().map(|version| cache_file(cache_folder, command, version));
    if let Some(cached) = file.as_ref().and_then(|file| read(file)) {
        return Ok(cached);
    }
    let help = match engine.call(&words, "--help=all").await {
        // Older releases do not know the complete help.
        Err(FlagsError::Capture { error: CaptureError::Failed { .. }, .. }) => {
            engine.call(&words, "--help").await?
        }
        result => result?,
    };
    let names = flags_in(&help);
    if names.len() < MIN_FLAGS {
        return Err(FlagsError::TooFew { command: shown(&words), count: names.len() });
    }
    let flags = AcceptedFlags { version, names };
    if let Some(file) = file {
        // Without a cache the engine is called again, which is only slow.
        let _ = write(&file, &flags);
    }
    Ok(flags)
}

/// Whether a command gives an interpreter a script to execute, such as `sh -c '…'`. Running it with `--help`
/// would execute the script.
fn holds_script(command: &[String]) -> bool {
    let is_interpreter = |word: &String| {
        let name = word.rsplit('/').next().unwrap_or(word);
        INTERPRETERS.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'))
    };
    let is_option = |word: &String| word.starts_with('-') && !word.starts_with("--") && word.contains('c');
    command.iter().position(is_interpreter).is_some_and(|at| command[at..].iter().any(is_option))
}

/// A command line for the screen, quoted for a shell.
fn shown(words: &[&str]) -> String {
    shlex::try_join(words.iter().copied()).unwrap_or_else(|_| words.join(" "))
}

/// The flags of a server that its engine does not accept, each as it would be passed, with the most similar
/// flag that it accepts.
pub fn unknown_flags(server: &Server, accepted: &AcceptedFlags) -> Vec<(String, Option<String>)> {
    let passed = server.flags.passed().map(|(name, flag)| match flag {
        Flag::Off => format!("no-{name}"),
        _ => name.to_owned(),
    });
    let names: Vec<&str> = accepted.names.iter().map(String::as_str).collect();
    passed
        // `--kv-transfer-config.key value` sets one key of a flag's JSON.
        .filter(|name| !accepted.names.contains(name.split('.').next().unwrap_or(name)))
        .map(|name| {
            // A short option such as -tp has a long name that the command line can carry.
            let long = flags::info(&name).map(|info| info.name.as_str());
            let near = long.filter(|long| accepted.names.contains(*long)).or_else(|| nearest(&name, &names));
            (name, near.map(str::to_owned))
        })
        .collect()
}

/// The version in the last line that ends with one, such as `0.32.0+cpu` or `vllm 0.8.5`.
fn version(text: &str) -> Option<String> {
    text.lines().rev().find_map(|line| {
        let word = line.split_whitespace().last()?;
        let word = word.strip_prefix('v').unwrap_or(word);
        let numbered = word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
        numbered.then(|| word.to_owned())
    })
}

/// The long options that a help text lists. Only lines at the indentation that most options have count,
/// because explanations mention options too.
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
        // The length before each part distinguishes ["a b"] from ["a", "b"].
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    folder.join(format!("flags-{}.json", &hex(&hash.finalize())[..16]))
}

fn read(file: &Utf8Path) -> Option<AcceptedFlags> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

fn write(file: &Utf8Path, flags: &AcceptedFlags) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Utf8Path::new("."));
    std::fs::create_dir_all(folder)?;
    let temporary = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&temporary, flags)?;
    temporary.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use serde_json::json;

    use tokio::time::timeout;

    use super::*;

    fn recorded() -> AcceptedFlags {
        AcceptedFlags {
            version: None,
            names: flags_in(include_str!("../../tests/recorded/vllm/help-all.txt")),
        }
    }

    #[test]
    fn every_flag_of_the_recorded_help_and_its_negation_are_read() {
        let flags = recorded();
        assert!(flags.names.len() > 300, "{}", flags.names.len());
        for name in [
            "max-model-len",
            "tensor-parallel-size",
            "enable-prefix-caching",
            "no-enable-prefix-caching",
            "help",
        ] {
            assert!(flags.names.contains(name), "{name}");
        }
        // Mentioned only in explanations.
        for name in ["json-arg", "task", "no-dtype"] {
            assert!(!flags.names.contains(name), "{name}");
        }
    }

    #[test]
    fn an_unknown_flag_comes_with_the_most_similar_one() {
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

    /// An engine that counts the calls of its help.
    fn engine(folder: &Utf8Path, help: &str) -> Vec<String> {
        let path = folder.join("engine");
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in\n--version) echo 1.2.3 ;;\n'serve --help') echo x >> {folder}/calls\n{help} ;;\n*) echo no such option >&2; exit 2 ;;\nesac\n"
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        vec![path.into_string(), "serve".into()]
    }

    #[tokio::test]
    async fn the_help_is_read_once_per_version() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let help = "for n in 1 2 3 4 5 6 7 8 9 10; do echo \"  --flag-$n VALUE, -f$n\"; done";
        let command = engine(folder, help);
        let cache = folder.join("cache");
        let mut runs = Vec::new();
        let mut on_run = |command: &str| runs.push(command.to_owned());
        let first = accepted_flags(&command, &cache, None, &mut on_run).await.unwrap();
        assert_eq!(first.version.as_deref(), Some("1.2.3"));
        assert!(first.names.contains("flag-10"));
        assert_eq!(accepted_flags(&command, &cache, None, &mut on_run).await.unwrap(), first);
        let calls = ["--version", "serve --help=all", "serve --help", "--version"];
        assert_eq!(runs, calls.map(|options| format!("{} {options}", command[0])));
        assert_eq!(fs::read_to_string(folder.join("calls")).unwrap(), "x\n");
    }

    #[test]
    fn the_version_of_an_installed_engine_is_known_without_running_it() {
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
    async fn a_program_that_hangs_or_floods_is_called_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let made = |name: &str, script: &str| {
            let path = folder.join(name);
            fs::write(&path, format!("#!/bin/sh\necho x >> {path}.calls\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            vec![path.into_string(), "serve".into()]
        };
        for (command, says) in [
            (made("flood", "exec yes flag"), "longer than"),
            (made("line", "exec cat /dev/zero"), "longer than"),
            (made("noise", "exec yes flag >&2"), "longer than"),
            (made("hung", "exec sleep 300"), "no answer within 1 s"),
        ] {
            let mut engine = Engine { runner: None, timeout: Duration::from_secs(1), on_run: &mut |_| () };
            let begun = std::time::Instant::now();
            let cache = folder.join("cache");
            let flags = read_flags(&mut engine, &command, &cache);
            let result = timeout(Duration::from_secs(60), flags).await.unwrap();
            let reason = result.unwrap_err().to_string();
            assert!(reason.contains(says), "{reason}");
            let calls = fs::read_to_string(format!("{}.calls", command[0])).unwrap();
            assert_eq!(calls, "x\n", "{} s", begun.elapsed().as_secs());
        }
    }

    #[tokio::test]
    async fn why_flags_could_not_be_read_is_reported() {
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
            let result = accepted_flags(&command, &cache, None, &mut |_| ()).await;
            let reason = result.unwrap_err().to_string();
            assert!(reason.contains(says), "{reason}");
        }
        assert!(!cache.exists());
    }

    #[tokio::test]
    async fn a_script_is_never_run_for_its_help() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let script = format!("touch {folder}/ran; exec vllm serve \"$@\"");
        for words in [
            &["sh", "-c", &script, "{model}"][..],
            &["/bin/bash", "-euxc", &script],
            &["env", "A=1", "sh", "-c", &script],
            &["python3.12", "-c", &script],
        ] {
            let command: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let result = accepted_flags(&command, folder, None, &mut |_| panic!("it was run")).await;
            assert!(matches!(result, Err(FlagsError::Script(_))), "{result:?}");
        }
        assert!(!folder.join("ran").exists());
        for words in [&["python3", "-m", "vllm.entrypoints.openai.api_server"][..], &["./serve.sh", "-c"]] {
            assert!(!holds_script(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()));
        }
    }
}
