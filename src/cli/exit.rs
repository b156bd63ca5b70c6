//! Exit codes.

use std::process::ExitCode;

/// The exit code of a command. Scripts rely on the numbers; the help explains them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command did what it was asked to.
    Finished = 0,
    /// An error without a code of its own.
    Unexpected = 1,
    /// A mistake in the command line or the manifest.
    Usage = 2,
    /// No cell has a result.
    NothingMeasured = 3,
    /// Some cells have a result, and some failed.
    FailedCells = 4,
    /// A `--fail-on` condition was met.
    GateFailed = 5,
    /// Interrupted.
    Interrupted = 130,
}

impl Exit {
    /// All of them, ascending.
    pub const ALL: [Self; 7] = [
        Self::Finished,
        Self::Unexpected,
        Self::Usage,
        Self::NothingMeasured,
        Self::FailedCells,
        Self::GateFailed,
        Self::Interrupted,
    ];

    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// One line of explanation.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Finished => "finished (out-of-memory cells included: they are results)",
            Self::Unexpected => "error outside the manifest: the disk, a folder, another runner at work",
            Self::Usage => "mistake in the command line or the manifest",
            Self::NothingMeasured => "no cell could be measured or placed on the out-of-memory surface",
            Self::FailedCells => "finished, but some cells failed",
            Self::GateFailed => "a metric changed by more than --fail-on allows",
            Self::Interrupted => "interrupted; results kept",
        }
    }

    /// The table of all codes, for the end of a help text.
    pub fn help() -> String {
        Self::help_of(&Self::ALL)
    }

    /// The table for `run`, which checks no gate.
    pub fn help_of_run() -> String {
        let exits: Vec<Self> = Self::ALL.into_iter().filter(|exit| *exit != Self::GateFailed).collect();
        Self::help_of(&exits)
    }

    /// The table for commands that measure nothing.
    pub fn help_of_reading() -> String {
        Self::help_of(&[Self::Finished, Self::Unexpected, Self::Usage])
    }

    /// The table of some codes.
    pub fn help_of(exits: &[Self]) -> String {
        let mut text = String::from("Exit codes:\n");
        for exit in exits {
            text.push_str(&format!("  {:>3}  {}\n", exit.code(), exit.meaning()));
        }
        text
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
