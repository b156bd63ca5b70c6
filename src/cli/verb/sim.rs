//! `sim`: the embedded engine as a server.

use super::{super::exit::Exit, Ended, runtime, say};
use crate::{load, sim};

pub(super) fn sim(args: Vec<String>) -> Ended {
    let arguments = sim::parse_args(args).map_err(|reason| {
        say(&format!("runner sim: error: {reason}"));
        Exit::Usage
    })?;
    // Each connection is an open file.
    load::raise_open_files();
    // The server logs its failure, as vLLM does.
    let served = runtime()?.block_on(sim::serve(arguments));
    served.map(|()| Exit::Finished).map_err(|_| Exit::Unexpected)
}
