//! Finds the cause of a failure in the lines of a server's log.

use super::message::message;
use crate::server::outcome::{OomAt, ServerOutcome};

/// What a matching rule means: an outcome, or out of memory at the step the server had reached.
#[derive(Clone, Copy)]
pub(super) enum Meaning {
    Is(ServerOutcome),
    OomAtStep,
}

use Meaning::{Is, OomAtStep};
use ServerOutcome::{BadFlags, BadModel, Crashed, KvTooSmall, ModelUnavailable, NoDevice, Oom, PortTaken};

/// Texts that name a cause, most reliable first. A rule matches a line that holds all its texts. A crash
/// prints tracebacks of every process, so the first rule that matches any line wins, wherever the line is.
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
    (&["CUDA out of memory"], OomAtStep),
    (&["HIP out of memory"], OomAtStep),
    (&["OutOfMemoryError"], OomAtStep),
    (&["CUDA error: out of memory"], OomAtStep),
    (&["DefaultCPUAllocator", "allocate memory"], OomAtStep),
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
    // Pydantic's message about a combination of flags is on the line below its name.
    (&["Value error, "], Is(BadFlags)),
    (&["pydantic_core", "ValidationError"], Is(BadFlags)),
];

/// Lines after which the next exception is the root cause of a crash.
pub(super) const ROOT_MARKS: &[&str] = &[
    "WorkerProc hit an exception",
    "WorkerProc failed to start",
    "EngineCore encountered a fatal error",
    "EngineCore failed to start",
];

/// Exceptions that only report another process's end.
const SECONDARY: &[&str] = &[
    "EngineDeadError",
    "Engine core initialization failed",
    "WorkerProc initialization failed",
    "Worker failed with error",
    "RuntimeError: cancelled",
];

/// Lines that report a crash without its root cause.
pub(super) const CRASHES: &[&str] = &[
    "died unexpectedly",
    "exited unexpectedly",
    "EngineCore encountered a fatal error",
    "Engine core initialization failed",
    "EngineDeadError",
];

/// What loggers and Python write before an error.
pub(super) const SEVERE: &[&str] = &["ERROR", "CRITICAL", "Traceback (most recent call last)"];

/// Ends of exception names, with the colon that follows on the last line of a traceback.
pub(super) const EXCEPTIONS: &[&str] = &["Error: ", "Exception: ", "Interrupt: "];

/// The text before a function's name in a traceback.
pub(super) const FRAME: &str = ", in ";

/// Whether a line matches a rule of several texts.
pub(super) fn matches_compound_rule(line: &str) -> bool {
    let all = |parts: &[&str]| parts.iter().all(|part| line.contains(part));
    RULES.iter().any(|(parts, _)| parts.len() > 1 && all(parts))
}

/// Whether a line is the last one of a traceback.
pub(super) fn ends_a_traceback(line: &str) -> bool {
    is_exception(message(line))
}

/// The best explanation among the lines read so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Cause {
    /// The best rule that matched: its rank, its outcome, and the line.
    best: Option<(usize, ServerOutcome, String)>,
    /// Whether the next exception is a root cause.
    marked: bool,
    /// The first exception after a mark, or else the first one, and whether it came after a mark.
    exception: Option<(bool, String)>,
    /// Rank and line of the most specific sign of a crash.
    crash: Option<(usize, String)>,
    /// The step that the last traceback points to.
    frame: Option<OomAt>,
    serving: bool,
}

impl Cause {
    /// Starts over for a server that is ready: from now on lines about flags and models concern requests, and
    /// running out of memory happens under load.
    pub(super) fn set_serving(&mut self) {
        *self = Self { serving: true, ..Self::default() };
    }

    /// Reads a line. `step` is the step of the start at which memory would have run out.
    pub(super) fn read(&mut self, line: &str, step: OomAt) {
        if line.contains("Traceback (most recent call last)") {
            self.frame = None;
        } else if let Some(frame) = frame(line) {
            self.frame = Some(frame);
        }
        // A traceback also shows source lines, which name errors that they may only catch.
        let text = message(line);
        let source = ["raise ", "except "].iter().any(|word| text.starts_with(word));
        let found = RULES.iter().position(|(parts, meaning)| {
            !source
                && (!self.serving || matches!(meaning, OomAtStep))
                && parts.iter().all(|part| line.contains(part))
        });
        if let Some(rank) = found
            && self.best.as_ref().is_none_or(|(best, ..)| rank < *best)
        {
            let outcome = match RULES[rank].1 {
                Is(outcome) => outcome,
                OomAtStep if self.serving => Oom(OomAt::Load),
                OomAtStep => Oom(self.frame.unwrap_or(step)),
            };
            self.best = Some((rank, outcome, text.to_owned()));
        }
        let crash = CRASHES.iter().position(|text| line.contains(text));
        if let Some(rank) = crash
            && self.crash.as_ref().is_none_or(|(best, _)| rank < *best)
        {
            self.crash = Some((rank, text.to_owned()));
        }
        self.read_exception(text);
    }

    fn read_exception(&mut self, text: &str) {
        if ROOT_MARKS.iter().any(|mark| text.contains(mark)) {
            self.marked = true;
            return;
        }
        if !is_exception(text) || SECONDARY.iter().any(|echo| text.contains(echo)) {
            return;
        }
        let better = match &self.exception {
            None => true,
            Some((after_mark, _)) => self.marked && !after_mark,
        };
        if better {
            self.exception = Some((self.marked, text.to_owned()));
        }
    }

    /// The outcome and the line that explains it. An unexplained end is a crash, whatever its exit code.
    pub(super) fn outcome(&self, exit_code: Option<i32>, last_line: Option<&str>) -> (ServerOutcome, String) {
        if let Some((_, outcome, line)) = &self.best {
            return (*outcome, line.clone());
        }
        let how = match exit_code {
            Some(-9) => "killed by signal 9: by hand, or by the kernel when memory ran out".to_owned(),
            Some(code) if code < 0 => format!("ended by signal {}", -code),
            Some(code) => format!("ended with exit code {code}"),
            None => "ended".to_owned(),
        };
        let exception = self.exception.as_ref().map(|(_, text)| text.as_str());
        let crash = self.crash.as_ref().map(|(_, text)| text.as_str());
        let reason = match (exception.or(crash), last_line) {
            (Some(line), _) => format!("{line} ({how})"),
            (None, Some(line)) => format!("{how}; last line of its log: {line}"),
            (None, None) => format!("{how}; its log is empty"),
        };
        (Crashed, reason)
    }
}

/// Whether a message is the last line of a traceback: a dotted exception name, a colon, and text.
fn is_exception(text: &str) -> bool {
    let Some((name, _)) = text.split_once(": ") else {
        return false;
    };
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let mut ending = EXCEPTIONS.iter().map(|end| end.trim_end_matches(": "));
    name.chars().all(plain) && ending.any(|end| name.ends_with(end))
}

/// The step of a start to which a traceback's frame belongs.
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
    fn a_warning_that_quotes_an_exception_is_no_exception() {
        assert!(is_exception("RuntimeError: CPU Generator"));
        assert!(is_exception("vllm.v1.Some_Error: x"));
        assert!(!is_exception("can cause errors like `OSError: [Errno 24]"));
        assert!(!is_exception("Error"));
    }
}
