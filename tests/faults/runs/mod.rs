//! What becomes of a run when something goes wrong: each fault is injected, and what was seen must be its row
//! in the README of this folder.
//!
//! Whatever the fault, nothing of the run may be left: no process, no entry in the journal, no half-written
//! file.

mod disk;
mod injected;
#[cfg(target_os = "linux")]
mod operations;
mod row;
mod server;
mod signals;

use libtest_mimic::Trial;
use row::{Fault, Row};

use crate::{
    support::ignorable,
    table::{Table, test_name},
};

const TABLE: Table = Table("runs");

fn faults() -> Vec<Fault> {
    let mut faults = server::faults();
    faults.extend(signals::faults());
    faults.extend(disk::faults());
    faults
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = faults()
        .into_iter()
        .map(|fault| {
            ignorable(test_name(fault.name), fault.lacks, move || {
                Ok(TABLE.compare(fault.name, &Row::of(&fault)?.to_string())?)
            })
        })
        .collect();
    #[cfg(target_os = "linux")]
    trials.extend(operations::trials());
    trials.push(TABLE.trial(faults().iter().map(|fault| fault.name).collect()));
    trials
}
