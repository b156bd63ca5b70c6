//! How many measurements lie inside the 90 % interval of their prediction. This prints the factors of the
//! intervals, estimated anew, and the coverage of each metric and part:
//! `cargo test --test cli coverage -- --nocapture`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
};

use runner::{
    engine::{
        hardware::{GIB, find_gpu},
        memory::{Misfit, Settings, fit},
        model_catalogue::find_model,
    },
    manifest::{Catalogue, Flags},
    measure::Metric,
    predict::{Accuracy, KV_CACHE, Spread},
};

use crate::{
    published::{self, Compared, Part},
    support::runner,
};

/// One number that was measured and predicted.
#[derive(Clone)]
struct Pair {
    /// The source: errors within one are correlated.
    source: String,
    part: &'static str,
    metric: Metric,
    /// How the program calls the prediction.
    accuracy: Accuracy,
    measured: f64,
    predicted: f64,
}

/// The kinds of metric that have a factor of their own.
const KINDS: [&str; 4] = ["TTFT", "TPOT", "E2E", "throughput"];

fn kind(metric: Metric) -> &'static str {
    let name = metric.key();
    let kinds = [("ttft", KINDS[0]), ("tpot", KINDS[1]), ("e2e", KINDS[2]), ("throughput", KINDS[3])];
    kinds.into_iter().find(|(end, _)| name.ends_with(end)).unwrap().1
}

impl Pair {
    /// ln(measured / predicted), where the client and the front end may add up to `plus_ms` to a TTFT.
    fn error(&self, plus_ms: f64) -> f64 {
        let plus_ms = if kind(self.metric) == "TTFT" { plus_ms } else { 0.0 };
        let (measured, predicted) = (self.measured, self.predicted);
        (measured / measured.clamp(predicted, predicted + plus_ms)).ln()
    }
}

/// 95 % quantile of Student's distribution.
fn student(df: usize) -> f64 {
    const QUANTILES: [f64; 15] = [
        6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761,
        1.753,
    ];
    QUANTILES.get(df.saturating_sub(1)).copied().unwrap_or(1.645 + 1.55 / df as f64)
}

/// Twice the largest excess over a TTFT that was predicted below 50 ms.
fn front_end(pairs: &[Pair]) -> f64 {
    let small = pairs.iter().filter(|pair| kind(pair.metric) == "TTFT" && pair.predicted < 50.0);
    2.0 * small.map(|pair| pair.measured - pair.predicted).fold(0.0, f64::max)
}

/// The factor of an interval of 90 %, and the standard deviation within a source, as `predict::interval`
/// documents them.
fn factor(pairs: &[Pair], plus_ms: f64) -> (f64, f64) {
    let mut errors: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for pair in pairs {
        errors.entry(&pair.source).or_default().push(pair.error(plus_ms));
    }
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
    let between = errors.values().map(|own| mean(own).powi(2)).sum::<f64>() / errors.len() as f64;
    let squares = |own: &Vec<f64>| own.iter().map(|error| (error - mean(own)).powi(2)).sum::<f64>();
    let freedom = (pairs.len() - errors.len()).max(1) as f64;
    let within = errors.values().map(squares).sum::<f64>() / freedom;
    ((student(errors.len()) * (between + within).sqrt()).exp(), within.sqrt())
}

/// One row of the table: the pairs, how many lie inside with the program's factors, and how many with the
/// factors that the other sources give.
struct Row {
    pairs: usize,
    sources: usize,
    inside: usize,
    left_out: usize,
    widths: Vec<f64>,
}

fn is_inside(pair: &Pair, spread: Spread) -> bool {
    let [low, high] = spread.around(pair.predicted);
    (low..=high).contains(&pair.measured)
}

/// The spread of a pair's metric that the other sources give.
fn without(all: &[Pair], pair: &Pair) -> Spread {
    let others: Vec<Pair> = all.iter().filter(|other| other.source != pair.source).cloned().collect();
    let plus_ms = front_end(&others);
    let own: Vec<Pair> = others.into_iter().filter(|other| kind(other.metric) == kind(pair.metric)).collect();
    let plus_ms = if kind(pair.metric) == "TTFT" { plus_ms } else { 0.0 };
    Spread { factor: factor(&own, plus_ms).0, plus_ms }
}

fn row<'a>(all: &[Pair], of: impl Iterator<Item = &'a Pair>, accuracy: Accuracy) -> Row {
    let mut row = Row { pairs: 0, sources: 0, inside: 0, left_out: 0, widths: Vec::new() };
    let mut sources: BTreeSet<&str> = BTreeSet::new();
    for pair in of {
        let spread = Spread::of(pair.metric, accuracy).unwrap();
        let [low, high] = spread.around(pair.predicted);
        row.pairs += 1;
        sources.insert(&pair.source);
        row.inside += usize::from(is_inside(pair, spread));
        row.left_out += usize::from(is_inside(pair, without(all, pair)));
        row.widths.push(high / low);
    }
    row.sources = sources.len();
    row.widths.sort_by(f64::total_cmp);
    row
}

impl Row {
    fn text(&self, accuracy: &str, metric: &str, part: &str) -> String {
        let share = |count: usize| {
            format!("{count}/{} {:.0} %", self.pairs, 100.0 * count as f64 / self.pairs as f64)
        };
        format!(
            "{accuracy:<12} {metric:<11} {part:<11} {:>4} {:>8} {:>14} {:>15} {:>7.2}",
            self.pairs,
            self.sources,
            share(self.inside),
            share(self.left_out),
            self.widths[self.widths.len() / 2],
        )
    }
}

/// The published figures, as today's constants predict them.
fn figures(compared: &[Compared]) -> Vec<Pair> {
    let pair = |one: &Compared| Pair {
        source: one.source.clone(),
        part: match one.part {
            Part::Tune => "tuning",
            Part::HeldOut => "validation",
            Part::Later => "later",
        },
        metric: one.metric,
        accuracy: match one.accuracy.as_str() {
            "validated" => Accuracy::Validated,
            "unvalidated" => Accuracy::Unvalidated,
            other => panic!("{other}"),
        },
        measured: one.measured,
        predicted: one.predicted,
    };
    compared.iter().map(pair).collect()
}

/// The same figures, as they were predicted before tuning: the errors are in the table of README.md.
fn before_tuning(compared: &[Compared]) -> Vec<Pair> {
    let readme = std::fs::read_to_string(root().join("tests/data/README.md")).unwrap();
    let errors = |id: &str| -> Vec<f64> {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{id}` |"))).unwrap();
        let number = |word: &str| word.replace('−', "-").trim_start_matches('+').parse::<f64>().unwrap();
        row.split('|').nth(3).unwrap().split_whitespace().map(number).collect()
    };
    let mut pairs = Vec::new();
    let tuned: Vec<&Compared> = compared.iter().filter(|one| one.part != Part::Later).collect();
    let ids: BTreeSet<&str> = tuned.iter().map(|one| one.id.as_str()).collect();
    for id in ids {
        let own: Vec<&&Compared> = tuned.iter().filter(|one| one.id == id).collect();
        let errors = errors(id);
        assert_eq!(own.len(), errors.len(), "{id}");
        for (one, error) in own.into_iter().zip(errors) {
            let predicted = one.measured * (1.0 + error / 100.0);
            let part = if one.part == Part::Tune { "tuning" } else { "validation" };
            pairs.push(Pair {
                source: id.to_owned(),
                part,
                metric: one.metric,
                accuracy: Accuracy::Unvalidated,
                measured: one.measured,
                predicted,
            });
        }
    }
    pairs
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The chat grid on an RTX 2000 Ada, predicted with the constants of the catalogue.
fn rtx2000() -> Vec<Pair> {
    let words = ["predict", "experiments/day003.toml", "--only", "chat-*", "--against"];
    let words = [&words[..], &["tests/data/rtx2000_chat_grid.csv"]].concat();
    let (table, said, code) = runner(root(), &words);
    assert_eq!(code, Some(0), "{said}");
    assert!(table.contains("measured cells lie inside the 90 % interval of p50 E2E"), "{table}");
    let pair = |line: &str| {
        let numbers: Vec<f64> =
            line.split_whitespace().skip(2).take(2).map(|own| own.parse().unwrap()).collect();
        Pair {
            source: "rtx2000".to_owned(),
            part: "own grid",
            metric: Metric::P50_E2E,
            accuracy: Accuracy::Validated,
            measured: numbers[1],
            predicted: numbers[0],
        }
    };
    table.lines().filter(|line| line.starts_with("chat-")).map(pair).collect()
}

/// The cells of the calibrated grid that the calibration was not fitted to, and its error on the others.
fn calibrated() -> (Vec<Pair>, f64) {
    let folder = root().join("results/cpu-grid/cpu-2core");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let stored: serde_json::Value = serde_json::from_str(&read("predicted.json")).unwrap();
    let calibration = &stored["basis"]["calibration"];
    let fitted: Vec<&str> =
        calibration["fitted"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let table = read("cells.csv");
    let mut lines = csv::Reader::from_reader(table.as_bytes());
    let head = lines.headers().unwrap().clone();
    let mut pairs = Vec::new();
    for line in lines.records().map(Result::unwrap).filter(|line| !fitted.contains(&&line[0])) {
        for metric in [Metric::P50_TTFT, Metric::P50_TPOT, Metric::P50_E2E, Metric::OUTPUT] {
            let at = head.iter().position(|name| name == metric.column()).unwrap();
            pairs.push(Pair {
                source: "cpu-grid".to_owned(),
                part: "calibrated",
                metric,
                accuracy: Accuracy::Validated,
                measured: line[at].parse().unwrap(),
                predicted: stored["cells"][&line[0]][metric.column()].as_f64().unwrap(),
            });
        }
    }
    (pairs, calibration["median_e2e_error"].as_f64().unwrap())
}

/// The logged KV caches and their predictions, in tokens, as `engine::memory` is tested with.
fn kv_caches() -> Vec<Pair> {
    let text = std::fs::read_to_string(root().join("tests/recorded/kv-cache-sizes.toml")).unwrap();
    let logged: toml::Table = toml::from_str(&text).unwrap();
    let own = Catalogue::default();
    let pair = |line: &toml::Value| {
        let text = |key: &str| line[key].as_str().unwrap();
        let number =
            |key: &str| line.get(key).and_then(|own| own.as_float().or(own.as_integer().map(|n| n as f64)));
        let mut gpu = find_gpu(text("gpu"), &own).unwrap();
        gpu.memory_bytes = (number("memory_gib").unwrap() * GIB) as u64;
        let mut model = find_model(text("model"), &own).unwrap();
        let flags: Flags = line["flags"].clone().try_into().unwrap();
        let settings = Settings::of_flags(&flags, &gpu, &mut model).unwrap();
        let predicted = match fit(&gpu, &model, &settings) {
            Ok(fit) => fit.kv_tokens(),
            Err(Misfit::KvTooSmall { estimated, .. }) => estimated + settings.block_size,
            Err(misfit) => panic!("{misfit}"),
        };
        let per_token = model.kv_bytes_per_token(settings.kv_type, settings.tensor_parallel) as f64;
        let measured = number("kv_tokens").or(number("kv_gib").map(|gib| gib * GIB / per_token)).unwrap();
        Pair {
            // One thread may have several logs: "owner/name#number, which".
            source: text("thread").split(',').next().unwrap().to_owned(),
            part: "logs",
            metric: Metric::OUTPUT,
            accuracy: Accuracy::Validated,
            measured,
            predicted: predicted as f64,
        }
    };
    logged["log"].as_array().unwrap().iter().map(pair).collect()
}

/// The factors of the program beside those that the pairs give.
fn factors(pairs: &[Pair], accuracy: Accuracy, table: &mut String) {
    let plus_ms = front_end(pairs);
    for name in KINDS {
        let own: Vec<Pair> = pairs.iter().filter(|pair| kind(pair.metric) == name).cloned().collect();
        let (estimate, within) = factor(&own, plus_ms);
        let spread = Spread::of(own[0].metric, accuracy).unwrap();
        let plus =
            if name == "TTFT" { format!(" and {} ms, {plus_ms:.0}", spread.plus_ms) } else { String::new() };
        writeln!(
            table,
            "{:<12} {name:<11} factor {:.2}, estimated anew {estimate:.2}{plus}; deviation within a source {within:.3}",
            accuracy.name(),
            spread.factor,
        )
        .unwrap();
        // Long TTFT on unknown hardware was never compared: it has the factor of E2E.
        let is_own = accuracy == Accuracy::Validated || name != "TTFT";
        let off = (spread.factor / estimate).ln().abs();
        assert!(if is_own { off < 0.03 } else { spread.factor > estimate }, "{table}");
        if accuracy == Accuracy::Validated {
            let fitted = Spread::of(own[0].metric, Accuracy::Calibrated { median_error: 0.0 }).unwrap();
            assert!((fitted.factor.ln() / (1.645 * within) - 1.0).abs() < 0.05, "{name}: {}", fitted.factor);
            assert!(name != "TTFT" || (spread.plus_ms / plus_ms - 1.0).abs() < 0.1, "{table}");
        }
    }
}

/// The rows of each metric, by part and in all. Returns how many pairs lie inside the intervals that the other
/// sources give.
fn rows(pairs: &[Pair], accuracy: Accuracy, table: &mut String) -> usize {
    let parts: BTreeSet<&str> = pairs.iter().map(|pair| pair.part).collect();
    let mut kept = 0;
    for name in KINDS {
        for part in &parts {
            let own = || pairs.iter().filter(|pair| kind(pair.metric) == name && pair.part == *part);
            if own().next().is_some() {
                let row = row(pairs, own(), accuracy);
                writeln!(table, "{}", row.text(accuracy.name(), name, part)).unwrap();
            }
        }
        let all = row(pairs, pairs.iter().filter(|pair| kind(pair.metric) == name), accuracy);
        writeln!(table, "{}", all.text(accuracy.name(), name, "all")).unwrap();
        kept += all.left_out;
    }
    let all = pairs.len();
    let share = 100.0 * kept as f64 / all as f64;
    writeln!(
        table,
        "{:<12} all metrics: {kept} of {all} ({share:.0} %) inside with their source left out",
        accuracy.name()
    )
    .unwrap();
    kept
}

#[test]
#[expect(clippy::print_stdout, reason = "the table is what the README's command is for")]
fn coverage_of_the_intervals_is_what_they_promise() {
    let compared = published::compare_all(&published::published());
    let mut known = figures(&compared);
    known.extend(rtx2000());
    let unknown = before_tuning(&compared);
    let (fitted, median_error) = calibrated();
    let mut table = String::new();
    factors(&known, Accuracy::Validated, &mut table);
    factors(&unknown, Accuracy::Unvalidated, &mut table);
    let caches = kv_caches();
    let (estimate, _) = factor(&caches, 0.0);
    let inside = caches.iter().filter(|pair| pair.error(0.0).abs() <= KV_CACHE.ln()).count();
    writeln!(
        table,
        "KV cache     factor {KV_CACHE}, estimated anew {estimate:.2}; {inside} of {} logs inside",
        caches.len()
    )
    .unwrap();
    assert!((KV_CACHE / estimate).ln().abs() < 0.02, "{table}");
    let head = ["predictions", "metric", "part", "n", "sources", "inside", "source left out", "width"];
    writeln!(
        table,
        "{:<12} {:<11} {:<11} {:>4} {:>8} {:>14} {:>15} {:>7}",
        head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7]
    )
    .unwrap();
    for (pairs, accuracy) in [(&known, Accuracy::Validated), (&unknown, Accuracy::Unvalidated)] {
        let kept = rows(pairs, accuracy, &mut table);
        assert!(kept as f64 >= 0.88 * pairs.len() as f64, "{table}");
    }
    let calibrated = Accuracy::Calibrated { median_error };
    let mut met = 0;
    for name in KINDS {
        let own: Vec<&Pair> = fitted.iter().filter(|pair| kind(pair.metric) == name).collect();
        let spread = Spread::of(own[0].metric, calibrated).unwrap();
        let inside = own.iter().filter(|pair| is_inside(pair, spread)).count();
        met += inside;
        let row = Row {
            pairs: own.len(),
            sources: 1,
            inside,
            left_out: inside,
            widths: vec![spread.factor.powi(2)],
        };
        writeln!(table, "{}", row.text("calibrated", name, "cpu-grid")).unwrap();
    }
    assert!(met as f64 >= 0.88 * fitted.len() as f64, "{table}");
    let printed =
        known.iter().filter(|pair| is_inside(pair, Spread::of(pair.metric, pair.accuracy).unwrap())).count();
    println!("{table}");
    println!("{printed} of {} figures lie inside the interval that `runner predict` prints", known.len());
}
