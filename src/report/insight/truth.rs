//! Grids of which the truth is known: noise around a smooth law must claim nothing, and what was planted must be named.

use std::collections::BTreeMap;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::json;

use super::{Insight, blocks, effect::effects, observe::observations, unstable::unstable};
use crate::{
    manifest::Slo,
    measure::{Latency, Summary},
    report::fixtures,
    store::{CellFile, StoredRun},
};

const LOADS: [u32; 6] = [1, 2, 4, 8, 16, 32];
const LENGTHS: [u32; 3] = [64, 128, 256];

/// How a grid is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noise {
    /// The standard deviation of a request's logarithm.
    pub(super) requests: f64,
    /// The same of a whole repeat: what one run differs from another by.
    pub(super) runs: f64,
    /// Requests of a repeat.
    pub(super) n: usize,
    pub(super) repeats: usize,
    /// Whether only the numbers are told, as another tool would.
    pub(super) reported: bool,
}

/// What one cell truly does, beside the law.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planted {
    /// Factor on all latencies of a cell.
    pub(super) slower: f64,
    /// Factor on the slowest tenth of its requests.
    pub(super) tail: f64,
    /// Factor on one of its repeats.
    pub(super) odd_repeat: f64,
    /// The part of the gaps between tokens that a prompt holds up, six times as long.
    pub(super) held_up: f64,
    /// Whether its answers come whole.
    pub(super) whole: bool,
}

pub(super) const NOTHING: Planted = Planted {
    slower: 1.0,
    tail: 1.0,
    odd_repeat: 1.0,
    held_up: 0.0,
    whole: false,
};

pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn uniform(&mut self) -> f64 {
        (f64::from(self.0.next_u32()) + 0.5) / (f64::from(u32::MAX) + 1.0)
    }

    /// e to a normal number with a standard deviation.
    fn factor(&mut self, deviation: f64) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        (deviation * radius * (std::f64::consts::TAU * self.uniform()).cos()).exp()
    }
}

/// One repeat: a first token after 40 ms, then one each 10 ms, both a hundredth slower for each request in flight.
fn repeat(
    dice: &mut Dice,
    noise: Noise,
    users: u32,
    tokens: u32,
    planted: Planted,
) -> [Vec<f64>; 4] {
    let run = dice.factor(noise.runs) * planted.slower;
    let busy = 1.0 + f64::from(users) / 100.0;
    let (mut ttft, mut tpot, mut e2e) = (Vec::new(), Vec::new(), Vec::new());
    for nth in 0..noise.n {
        let tail = if nth % 10 == 9 { planted.tail } else { 1.0 };
        let first = 40.0 * busy * run * tail * dice.factor(noise.requests);
        let each = 10.0 * busy * run * tail * dice.factor(noise.requests);
        let last = first + each * f64::from(tokens - 1);
        ttft.push(if planted.whole { last } else { first });
        tpot.push(each);
        e2e.push(last);
    }
    let itl = (0..400)
        .map(|nth| {
            let held = if f64::from(nth) < 400.0 * planted.held_up {
                6.0
            } else {
                1.0
            };
            10.0 * busy * run * held * dice.factor(noise.requests)
        })
        .collect();
    [ttft, tpot, e2e, itl]
}

fn summary(users: u32, tokens: u32, samples: [Vec<f64>; 4]) -> Summary {
    let [ttft, tpot, e2e, itl] = samples;
    let mut summary = fixtures::summary(e2e.len() as u64);
    let mean = e2e.iter().sum::<f64>() / e2e.len() as f64;
    summary.throughput_tok_s = Some(f64::from(users) * f64::from(tokens) / mean * 1e3);
    summary.ttft = Latency::of(ttft);
    summary.tpot = Latency::of(tpot);
    summary.e2e = Latency::of(e2e);
    summary.itl = Latency::of(itl);
    summary
}

pub(super) fn cell(
    dice: &mut Dice,
    noise: Noise,
    id: &str,
    at: (u32, u32),
    planted: Planted,
) -> CellFile {
    let (users, tokens) = at;
    let mut cell = fixtures::cell(id, "qwen-1", users, tokens, &Slo::default());
    let samples: Vec<[Vec<f64>; 4]> = (0..noise.repeats)
        .map(|nth| {
            let odd = if nth == 0 { planted.odd_repeat } else { 1.0 };
            let own = Planted {
                slower: planted.slower * odd,
                ..planted
            };
            repeat(dice, noise, users, tokens, own)
        })
        .collect();
    let pooled = samples.iter().cloned().reduce(|mut all, one| {
        for (all, one) in all.iter_mut().zip(one) {
            all.extend(one);
        }
        all
    });
    let pooled = summary(users, tokens, pooled.unwrap());
    let repeats = samples
        .into_iter()
        .map(|samples| summary(users, tokens, samples))
        .collect();
    if noise.reported {
        let latencies = [("ttft", &pooled.ttft), ("e2e", &pooled.e2e)];
        for (name, latency) in latencies {
            let latency = latency.as_ref().unwrap();
            cell.reported
                .insert(format!("p50_{name}_ms"), latency.p50_ms);
            cell.reported
                .insert(format!("p95_{name}_ms"), latency.p95_ms);
        }
        cell.reported
            .insert("throughput_tok_s".into(), pooled.throughput_tok_s.unwrap());
    } else {
        cell.summary = Some(pooled);
        if noise.repeats > 1 {
            cell.repeats = repeats;
        }
    }
    cell
}

/// A grid of loads and lengths, on one or two servers; `plant` says what a cell does beside the law.
fn grid(
    seed: u64,
    noise: Noise,
    servers: &[bool],
    plant: impl Fn(bool, u32, u32) -> Planted,
) -> StoredRun {
    let mut dice = Dice::new(seed);
    let mut run = fixtures::empty();
    if servers.len() > 1 {
        run.plan.server_axes = vec!["enable-prefix-caching".into()];
    }
    for on in servers {
        let axes = match servers.len() {
            1 => BTreeMap::new(),
            _ => BTreeMap::from([("enable-prefix-caching".to_owned(), json!(on))]),
        };
        let server = format!("qwen-{on}");
        let mut cells = Vec::new();
        for users in LOADS {
            for tokens in LENGTHS {
                let id = format!("chat-c{users}-t{tokens}-{on}");
                let mut own = cell(
                    &mut dice,
                    noise,
                    &id,
                    (users, tokens),
                    plant(*on, users, tokens),
                );
                own.server.clone_from(&server);
                own.axes.extend(axes.clone());
                cells.push(own);
            }
        }
        fixtures::add(&mut run, &server, axes, "ready", cells);
    }
    run
}

/// What must not be said of a smooth law.
const CLAIMS: [&str; 10] = [
    "knee",
    "ridge",
    "tail_ridge",
    "cliff",
    "dip",
    "falls",
    "repeats_disagree",
    "two_humped_itl",
    "output_costs",
    "effect",
];

fn claims(run: &StoredRun) -> Vec<Insight> {
    let blocks = blocks(run);
    let mut found: Vec<Insight> = blocks
        .iter()
        .flat_map(|block| [observations(block, None), unstable(block)].concat())
        .collect();
    let effects = effects(run, &blocks, "chat");
    found.extend(
        effects
            .into_iter()
            .filter(|effect| effect.numbers["strength"].as_f64() > Some(0.0)),
    );
    found.retain(|insight| CLAIMS.contains(&insight.kind));
    found
}

/// Grids of each kind of noise.
const TIMES: u64 = 10;

/// The part of grids of pure noise, each 36 cells on two servers, in which anything at all is claimed.
fn false_alarms(noise: Noise) -> (f64, Vec<String>) {
    let mut hurt = 0;
    let mut said = Vec::new();
    for seed in 0..TIMES {
        let run = grid(seed, noise, &[false, true], |_, _, _| NOTHING);
        let found = claims(&run);
        hurt += usize::from(!found.is_empty());
        said.extend(found.into_iter().map(|claim| claim.text));
    }
    (hurt as f64 / TIMES as f64, said)
}

/// Noise of requests, repeats of 16 to 200 of them, with samples or without.
fn noises(runs: f64) -> Vec<Noise> {
    let mut all = Vec::new();
    for requests in [0.02, 0.1, 0.3] {
        for (n, repeats, reported) in [
            (16, 1, false),
            (200, 1, false),
            (16, 3, false),
            (100, 3, false),
            (200, 1, true),
        ] {
            all.push(Noise {
                requests,
                runs,
                n,
                repeats,
                reported,
            });
        }
    }
    all
}

#[test]
fn noise_around_a_smooth_law_claims_nothing() {
    // What one run differs from another by, and the part of the grids of one kind of noise, and of all, that may claim something.
    for (runs, most, usual) in [(0.0, 0.1, 0.02), (0.02, 0.2, 0.04), (0.05, 0.4, 0.12)] {
        let mut all = Vec::new();
        for noise in noises(runs) {
            let (part, said) = false_alarms(noise);
            assert!(
                part <= most,
                "{noise:?}: {part} of the grids claim something: {said:#?}"
            );
            all.push(part);
        }
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        assert!(mean <= usual, "{runs}: {all:?}");
    }
}

/// Usual noise: requests a twentieth apart, runs a hundredth.
pub(super) const USUAL: Noise = Noise {
    requests: 0.05,
    runs: 0.01,
    n: 64,
    repeats: 3,
    reported: false,
};

/// What is said of a grid with something planted in one of its cells, in one measured once, and in one of which only numbers are told.
fn said(plant: impl Fn(u32, u32) -> Planted + Copy, kind: &str) -> Vec<Vec<Insight>> {
    let once = Noise {
        repeats: 1,
        ..USUAL
    };
    let reported = Noise {
        reported: true,
        ..once
    };
    [USUAL, once, reported]
        .into_iter()
        .map(|noise| {
            let run = grid(7, noise, &[false], |_, users, tokens| plant(users, tokens));
            let blocks = blocks(&run);
            let block = &blocks[0];
            let mut all = [observations(block, None), unstable(block)].concat();
            all.retain(|insight| insight.kind == kind);
            all
        })
        .collect()
}

#[test]
fn a_planted_ridge_is_named_on_its_axis_with_its_size() {
    let at = |place: (u32, u32), slower: f64| {
        move |users: u32, tokens: u32| match (users, tokens) == place {
            true => Planted { slower, ..NOTHING },
            false => NOTHING,
        }
    };
    for ridges in said(at((8, 128), 1.8), "ridge") {
        assert_eq!(ridges.len(), 1, "{ridges:?}");
        let (text, jump) = (&ridges[0].text, ridges[0].numbers["jump"].as_f64().unwrap());
        assert!(
            text.starts_with("Ridge along concurrency: p95 E2E"),
            "{text}"
        );
        assert!(text.contains("concurrency 8, max_tokens 128"), "{text}");
        // 1.8 times itself, over a neighbour that is (1.16 / 1.08) slower by the law.
        assert!((jump - 1.8 * 1.08 / 1.16).abs() < 0.1, "{jump}");
    }
    for ridges in said(at((4, 128), 5.0), "ridge") {
        let along = |axis: &str| {
            let start = format!("Ridge along {axis}: p95 E2E");
            ridges.iter().any(|ridge| ridge.text.starts_with(&start))
        };
        assert!(along("concurrency"), "{ridges:?}");
        assert_eq!(ridges.len(), 1, "one sentence a cell: {ridges:?}");
    }
}

#[test]
fn a_planted_tail_is_a_jitter_ridge() {
    let plant = |users: u32, tokens: u32| match (users, tokens) == (16, 64) {
        true => Planted {
            tail: 1.5,
            ..NOTHING
        },
        false => NOTHING,
    };
    for found in said(plant, "tail_ridge").into_iter().take(2) {
        assert!(!found.is_empty());
        let text = &found[0].text;
        assert!(text.contains("concurrency 16, max_tokens 64"), "{text}");
    }
}

#[test]
fn a_planted_repeat_that_disagrees_is_named() {
    let plant = |users: u32, tokens: u32| match (users, tokens) == (2, 256) {
        true => Planted {
            odd_repeat: 1.4,
            ..NOTHING
        },
        false => NOTHING,
    };
    let found = &said(plant, "repeats_disagree")[0];
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].text.contains("concurrency 2, max_tokens 256"));
    let spread = found[0].numbers["spread"].as_f64().unwrap();
    assert!((spread - 0.4).abs() < 0.08, "{spread}");
}

#[test]
fn planted_gaps_between_tokens_are_two_humps_and_stalls() {
    let plant = |_: u32, _: u32| Planted {
        held_up: 0.12,
        ..NOTHING
    };
    let found = &said(plant, "two_humped_itl")[0];
    let part = found[0].numbers["part_above"].as_f64().unwrap();
    assert!((part - 0.12).abs() < 0.02, "{found:?}");
    let stalls = &said(plant, "stalls")[1];
    let ratio = stalls[0].numbers["ratio"].as_f64().unwrap();
    assert!((ratio - 6.0).abs() < 1.0, "{stalls:?}");
}

#[test]
fn answers_that_came_whole_are_told_once_and_nothing_is_made_of_their_ttft() {
    let plant = |_: u32, _: u32| Planted {
        whole: true,
        ..NOTHING
    };
    let found = &said(plant, "not_streamed")[0];
    assert!(
        found[0].text.starts_with("TTFT equals E2E in 18 of 18"),
        "{found:?}"
    );
    assert_eq!(said(plant, "ttft_growth")[0], []);
}

#[test]
fn a_planted_effect_of_a_server_axis_is_told_with_its_size() {
    for noise in [
        USUAL,
        Noise {
            repeats: 1,
            n: 16,
            ..USUAL
        },
    ] {
        let run = grid(3, noise, &[false, true], |on, _, _| Planted {
            slower: if on { 0.8 } else { 1.0 },
            ..NOTHING
        });
        let found = effects(&run, &blocks(&run), "chat");
        let ratio = found[0].numbers["throughput_ratio"].as_f64().unwrap();
        assert!((ratio - 1.25).abs() < 0.05, "{found:?}");
        assert!(found[0].text.contains("throughput is 1.2"), "{found:?}");
    }
}
