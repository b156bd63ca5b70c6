//! [`Budget`]: how long a run may take, and the order that makes a cut run useful.

use std::{collections::VecDeque, time::Duration};

use indexmap::{IndexMap, IndexSet};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    plan::{CellRepeat, Group},
    unit::TimeSpan,
};

/// How much a run may spend. The clock starts with the command, so server starts count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// The most time.
    pub time: Option<TimeSpan>,
    /// The most money, US dollars.
    pub usd: Option<f64>,
}

/// A budget that runs.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// When the whole budget is spent.
    deadline: Option<Instant>,
    /// When the running server has had its share.
    share: Option<Instant>,
    /// What was given, in words: `2h`, `$3`.
    pub(super) words: String,
}

impl Budget {
    /// The time that the budget allows at a price per hour, US dollars; `None` without a limit.
    pub fn limit(&self, usd_per_hour: Option<f64>) -> Option<Duration> {
        let paid = self.usd.zip(usd_per_hour.filter(|price| *price > 0.0));
        let paid = paid.map(|(usd, price)| Duration::from_secs_f64((usd / price * 3600.0).min(1e9)));
        [self.time.map(TimeSpan::duration), paid].into_iter().flatten().min()
    }

    fn words(&self) -> String {
        let time = self.time.map(|time| time.to_string());
        let usd = self.usd.map(|usd| format!("${usd}"));
        [time, usd].into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }

    /// Starts the clock. The receiver turns true when the person asks to stop or the budget is spent.
    pub(super) fn start(
        &self,
        usd_per_hour: Option<f64>,
        mut stop: watch::Receiver<bool>,
    ) -> (Clock, watch::Receiver<bool>) {
        let deadline = self.limit(usd_per_hour).map(|limit| Instant::now() + limit);
        let clock = Clock { deadline, share: None, words: self.words() };
        let Some(deadline) = deadline else {
            return (clock, stop);
        };
        let (halt, halted) = watch::channel(*stop.borrow());
        tokio::spawn(async move {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                () = sleep_until(deadline) => {}
            }
            let _ = halt.send(true);
            // A receiver whose sender is gone reads as stopped, which it is.
        });
        (clock, halted)
    }
}

impl Clock {
    /// Gives the next server its share of the time left, where `servers` are left, itself included.
    pub(super) fn share_among(&mut self, servers: usize) {
        self.share = self.deadline.map(|deadline| {
            let now = Instant::now();
            now + deadline.saturating_duration_since(now) / servers.max(1) as u32
        });
    }

    /// Whether something that takes this long still ends within the server's share.
    pub(super) fn allows(&self, takes: Duration) -> bool {
        self.share.or(self.deadline).is_none_or(|end| Instant::now() + takes <= end)
    }

    /// Whether there is a budget.
    pub(super) fn is_limited(&self) -> bool {
        self.deadline.is_some()
    }
}

/// Reorders the turns of a server so that a run that is cut short has seen the whole range of every workload:
/// its first cell, the last, the middle, then the middles of what is left; the repeats of a cell follow one
/// another, unless each is on another start of the server (`restart`). Ladders stay as they are: they end by
/// themselves.
pub(super) fn coarse_to_fine(group: &Group, turns: &[CellRepeat], restart: bool) -> VecDeque<CellRepeat> {
    if restart {
        let blocks = turns.chunk_by(|one, next| one.repeat == next.repeat);
        return blocks.flat_map(|block| coarse_to_fine(group, block, false)).collect();
    }
    if turns.iter().any(|turn| group.cells[turn.cell].rung_below.is_some()) {
        return turns.iter().copied().collect();
    }
    let mut workloads: IndexMap<&str, IndexSet<usize>> = IndexMap::new();
    for turn in turns {
        workloads.entry(&group.cells[turn.cell].workload).or_default().insert(turn.cell);
    }
    let ordered: Vec<Vec<usize>> = workloads
        .values()
        .map(|cells| halving(cells.len()).into_iter().map(|at| cells[at]).collect())
        .collect();
    let longest = ordered.iter().map(Vec::len).max().unwrap_or(0);
    let cells = (0..longest).flat_map(|at| ordered.iter().filter_map(move |cells| cells.get(at).copied()));
    cells.flat_map(|cell| turns.iter().copied().filter(move |turn| turn.cell == cell)).collect()
}

/// The indices below `count`: the ends, then the middle of the widest gap, again and again.
fn halving(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::with_capacity(count);
    if count > 0 {
        order.push(0);
    }
    if count > 1 {
        order.push(count - 1);
    }
    let mut gaps = VecDeque::from([(0, count.saturating_sub(1))]);
    while let Some((low, high)) = gaps.pop_front() {
        if high - low < 2 {
            continue;
        }
        let middle = low.midpoint(high);
        order.push(middle);
        gaps.push_back((low, middle));
        gaps.push_back((middle, high));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_has_its_turn_and_the_ends_come_first() {
        assert_eq!(halving(0), Vec::<usize>::new());
        assert_eq!(halving(1), [0]);
        assert_eq!(halving(2), [0, 1]);
        assert_eq!(halving(6)[..3], [0, 5, 2]);
        for count in 0..40 {
            let mut order = halving(count);
            order.sort_unstable();
            assert_eq!(order, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_smaller_of_time_and_money_is_the_limit() {
        let budget = Budget { time: Some(TimeSpan::from_secs(7200)), usd: Some(3.0) };
        assert_eq!(budget.limit(None), Some(Duration::from_secs(7200)));
        assert_eq!(budget.limit(Some(2.0)), Some(Duration::from_secs(5400)));
        assert_eq!(budget.limit(Some(1.0)), Some(Duration::from_secs(7200)));
        assert_eq!(Budget::default().limit(Some(1.0)), None);
        assert_eq!(budget.words(), "2h and $3");
    }
}
