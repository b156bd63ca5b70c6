//! What a reader should see first of a workload: the few findings of its best server that decide something.

use super::{
    Block, Insight, caution::edge, effect::effects, observe::observations, servers::in_order,
    unstable::unstable,
};
use crate::store::StoredRun;

/// So many are shown first; the rest stands further below.
const MOST: usize = 7;
/// So many of one kind.
const OF_A_KIND: usize = 2;

/// Kinds in the order in which they are read: how it scales, what that costs, where it is unstable, what spoils the numbers.
const FIRST: [&str; 16] = [
    "scaling",
    "knee",
    "edge",
    "saturation",
    "ttft_growth",
    "held_up",
    "latency_growth",
    "effect",
    "ridge",
    "tail_ridge",
    "cliff",
    "dip",
    "falls",
    "repeats_disagree",
    "not_streamed",
    "errors",
];

/// The first findings of a workload, with the label of the server that they are about (empty where there is one).
pub(in crate::report) fn highlights(
    run: &StoredRun,
    blocks: &[Block<'_>],
    workload: &str,
) -> (String, Vec<Insight>) {
    let order = in_order(blocks, workload);
    let Some((block, best)) = order.first() else {
        return (String::new(), Vec::new());
    };
    let mut all = observations(block, run.plan.hardware.usd_per_hour);
    all.extend(edge(block, best));
    all.extend(unstable(block));
    // An axis that does nothing is no headline.
    all.extend(
        effects(run, blocks, workload)
            .into_iter()
            .filter(|effect| effect.text.contains(" is ")),
    );
    let mut found: Vec<Insight> = Vec::new();
    for kind in FIRST {
        let room = MOST - found.len();
        let own = all.iter().filter(|insight| insight.kind == kind);
        found.extend(own.take(OF_A_KIND.min(room)).cloned());
    }
    (block.server_label.clone(), found)
}
