//! Follows a server's growing log: facts about the server, the progress of its start, and why it failed.
//! Memory is bounded whatever the log's length.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Read},
    ops::Deref,
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

use camino::Utf8Path;

use super::{
    arguments, facts,
    failure::Cause,
    file::{MAX_LINE, segments},
    patterns::is_relevant,
};
use crate::server::outcome::{Facts, OomAt, ServerOutcome, StartPhase};

/// Lines kept of the log's end.
const TAIL: usize = 60;
/// Bytes that one [`LogReader::read_new`] reads at most, so that a server that floods its log is still
/// probed.
const MAX_READ: u64 = 4 << 20;
/// Bytes that are read at most to reach the end: more than a log takes on disk.
const MAX_READ_TO_END: u64 = 64 << 20;

/// What is known from the log's text so far.
#[derive(Debug, Default)]
pub(in crate::server) struct LogState {
    line: Vec<u8>,
    tail: VecDeque<String>,
    pub(in crate::server) facts: Facts,
    /// The last phase that a line reported.
    pub(in crate::server) phase: StartPhase,
    /// The message of that line.
    pub(in crate::server) progress: String,
    cause: Cause,
    capturing: bool,
    /// Whether the weights are being read, so that their files have arrived.
    pub(in crate::server) loading: bool,
    /// The arguments in the `non-default args` line.
    pub(in crate::server) arguments: Option<arguments::Object>,
}

impl LogState {
    fn feed(&mut self, bytes: &[u8]) {
        // Progress bars end their lines with a carriage return.
        for part in bytes.split_inclusive(|&b| b == b'\n' || b == b'\r') {
            let (text, ended) = match part.last() {
                Some(b'\n' | b'\r') => (&part[..part.len() - 1], true),
                _ => (part, false),
            };
            let room = MAX_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                let line = std::mem::take(&mut self.line);
                // JSON does not escape C1 control characters, which some terminals interpret.
                let text = match String::from_utf8(line) {
                    Ok(text) if text.is_ascii() => text,
                    text => text
                        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
                        .chars()
                        .filter(|c| !matches!(c, '\u{80}'..='\u{9f}'))
                        .collect(),
                };
                if !text.trim().is_empty() {
                    self.push(text);
                }
            }
        }
    }

    fn push(&mut self, line: String) {
        if is_relevant(&line) {
            self.interpret(&line);
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    fn interpret(&mut self, line: &str) {
        self.capturing |= line.contains("Capturing CUDA graphs");
        let loaded = self.facts.load_s.is_some() || self.facts.weights_gib.is_some();
        let step = match (self.capturing, loaded) {
            (true, _) => OomAt::Graphs,
            (false, true) => OomAt::KvCache,
            (false, false) => OomAt::Weights,
        };
        self.cause.read(line, step);
        facts::read(line, &mut self.facts);
        if let Some((phase, message)) = facts::progress(line) {
            self.phase = phase;
            self.progress = message.to_owned();
        }
        // "Starting to load model" comes before the download.
        self.loading |= line.contains("Loading safetensors") || self.facts.load_s.is_some();
        self.loading |= matches!(self.phase, StartPhase::Compile | StartPhase::Warmup);
        if let Some((_, repr)) = line.split_once(facts::ARGUMENTS)
            && self.arguments.is_none()
        {
            self.arguments = arguments::object(repr);
        }
    }

    /// The last line.
    pub(in crate::server) fn last_line(&self) -> &str {
        self.tail.back().map_or("", String::as_str)
    }

    /// The last lines of the log.
    pub(in crate::server) fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }

    /// How the server ended and the line that explains it, from the whole log and the exit code.
    pub(in crate::server) fn outcome(&self, exit_code: Option<i32>) -> (ServerOutcome, String) {
        self.cause.outcome(exit_code, self.tail.back().map(|line| line.trim()))
    }
}

/// Reads a log while it is being written, across its segments.
#[derive(Debug)]
pub(in crate::server) struct LogReader {
    head: File,
    /// The segments that follow the head: the one that grows, and the one before it.
    segments: [PathBuf; 2],
    /// The segment that is being read, with its inode.
    segment: Option<(File, u64)>,
    state: LogState,
}

impl Deref for LogReader {
    type Target = LogState;

    fn deref(&self) -> &LogState {
        &self.state
    }
}

impl LogReader {
    pub(in crate::server) fn open(path: &Utf8Path) -> io::Result<Self> {
        Ok(Self {
            head: File::open(path)?,
            segments: segments(path.as_std_path()),
            segment: None,
            state: LogState::default(),
        })
    }

    /// Reads what was written since the last call. What was left out of the log meanwhile is skipped.
    pub(in crate::server) fn read_new(&mut self) {
        self.read(MAX_READ);
    }

    fn read(&mut self, most: u64) {
        let mut piece = [0; 64 << 10];
        let mut total = 0;
        while total < most {
            let file = match &mut self.segment {
                Some((file, _)) => file,
                None => &mut self.head,
            };
            // A log that cannot be read counts as one that has nothing new.
            let Ok(read) = file.read(&mut piece) else {
                break;
            };
            if read == 0 && !self.open_next() {
                break;
            }
            total += read as u64;
            self.state.feed(&piece[..read]);
        }
    }

    /// Opens the file that follows the one read to its end; false when there is none.
    fn open_next(&mut self) -> bool {
        let inode = |path: &PathBuf| fs::metadata(path).ok().map(|file| file.ino());
        let [tail, older] = [&self.segments[0], &self.segments[1]];
        let next = match &self.segment {
            None if inode(older).is_some() => older,
            None if inode(tail).is_some() => tail,
            None => return false,
            Some((_, here)) if inode(tail) == Some(*here) => return false,
            Some((_, here)) if inode(older) == Some(*here) => tail,
            // The segment was left out or appended to the log: go on reading there.
            Some(_) => {
                self.segment = None;
                return true;
            }
        };
        let opened = File::open(next).and_then(|file| {
            let inode = file.metadata()?.ino();
            Ok((file, inode))
        });
        match opened {
            Ok(opened) => {
                self.segment = Some(opened);
                true
            }
            // It was just renamed; the next call finds it.
            Err(_) => false,
        }
    }

    /// Reads to the current end of the log, however long that takes.
    pub(in crate::server) fn read_to_end(&mut self) {
        self.read(MAX_READ_TO_END);
    }

    /// Reads to the end for the last time.
    pub(in crate::server) fn finish(&mut self) {
        self.read_to_end();
        self.state.feed(b"\n");
    }

    /// Adds what the server reports over HTTP, and whether the log confirmed its flags.
    pub(in crate::server) fn confirm(&mut self, reported: Facts, flags_confirmed: bool) {
        let facts = &mut self.state.facts;
        facts.engine_version = reported.engine_version.or(facts.engine_version.take());
        facts.served_model = reported.served_model;
        facts.max_model_len = reported.max_model_len;
        facts.flags_confirmed = flags_confirmed.then_some(true);
    }

    /// From now on the server is ready, and its start explains no failure any more.
    pub(in crate::server) fn set_serving(&mut self) {
        self.state.cause.set_serving();
    }
}

/// Determines how a server ended, and the line that explains it, from its whole log and its exit code (a
/// negative one is a signal). `served` says whether the server had been ready before, so that its start
/// explains nothing.
pub fn classify(log: &[u8], exit_code: Option<i32>, served: bool) -> (ServerOutcome, String) {
    let mut state = LogState::default();
    if served {
        state.cause.set_serving();
    }
    state.feed(log);
    state.feed(b"\n");
    state.outcome(exit_code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::outcome::ServerOutcome::*;

    fn recorded(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/recorded/vllm/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn whole(name: &str) -> LogState {
        let mut log = LogState::default();
        // In small pieces, like a growing file.
        for piece in recorded(name).chunks(7) {
            log.feed(piece);
        }
        log
    }

    #[test]
    fn every_recorded_failure_is_classified() {
        let index = String::from_utf8(recorded("fail-index.tsv")).unwrap();
        let mut seen = 0;
        for line in index.lines() {
            let mut words = line.split_whitespace();
            let name = words.next().unwrap();
            let code: i32 = words
                .next()
                .and_then(|word| word.strip_prefix("rc="))
                .and_then(|word| word.parse().ok())
                .unwrap();
            let (expected, says) = match name {
                "bad-flag" => (BadFlags, "--no-such-flag"),
                "bad-value" => (BadFlags, "--max-num-seqs: invalid int value"),
                "bad-dtype-choice" => (BadFlags, "invalid choice: 'int4'"),
                "bad-model-path" => (BadModel, "'/data/nope'"),
                "hub-id-offline" => (ModelUnavailable, "LocalEntryNotFoundError"),
                "max-model-len" => (BadFlags, "max_model_len (16384)"),
                "kv-too-small-blocks" => (KvTooSmall, "estimated maximum model length is 896"),
                "port-in-use" => (PortTaken, "Address already in use"),
                "weights-truncated" => (BadModel, "SafetensorError"),
                "kv-space-over-ram" => (Oom(OomAt::KvCache), "(100.0 GiB)"),
                other => panic!("no expectation for {other}"),
            };
            let log = recorded(&format!("fail-{name}.log"));
            let (outcome, reason) = classify(&log, Some(code), false);
            assert_eq!(outcome, expected, "{name}: {reason}");
            assert!(reason.contains(says), "{name}: {reason}");
            assert!(!reason.starts_with("(EngineCore"), "{name}: {reason}");
            seen += 1;
        }
        assert_eq!(seen, 10);
        assert_eq!(whole("fail-kv-too-small-blocks.log").facts.estimated_max_model_len, Some(896));
    }

    #[test]
    fn a_server_that_dies_while_serving_crashed_whatever_its_exit_code() {
        for (name, code, says) in [
            ("log-crash-seed-cpu-generator.log", 0, "CPU Generator does not use offset"),
            ("log-kill9-enginecore.log", 0, "EngineDeadError"),
            ("log-kill9-worker.log", 0, "VllmWorker-0 died unexpectedly"),
            ("log-serve-ready-eager.log", 0, "exited unexpectedly"),
            ("log-sigterm-midstream.log", 0, "exit code 0"),
        ] {
            let (outcome, reason) = classify(&recorded(name), Some(code), true);
            assert_eq!(outcome, Crashed, "{name}: {reason}");
            assert!(reason.contains(says), "{name}: {reason}");
        }
        let (outcome, reason) = classify(&recorded("log-sigterm-in-startup-hang.log"), Some(-15), false);
        assert_eq!(outcome, Crashed);
        assert!(reason.contains("Did not receive response"), "{reason}");
        assert!(reason.contains("signal 15"), "{reason}");
    }

    /// Messages from vLLM's source that no recording has, in the order in which a GPU would produce them.
    #[test]
    fn gpu_failures_are_classified_by_the_step_of_the_start() {
        let oom = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.";
        let loaded = "Model loading took 2.8 GiB memory and 1.7 seconds";
        let sized = "GPU KV cache size: 20,000 tokens";
        let capturing = "Capturing CUDA graphs (PIECEWISE):  10%|█";
        let in_function = |name: &str| format!("  File \"/x.py\", line 1, in {name}");
        let cases: Vec<(Vec<String>, ServerOutcome)> = vec![
            (vec![oom.into()], Oom(OomAt::Weights)),
            (vec![loaded.into(), oom.into()], Oom(OomAt::KvCache)),
            (vec![loaded.into(), sized.into(), oom.into()], Oom(OomAt::KvCache)),
            (
                vec![loaded.into(), sized.into(), capturing.into(), oom.into()],
                Oom(OomAt::Graphs),
            ),
            (
                vec![
                    loaded.into(),
                    sized.into(),
                    "Traceback (most recent call last):".into(),
                    in_function("compile_or_warm_up_model"),
                    in_function("forward"),
                    oom.into(),
                    "RuntimeError: Engine core initialization failed.".into(),
                ],
                Oom(OomAt::Graphs),
            ),
            (
                vec!["ValueError: No available memory for the cache blocks. Try".into()],
                Oom(OomAt::KvCache),
            ),
            (
                vec!["ValueError: Free memory on device cuda:0 (3.1/15.7 GiB) on startup is less than desired GPU memory utilization (0.9, 14.1 GiB).".into()],
                Oom(OomAt::Weights),
            ),
            (
                vec![oom.into(), "Failed to load model - not enough GPU memory. Try".into()],
                Oom(OomAt::Weights),
            ),
            (
                vec![
                    loaded.into(),
                    oom.into(),
                    "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests.".into(),
                ],
                Oom(OomAt::Graphs),
            ),
            (
                vec!["ValueError: The model's max seq len (32768) is larger than the maximum number of tokens that can be stored in KV cache (9000).".into()],
                KvTooSmall,
            ),
            (vec!["RuntimeError: Failed to infer device type".into()], NoDevice),
            (vec!["RuntimeError: No CUDA GPUs are available".into()], NoDevice),
            (
                vec!["huggingface_hub.errors.GatedRepoError: 403 Client Error.".into()],
                ModelUnavailable,
            ),
        ];
        for (lines, expected) in cases {
            let (outcome, reason) = classify(lines.join("\n").as_bytes(), Some(1), false);
            assert_eq!(outcome, expected, "{reason}: {lines:?}");
        }
        // Once requests run the same text means another outcome, and a request's own text means nothing.
        let served = |line: &str| classify(line.as_bytes(), Some(0), true).0;
        assert_eq!(served(oom), Oom(OomAt::Load));
        assert_eq!(served("prompt: 'Address already in use'"), Crashed);
    }

    #[test]
    fn a_successful_start_reports_facts_and_phases() {
        let log = whole("log-serve-first-cold.log");
        assert_eq!(log.facts.engine_version.as_deref(), Some("0.32.0"));
        assert_eq!(log.facts.kv_cache_tokens, Some(2_097_152));
        assert_eq!(log.facts.max_concurrency, Some(512.0));
        assert_eq!(log.facts.load_s, Some(0.01));
        assert_eq!(log.facts.init_s, Some(43.84));
        assert_eq!(log.facts.weights_gib, None);
        assert_eq!(log.phase, StartPhase::Warmup);
        let arguments = log.arguments.unwrap();
        assert_eq!(arguments["max_num_seqs"], Some(serde_json::json!(128)));
        let mut phases = Vec::new();
        let mut log = LogState::default();
        for line in recorded("log-serve-first-cold.log").split_inclusive(|b| *b == b'\n') {
            log.feed(line);
            if phases.last() != Some(&log.phase) {
                phases.push(log.phase);
            }
            assert!(!log.progress.to_lowercase().contains("triton"), "{}", log.progress);
        }
        assert_eq!(phases, [StartPhase::Launch, StartPhase::Load, StartPhase::Compile, StartPhase::Warmup]);
    }

    #[test]
    fn progress_bars_bad_text_and_endless_lines_are_handled() {
        let mut log = LogState::default();
        for number in 0..200 {
            log.feed(format!("line {number}\n").as_bytes());
        }
        assert_eq!(log.tail().len(), TAIL);
        assert_eq!(log.last_line(), "line 199");
        let mut log = LogState::default();
        log.feed(b"a\rb\xff\r\n");
        log.feed(&vec![b'x'; MAX_LINE * 3]);
        log.feed(b"y\nend\n");
        let tail = log.tail();
        assert_eq!(tail[..2], ["a", "b\u{fffd}"]);
        assert_eq!(tail[2].len(), MAX_LINE);
        assert_eq!(tail[3], "end");
    }

    #[test]
    fn a_log_in_several_files_is_read_in_order_and_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("server.log");
        let [tail, older] = segments(path.as_std_path());
        let read = |log: &mut LogReader| {
            log.read_new();
            log.tail().join(" ")
        };
        fs::write(&path, "a\n").unwrap();
        let mut log = LogReader::open(&path).unwrap();
        assert_eq!(read(&mut log), "a");
        fs::write(&tail, "b\n").unwrap();
        assert_eq!(read(&mut log), "a b");
        fs::rename(&tail, &older).unwrap();
        fs::write(&tail, "c\n").unwrap();
        assert_eq!(read(&mut log), "a b c");
        // Two segments were left out before the next read; their error lines are in the head.
        let mut head = File::options().append(true).open(&path).unwrap();
        io::Write::write_all(&mut head, b"ERROR of d\n").unwrap();
        fs::rename(&tail, &older).unwrap();
        fs::write(&tail, "e\n").unwrap();
        fs::rename(&tail, &older).unwrap();
        fs::write(&tail, "f\n").unwrap();
        assert_eq!(read(&mut log), "a b c ERROR of d e f");
        // The segments were appended to the head.
        io::Write::write_all(&mut head, b"e\nf\ng\n").unwrap();
        fs::remove_file(&tail).unwrap();
        fs::remove_file(&older).unwrap();
        log.finish();
        assert!(log.tail().join(" ").ends_with("e f g"));
    }

    #[test]
    fn a_file_is_read_as_it_grows_and_to_its_end() {
        use std::io::Write;

        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("server.log");
        let mut file = File::create(&path).unwrap();
        let mut log = LogReader::open(&path).unwrap();
        file.write_all(b"Starting to load mod").unwrap();
        log.read_new();
        assert_eq!(log.phase, StartPhase::Launch);
        file.write_all(b"el x\nRuntimeError: no line end").unwrap();
        log.read_new();
        assert_eq!(log.phase, StartPhase::Load);
        log.finish();
        assert!(log.outcome(Some(1)).1.contains("no line end"));
    }
}
