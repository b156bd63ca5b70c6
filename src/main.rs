//! The `runner` command.

use std::process::ExitCode;

use runner::cli::{args::Cli, dispatch};

fn main() -> ExitCode {
    dispatch(Cli::read().unwrap_or_else(|error| error.exit()))
}
