//! Draws random grids: a law, an effect planted in it, and a run that measures it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    law::{Law, Numbers, Shape, Spot},
    sample::{Sampler, reported},
};
use crate::{
    manifest::{LatencyKind, LoadAxis, Slo, Start},
    measure::{CellOutcome, Severity, Summary, Verdict, VerdictKind},
    plan::Search,
    report::{
        fixtures,
        searches::fixtures::{load_search, unfinished},
    },
    search::{Answer, Evidence, Probe, Ratio, State},
    store::{CellFile, StoredRun},
    unit::Percentile,
};

/// The purpose of a grid: a law along the load, or a planted effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scene {
    Linear,
    Rounded,
    Sharp,
    Queueing,
    Flat,
    Falling,
    Cliff,
    Ridge,
    TailRidge,
    ServerEffect,
    Crossover,
    Optimum,
    FlatAxis,
    ExcludedCells,
    UnreachedLoad,
    FewSamples,
    OddRepeat,
    BimodalItl,
    Saturates,
    KeepsUp,
    MemoryEnds,
    StartModes,
    LongAnswers,
    HeldUp,
    LongPrompts,
    Searched,
}

impl Scene {
    pub(super) const ALL: [Self; 26] = [
        Self::Linear,
        Self::Rounded,
        Self::Sharp,
        Self::Queueing,
        Self::Flat,
        Self::Falling,
        Self::Cliff,
        Self::Ridge,
        Self::TailRidge,
        Self::ServerEffect,
        Self::Crossover,
        Self::Optimum,
        Self::FlatAxis,
        Self::ExcludedCells,
        Self::UnreachedLoad,
        Self::FewSamples,
        Self::OddRepeat,
        Self::BimodalItl,
        Self::Saturates,
        Self::KeepsUp,
        Self::MemoryEnds,
        Self::StartModes,
        Self::LongAnswers,
        Self::HeldUp,
        Self::LongPrompts,
        Self::Searched,
    ];

    fn is_open(self) -> bool {
        matches!(self, Self::Saturates | Self::KeepsUp)
    }

    /// Whether servers differ.
    fn needs_servers(self) -> bool {
        matches!(
            self,
            Self::ServerEffect | Self::Crossover | Self::Optimum | Self::FlatAxis | Self::MemoryEnds
        )
    }
}

/// A planted effect and its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Planted {
    /// Throughput along the load bends at the corner of the law.
    Corner,
    /// One cell is this many times as slow.
    Ridge { cell: usize, factor: f64 },
    /// The slowest tenth of one cell's requests is this many times as slow.
    TailRidge { cell: usize, factor: f64 },
    /// Latency is this many times as long beyond a load.
    Cliff { beyond: f64, factor: f64 },
    /// The first repeat of a cell is this many times as slow.
    OddRepeat { cell: usize, factor: f64 },
    /// This part of the gaps between tokens is long.
    LongGaps(f64),
    /// A rate is higher than the server carries.
    Saturation { capacity: f64 },
    /// The first server axis has an effect.
    Effect,
    /// The effect changes its sign with the load.
    Crossover { between: (f64, f64), factor: f64 },
    /// The value with this index is best.
    Optimum(usize),
    /// The axis has no effect.
    Same,
    /// Memory suffices for this many values of the first server axis.
    Boundary(usize),
    /// Cells whose streams started in another way.
    StartModes,
    /// Longer answers slow down decoding.
    LongAnswers,
    /// Longer answers make others wait.
    HeldUp,
    /// Longer prompts take longer to the first token.
    LongPrompts,
}

/// The truth of one cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truth {
    pub(super) numbers: Numbers,
    /// Whether it has numbers.
    pub(super) is_measured: bool,
    /// Whether a verdict excludes its numbers, which are absurd.
    pub(super) is_excluded: bool,
    /// Whether its streams started in another way than those of most cells.
    pub(super) is_apart: bool,
}

/// A server axis, with a factor on every latency for each value.
#[derive(Clone, Debug)]
pub(super) struct ServerAxis {
    pub(super) name: &'static str,
    pub(super) values: Vec<Value>,
    pub(super) slower: Vec<f64>,
}

/// How a grid is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// The standard deviation of the logarithm of a run.
    pub(super) noise: f64,
    /// Requests of a repeat.
    pub(super) requests: u64,
    pub(super) repeats: u64,
    /// Whether only the numbers are known, as from another tool.
    pub(super) is_reported: bool,
    /// Whether steady windows are known.
    pub(super) is_steady: bool,
}

/// A grid with its truth.
pub(super) struct Drawn {
    pub(super) scene: Scene,
    pub(super) measured: Measured,
    pub(super) law: Law,
    pub(super) loads: Vec<f64>,
    pub(super) lengths: Vec<f64>,
    pub(super) prompts: Vec<f64>,
    pub(super) servers: Vec<ServerAxis>,
    pub(super) planted: Vec<Planted>,
    pub(super) run: StoredRun,
    /// The answers of its searches.
    pub(super) answers: Vec<Answer>,
    /// One for each cell of the run, in order.
    pub(super) truth: Vec<Truth>,
}

impl Drawn {
    /// The standard deviation of the logarithm of a number of a cell, from the differences between runs and
    /// from few samples.
    pub(super) fn error(&self, cell: usize, metric: crate::measure::Metric) -> f64 {
        let samples = self.measured.requests * self.measured.repeats;
        let sampled = self.truth[cell].numbers.sampling(metric, samples);
        (self.measured.noise / (self.measured.repeats as f64).sqrt()).hypot(sampled)
    }
}

/// The most cells of a grid, unless loads and servers alone give more.
const MOST: usize = 60;

/// Draws a grid.
pub(super) fn draw(scene: Scene, noise: f64, seed: u64) -> Drawn {
    let mut sampler = Sampler::new(seed);
    let measured = measured(&mut sampler, scene, noise);
    let steps = match scene {
        Scene::Linear | Scene::FlatAxis | Scene::Optimum | Scene::MemoryEnds => sampler.dice.whole(3, 7),
        _ => sampler.dice.whole(5, 7),
    };
    let first = if scene.is_open() { 0.5 } else { 1.0 };
    let loads: Vec<f64> = match scene {
        Scene::Searched => probed_loads(sampler.dice.between(16.0, 60.0)),
        _ => (0..steps).map(|step| first * f64::from(1 << step)).collect(),
    };
    let lengths = match scene {
        Scene::LongAnswers | Scene::HeldUp => sampler.dice.whole(2, 3),
        _ => sampler.dice.one_of(&[1, 1, 2, 3]),
    };
    let prompts = match scene {
        Scene::LongPrompts => sampler.dice.whole(2, 3),
        _ => sampler.dice.one_of(&[1, 1, 1, 2, 3]),
    };
    let law = law(&mut sampler, scene, &loads);
    let servers = servers(&mut sampler, scene);
    let many: usize = servers.iter().map(|axis| axis.values.len()).product();
    let (lengths, prompts) = fewer(scene, lengths, prompts, MOST / (loads.len() * many));
    let lengths: Vec<f64> = [64.0, 128.0, 256.0][..lengths].to_vec();
    let prompts: Vec<f64> = [256.0, 1024.0, 4096.0][..prompts].to_vec();
    let mut drawn = Drawn {
        scene,
        measured,
        law,
        loads,
        lengths,
        prompts,
        servers,
        planted: Vec::new(),
        run: fixtures::empty(),
        answers: Vec::new(),
        truth: Vec::new(),
    };
    plant(&mut sampler, &mut drawn);
    measure(&mut sampler, &mut drawn);
    drawn
}

/// The loads that a search measures around a limit, ascending: far from it few, close to it many.
fn probed_loads(limit: f64) -> Vec<f64> {
    let parts = [0.0, 0.25, 0.5, 0.8, 0.9, 0.97, 1.03, 1.1, 1.3, 2.0, 4.0];
    let mut loads: Vec<f64> = parts.iter().map(|part| (part * limit).round().max(1.0)).collect();
    loads.dedup();
    loads
}

/// As many lengths of answers and prompts as fit; the length that a scene is about is reduced last.
fn fewer(scene: Scene, mut lengths: usize, mut prompts: usize, most: usize) -> (usize, usize) {
    while lengths * prompts > most.max(1) && lengths + prompts > 2 {
        let keeps_prompts = scene == Scene::LongPrompts && lengths > 1;
        match prompts > 1 && !keeps_prompts {
            true => prompts -= 1,
            false => lengths -= 1,
        }
    }
    (lengths, prompts)
}

fn measured(sampler: &mut Sampler, scene: Scene, noise: f64) -> Measured {
    let dice = &mut sampler.dice;
    let requests = match scene {
        Scene::UnreachedLoad => 20,
        Scene::Searched => 400,
        Scene::FewSamples => dice.one_of(&[12, 16, 24]),
        _ => dice.one_of(&[64, 140, 200, 400]),
    };
    let repeats = match scene {
        Scene::OddRepeat => 3,
        Scene::Searched => 1,
        _ => dice.one_of(&[1, 1, 3]),
    };
    let is_reported = repeats == 1
        && dice.is(0.15)
        && !matches!(scene, Scene::UnreachedLoad | Scene::StartModes | Scene::FewSamples | Scene::BimodalItl)
        && scene != Scene::Searched
        && !scene.is_open();
    Measured { noise, requests, repeats, is_reported, is_steady: dice.is(0.5) }
}

fn law(sampler: &mut Sampler, scene: Scene, loads: &[f64]) -> Law {
    let dice = &mut sampler.dice;
    // The corner lies inside of the range, with at least two steps on either side.
    let place = dice.whole(2, loads.len().saturating_sub(3).max(2));
    let corner = loads[place.min(loads.len() - 1)] * dice.between(0.8, 1.25);
    let usual = [Shape::Linear, Shape::Rounded(corner), Shape::Sharp(corner), Shape::Queueing(corner)];
    let shape = match scene {
        Scene::Linear | Scene::UnreachedLoad | Scene::StartModes => Shape::Linear,
        Scene::Rounded => Shape::Rounded(corner),
        Scene::Sharp => Shape::Sharp(corner),
        Scene::Queueing => Shape::Queueing(corner),
        Scene::Flat => Shape::Flat,
        Scene::Falling => Shape::Falling(corner),
        Scene::Cliff => Shape::Cliff(loads[place], dice.between(5.0, 10.0)),
        Scene::Searched if dice.is(0.3) => Shape::Cliff(loads[place], dice.between(2.0, 10.0)),
        Scene::Ridge | Scene::TailRidge | Scene::ExcludedCells | Scene::OddRepeat => {
            dice.one_of(&[Shape::Linear, Shape::Linear, Shape::Rounded(corner)])
        }
        _ => dice.one_of(&usual),
    };
    let mut law = Law {
        shape,
        drift: dice.one_of(&[0.0, 0.003]),
        ttft: dice.between(15.0, 60.0),
        per_prompt_token: dice.between(0.01, 0.05),
        tpot: dice.between(4.0, 20.0),
        by_length: 0.0,
        held_up: 0.0,
        spread: dice.one_of(&[0.02, 0.05, 0.1, 0.2]),
        long_gaps: 0.0,
        capacity: 0.0,
    };
    match scene {
        Scene::LongAnswers => law.by_length = dice.between(0.3, 0.8),
        Scene::HeldUp => law.held_up = dice.between(0.6, 1.2),
        Scene::LongPrompts => law.per_prompt_token = dice.between(0.1, 0.4),
        Scene::BimodalItl => law.long_gaps = dice.between(0.08, 0.25),
        Scene::Saturates => law.capacity = corner,
        Scene::KeepsUp => law.capacity = loads[loads.len() - 1] * dice.between(1.5, 4.0),
        _ => {}
    }
    law
}

fn servers(sampler: &mut Sampler, scene: Scene) -> Vec<ServerAxis> {
    let dice = &mut sampler.dice;
    let many = match scene {
        _ if scene.needs_servers() => dice.whole(1, 2),
        _ => dice.one_of(&[0, 0, 0, 1]),
    };
    (0..many)
        .map(|nth| {
            let is_numeric = nth == 0 && matches!(scene, Scene::Optimum | Scene::MemoryEnds)
                || nth == 0 && scene != Scene::Crossover && dice.is(0.5);
            let values = match (is_numeric, scene) {
                (true, Scene::Optimum) => dice.whole(3, 5),
                (true, Scene::MemoryEnds) => dice.whole(3, 4),
                (true, _) => dice.whole(2, 4),
                _ => 2,
            };
            let slower = (0..values).map(|at| match scene {
                Scene::ServerEffect if nth == 0 => (at as f64 * 0.25).exp(),
                _ => 1.0,
            });
            let mut slower: Vec<f64> = slower.collect();
            if scene == Scene::ServerEffect && nth == 0 {
                let step = dice.between(0.2, 0.7) / (values - 1) as f64;
                let sign = if dice.is(0.5) { 1.0 } else { -1.0 };
                slower = (0..values).map(|at| (sign * step * at as f64).exp()).collect();
            }
            let numbers = |first: u64| (0..values).map(|at| json!(first << at)).collect();
            match is_numeric {
                true if nth == 0 => ServerAxis { name: "max-num-seqs", values: numbers(64), slower },
                _ if nth == 0 => {
                    let values = vec![json!(false), json!(true)];
                    ServerAxis { name: "enable-prefix-caching", values, slower }
                }
                _ => {
                    let values = vec![json!("auto"), json!("fp8")];
                    ServerAxis { name: "kv-cache-dtype", values, slower }
                }
            }
        })
        .collect()
}

impl Drawn {
    /// The number of servers.
    fn count(&self) -> usize {
        self.servers.iter().map(|axis| axis.values.len()).product()
    }

    /// The index of a server's value on each axis.
    fn values(&self, mut server: usize) -> Vec<usize> {
        let mut values: Vec<usize> = Vec::new();
        for axis in self.servers.iter().rev() {
            values.push(server % axis.values.len());
            server /= axis.values.len();
        }
        values.reverse();
        values
    }

    fn per_server(&self) -> usize {
        self.loads.len() * self.lengths.len() * self.prompts.len()
    }

    /// The index of a cell in the run.
    fn place(&self, server: usize, load: usize, length: usize, prompt: usize) -> usize {
        let (lengths, prompts) = (self.lengths.len(), self.prompts.len());
        server * self.per_server() + (load * lengths + length) * prompts + prompt
    }

    /// A cell with neighbours on both sides along the load.
    fn inner(&self, sampler: &mut Sampler) -> usize {
        let dice = &mut sampler.dice;
        let server = dice.whole(0, self.count() - 1);
        let load = dice.whole(1, self.loads.len() - 2);
        let length = dice.whole(0, self.lengths.len() - 1);
        let prompt = dice.whole(0, self.prompts.len() - 1);
        self.place(server, load, length, prompt)
    }
}

fn plant(sampler: &mut Sampler, drawn: &mut Drawn) {
    let inner = drawn.inner(sampler);
    let values = drawn.servers.first().map_or(0, |axis| axis.values.len());
    let dice = &mut sampler.dice;
    // A search measures where the limit is, not where throughput bends.
    let is_even = !drawn.scene.is_open() && drawn.scene != Scene::Searched;
    if drawn.law.shape.corner().is_some() && is_even && drawn.loads.len() >= 5 {
        drawn.planted.push(Planted::Corner);
    }
    let own = match drawn.scene {
        Scene::Cliff => match drawn.law.shape {
            Shape::Cliff(beyond, factor) => Some(Planted::Cliff { beyond, factor }),
            _ => None,
        },
        Scene::Ridge => Some(Planted::Ridge { cell: inner, factor: dice.between(1.5, 3.0) }),
        Scene::TailRidge => Some(Planted::TailRidge { cell: inner, factor: dice.between(1.6, 3.0) }),
        Scene::OddRepeat => Some(Planted::OddRepeat { cell: inner, factor: dice.between(1.4, 2.0) }),
        Scene::BimodalItl => Some(Planted::LongGaps(drawn.law.long_gaps)),
        Scene::Saturates => Some(Planted::Saturation { capacity: drawn.law.capacity }),
        Scene::ServerEffect => Some(Planted::Effect),
        Scene::Crossover => {
            let at = dice.whole(1, drawn.loads.len() - 3);
            let between = (drawn.loads[at], drawn.loads[at + 1]);
            Some(Planted::Crossover { between, factor: dice.between(1.2, 1.5) })
        }
        Scene::Optimum => Some(Planted::Optimum(dice.whole(1, values - 2))),
        Scene::FlatAxis => Some(Planted::Same),
        Scene::MemoryEnds => Some(Planted::Boundary(dice.whole(1, values - 1))),
        Scene::StartModes => Some(Planted::StartModes),
        Scene::LongAnswers => Some(Planted::LongAnswers),
        Scene::HeldUp => Some(Planted::HeldUp),
        Scene::LongPrompts => Some(Planted::LongPrompts),
        _ => None,
    };
    if let Some(Planted::Optimum(best)) = own {
        let steep = dice.between(0.3, 0.6);
        let off = |at: usize| (steep * (at as f64 - best as f64).abs()).exp();
        drawn.servers[0].slower = (0..values).map(off).collect();
    }
    drawn.planted.extend(own);
}

/// The place of a cell, with what is planted there.
fn spot(drawn: &Drawn, at: usize, values: &[usize], [load, length, prompt]: [usize; 3]) -> Spot {
    let mut slower: f64 =
        values.iter().zip(&drawn.servers).map(|(value, axis)| axis.slower[*value]).product();
    let mut tail = 1.0;
    for planted in &drawn.planted {
        match *planted {
            Planted::Ridge { cell, factor } if cell == at => slower *= factor,
            Planted::TailRidge { cell, factor } if cell == at => tail = factor,
            Planted::OddRepeat { cell, factor } if cell == at => slower *= factor.cbrt(),
            Planted::Crossover { between, factor } if values[0] == 1 => {
                slower *= if drawn.loads[load] <= between.0 { factor } else { factor.recip() };
            }
            _ => {}
        }
    }
    let is_open = drawn.scene.is_open();
    let asked = drawn.loads[load];
    Spot {
        load: if is_open { asked } else { asked.min(drawn.measured.requests as f64) },
        is_open,
        tokens: drawn.lengths[length],
        shortest: drawn.lengths[0],
        prompt: drawn.prompts[prompt],
        slower,
        tail,
        requests: drawn.measured.requests,
    }
}

/// The targets of half of the grids: the latency by the law at a load inside of the range, and a little more.
fn slo(sampler: &mut Sampler, drawn: &Drawn) -> Slo {
    let dice = &mut sampler.dice;
    let mut terms = BTreeMap::new();
    if dice.is(0.5) {
        let load = dice.whole(1, drawn.loads.len() - 1);
        let values = drawn.values(0);
        let numbers = drawn.law.at(spot(drawn, usize::MAX, &values, [load, 0, 0]));
        for kind in [LatencyKind::Ttft, LatencyKind::E2e] {
            let [tail, _] = crate::report::metrics::tail(kind);
            if dice.is(0.6)
                && let Some(ms) = numbers.of(tail)
            {
                terms.insert(tail.key(), format!("{}ms", (ms * dice.between(1.05, 1.3)).round().max(1.0)));
            }
        }
    }
    serde_json::from_value(json!(terms)).expect("an SLO")
}

fn measure(sampler: &mut Sampler, drawn: &mut Drawn) {
    let load_axis = if drawn.scene.is_open() { "rate" } else { "concurrency" };
    drawn.run.plan.load_axes = vec![load_axis.into()];
    if drawn.lengths.len() > 1 {
        drawn.run.plan.load_axes.push("max_tokens".into());
    }
    if drawn.prompts.len() > 1 {
        drawn.run.plan.load_axes.push("synthetic.input_tokens".into());
    }
    drawn.run.plan.server_axes = drawn.servers.iter().map(|axis| axis.name.to_owned()).collect();
    let slo = slo(sampler, drawn);
    let excluded: Vec<usize> = match drawn.scene {
        Scene::ExcludedCells => (0..sampler.dice.whole(1, 2)).map(|_| drawn.inner(sampler)).collect(),
        // Probes that ended early.
        Scene::Searched => (0..sampler.dice.whole(2, 5)).map(|_| drawn.inner(sampler)).collect(),
        _ => Vec::new(),
    };
    let apart = match drawn.scene {
        // The fewer of those with several streams.
        Scene::StartModes => drawn.loads.len() - sampler.dice.whole(1, (drawn.loads.len() - 1) / 3),
        _ => drawn.loads.len(),
    };
    let hole = sampler.dice.is(0.1).then(|| drawn.inner(sampler));
    for server in 0..drawn.count() {
        let values = drawn.values(server);
        let axes: BTreeMap<String, Value> = values
            .iter()
            .zip(&drawn.servers)
            .map(|(value, axis)| (axis.name.to_owned(), axis.values[*value].clone()))
            .collect();
        let fits = drawn.planted.iter().all(|planted| match planted {
            Planted::Boundary(fit) => values[0] < *fit,
            _ => true,
        });
        let id = format!("qwen-{server}");
        let mut cells = Vec::new();
        for load in 0..drawn.loads.len() {
            for length in 0..drawn.lengths.len() {
                for prompt in 0..drawn.prompts.len() {
                    let at = drawn.place(server, load, length, prompt);
                    let mut spot = spot(drawn, at, &values, [load, length, prompt]);
                    // All at once they are in each other's way.
                    spot.slower *= if load >= apart { 1.4 } else { 1.0 };
                    let truth = Truth {
                        numbers: drawn.law.at(spot),
                        is_measured: fits && hole != Some(at),
                        is_excluded: excluded.contains(&at),
                        is_apart: load >= apart,
                    };
                    let mut cell = cell(sampler, drawn, at, drawn.loads[load], truth);
                    cell.server.clone_from(&id);
                    cell.slo.clone_from(&slo);
                    cell.axes.extend(axes.clone());
                    if !fits {
                        cell.outcome = CellOutcome::Oom;
                    }
                    if drawn.scene == Scene::Searched {
                        cell.search = Some(format!("chat-{server}-{length}-{prompt}"));
                    }
                    cells.push(cell);
                    drawn.truth.push(truth);
                }
            }
        }
        let outcome = if fits { "ready" } else { "oom(kv_cache)" };
        fixtures::add(&mut drawn.run, &id, axes, outcome, cells);
    }
    drawn.answers = answers(&drawn.run, drawn.loads.len() / 2);
}

/// The answers of the searches that the cells of a run are probes of: all found their limit at one of the loads.
fn answers(run: &StoredRun, limit: usize) -> Vec<Answer> {
    let mut answers: Vec<Answer> = Vec::new();
    for cell in &run.cells {
        let Some(id) = &cell.search else { continue };
        let at = answers.iter().position(|answer| answer.search.id == *id).unwrap_or(answers.len());
        if at == answers.len() {
            let search = load_search(LoadAxis::Concurrency, 1000.0);
            let search = Search { id: id.clone(), server: Some(cell.server.clone()), ..search };
            answers.push(Answer { state: State::Found, ..unfinished(search) });
        }
        let answer = &mut answers[at];
        let load = cell.load["concurrency"].clone();
        let (nth, users) = (answer.probes.len(), load.as_f64());
        let log = if nth < limit { -0.1 } else { 0.1 };
        answer.feasible = if nth < limit { users } else { answer.feasible };
        answer.infeasible = if nth == limit { users } else { answer.infeasible };
        answer.probes.push(Probe {
            values: vec![load],
            cells: vec![cell.id.clone()],
            evidence: Evidence::Measured(Ratio { log, error: 0.03, binding: "p95_ttft".into() }),
            requests: 400,
            planned: 400,
            server: cell.server.clone(),
            started: nth == 0,
            ended_early: cell.ended_early.is_some(),
        });
    }
    answers
}

/// One cell as it is stored.
fn cell(sampler: &mut Sampler, drawn: &Drawn, at: usize, asked: f64, truth: Truth) -> CellFile {
    let spot = truth.numbers.spot;
    let id = format!("chat-{at}");
    let mut cell = fixtures::cell(&id, "", asked as u32, spot.tokens as u32, &Slo::default());
    cell.axes.clear();
    let axes = [
        (if spot.is_open { "rate" } else { "concurrency" }, asked, true),
        ("max_tokens", spot.tokens, drawn.lengths.len() > 1),
        ("synthetic.input_tokens", spot.prompt, drawn.prompts.len() > 1),
    ];
    for (name, value, _) in axes.iter().filter(|axis| axis.2) {
        let value = if value.fract() == 0.0 { json!(*value as u64) } else { json!(value) };
        cell.axes.insert((*name).to_owned(), value);
    }
    cell.load = cell.axes.clone();
    if !truth.is_measured {
        cell.outcome = CellOutcome::Failed;
        return cell;
    }
    let measured = drawn.measured;
    let absurd = if truth.is_excluded { sampler.dice.one_of(&[0.3, 3.0]) } else { 1.0 };
    let odd = drawn.planted.iter().find_map(|planted| match planted {
        Planted::OddRepeat { cell, factor } if *cell == at => Some(*factor),
        _ => None,
    });
    let how = if truth.is_apart { Start::Together } else { Start::Staggered };
    let steady = measured.is_steady && measured.requests as f64 >= 4.0 * spot.load;
    let mut runs = Vec::new();
    for nth in 0..measured.repeats {
        let own = match odd {
            Some(factor) if nth == 0 => factor.powf(2.0 / 3.0),
            Some(factor) => factor.powf(-1.0 / 3.0),
            None => 1.0,
        };
        runs.push(sampler.run(measured.noise) * absurd * own);
    }
    let mean = (runs.iter().map(|run| run.ln()).sum::<f64>() / runs.len() as f64).exp();
    let all = measured.requests * measured.repeats;
    let pooled = sampler.summary(&truth.numbers, all, mean, steady, how);
    if measured.is_reported {
        cell.reported = reported(&pooled).collect();
    } else {
        if measured.repeats > 1 {
            cell.repeats = runs
                .iter()
                .map(|run| sampler.summary(&truth.numbers, measured.requests, *run, steady, how))
                .collect();
        }
        cell.verdicts = few_samples(&pooled);
        cell.summary = Some(pooled);
    }
    if truth.is_excluded && drawn.scene == Scene::Searched {
        cell.ended_early = Some("its side of the limit is clear".into());
    } else if truth.is_excluded {
        cell.verdicts.push(verdict(VerdictKind::ClientSaturated, Severity::Cell, Vec::new()));
    }
    cell
}

fn verdict(kind: VerdictKind, severity: Severity, touches: Vec<String>) -> Verdict {
    Verdict { kind, severity, touches, reason: String::new(), hint: String::new() }
}

/// The verdicts that a summary of few samples gets.
fn few_samples(summary: &Summary) -> Vec<Verdict> {
    [Percentile::P50, Percentile::P95, Percentile::P99]
        .into_iter()
        .filter_map(|rank| {
            let few =
                |kind: &LatencyKind| summary.latency(*kind).is_some_and(|own| own.n < rank.samples_needed());
            let touches: Vec<String> = LatencyKind::ALL
                .into_iter()
                .filter(few)
                .map(|kind| format!("{rank}_{}", kind.name()))
                .collect();
            (!touches.is_empty()).then(|| verdict(VerdictKind::FewSamples, Severity::Metric, touches))
        })
        .collect()
}
