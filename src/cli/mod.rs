//! Words → settings → one room's verb, a screen and an exit code.

pub mod args;
mod args_import;
mod args_predict;
pub mod exit;
mod flags;
mod help;
pub mod init;
pub mod screen;
pub mod settings;
mod table;
mod verb;

pub use verb::dispatch;
