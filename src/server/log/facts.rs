//! Reads facts about the server and the progress of its start from single lines of vLLM's log.

use super::message::{is_warning, message};
use crate::server::outcome::{Facts, StartPhase};

/// Texts that mark a line with a fact about the server. [`PHASES`] has those that show progress.
pub(super) const FACT_TEXTS: &[&str] = &[
    ARGUMENTS,
    "KV cache size:",
    "Maximum concurrency for ",
    "Available KV cache memory:",
    "Model loading took",
    "Time spent downloading weights for ",
    "Loading weights took",
    "torch.compile took",
    "torch.compile takes",
    "Graph capturing finished in",
    "warmup model) took",
    "estimated maximum model length is",
    "version ",
];

/// The text before the flags with which a server was started.
pub(super) const ARGUMENTS: &str = "non-default args: ";

/// The number that follows a text in a line, without thousands separators.
fn number_after(line: &str, text: &str) -> Option<f64> {
    let (_, rest) = line.split_once(text)?;
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.' || *c == ',')
        .filter(|c| *c != ',')
        .collect();
    digits.trim_end_matches('.').parse().ok()
}

/// Adds a line's facts; a later line wins.
pub(super) fn read(line: &str, facts: &mut Facts) {
    let set = |slot: &mut Option<f64>, found: Option<f64>| *slot = found.or(*slot);
    let whole = |slot: &mut Option<u64>, found: Option<f64>| {
        *slot = found.map(|number| number as u64).or(*slot);
    };
    whole(&mut facts.kv_cache_tokens, number_after(line, "KV cache size:"));
    // In vLLM 0.32 on the line with the size of the cache, before on a line of its own.
    if let Some((_, rest)) = line.split_once("Maximum concurrency for ") {
        set(&mut facts.max_concurrency, number_after(rest, "per request:"));
    }
    set(&mut facts.kv_cache_gib, number_after(line, "Available KV cache memory:"));
    set(&mut facts.weights_gib, number_after(line, "Model loading took"));
    // The model's name is between the text and the number.
    if let Some((_, rest)) = line.split_once("Time spent downloading weights for ")
        && let Some((_, seconds)) = rest.rsplit_once(": ")
    {
        set(&mut facts.download_s, number_after(seconds, ""));
    }
    set(&mut facts.load_s, number_after(line, "Loading weights took"));
    set(
        &mut facts.compile_s,
        number_after(line, "torch.compile took").or_else(|| number_after(line, "torch.compile takes")),
    );
    set(&mut facts.graphs_s, number_after(line, "Graph capturing finished in"));
    set(&mut facts.init_s, number_after(line, "warmup model) took"));
    whole(&mut facts.estimated_max_model_len, number_after(line, "estimated maximum model length is"));
    if facts.engine_version.is_none() {
        facts.engine_version = version(line);
    }
}

/// The version in vLLM's banner, or in the line that older releases write instead.
fn version(line: &str) -> Option<String> {
    let (before, rest) = line.split_once("version ")?;
    let banner = before.contains('█') || before.ends_with("vLLM API server ");
    let word = rest.split_whitespace().next()?;
    (banner && word.starts_with(|c: char| c.is_ascii_digit())).then(|| word.to_owned())
}

/// Texts that show which phase a start has reached. The first entry that matches a line counts.
pub(super) const PHASES: &[(&[&str], StartPhase)] = &[
    (
        &[
            "Available KV cache memory",
            "KV cache size",
            "warmup model) took",
            "Starting vLLM",
            "Application startup complete",
        ],
        StartPhase::Warmup,
    ),
    (
        &[
            "for the compilation",
            "torch.compile took",
            "torch.compile takes",
            "Dynamo bytecode transform",
            "Compiling a graph",
            "Capturing CUDA graphs",
            "Graph capturing finished",
        ],
        StartPhase::Compile,
    ),
    (
        &[
            "Starting to load model",
            "Time spent downloading weights",
            "Loading safetensors",
            "Loading pt checkpoint",
            "Loading weights took",
            "Model loading took",
        ],
        StartPhase::Load,
    ),
];

/// The phase that a line reports, with its message. A warning reports no progress.
pub(super) fn progress(line: &str) -> Option<(StartPhase, &str)> {
    let has = |texts: &[&str]| texts.iter().any(|text| line.contains(text));
    let (_, phase) = PHASES.iter().find(|(texts, _)| has(texts))?;
    (!is_warning(line)).then(|| (*phase, message(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(lines: &[&str]) -> Facts {
        let mut facts = Facts::default();
        for line in lines {
            read(line, &mut facts);
        }
        facts
    }

    #[test]
    fn lines_of_newer_and_older_versions_are_read() {
        let newer = facts(&[
            "Time spent downloading weights for Qwen/Qwen2.5-1.5B-Instruct: 12.500000 seconds",
            "Loading weights took 1.23 seconds",
            "Model loading took 2.8876 GiB memory and 1.712345 seconds",
            "[backbone] torch.compile took 14.02 s in total",
            "Available KV cache memory: 9.51 GiB",
            "GPU KV cache size: 356,144 tokens, Maximum concurrency for 4,096 tokens per request: 86.95x",
            "Graph capturing finished in 5 secs, took 0.42 GiB",
            "init engine (profile, create kv cache, warmup model) took 31.75 s (compilation: 14.02 s)",
        ]);
        assert_eq!(newer.download_s, Some(12.5));
        assert_eq!(newer.load_s, Some(1.23));
        assert_eq!(newer.weights_gib, Some(2.8876));
        assert_eq!(newer.compile_s, Some(14.02));
        assert_eq!(newer.kv_cache_gib, Some(9.51));
        assert_eq!(newer.kv_cache_tokens, Some(356_144));
        assert_eq!(newer.max_concurrency, Some(86.95));
        assert_eq!(newer.graphs_s, Some(5.0));
        assert_eq!(newer.init_s, Some(31.75));
        let older = facts(&[
            "INFO 03-01 10:00:00 [api_server.py:1] vLLM API server version 0.8.5",
            "torch.compile takes 20.1 s in total",
            "GPU KV cache size: 20,000 tokens",
            "Maximum concurrency for 4,096 tokens per request: 4.88x",
        ]);
        assert_eq!(older.engine_version.as_deref(), Some("0.8.5"));
        assert_eq!(older.compile_s, Some(20.1));
        assert_eq!(older.kv_cache_tokens, Some(20_000));
        assert_eq!(older.max_concurrency, Some(4.88));
    }

    #[test]
    fn a_line_without_facts_changes_nothing() {
        let mut known = facts(&["GPU KV cache size: 20,000 tokens"]);
        let before = known.clone();
        for line in ["", "KV cache size: unknown", "python version 3.11", "Loading weights took"] {
            read(line, &mut known);
        }
        assert_eq!(known, before);
    }

    #[test]
    fn a_warning_is_no_progress() {
        let line = "(Worker pid=1) INFO 11-24 02:00:40 [cpu_model_runner.py:68] Starting to load model /m...";
        assert_eq!(progress(line), Some((StartPhase::Load, "Starting to load model /m...")));
        assert_eq!(progress(&line.replace("INFO", "WARNING")), None);
        assert_eq!(progress("W1124 02:00:08 4477 torch/utils/flop_counter.py:29] triton not found"), None);
    }
}
