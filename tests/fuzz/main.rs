//! Every parser of foreign input, fed with mutated recordings: no panic, bounded memory, and one outcome
//! each. Every target runs for two seconds, or for `RUNNER_TEST_FUZZ_SECONDS`; `RUNNER_TEST_FUZZ_SEED` gives
//! other inputs. A failing input is written to a file, which the message names.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod answer;
mod hostile;
mod memory;
mod mutate;

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use answer::{Pieces, TIMEOUT, ask};
use camino::{Utf8Path, Utf8PathBuf};
use mutate::{below, mutate, random};
use rand_chacha::ChaCha8Rng;
use runner::{
    load::Outcome,
    manifest::{Manifest, Overrides},
    observe, plan, report, server, store,
};

/// Memory limit of all targets together, bytes.
const MOST_MEMORY: u64 = 512 << 20;
/// Time limit of one input, far above what any takes.
const LONGEST: Duration = Duration::from_secs(20);

fn told(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Feeds inputs to a target until its time is over.
#[expect(clippy::print_stdout, reason = "the seed is worth reading, and cargo shows it when a test fails")]
fn fuzz(target: &str, corpus: &[Vec<u8>], mut take: impl FnMut(&[u8], &mut ChaCha8Rng)) {
    assert!(!corpus.is_empty(), "{target} has no corpus");
    let seed = told("RUNNER_TEST_FUZZ_SEED", 1);
    let span = Duration::from_secs(told("RUNNER_TEST_FUZZ_SECONDS", 2));
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < span || number < 50 {
        let mut random = random(seed, number);
        // The corpus itself comes first.
        let input = match corpus.get(number as usize) {
            Some(whole) => whole.clone(),
            None => mutate(&mut random, corpus),
        };
        let since = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| take(&input, &mut random)));
        if result.is_err() || since.elapsed() > LONGEST {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}-{seed}-{number}"));
            fs::write(&path, &input).unwrap();
            panic!(
                "{target}: input {number} of seed {seed} fails after {:?}: {}",
                since.elapsed(),
                path.display()
            );
        }
        number += 1;
    }
    println!("{target}: {number} inputs of seed {seed}");
    let peak = memory::peak();
    assert!(peak < MOST_MEMORY, "{target}: {peak} bytes of memory");
}

fn recorded(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(folder);
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .filter(|file| file.path().is_file())
        .map(|file| (file.file_name().to_string_lossy().into_owned(), fs::read(file.path()).unwrap()))
        .collect();
    files.sort();
    files
}

/// Splits bytes at random places.
fn pieces(bytes: &[u8], random: &mut ChaCha8Rng) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let most = [1, 7, 300, 1 << 14][below(random, 4)];
        let (piece, behind) = rest.split_at((1 + below(random, most)).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = behind;
    }
    pieces
}

/// HTTP head, framing, events and their JSON, as the client reads them.
#[test]
fn answers() {
    let mut corpus = Vec::new();
    for (_, stream) in recorded("streams") {
        // A recording may hold the head already.
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n".as_slice();
        if stream.starts_with(b"HTTP/") {
            corpus.push(stream);
            continue;
        }
        corpus.push([head, b"\r\n", &stream].concat());
        let mut chunked = [head, b"transfer-encoding: chunked\r\n\r\n"].concat();
        for part in stream.chunks(50) {
            chunked.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            chunked.extend_from_slice(part);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        corpus.push(chunked);
    }
    let mut completed = 0;
    fuzz("answers", &corpus, |input, random| {
        let stays = below(random, 2) == 0;
        let server = Pieces { pieces: pieces(input, random), stays };
        let (record, took) = ask(server);
        completed += u32::from(record.outcome == Outcome::Completed);
        assert!(took <= TIMEOUT + Duration::from_secs(2), "{took:?}");
        assert!(record.chunks.len() <= input.len());
        let stamps: Vec<_> = record.chunks.iter().collect();
        assert!(stamps.is_sorted());
        assert!(record.end >= record.sent.unwrap_or_default());
    });
    assert!(completed > 0, "no answer was whole: the target tests nothing");
}

/// Manifests, and the plans of the valid ones.
#[test]
fn manifests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut corpus: Vec<Vec<u8>> = ["experiments", "src/cli"]
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap().flatten())
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "toml"))
        .map(|path| fs::read(path).unwrap())
        .collect();
    corpus.sort();
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(folder.path().join("manifest.toml")).unwrap();
    fuzz("manifests", &corpus, |input, random| {
        fs::write(&path, input).unwrap();
        let overrides = Overrides { set: Vec::new(), sim: below(random, 4) == 0, gpu: None };
        let (manifest, findings) = Manifest::load(&path, &overrides);
        let shown = findings.render(below(random, 2) == 0);
        assert!(!shown.contains("\x1b[2J"), "a manifest's escapes reach the terminal");
        if let Some(manifest) = manifest {
            let (_, findings) = plan::plan(&manifest);
            findings.render(true);
        }
    });
}

/// Server logs, from which the cause of a failure is read.
#[test]
fn logs() {
    let corpus: Vec<Vec<u8>> = recorded("vllm")
        .into_iter()
        .filter(|(name, _)| name.ends_with(".log"))
        .map(|(_, bytes)| bytes)
        .collect();
    fuzz("logs", &corpus, |input, random| {
        let code = [None, Some(1), Some(-9)][below(random, 3)];
        let (_, reason) = server::classify(input, code, below(random, 2) == 0);
        assert!(reason.len() < 100_000);
    });
}

/// Two scrapes of `/metrics` and their difference.
#[test]
fn metrics() {
    let corpus: Vec<Vec<u8>> = recorded("vllm")
        .into_iter()
        .filter(|(name, _)| name.contains("metrics"))
        .map(|(_, bytes)| bytes)
        .collect();
    let mut known = 0;
    fuzz("metrics", &corpus, |input, random| {
        let other = &corpus[below(random, corpus.len())];
        let (before, after) =
            if below(random, 2) == 0 { (other.as_slice(), input) } else { (input, other.as_slice()) };
        let page = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if let Some(side) = observe::between_pages(&page(before), &page(after), 1.0) {
            known += 1;
            let text = serde_json::to_string(&side).unwrap();
            let read: observe::EngineSide = serde_json::from_str(&text).unwrap();
            // What a JSON number cannot say would be read as absent, or not at all.
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
    });
    assert!(known > 0, "no page was known: the target tests nothing");
}

/// Stored runs, read with their records and rendered.
#[test]
fn stored_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/cpu-smollm2/cpu-2core");
    let scratch = tempfile::tempdir().unwrap();
    let run = scratch.path().join("run");
    copy(&root, &run);
    let run = Utf8Path::from_path(&run).unwrap();
    let stored = store::read(run).unwrap();
    let cell = &stored.cells[0].id;
    let files: Vec<Utf8PathBuf> = ["run.json".into(), "plan.json".into(), format!("cells/{cell}/cell.json")]
        .into_iter()
        .chain([format!("servers/{}/server.json", stored.cells[0].server)])
        .map(|relative| run.join(relative))
        .collect();
    let whole: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    fuzz("stored-runs", &whole, |input, random| {
        let which = below(random, files.len());
        fs::write(&files[which], input).unwrap();
        if let Ok(stored) = store::read(run)
            && let Ok(notes) = report::render(&stored, None)
        {
            for note in notes {
                assert!(!note.text.contains('\x1b'), "an escape reaches the notes");
            }
        }
        fs::write(&files[which], &whole[which]).unwrap();
    });
    // The records of a measured run are not in the repository: a cell of them is written here.
    let records = run.join(format!("cells/{cell}/records-1.jsonl.gz"));
    let mut lines = vec![format!("{{\"format\":1,\"cell\":\"{cell}\",\"repeat\":1,\"records\":3}}")];
    for index in 0..3 {
        lines.push(format!(
            "{{\"index\":{index},\"stream\":0,\"phase\":\"measured\",\"input\":0,\"scheduled\":1,\"sent\":2,\"headers\":3,\"chunks\":[4,5,6],\"end\":7,\"outcome\":\"completed\",\"status\":200,\"max_tokens\":3,\"reused_connection\":true}}"
        ));
    }
    let text = (lines.join("\n") + "\n").into_bytes();
    let corpus = vec![pack(&text), text];
    let mut read = 0;
    fuzz("records", &corpus, |input, random| {
        let packed = if below(random, 2) == 0 { pack(input) } else { input.to_vec() };
        fs::write(&records, packed).unwrap();
        if let Ok(repeats) = store::read_records(run, cell) {
            read += repeats[0].iter().count();
        }
    });
    assert!(read > 0, "no records were read: the target tests nothing");
}

/// User-written templates.
#[test]
fn templates() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = Utf8PathBuf::from_path_buf(root.join("results/cpu-smollm2/cpu-2core")).unwrap();
    let stored = store::read(&run).unwrap();
    let corpus = vec![
        fs::read(root.join("templates/capacity.md.j2")).unwrap(),
        b"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_vec(),
        b"{% include 'note.md.j2' %}".to_vec(),
    ];
    let folder = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(folder.path()).unwrap();
    fuzz("templates", &corpus, |input, _| {
        fs::write(folder.join("note.md.j2"), input).unwrap();
        if let Err(findings) = report::render(&stored, Some(folder)) {
            findings.render(true);
        }
    });
}

#[test]
fn an_endless_template_is_stopped_and_reported() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = Utf8PathBuf::from_path_buf(root.join("results/cpu-smollm2/cpu-2core")).unwrap();
    let stored = store::read(&run).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(folder.path()).unwrap();
    let long = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
    fs::write(folder.join("long.md.j2"), long).unwrap();
    let findings = report::render(&stored, Some(folder)).unwrap_err();
    let said = findings.render(false);
    assert!(said.contains("long.md.j2"), "{said}");
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, bytes).unwrap();
    gzip.finish().unwrap()
}

fn copy(from: &Path, to: &PathBuf) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
