//! An axis of numbers of which the truth is known: noise must claim nothing, and what was planted must be told with its size.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    Insight, blocks,
    effect::effects,
    truth::{Dice, NOTHING, Noise, Planted, USUAL, cell},
};
use crate::{report::fixtures, store::StoredRun};

const AXIS: &str = "max-num-batched-tokens";

/// One server for each factor on its latencies, asked for these loads.
fn grid(seed: u64, noise: Noise, factors: &[f64], loads: &[u32]) -> StoredRun {
    let mut dice = Dice::new(seed);
    let mut run = fixtures::empty();
    run.plan.server_axes = vec![AXIS.into()];
    for (value, slower) in factors.iter().enumerate() {
        let axes = BTreeMap::from([(AXIS.to_owned(), json!(1024 << value))]);
        let server = format!("qwen-{value}");
        let planted = Planted {
            slower: *slower,
            ..NOTHING
        };
        let cells = loads
            .iter()
            .map(|users| {
                let id = format!("chat-c{users}-{value}");
                let mut own = cell(&mut dice, noise, &id, (*users, 128), planted);
                own.server.clone_from(&server);
                own.axes.extend(axes.clone());
                own
            })
            .collect();
        fixtures::add(&mut run, &server, axes, "ready", cells);
    }
    run
}

fn told(run: &StoredRun) -> Insight {
    effects(run, &blocks(run), "chat").remove(0)
}

/// The same cells as another tool would tell them, once each.
const TOLD: Noise = Noise {
    repeats: 1,
    reported: true,
    ..USUAL
};

#[test]
fn noise_along_numbers_claims_nothing() {
    const TIMES: u64 = 20;
    for (runs, most) in [(0.0, 0.0), (0.02, 0.05), (0.05, 0.35)] {
        for noise in [USUAL, TOLD] {
            for loads in [&[8][..], &[1, 2, 4, 8, 16, 32][..]] {
                let noise = Noise { runs, ..noise };
                let claims: Vec<String> = (0..TIMES)
                    .map(|seed| told(&grid(seed, noise, &[1.0; 6], loads)))
                    .filter(|effect| effect.numbers["strength"].as_f64() > Some(0.0))
                    .map(|effect| effect.text)
                    .collect();
                let part = claims.len() as f64 / TIMES as f64;
                assert!(part <= most, "{noise:?} {loads:?}: {part}: {claims:#?}");
            }
        }
    }
}

#[test]
fn a_best_value_inside_of_the_range_is_told_with_both_sides_of_it() {
    for noise in [USUAL, TOLD] {
        for loads in [&[8][..], &[1, 4, 16][..]] {
            let effect = told(&grid(5, noise, &[1.0, 0.8, 0.6, 0.7, 0.85, 0.95], loads));
            let text = &effect.text;
            assert!(
                text.starts_with("max-num-batched-tokens from 1024 to 32768, all else equal"),
                "{text}"
            );
            assert!(
                text.contains("highest at 4096; at 32768 it is 0.6"),
                "{text}"
            );
            let strength = effect.numbers["strength"].as_f64().unwrap();
            // Latencies are a little further apart than throughput, which has no samples of its own.
            assert!((strength - (1.0_f64 / 0.6).ln()).abs() < 0.1, "{strength}");
        }
    }
}

#[test]
fn the_step_that_carries_it_is_told_and_that_nothing_comes_after() {
    for noise in [USUAL, TOLD] {
        let effect = told(&grid(5, noise, &[1.0, 1.0, 0.6, 0.6, 0.6], &[1, 4, 16]));
        let text = &effect.text;
        assert!(
            text.contains("most of it on the step from 2048 to 4096 (1.6"),
            "{text}"
        );
        assert!(text.contains("hardly any more beyond 4096"), "{text}");
    }
}
