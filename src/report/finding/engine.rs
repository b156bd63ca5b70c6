//! What the engine and its machine report, and whether the engine agrees with the client.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Facts, Finding, Kind, Rule, Unit, place};
use crate::{
    measure::Metric,
    observe::{Durations, EngineSide},
    report::{
        model::{Block, Cell, Model, Origin},
        statistics::largest,
    },
};

pub(super) const RULES: &[Rule] = &[
    Rule::Block(where_time_goes),
    Rule::Block(agreement),
    Rule::Block(kv_cache),
    Rule::Block(machine),
    Rule::Block(prefix_cache),
];

/// The largest negative part of a request, as a part of the whole, that still counts as a rounding error.
/// Beyond it client and engine describe different requests.
const SLACK: f64 = 0.02;
/// Mean TTFTs that differ by at most this part agree.
const AGREES: f64 = 0.1;
/// The lowest hit rate of a prefix cache that is worth reporting.
const FEW_HITS: f64 = 0.05;
/// The least free part of a KV cache in the strength of a finding, so that a full cache has a finite one.
const ROOM: f64 = 0.01;

/// The numbers that the server reported for one cell: means over all requests, warm-up included; `None` if it
/// did not report one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct EngineRow {
    /// Index of the cell.
    #[serde(skip)]
    pub(crate) cell: usize,
    /// Whether the engine reported anything; otherwise only its machine did.
    #[serde(skip)]
    pub(crate) has_engine: bool,
    /// Whether client and engine describe the same requests: all completed, and none was left in the engine.
    #[serde(skip)]
    pub(crate) is_comparable: bool,
    /// Time in the engine's queue.
    pub(crate) queue_ms: Option<f64>,
    /// From the queue to the first token.
    pub(crate) prefill_ms: Option<f64>,
    /// From the first token to the last.
    pub(crate) decode_ms: Option<f64>,
    /// The server's E2E less the three above: HTTP, tokenization, and the way to the engine and back.
    pub(crate) frontend_ms: Option<f64>,
    /// The client's E2E less the server's: network, and the client itself.
    pub(crate) client_ms: Option<f64>,
    /// E2E by the client.
    pub(crate) client_e2e_ms: Option<f64>,
    /// TTFT by the client.
    pub(crate) client_ttft_ms: Option<f64>,
    /// TTFT by the server.
    pub(crate) server_ttft_ms: Option<f64>,
    /// Most requests running in one scrape.
    pub(crate) running_peak: Option<f64>,
    /// Most requests waiting in one scrape.
    pub(crate) waiting_peak: Option<f64>,
    /// The highest KV cache usage in one scrape, 0 to 1.
    pub(crate) kv_usage_peak: Option<f64>,
    /// Running requests that were preempted for lack of KV cache.
    pub(crate) preemptions: Option<u64>,
    /// The part of the prompt tokens that the prefix cache held, 0 to 1.
    pub(crate) prefix_hit_rate: Option<f64>,
    /// Processor cores that the server kept busy.
    pub(crate) server_cores: Option<f64>,
    /// Peak resident memory of its processes.
    pub(crate) server_rss_gib: Option<f64>,
}

/// The parts of a mean request by name, milliseconds.
type Parts = [(&'static str, f64); 5];

impl EngineRow {
    fn of(cell: &Cell<'_>) -> Option<Self> {
        let side = cell.file.server_side.as_ref()?;
        let engine = side.engine.as_ref();
        let totals = cell.file.client_totals;
        let mean = |get: fn(&EngineSide) -> &Option<Durations>| get(engine?).as_ref()?.mean_ms;
        let (queue_ms, prefill_ms, decode_ms) =
            (mean(|engine| &engine.queue), mean(|engine| &engine.prefill), mean(|engine| &engine.decode));
        let client_e2e_ms = totals.and_then(|totals| totals.e2e_mean_ms);
        let server_e2e_ms = mean(|engine| &engine.e2e);
        let frontend = || Some(server_e2e_ms? - queue_ms? - prefill_ms? - decode_ms?);
        let all = totals.filter(|totals| totals.sent == totals.completed);
        Some(Self {
            cell: cell.index,
            has_engine: engine.is_some(),
            is_comparable: all.zip(engine).is_some_and(|(totals, engine)| {
                engine.settled && engine.requests.is_none_or(|ended| ended == totals.completed)
            }),
            queue_ms,
            prefill_ms,
            decode_ms,
            frontend_ms: frontend(),
            client_ms: client_e2e_ms.zip(server_e2e_ms).map(|(client, server)| client - server),
            client_e2e_ms,
            client_ttft_ms: totals.and_then(|totals| totals.ttft_mean_ms),
            server_ttft_ms: mean(|engine| &engine.ttft),
            running_peak: engine.and_then(|engine| engine.running_peak),
            waiting_peak: engine.and_then(|engine| engine.waiting_peak),
            kv_usage_peak: engine.and_then(|engine| engine.kv_usage_peak),
            preemptions: engine.and_then(|engine| engine.preemptions),
            prefix_hit_rate: engine.and_then(EngineSide::prefix_hit_rate),
            server_cores: side.process.map(|process| process.cores),
            server_rss_gib: side.process.map(|process| process.peak_rss_bytes as f64 / f64::from(1 << 30)),
        })
    }

    /// Where a mean request spends its time, longest part first, and its length; `None` if the parts do not
    /// add up.
    fn parts(&self) -> Option<(f64, Parts)> {
        let whole = self.client_e2e_ms.filter(|whole| *whole > 0.0 && self.is_comparable)?;
        let mut parts = [
            ("queue", self.queue_ms?),
            ("prefill", self.prefill_ms?),
            ("decode", self.decode_ms?),
            ("frontend", self.frontend_ms?),
            ("client", self.client_ms?),
        ];
        if parts.iter().any(|(_, ms)| *ms < -SLACK * whole) {
            return None;
        }
        parts.sort_by(|a, b| b.1.total_cmp(&a.1));
        Some((whole, parts))
    }
}

/// Returns the server's numbers for each cell of a block that has numbers and was not predicted.
pub(crate) fn engine_rows(model: &Model<'_>, block: &Block<'_>) -> Vec<EngineRow> {
    let cells = model.cells_at(&block.cells);
    let cells = cells.filter(|cell| cell.has_numbers() && cell.origin != Origin::Predicted);
    cells.filter_map(EngineRow::of).collect()
}

/// The rows of usable cells.
fn usable(model: &Model<'_>, block: &Block<'_>) -> Vec<EngineRow> {
    let cells = model.usable(block).filter(|cell| cell.origin != Origin::Predicted);
    cells.filter_map(EngineRow::of).collect()
}

/// The row with the largest value of something.
fn most(rows: &[EngineRow], of: impl Fn(&EngineRow) -> Option<f64>) -> Option<(&EngineRow, f64)> {
    largest(rows.iter().filter_map(|row| Some((row, of(row)?))))
}

/// Where the time of a mean request goes under the least and the most load of a line.
fn where_time_goes(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let rows = usable(model, block);
    let known: BTreeMap<usize, (f64, Parts)> =
        rows.iter().filter_map(|row| Some((row.cell, row.parts()?))).collect();
    let reported = |cells: &[usize]| -> Vec<usize> {
        cells.iter().copied().filter(|cell| known.contains_key(cell)).collect()
    };
    let lines = block.load_lines().iter().map(|line| reported(&line.cells));
    // The first of equally long lines; without a load that varies, the first cell.
    let line = lines.rev().max_by_key(Vec::len).filter(|line| !line.is_empty());
    let line = line.unwrap_or_else(|| known.keys().copied().take(1).collect());
    let (first, last) = (*line.first()?, *line.last()?);
    let fact = |cell: usize| {
        let (whole, parts) = known.get(&cell)?;
        let digits = model.digits(&[cell]);
        let part = |(name, ms): &(&'static str, f64)| {
            let facts = Facts::new().name("name", *name).part("part", (ms / whole).max(0.0));
            facts.number("ms", *ms, Unit::Ms, digits)
        };
        Some(
            Facts::new()
                .place("place", place(model, &model.cells[cell]))
                .number("whole", *whole, Unit::Ms, digits)
                .list("parts", parts.iter().map(part)),
        )
    };
    let other = Some(last).filter(|last| *last != first);
    let facts = Facts::new().facts("first", fact(first)).facts("last", other.and_then(fact));
    let cells = [first].into_iter().chain(other);
    Some(Finding::of_block(Kind::WhereTimeGoes, model, at, cells).with(facts))
}

/// Compares token counts and mean TTFT of the client with those of the server.
fn agreement(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let mut rows = usable(model, block);
    rows.retain(|row| row.is_comparable);
    let is_equal = |row: &EngineRow| {
        let file = model.cells[row.cell].file;
        let (client, engine) = (file.client_totals?, file.server_side.as_ref()?.engine.as_ref()?);
        let (input, output) = (client.input_tokens?, client.output_tokens?);
        Some(input == engine.prompt_tokens? && output == engine.generation_tokens?)
    };
    let equal: Vec<bool> = rows.iter().filter_map(is_equal).collect();
    let furthest = most(&rows, |row| Some((row.client_ttft_ms? - row.server_ttft_ms?).abs()));
    if equal.is_empty() && furthest.is_none() {
        return None;
    }
    let ttft = furthest.map(|(row, apart)| {
        let digits = model.digits(&[row.cell]);
        Facts::new()
            .place("place", place(model, &model.cells[row.cell]))
            .number("client", row.client_ttft_ms, Unit::Ms, digits)
            .number("server", row.server_ttft_ms, Unit::Ms, digits)
            .number("apart", apart, Unit::Ms, digits)
            .flag("agrees", row.server_ttft_ms.is_some_and(|server| apart <= AGREES * server))
    });
    let facts = Facts::new()
        .count("compared", equal.len())
        .count("equal", equal.iter().filter(|equal| **equal).count())
        .facts("ttft", ttft);
    let cells = rows.iter().map(|row| row.cell);
    Some(Finding::of_block(Kind::ClientAndServer, model, at, cells).with(facts))
}

/// How full the KV cache was, and how often it preempted a running request.
fn kv_cache(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let rows = usable(model, block);
    let known: Vec<u64> = rows.iter().filter_map(|row| row.preemptions).collect();
    let preempted: u64 = known.iter().sum();
    let fullest = most(&rows, |row| row.kv_usage_peak);
    let most_preempted = most(&rows, |row| row.preemptions.filter(|n| *n > 0).map(|n| n as f64));
    let cells = [fullest, most_preempted].into_iter().flatten().map(|(row, _)| row.cell);
    let mut cells: Vec<usize> = cells.collect();
    cells.dedup();
    if cells.is_empty() {
        return None;
    }
    let here = |row: &EngineRow| place(model, &model.cells[row.cell]);
    let facts = Facts::new()
        .when(fullest, |facts, (row, peak)| facts.part("peak", peak).place("place", here(row)))
        // Zero preemptions are known only if every cell reported them.
        .count("preemptions", (preempted > 0 || known.len() == rows.len()).then_some(preempted as usize))
        .when(most_preempted, |facts, (row, most)| {
            let is_only = known.iter().filter(|n| **n as f64 == most).count() == 1;
            facts
                .count("preempted_cells", known.iter().filter(|n| **n > 0).count())
                .place("most_at", is_only.then(|| here(row)))
        });
    let room = fullest.map_or(1.0, |(_, peak)| (1.0 - peak).max(ROOM));
    let strength = if preempted > 0 { 1.0 / ROOM } else { 1.0 / room };
    Some(Finding::of_block(Kind::KvCache, model, at, cells).strong_as(strength).with(facts))
}

/// Processor time and memory of the server, and the lowest energy per output token.
fn machine(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let rows = usable(model, block);
    let energy = |row: &EngineRow| {
        let cell = &model.cells[row.cell];
        cell.ranked(Metric::OUTPUT)?;
        cell.file.gpu_j_per_output_token()
    };
    let here = |row: &EngineRow| place(model, &model.cells[row.cell]);
    let busiest = most(&rows, |row| row.server_cores);
    let memory = most(&rows, |row| row.server_rss_gib);
    let thriftiest = most(&rows, |row| energy(row).map(|joules| -joules));
    let facts = Facts::new()
        .when(busiest, |facts, (row, cores)| {
            facts.number("cores", cores, Unit::Plain, 3).place("place", here(row))
        })
        .number("memory", memory.map(|(_, rss)| rss), Unit::Gib, 3)
        .when(thriftiest, |facts, (row, negative)| {
            let digits = model.digits(&[row.cell]);
            facts.number("energy", -negative, Unit::Joule, digits).place("energy_at", here(row))
        });
    let mut cells: Vec<usize> =
        [busiest, thriftiest].into_iter().flatten().map(|(row, _)| row.cell).collect();
    cells.dedup();
    (!cells.is_empty()).then(|| Finding::of_block(Kind::Machine, model, at, cells).with(facts))
}

/// The part of a cell's prompt tokens that the prefix cache held: by the answers' usage, else by the engine.
fn cached(cell: &Cell<'_>) -> Option<f64> {
    let summary = cell.file.summary.as_ref();
    let tokens = summary.and_then(|summary| summary.cached_tokens.zip(summary.input_tokens));
    let by_usage = tokens.filter(|(_, input)| *input > 0).map(|(cached, input)| cached as f64 / input as f64);
    by_usage.or_else(|| cell.file.server_side.as_ref()?.engine.as_ref()?.prefix_hit_rate())
}

/// How much of the prompts the prefix cache held: that shortens prefill.
fn prefix_cache(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let known: Vec<(&Cell<'_>, f64)> =
        model.usable(block).filter_map(|cell| Some((cell, cached(cell)?))).collect();
    let (cell, most) = largest(known.iter().copied())?;
    let least = known.iter().map(|(_, part)| *part).fold(most, f64::min);
    let spec = cell.plan.map(|plan| &plan.spec);
    let is_meant = spec.is_some_and(|spec| spec.shared_prefix.is_some() || spec.has_turns());
    (most >= FEW_HITS).then(|| {
        let facts = Facts::new()
            .part("most", most)
            .part("least", least)
            .place("place", place(model, cell))
            .count("told", known.len())
            .flag("is_meant", is_meant);
        let cells = known.iter().map(|(cell, _)| cell.index);
        let uncached = (1.0 - most).max(ROOM);
        Finding::of_block(Kind::PrefixCache, model, at, cells).strong_as(1.0 / uncached).with(facts)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        report::{
            finding::{findings, sentences},
            fixtures,
        },
        store::StoredRun,
    };

    /// What a server tells of 200 requests: so long in the queue, so many output tokens, so many preemptions.
    fn reported(queue_ms: f64, output: u64, preemptions: u64) -> Value {
        let times =
            |mean_ms: f64| json!({ "count": 200, "sum_s": mean_ms / 5.0, "mean_ms": mean_ms, "buckets": [] });
        json!({
            "span_s": 10.0,
            "engine": {
                "span_s": 10.0, "settled": true, "requests": 200, "prompt_tokens": 2000,
                "generation_tokens": output, "preemptions": preemptions, "prefix_queries": 2000,
                "prefix_hits": 500, "kv_usage_peak": 0.25, "queue": times(queue_ms), "prefill": times(40.0),
                "decode": times(1000.0), "ttft": times(queue_ms + 45.0), "e2e": times(queue_ms + 1046.0),
            },
            "process": { "cpu_s": 15.0, "cores": 1.5, "peak_rss_bytes": 2_147_483_648u64, "processes": 3 },
            "gpus": [{ "index": 0, "energy_j": 6400.0 }],
        })
    }

    fn run() -> StoredRun {
        let mut run = fixtures::streamed();
        for (cell, queue_ms) in run.cells.iter_mut().zip([0.0, 10.0, 50.0, 950.0]) {
            cell.server_side = serde_json::from_value(reported(queue_ms, 12_800, 2)).unwrap();
            cell.client_totals = serde_json::from_value(json!({
                "sent": 200, "completed": 200, "input_tokens": 2000, "output_tokens": 12_800,
                "ttft_mean_ms": queue_ms + 50.0, "e2e_mean_ms": queue_ms + 1050.0,
            }))
            .unwrap();
        }
        run
    }

    fn found(model: &Model<'_>, kind: Kind) -> Option<Facts> {
        findings(model).into_iter().find(|own| own.kind == kind).map(|own| own.facts)
    }

    #[test]
    fn what_the_engine_tells_is_found_and_has_words() {
        let run = run();
        let model = Model::of(&run);
        let facts = |kind| found(&model, kind).unwrap();
        let parts = facts(Kind::WhereTimeGoes).json();
        assert_eq!(parts["last"]["whole"], 2000.0);
        assert_eq!(parts["last"]["parts"][0]["name"], "decode");
        assert_eq!(parts["last"]["parts"][1]["part"], 0.475);
        let agreement = facts(Kind::ClientAndServer);
        assert_eq!((agreement.value("compared"), agreement.value("equal")), (Some(4.0), Some(4.0)));
        assert_eq!(agreement.json()["ttft"]["apart"], 5.0);
        let cache = facts(Kind::KvCache);
        assert_eq!((cache.value("peak"), cache.value("preemptions")), (Some(0.25), Some(8.0)));
        let machine = facts(Kind::Machine);
        assert_eq!((machine.value("cores"), machine.value("energy")), (Some(1.5), Some(0.5)));
        assert_eq!(facts(Kind::PrefixCache).value("most"), Some(0.25));
        assert_eq!(sentences::found(&model, RULES).len(), 5);
    }

    #[test]
    fn nothing_rests_on_cells_that_are_excluded_or_that_did_not_complete() {
        let mut run = run();
        run.cells[3].verdicts = vec![fixtures::verdict("client_saturated", "cell", &[])];
        run.cells[0].client_totals.as_mut().unwrap().sent = 201;
        let engine = run.cells[1].server_side.as_mut().unwrap().engine.as_mut().unwrap();
        (engine.preemptions, engine.generation_tokens) = (None, Some(12_799));
        let model = Model::of(&run);
        let agreement = found(&model, Kind::ClientAndServer).unwrap();
        assert_eq!((agreement.value("compared"), agreement.value("equal")), (Some(2.0), Some(1.0)));
        assert_eq!(found(&model, Kind::WhereTimeGoes).unwrap().json()["last"]["whole"], 1100.0);
        assert_eq!(found(&model, Kind::KvCache).unwrap().value("preemptions"), Some(4.0));
        assert_eq!(engine_rows(&model, &model.blocks[0]).len(), 4);
        // That nothing was preempted is not known where one does not tell.
        for cell in &mut run.cells {
            if let Some(engine) = cell.server_side.as_mut().and_then(|side| side.engine.as_mut()) {
                engine.preemptions = engine.preemptions.map(|_| 0);
            }
        }
        let model = Model::of(&run);
        assert_eq!(found(&model, Kind::KvCache).unwrap().value("preemptions"), None);
    }

    #[test]
    fn parts_that_do_not_add_up_are_not_told() {
        let mut run = run();
        for cell in &mut run.cells {
            cell.client_totals.as_mut().unwrap().e2e_mean_ms = Some(900.0);
        }
        assert_eq!(found(&Model::of(&run), Kind::WhereTimeGoes), None);
    }
}
