//! Grids of which the truth is known: noise around a smooth law claims nothing, and what was planted is
//! found.

use std::collections::BTreeMap;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::{super::*, RULES};
use crate::{
    manifest::Slo,
    measure::{Latency, Metric, Precision, Severity, Summary, Verdict, VerdictKind},
    report::fixtures,
    store::{CellFile, StoredRun},
};

const LOADS: [u32; 6] = [1, 2, 4, 8, 16, 32];
const LENGTHS: [u32; 3] = [64, 128, 256];

/// How a grid is measured.
#[derive(Clone, Copy, Debug)]
struct Measured {
    /// The standard deviation of a whole repeat's logarithm.
    runs: f64,
    /// The same of a request's.
    requests: f64,
    n: usize,
    repeats: usize,
    /// Whether only the numbers are told, as another tool would.
    reported: bool,
}

const ONCE: Measured = Measured { runs: 0.01, requests: 0.05, n: 200, repeats: 1, reported: false };
const THRICE: Measured = Measured { repeats: 3, n: 64, ..ONCE };

/// What one cell truly does, beside the law.
#[derive(Clone, Copy)]
struct Planted {
    /// Factor on all its latencies.
    slower: f64,
    /// Factor on the slowest tenth of its requests.
    tail: f64,
    /// Factor on one of its repeats.
    odd_repeat: f64,
    /// The part of the gaps between tokens that are six times as long.
    held_up: f64,
}

const NOTHING: Planted = Planted { slower: 1.0, tail: 1.0, odd_repeat: 1.0, held_up: 0.0 };

struct Dice(ChaCha8Rng);

impl Dice {
    fn uniform(&mut self) -> f64 {
        (f64::from(self.0.next_u32()) + 0.5) / (f64::from(u32::MAX) + 1.0)
    }

    /// e to a normal number with a standard deviation.
    fn factor(&mut self, deviation: f64) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        (deviation * radius * (std::f64::consts::TAU * self.uniform()).cos()).exp()
    }
}

/// TTFT, E2E and ITL of one repeat: a first token after 40 ms, then one each 10 ms, both a hundredth slower
/// for each user.
fn repeat(dice: &mut Dice, own: Measured, (users, tokens): (u32, u32), planted: Planted) -> [Vec<f64>; 3] {
    let busy = (1.0 + f64::from(users) / 100.0) * dice.factor(own.runs) * planted.slower;
    let (mut ttft, mut e2e) = (Vec::new(), Vec::new());
    for nth in 0..own.n {
        let slow = busy * if nth % 10 == 9 { planted.tail } else { 1.0 };
        let first = 40.0 * slow * dice.factor(own.requests);
        ttft.push(first);
        e2e.push(first + 10.0 * slow * dice.factor(own.requests) * f64::from(tokens - 1));
    }
    let held = |nth: u32| if f64::from(nth) < 400.0 * planted.held_up { 6.0 } else { 1.0 };
    let itl = (0..400).map(|nth| 10.0 * busy * held(nth) * dice.factor(own.requests)).collect();
    [ttft, e2e, itl]
}

fn summary((users, tokens): (u32, u32), [ttft, e2e, itl]: [Vec<f64>; 3]) -> Summary {
    let mean = e2e.iter().sum::<f64>() / e2e.len() as f64;
    let mut summary = fixtures::summary(e2e.len() as u64);
    summary.throughput_tok_s = Some(f64::from(users) * f64::from(tokens) / mean * 1e3);
    (summary.ttft, summary.e2e, summary.itl) = (Latency::of(ttft), Latency::of(e2e), Latency::of(itl));
    summary
}

fn cell(dice: &mut Dice, own: Measured, at: (u32, u32), planted: Planted) -> CellFile {
    let mut cell =
        fixtures::cell(&format!("chat-c{}-t{}", at.0, at.1), "qwen-1", at.0, at.1, &Slo::default());
    let samples: Vec<[Vec<f64>; 3]> = (0..own.repeats)
        .map(|nth| {
            let odd = if nth == 0 { planted.odd_repeat } else { 1.0 };
            repeat(dice, own, at, Planted { slower: planted.slower * odd, ..planted })
        })
        .collect();
    let pooled = summary(at, [0, 1, 2].map(|nth| samples.iter().flat_map(|all| all[nth].clone()).collect()));
    if own.reported {
        for metric in [Metric::P50_TTFT, Metric::P95_TTFT, Metric::P50_E2E, Metric::P95_E2E, Metric::OUTPUT] {
            cell.reported.insert(metric.column(), metric.of(&pooled).unwrap());
        }
        return cell;
    }
    cell.summary = Some(pooled);
    if own.repeats > 1 {
        cell.repeats = samples.into_iter().map(|samples| summary(at, samples)).collect();
    }
    cell
}

/// A run of one server with these cells.
fn run(cells: Vec<CellFile>) -> StoredRun {
    let mut run = fixtures::empty();
    fixtures::add(&mut run, "qwen-1", BTreeMap::new(), "ready", cells);
    run
}

fn grid(seed: u64, own: Measured, plant: impl Fn(u32, u32) -> Planted) -> StoredRun {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    let places = LOADS.iter().flat_map(|users| LENGTHS.map(|tokens| (*users, tokens)));
    run(places.map(|at| cell(&mut dice, own, at, plant(at.0, at.1))).collect())
}

/// A line along concurrency: users, p50 and p95 E2E, throughput.
fn line(points: &[(u32, f64, f64, f64)], n: u64) -> StoredRun {
    let cells = points.iter().map(|(users, p50, p95, rate)| {
        let mut cell = fixtures::cell(&format!("chat-c{users}"), "qwen-1", *users, 64, &Slo::default());
        let mut summary = fixtures::summary(n);
        summary.e2e = Some(fixtures::latency(n, *p50, *p95));
        summary.ttft = Some(fixtures::latency(n, 50.0, 55.0));
        summary.throughput_tok_s = Some(*rate);
        cell.summary = Some(summary);
        cell
    });
    run(cells.collect())
}

/// What the rules find, with the ids of its cells.
fn found(run: &StoredRun) -> Vec<(Finding, Vec<String>)> {
    let model = Model::of(run);
    let all = RULES.iter().flat_map(|rule| rule.apply(&model));
    all.map(|own| {
        let ids = own.cells.iter().map(|at| model.cells[*at].id().to_owned()).collect();
        (own, ids)
    })
    .collect()
}

fn of_kind(run: &StoredRun, kind: Kind) -> Vec<(Finding, Vec<String>)> {
    found(run).into_iter().filter(|(own, _)| own.kind == kind).collect()
}

/// A number of the evidence.
fn value(finding: &Finding, name: &str) -> f64 {
    finding.facts.value(name).unwrap_or_else(|| panic!("{name}: {finding:?}"))
}

fn name(finding: &Finding, name: &str) -> String {
    match finding.facts.get(name) {
        Some(Fact::Name(text)) => text.clone(),
        other => panic!("{name}: {other:?}"),
    }
}

fn near(value: f64, wanted: f64, within: f64) {
    assert!((value / wanted - 1.0).abs() < within, "{value}, not {wanted}");
}

/// A verdict on some metrics of a cell, or on all of it.
fn against(kind: VerdictKind, severity: Severity, touches: &[&str]) -> Verdict {
    let touches = touches.iter().map(|name| (*name).to_owned()).collect();
    Verdict { kind, severity, touches, reason: "a reason".into(), hint: String::new() }
}

/// Whether a finding on a smooth law would be false.
fn is_claim(kind: Kind) -> bool {
    !matches!(kind, Kind::Noise | Kind::Tail)
}

#[test]
fn noise_around_a_smooth_law_claims_nothing() {
    for runs in [0.0, 0.02, 0.05, 0.1] {
        for own in [ONCE, THRICE, Measured { reported: true, ..ONCE }] {
            let own = Measured { runs, ..own };
            let seeds = if own.repeats == 1 && runs == 0.05 { 50 } else { 8 };
            for seed in 0..seeds {
                let mut all = found(&grid(seed, own, |_, _| NOTHING));
                all.retain(|(own, _)| is_claim(own.kind));
                assert!(all.is_empty(), "{own:?}, seed {seed}: {all:#?}");
            }
        }
    }
}

/// Loads of a long line: most of its cells tell the noise, whatever is planted in one of them.
const LONG: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// A long line with these medians of E2E; its throughput grows with the load.
fn of_medians(medians: [f64; 9]) -> StoredRun {
    let points: Vec<(u32, f64, f64, f64)> = LONG
        .iter()
        .zip(medians)
        .map(|(users, p50)| (*users, p50, 1.1 * p50, f64::from(*users) * 50.0))
        .collect();
    line(&points, 200)
}

/// The only finding of a kind.
fn only(run: &StoredRun, kind: Kind) -> (Finding, Vec<String>) {
    let mut all = of_kind(run, kind);
    assert_eq!(all.len(), 1, "{kind:?}: {all:#?}");
    all.remove(0)
}

/// Something planted in one cell of a grid.
fn at(place: (u32, u32), planted: Planted) -> impl Fn(u32, u32) -> Planted {
    move |users, tokens| if (users, tokens) == place { planted } else { NOTHING }
}

fn ridge(value: f64) -> StoredRun {
    let mut medians = [1000.0; 9];
    medians[4] = value;
    of_medians(medians)
}

#[test]
fn a_planted_ridge_is_found_at_its_cell_with_its_jump() {
    for (own, slower) in [(ONCE, 1.8), (THRICE, 1.5), (Measured { reported: true, ..ONCE }, 1.8)] {
        let run = grid(7, own, at((8, 128), Planted { slower, ..NOTHING }));
        let (found, ids) = only(&run, Kind::Ridge);
        assert_eq!(ids, ["chat-c8-t128"]);
        // The first token of cells with longer answers comes as early; along the load the law is slower
        // itself.
        assert_eq!(name(&found, "axis"), "max_tokens");
        near(value(&found, "jump"), slower, 0.06);
        assert_eq!(of_kind(&run, Kind::Cliff), []);
        assert_eq!(of_kind(&run, Kind::Falls), []);
    }
    let (found, ids) = only(&ridge(2000.0), Kind::Ridge);
    assert_eq!((ids, name(&found, "metric")), (vec!["chat-c16".to_owned()], "p95 E2E".to_owned()));
    for (name, wanted) in
        [("value", 2200.0), ("before", 1100.0), ("after", 1100.0), ("jump", 2.0), ("samples", 200.0)]
    {
        near(value(&found, name), wanted, 1e-9);
    }
}

#[test]
fn a_ridge_rests_on_nothing_that_a_verdict_excludes() {
    let mut run = ridge(2000.0);
    run.cells[4].verdicts.push(against(VerdictKind::FewSamples, Severity::Metric, &["p95_e2e", "p99_e2e"]));
    assert_eq!(name(&only(&run, Kind::Ridge).0, "metric"), "p50 E2E");
    run.cells[4].verdicts.push(against(VerdictKind::Errors, Severity::Cell, &[]));
    assert_eq!(of_kind(&run, Kind::Ridge), []);
}

#[test]
fn a_planted_tail_is_a_tail_ridge() {
    let run = grid(7, THRICE, at((16, 128), Planted { tail: 1.8, ..NOTHING }));
    let (found, ids) = only(&run, Kind::TailRidge);
    assert_eq!(ids, ["chat-c16-t128"]);
    near(value(&found, "value"), 1.8, 0.1);
    near(
        value(&found, "value") / value(&found, "before").max(value(&found, "after")),
        value(&found, "jump"),
        1e-9,
    );
}

#[test]
fn a_latency_that_takes_off_is_one_cliff_and_one_in_proportion_to_the_load_is_none() {
    let far = [1e3, 1e3, 1e3, 1e3, 1e3, 9e3, 41e3, 42e3, 43e3];
    let (found, ids) = only(&of_medians(far), Kind::Cliff);
    assert_eq!(ids, ["chat-c16", "chat-c64"]);
    for (name, wanted) in [("from_load", 16.0), ("to_load", 64.0), ("jump", 41.0), ("load_ratio", 4.0)] {
        near(value(&found, name), wanted, 1e-9);
    }
    let closed = LONG.map(|users| 1000.0 * f64::from(users));
    let late = LONG.map(|users| 1000.0 * f64::from(users).max(8.0) / 8.0);
    for run in [of_medians(closed), of_medians(late), ridge(9000.0)] {
        assert_eq!(of_kind(&run, Kind::Cliff), []);
    }
    let small: Vec<(u32, f64, f64, f64)> =
        (20..30).map(|users| (users, f64::from(users) * 50.0, f64::from(users) * 60.0, 500.0)).collect();
    assert_eq!(of_kind(&line(&small, 200), Kind::Cliff), []);
}

fn dip(run: f64) -> StoredRun {
    let points =
        LONG.map(|users| (users, 1e3, 1.1e3, f64::from(users) * if users == 16 { run } else { 50.0 }));
    line(&points, 200)
}

#[test]
fn throughput_below_both_neighbours_is_a_dip() {
    let (found, ids) = only(&dip(12.5), Kind::Dip);
    assert_eq!(ids, ["chat-c16"]);
    near(value(&found, "value"), 200.0, 1e-9);
    near(value(&found, "ratio"), 0.5, 1e-9);
    assert_eq!(of_kind(&dip(24.0), Kind::Dip), [], "little below one neighbour");
}

fn falling() -> StoredRun {
    let mut run = of_medians([1e3, 1e3, 1e3, 1e3, 1e3, 4e2, 4e2, 4e2, 4e2]);
    for (nth, cell) in run.cells.iter_mut().enumerate() {
        cell.summary.as_mut().unwrap().output_tokens = Some(200 * if nth < 5 { 64 } else { 24 });
    }
    run
}

#[test]
fn requests_that_are_quicker_with_more_load_are_found_with_their_answers() {
    let (found, ids) = only(&falling(), Kind::Falls);
    assert_eq!(ids, ["chat-c16", "chat-c32"]);
    for (name, wanted) in [("ratio", 0.4), ("from_tokens", 64.0), ("to_tokens", 24.0)] {
        near(value(&found, name), wanted, 1e-9);
    }
    assert_eq!(name(&found, "why"), "shorter_answers");
    assert_eq!(of_kind(&ridge(9000.0), Kind::Falls), [], "the other side of a ridge");
}

fn odd_repeat() -> StoredRun {
    grid(7, THRICE, at((2, 256), Planted { odd_repeat: 1.4, ..NOTHING }))
}

#[test]
fn a_planted_repeat_that_disagrees_is_found() {
    let mut run = odd_repeat();
    let at = run.cells.iter().position(|cell| cell.id == "chat-c2-t256").unwrap();
    let verdicts = [
        None,
        // What excludes the numbers is what is to be told.
        Some(against(VerdictKind::RepeatsDisagree, Severity::Metric, &["throughput", "e2e"])),
    ];
    for verdict in verdicts {
        run.cells[at].verdicts.extend(verdict);
        let (found, ids) = only(&run, Kind::RepeatsDisagree);
        // One odd repeat is neither a ridge nor a tail.
        let mut others = self::found(&run);
        others.retain(|(own, _)| is_claim(own.kind) && own.kind != Kind::RepeatsDisagree);
        assert_eq!(others, []);
        assert_eq!(ids, ["chat-c2-t256"]);
        near(1.0 + value(&found, "spread"), 1.4, 0.06);
        near(value(&found, "repeats"), 3.0, 1e-9);
    }
    run.cells[at].verdicts.push(against(VerdictKind::Errors, Severity::Cell, &[]));
    assert_eq!(of_kind(&run, Kind::RepeatsDisagree), []);
    // In an open loop throughput is what arrives.
    let mut open = grid(7, THRICE, |_, _| NOTHING);
    open.plan.load_axes = vec!["rate".into(), "max_tokens".into()];
    for cell in &mut open.cells {
        for axes in [&mut cell.axes, &mut cell.load] {
            let users = axes.remove("concurrency").unwrap();
            axes.insert("rate".into(), users);
        }
    }
    open.cells[4].repeats[0].throughput_tok_s = Some(1e3);
    assert_eq!(of_kind(&open, Kind::RepeatsDisagree), []);
    assert_eq!(name(&only(&open, Kind::Noise).0, "metric"), "p50 E2E");
    let (noise, ids) = only(&grid(7, THRICE, |_, _| NOTHING), Kind::Noise);
    assert_eq!(ids.len(), 18);
    assert!(value(&noise, "usual") > 0.0 && value(&noise, "usual") < 0.05, "{noise:?}");
    assert!(value(&noise, "most") >= value(&noise, "usual"));
}

fn held_up() -> StoredRun {
    grid(7, THRICE, |_, _| Planted { held_up: 0.12, ..NOTHING })
}

#[test]
fn planted_gaps_between_tokens_are_bimodal_and_stall() {
    let mut run = held_up();
    let (found, ids) = only(&run, Kind::BimodalItl);
    assert_eq!(ids.len(), 18);
    near(value(&found, "above"), 0.12, 0.02);
    near(value(&found, "ratio"), 6.0, 0.15);
    let (stalls, ids) = only(&run, Kind::Stalls);
    assert_eq!(ids.len(), 18);
    near(value(&stalls, "ratio"), 6.0, 0.15);
    for cell in &mut run.cells {
        cell.verdicts.push(against(VerdictKind::TokenCounts, Severity::Metric, &["itl"]));
    }
    assert_eq!(of_kind(&run, Kind::BimodalItl), []);
    assert_eq!(of_kind(&run, Kind::Stalls), []);
}

fn long_tails(other: f64) -> StoredRun {
    grid(7, THRICE, move |users, tokens| match (users, tokens) {
        (4, 128) => Planted { tail: 3.0, ..NOTHING },
        (32, 64) => Planted { tail: other, ..NOTHING },
        _ => NOTHING,
    })
}

#[test]
fn long_tails_are_one_finding_and_ties_are_ties() {
    for (other, tied) in [(1.5, 1.0), (3.0, 2.0)] {
        let run = long_tails(other);
        let (found, ids) = only(&run, Kind::LongTail);
        assert_eq!(ids, ["chat-c4-t128", "chat-c32-t64"]);
        near(value(&found, "ratio"), 3.0, 0.1);
        near(value(&found, "least"), other, 0.1);
        near(value(&found, "tied"), tied, 1e-9);
        near(value(&found, "of"), 18.0, 1e-9);
        assert_eq!(of_kind(&run, Kind::Tail), []);
    }
}

#[test]
fn short_tails_take_samples() {
    let points = LONG.map(|users| (users, 1e3, 1.1e3, f64::from(users) * 50.0));
    let (found, ids) = only(&line(&points, 200), Kind::Tail);
    assert_eq!(ids.len(), 9);
    near(value(&found, "ratio"), 1.1, 1e-9);
    assert_eq!(of_kind(&line(&points, 1), Kind::Tail), []);
    assert_eq!(of_kind(&line(&points, 129), Kind::Tail), []);
    let told = grid(7, Measured { reported: true, ..ONCE }, |_, _| NOTHING);
    assert_eq!(only(&told, Kind::Tail).1.len(), 18);
}

fn unsteady() -> StoredRun {
    let mut run = of_medians([1e3; 9]);
    for nth in [2, 3, 5] {
        run.cells[nth].verdicts.push(against(VerdictKind::NotSteady, Severity::Note, &[]));
    }
    run.cells[5].verdicts.push(against(VerdictKind::Errors, Severity::Cell, &[]));
    run
}

#[test]
fn cells_that_are_not_steady_are_one_finding() {
    let (found, ids) = only(&unsteady(), Kind::NotSteady);
    assert_eq!(ids, ["chat-c4", "chat-c8"]);
    near(value(&found, "of"), 8.0, 1e-9);
    assert_eq!(name(&found, "reason"), "a reason");
}

/// Cells that were measured until an interval was narrow: the one at 32 users in vain.
fn repeated() -> StoredRun {
    let mut run = of_medians([1e3; 9]);
    for (nth, cell) in run.cells.iter_mut().enumerate() {
        let (half_width, n, suffices) = if nth == 5 { (4.4, 10, false) } else { (1.1, 3, true) };
        let own = Precision { mean: 55.0, half_width, n, within: 0.05, suffices };
        cell.precision = BTreeMap::from([("p95_ttft".to_owned(), own)]);
    }
    run
}

#[test]
fn how_well_cells_are_known_is_one_finding_with_the_widest_interval() {
    let (found, ids) = only(&repeated(), Kind::Precision);
    assert_eq!(ids.len(), 9);
    for (fact, expected) in
        [("of", 9.0), ("enough", 8.0), ("repeats", 10.0), ("half_width", 0.08), ("within", 0.05)]
    {
        near(value(&found, fact), expected, 1e-9);
    }
    assert_eq!(name(&found, "metric"), "p95 TTFT");
}

#[test]
fn every_kind_has_its_sentence() {
    let runs = [
        ridge(2000.0),
        grid(7, THRICE, at((16, 128), Planted { tail: 1.8, ..NOTHING })),
        of_medians([1e3, 1e3, 1e3, 1e3, 1e3, 9e3, 9e3, 9e3, 9e3]),
        dip(12.5),
        falling(),
        odd_repeat(),
        held_up(),
        long_tails(1.5),
        long_tails(3.0),
        unsteady(),
        repeated(),
    ];
    let mut kinds = Vec::new();
    for run in &runs {
        let model = Model::of(run);
        let all: Vec<Finding> = RULES.iter().flat_map(|rule| rule.apply(&model)).collect();
        let sentences = Words::new(None).unwrap().say(&model, &all).unwrap();
        assert!(sentences.iter().all(|sentence| !sentence.is_empty()));
        kinds.extend(all.iter().map(|own| own.kind));
    }
    let missing = Kind::ALL.iter().filter(|kind| kind.question() == Question::Stability);
    let missing: Vec<&Kind> = missing.filter(|kind| !kinds.contains(kind)).collect();
    assert_eq!(missing, [&Kind::Ridge; 0]);
}
