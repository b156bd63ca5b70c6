//! A real vLLM: its starts and failures are recognized, its token counts match the client's, and its
//! processes are ended. `bash tests/vllm/install.sh` installs one that needs no GPU.

mod calibrated;
mod killed;
mod searched;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::support::{
    experiment::{Experiment, number, succeed},
    lacking,
    records::records,
};
use libtest_mimic::{Completion, Failed, Trial};
use serde_json::Value;

/// How long a start may take: half a minute on two idle cores.
const START: Duration = Duration::from_secs(180);
/// How long a server's processes may outlive a killed runner.
const CLEANED_UP: Duration = Duration::from_secs(30);

pub(crate) fn trials() -> [Trial; 9] {
    [
        ("a_kv_cache_that_is_too_small_is_a_result", a_kv_cache_that_is_too_small_is_a_result as fn(&Path) -> _),
        ("the_clients_totals_are_the_servers_counters", the_clients_totals_are_the_servers_counters),
        ("a_killed_runner_leaves_no_server", a_killed_runner_leaves_no_server),
        ("each_killed_process_costs_one_attempt", killed::each_killed_process_costs_one_attempt),
        ("a_hung_start_times_out", killed::a_hung_start_times_out),
        ("synthetic_prompts_have_the_length_vllm_counts", synthetic_prompts_have_the_length_vllm_counts),
        (
            "two_searches_find_the_same_number_of_users",
            searched::two_searches_find_the_same_number_of_users,
        ),
        ("the_longest_context_is_found_to_the_step", searched::the_longest_context_is_found_to_the_step),
        ("four_calibrated_cells_predict_the_other_eight", calibrated::four_calibrated_cells_predict_the_other_eight),
    ]
    .map(|(name, test)| {
        Trial::ignorable_test(name, move || match vllm()? {
            Some(command) => test(&command).map(|()| Completion::Completed).map_err(Failed::from),
            None => Ok(Completion::ignored_with(lacking(
                "needs a real vLLM; get one with: bash tests/vllm/install.sh DIR && RUNNER_TEST_VLLM=DIR/bin/vllm cargo test",
            )?)),
        })
    })
}

/// The real vLLM, if there is one.
fn vllm() -> Result<Option<PathBuf>, String> {
    match env::var_os("RUNNER_TEST_VLLM").filter(|path| !path.is_empty()) {
        Some(path) if Path::new(&path).is_file() => Ok(Some(path.into())),
        Some(path) => Err(format!("RUNNER_TEST_VLLM={} is no file", path.display())),
        None => Ok(None),
    }
}

/// A manifest that serves the tiny model, up to the workload.
fn manifest(name: &str, vllm: &Path, rest: &str) -> Result<String, String> {
    let home = vllm.parent().and_then(Path::parent).ok_or("RUNNER_TEST_VLLM should be DIR/bin/vllm")?;
    let model = home.join("models/tiny");
    Ok(format!(
        r#"
[experiment]
name = "{name}"

[server]
engine = "vllm"
model = {model:?}
command = [{vllm:?}, "serve"]
stop_within = "15s"
[server.flags]
served-model-name = "tiny"
dtype = "bfloat16"
max-model-len = 4096
max-num-seqs = 16
enforce-eager = true
{rest}"#
    ))
}

fn a_kv_cache_that_is_too_small_is_a_result(vllm: &Path) -> Result<(), String> {
    // A block is 128 tokens on a CPU: 64 blocks hold two requests of 4096, 8 blocks not even one.
    let experiment = Experiment::new(&manifest(
        "kv-cache",
        vllm,
        r#"
[workload.chat]
prompts = ["Why does a small KV cache hold few requests?"]
requests = 8
warmup = 2
output = "exact"
[workload.chat.sweep]
concurrency = [1, 4]
max_tokens = [8, 16]

[sweep]
server.flags.num-gpu-blocks-override = [64, 8]
"#,
    )?)?;
    succeed(experiment.run())?;

    let cells = experiment.cells()?;
    let outcomes = |blocks: &str| -> Vec<&str> {
        cells
            .iter()
            .filter(|cell| cell.get("num-gpu-blocks-override").is_some_and(|value| value == blocks))
            .map(|cell| cell["outcome"].as_str())
            .collect()
    };
    expect("outcomes with 64 blocks", &outcomes("64"), &vec!["ok"; 4])?;
    expect("outcomes with 8 blocks", &outcomes("8"), &vec!["does_not_fit"; 4])?;
    for cell in &cells {
        if cell["outcome"] == "ok" {
            let asked = number(cell, "requests")? * number(cell, "max_tokens")?;
            expect("requests", &number(cell, "requests")?, &8.0)?;
            expect("output tokens", &number(cell, "output_tokens")?, &asked)?;
        } else {
            // Absent is never zero.
            for column in ["p50_ttft_ms", "p50_e2e_ms", "throughput_tok_s", "output_tokens"] {
                expect(column, &cell[column].as_str(), &"")?;
            }
        }
    }

    let folder = experiment.run_folder()?;
    let mut servers = BTreeMap::new();
    for (name, bytes) in files(&folder)? {
        if name.starts_with("servers/") && name.ends_with("/server.json") {
            let server: Value = serde_json::from_slice(&bytes).map_err(|e| format!("{name}: {e}"))?;
            servers
                .insert(server["axes"]["num-gpu-blocks-override"].to_string(), server["outcome"].to_string());
        }
    }
    let ended = [("64", "\"ready\""), ("8", "\"kv_too_small\"")]
        .map(|(blocks, outcome)| (blocks.to_owned(), outcome.to_owned()));
    expect("outcomes of the servers", &servers, &BTreeMap::from(ended))?;
    render_again(&experiment, &folder)
}

/// Nine blocks of 128 tokens: four prompts of 100 tokens with answers of 200 do not fit at once, so some are
/// preempted.
fn totals_manifest(vllm: &Path, model: &Path) -> String {
    format!(
        r#"
[experiment]
name = "totals"
scrape_every = "500ms"

[server]
engine = "vllm"
model = {:?}
command = [{vllm:?}, "serve"]
stop_within = "15s"
[server.flags]
served-model-name = "smollm2"
dtype = "bfloat16"
max-model-len = 1024
max-num-seqs = 4
block-size = 128
num-gpu-blocks-override = 9
enforce-eager = true

[workload.chat]
api = "chat"
prompts = ["Explain in one sentence what a KV cache holds.", "What is a token?"]
requests = 12
warmup = 2
concurrency = 6
max_tokens = 16

[workload.long]
prompts = ["Tell a long story of an engine that ran out of memory."]
cache = "fresh"
requests = 4
concurrency = 4
max_tokens = 200
output = "exact"
"#,
        model
    )
}

/// Client and engine count the same requests and tokens, and what only the engine knows (queue time,
/// preemptions) is reported.
#[expect(
    clippy::print_stdout,
    reason = "how far the two TTFTs are apart, and what a scrape took, is worth reading when the test passes, too"
)]
fn the_clients_totals_are_the_servers_counters(vllm: &Path) -> Result<(), String> {
    let home = vllm.parent().and_then(Path::parent).ok_or("DIR/bin/vllm")?;
    let experiment = Experiment::new(&totals_manifest(vllm, &home.join("models/smollm2")))?;
    succeed(experiment.run())?;
    let folder = experiment.run_folder()?;
    let mut seen = BTreeSet::new();
    for (name, bytes) in files(&folder)? {
        if !name.ends_with("/cell.json") {
            continue;
        }
        let cell: Value = serde_json::from_slice(&bytes).map_err(|e| format!("{name}: {e}"))?;
        let (engine, client) = (&cell["server_side"]["engine"], &cell["client_totals"]);
        let workload = cell["workload"].as_str().unwrap_or_default().to_owned();
        let sent = if workload == "chat" { 14 } else { 4 };
        let both = |what: &str, of_client: &Value, of_engine: &Value| {
            if of_client.is_u64() && of_client == of_engine {
                Ok(())
            } else {
                Err(format!("{workload}, {what}: {of_client} by the client, {of_engine} by the engine"))
            }
        };
        expect("settled", &engine["settled"], &Value::Bool(true))?;
        expect("sent", &client["sent"], &sent.into())?;
        both("requests", &client["completed"], &engine["requests"])?;
        both("prompt tokens", &client["input_tokens"], &engine["prompt_tokens"])?;
        both("output tokens", &client["output_tokens"], &engine["generation_tokens"])?;
        for times in ["queue", "prefill", "decode", "ttft", "e2e"] {
            both(times, &client["completed"], &engine[times]["count"])?;
        }
        let ms = |value: &Value| value.as_f64().ok_or_else(|| format!("{workload}: no {value}"));
        let (ours, theirs) = (ms(&client["ttft_mean_ms"])?, ms(&engine["ttft"]["mean_ms"])?);
        println!(
            "{workload}: mean TTFT {ours:.1} ms by the client, {theirs:.1} ms by the engine; scraping {}",
            cell["server_side"]["scraping"]
        );
        if ours <= theirs {
            return Err(format!("{workload}: a first token cannot be seen before it was made"));
        }
        let verdicts: Vec<&str> = cell["verdicts"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|verdict| verdict["kind"].as_str())
            .collect();
        if verdicts.contains(&"token_counts") {
            return Err(format!("{workload}: the counts are the same, and yet {verdicts:?}"));
        }
        if workload == "chat" {
            // Six in flight, four of them running.
            let queued = ms(&engine["queue"]["mean_ms"])?;
            if queued < 10.0 {
                return Err(format!("two of six wait for their turn, and the queue took {queued} ms"));
            }
        } else if engine["preemptions"].as_u64().unwrap_or_default() == 0 || !verdicts.contains(&"preempted")
        {
            return Err(format!("nothing was put back: {} and {verdicts:?}", engine["preemptions"]));
        }
        let process = &cell["server_side"]["process"];
        if ms(&process["cpu_s"])? <= 0.0 || ms(&process["peak_rss_bytes"])? < 1e9 {
            return Err(format!("three processes with a model in them used only {process}"));
        }
        seen.insert(workload);
    }
    expect("workloads", &seen, &BTreeSet::from(["chat".to_owned(), "long".to_owned()]))?;
    let values = experiment.values()?;
    for workload in &seen {
        let mut all = values["findings"].as_array().into_iter().flatten();
        let found = all.find(|own| own["kind"] == "client_and_server" && own["workload"] == **workload);
        let evidence = &found.ok_or(format!("{workload}: client and server are not compared"))?["evidence"];
        if evidence["compared"] != 1.0 || evidence["equal"] != 1.0 {
            return Err(format!("{workload}: the counts are not said to agree: {evidence}"));
        }
    }
    render_again(&experiment, &folder)
}

/// On both APIs, by token ids and by text, with and without a system message, and through the turns of a
/// conversation.
fn synthetic_prompts_have_the_length_vllm_counts(vllm: &Path) -> Result<(), String> {
    let experiment = Experiment::new(&manifest(
        "exact-lengths",
        vllm,
        r#"
enable-prefix-caching = true
enable-prompt-tokens-details = true
[workload.ids]
synthetic = { input_tokens = 1, output_tokens = { uniform = [1, 9] } }
requests = 8
concurrency = 4
[workload.ids.sweep]
synthetic.input_tokens = [1, 2, 64, 257, 1000]
[workload.text]
api = "chat"
synthetic = { input_tokens = 100, output_tokens = 4 }
requests = 8
concurrency = 4
[workload.text.sweep]
synthetic.input_tokens = [100, 129, 640]
[workload.system]
api = "chat"
system = "You answer briefly."
synthetic = { input_tokens = { lognormal = { mean = 200, stddev = 80, min = 90, max = 500 } }, output_tokens = 3 }
requests = 12
concurrency = 2
[workload.shared]
api = "chat"
shared_prefix = { groups = 2, prefix_tokens = 256, suffix_tokens = 40, output_tokens = 2 }
requests = 12
[workload.turns]
api = "chat"
conversations = { file = "sharegpt.json", turns = "all" }
requests = 4
max_tokens = 6
output = "exact"
"#,
    )?)?;
    let conversations = r#"[
  {"id": "a", "conversations": [{"from": "human", "value": "What is a token?"}, {"from": "gpt", "value": "A piece of text."},
                                {"from": "human", "value": "And a block?"}]},
  {"id": "b", "conversations": [{"from": "human", "value": "Why?"}, {"from": "human", "value": "Why not?"}]}
]"#;
    fs::write(experiment.path("sharegpt.json"), conversations).map_err(|e| e.to_string())?;
    succeed(experiment.run())?;
    let folder = experiment.run_folder()?;
    let (mut exact, mut cached, mut turns) = (0, 0, Vec::new());
    for record in records(&folder)? {
        // Random weights may answer with special tokens alone, which are no text; they are counted all the
        // same.
        if record["outcome"] != "completed" && record["outcome"] != "empty" {
            return Err(format!("neither completed nor empty: {record}"));
        }
        let usage = &record["usage"];
        expect("output tokens", &usage["completion_tokens"], &record["max_tokens"])?;
        if record.get("turn").is_some() {
            turns.push((
                record["turn"]["conversation"].as_u64(),
                record["turn"]["number"].as_u64(),
                usage["prompt_tokens"].as_u64(),
            ));
        } else {
            expect("prompt tokens", &usage["prompt_tokens"], &record["input_tokens"])?;
            exact += 1;
        }
        if record["input_tokens"] == 296
            && let Some(found) = usage["cached_tokens"].as_u64()
        {
            cached += found;
        }
    }
    expect("made prompts", &exact, &(5 * 8 + 3 * 8 + 12 + 12))?;
    // Two groups of six: all but the first of each find both of their blocks of 128 tokens.
    expect("tokens that the groups shared", &cached, &(2 * 5 * 256))?;
    turns.sort();
    let [(Some(0), Some(0), first), (Some(0), Some(1), second), (Some(1), Some(0), _), (Some(1), Some(1), _)] =
        turns[..]
    else {
        return Err(format!("two conversations of two turns, not {turns:?}"));
    };
    // The second turn holds the first, what was answered, and its own words.
    if second <= first {
        return Err(format!("the second turn lacks the history: {turns:?}"));
    }
    for cell in experiment.cells()? {
        if cell["verdicts"].contains("input_length") || cell["verdicts"].contains("cache_contaminated") {
            return Err(format!("{}: {}", cell["cell"], cell["verdicts"]));
        }
    }
    render_again(&experiment, &folder)
}

/// Renders the same notes and page from the files that git keeps.
fn render_again(experiment: &Experiment, folder: &Path) -> Result<(), String> {
    let before = files(folder)?;
    if !before.contains_key("notes/capacity.md") {
        return Err(format!("no notes/capacity.md among {:?}", before.keys()));
    }
    // What the run's own .gitignore keeps out of a clone.
    let kept_out = |name: &str| {
        let last = name.rsplit('/').next().unwrap_or(name);
        last == "server.log" || last == ".lock" || last.starts_with("records")
    };
    let rendered =
        |name: &str| name.starts_with("notes/") || name.starts_with("charts/") || name == "report.html";
    for name in before.keys().filter(|name| kept_out(name) || rendered(name)) {
        fs::remove_file(folder.join(name)).map_err(|e| format!("{name}: {e}"))?;
    }
    succeed(
        experiment.runner(&["report", folder.to_str().ok_or("the temporary folder's path is no text")?]),
    )?;
    let after = files(folder)?;
    for (name, bytes) in before.iter().filter(|(name, _)| !kept_out(name)) {
        match after.get(name) {
            None => return Err(format!("`runner report` did not write {name}")),
            Some(again) if again != bytes => {
                return Err(format!(
                    "`runner report` wrote another {name}; before:\n{}\nafter:\n{}",
                    String::from_utf8_lossy(bytes),
                    String::from_utf8_lossy(again)
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "how long it took is worth reading when the test passes, too")]
fn a_killed_runner_leaves_no_server(vllm: &Path) -> Result<(), String> {
    let experiment = Experiment::new(&manifest(
        "killed",
        vllm,
        r#"
[workload.chat]
prompts = ["Say something, and do not stop."]
requests = 100000
concurrency = 4
max_tokens = 512
output = "exact"
"#,
    )?)?;
    // To a file: a pipe that nobody empties would hold the runner up.
    let said = fs::File::create(experiment.path("said")).map_err(|e| e.to_string())?;
    let errors = said.try_clone().map_err(|e| e.to_string())?;
    let mut command = experiment.run();
    command.stdout(Stdio::from(said)).stderr(Stdio::from(errors));
    let mut runner = Runner(command.spawn().map_err(|e| format!("{command:?}: {e}"))?);

    let began = Instant::now();
    let log = loop {
        if let Some(status) = runner.0.try_wait().map_err(|e| e.to_string())? {
            let said = fs::read_to_string(experiment.path("said")).map_err(|e| e.to_string())?;
            return Err(format!("the runner ended with {status} before it was killed:\n{said}"));
        }
        // The log counts requests only once they were asked for.
        if let Some(log) = server_log(&experiment).filter(|log| log.contains("\"POST /v1/completions")) {
            break log;
        }
        if began.elapsed() > START {
            return Err(format!(
                "vLLM answered no request within {START:?}; its log:\n{:?}",
                server_log(&experiment)
            ));
        }
        sleep(Duration::from_millis(200));
    };
    // What the server says of itself, and what the system says, which knows of more.
    let told = told_pids(&log);
    if told.len() < 2 || !log.contains("(EngineCore pid=") {
        return Err(format!(
            "the log should name the pids of at least two processes, EngineCore's too; it names {told:?}"
        ));
    }
    let mut tree: BTreeMap<u32, u64> =
        told.iter().filter_map(|&pid| Some((pid, Process::read(pid)?.started))).collect();
    expect("processes that live before the kill", &tree.keys().copied().collect::<BTreeSet<_>>(), &told)?;
    tree.extend(descendants(runner.0.id()));

    // SIGKILL: the runner gets no chance to clean up.
    runner.0.kill().map_err(|e| e.to_string())?;
    runner.0.wait().map_err(|e| e.to_string())?;
    let killed = Instant::now();
    loop {
        let alive: Vec<u32> =
            tree.iter().filter(|&(&pid, &started)| lives(pid, started)).map(|(&pid, _)| pid).collect();
        if alive.is_empty() {
            println!("{} processes were gone {:?} after the runner was killed", tree.len(), killed.elapsed());
            return Ok(());
        }
        if killed.elapsed() > CLEANED_UP {
            for pid in &alive {
                // Not ours to leave behind either; it may have ended meanwhile.
                drop(Command::new("kill").args(["-KILL", &pid.to_string()]).status());
            }
            return Err(format!(
                "{CLEANED_UP:?} after the runner was killed, these of {tree:?} still live: {alive:?}"
            ));
        }
        sleep(Duration::from_millis(100));
    }
}

/// A runner that is killed when its test ends.
struct Runner(Child);

impl Drop for Runner {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to do.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The log of the only server, once it exists.
fn server_log(experiment: &Experiment) -> Option<String> {
    let folder = experiment.run_folder().ok()?;
    let server = fs::read_dir(folder.join("servers")).ok()?.flatten().next()?;
    let bytes = fs::read(server.path().join("server.log")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Every `(Name pid=N)` of a log.
fn told_pids(log: &str) -> BTreeSet<u32> {
    log.split(" pid=").skip(1).filter_map(|rest| rest.split_once(')')?.0.parse().ok()).collect()
}

/// A process in `/proc`.
struct Process {
    parent: u32,
    state: char,
    /// When it started, in ticks since boot: tells it from a later one with the same number.
    started: u64,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in brackets, may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

/// Whether a process still runs. One that only waits for its parent to ask how it ended does not.
fn lives(pid: u32, started: u64) -> bool {
    Process::read(pid)
        .is_some_and(|process| process.started == started && !matches!(process.state, 'Z' | 'X'))
}

/// All processes below one, with the instants they started.
fn descendants(ancestor: u32) -> BTreeMap<u32, u64> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    let all: BTreeMap<u32, Process> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Process::read(pid)?)))
        .collect();
    let is_below = |mut pid: u32| {
        while let Some(process) = all.get(&pid) {
            if process.parent == ancestor {
                return true;
            }
            pid = process.parent;
        }
        false
    };
    all.iter().filter(|&(&pid, _)| is_below(pid)).map(|(&pid, process)| (pid, process.started)).collect()
}

/// Every file below a folder, by its path from there, with its bytes.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).map_err(|e| format!("{}: {e}", next.display()))? {
            let path = entry.map_err(|e| e.to_string())?.path();
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(folder).map_err(|e| e.to_string())?.display().to_string();
                found.insert(name, fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?);
            }
        }
    }
    Ok(found)
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, should: &T) -> Result<(), String> {
    if is == should { Ok(()) } else { Err(format!("{what}: {is:?}, not {should:?}")) }
}
