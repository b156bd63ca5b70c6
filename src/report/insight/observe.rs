//! What a reader of the grids would notice: speed of one stream, peak, tail, scaling, waiting, lengths, cost, goodput.

use super::{
    Block, Insight, Rank, Yield, concurrency,
    delivered::saturation,
    length::lengths,
    may_rank_by, of,
    pareto::said,
    place,
    repeats::noise,
    scaling::growth,
    waiting::{held_up, waiting},
};
use crate::{
    observe::EngineSide,
    report::{
        headline::latency_name,
        number::{grouped, ms, percent, times, tok_s, usd},
    },
    store::CellFile,
};

/// TTFT this close to E2E means that nothing was streamed.
const SAME: f64 = 0.99;

/// A p95 within this ratio of its p50 is a short tail.
const SHORT: f64 = 1.3;

/// Speeds within this ratio are nearly the same.
const STEADY: f64 = 1.1;

/// The observations on one block. `usd_per_hour` is the machine's price, where it is known.
pub(in crate::report) fn observations(
    block: &Block<'_>,
    usd_per_hour: Option<f64>,
) -> Vec<Insight> {
    let measured: Vec<&CellFile> = block
        .cells
        .iter()
        .copied()
        .filter(|cell| cell.has_numbers())
        .collect();
    let mut found = Vec::new();
    found.extend(decode_speed(block, &measured));
    found.extend(peak(block, &measured));
    found.extend(tail(block, &measured));
    found.extend(growth(block));
    found.extend(saturation(block));
    let not_streamed = not_streamed(block, &measured);
    if not_streamed.is_none() {
        let waiting = waiting(block).or_else(|| ttft_share(block, &measured));
        // Where TTFT is all that is known of latency, one sentence is enough.
        let ends =
            |told: &Insight| ["from_ms", "to_ms"].map(|name| told.numbers.get(name).cloned());
        found.retain(|told| {
            told.kind != "latency_growth"
                || waiting.as_ref().is_none_or(|own| ends(own) != ends(told))
        });
        found.extend(waiting);
        found.extend(held_up(block));
    }
    found.extend(lengths(block));
    found.extend(said(block));
    found.extend(asked_and_got(block, &measured));
    found.extend(cost(block, &measured, usd_per_hour));
    found.extend(goodput(block, &measured));
    found.extend(not_streamed);
    found.extend(prefix_cache(block, &measured));
    found.extend(noise(block));
    found.extend(errors(&measured));
    found
}

/// The cell whose `key` is largest.
fn largest<'a>(
    cells: &[&'a CellFile],
    key: impl Fn(&CellFile) -> Option<f64>,
) -> Option<(&'a CellFile, f64)> {
    cells
        .iter()
        .filter_map(|cell| Some((*cell, key(cell)?)))
        .max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.id.cmp(&a.0.id)))
}

/// The cell whose latency is least, and that latency; of the median, else of the mean.
fn quickest<'a>(cells: &[&'a CellFile], metric: &str) -> Option<(&'a CellFile, String, f64)> {
    let key = Rank::Middle.key(cells, metric)?;
    let (cell, negative) = largest(cells, |cell| of(cell, &key).map(|ms| -ms))?;
    (negative < 0.0).then_some((cell, key, -negative))
}

fn decode_speed(block: &Block<'_>, measured: &[&CellFile]) -> Option<Insight> {
    let lone: Vec<&CellFile> = measured
        .iter()
        .copied()
        .filter(|cell| concurrency(cell) == Some(1.0))
        .collect();
    let (cells, who) = match lone.as_slice() {
        [] => (measured, "One user"),
        lone => (lone, "A single stream"),
    };
    let by_requests = || {
        let (cell, speed) = largest(cells, |cell| of(cell, "user"))?;
        let p50 = of(cell, "p50_tpot").map(|tpot| {
            format!(
                " (median over requests of 1 / TPOT; p50 TPOT {})",
                ms(Some(tpot))
            )
        });
        Some((cell, speed, p50.unwrap_or_default()))
    };
    let by_pace = || {
        let (cell, key, pace) = quickest(cells, "tpot")?;
        let how = format!(" (1 / {} of {})", latency_name(&key), ms(Some(pace)));
        Some((cell, 1e3 / pace, how))
    };
    // Only without others in flight is a gap between chunks the pace of decoding.
    let by_gaps = || {
        let (cell, key, gap) = quickest(&lone, "itl")?;
        let how = format!(
            " where each chunk is one token (1 / {} of {})",
            latency_name(&key),
            ms(Some(gap))
        );
        Some((cell, 1e3 / gap, how))
    };
    let told = by_requests().or_else(by_pace).or_else(by_gaps);
    let Some((cell, speed, how)) = told else {
        return whole_requests(block, &lone);
    };
    Some(Insight::new(
        "decode_speed",
        &[cell],
        &[("user_tok_s", speed)],
        format!(
            "{who} decodes at {}{how} at {}.",
            tok_s(Some(speed)),
            place(block, cell)
        ),
    ))
}

/// Without a TPOT only the whole request can be told: prefill and waiting are in it.
fn whole_requests(block: &Block<'_>, lone: &[&CellFile]) -> Option<Insight> {
    let (cell, speed) = largest(lone, |cell| of(cell, "throughput"))?;
    let (_, negative) = largest(lone, |cell| of(cell, "throughput").map(|rate| -rate))?;
    let least = -negative;
    let alike = lone.len() > 1 && speed <= STEADY * least;
    let (cells, range, where_text) = match alike {
        true => (
            lone,
            format!("{} to {}", tok_s(Some(least)), tok_s(Some(speed))),
            format!(
                ", nearly the same in all {} cells with one in flight",
                lone.len()
            ),
        ),
        false => (
            std::slice::from_ref(&cell),
            tok_s(Some(speed)),
            format!(" at {}", place(block, cell)),
        ),
    };
    Some(Insight::new(
        "decode_speed",
        cells,
        &[("throughput_tok_s", speed), ("least_tok_s", least)],
        format!(
            "A single stream gets {range} over its whole requests{where_text}; decoding alone is faster, but no TPOT was measured."
        ),
    ))
}

fn peak(block: &Block<'_>, measured: &[&CellFile]) -> Option<Insight> {
    let brings = Yield::of_cells(measured)?;
    let (cell, rate) = largest(measured, |cell| brings.of(cell))?;
    let share = concurrency(cell).filter(|users| *users > 1.0);
    let each = share.map(|users| {
        format!(
            ", {} for each of {} in flight",
            brings.said(Some(rate / users)),
            grouped(users, 0)
        )
    });
    Some(Insight::new(
        "peak",
        &[cell],
        &[(brings.column(), rate)],
        format!(
            "The highest {} is {} at {}{}.",
            brings.name(),
            brings.said(Some(rate)),
            place(block, cell),
            each.unwrap_or_default()
        ),
    ))
}

fn tail(block: &Block<'_>, measured: &[&CellFile]) -> Option<Insight> {
    let ratio = |cell: &CellFile| {
        let (p50, p95) = (of(cell, "p50_e2e")?, of(cell, "p95_e2e")?);
        (p50 > 0.0).then_some(p95 / p50)
    };
    let (cell, most) = largest(measured, ratio)?;
    let which = if measured.len() > 1 { "at most " } else { "" };
    let short = if most <= SHORT {
        "Tails are short: "
    } else {
        ""
    };
    Some(Insight::new(
        "tail",
        &[cell],
        &[("ratio", most)],
        format!(
            "{short}p95 E2E is {which}{} its p50 ({} and {} at {}).",
            times(most),
            ms(of(cell, "p95_e2e")),
            ms(of(cell, "p50_e2e")),
            place(block, cell)
        ),
    ))
}

/// Where no growth can be told: how much of a request is waiting for its first token.
fn ttft_share(block: &Block<'_>, measured: &[&CellFile]) -> Option<Insight> {
    let share = |cell: &CellFile| {
        let (ttft, e2e) = (of(cell, "p50_ttft")?, of(cell, "p50_e2e")?);
        (e2e > 0.0).then_some(ttft / e2e)
    };
    let (cell, most) = largest(measured, share)?;
    Some(Insight::new(
        "ttft_share",
        &[cell],
        &[("share", most)],
        format!(
            "The first token comes after {} of a median request: {} of {} at {}.",
            percent(Some(most)),
            ms(of(cell, "p50_ttft")),
            ms(of(cell, "p50_e2e")),
            place(block, cell)
        ),
    ))
}

fn asked_and_got(block: &Block<'_>, measured: &[&CellFile]) -> Option<Insight> {
    let lengths: Vec<(&CellFile, &crate::measure::OutputLength, u64)> = measured
        .iter()
        .filter_map(|cell| {
            let summary = cell.summary.as_ref()?;
            Some((
                *cell,
                summary.output_length.as_ref()?,
                summary.counts.completed,
            ))
        })
        .collect();
    let asked: u64 = lengths.iter().map(|(_, _, completed)| completed).sum();
    let shorter: u64 = lengths.iter().map(|(_, length, _)| length.shorter).sum();
    if asked == 0 {
        return None;
    }
    let cells: Vec<&CellFile> = lengths.iter().map(|(cell, _, _)| *cell).collect();
    let part = shorter as f64 / asked as f64;
    let worst = lengths
        .iter()
        .filter(|(_, length, _)| length.shorter > 0)
        .min_by(|a, b| (a.1.p50 / a.1.asked_p50()).total_cmp(&(b.1.p50 / b.1.asked_p50())));
    let text = match worst {
        None => format!(
            "Every one of {} answers has the length asked for.",
            grouped(asked as f64, 0)
        ),
        Some((cell, length, _)) => format!(
            "{} of {} answers ({}) ended before max_tokens; furthest at {}: asked {}, got {} at the median ({} to {}).",
            grouped(shorter as f64, 0),
            grouped(asked as f64, 0),
            percent(Some(part)),
            place(block, cell),
            grouped(length.asked_p50(), 0),
            grouped(length.p50, 0),
            length.min,
            length.max
        ),
    };
    Some(Insight::new(
        "asked_and_got",
        &cells,
        &[("shorter", shorter as f64), ("completed", asked as f64)],
        text,
    ))
}

fn cost(block: &Block<'_>, measured: &[&CellFile], usd_per_hour: Option<f64>) -> Option<Insight> {
    let price = usd_per_hour.filter(|price| price.is_finite() && *price > 0.0)?;
    let per_million = |rate: f64| price / (rate * 3600.0) * 1e6;
    let fit: Vec<&CellFile> = measured
        .iter()
        .copied()
        .filter(|cell| may_rank_by(cell, "throughput"))
        .collect();
    let cells = if fit.is_empty() {
        measured
    } else {
        fit.as_slice()
    };
    let positive = |cell: &CellFile| of(cell, "throughput").filter(|rate| *rate > 0.0);
    let (cheap, fast) = largest(cells, positive)?;
    let (dear, slow) = largest(cells, |cell| positive(cell).map(|rate| -rate))?;
    let low = per_million(fast);
    let mut text = format!(
        "A million output tokens cost {} at {} ({} per hour)",
        usd(Some(low)),
        place(block, cheap),
        usd(Some(price))
    );
    if dear.id != cheap.id {
        text.push_str(&format!(
            ", and {} at {}, {} as much",
            usd(Some(per_million(-slow))),
            place(block, dear),
            times(per_million(-slow) / low)
        ));
    }
    text.push('.');
    Some(Insight::new(
        "cost",
        &[cheap, dear],
        &[
            ("usd_per_million_output_tokens", low),
            ("usd_per_hour", price),
        ],
        text,
    ))
}

fn goodput(block: &Block<'_>, measured: &[&CellFile]) -> Option<Insight> {
    let (cell, good) = largest(measured, |cell| of(cell, "goodput"))?;
    let all = of(cell, "req_s")?;
    if good <= 0.0 || all <= 0.0 {
        return Some(Insight::new(
            "goodput",
            measured,
            &[("goodput_req_s", 0.0)],
            "Goodput is zero in every cell: no request met every SLO term.".into(),
        ));
    }
    Some(Insight::new(
        "goodput",
        &[cell],
        &[("goodput_req_s", good), ("req_s", all)],
        format!(
            "Goodput peaks at {}: {} requests per second met every SLO term, {} of all completed ones.",
            place(block, cell),
            grouped(good, 2),
            percent(Some(good / all))
        ),
    ))
}

fn not_streamed(block: &Block<'_>, measured: &[&CellFile]) -> Option<Insight> {
    let untimed: Vec<&CellFile> = measured
        .iter()
        .copied()
        // What another tool does not report may have been streamed all the same.
        .filter(|cell| cell.reported.is_empty())
        .filter(|cell| of(cell, "p50_ttft").is_none() && of(cell, "p50_e2e").is_some())
        .collect();
    if !untimed.is_empty() {
        return Some(Insight::new(
            "not_streamed",
            &untimed,
            &[],
            format!(
                "The answers of {} of {} measured cells were not streamed: each came whole, so TTFT, ITL and TPOT are absent; E2E, tokens and rates hold.",
                untimed.len(),
                measured.len(),
            ),
        ));
    }
    let same: Vec<&CellFile> = measured
        .iter()
        .copied()
        .filter(|cell| {
            of(cell, "p50_ttft")
                .zip(of(cell, "p50_e2e"))
                .is_some_and(|(ttft, e2e)| e2e > 0.0 && ttft >= SAME * e2e)
        })
        .collect();
    let cell = same.first()?;
    Some(Insight::new(
        "not_streamed",
        &same,
        &[],
        format!(
            "TTFT equals E2E in {} of {} measured cells (at {}: {} and {}): the answers came whole, so TTFT here says nothing about prefill or waiting.",
            same.len(),
            measured.len(),
            place(block, cell),
            ms(of(cell, "p50_ttft")),
            ms(of(cell, "p50_e2e"))
        ),
    ))
}

fn prefix_cache(block: &Block<'_>, measured: &[&CellFile]) -> Option<Insight> {
    let part = |cell: &CellFile| {
        let summary = cell.summary.as_ref()?;
        let input = summary.input_tokens.filter(|tokens| *tokens > 0);
        let by_usage = summary.cached_tokens.zip(input);
        let engine = || cell.server_side.as_ref()?.engine.as_ref();
        by_usage
            .map(|(cached, input)| cached as f64 / input as f64)
            .or_else(|| engine().and_then(EngineSide::prefix_hit_rate))
    };
    let (cell, most) = largest(measured, part)?;
    (most > 0.0).then(|| {
        Insight::new(
            "prefix_cache",
            &[cell],
            &[("cached_part", most)],
            format!(
                "The prefix cache already held up to {} of the prompt tokens (at {}): TTFT is lower than new prompts would see.",
                percent(Some(most)),
                place(block, cell)
            ),
        )
    })
}

fn errors(measured: &[&CellFile]) -> Option<Insight> {
    let hurt: Vec<&CellFile> = measured
        .iter()
        .copied()
        .filter(|cell| {
            cell.summary
                .as_ref()
                .is_some_and(|summary| summary.counts.completed < summary.counts.scheduled)
        })
        .collect();
    let total = |get: fn(&crate::measure::Counts) -> u64| -> u64 {
        hurt.iter()
            .filter_map(|cell| cell.summary.as_ref())
            .map(|summary| get(&summary.counts))
            .sum()
    };
    let scheduled = total(|counts| counts.scheduled);
    let lost = total(crate::measure::Counts::errors);
    let common = hurt
        .iter()
        .flat_map(|cell| &cell.errors)
        .max_by_key(|(_, number)| *number);
    (lost > 0).then(|| {
        let example = common.map(|(error, _)| format!(" Most common: {}.", error.trim_end_matches('.'))).unwrap_or_default();
        Insight::new(
            "errors",
            &hurt,
            &[("failed", lost as f64), ("scheduled", scheduled as f64)],
            format!(
                "{} of {} requests failed in {} degraded cells; their latencies are those of the requests that came through.{example}",
                grouped(lost as f64, 0),
                grouped(scheduled as f64, 0),
                hurt.len()
            ),
        )
    })
}
