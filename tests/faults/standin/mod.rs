//! Runs on a stand-in for `vllm`, which serves no model and can be told to die, hang, flood its log or leave
//! files behind.

mod lost_server;
#[cfg(target_os = "linux")]
mod planted_key;

use std::error::Error;

use libtest_mimic::Trial;

use crate::support::{ignorable, standin::lacks_python};

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        lost_server::trials(),
        #[cfg(target_os = "linux")]
        planted_key::trials(),
    ];
    trials.into_iter().flatten().collect()
}

fn trial(name: &str, test: fn() -> Result<(), Box<dyn Error>>) -> Trial {
    ignorable(name, lacks_python, test)
}
