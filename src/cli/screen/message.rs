//! The lines that are printed for an event.

use camino::Utf8PathBuf;

use super::{
    super::output::counted,
    format::{clean, duration, phase_name},
    search,
    state::State,
};
use crate::{
    measure::CellOutcome,
    run::{Ended, Event},
    server::{Facts, ServerOutcome},
};

/// How prominent a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Progress.
    Info,
    /// A result that people look for: memory ran out.
    Result,
    /// A failure or a warning; printed even with `--quiet`.
    Problem,
}

/// The lines for an event that `state` has been updated with.
pub(super) fn message(event: &Event, state: &State) -> (Level, String) {
    let info = |text| (Level::Info, text);
    match event {
        Event::Started { experiment, folder, cells, done, searches, servers } => {
            let mut work = Vec::new();
            if *cells > 0 || *searches == 0 {
                work.push(counted(*cells, "cell"));
            }
            match searches {
                0 => {}
                1 => work.push("1 search".to_owned()),
                several => work.push(format!("{several} searches")),
            }
            let on = match servers {
                0 if *searches > 0 => String::new(),
                servers => format!(" on {}", counted(*servers, "server")),
            };
            let mut text = format!("{experiment}: {}{on} → {}", work.join(" and "), clean(folder.as_str()));
            if *done > 0 {
                text.push_str(&format!(" ({done} done earlier)"));
            }
            info(text)
        }
        Event::ServerStarting { server, ready_within } => info(format!(
            "server {} {server}: starting{}, ready within {}",
            server_number(server, state),
            if state.again { " again" } else { "" },
            duration(*ready_within)
        )),
        Event::ServerPhase { server, phase, line } => info(match clean(line) {
            line if line.is_empty() => format!("server {server}: {}", phase_name(*phase)),
            line => format!("server {server}: {} · {line}", phase_name(*phase)),
        }),
        Event::ServerReady { server, facts } => info(format!("server {server}: {}", ready(facts))),
        Event::ServerEnded { server, outcome, reason, log } => {
            let mut text = format!("server {server}: {outcome}");
            let reason = clean(reason);
            if !reason.is_empty() {
                text.push_str(&format!(" · {reason}"));
            }
            if let Some(log) = log {
                text.push_str(&format!(" · log: {log}"));
            }
            (server_level(*outcome), text)
        }
        Event::ServerStopped { server } => info(format!("server {server}: stopped")),
        Event::CellStarted { cell, repeat, at_least, at_most, requests, .. } => {
            let mut text = format!("cell {}/{} {cell}", state.finished + 1, state.cells);
            if at_least < at_most {
                text.push_str(&format!(" (repeat {repeat}, at most {at_most})"));
            } else if *at_most > 1 {
                text.push_str(&format!(" (repeat {repeat} of {at_most})"));
            }
            if let Some(requests) = requests {
                text.push_str(&format!(": {requests} requests"));
            }
            info(text)
        }
        Event::CellFinished { cell, outcome, reason, throughput_tok_s, p95_ttft_ms, errors } => {
            let mut text = format!("cell {}/{} {cell}: {}", state.finished, state.cells, outcome.name());
            if let Some(rate) = throughput_tok_s {
                text.push_str(&format!(" · {rate:.1} tok/s"));
            }
            if let Some(ms) = p95_ttft_ms {
                text.push_str(&format!(" · p95 TTFT {ms:.0} ms"));
            }
            if *errors > 0 {
                text.push_str(&format!(" · {}", counted(*errors as usize, "error")));
            }
            // A server's failure was printed when it happened; each of its cells would repeat it.
            if let Some(reason) = reason.as_deref().map(clean)
                && !state.is_server_failure(&reason)
            {
                text.push_str(&format!(" · {reason}"));
            }
            (cell_level(*outcome), text)
        }
        Event::Probe { values, answer } => info(search::probing(values, answer)),
        Event::Answered(answer) => (Level::Result, search::answered(answer)),
        Event::Predicting => info(
            "predicting the cells, to compare with what is measured; \
             Ctrl-C skips this and ends the run"
                .into(),
        ),
        Event::Interrupted => (
            Level::Problem,
            "interrupted: stopping; the running cell is discarded, finished cells are kept. \
             Ctrl-C again quits at once"
                .into(),
        ),
        Event::Warning(text) => (Level::Problem, format!("warning: {}", clean(text))),
        Event::Finished { ended, notes } => info(finished(ended, notes, state)),
    }
}

/// The number of a server's start: `2/3`, or `2` where searches decide how many there are.
fn server_number(server: &str, state: &State) -> String {
    let position = state.started.iter().position(|started| started == server);
    let number = position.map_or(state.started.len(), |position| position + 1);
    if number <= state.servers { format!("{number}/{}", state.servers) } else { number.to_string() }
}

fn server_level(outcome: ServerOutcome) -> Level {
    match outcome {
        ServerOutcome::Oom(_) | ServerOutcome::KvTooSmall => Level::Result,
        ServerOutcome::Ready | ServerOutcome::Interrupted => Level::Info,
        _ => Level::Problem,
    }
}

fn cell_level(outcome: CellOutcome) -> Level {
    if outcome.is_on_oom_surface() {
        Level::Result
    } else if outcome == CellOutcome::Degraded || !outcome.is_done() {
        Level::Problem
    } else {
        Level::Info
    }
}

fn finished(ended: &Ended, notes: &[Utf8PathBuf], state: &State) -> String {
    let how = match (ended.interrupted, ended.already_complete) {
        (true, _) => "stopped",
        (_, true) => "already complete",
        _ => "finished",
    };
    let total: usize = ended.outcomes.iter().map(|(_, n)| n).sum();
    let failed: usize = ended.outcomes.iter().filter(|(outcome, _)| !outcome.is_done()).map(|(_, n)| n).sum();
    let outcomes: Vec<String> =
        ended.outcomes.iter().map(|(outcome, n)| format!("{n} {}", outcome.name())).collect();
    let mut text = format!("{how}: {}", counted(total, "cell"));
    if let Some(budget) = &ended.budget_spent {
        text = format!("the budget of {budget} ended the run: {}", counted(total, "cell"));
    }
    if !outcomes.is_empty() {
        text.push_str(&format!(" ({})", outcomes.join(", ")));
    }
    if ended.missing > 0 {
        text.push_str(&format!("\nmissing: {} of the plan not measured yet", counted(ended.missing, "cell")));
    }
    if ended.unanswered > 0 {
        let noun = if ended.unanswered == 1 { "search has" } else { "searches have" };
        text.push_str(&format!("\nmissing: {} {noun} no answer yet", ended.unanswered));
    }
    let folder = clean(ended.folder.as_str());
    text.push_str(&format!("\nresults: {folder}"));
    // The overview is what people read first.
    let is_overview = |note: &&Utf8PathBuf| note.file_name() == Some("capacity.md");
    let (overview, others): (Vec<_>, Vec<_>) = notes.iter().partition(is_overview);
    for note in overview.into_iter().chain(others) {
        text.push_str(&format!("\nnote:    {}", clean(note.as_str())));
    }
    text.push_str(&format!("\nopen:    {folder}/report.html\nnext:    "));
    let cut = ended.interrupted || ended.budget_spent.is_some();
    text.push_str(&match (cut, ended.missing) {
        (true, _) => clean(&state.commands.resume),
        (false, 0) if failed > 0 => {
            format!("{}   # measures {} again", clean(&state.commands.resume), counted(failed, "failed cell"))
        }
        (false, 0) => {
            format!("git add {}", clean(&shlex::try_quote(ended.folder.as_str()).unwrap_or_default()))
        }
        (false, _) => clean(&state.commands.measure_rest),
    });
    text
}

fn ready(facts: &Facts) -> String {
    let mut text = match facts.startup_s {
        Some(s) => format!("ready after {s:.1} s"),
        None => "ready".to_owned(),
    };
    if let Some(version) = &facts.engine_version {
        text.push_str(&format!(" · {}", clean(version)));
    }
    if let Some(tokens) = facts.kv_cache_tokens {
        text.push_str(&format!(" · KV cache {tokens} tokens"));
    }
    text
}
