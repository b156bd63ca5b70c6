//! The error types of this room.

use std::path::PathBuf;

use crate::manifest::Arrivals;

/// What to do about a certificate that no known authority signed.
const SET_SSL_CERT_FILE: &str =
    "name the file of the server's CA, as PEM, in the environment variable SSL_CERT_FILE";

/// Why a repeat could not be prepared, driven to its end, or its records kept. A request that fails is no
/// error: it has an
/// [`super::Outcome`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The server's URL cannot be used.
    #[error("{url:?} is not an address ({reason}); write http://host:port")]
    Address {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS needs the system's certificates.
    #[error("the system's certificates cannot be read: {0}; {SET_SSL_CERT_FILE}")]
    Certificates(String),
    /// An HTTP header cannot hold the API key, which is not shown.
    #[error("the API key has characters that an HTTP header cannot hold")]
    ApiKey,
    /// An HTTP header cannot hold the host.
    #[error("{0:?} cannot be a Host header")]
    Host(String),
    /// An arrival model lacks one of its numbers.
    #[error("arrivals = \"{arrivals}\" needs `{key}`")]
    MissingKey {
        /// The arrival model.
        arrivals: Arrivals,
        /// The workload's key that is missing.
        key: &'static str,
    },
    /// A trace cannot be read.
    #[error("{0}")]
    Trace(String),
    /// A trace has too few arrivals.
    #[error("the trace has {available} arrivals, and {needed} are needed, warm-up included")]
    ShortTrace {
        /// Arrivals in the file.
        available: usize,
        /// Arrivals that the cell needs.
        needed: u64,
    },
    /// A schedule would not end, or not fit in memory.
    #[error("the schedule has more than {0} arrivals; set fewer `requests` or a shorter `duration`")]
    TooManyArrivals(usize),
    /// A task of the client panicked.
    #[error("a task of the client failed: {0}")]
    Task(String),
    /// The thread that packs records could not be started, or panicked.
    #[error("the thread that packs the records failed: {0}")]
    PackingThread(String),
    /// Records arrive faster than the disk takes them.
    #[error(
        "the disk does not keep up: {megabytes} MB of records wait to be written; choose a results folder on a faster disk"
    )]
    SlowDisk {
        /// Megabytes that wait.
        megabytes: usize,
    },
    /// A record cannot be serialized.
    #[error("a record cannot be packed: {0}")]
    Pack(String),
    /// The file that holds records beyond the memory limit cannot be written.
    #[error(
        "the records cannot be written to a file in {}: {reason}; make room there, or choose another results folder",
        folder.display()
    )]
    WriteRecords {
        /// Folder of the file.
        folder: PathBuf,
        /// The operating system's message.
        reason: String,
    },
    /// Records cannot be read back.
    #[error("the records cannot be read back{}: {reason}", from_folder(folder.as_ref()))]
    ReadRecords {
        /// Folder of the file that holds them, if there is one.
        folder: Option<PathBuf>,
        /// What failed.
        reason: String,
    },
}

fn from_folder(folder: Option<&PathBuf>) -> String {
    folder.map_or_else(String::new, |folder| format!(" from their file in {}", folder.display()))
}

/// Why an answer cannot be read: it is not HTTP, not an event stream, or not the API's JSON. The message
/// becomes the record's error.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("the answer is not HTTP: {0}")]
    NotHttp(httparse::Error),
    #[error("the answer is not HTTP: its head has no status")]
    NoStatus,
    #[error("the server changes to another protocol, which was not requested")]
    ProtocolSwitch,
    #[error("the head of the answer is larger than {0} bytes")]
    LargeHead(usize),
    #[error("the length of the answer is not a number: {0:?}")]
    Length(String),
    #[error("the answer has two lengths")]
    TwoLengths,
    #[error("the size of a chunk is not a number")]
    ChunkSize,
    #[error("a chunk is longer than its size")]
    LongChunk,
    #[error("the line of a chunk's size does not end")]
    EndlessSizeLine,
    #[error("a trailer does not end")]
    EndlessTrailer,
    #[error("the answer is encoded ({0}), which was not requested and this client cannot read")]
    Encoding(String),
    #[error("the compressed answer cannot be read: {0}")]
    Compression(String),
    #[error("the compressed answer holds more than {0} times its length")]
    CompressionRatio(u64),
    #[error("an event is larger than {0} bytes")]
    LargeEvent(usize),
    #[error("an event is not the JSON of this API: {0}")]
    EventJson(String),
    #[error("an event has neither choices nor usage nor an error")]
    EmptyEvent,
    #[error("the answer has more than {0} chunks")]
    TooManyChunks(usize),
    #[error("the answer has more than {0} bytes of text")]
    LongText(usize),
}

/// Advice to append to a TLS failure's message, when the certificate is the cause; else empty.
pub(super) fn tls_hint(reason: &str) -> String {
    if reason.contains("UnknownIssuer") || reason.contains("unknown issuer") {
        format!("; {SET_SSL_CERT_FILE}")
    } else {
        String::new()
    }
}
