//! Servers that mean harm, over real sockets and in whole runs: each of their ways has its outcome, in a bounded time and
//! memory, what they say that cannot be is never ranked, and what was stored can be read again.
//! `RUNNER_TEST_WRITE=1` writes the table of this folder's README anew. Reads the kernel's process table, so it is for Linux.

mod rows;
mod server;

use std::{
    collections::BTreeSet,
    env,
    fmt::Write as _,
    fs,
    path::Path,
    process::Stdio,
    sync::{Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

use camino::Utf8Path;
use libtest_mimic::Trial;
use rows::{LONGEST, ROWS, Row};
use runner::{
    measure::{Severity, VerdictKind},
    store,
};
use server::Server;

use crate::{support::experiment::Experiment, trial};

/// Rows at once: most of them wait for a timeout.
const AT_ONCE: usize = 8;
/// The most memory that `runner` may take in a row, KiB: two requests of at most 64 MiB each, and itself in a debug build.
const MOST_MEMORY_KIB: u64 = 192 << 10;

/// What was seen of a row.
struct Seen {
    requests: String,
    cell: String,
    said: String,
    code: i32,
    took: Duration,
    peak_kib: u64,
}

fn manifest(port: u16, asks: &str, timeout: &str) -> String {
    format!(
        r#"
[experiment]
name = "hostile"
[server]
engine = "openai"
model = "m"
launch = {{ on = "attach", url = "http://127.0.0.1:{port}" }}
[workload.ask]
{asks}
requests = 4
concurrency = 2
max_tokens = 2
timeout = "{timeout}"
"#
    )
}

fn see(row: &Row) -> Result<Seen, String> {
    let server = Server::start(row.answers, row.early);
    let experiment = Experiment::new(&manifest(server.address.port(), row.asks, row.timeout))?;
    let begun = Instant::now();
    let mut child =
        experiment.run().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    let code = loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            break status.code().unwrap_or(-1);
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak_kib = peak_kib.max(peak.unwrap_or(0));
        if begun.elapsed() > LONGEST * 2 {
            let _ = child.kill();
            return Err("it does not end".into());
        }
        thread::sleep(Duration::from_millis(5));
    };
    let took = begun.elapsed();
    let mut said = String::new();
    let stderr = child.stderr.take().ok_or("no standard error")?;
    std::io::Read::read_to_string(&mut { stderr }, &mut said).map_err(|e| e.to_string())?;
    if said.len() > 20_000 {
        return Err(format!("{} bytes were said", said.len()));
    }
    let folder = experiment.run_folder().map_err(|e| format!("{e}\n{said}"))?;
    let folder = Utf8Path::from_path(&folder).ok_or("the folder is no text")?;
    // What cannot be read again is lost.
    let stored = store::read(folder).map_err(|e| e.to_string())?;
    let [cell] = &stored.cells[..] else {
        return Err(format!("{} cells", stored.cells.len()));
    };
    let size = fs::metadata(folder.join("cells").join(&cell.id).join("cell.json"));
    let size = size.map_err(|e| e.to_string())?.len();
    if size > 200_000 {
        return Err(format!("cell.json has {size} bytes"));
    }
    let counts = cell.summary.as_ref().map(|summary| &summary.counts);
    if counts.is_some_and(|counts| counts.by_outcome.values().sum::<u64>() != 4) {
        return Err(format!("not every request has an outcome: {counts:?}"));
    }
    let requests: Vec<&str> =
        counts.iter().flat_map(|counts| counts.by_outcome.keys()).map(String::as_str).collect();
    // How busy this machine is, is not the server's doing.
    let out = |verdict: &runner::measure::Verdict| {
        verdict.severity == Severity::Cell
            && !matches!(
                verdict.kind,
                VerdictKind::ClientSaturated | VerdictKind::ClientLate | VerdictKind::ConcurrencyNotReached
            )
    };
    let ranked = cell.outcome.is_measured() && !cell.verdicts.iter().any(out);
    if ranked != row.ranked {
        let outs: Vec<_> = cell.verdicts.iter().filter(|verdict| out(verdict)).collect();
        return Err(format!("ranked: {ranked}; {outs:?}"));
    }
    let verdict = cell.verdicts.iter().find(|verdict| out(verdict));
    let absent = cell.server_side.iter().flat_map(|side| &side.absent).next();
    let errors = cell.errors.first().map(|(text, _)| text.clone());
    let told = errors
        .or_else(|| cell.reason.clone())
        .or_else(|| verdict.map(|verdict| verdict.reason.clone()))
        .or_else(|| absent.filter(|_| row.answers[0].0 == "/metrics").cloned());
    Ok(Seen {
        requests: requests.join(", "),
        cell: cell.outcome.name().to_owned(),
        said: told.unwrap_or_default(),
        code,
        took,
        peak_kib,
    })
}

/// What differs from what the row says; `None` when nothing does.
fn surprise(row: &Row, seen: &Seen) -> Option<String> {
    let mut wrong = Vec::new();
    let words: BTreeSet<&str> = seen.requests.split(", ").filter(|word| !word.is_empty()).collect();
    let wanted: BTreeSet<&str> = row.requests.iter().flat_map(|word| word.split('|')).collect();
    if words.is_empty() != wanted.is_empty() || !words.is_subset(&wanted) {
        wrong.push(format!("requests ended as {words:?}, not {wanted:?}"));
    }
    if seen.cell != row.cell {
        wrong.push(format!("the cell ended as {}, not {}", seen.cell, row.cell));
    }
    let code = if row.cell == "ok" { 0 } else { 3 };
    if seen.code != code {
        wrong.push(format!("exit code {}, not {code}", seen.code));
    }
    if seen.took > LONGEST {
        wrong.push(format!("it took {:?}", seen.took));
    }
    if seen.peak_kib > MOST_MEMORY_KIB {
        wrong.push(format!("it took {} MiB of memory", seen.peak_kib >> 10));
    }
    (!wrong.is_empty()).then(|| format!("{}: {} ({})", row.name, wrong.join("; "), seen.said))
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "every_harm_costs_a_bounded_time_and_memory_and_is_never_ranked",
            every_harm_costs_a_bounded_time_and_memory_and_is_never_ranked,
        ),
        trial("the_key_is_taken_to_no_other_server", the_key_is_taken_to_no_other_server),
    ]
}

#[expect(
    clippy::print_stdout,
    reason = "the figures are worth reading, and cargo shows them with --nocapture"
)]
pub(crate) fn every_harm_costs_a_bounded_time_and_memory_and_is_never_ranked() {
    rows::prepare();
    let next = Mutex::new(ROWS.iter().enumerate());
    let found = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((place, row)) = next.lock().unwrap().next() else {
                        return;
                    };
                    let seen = see(row);
                    found.lock().unwrap().push((place, row, seen));
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap();
    found.sort_by_key(|(place, ..)| *place);
    let mut surprises = Vec::new();
    for (_, row, seen) in &found {
        match seen {
            Err(reason) => surprises.push(format!("{}: {reason}", row.name)),
            Ok(seen) => {
                println!("{}: {:?}, {} MiB", row.name, seen.took, seen.peak_kib >> 10);
                surprises.extend(surprise(row, seen));
            }
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    let table = table(found.iter().filter_map(|(_, row, seen)| Some((*row, seen.as_ref().ok()?))));
    written(&table);
}

/// What is sent to whoever follows a server that answers: look there.
static ELSEWHERE: OnceLock<String> = OnceLock::new();

fn look_there(to: &mut std::net::TcpStream) -> std::io::Result<bool> {
    let place = ELSEWHERE.get().expect("a place");
    let head = "HTTP/1.1 307 Temporary Redirect\r\ncontent-length: 0\r\nlocation: ";
    server::raw(to, format!("{head}http://{place}/\r\n\r\n").as_bytes())
}

fn the_key_is_taken_to_no_other_server() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    ELSEWHERE.set(other.local_addr().unwrap().to_string()).unwrap();
    let beside: &[(&str, server::Answer)] = &[
        ("/metrics", look_there),
        ("/version", look_there),
        ("/tokenize", look_there),
        ("/v1/completions", look_there),
    ];
    for paths in [beside, &[("/v1/models", look_there)], &[("/health", look_there)]] {
        for asks in ["prompts = [\"x\"]", "synthetic = { input_tokens = 24 }"] {
            let server = Server::start(paths, None);
            let text = manifest(server.address.port(), asks, "2s");
            let text = text.replace("launch = { ", "launch = { api_key_env = \"SOME_KEY\", ");
            let experiment = Experiment::new(&text).unwrap();
            let output = experiment.run().env("SOME_KEY", "sk-planted").output().unwrap();
            assert_eq!(output.status.code(), Some(3), "{output:?}");
        }
    }
    let came = other.accept();
    assert!(came.is_err(), "{came:?}");
}

const HEADING: &str =
    "| what the server does | requests | cell | what is said of it | exit code |\n|---|---|---|---|---|\n";

fn table<'a>(found: impl Iterator<Item = (&'a Row, &'a Seen)>) -> String {
    let mut table = String::new();
    for (row, seen) in found {
        // Where two bounds race, both are named.
        let requests = if row.requests.iter().any(|word| word.contains('|')) {
            row.requests.join(", ").replace('|', " or ")
        } else {
            seen.requests.clone()
        };
        let raced = requests.contains(" or ");
        let said: String = if raced { String::new() } else { plain(&seen.said) };
        let dash = |text: String| {
            if text.is_empty() { "–".to_owned() } else { text }
        };
        writeln!(
            table,
            "| {} | {} | {} | {} | {} |",
            row.name,
            dash(requests),
            seen.cell,
            dash(said),
            seen.code
        )
        .unwrap();
    }
    table
}

/// A line without what differs from run to run.
fn plain(said: &str) -> String {
    let mut out = String::new();
    let mut rest = said;
    while let Some(at) = rest.find("127.0.0.1:") {
        let (before, behind) = rest.split_at(at + "127.0.0.1:".len());
        out.push_str(before);
        out.push_str("PORT");
        rest = behind.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out.push_str(rest);
    let short: String = out.chars().take(120).collect();
    let more = if short.len() < out.len() { " […]" } else { "" };
    short.replace('|', "\\|") + more
}

/// Compares with the table in the README, or writes it.
fn written(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/hostile/README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, old) = text.split_once(HEADING).expect("the table's heading");
    if env::var_os("RUNNER_TEST_WRITE").is_some() {
        fs::write(&path, format!("{before}{HEADING}{table}")).unwrap();
        return;
    }
    let seen: Vec<&str> = table.lines().collect();
    let told: Vec<&str> = old.lines().collect();
    let differing = seen.iter().zip(&told).find(|(seen, told)| seen != told);
    assert!(
        seen == told,
        "the table of tests/faults/hostile/README.md differs ({differing:?}); if it should: RUNNER_TEST_WRITE=1 cargo test --test faults"
    );
}
