//! What the engine and its machine say of themselves, and whether it agrees with the client.

use std::collections::BTreeMap;

use super::{Facts, Finding, Kind, Rule, Unit, each_block, place};
use crate::{
    measure::Metric,
    observe::{Durations, EngineSide},
    report::model::{Block, Cell, Model, Origin},
};

pub(super) const RULES: &[Rule] = &[times, agreements, kv_caches, machines, prefix_caches];

/// Parts of a request that are negative by more than this do not add up: the two sides speak of different
/// requests.
const SLACK: f64 = 0.02;
/// Mean TTFTs that differ by less than this part agree.
const AGREES: f64 = 0.1;
/// A prefix cache that held less than this part of the prompts shortens nothing that anybody would notice.
const FEW_HITS: f64 = 0.05;
/// A full KV cache leaves no room: the least part of it that counts as room.
const ROOM: f64 = 0.01;

/// What the server told of one cell: means over all requests, warm-up included. Absent is what it does not
/// tell.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct EngineRow {
    /// The cell's place in [`Model::cells`].
    pub(in crate::report) cell: usize,
    /// Whether the engine told anything; else only its machine did.
    pub(in crate::report) has_engine: bool,
    /// Whether the client and the engine speak of the same requests: all completed, and none was left in the
    /// engine.
    pub(in crate::report) is_comparable: bool,
    /// In the engine's queue, milliseconds.
    pub(in crate::report) queue_ms: Option<f64>,
    /// From the queue to the first token, milliseconds.
    pub(in crate::report) prefill_ms: Option<f64>,
    /// From the first token to the last, milliseconds.
    pub(in crate::report) decode_ms: Option<f64>,
    /// The server's E2E less the three, milliseconds: HTTP, tokens ↔ text, the way to the engine and back.
    pub(in crate::report) frontend_ms: Option<f64>,
    /// The client's E2E less the server's, milliseconds: network, and the client itself.
    pub(in crate::report) client_ms: Option<f64>,
    /// E2E by the client, milliseconds.
    pub(in crate::report) client_e2e_ms: Option<f64>,
    /// TTFT by the client, milliseconds.
    pub(in crate::report) client_ttft_ms: Option<f64>,
    /// TTFT by the server, milliseconds.
    pub(in crate::report) server_ttft_ms: Option<f64>,
    /// Most requests that ran in a scrape.
    pub(in crate::report) running_peak: Option<f64>,
    /// Most requests that waited in a scrape.
    pub(in crate::report) waiting_peak: Option<f64>,
    /// The fullest KV cache of a scrape, 0 to 1.
    pub(in crate::report) kv_usage_peak: Option<f64>,
    /// Running requests that were put back for want of KV cache.
    pub(in crate::report) preemptions: Option<u64>,
    /// The part of the prompt tokens that the prefix cache held, 0 to 1.
    pub(in crate::report) prefix_hit_rate: Option<f64>,
    /// Cores that the server kept busy.
    pub(in crate::report) server_cores: Option<f64>,
    /// The most memory of its processes, GiB.
    pub(in crate::report) server_rss_gib: Option<f64>,
}

/// The parts of a mean request by their names, milliseconds.
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

    /// Where a mean request spends its time, most first, and how long it is; `None` where the parts do not
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

/// What the server told of each cell of a block that has numbers and was not predicted.
pub(in crate::report) fn engine_rows(model: &Model<'_>, block: &Block<'_>) -> Vec<EngineRow> {
    let cells = block.cells.iter().map(|at| &model.cells[*at]);
    let cells = cells.filter(|cell| cell.has_numbers() && cell.origin != Origin::Predicted);
    cells.filter_map(EngineRow::of).collect()
}

/// The rows that something may be concluded from.
fn usable(model: &Model<'_>, block: &Block<'_>) -> Vec<EngineRow> {
    let mut rows = engine_rows(model, block);
    rows.retain(|row| {
        let cell = &model.cells[row.cell];
        cell.is_usable() && Some(cell.origin) == block.origin
    });
    rows
}

/// The row with most of something, of equal ones the first.
fn most(rows: &[EngineRow], of: impl Fn(&EngineRow) -> Option<f64>) -> Option<(&EngineRow, f64)> {
    let known = rows.iter().filter_map(|row| Some((row, of(row)?)));
    known.reduce(|best, own| if own.1 > best.1 { own } else { best })
}

/// Where the time of a mean request goes with the least and with the most load of a line.
fn times(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let rows = usable(model, block);
        let known: BTreeMap<usize, (f64, Parts)> =
            rows.iter().filter_map(|row| Some((row.cell, row.parts()?))).collect();
        let told = |cells: &[usize]| -> Vec<usize> {
            cells.iter().copied().filter(|cell| known.contains_key(cell)).collect()
        };
        let lines = block.load_lines().iter().map(|line| told(&line.cells));
        // Of equally long ones the first; without a load that varies the first cell.
        let line = lines.rev().max_by_key(Vec::len).filter(|line| !line.is_empty());
        let line = line.unwrap_or_else(|| known.keys().copied().take(1).collect());
        let (first, last) = (*line.first()?, *line.last()?);
        let fact = |cell: usize| {
            let (whole, parts) = known.get(&cell)?;
            let digits = model.digits(&[cell]);
            let part = |(name, ms): &(&'static str, f64)| {
                Facts::new().name("name", *name).part("part", (ms / whole).max(0.0)).number(
                    "ms",
                    *ms,
                    Unit::Ms,
                    digits,
                )
            };
            Some(
                Facts::new()
                    .place("place", place(model, &model.cells[cell]))
                    .number("whole", *whole, Unit::Ms, digits)
                    .list("parts", parts.iter().map(part)),
            )
        };
        let mut facts = Facts::new().facts("first", fact(first)?);
        let mut cells = vec![first];
        if last != first {
            facts = facts.facts("last", fact(last)?);
            cells.push(last);
        }
        Some(Finding::of_block(Kind::WhereTimeGoes, model, at, cells).with(facts))
    })
}

/// Tokens and mean TTFT by the client against the same by the server.
fn agreements(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let mut rows = usable(model, block);
        rows.retain(|row| row.is_comparable);
        let is_equal = |row: &EngineRow| {
            let file = model.cells[row.cell].file;
            let (client, engine) = (file.client_totals?, file.server_side.as_ref()?.engine.as_ref()?);
            let (input, output) = (client.input_tokens?, client.output_tokens?);
            Some(input == engine.prompt_tokens? && output == engine.generation_tokens?)
        };
        let equal: Vec<bool> = rows.iter().filter_map(is_equal).collect();
        let apart = |row: &EngineRow| Some((row.client_ttft_ms? - row.server_ttft_ms?).abs());
        let furthest = most(&rows, apart);
        if equal.is_empty() && furthest.is_none() {
            return None;
        }
        let mut facts = Facts::new()
            .count("compared", equal.len())
            .count("equal", equal.iter().filter(|equal| **equal).count());
        if let Some((row, apart)) = furthest {
            let digits = model.digits(&[row.cell]);
            let (client, server) = (row.client_ttft_ms?, row.server_ttft_ms?);
            let ttft = Facts::new()
                .place("place", place(model, &model.cells[row.cell]))
                .number("client", client, Unit::Ms, digits)
                .number("server", server, Unit::Ms, digits)
                .number("apart", apart, Unit::Ms, digits)
                .flag("agrees", apart <= AGREES * server);
            facts = facts.facts("ttft", ttft);
        }
        let cells = rows.iter().map(|row| row.cell);
        Some(Finding::of_block(Kind::ClientAndServer, model, at, cells).with(facts))
    })
}

/// How full the KV cache was, and how often it held back a running request.
fn kv_caches(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
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
        let mut facts = Facts::new();
        if let Some((row, peak)) = fullest {
            facts = facts.part("peak", peak).place("place", place(model, &model.cells[row.cell]));
        }
        // That none was preempted is known where every cell tells.
        if preempted > 0 || known.len() == rows.len() {
            facts = facts.count("preemptions", preempted as usize);
        }
        if let Some((row, most)) = most_preempted {
            facts = facts.count("preempted_cells", known.iter().filter(|n| **n > 0).count());
            if known.iter().filter(|n| **n as f64 == most).count() == 1 {
                facts = facts.place("most_at", place(model, &model.cells[row.cell]));
            }
        }
        let room = fullest.map_or(1.0, |(_, peak)| (1.0 - peak).max(ROOM));
        let strength = if preempted > 0 { 1.0 / ROOM } else { 1.0 / room };
        Some(Finding::of_block(Kind::KvCache, model, at, cells).strong_as(strength).with(facts))
    })
}

/// Processor time and memory of the server, and what a token takes in energy where it takes least.
fn machines(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let rows = usable(model, block);
        let energy = |row: &EngineRow| {
            let cell = &model.cells[row.cell];
            cell.ranked(Metric::OUTPUT)?;
            cell.file.gpu_j_per_output_token()
        };
        let here = |row: &EngineRow| place(model, &model.cells[row.cell]);
        let (mut facts, mut cells) = (Facts::new(), Vec::new());
        if let Some((row, cores)) = most(&rows, |row| row.server_cores) {
            facts = facts.number("cores", cores, Unit::Plain, 3).place("place", here(row));
            cells.push(row.cell);
        }
        if let Some((_, rss)) = most(&rows, |row| row.server_rss_gib) {
            facts = facts.number("memory", rss, Unit::Gib, 3);
        }
        if let Some((row, negative)) = most(&rows, |row| energy(row).map(|joules| -joules)) {
            let digits = model.digits(&[row.cell]);
            facts = facts.number("energy", -negative, Unit::Joule, digits).place("energy_at", here(row));
            cells.push(row.cell);
        }
        cells.dedup();
        (!cells.is_empty()).then(|| Finding::of_block(Kind::Machine, model, at, cells).with(facts))
    })
}

/// What part of its prompt tokens the prefix cache held: as the answers tell, else as the engine does.
fn cached(cell: &Cell<'_>) -> Option<f64> {
    let summary = cell.file.summary.as_ref();
    let tokens = summary.and_then(|summary| summary.cached_tokens.zip(summary.input_tokens));
    let by_usage = tokens.filter(|(_, input)| *input > 0).map(|(cached, input)| cached as f64 / input as f64);
    by_usage.or_else(|| cell.file.server_side.as_ref()?.engine.as_ref()?.prefix_hit_rate())
}

fn prefix_caches(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let cells = block.cells.iter().map(|at| &model.cells[*at]);
        let cells = cells.filter(|cell| cell.is_usable() && Some(cell.origin) == block.origin);
        let known: Vec<(&Cell<'_>, f64)> = cells.filter_map(|cell| Some((cell, cached(cell)?))).collect();
        let fullest = known.iter().copied();
        let (cell, most) = fullest.reduce(|best, own| if own.1 > best.1 { own } else { best })?;
        let least = known.iter().map(|(_, part)| *part).fold(most, f64::min);
        let is_meant =
            cell.plan.is_some_and(|plan| plan.spec.shared_prefix.is_some() || plan.spec.has_turns());
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
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        report::{
            finding::{Words, findings},
            fixtures,
        },
        store::StoredRun,
    };

    /// What a server tells of 200 requests: so long in the queue, so many output tokens, so many preemptions.
    fn told(queue_ms: f64, output: u64, preemptions: u64) -> Value {
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
            cell.server_side = serde_json::from_value(told(queue_ms, 12_800, 2)).unwrap();
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
        let own = RULES.iter().flat_map(|rule| rule(&model)).collect::<Vec<_>>();
        let said = Words::new(None).unwrap().say(&model, &own).unwrap();
        assert!(said.len() == 5 && said.iter().all(|sentence| !sentence.is_empty()), "{said:?}");
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
