//! Formats counters, durations and text from elsewhere for one line of the screen.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use super::super::output::counted;
use crate::{load::Progress, server::StartPhase};

/// The shortest a cell's id is cut to before other parts of its line are left out.
const SHORTEST_NAME: usize = 12;

/// The name of a phase of a server's start.
pub(super) fn phase_name(phase: StartPhase) -> &'static str {
    match phase {
        StartPhase::Launch => "launching",
        StartPhase::Download => "downloading the model",
        StartPhase::Load => "loading the weights",
        StartPhase::Compile => "compiling",
        StartPhase::Warmup => "warming up",
    }
}

/// The live counters of a cell, the most important first. Chunks are not called tokens: only the server
/// counts those.
pub(super) fn counters(requests: Option<u64>, progress: &Progress, rate: Option<f64>) -> Vec<String> {
    let ended = progress.ended.load(Relaxed);
    let errors = progress.errors.load(Relaxed);
    let mut parts = vec![match requests {
        Some(requests) => format!("{ended}/{requests} requests"),
        None => counted(ended as usize, "request"),
    }];
    parts.extend(rate.map(|rate| format!("{rate:.0} chunks/s")));
    parts.extend((errors > 0).then(|| counted(errors as usize, "error")));
    parts.push(format!("{} in flight", progress.in_flight.load(Relaxed)));
    parts
}

/// Joins a name and the parts of its line so that they fit into `width` columns: the name is shortened first,
/// then parts are left out from the end.
pub(super) fn fit(name: &str, parts: &[String], width: usize) -> String {
    let length = |text: &str| text.chars().count();
    let mut parts = parts.iter().map(String::as_str).collect::<Vec<_>>();
    loop {
        let rest: usize = parts.iter().map(|part| length(part) + 3).sum();
        let room = width.saturating_sub(rest);
        if room >= SHORTEST_NAME.min(length(name)) || parts.is_empty() {
            let name = shorten(name, room);
            return [name.as_str()].into_iter().chain(parts).collect::<Vec<_>>().join(" · ");
        }
        parts.pop();
    }
}

/// Cuts the middle out of a text that is longer than `most` characters: an id differs at both of its ends.
fn shorten(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let head = kept.div_ceil(2);
    let tail = text.chars().skip(length - (kept - head));
    text.chars().take(head).chain(['…']).chain(tail).collect()
}

/// A duration for people: `42s`, `3m 05s`, `1h 02m`.
pub(super) fn duration(duration: Duration) -> String {
    let s = duration.as_secs();
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        _ => format!("{}h {:02}m", s / 3600, s / 60 % 60),
    }
}

/// Puts text from elsewhere on one line and removes everything that a terminal would obey.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_in_foreign_text_never_reach_the_terminal() {
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
    fn durations_are_short() {
        for (s, text) in [(0, "0s"), (59, "59s"), (185, "3m 05s"), (3725, "1h 02m")] {
            assert_eq!(duration(Duration::from_secs(s)), text);
        }
    }

    #[test]
    fn a_narrow_line_keeps_the_rate_and_never_grows_beyond_its_width() {
        let parts = ["109/132 requests", "1204 chunks/s", "16 in flight", "12s"].map(String::from);
        let lines = [120, 74, 48, 20].map(|width| fit("chat-c16-t32-maxlen2048-a8c03222", &parts, width));
        assert_eq!(
            lines,
            [
                "chat-c16-t32-maxlen2048-a8c03222 · 109/132 requests · 1204 chunks/s · 16 in flight · 12s",
                "chat-c16-…a8c03222 · 109/132 requests · 1204 chunks/s · 16 in flight · 12s",
                "chat-c…c03222 · 109/132 requests · 1204 chunks/s",
                "chat-c16-t…-a8c03222",
            ]
        );
    }
}
