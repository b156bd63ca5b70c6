//! The search for the best server against random search: `cargo bench --bench tune`. See the README beside this
//! file.

mod scene;

use std::time::Instant;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use runner::{
    manifest::SearchObjective,
    plan::{Goal, Search},
    search::{Evidence, Probe, decide_best},
};
use scene::{Grid, SCENES, on_all_cores};
use serde_json::Value;

/// Server starts of a search.
const BUDGETS: [u32; 3] = [6, 12, 24];
/// A candidate is good that reaches this share of the best possible objective.
const GOOD: f64 = 0.95;
/// Differences in that share that count as none.
const TIE: f64 = 0.001;

/// What one search came to.
#[derive(Clone, Copy)]
struct Found {
    /// The objective of the server that it chose, as a share of the best possible. 0 if that server misses the
    /// SLO or there is none.
    share: f64,
    /// Starts until a good candidate was tried; one more than allowed if none was.
    starts: f64,
}

/// Means over the seeds of a scene, or over scenes.
#[derive(Clone, Copy, Default)]
struct Compared {
    method: [f64; 2],
    random: [f64; 2],
    wins: f64,
    losses: f64,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is data, the rest is talk")]
fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let seeds = if words.iter().any(|word| word == "--quick") { 4 } else { 20 };
    let noise = if words.iter().any(|word| word == "--exact") { 0.0 } else { 0.03 };
    let only: Vec<&str> = words.iter().filter(|word| !word.starts_with('-')).map(String::as_str).collect();
    let heads = BUDGETS
        .map(|starts| format!(" {starts} starts: method / random, % of the best | wins / losses, % |"));
    println!("| server | combinations | good |{} starts until good, of 24 |", heads.concat());
    println!("|---|---|---|{}---|", "---|---|".repeat(BUDGETS.len()));
    let mut all: Vec<(bool, [Compared; 3])> = Vec::new();
    for scene in
        SCENES.iter().filter(|scene| only.is_empty() || only.iter().any(|word| scene.name.contains(word)))
    {
        let begun = Instant::now();
        let grid = match scene.predict() {
            Ok(grid) => grid,
            Err(error) => {
                eprintln!("{}: {error}", scene.name);
                return std::process::ExitCode::FAILURE;
            }
        };
        let predicted = begun.elapsed();
        let truth = Truth::new(&grid, noise);
        let compared = BUDGETS.map(|starts| truth.compare(starts, seeds, noise));
        let good = truth.shares.iter().filter(|share| **share >= GOOD).count() as f64;
        let size = truth.shares.len();
        println!("| {} | {size} | {:.0} % |{}", scene.name, 100.0 * good / size as f64, columns(&compared));
        eprintln!(
            "{}: predicted in {predicted:.1?}, searched in {:.1?}",
            scene.name,
            begun.elapsed() - predicted
        );
        all.push((scene.held_out, compared));
    }
    for (held_out, name) in [(false, "mean of those seen"), (true, "mean of those held out")] {
        let own: Vec<[Compared; 3]> =
            all.iter().filter(|(own, _)| *own == held_out).map(|(_, compared)| *compared).collect();
        if !own.is_empty() {
            println!(
                "| **{name}** | | |{}",
                columns(&[0, 1, 2].map(|budget| mean(own.iter().map(|own| own[budget]))))
            );
        }
    }
    std::process::ExitCode::SUCCESS
}

fn columns(compared: &[Compared; 3]) -> String {
    let each = compared.map(|own| {
        format!(
            " {:.1} / {:.1} | {:.0} / {:.0} |",
            100.0 * own.method[0],
            100.0 * own.random[0],
            100.0 * own.wins,
            100.0 * own.losses
        )
    });
    format!("{} {:.1} / {:.1} |", each.concat(), compared[2].method[1], compared[2].random[1])
}

fn mean(each: impl Iterator<Item = Compared>) -> Compared {
    let each: Vec<Compared> = each.collect();
    let over = |number: &dyn Fn(&Compared) -> f64| each.iter().map(number).sum::<f64>() / each.len() as f64;
    Compared {
        method: [0, 1].map(|at| over(&|own| own.method[at])),
        random: [0, 1].map(|at| over(&|own| own.random[at])),
        wins: over(&|own| own.wins),
        losses: over(&|own| own.losses),
    }
}

/// What each combination of a scene truly reaches.
struct Truth<'a> {
    search: &'a Search,
    combinations: Vec<(&'a [Value], &'a Evidence)>,
    /// The objective as a share of the best possible; 0 where the server fails or misses the SLO by more than
    /// measurements are uncertain.
    shares: Vec<f64>,
}

impl<'a> Truth<'a> {
    fn new(grid: &'a Grid, noise: f64) -> Self {
        let all = |tolerance: f64| {
            grid.evidence.iter().map(move |(_, evidence)| reached(evidence, &grid.search.goal, tolerance))
        };
        let best = all(0.0).fold(f64::MIN_POSITIVE, f64::max);
        Self {
            search: &grid.search,
            combinations: grid.evidence.iter().map(|(values, evidence)| (&values[..], evidence)).collect(),
            shares: all(noise).map(|reached| (reached / best).min(1.0)).collect(),
        }
    }

    fn compare(&self, starts: u32, seeds: u64, noise: f64) -> Compared {
        let seeds: Vec<u64> = (0..seeds).collect();
        let each = on_all_cores(&seeds, |seed| {
            let (method, random) = (self.method(starts, *seed, noise), self.random(starts, *seed, noise));
            Compared {
                method: [method.share, method.starts],
                random: [random.share, random.starts],
                wins: f64::from(u8::from(method.share > random.share + TIE)),
                losses: f64::from(u8::from(random.share > method.share + TIE)),
            }
        });
        mean(each.into_iter())
    }

    /// The search as a run does it.
    fn method(&self, starts: u32, seed: u64, noise: f64) -> Found {
        let mut search = self.search.clone();
        if let Goal::Best { starts: most, .. } = &mut search.goal {
            *most = starts;
        }
        let mut probes: Vec<Probe> = Vec::new();
        let mut order = Vec::new();
        let answer = loop {
            let decision = decide_best(&search, &probes, seed);
            let Some(next) = decision.next else { break decision.answer };
            let at = self.find(&next.values);
            order.push(at);
            probes.push(Probe {
                values: next.values,
                cells: Vec::new(),
                evidence: measured(self.combinations[at].1, at, seed, noise),
                requests: 0,
                planned: 0,
                server: String::new(),
                started: true,
                ended_early: false,
            });
        };
        self.found(&order, answer.found.map(|values| self.find(&values)), starts)
    }

    /// As many servers, each drawn from those that were not tried.
    fn random(&self, starts: u32, seed: u64, noise: f64) -> Found {
        let mut random = ChaCha8Rng::seed_from_u64(1_000_000 + seed);
        let mut left: Vec<usize> = (0..self.combinations.len()).collect();
        let starts_left = left.len().min(starts as usize);
        let draw = |_| left.swap_remove((random.next_u64() % left.len() as u64) as usize);
        let order: Vec<usize> = (0..starts_left).map(draw).collect();
        let scores = order.iter().map(|at| {
            let measured = measured(self.combinations[*at].1, *at, seed, noise);
            (reached(&measured, &self.search.goal, 0.0), *at)
        });
        let best = scores.filter(|(reached, _)| *reached > 0.0).max_by(|a, b| a.0.total_cmp(&b.0));
        self.found(&order, best.map(|(_, at)| at), starts)
    }

    fn find(&self, values: &[Value]) -> usize {
        let at = self.combinations.iter().position(|(own, _)| *own == values);
        at.expect("a search tries combinations of its own axes")
    }

    fn found(&self, order: &[usize], chosen: Option<usize>, starts: u32) -> Found {
        let good = order.iter().position(|at| self.shares[*at] >= GOOD);
        Found {
            share: chosen.map_or(0.0, |at| self.shares[at]),
            starts: good.map_or(f64::from(starts) + 1.0, |at| at as f64 + 1.0),
        }
    }
}

/// The objective of a server that counts, otherwise 0. Goodput counts anyway; another objective if no term of
/// the SLO is missed by more than `tolerance`, a logarithm.
fn reached(evidence: &Evidence, goal: &Goal, tolerance: f64) -> f64 {
    let is_goodput = matches!(goal, Goal::Best { objective: SearchObjective::Goodput, .. });
    match evidence {
        Evidence::Scored(score)
            if is_goodput || score.slo.as_ref().is_none_or(|ratio| ratio.log <= tolerance) =>
        {
            score.objective.unwrap_or(0.0)
        }
        _ => 0.0,
    }
}

/// What a measurement of a server with this evidence shows: the objective and the distance from the SLO vary
/// independently, with `noise` as the coefficient of variation. A seed measures a combination always alike.
fn measured(evidence: &Evidence, combination: usize, seed: u64, noise: f64) -> Evidence {
    let Evidence::Scored(score) = evidence else { return evidence.clone() };
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(combination as u64);
    let mut uniform = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    // Box and Muller.
    let mut normal = || {
        let radius = (-2.0 * (1.0 - uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * uniform()).cos()
    };
    let mut score = score.clone();
    score.objective = score.objective.map(|objective| objective * (noise * normal()).exp());
    if let Some(ratio) = &mut score.slo {
        ratio.log += noise * normal();
    }
    Evidence::Scored(score)
}
