//! Predicts the cells of a run before they are measured, and again when the lengths of the answers are known.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{Event, sweep::Sweep};
use crate::{
    manifest::Engine,
    plan::Group,
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
        let stop = &self.stop;
        let began = Instant::now();
        let go_on = || !*stop.borrow() && began.elapsed() < LONGEST;
        let emit = &mut *self.emit;
        let result = std::thread::scope(|scope| {
            let (done, ended) = mpsc::channel::<()>();
            let work = scope.spawn(move || {
                let predictions = run.predict(&go_on);
                drop(done);
                predictions
            });
            if ended.recv_timeout(ANNOUNCED_AFTER) == Err(mpsc::RecvTimeoutError::Timeout) {
                emit(Event::Predicting);
            }
            work.join()
        });
        match result {
            Ok(predictions) => Some(predictions),
            Err(_) => {
                (self.emit)(Event::Warning(
                    "the cells could not be predicted (this is a bug, please report it); the measurements are not affected"
                        .into(),
                ));
                None
            }
        }
    }
}
