//! A server's log as it grows: what it says of itself, what it does now, and why it failed. Of any length of log only a
//! bounded part is kept.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read},
};

use camino::Utf8Path;

use super::{
    failure::Cause,
    outcome::{Facts, OomAt, ServerOutcome, StartPhase},
    python,
};

/// The longest line that is kept; the rest of a longer one is passed over.
const LONGEST_LINE: usize = 16 << 10;
/// Lines kept of the log's end.
const TAIL: usize = 60;
/// The most that one look reads, so that a flood of log cannot hold up the start.
const LARGEST_LOOK: usize = 64 << 20;

/// A log that is being written.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    line: Vec<u8>,
    tail: VecDeque<String>,
    pub(super) facts: Facts,
    pub(super) phase: StartPhase,
    cause: Cause,
    ready: bool,
    /// The `non-default args` line, when it was seen.
    pub(super) arguments: Option<python::Object>,
}

impl Log {
    pub(super) fn open(path: &Utf8Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            line: Vec::new(),
            tail: VecDeque::new(),
            facts: Facts::default(),
            phase: StartPhase::Launch,
            cause: Cause::default(),
            ready: false,
            arguments: None,
        })
    }

    /// Reads what was written since the last look.
    pub(super) fn look(&mut self) {
        let mut piece = [0; 64 << 10];
        let mut total = 0;
        while total < LARGEST_LOOK {
            // A log that cannot be read is as good as one that says nothing.
            let Ok(read) = self.file.read(&mut piece) else {
                break;
            };
            if read == 0 {
                break;
            }
            total += read;
            self.feed(&piece[..read]);
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        // Progress bars end their lines with a carriage return.
        for part in bytes.split_inclusive(|&b| b == b'\n' || b == b'\r') {
            let (text, ended) = match part.last() {
                Some(b'\n' | b'\r') => (&part[..part.len() - 1], true),
                _ => (part, false),
            };
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                let line = std::mem::take(&mut self.line);
                let text = String::from_utf8_lossy(&line).into_owned();
                if !text.trim().is_empty() {
                    self.take(text);
                }
            }
        }
    }

    fn take(&mut self, line: String) {
        let step = match (self.ready, self.phase) {
            (true, _) => OomAt::Load,
            (_, StartPhase::Compile | StartPhase::Warmup)
                if self.facts.kv_cache_tokens.is_some() =>
            {
                OomAt::Graphs
            }
            (_, StartPhase::Compile | StartPhase::Warmup) => OomAt::KvCache,
            _ => OomAt::Weights,
        };
        self.cause.consider(&line, step);
        read_facts(&line, &mut self.facts);
        if let Some(phase) = phase_of(&line) {
            self.phase = phase;
        }
        if let Some((_, repr)) = line.split_once("non-default args: ")
            && self.arguments.is_none()
        {
            self.arguments = python::object(repr);
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// From now on running out of memory is running out under load.
    pub(super) fn is_ready(&mut self) {
        self.ready = true;
    }

    /// The last line, for the screen.
    pub(super) fn last_line(&self) -> &str {
        self.tail.back().map_or("", String::as_str)
    }

    /// The end of the log.
    pub(super) fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }

    /// Why the server ended, from all that was read.
    pub(super) fn conclude(&self, exit_code: Option<i32>) -> (ServerOutcome, String) {
        self.cause
            .conclude(exit_code, self.tail.back().map(|line| line.trim()))
    }
}

/// The number that follows a text in a line, thousands separators taken out.
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

fn read_facts(line: &str, facts: &mut Facts) {
    let set = |slot: &mut Option<f64>, text: &str| {
        if let Some(value) = number_after(line, text) {
            *slot = Some(value);
        }
    };
    if line.contains("KV cache size:")
        && let Some(tokens) = number_after(line, "KV cache size:")
    {
        facts.kv_cache_tokens = Some(tokens as u64);
    }
    if let Some((_, rest)) = line.split_once("Maximum concurrency for ")
        && let Some(value) = number_after(rest, "per request:")
    {
        facts.max_concurrency = Some(value);
    }
    set(&mut facts.kv_cache_gib, "Available KV cache memory:");
    set(&mut facts.weights_gib, "Model loading took");
    set(&mut facts.download_s, "Time spent downloading weights for");
    if let Some((_, rest)) = line.split_once("Time spent downloading weights for") {
        facts.download_s = rest
            .rsplit_once(": ")
            .and_then(|(_, s)| number_after(s, ""));
    }
    set(&mut facts.load_s, "Loading weights took");
    set(&mut facts.compile_s, "torch.compile took");
    set(&mut facts.graphs_s, "Graph capturing finished in");
    set(&mut facts.init_s, "warmup model) took");
    if facts.engine_version.is_none()
        && let Some((_, rest)) = line.split_once("version ")
        && line.contains('█')
    {
        facts.engine_version = rest.split_whitespace().next().map(str::to_owned);
    }
    if let Some(tokens) = number_after(line, "estimated maximum model length is") {
        facts.estimated_max_model_len = Some(tokens as u64);
    }
}

fn phase_of(line: &str) -> Option<StartPhase> {
    let has = |text: &str| line.contains(text);
    if has("Application startup complete") || has("init engine") || has("Starting vLLM") {
        Some(StartPhase::Warmup)
    } else if has("torch.compile")
        || has("Capturing")
        || has("Graph capturing")
        || has("KV cache size")
    {
        Some(StartPhase::Compile)
    } else if has("Starting to load model")
        || has("Loading safetensors")
        || has("Loading weights took")
    {
        Some(StartPhase::Load)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_whole(path: &str) -> Log {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/vllm/");
        let mut log = Log::open(Utf8Path::new(&format!("{folder}{path}"))).unwrap();
        log.look();
        log
    }

    #[test]
    fn every_recorded_failure_has_its_outcome() {
        for (path, code, outcome) in [
            ("fail-bad-flag.log", 2, ServerOutcome::BadFlags),
            ("fail-bad-value.log", 2, ServerOutcome::BadFlags),
            ("fail-bad-dtype-choice.log", 2, ServerOutcome::BadFlags),
            ("fail-bad-model-path.log", 1, ServerOutcome::BadModel),
            (
                "fail-hub-id-offline.log",
                1,
                ServerOutcome::ModelUnavailable,
            ),
            ("fail-max-model-len.log", 1, ServerOutcome::BadFlags),
            ("fail-kv-too-small-blocks.log", 1, ServerOutcome::KvTooSmall),
            ("fail-port-in-use.log", 1, ServerOutcome::PortTaken),
            ("fail-weights-truncated.log", 1, ServerOutcome::BadModel),
            (
                "fail-kv-space-over-ram.log",
                1,
                ServerOutcome::Oom(OomAt::KvCache),
            ),
            (
                "log-crash-seed-cpu-generator.log",
                0,
                ServerOutcome::Crashed,
            ),
            ("log-kill9-enginecore.log", 0, ServerOutcome::Crashed),
            ("log-kill9-worker.log", 0, ServerOutcome::Crashed),
        ] {
            let (got, reason) = read_whole(path).conclude(Some(code));
            assert_eq!(got, outcome, "{path}: {reason}");
        }
    }

    #[test]
    fn gpu_memory_that_runs_out_says_at_which_step() {
        let text = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n";
        let fed = |before: &str, ready: bool| {
            let mut log = read_whole("fail-bad-flag.log");
            log.cause = Cause::default();
            log.feed(before.as_bytes());
            if ready {
                log.is_ready();
            }
            log.feed(text.as_bytes());
            log.conclude(Some(1)).0
        };
        assert_eq!(
            fed("Starting to load model x\n", false),
            ServerOutcome::Oom(OomAt::Weights)
        );
        assert_eq!(
            fed(
                "GPU KV cache size: 1,024 tokens\nCapturing CUDA graphs\n",
                false
            ),
            ServerOutcome::Oom(OomAt::Graphs)
        );
        assert_eq!(
            fed("Application startup complete.\n", true),
            ServerOutcome::Oom(OomAt::Load)
        );
    }

    #[test]
    fn a_start_says_what_it_is() {
        let log = read_whole("log-serve-ready-eager.log");
        assert_eq!(log.facts.engine_version.as_deref(), Some("0.32.0"));
        assert_eq!(log.facts.kv_cache_tokens, Some(2_097_152));
        assert_eq!(log.facts.max_concurrency, Some(512.0));
        assert_eq!(log.facts.load_s, Some(0.01));
        assert_eq!(log.facts.init_s, Some(0.65));
        let arguments = log.arguments.unwrap();
        assert_eq!(arguments["max_num_seqs"], Some(128.into()));
    }
}
