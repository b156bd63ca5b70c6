//! What is predicted of a run's cells while nothing is measured yet, and once more when it is known how long the answers were.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{Event, walk::Walk};
use crate::{
    manifest::Engine,
    plan::Group,
    predict::{self, Assumptions, MeasuredRun, Placement},
    store::{Predictions, StoreError},
};

/// After so long somebody is told what is being waited for.
const TOLD_AFTER: Duration = Duration::from_secs(2);
/// Predictions take no longer than this from a run.
const LONGEST: Duration = Duration::from_secs(30);

impl Walk<'_> {
    /// Predicts what is not predicted yet, where GPU and models are known, and stores it. A failure is said, and takes nothing
    /// from the run.
    ///
    /// # Errors
    /// When the disk refuses.
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
        let mut placed = placement.place(self.plan).placed;
        // The embedded engine is not measured, so there is nothing to compare a prediction with.
        let is_measured = |group: &Group| group.server.engine != Engine::Sim;
        placed.retain(|id, _| self.plan.groups.iter().any(|group| group.id == *id && is_measured(group)));
        let assumed = Assumptions::default();
        let basis = predict::basis(placed.values(), assumed, None)?;
        let earlier = self.stored.predictions.as_ref();
        // Somebody asked for predictions of another kind: they stay.
        if earlier.is_some_and(|earlier| earlier.basis != basis) {
            return None;
        }
        let run = MeasuredRun {
            plan: self.plan,
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
            if ended.recv_timeout(TOLD_AFTER) == Err(mpsc::RecvTimeoutError::Timeout) {
                emit(Event::Predicting);
            }
            work.join()
        });
        match result {
            Ok(predictions) => Some(predictions),
            Err(_) => {
                (self.emit)(Event::Warning(
                    "the cells could not be predicted, which takes nothing from the run; please report it"
                        .into(),
                ));
                None
            }
        }
    }
}
