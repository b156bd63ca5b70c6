//! Kills the runner, its guardian or its server at random instants of a sweep: finished cells stay byte for
//! byte, no process or temporary file is left, and `--resume` completes the run.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use crate::support::{
    RUNNER,
    processes::{alive, below, until},
};
use procfs::process::all_processes;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use rustix::process::{Pid, Signal, kill_process};
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
/// Folders whose runs are killed concurrently: a run mostly waits.
const AT_ONCE: u32 = 3;
/// The latest instant of a kill: some runs are done by then.
const LATEST_MS: u32 = 1800;
/// Rendering begins when the last cell is stored, and takes less than this.
const RENDERING_MS: u32 = 400;

/// Number of kills, from `RUNNER_TEST_KILLS`.
fn kills() -> u32 {
    number("RUNNER_TEST_KILLS", 25)
}

fn number(name: &str, otherwise: u32) -> u32 {
    let told = env::var(name).ok();
    told.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Which processes are killed, and how.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// `kill -9` of the runner.
    Runner,
    /// A signal that asks the runner to end, and perhaps a second one soon after.
    Asked(Signal, bool),
    /// The guardian; the runner goes on.
    Guardian,
    /// The server; the runner goes on.
    Server,
    /// Guardian and server; the runner goes on.
    Both,
    /// Runner and guardian: the server is orphaned.
    Orphan,
    /// Runner, guardian and server.
    All,
}

impl Blow {
    /// Draws a blow; killing the runner is the most likely.
    fn any(random: &mut ChaCha8Rng) -> Self {
        let twice = random.next_u32().is_multiple_of(4);
        match random.next_u32() % 16 {
            0..6 => Self::Runner,
            6 => Self::Asked(Signal::INT, twice),
            7 => Self::Asked(Signal::TERM, twice),
            8 => Self::Asked(Signal::HUP, twice),
            9 => Self::Guardian,
            10 | 11 => Self::Server,
            12 => Self::Both,
            13 | 14 => Self::Orphan,
            _ => Self::All,
        }
    }

    /// Sends the signals. A process that has just ended is skipped.
    fn strike(self, runner: i32) {
        let send = |pid: i32, which: Signal| {
            let _ = kill_process(Pid::from_raw(pid).expect("a process"), which);
        };
        let children: Vec<(i32, u64)> = below(runner);
        let guard = children.iter().map(|(pid, _)| *pid).find(|pid| is_guardian(*pid));
        let server = guard.and_then(|guard| below(guard).first().map(|(pid, _)| *pid));
        let kill = |who: Option<i32>| who.into_iter().for_each(|pid| send(pid, Signal::KILL));
        match self {
            Self::Runner => send(runner, Signal::KILL),
            Self::Asked(which, twice) => {
                send(runner, which);
                if twice {
                    sleep(Duration::from_millis(3));
                    send(runner, which);
                }
            }
            Self::Guardian => kill(guard),
            Self::Server => kill(server),
            Self::Both => {
                kill(guard);
                kill(server);
            }
            // A stopped runner cannot do anything about its guardian's end.
            Self::Orphan | Self::All => {
                send(runner, Signal::STOP);
                kill(guard);
                if matches!(self, Self::All) {
                    kill(server);
                }
                send(runner, Signal::KILL);
            }
        }
    }

    fn spares_the_runner(self) -> bool {
        matches!(self, Self::Guardian | Self::Server | Self::Both)
    }

    fn leaves_an_orphan(self) -> bool {
        matches!(self, Self::Orphan | Self::All)
    }
}

fn is_guardian(pid: i32) -> bool {
    let words = procfs::process::Process::new(pid).and_then(|process| process.cmdline());
    words.is_ok_and(|words| words.get(1).is_some_and(|word| word == "guard"))
}

#[test]
fn kills_at_any_instant_lose_no_finished_cell() {
    let seed = u64::from(number("RUNNER_TEST_SEED", 9));
    let kills = kills().div_ceil(AT_ONCE);
    let in_the_middle: u32 = thread::scope(|scope| {
        let all = (0..AT_ONCE).map(|which| scope.spawn(move || kill_runs(seed + u64::from(which), kills)));
        let all: Vec<_> = all.collect();
        all.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert!(in_the_middle > kills * AT_ONCE / 3, "only {in_the_middle} kills met a run");
}

/// Kills runs in a folder of its own `kills` times. Returns how many of the kills hit a run that was still
/// going.
fn kill_runs(seed: u64, kills: u32) -> u32 {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    fs::write(folder.join("m.toml"), MANIFEST).unwrap();
    fs::create_dir(folder.join("tmp")).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut run = 0;
    let mut finished: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    // Everybody who ever was part of a run, and servers that nobody was left to end.
    let mut everybody: Vec<(i32, u64)> = Vec::new();
    let (mut orphans, mut in_the_middle, mut while_rendering) = (false, 0, 0);
    let mut blows: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..kills {
        let blow = Blow::any(&mut random);
        let mut child = start(&folder, run);
        let pid = i32::try_from(child.id()).unwrap();
        let late = random.next_u32() % LATEST_MS;
        if random.next_u32().is_multiple_of(8) {
            let cells = run_folder(&folder, run).join("cells");
            until("the last cell is stored, or the run is over", || {
                let there = fs::read_dir(&cells).into_iter().flatten().flatten();
                let whole = there.filter(|cell| !cell.file_name().to_string_lossy().starts_with('.'));
                whole.count() == CELLS || child.try_wait().unwrap().is_some()
            });
            while_rendering += 1;
            sleep(Duration::from_millis(u64::from(late % RENDERING_MS)));
        } else {
            sleep(Duration::from_millis(u64::from(late)));
        }
        let over = child.try_wait().unwrap();
        everybody.extend(below(pid));
        if over.is_none() {
            blow.strike(pid);
            *blows.entry(format!("{blow:?}")).or_default() += 1;
            in_the_middle += 1;
        }
        let mut orphan = blow.leaves_an_orphan();
        if over.is_none() && blow.spares_the_runner() {
            // It starts another server, and is met again, or gets to its end.
            sleep(Duration::from_millis(u64::from(random.next_u32() % 600)));
            everybody.extend(below(pid));
            if child.try_wait().unwrap().is_none() && random.next_u32().is_multiple_of(2) {
                Blow::Runner.strike(pid);
                // It may have been about to end what its guardian left.
                orphan |= matches!(blow, Blow::Guardian | Blow::Both);
            }
        }
        let status = ended(&mut child);
        orphans |= over.is_none() && orphan;
        if !orphans {
            nothing_lives(&folder, &everybody);
            everybody.clear();
        }
        let now = whole_cells(&run_folder(&folder, run));
        for (path, bytes) in &finished {
            assert_eq!(now.get(path), Some(bytes), "{} changed", path.display());
        }
        finished = now;
        // 4: a cell whose server was lost twice.
        match status.code() {
            None => {}
            Some(130) => assert!(matches!(blow, Blow::Asked(..)), "{blow:?}"),
            Some(code @ (0 | 3 | 4)) => {
                // Whatever was left of it by an earlier blow ended when this run began.
                nothing_lives(&folder, &everybody);
                (everybody, orphans) = (Vec::new(), false);
                assert!(code == 0 || blow.spares_the_runner(), "{code} after {blow:?}");
                if code == 0 {
                    // The next kills are of another run.
                    done(&folder, run, &finished);
                    (run, finished) = (run + 1, BTreeMap::new());
                }
            }
            Some(code) => panic!("exit code {code} after {blow:?}"),
        }
    }
    let last = ended(&mut start(&folder, run));
    assert!(last.success(), "{last}");
    done(&folder, run, &finished);
    nothing_lives(&folder, &everybody);
    tell(&format!(
        "{in_the_middle} blows met {} runs, {while_rendering} after the last cell: {blows:?}",
        run + 1
    ));
    in_the_middle
}

#[expect(
    clippy::print_stdout,
    reason = "the figures are worth reading, and cargo shows them with --nocapture"
)]
fn tell(line: &str) {
    println!("{line}");
}

fn run_folder(folder: &Path, run: u32) -> PathBuf {
    folder.join(format!("results/killed/r{run}"))
}

/// Starts a run, or resumes it.
fn start(folder: &Path, run: u32) -> Child {
    let name = format!("r{run}");
    let how = if run_folder(folder, run).join("run.json").exists() { "--resume" } else { "--name" };
    Command::new(RUNNER)
        .args(["run", "m.toml", "--quiet", how, &name])
        .current_dir(folder)
        .env("XDG_STATE_HOME", folder.join("state"))
        .env("TMPDIR", folder.join("tmp"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits for the runner, for far longer than a run takes.
fn ended(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not end");
        sleep(Duration::from_millis(5));
    }
}

/// Waits until the tree is gone, and every process with the folder among its arguments: a guardian has the
/// path of the log.
fn nothing_lives(folder: &Path, tree: &[(i32, u64)]) {
    let told = |process: procfs::process::Process| {
        let words = process.cmdline().ok()?;
        let folder = folder.to_str()?;
        words.iter().any(|word| word.contains(folder)).then_some(process.pid)
    };
    until("everybody ends", || {
        let guardians = all_processes().unwrap().flatten().find_map(told);
        guardians.is_none() && alive(tree).is_empty()
    });
}

/// Every file of every measured cell. Fails unless each cell is complete.
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
        let outcome = value["outcome"].as_str().unwrap();
        if outcome == "crashed" || outcome == "server_failed" {
            // Its server was killed under it, as often as it was tried; it is made again.
            continue;
        }
        assert_eq!(outcome, "ok", "{}", cell.display());
        let mut count = 0;
        for file in fs::read_dir(&cell).unwrap() {
            let path = file.unwrap().path();
            files.insert(path.clone(), fs::read(path).unwrap());
            count += 1;
        }
        assert_eq!(count, 3, "{} holds its summary and two repeats", cell.display());
    }
    files
}

/// Fails unless a finished run has each cell once and no temporary file.
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
    let all = rows.len();
    rows.sort();
    rows.dedup();
    assert_eq!((all, rows.len()), (CELLS, CELLS));
    assert!(run.join("notes/capacity.md").exists());
    let there = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let mut passing = there(&folder.join("tmp"));
    let mut next = vec![run];
    while let Some(folder) = next.pop() {
        for path in there(&folder) {
            if path.to_string_lossy().contains("/.tmp-") {
                passing.push(path.clone());
            }
            if path.is_dir() {
                next.push(path);
            }
        }
    }
    assert_eq!(passing, [] as [PathBuf; 0]);
    assert!(!folder.join("state/runner/servers").exists(), "the journal of servers is left");
}
