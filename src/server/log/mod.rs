//! A server's log: written through a masking pipe into a bounded file, and read back for facts, progress and
//! the cause of a failure.

mod arguments;
mod facts;
mod failure;
mod file;
mod message;
mod patterns;
mod pipe;
mod reader;

pub(super) use arguments::contradiction;
pub(super) use file::begin;
pub(super) use pipe::LogPipe;
pub(super) use reader::LogReader;
pub use reader::classify;
