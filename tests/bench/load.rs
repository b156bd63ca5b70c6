//! The client against its limits, with one command: `cargo bench --bench load`. See the README beside this
//! file.

#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod clock;
#[cfg(target_os = "linux")]
mod raw;
#[cfg(target_os = "linux")]
mod rows;
#[cfg(target_os = "linux")]
mod server;

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the benchmark needs Linux: its server and its raw reader are epoll loops");
}

#[cfg(target_os = "linux")]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is data, the rest is talk")]
fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let Some(played) = child::play(&words) {
        return match played {
            Ok(()) => std::process::ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}: {error}", words[0]);
                std::process::ExitCode::FAILURE
            }
        };
    }
    let quick = words.iter().any(|word| word == "--quick");
    let million = words.iter().any(|word| word == "--million");
    let only: Vec<&str> = words.iter().filter(|word| !word.starts_with('-')).map(String::as_str).collect();
    let repeats = if quick { 1 } else { 5 };
    let per_stream = if quick { 3 } else { 8 };
    type Measure<'a> = Box<dyn Fn() -> Result<Vec<rows::Row>, Box<dyn std::error::Error>> + 'a>;
    let mut measures: Vec<(&str, Measure<'_>)> = vec![
        ("events-16", Box::new(|| rows::events(16, false, repeats, ["≥ 90 %", "≤ 1.6 ×"]))),
        ("events-16-each", Box::new(|| rows::events(16, true, repeats, ["", ""]))),
        ("events-1", Box::new(|| rows::events(1, true, repeats, ["≥ 85 %", "≤ 1.5 ×"]))),
        ("streams", Box::new(|| rows::streams(repeats))),
        ("truth-64", Box::new(|| rows::truth(64, per_stream, repeats, true, "0.3 / 0.3"))),
        ("truth-512", Box::new(|| rows::truth(512, per_stream, repeats, true, "0.3 / 0.5"))),
        ("truth-1024", Box::new(|| rows::truth(1024, per_stream, repeats, true, "0.5 / 1"))),
        ("in-step-512", Box::new(|| rows::truth(512, per_stream, repeats, false, ""))),
        ("open", Box::new(|| rows::open(repeats))),
        ("memory", Box::new(|| rows::memory(if quick { 1000 } else { 9_000 }))),
        ("fixed", Box::new(|| rows::fixed(repeats))),
    ];
    if million {
        measures.push(("million", Box::new(|| rows::million(1_000_000))));
    }
    println!("| what | got | beside | target |\n|---|---|---|---|");
    let mut failed = false;
    for (name, measure) in measures {
        if !only.is_empty() && !only.iter().any(|word| name.starts_with(word)) {
            continue;
        }
        match measure() {
            Ok(rows) => {
                for row in rows {
                    println!("| {} | {} | {} | {} |", row.what, row.got, row.beside, row.target);
                }
            }
            Err(error) => {
                eprintln!("{name}: {error}");
                failed = true;
            }
        }
    }
    if failed { std::process::ExitCode::FAILURE } else { std::process::ExitCode::SUCCESS }
}
