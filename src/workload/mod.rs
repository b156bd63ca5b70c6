//! Builds the requests of a cell. The same cell and repeat always give the same bytes.
//!
//! Prompts are fixed (from the manifest or its files) or generated. They differ in what the prefix cache can
//! reuse:
//!
//! - Fixed prompts are sent as written, so they hit what earlier requests, repeats and cells left in the
//!   cache. With `cache = "fresh"`, each begins with random words.
//! - Generated prompts (`synthetic`, `shared_prefix`, `trace`) are drawn from the cell's seed and the number
//!   of the repeat. No two cells or repeats share a prefix, and within a cell only the prompts of a
//!   `shared_prefix` group, or with the same blocks in a trace, do. Their lengths depend on the cell's seed
//!   alone, so that all repeats are the same work.
//!
//! The length of a generated prompt is counted in the server's own tokens, which a [`Vocabulary`] holds.
//!
//! ```
//! use runner::{manifest::Workload, workload::token_count_body};
//!
//! let spec: Workload = toml::from_str("api = 'chat'\nprompts = ['hi']\nrequests = 1")?;
//! let body = token_count_body(&spec, "tiny", "hi");
//! assert_eq!(body["messages"][0]["content"], "hi");
//! # Ok::<(), toml::de::Error>(())
//! ```

mod body;
mod conversation;
mod error;
mod fixed;
mod generated;
mod length;
mod pieces;
mod requests;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use conversation::Conversation;
pub use error::{RequestError, VocabularyError};
pub use requests::{Request, Requests, Turn, generated_requests, needs_vocabulary, requests};
pub use vocabulary::{TokenCount, Vocabulary, token_count_body};
