//! Words → settings → one room's verb, a screen and an exit code.

pub mod args;
mod args_import;
mod args_predict;
pub mod exit;
mod fits;
mod flags;
mod help;
pub mod init;
mod outlook;
mod placing;
mod predict_table;
pub mod screen;
pub mod settings;
mod verb;

pub use verb::dispatch;
