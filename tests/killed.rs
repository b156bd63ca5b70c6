//! `kill -9` of the runner at any instant of a sweep: what is finished stays as it was, nothing is left behind, and
//! `--resume` goes on. Reads the kernel's process table, so it is for Linux.
#![cfg(target_os = "linux")]

mod processes;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use processes::{RUNNER, alive, below, signal, until};
use procfs::process::all_processes;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use rustix::process::Signal;
use serde_json::Value;

/// Two servers, six cells, two repeats each: about a second and a half when nothing is killed.
const MANIFEST: &str = r#"
[experiment]
name = "killed"
repeats = 2
order = "shuffled"

[server]
engine = "sim"
model = "m"
[server.sim]
ttft = "5ms"
per_token = "2ms"
startup = "50ms"

[workload.chat]
prompts = ["one", "two"]
requests_per_stream = 2
[workload.chat.sweep]
concurrency = [1, 2, 4]
max_tokens = [8]

[sweep]
server.flags.max-num-seqs = [2, 8]
"#;
const CELLS: usize = 6;
/// The latest instant of a kill: some runs are done by then.
const LATEST_MS: u32 = 1800;

/// How many kills: `RUNNER_TEST_KILLS`, or enough for every run of the tests.
fn kills() -> u32 {
    let told = env::var("RUNNER_TEST_KILLS").ok();
    told.map_or(25, |text| {
        text.parse().expect("RUNNER_TEST_KILLS is a number")
    })
}

#[test]
fn whatever_instant_the_runner_is_killed_at_nothing_finished_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    fs::write(folder.join("m.toml"), MANIFEST).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let mut run = 0;
    let mut finished: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    let mut in_the_middle = 0;
    for _ in 0..kills() {
        let mut child = start(&folder, run);
        sleep(Duration::from_millis(u64::from(
            random.next_u32() % LATEST_MS,
        )));
        let over = child.try_wait().unwrap();
        let tree = below(child.id().try_into().unwrap());
        if over.is_none() {
            signal(child.id().try_into().unwrap(), Signal::KILL);
        }
        child.wait().unwrap();
        nothing_lives(&folder, &tree);
        let now = whole_cells(&run_folder(&folder, run));
        for (path, bytes) in &finished {
            assert_eq!(now.get(path), Some(bytes), "{} changed", path.display());
        }
        finished = now;
        match over {
            None => in_the_middle += 1,
            Some(status) => {
                assert!(status.success(), "{status}");
                // The next kills are of another run.
                done(&folder, run, &finished);
                (run, finished) = (run + 1, BTreeMap::new());
            }
        }
    }
    assert!(
        in_the_middle > kills() / 3,
        "only {in_the_middle} kills met a run"
    );
    let last = start(&folder, run).wait().unwrap();
    assert!(last.success(), "{last}");
    done(&folder, run, &finished);
    nothing_lives(&folder, &[]);
}

fn run_folder(folder: &Path, run: u32) -> PathBuf {
    folder.join(format!("results/killed/r{run}"))
}

/// Begins a run, or goes on with it.
fn start(folder: &Path, run: u32) -> Child {
    let name = format!("r{run}");
    let how = if run_folder(folder, run).join("run.json").exists() {
        "--resume"
    } else {
        "--name"
    };
    Command::new(RUNNER)
        .args(["run", "m.toml", "--quiet", how, &name])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until the tree is gone, and everybody who was told of the folder: a guardian is told where the log goes.
fn nothing_lives(folder: &Path, tree: &[(i32, u64)]) {
    let told = |process: procfs::process::Process| {
        let words = process.cmdline().ok()?;
        let folder = folder.to_str()?;
        words
            .iter()
            .any(|word| word.contains(folder))
            .then_some(process.pid)
    };
    until("everybody ends", || {
        let guardians = all_processes().unwrap().flatten().find_map(told);
        guardians.is_none() && alive(tree).is_empty()
    });
}

/// Every file of every cell; each cell must be whole.
fn whole_cells(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let Ok(cells) = fs::read_dir(run.join("cells")) else {
        return files;
    };
    for cell in cells.map(|cell| cell.unwrap().path()) {
        if cell.file_name().unwrap().to_str().unwrap().starts_with('.') {
            // What a write was cut off in: nobody reads it.
            continue;
        }
        let text = fs::read_to_string(cell.join("cell.json")).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["outcome"], "ok", "{}", cell.display());
        let mut count = 0;
        for file in fs::read_dir(&cell).unwrap() {
            let path = file.unwrap().path();
            files.insert(path.clone(), fs::read(path).unwrap());
            count += 1;
        }
        assert_eq!(
            count,
            3,
            "{} holds its summary and two repeats",
            cell.display()
        );
    }
    files
}

/// A finished run has each cell once, and nothing that passes.
fn done(folder: &Path, run: u32, finished: &BTreeMap<PathBuf, Vec<u8>>) {
    let run = run_folder(folder, run);
    let now = whole_cells(&run);
    assert_eq!(now.len(), 3 * CELLS);
    for (path, bytes) in finished {
        assert_eq!(now.get(path), Some(bytes), "{} changed", path.display());
    }
    let mut rows: Vec<String> = csv::Reader::from_path(run.join("cells.csv"))
        .unwrap()
        .records()
        .map(|row| row.unwrap()[0].to_owned())
        .collect();
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), CELLS);
    assert!(run.join("notes/capacity.md").exists());
    let passing: Vec<PathBuf> = [run.clone(), run.join("cells")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("/.tmp-"))
        .collect();
    assert_eq!(passing, [] as [PathBuf; 0]);
}
