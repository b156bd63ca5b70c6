//! Compares every finding with a known law: grids are drawn at random, measured with noise, and read. Every
//! finding must agree with the law, and every effect that the noise leaves visible must be found.
//!
//! `cargo test --lib laws -- --nocapture` prints the table; `RUNNER_TEST_SEED` draws other grids.

mod dice;
mod draw;
mod effect;
mod law;
mod load;
mod sample;
mod stability;
mod table;
mod truth;

use std::{collections::BTreeMap, env};

use self::{
    dice::Dice,
    draw::{Drawn, Scene, draw},
    table::Table,
    truth::{Case, check, is_held, kinds, wanted},
};
use super::{finding::findings, model::Model};
use crate::store::StoredRun;

/// Standard deviations of the logarithm of a run's latency.
const NOISES: [f64; 4] = [0.0, 0.02, 0.05, 0.1];
/// The number of grids for each scene and noise: a thousand in all.
const TIMES: usize = 10;
/// The seed of the grids that are always drawn.
const SEED: u64 = 20_260_101;
/// The part of all findings that may be false, and of visible effects that may be missed.
const MOST_FALSE: f64 = 0.01;
const MOST_MISSED: f64 = 0.05;
/// The number of examples that are printed for each kind of mistake.
const SHOWN: usize = 3;

/// A run of each scene, with a little noise.
pub(crate) fn one_of_each_scene() -> impl Iterator<Item = StoredRun> {
    Scene::ALL.into_iter().zip(SEED..).map(|(scene, seed)| draw(scene, NOISES[1], seed).run)
}

/// The mistakes by kind, with examples.
type Mistakes = BTreeMap<String, (usize, Vec<String>)>;

fn note(mistakes: &mut Mistakes, kind: String, example: impl FnOnce() -> String) {
    let (count, shown) = mistakes.entry(kind).or_default();
    *count += 1;
    if shown.len() < SHOWN {
        shown.push(example());
    }
}

fn hold(drawn: &Drawn, table: &mut Table, mistakes: &mut Mistakes) {
    let model = Model::with(&drawn.run, drawn.answers.clone());
    let case = Case { drawn, model: &model };
    let said: Vec<_> = findings(&model).into_iter().filter(is_held).collect();
    let place = || format!("{:?} {:?} {:?}", drawn.scene, drawn.measured, drawn.law.shape);
    let mut wrong = 0;
    for finding in &said {
        if let Err(why) = check(&case, finding) {
            wrong += 1;
            note(mistakes, format!("false {}", finding.kind.name()), || format!("{why} ({})", place()));
        }
    }
    let wanted = wanted(&case, &said);
    for own in wanted.iter().filter(|own| own.is_visible && !own.is_found) {
        note(mistakes, format!("missed {}", own.what), || format!("{:?} ({})", kinds(&said), place()));
    }
    table.row(drawn.scene, drawn.measured.noise).add(said.len(), wrong, &wanted);
}

#[test]
#[expect(clippy::print_stdout, reason = "the table is what the command is for")]
fn findings_are_what_the_law_is() {
    let seed = env::var("RUNNER_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    let mut seeds = Dice::new(seed);
    let (mut table, mut mistakes) = (Table::default(), Mistakes::new());
    for scene in Scene::ALL {
        for noise in NOISES {
            for _ in 0..TIMES {
                let drawn = draw(scene, noise, (seeds.uniform() * 1e15) as u64);
                hold(&drawn, &mut table, &mut mistakes);
            }
        }
    }
    println!("{table}");
    for (kind, (count, examples)) in &mistakes {
        println!("{count} {kind}");
        for example in examples {
            println!("    {example}");
        }
    }
    let all = table.sum(|_, _| true);
    assert!(all.false_part() <= MOST_FALSE, "{all:?}");
    assert!(all.missed_part() <= MOST_MISSED, "{all:?}");
}
