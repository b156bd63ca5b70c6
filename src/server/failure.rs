//! What a line of a server's log says about why it failed.

use super::outcome::{OomAt, ServerOutcome};

/// What a rule means: an outcome, or out of memory at whatever step the server was.
#[derive(Clone, Copy)]
enum Meaning {
    Is(ServerOutcome),
    OomNow,
}

use Meaning::{Is, OomNow};
use ServerOutcome::{
    BadFlags, BadModel, Crashed, KvTooSmall, ModelUnavailable, NoDevice, Oom, PortTaken,
};

/// Texts that name a cause, the surest first: a crash prints tracebacks of every process, so the earliest rule that
/// matches any line wins, wherever the line stands. Each line must hold every part of a rule.
const RULES: [(&[&str], Meaning); 32] = [
    (&["error: unrecognized arguments"], Is(BadFlags)),
    (&["error: argument --"], Is(BadFlags)),
    (
        &["error: the following arguments are required"],
        Is(BadFlags),
    ),
    (&["Address already in use"], Is(PortTaken)),
    (&["address already in use"], Is(PortTaken)),
    (
        &["To serve at least one request with the model's max seq len"],
        Is(KvTooSmall),
    ),
    (
        &["is larger than the maximum number of tokens that can be stored in KV cache"],
        Is(KvTooSmall),
    ),
    (
        &["No available memory for the cache blocks"],
        Is(Oom(OomAt::KvCache)),
    ),
    (
        &["is less than requested memory for kv"],
        Is(Oom(OomAt::KvCache)),
    ),
    (
        &["out of memory occurred when warming up sampler"],
        Is(Oom(OomAt::Graphs)),
    ),
    (
        &[
            "Free memory on device",
            "less than desired GPU memory utilization",
        ],
        Is(Oom(OomAt::Weights)),
    ),
    (
        &["Failed to load model - not enough GPU memory"],
        Is(Oom(OomAt::Weights)),
    ),
    (&["CUDA out of memory"], OomNow),
    (&["HIP out of memory"], OomNow),
    (&["OutOfMemoryError"], OomNow),
    (&["LocalEntryNotFoundError"], Is(ModelUnavailable)),
    (&["OfflineModeIsEnabled"], Is(ModelUnavailable)),
    (&["RepositoryNotFoundError"], Is(ModelUnavailable)),
    (&["GatedRepoError"], Is(ModelUnavailable)),
    (&["Cannot access gated repo"], Is(ModelUnavailable)),
    (&["HFValidationError"], Is(BadModel)),
    (&["SafetensorError"], Is(BadModel)),
    (
        &["Invalid repository ID or local directory specified"],
        Is(BadModel),
    ),
    (&["does not appear to have a file named"], Is(BadModel)),
    (&["Model architectures", "are not supported"], Is(BadModel)),
    (
        &[
            "User-specified max_model_len",
            "greater than the derived max_model_len",
        ],
        Is(BadFlags),
    ),
    (&["No CUDA GPUs are available"], Is(NoDevice)),
    (&["Failed to infer device type"], Is(NoDevice)),
    (&["Found no NVIDIA driver"], Is(NoDevice)),
    (&["pydantic_core", "ValidationError"], Is(BadFlags)),
    (&["EngineCore encountered a fatal error"], Is(Crashed)),
    (&["Engine core initialization failed"], Is(Crashed)),
];

/// The best explanation among the lines seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Cause {
    best: Option<(usize, ServerOutcome, String)>,
}

impl Cause {
    /// Considers a line; `step` is where memory would have run out if it did.
    pub(super) fn consider(&mut self, line: &str, step: OomAt) {
        let found = RULES
            .iter()
            .position(|(parts, _)| parts.iter().all(|part| line.contains(part)));
        let Some(rank) = found else {
            return;
        };
        if self.best.as_ref().is_none_or(|(best, _, _)| rank < *best) {
            let outcome = match RULES[rank].1 {
                Is(outcome) => outcome,
                OomNow => Oom(step),
            };
            self.best = Some((rank, outcome, line.trim().to_owned()));
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
            Some(-9) => {
                "it was killed (signal 9): by hand, or by the kernel for want of memory".to_owned()
            }
            Some(code) if code < 0 => format!("it ended by signal {}", -code),
            Some(code) => format!("it ended with exit code {code}"),
            None => "it ended".to_owned(),
        };
        let reason = match last_line {
            Some(line) => format!("{how}; its last words: {line}"),
            None => format!("{how} without a word"),
        };
        (Crashed, reason)
    }
}
