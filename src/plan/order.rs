//! The order in which the cells of one server are measured.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::Group;
use crate::manifest::{Experiment, Order};

/// One repeat of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellRepeat {
    /// Index of the cell in [`Group::cells`].
    pub cell: usize,
    /// Number of the repeat, from 1.
    pub repeat: u32,
}

impl Group {
    /// Every repeat of every cell that is not skipped, in measuring order, up to the most that the experiment
    /// allows. As written, the repeats of a cell follow one another, unless each is on another start of the
    /// server: then, and shuffled, each block holds every cell once. Shuffling makes drift of the machine
    /// affect all cells alike.
    pub fn repeats(&self, experiment: &Experiment) -> Vec<CellRepeat> {
        let repeats = experiment.repeats.at_most();
        let cells: Vec<usize> =
            (0..self.cells.len()).filter(|&cell| self.cells[cell].skip.is_none()).collect();
        let block = |repeat| move |cell| CellRepeat { cell, repeat };
        match experiment.order {
            Order::AsWritten if experiment.repeats.restart() => {
                (1..=repeats).flat_map(|repeat| cells.iter().copied().map(block(repeat))).collect()
            }
            Order::AsWritten => cells
                .into_iter()
                .flat_map(|cell| (1..=repeats).map(move |repeat| CellRepeat { cell, repeat }))
                .collect(),
            Order::Shuffled => {
                let mut random = ChaCha8Rng::seed_from_u64(experiment.seed);
                (1..=repeats)
                    .flat_map(|repeat| {
                        let mut shuffled = cells.clone();
                        shuffle(&mut shuffled, &mut random);
                        shuffled.into_iter().map(block(repeat))
                    })
                    .collect()
            }
        }
    }
}

/// Fisher–Yates shuffle. The bias of the modulo is below 2⁻³² for a block of any plan.
fn shuffle(items: &mut [usize], random: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        let pick = (random.next_u64() % (last as u64 + 1)) as usize;
        items.swap(last, pick);
    }
}
