//! Secrets stand nowhere: not in what a run writes, not in what it says, not in a process's words; not even
//! when the server writes them into its log and into its answers.

use std::{error::Error, fs, io::Read, path::Path, process::Stdio, thread::sleep, time::Duration};

use libtest_mimic::Trial;

use crate::support::{experiment::Experiment, standin::with_stand_in};

use super::trial;

/// Part of every secret, and of nothing else.
const PLANTED: &str = "planted4711";

const MANIFEST: &str = r#"
[experiment]
name = "secrets"

[server]
model = "m"
[server.launch]
api_key_env = "MY_KEY"
[server.env]
STANDIN_ECHO = "1"
STANDIN_TTFT_MS = "10"
STANDIN_TOKEN_MS = "2"

[workload.chat]
prompts = ["hi"]
requests = 20
max_tokens = 8
"#;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("a_planted_api_key_is_found_nowhere", found_nowhere)]
}

fn found_nowhere() -> Result<(), Box<dyn Error>> {
    let experiment = Experiment::new(MANIFEST)?;
    let mut command = experiment.run();
    with_stand_in(&mut command);
    let mut running = command
        .env("MY_KEY", format!("sk-{PLANTED}-a"))
        .env("HF_TOKEN", format!("hf_{PLANTED}-b"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut words = 0;
    while running.try_wait()?.is_none() {
        words += look_at_processes(running.id())?;
        sleep(Duration::from_millis(20));
    }
    assert!(words > 0, "no process was looked at");
    let output = running.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said)?;
    assert!(!said.contains(PLANTED), "{said}");
    // Half of the requests are refused, with the key in the refusal.
    assert_eq!(output.status.code(), Some(0), "{said}");
    let folder = experiment.run_folder()?;
    let mut masked = 0;
    search(&folder, &mut masked)?;
    assert!(masked >= 3, "log, cell and records show where the key was: {masked}");
    Ok(())
}

/// Searches every file, the compressed ones unpacked; counts those in which something is masked.
fn search(folder: &Path, masked: &mut usize) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            search(&path, masked)?;
            continue;
        }
        let mut bytes = fs::read(&path)?;
        if path.extension().is_some_and(|kind| kind == "gz") {
            let mut unpacked = Vec::new();
            flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut unpacked)?;
            bytes = unpacked;
        }
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(PLANTED), "{} holds the key", path.display());
        *masked += usize::from(text.contains("***"));
    }
    Ok(())
}

/// How many words were seen on the command lines of the runner and of all below it.
fn look_at_processes(root: u32) -> Result<usize, Box<dyn Error>> {
    let mut seen = 0;
    let mut next = vec![i32::try_from(root)?];
    while let Some(pid) = next.pop() {
        let Ok(process) = procfs::process::Process::new(pid) else {
            continue;
        };
        let words = process.cmdline().unwrap_or_default();
        assert!(!words.iter().any(|word| word.contains(PLANTED)), "{words:?}");
        seen += words.len();
        for task in process.tasks().into_iter().flatten().flatten() {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{}/children", task.tid));
            let children = children.unwrap_or_default();
            next.extend(children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
    }
    Ok(seen)
}
