//! What the lines of a server's log say about why it failed.

use super::outcome::{OomAt, ServerOutcome};

/// What a rule means: an outcome, or out of memory at whatever step the server was.
#[derive(Clone, Copy)]
pub(super) enum Meaning {
    Is(ServerOutcome),
    OomNow,
}

use Meaning::{Is, OomNow};
use ServerOutcome::{BadFlags, BadModel, Crashed, KvTooSmall, ModelUnavailable, NoDevice, Oom, PortTaken};

/// Texts that name a cause, the surest first: a crash prints tracebacks of every process, so the earliest rule that
/// matches any line wins, wherever the line stands. Each line must hold every part of a rule.
pub(super) const RULES: &[(&[&str], Meaning)] = &[
    (&["error: unrecognized arguments"], Is(BadFlags)),
    (&["error: argument -"], Is(BadFlags)),
    (&["error: the following arguments are required"], Is(BadFlags)),
    (&["Address already in use"], Is(PortTaken)),
    (&["address already in use"], Is(PortTaken)),
    (&["To serve at least one request with the model's max seq len"], Is(KvTooSmall)),
    (&["is larger than the maximum number of tokens that can be stored in KV cache"], Is(KvTooSmall)),
    (&["No available memory for the cache blocks"], Is(Oom(OomAt::KvCache))),
    (&["is less than requested memory for kv"], Is(Oom(OomAt::KvCache))),
    (&["out of memory occurred when warming up"], Is(Oom(OomAt::Graphs))),
    (&["Free memory on device", "on startup is less than"], Is(Oom(OomAt::Weights))),
    (&["Failed to load model - not enough GPU memory"], Is(Oom(OomAt::Weights))),
    (&["CUDA out of memory"], OomNow),
    (&["HIP out of memory"], OomNow),
    (&["OutOfMemoryError"], OomNow),
    (&["CUDA error: out of memory"], OomNow),
    (&["DefaultCPUAllocator", "allocate memory"], OomNow),
    (&["LocalEntryNotFoundError"], Is(ModelUnavailable)),
    (&["OfflineModeIsEnabled"], Is(ModelUnavailable)),
    (&["RepositoryNotFoundError"], Is(ModelUnavailable)),
    (&["GatedRepoError"], Is(ModelUnavailable)),
    (&["Cannot access gated repo"], Is(ModelUnavailable)),
    (&["is not a valid model identifier listed on"], Is(ModelUnavailable)),
    (&["We couldn't connect to", "huggingface"], Is(ModelUnavailable)),
    (&["HFValidationError"], Is(BadModel)),
    (&["SafetensorError"], Is(BadModel)),
    (&["Invalid repository ID or local directory specified"], Is(BadModel)),
    (&["does not appear to have a file named"], Is(BadModel)),
    (&["Cannot find any model weights with"], Is(BadModel)),
    (&["Model architectures", "are not supported"], Is(BadModel)),
    (&["does not recognize this architecture"], Is(BadModel)),
    (&["Unrecognized model in"], Is(BadModel)),
    (&["User-specified max_model_len", "greater than the derived max_model_len"], Is(BadFlags)),
    (&["No CUDA GPUs are available"], Is(NoDevice)),
    (&["no CUDA-capable device is detected"], Is(NoDevice)),
    (&["Failed to infer device type"], Is(NoDevice)),
    (&["Found no NVIDIA driver"], Is(NoDevice)),
    (&["Torch not compiled with CUDA enabled"], Is(NoDevice)),
    // What pydantic says of a combination of flags stands on the line below its name.
    (&["Value error, "], Is(BadFlags)),
    (&["pydantic_core", "ValidationError"], Is(BadFlags)),
];

/// Lines after which the next exception is the root of a crash.
pub(super) const MARKS: &[&str] = &[
    "WorkerProc hit an exception",
    "WorkerProc failed to start",
    "EngineCore encountered a fatal error",
    "EngineCore failed to start",
];

/// Exceptions that only tell of another process's end.
const ECHOES: &[&str] = &[
    "EngineDeadError",
    "Engine core initialization failed",
    "WorkerProc initialization failed",
    "Worker failed with error",
    "RuntimeError: cancelled",
];

/// Lines that tell of a crash without its root.
pub(super) const CRASHES: &[&str] = &[
    "died unexpectedly",
    "exited unexpectedly",
    "EngineCore encountered a fatal error",
    "Engine core initialization failed",
    "EngineDeadError",
];

/// What loggers and Python put before an error.
pub(super) const SEVERE: &[&str] = &["ERROR", "CRITICAL", "Traceback (most recent call last)"];

/// How the name of an exception ends, with what follows it on the last line of a traceback.
pub(super) const EXCEPTIONS: &[&str] = &["Error: ", "Exception: ", "Interrupt: "];

/// What stands before a function's name in a traceback.
pub(super) const FRAME: &str = ", in ";

/// Whether a line may say why a server failed, each text searched by itself.
pub(super) fn is_telling(line: &str) -> bool {
    let any = |texts: &[&str]| texts.iter().any(|text| line.contains(text));
    let all = |parts: &[&str]| parts.iter().all(|part| line.contains(part));
    any(SEVERE)
        || any(MARKS)
        || any(CRASHES)
        || RULES.iter().any(|(parts, _)| all(parts))
        || ends_a_traceback(line)
}

/// Whether a line holds every part of a rule that has several.
pub(super) fn has_several_parts(line: &str) -> bool {
    let all = |parts: &[&str]| parts.iter().all(|part| line.contains(part));
    RULES.iter().any(|(parts, _)| parts.len() > 1 && all(parts))
}

/// Whether a line is the last one of a traceback.
pub(super) fn ends_a_traceback(line: &str) -> bool {
    is_exception(message(line))
}

/// The best explanation among the lines seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Cause {
    /// Rank of the rule that matched, what it means, and the line.
    best: Option<(usize, ServerOutcome, String)>,
    /// Whether a line said that the next exception is a root.
    marked: bool,
    /// The exception a mark announced, or else the first one; whether it was announced.
    exception: Option<(bool, String)>,
    /// Rank and line of the surest sign of a crash.
    crash: Option<(usize, String)>,
    /// Where the last traceback stood when it ended.
    frame: Option<OomAt>,
    serving: bool,
}

impl Cause {
    /// From now on the server serves: what it says about flags and models is about requests, and running out of memory is
    /// running out under load.
    pub(super) fn serves(&mut self) {
        *self = Self { serving: true, ..Self::default() };
    }

    /// Considers a line; `step` is where memory would have run out if it did.
    pub(super) fn consider(&mut self, line: &str, step: OomAt) {
        if line.contains("Traceback (most recent call last)") {
            self.frame = None;
        } else if let Some(frame) = frame(line) {
            self.frame = Some(frame);
        }
        // A traceback also shows the source, which names errors that it may only catch.
        let text = message(line);
        let source = ["raise ", "except "].iter().any(|word| text.starts_with(word));
        let found = RULES.iter().position(|(parts, meaning)| {
            !source
                && (!self.serving || matches!(meaning, OomNow))
                && parts.iter().all(|part| line.contains(part))
        });
        if let Some(rank) = found
            && self.best.as_ref().is_none_or(|(best, ..)| rank < *best)
        {
            let outcome = match RULES[rank].1 {
                Is(outcome) => outcome,
                OomNow if self.serving => Oom(OomAt::Load),
                OomNow => Oom(self.frame.unwrap_or(step)),
            };
            self.best = Some((rank, outcome, text.to_owned()));
        }
        let crash = CRASHES.iter().position(|text| line.contains(text));
        if let Some(rank) = crash
            && self.crash.as_ref().is_none_or(|(best, _)| rank < *best)
        {
            self.crash = Some((rank, text.to_owned()));
        }
        self.consider_exception(text);
    }

    fn consider_exception(&mut self, text: &str) {
        if MARKS.iter().any(|mark| text.contains(mark)) {
            self.marked = true;
            return;
        }
        if !is_exception(text) || ECHOES.iter().any(|echo| text.contains(echo)) {
            return;
        }
        let better = match &self.exception {
            None => true,
            Some((announced, _)) => self.marked && !announced,
        };
        if better {
            self.exception = Some((self.marked, text.to_owned()));
        }
    }

    /// The outcome and the line that says so; an end without an explanation is a crash, whatever its exit code.
    pub(super) fn conclude(
        &self,
        exit_code: Option<i32>,
        last_line: Option<&str>,
    ) -> (ServerOutcome, String) {
        if let Some((_, outcome, line)) = &self.best {
            return (*outcome, line.clone());
        }
        let how = match exit_code {
            Some(-9) => "it was killed (signal 9): by hand, or by the kernel for want of memory".to_owned(),
            Some(code) if code < 0 => format!("it ended by signal {}", -code),
            Some(code) => format!("it ended with exit code {code}"),
            None => "it ended".to_owned(),
        };
        let exception = self.exception.as_ref().map(|(_, text)| text.as_str());
        let crash = self.crash.as_ref().map(|(_, text)| text.as_str());
        let reason = match (exception.or(crash), last_line) {
            (Some(line), _) => format!("{line} ({how})"),
            (None, Some(line)) => format!("{how}; its last words: {line}"),
            (None, None) => format!("{how} without a word"),
        };
        (Crashed, reason)
    }
}

/// A line without what the logger puts before it: `(EngineCore pid=1) ERROR 11-24 02:06:16 [core.py:1510] `.
fn message(line: &str) -> &str {
    let text = line.trim();
    let Some(rest) = text.strip_prefix('(') else {
        return text;
    };
    let logged = rest
        .split_once(" pid=")
        .and_then(|(_, rest)| rest.split_once(") "))
        .and_then(|(pid, rest)| pid.bytes().all(|b| b.is_ascii_digit()).then_some(rest.trim()));
    let Some(rest) = logged else {
        return text;
    };
    match rest.split_once(" [").and_then(|(level, rest)| {
        let short = level.split_whitespace().count() <= 3;
        short.then(|| rest.split_once("] ")).flatten()
    }) {
        Some((_, words)) => words.trim(),
        None => rest,
    }
}

/// Whether a line is the last one of a traceback: a dotted name that ends as exceptions do, a colon, words.
fn is_exception(text: &str) -> bool {
    let Some((name, _)) = text.split_once(": ") else {
        return false;
    };
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let mut ending = EXCEPTIONS.iter().map(|end| end.trim_end_matches(": "));
    name.chars().all(plain) && ending.any(|end| name.ends_with(end))
}

/// The step of a start that a traceback's frame belongs to.
fn frame(line: &str) -> Option<OomAt> {
    let (_, function) = line.trim_end().rsplit_once(FRAME)?;
    Some(match function {
        "load_model" => OomAt::Weights,
        "determine_available_memory"
        | "profile_run"
        | "initialize_from_config"
        | "initialize_kv_cache"
        | "_allocate_kv_cache_tensors" => OomAt::KvCache,
        "compile_or_warm_up_model" | "capture_model" => OomAt::Graphs,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loggers_prefix_is_no_part_of_a_message() {
        for (line, words) in [
            (
                "(Worker pid=12) ERROR 11-24 02:46:40 [multiproc_executor.py:1063] ValueError: no",
                "ValueError: no",
            ),
            ("(Worker pid=12) plain", "plain"),
            ("ValueError: [a] b", "ValueError: [a] b"),
            ("(a b) ERROR [x] y", "(a b) ERROR [x] y"),
        ] {
            assert_eq!(message(line), words);
        }
    }

    #[test]
    fn a_warning_that_quotes_an_error_is_not_one() {
        assert!(is_exception("RuntimeError: CPU Generator"));
        assert!(is_exception("vllm.v1.Some_Error: x"));
        assert!(!is_exception("can cause errors like `OSError: [Errno 24]"));
        assert!(!is_exception("Error"));
    }
}
