//! What the process says with its exit code.

use std::process::ExitCode;

/// How the command ended. The number is a promise to scripts; the words are what the help says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked is done.
    Finished = 0,
    /// A fault that has no code of its own.
    Unexpected = 1,
    /// The command line or the manifest cannot be used.
    Usage = 2,
    /// Nothing was learned.
    NothingMeasured = 3,
    /// Something was learned, and something failed.
    FailedCells = 4,
    /// A condition the person set is not met.
    GateFailed = 5,
    /// Stopped by the person.
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

    /// The number the shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The line that documents it.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Finished => "finished (out-of-memory cells included: they are results)",
            Self::Unexpected => "unexpected error",
            Self::Usage => "mistake in the command line or the manifest",
            Self::NothingMeasured => "no cell could be measured or placed on the out-of-memory surface",
            Self::FailedCells => "finished, but some cells failed",
            Self::GateFailed => "a gate (--fail-on) did not hold",
            Self::Interrupted => "interrupted; results kept",
        }
    }

    /// The table of all codes, below the help texts.
    pub fn help() -> String {
        Self::help_of(&Self::ALL)
    }

    /// The same for a command that only reads: what it was asked is done, or not.
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
