//! [`Begun`]: a cell of which some repeats are measured.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    cell::{self, Seen},
    sweep::Sweep,
};
use crate::{
    load::Records,
    measure::{self, CellContext, CellOutcome, Summary},
    plan::{Cell, Group},
    server::Facts,
    store::{Attempt, CellFile, LadderEnd, ladder_end},
};

/// A cell of which some repeats are measured.
pub(super) struct Begun {
    pub(super) at: Timestamp,
    pub(super) repeats: Vec<Records>,
    pub(super) seen: Vec<Seen>,
    pub(super) attempts: Vec<Attempt>,
    /// The facts of the server that the last repeat ran on.
    pub(super) facts: Facts,
    /// The number of the server's start that the last repeat ran on, from 1.
    start: usize,
    /// The summary of each repeat, where they decide how many there are.
    summaries: Vec<Summary>,
}

impl Begun {
    /// A cell that begins now.
    pub(super) fn now() -> Self {
        Self {
            at: Timestamp::now(),
            repeats: Vec::new(),
            seen: Vec::new(),
            attempts: Vec::new(),
            facts: Facts::default(),
            start: 0,
            summaries: Vec::new(),
        }
    }

    /// Adds a repeat that ran on the server's start of this number.
    pub(super) fn add(&mut self, records: Records, seen: Seen, facts: &Facts, start: usize) {
        self.repeats.push(records);
        self.seen.push(seen);
        self.facts = facts.clone();
        self.start = start;
    }

    /// How many attempts a crash or a hang ended while the cell ran.
    pub(super) fn lost(&self) -> usize {
        let ran = |attempt: &&Attempt| attempt.outcome != CellOutcome::ServerFailed;
        self.attempts.iter().filter(ran).count()
    }
}

impl Sweep<'_> {
    /// Whether the next repeat of a cell needs another start of its server, which runs on the start of this
    /// number.
    pub(super) fn needs_restart(&self, cell: &Cell, open: Option<&Begun>, start: usize) -> bool {
        cell.repeats(&self.stored.plan.experiment).restart() && open.is_some_and(|open| open.start == start)
    }

    /// Whether a cell is measured often enough.
    pub(super) fn is_enough(&self, group: &Group, cell: &Cell, open: &mut Begun) -> bool {
        let rule = cell.repeats(&self.stored.plan.experiment);
        if rule.until().is_empty() {
            return open.repeats.len() as u32 >= rule.at_most();
        }
        let context = self.context(group, cell, &open.facts);
        let new = &open.repeats[open.summaries.len()..];
        open.summaries.extend(new.iter().map(|records| measure::summarize(records, &context)));
        measure::suffices(rule, &open.summaries)
    }

    /// Whether the repeats of a cell whose measurement ends early are enough to be stored.
    pub(super) fn is_worth_storing(&self, cell: &Cell, open: &Begun) -> bool {
        open.repeats.len() as u32 >= cell.repeats(&self.stored.plan.experiment).at_least()
    }

    /// Where the ladder of a cell ended before it. If each repeat has its own start of the server, all cells
    /// of a ladder are under way at once: then the repeats so far of the lower ones decide, and a cell that
    /// has begun goes on.
    pub(super) fn ladder_end(
        &self,
        group: &Group,
        index: usize,
        begun: &BTreeMap<usize, Begun>,
    ) -> Option<LadderEnd> {
        let cell = &group.cells[index];
        if !cell.repeats(&self.stored.plan.experiment).restart() {
            return ladder_end(group, cell, &self.stored.cells);
        }
        if begun.contains_key(&index) {
            return None;
        }
        let mut done = self.stored.cells.clone();
        let mut below = cell.rung_below.as_ref();
        // Throughput falls between two rungs.
        for _ in 0..2 {
            let at = group.cells.iter().position(|rung| Some(&rung.id) == below)?;
            let rung = &group.cells[at];
            if let Some(open) = begun.get(&at).filter(|open| !open.repeats.is_empty()) {
                let summary = measure::pool(&open.repeats, &self.context(group, rung, &open.facts));
                let outcome = measure::outcome(&summary);
                let file = CellFile::without_numbers(group, rung, outcome, None, open.at);
                done.push(CellFile { summary: Some(summary), ..file });
            }
            below = rung.rung_below.as_ref();
            if below.is_none() {
                break;
            }
        }
        ladder_end(group, cell, &done)
    }

    fn context<'c>(&'c self, group: &Group, cell: &'c Cell, facts: &Facts) -> CellContext<'c> {
        let repeats = cell.repeats(&self.stored.plan.experiment);
        cell::context(group, cell, repeats, &self.manifest.inputs, facts)
    }
}
