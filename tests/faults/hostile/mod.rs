//! Hostile servers in whole runs: every attack has an outcome within bounded time and memory, impossible
//! numbers are never ranked, and the stored run can be read again. Each attack is a row of this folder's
//! README. Linux only: the runner's memory is read from `/proc`.

mod rows;
mod server;

use std::{
    collections::BTreeSet,
    fs,
    process::Stdio,
    sync::OnceLock,
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

use crate::{
    support::experiment::Experiment,
    table::{Table, test_name},
};

const TABLE: Table = Table("hostile");
/// Limit on the runner's memory in a row, KiB: two requests of at most 64 MiB each, and a debug build itself.
const MOST_MEMORY_KIB: u64 = 192 << 10;

/// The results of a row.
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

/// How the results differ from the row; `None` when they match.
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
    let rows = ROWS.iter().map(|row| Trial::test(test_name(row.name), move || Ok(compare(row)?)));
    let key = Trial::test("the_api_key_is_not_sent_to_a_redirect_target", || {
        the_api_key_is_not_sent_to_a_redirect_target();
        Ok(())
    });
    rows.chain([key, TABLE.trial(ROWS.iter().map(|row| row.name).collect())]).collect()
}

#[expect(clippy::print_stdout, reason = "the figures are worth reading, and --nocapture shows them")]
fn compare(row: &Row) -> Result<(), String> {
    rows::prepare();
    let seen = see(row)?;
    println!("{}: {:?}, {} MiB", row.name, seen.took, seen.peak_kib >> 10);
    match surprise(row, &seen) {
        None => TABLE.compare(row.name, &text_of(row, &seen)),
        Some(surprise) => Err(surprise),
    }
}

/// Where the redirects lead.
static ELSEWHERE: OnceLock<String> = OnceLock::new();

fn look_there(to: &mut std::net::TcpStream) -> std::io::Result<bool> {
    let place = ELSEWHERE.get().expect("a place");
    let head = "HTTP/1.1 307 Temporary Redirect\r\ncontent-length: 0\r\nlocation: ";
    server::raw(to, format!("{head}http://{place}/\r\n\r\n").as_bytes())
}

fn the_api_key_is_not_sent_to_a_redirect_target() {
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

/// The row of the README.
fn text_of(row: &Row, seen: &Seen) -> String {
    // Where two bounds race, both are named.
    let raced = row.requests.iter().any(|word| word.contains('|'));
    let (requests, said) = if raced {
        (row.requests.join(", ").replace('|', " or "), String::new())
    } else {
        (seen.requests.clone(), plain(&seen.said))
    };
    let dash = |text: String| if text.is_empty() { "–".to_owned() } else { text };
    format!("| {} | {} | {} | {} | {} |", row.name, dash(requests), seen.cell, dash(said), seen.code)
}

/// A line without what varies from run to run.
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
