//! Adds the probes of searches to the plan, one after the other, as what is measured decides.

use super::{Event, RunError, sweep::Sweep};
use crate::{
    plan::{self, CellRepeat, Search},
    search::{self, Answer, Next},
};

/// A search that goes on.
struct Open {
    id: String,
    next: Next,
    answer: Answer,
}

impl Sweep<'_> {
    /// What the load searches of a server measure next: of those that go on, the one with the fewest probes,
    /// so that an interrupted run knows something of each. Empty when each has its answer.
    pub(super) fn probe_load(&mut self, group: usize) -> Result<Vec<CellRepeat>, RunError> {
        let server = self.stored.plan.groups[group].id.clone();
        loop {
            let open = self.open_searches(|search| search.server.as_ref() == Some(&server));
            let Some(open) = open.into_iter().min_by_key(|open| open.answer.probes.len()) else {
                return Ok(Vec::new());
            };
            let (_, cells) = self.add_probe(&open)?;
            if !cells.is_empty() {
                return Ok(cells.into_iter().map(|cell| CellRepeat { cell, repeat: 1 }).collect());
            }
        }
    }

    /// Runs the searches over servers: every probe starts a server.
    pub(super) async fn search_servers(&mut self) -> Result<(), RunError> {
        while !self.is_stopped() {
            let open = self.open_searches(|search| search.server.is_none());
            let Some(open) = open.into_iter().min_by_key(|open| open.answer.probes.len()) else {
                break;
            };
            let (group, _) = self.add_probe(&open)?;
            self.group(group).await?;
        }
        Ok(())
    }

    /// The number of searches that have no answer yet.
    pub(super) fn unanswered(&self) -> usize {
        self.open_searches(|_| true).len()
    }

    fn open_searches(&self, is_wanted: impl Fn(&Search) -> bool) -> Vec<Open> {
        let selected = |search: &&Search| search.is_selected(&self.order.only);
        let searches = self.stored.plan.searches.iter().filter(|search| is_wanted(search)).filter(selected);
        let open = |search: &Search| {
            let decision = search::decide(&self.stored, search);
            Some(Open { id: search.id.clone(), next: decision.next?, answer: decision.answer })
        };
        searches.filter_map(open).collect()
    }

    /// Adds the next probe of a search to the plan. Returns the index of its group and the indices of its cells
    /// that have to be measured: those that an earlier start of the run measured are taken over.
    fn add_probe(&mut self, open: &Open) -> Result<(usize, Vec<usize>), RunError> {
        let Next { values, attempt } = &open.next;
        let (group, cells) = plan::probe(self.manifest, &mut self.stored.plan, &open.id, values, *attempt)
            .map_err(|findings| RunError::Probe { search: open.id.clone(), findings })?;
        self.folder.write_plan(&self.stored.plan)?;
        let server = &self.stored.plan.groups[group];
        let ids: Vec<String> = cells.iter().map(|cell| server.cells[*cell].id.clone()).collect();
        let server = self.folder.read_server(&server.id);
        for id in &ids {
            if let Some(file) = self.folder.read_cell(id).filter(|file| file.outcome.is_done()) {
                self.settled.insert(file.id.clone());
                self.stored.put_cell(file);
                server.iter().for_each(|server| self.stored.put_server(server.clone()));
            }
        }
        (self.emit)(Event::Probe { values: values.clone(), answer: Box::new(open.answer.clone()) });
        let mut cells: Vec<(usize, String)> = cells.into_iter().zip(ids).collect();
        cells.retain(|(_, id)| !self.settled.contains(id));
        Ok((group, cells.into_iter().map(|(cell, _)| cell).collect()))
    }

    /// Reports the answers that the run came to.
    pub(super) fn report_answers(&mut self) {
        for answer in search::answers(&self.stored) {
            (self.emit)(Event::Answered(Box::new(answer)));
        }
    }
}
