//! Predicts the cells of a run before they are measured, and again when the lengths of the answers are known.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{Event, sweep::Sweep};
use crate::{
    manifest::Engine,
    plan::{Group, Plan, Search},
    predict::{self, Assumptions, MeasuredRun, Placement},
    store::{Predictions, StoreError},
};

/// A prediction that takes longer than this is announced.
const ANNOUNCED_AFTER: Duration = Duration::from_secs(2);
/// The most time that predictions take from a run.
const LONGEST: Duration = Duration::from_secs(30);

impl Sweep<'_> {
    /// Predicts the cells without a prediction, where the GPU and the model are known, and stores the result.
    /// A failed prediction is a warning: the run goes on.
    ///
    /// # Errors
    /// When the predictions cannot be written.
    pub(super) fn predict(&mut self) -> Result<(), StoreError> {
        let Some(predictions) = self.predictions() else {
            return Ok(());
        };
        if self.stored.predictions.as_ref() != Some(&predictions) {
            self.folder.write_predictions(&predictions)?;
            self.stored.predictions = Some(predictions);
        }
        Ok(())
    }

    /// Predicts where the searches end that have not begun, so that their first probes are near there. A search
    /// keeps what it began with: the plan is stored with it.
    ///
    /// # Errors
    /// When the plan cannot be written.
    pub(super) fn expect(&mut self) -> Result<(), StoreError> {
        let plan = &self.stored.plan;
        let has_begun = |search: &Search| {
            let mut cells = plan.groups.iter().flat_map(|group| &group.cells);
            search.expected.is_some() || cells.any(|cell| cell.search.as_ref() == Some(&search.id))
        };
        let searches: Vec<Search> =
            plan.searches.iter().filter(|search| !has_begun(search)).cloned().collect();
        if searches.is_empty() {
            return Ok(());
        }
        let plan = Plan { searches, ..plan.clone() };
        let seen = self.stored.run.gpus.first().map(|gpu| gpu.name.as_str());
        let placement = Placement { detected: seen, ..Placement::of(self.manifest) };
        let spill = self.folder.path().as_std_path();
        let expected = in_time(&self.stop, self.emit, |may_continue| {
            predict::expect(&placement, &plan, spill, may_continue)
        });
        let Some(expected) = expected.filter(|expected| !expected.is_empty()) else {
            return Ok(());
        };
        for search in &mut self.stored.plan.searches {
            search.expected = search.expected.or_else(|| expected.get(&search.id).copied());
        }
        self.folder.write_plan(&self.stored.plan)
    }

    fn predictions(&mut self) -> Option<Predictions> {
        let seen = self.stored.run.gpus.first().map(|gpu| gpu.name.as_str());
        let placement = Placement { detected: seen, ..Placement::of(self.manifest) };
        let mut placed = placement.place(&self.stored.plan).placed;
        // The embedded engine is not measured, so there is nothing to compare a prediction with.
        let is_measured = |group: &Group| group.server.engine != Engine::Sim;
        placed.retain(|id, _| {
            self.stored.plan.groups.iter().any(|group| group.id == *id && is_measured(group))
        });
        let assumed = Assumptions::default();
        let basis = predict::basis(placed.values(), assumed, None)?;
        let earlier = self.stored.predictions.as_ref();
        // Predictions with another basis were made on request, by `runner predict RUN`: they stay.
        if earlier.is_some_and(|earlier| earlier.basis != basis) {
            return None;
        }
        let run = MeasuredRun {
            plan: &self.stored.plan,
            placed: &placed,
            inputs: &self.manifest.inputs,
            basis,
            assumed,
            measured: &self.stored.cells,
            earlier,
            spill: self.folder.path().as_std_path(),
        };
        in_time(&self.stop, self.emit, |may_continue| run.predict(may_continue))
    }
}

/// Predicts something within the time that predictions may take. `work` asks whether it may continue. A
/// prediction that takes long is announced; one that fails is a warning, and `None`.
fn in_time<T: Send>(
    stop: &watch::Receiver<bool>,
    emit: &mut (dyn FnMut(Event) + Send),
    work: impl FnOnce(&(dyn Fn() -> bool + Sync)) -> T + Send,
) -> Option<T> {
    let began = Instant::now();
    let go_on = || !*stop.borrow() && began.elapsed() < LONGEST;
    let result = std::thread::scope(|scope| {
        let (done, ended) = mpsc::channel::<()>();
        let work = scope.spawn(move || {
            let result = work(&go_on);
            drop(done);
            result
        });
        if ended.recv_timeout(ANNOUNCED_AFTER) == Err(mpsc::RecvTimeoutError::Timeout) {
            emit(Event::Predicting);
        }
        work.join()
    });
    match result {
        Ok(predicted) => Some(predicted),
        Err(_) => {
            emit(Event::Warning(
                "the cells could not be predicted (this is a bug, please report it); the measurements are not affected"
                    .into(),
            ));
            None
        }
    }
}
