//! The `runner` command.

use std::process::ExitCode;

use clap::Parser;
use runner::cli::{args::Cli, dispatch};

fn main() -> ExitCode {
    dispatch(Cli::parse()).into()
}
