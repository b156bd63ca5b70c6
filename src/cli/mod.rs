//! The command line: arguments and settings in, one call of a room, output and an exit code out.
//!
//! ```
//! use clap::Parser;
//! use runner::cli::args::{Cli, Verb};
//!
//! let cli = Cli::try_parse_from(["runner", "run", "experiments/first.toml", "--only", "chat-*"])?;
//! let Verb::Run(args) = cli.verb else { panic!("`run` is another verb") };
//! assert_eq!(args.manifest.path, "experiments/first.toml");
//! assert_eq!(args.only, ["chat-*"]);
//! # Ok::<(), clap::Error>(())
//! ```

pub mod args;
mod args_import;
mod args_predict;
pub mod exit;
mod flags;
mod help;
pub mod init;
mod man;
mod output;
pub mod screen;
pub mod settings;
mod signals;
mod table;
mod verb;

pub use verb::dispatch;
