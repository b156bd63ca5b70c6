//! Event → what is said of it. Pure: the same event gives the same words.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use camino::Utf8PathBuf;

use super::state::State;
use crate::{
    load::Progress,
    measure::CellOutcome,
    run::Event,
    server::{Facts, OomAt, ServerOutcome, StartPhase},
};

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// The run goes as it should.
    Plain,
    /// A result that people look for: memory ran out.
    Result,
    /// Something went wrong, or may have.
    Wrong,
}

/// What is said of an event; `state` has taken it in already. `None` where nothing is said.
pub(super) fn say(event: &Event, state: &State) -> Option<(Weight, String)> {
    let plain = |text| Some((Weight::Plain, text));
    match event {
        Event::Started {
            experiment,
            folder,
            cells,
            done,
            servers,
        } => {
            let mut text = format!(
                "{experiment}: {} on {} → {}",
                count(*cells, "cell"),
                count(*servers, "server"),
                clean(folder.as_str())
            );
            if *done > 0 {
                text.push_str(&format!(" ({done} done before)"));
            }
            plain(text)
        }
        Event::ServerStarting {
            server,
            ready_within,
        } => plain(format!(
            "server {}/{} {server}: starting{}, ready within {}",
            state
                .started
                .iter()
                .position(|started| started == server)
                .map_or(state.started.len(), |position| position + 1),
            state.servers,
            if state.again { " again" } else { "" },
            span(*ready_within)
        )),
        Event::ServerPhase {
            server,
            phase,
            line,
        } => plain(match clean(line) {
            line if line.is_empty() => format!("server {server}: {}", phase_name(*phase)),
            line => format!("server {server}: {} · {line}", phase_name(*phase)),
        }),
        Event::ServerReady { server, facts } => plain(format!("server {server}: {}", ready(facts))),
        Event::ServerEnded {
            server,
            outcome,
            reason,
            log,
        } => {
            let mut text = format!("server {server}: {outcome}");
            let reason = clean(reason);
            if !reason.is_empty() {
                text.push_str(&format!(" · {reason}"));
            }
            if let Some(log) = log {
                text.push_str(&format!(" · log: {log}"));
            }
            let weight = match outcome {
                ServerOutcome::Oom(
                    OomAt::Weights | OomAt::KvCache | OomAt::Graphs | OomAt::Load,
                )
                | ServerOutcome::KvTooSmall => Weight::Result,
                ServerOutcome::Ready | ServerOutcome::Interrupted => Weight::Plain,
                _ => Weight::Wrong,
            };
            Some((weight, text))
        }
        Event::ServerStopped { server } => plain(format!("server {server}: stopped")),
        Event::CellStarted {
            cell,
            repeat,
            repeats,
            requests,
            ..
        } => {
            let mut text = format!("cell {}/{} {cell}", state.finished + 1, state.cells);
            if *repeats > 1 {
                text.push_str(&format!(" (repeat {repeat} of {repeats})"));
            }
            if let Some(requests) = requests {
                text.push_str(&format!(": {requests} requests"));
            }
            plain(text)
        }
        Event::CellFinished {
            cell,
            outcome,
            reason,
            throughput_tok_s,
            p95_ttft_ms,
            errors,
        } => {
            let mut text = format!("cell {}/{} {cell}: {}", state.finished, state.cells, outcome.name());
            if let Some(rate) = throughput_tok_s {
                text.push_str(&format!(" · {rate:.1} tok/s"));
            }
            if let Some(ms) = p95_ttft_ms {
                text.push_str(&format!(" · p95 TTFT {ms:.0} ms"));
            }
            if *errors > 0 {
                text.push_str(&format!(" · {}", count(*errors as usize, "error")));
            }
            // Why a server did not start was said when it did not; each of its cells would repeat it.
            if let Some(reason) = reason.as_deref().map(clean)
                && !state.told_of_server(&reason)
            {
                text.push_str(&format!(" · {reason}"));
            }
            let weight = if outcome.is_on_oom_surface() {
                Weight::Result
            } else if *outcome == CellOutcome::Degraded || !outcome.is_done() {
                Weight::Wrong
            } else {
                Weight::Plain
            };
            Some((weight, text))
        }
        Event::Predicting => plain(
            "predicting the cells, to be laid beside what is measured; Ctrl-C leaves that out and ends the run".into(),
        ),
        Event::Interrupted => Some((
            Weight::Wrong,
            "interrupted: the running cell is given up, what is stored is kept; Ctrl-C again ends at once".into(),
        )),
        Event::Warning(text) => Some((Weight::Wrong, format!("warning: {}", clean(text)))),
        Event::Finished {
            folder,
            outcomes,
            notes,
        } => plain(finish(folder, outcomes, notes, state)),
    }
}

fn finish(
    folder: &Utf8PathBuf,
    outcomes: &[(CellOutcome, usize)],
    notes: &[Utf8PathBuf],
    state: &State,
) -> String {
    let total: usize = outcomes.iter().map(|(_, n)| n).sum();
    let counted: Vec<String> =
        outcomes.iter().map(|(outcome, n)| format!("{n} {}", outcome.name())).collect();
    let mut text =
        format!("{}: {}", if state.interrupted { "stopped" } else { "finished" }, count(total, "cell"));
    if !counted.is_empty() {
        text.push_str(&format!(" ({})", counted.join(", ")));
    }
    text.push_str(&format!("\nresults: {}", clean(folder.as_str())));
    // The overview is what people read first.
    let is_overview = |note: &&Utf8PathBuf| note.file_name() == Some("capacity.md");
    let (overview, others): (Vec<_>, Vec<_>) = notes.iter().partition(is_overview);
    for note in overview.into_iter().chain(others) {
        text.push_str(&format!("\nnote:    {}", clean(note.as_str())));
    }
    text.push_str(&format!("\nopen:    {}/report.html", clean(folder.as_str())));
    if state.interrupted {
        text.push_str(&format!("\nnext:    runner run {} --resume", word(&state.manifest)));
    } else {
        text.push_str(&format!("\nnext:    git add {0}", word(folder.as_str())));
    }
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

/// What a starting server does, in a word or two.
pub(super) fn phase_name(phase: StartPhase) -> &'static str {
    match phase {
        StartPhase::Launch => "launching",
        StartPhase::Download => "downloading the model",
        StartPhase::Load => "loading the weights",
        StartPhase::Compile => "compiling",
        StartPhase::Warmup => "warming up",
    }
}

/// The live counters of a cell. Chunks are not called tokens: only the server's own count is one.
pub(super) fn counters(requests: Option<u64>, progress: &Progress, rate: Option<f64>) -> String {
    let ended = progress.ended.load(Relaxed);
    let mut text = match requests {
        Some(requests) => format!("{ended}/{requests} requests"),
        None => count(ended as usize, "request"),
    };
    text.push_str(&format!(" · {} in flight", progress.in_flight.load(Relaxed)));
    if let Some(rate) = rate {
        text.push_str(&format!(" · {rate:.0} chunks/s"));
    }
    let errors = progress.errors.load(Relaxed);
    if errors > 0 {
        text.push_str(&format!(" · {}", count(errors as usize, "error")));
    }
    text
}

/// A length of time for people: `42s`, `3m 05s`, `1h 02m`.
pub(super) fn span(duration: Duration) -> String {
    let s = duration.as_secs();
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        _ => format!("{}h {:02}m", s / 3600, s / 60 % 60),
    }
}

/// Text from elsewhere on one line, without anything that a terminal would obey.
pub(super) fn clean(text: &str) -> String {
    anstream::adapter::strip_str(text)
        .to_string()
        .chars()
        .map(|c| if matches!(c, '\t' | '\n' | '\r') { ' ' } else { c })
        // Overrides of the writing direction can hide words as well as escapes can.
        .filter(|c| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .collect::<String>()
        .trim()
        .to_owned()
}

/// A path as a word of a shell's command that a person may copy.
fn word(path: &str) -> String {
    clean(&shlex::try_quote(path).unwrap_or_default())
}

fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_log_reaches_the_terminal_as_a_command() {
        for (text, shown) in [
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("50%\r100%", "50% 100%"),
            ("a\tb\x00\x08\u{9b}2Jc", "a bc"),
            ("ab\u{202e}cd", "abcd"),
        ] {
            let cleaned = clean(text);
            assert!(!cleaned.chars().any(char::is_control), "{text:?}");
            if !text.contains('\u{9b}') {
                assert_eq!(cleaned, shown, "{text:?}");
            }
        }
    }

    #[test]
    fn times_are_short() {
        for (s, text) in [(0, "0s"), (59, "59s"), (185, "3m 05s"), (3725, "1h 02m")] {
            assert_eq!(span(Duration::from_secs(s)), text);
        }
    }
}
