//! Where the time went, by the server's own account, and whether it agrees with the client's.

use serde::Serialize;

use super::{Block, Insight, place};
use crate::{
    observe::{Durations, EngineSide, ServerSide},
    report::number::{grouped, ms, percent},
    store::CellFile,
};

/// A difference of mean TTFT below this part of it is not worth a word of doubt.
const TTFT_AGREES: f64 = 0.1;

/// The server's side of a block.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct ServerStory {
    /// One row for each measured cell whose engine told.
    pub(in crate::report) cells: Vec<Row>,
    /// What was not told, as sentences, each once.
    pub(in crate::report) absent: Vec<String>,
    /// How often it was asked, and how long an answer took, in words; empty where it was not.
    pub(in crate::report) scraping: String,
}

/// Where the time of one cell's requests went: means over all requests, warm-up included. Absent is what the server does
/// not tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Row {
    pub(in crate::report) cell: String,
    pub(in crate::report) place: String,
    pub(in crate::report) queue_ms: Option<f64>,
    pub(in crate::report) prefill_ms: Option<f64>,
    pub(in crate::report) decode_ms: Option<f64>,
    /// Server's mean E2E less the three: HTTP, tokens ↔ text, the way to the engine and back.
    pub(in crate::report) frontend_ms: Option<f64>,
    /// Client's mean E2E less the server's: network, and the client itself.
    pub(in crate::report) client_ms: Option<f64>,
    pub(in crate::report) client_e2e_ms: Option<f64>,
    pub(in crate::report) client_ttft_ms: Option<f64>,
    pub(in crate::report) server_ttft_ms: Option<f64>,
    pub(in crate::report) running_peak: Option<f64>,
    pub(in crate::report) waiting_peak: Option<f64>,
    pub(in crate::report) kv_usage_peak: Option<f64>,
    pub(in crate::report) preemptions: Option<u64>,
    pub(in crate::report) prefix_hit_rate: Option<f64>,
    pub(in crate::report) server_cores: Option<f64>,
    pub(in crate::report) server_rss_gib: Option<f64>,
}

impl Row {
    fn of(block: &Block<'_>, cell: &CellFile) -> Option<Self> {
        let side = cell.server_side.as_ref()?;
        let engine = side.engine.as_ref();
        let totals = cell.client_totals;
        let mean = |get: fn(&EngineSide) -> &Option<Durations>| get(engine?).as_ref()?.mean_ms;
        let (queue_ms, prefill_ms, decode_ms) = (
            mean(|engine| &engine.queue),
            mean(|engine| &engine.prefill),
            mean(|engine| &engine.decode),
        );
        let client_e2e_ms = totals.and_then(|totals| totals.e2e_mean_ms);
        let server_e2e_ms = mean(|engine| &engine.e2e);
        let frontend = || Some(server_e2e_ms? - queue_ms? - prefill_ms? - decode_ms?);
        Some(Self {
            cell: cell.id.clone(),
            place: place(block, cell),
            queue_ms,
            prefill_ms,
            decode_ms,
            frontend_ms: frontend(),
            client_ms: client_e2e_ms.zip(server_e2e_ms).map(|(c, s)| c - s),
            client_e2e_ms,
            client_ttft_ms: totals.and_then(|totals| totals.ttft_mean_ms),
            server_ttft_ms: mean(|engine| &engine.ttft),
            running_peak: engine.and_then(|engine| engine.running_peak),
            waiting_peak: engine.and_then(|engine| engine.waiting_peak),
            kv_usage_peak: engine.and_then(|engine| engine.kv_usage_peak),
            preemptions: engine.and_then(|engine| engine.preemptions),
            prefix_hit_rate: engine.and_then(EngineSide::prefix_hit_rate),
            server_cores: side.process.map(|process| process.cores),
            server_rss_gib: side
                .process
                .map(|process| process.peak_rss_bytes as f64 / f64::from(1 << 30)),
        })
    }

    /// The parts of a mean request: in the queue, prefill, decode, the server's front end, and what is not the server.
    fn parts(&self) -> Option<[f64; 5]> {
        let whole = self.client_e2e_ms.filter(|whole| *whole > 0.0)?;
        let parts = [
            self.queue_ms?,
            self.prefill_ms?,
            self.decode_ms?,
            self.frontend_ms?,
            self.client_ms?,
        ];
        Some(parts.map(|part| part / whole))
    }
}

fn sides<'a>(block: &Block<'a>) -> Vec<(&'a CellFile, &'a ServerSide)> {
    let measured = block
        .cells
        .iter()
        .filter(|cell| cell.outcome.is_measured() && !cell.predicted);
    measured
        .filter_map(|cell| Some((*cell, cell.server_side.as_ref()?)))
        .collect()
}

/// What the server of a block told; `None` where nobody asked, as in runs of an older runner.
pub(in crate::report) fn story(block: &Block<'_>) -> Option<ServerStory> {
    let sides = sides(block);
    if sides.is_empty() {
        return None;
    }
    let mut absent: Vec<String> = Vec::new();
    for reason in sides.iter().flat_map(|(_, side)| &side.absent) {
        if !absent.contains(reason) {
            absent.push(reason.clone());
        }
    }
    Some(ServerStory {
        cells: sides
            .iter()
            .filter(|(_, side)| side.engine.is_some())
            .filter_map(|(cell, _)| Row::of(block, cell))
            .collect(),
        absent,
        scraping: scraping(&sides),
    })
}

fn scraping(sides: &[(&CellFile, &ServerSide)]) -> String {
    let asked: Vec<_> = sides.iter().filter_map(|(_, side)| side.scraping).collect();
    let slowest = asked.iter().filter_map(|s| s.max_ms).max_by(f64::total_cmp);
    let (Some(first), Some(slowest)) = (asked.first(), slowest) else {
        return String::new();
    };
    let scrapes: u32 = asked.iter().map(|s| s.scrapes).sum();
    let sum: f64 = asked
        .iter()
        .filter_map(|s| Some(s.mean_ms? * f64::from(s.scrapes)))
        .sum();
    let every = match first.every_s {
        0.0 => "before and after each repeat".to_owned(),
        seconds => format!(
            "before, every {} s of, and after each repeat",
            grouped(seconds, if seconds < 1.0 { 2 } else { 0 })
        ),
    };
    format!(
        "/metrics was asked {every}: {scrapes} times, {} on average and {} at most.",
        ms(Some(sum / f64::from(scrapes))),
        ms(Some(slowest))
    )
}

/// What the server's side says, in the order it is read.
pub(in crate::report) fn server_side(block: &Block<'_>) -> Vec<Insight> {
    let rows: Vec<(&CellFile, Row)> = sides(block)
        .into_iter()
        .filter_map(|(cell, _)| Some((cell, Row::of(block, cell)?)))
        .collect();
    [
        where_time_goes(&rows),
        agreement(&rows),
        kv_cache(&rows),
        machine(&rows),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The shares of the cell that is quickest and of the one that is slowest: what grows is where the load goes.
fn where_time_goes(rows: &[(&CellFile, Row)]) -> Option<Insight> {
    let mut told: Vec<(&CellFile, &Row, [f64; 5])> = rows
        .iter()
        .filter_map(|(cell, row)| Some((*cell, row, row.parts()?)))
        .collect();
    let whole = |row: &Row| row.client_e2e_ms.unwrap_or(f64::INFINITY);
    told.sort_by(|a, b| whole(a.1).total_cmp(&whole(b.1)));
    let said = |(_, row, parts): &(&CellFile, &Row, [f64; 5])| {
        let words = [
            "queue",
            "prefill",
            "decode",
            "front end",
            "network and client",
        ];
        let parts: Vec<String> = parts
            .iter()
            .zip(words)
            .map(|(part, word)| format!("{} {word}", percent(Some(*part))))
            .collect();
        format!(
            "{} at {} ({})",
            ms(row.client_e2e_ms),
            row.place,
            parts.join(", ")
        )
    };
    let (first, last) = (told.first()?, told.last()?);
    let mut text = format!("A mean request takes {}", said(first));
    let mut cells = vec![first.0];
    if first.0.id != last.0.id {
        text.push_str(&format!(", and {}", said(last)));
        cells.push(last.0);
    }
    text.push('.');
    let [queue, prefill, decode, frontend, client] = last.2;
    Some(Insight::new(
        "where_time_goes",
        &cells,
        &[
            ("queue_part", queue),
            ("prefill_part", prefill),
            ("decode_part", decode),
            ("frontend_part", frontend),
            ("client_part", client),
        ],
        text,
    ))
}

/// Tokens and mean TTFT by the client against the same by the server.
fn agreement(rows: &[(&CellFile, Row)]) -> Option<Insight> {
    let mut equal = 0;
    let mut compared = 0;
    for (cell, _) in rows {
        let engine = cell
            .server_side
            .as_ref()
            .and_then(|side| side.engine.as_ref());
        let pairs = cell.client_totals.zip(engine).map(|(totals, engine)| {
            [
                totals.input_tokens.zip(engine.prompt_tokens),
                totals.output_tokens.zip(engine.generation_tokens),
            ]
        });
        if let Some([Some(input), Some(output)]) = pairs {
            compared += 1;
            equal += usize::from(input.0 == input.1 && output.0 == output.1);
        }
    }
    let tokens = match (equal, compared) {
        (_, 0) => None,
        (1, 1) => Some("prompt and output tokens are the same to the token".to_owned()),
        (equal, compared) if equal == compared => Some(format!(
            "prompt and output tokens are the same to the token in all {compared} cells"
        )),
        (equal, compared) => Some(format!(
            "prompt and output tokens are the same in {equal} of {compared} cells (what did not complete, only the server counts)"
        )),
    };
    let furthest = rows
        .iter()
        .filter_map(|(cell, row)| Some((*cell, row, row.client_ttft_ms? - row.server_ttft_ms?)))
        .max_by(|a, b| a.2.abs().total_cmp(&b.2.abs()));
    let ttft = furthest.map(|(_, row, apart)| {
        let doubt = match row.server_ttft_ms {
            Some(server) if apart.abs() > server * TTFT_AGREES => {
                ", which is time that no metric of the engine has"
            }
            _ => "",
        };
        let sign = if apart < 0.0 { "−" } else { "+" };
        format!(
            "the mean TTFT of the client is at most {sign}{} from the server's ({} and {} at {}){doubt}",
            ms(Some(apart.abs())),
            ms(row.client_ttft_ms),
            ms(row.server_ttft_ms),
            row.place
        )
    });
    let said: Vec<String> = [tokens, ttft].into_iter().flatten().collect();
    if said.is_empty() {
        return None;
    }
    let cells: Vec<&CellFile> = rows.iter().map(|(cell, _)| *cell).collect();
    let apart = furthest.map(|(_, _, apart)| ("ttft_difference_ms", apart));
    let numbers: Vec<(&str, f64)> = [
        Some(("cells_compared", compared as f64)),
        Some(("cells_equal", equal as f64)),
        apart,
    ]
    .into_iter()
    .flatten()
    .collect();
    Some(Insight::new(
        "client_and_server",
        &cells,
        &numbers,
        format!(
            "Client against the server's own counters: {}.",
            said.join("; ")
        ),
    ))
}

fn kv_cache(rows: &[(&CellFile, Row)]) -> Option<Insight> {
    let fullest = rows
        .iter()
        .filter_map(|(cell, row)| Some((*cell, row, row.kv_usage_peak?)))
        .max_by(|a, b| a.2.total_cmp(&b.2));
    let (cell, row, most) = fullest?;
    let preempted: Option<u64> = rows.iter().map(|(_, row)| row.preemptions).sum();
    let then = match preempted {
        Some(0) => "; no request was preempted".to_owned(),
        Some(count) => format!(
            "; requests were preempted {} times",
            grouped(count as f64, 0)
        ),
        None => String::new(),
    };
    let mut numbers = vec![("kv_usage_peak", most)];
    numbers.extend(preempted.map(|count| ("preemptions", count as f64)));
    Some(Insight::new(
        "kv_cache",
        &[cell],
        &numbers,
        format!(
            "The KV cache was at most {} full, at {}{then}.",
            percent(Some(most)),
            row.place
        ),
    ))
}

fn machine(rows: &[(&CellFile, Row)]) -> Option<Insight> {
    let (cell, row, cores) = rows
        .iter()
        .filter_map(|(cell, row)| Some((*cell, row, row.server_cores?)))
        .max_by(|a, b| a.2.total_cmp(&b.2))?;
    let rss = rows
        .iter()
        .filter_map(|(_, row)| row.server_rss_gib)
        .max_by(f64::total_cmp)?;
    // What a token costs in energy, where it costs least.
    let energy = rows
        .iter()
        .filter_map(|(cell, row)| Some((row, cell.gpu_j_per_output_token()?)))
        .min_by(|a, b| a.1.total_cmp(&b.1));
    let mut numbers = vec![("server_cores", cores), ("server_rss_gib", rss)];
    let mut text = format!(
        "The server's processes keep {} cores busy at most (at {}) and hold {} GiB of memory",
        grouped(cores, 2),
        row.place,
        grouped(rss, 2)
    );
    if let Some((row, joules)) = energy {
        numbers.push(("gpu_j_per_output_token", joules));
        text.push_str(&format!(
            "; its GPUs take {} J for each output token at least (at {})",
            grouped(joules, 3),
            row.place
        ));
    }
    text.push('.');
    Some(Insight::new("machine", &[cell], &numbers, text))
}
