//! The Markdown files tell the truth: their manifests load and plan, their tables are complete, their links
//! lead somewhere.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use camino::Utf8Path;
use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use runner::{
    load::Outcome,
    manifest::{Manifest, Overrides},
    measure::{CellOutcome, VerdictKind},
    plan::{Plan, plan},
    server::ServerOutcome,
};
use serde::de::DeserializeOwned;

/// Manifest of which a fragment is a part.
const BASE: &str = "
[experiment]
name = \"base\"
[server]
model = \"org/model\"
";
/// Added where a fragment has no workload.
const WORKLOAD: &str = "
[workload.chat]
prompts = [\"Hello\"]
requests = 130
max_tokens = 16
";
/// Files that the manifests name.
const INPUTS: [(&str, &str); 4] = [
    ("prompts.jsonl", "{\"prompt\": \"one\", \"answer_tokens\": 7}\n"),
    ("docs.txt", "one\n[DOC]\ntwo\n"),
    ("trace.jsonl", "{\"timestamp\": 0, \"input_length\": 9, \"output_length\": 5, \"hash_ids\": [1]}\n"),
    (
        "sharegpt.json",
        "[{\"conversations\": [{\"from\": \"human\", \"value\": \"Hi\"}, {\"from\": \"gpt\", \"value\": \"Hi\"}]}]",
    ),
];

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The plan of a block of TOML: a whole manifest, or a fragment on top of [`BASE`].
fn planned(block: &str) -> Plan {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    INPUTS.iter().for_each(|(name, text)| write(name, text));
    let workload = if block.contains("[workload.") { "" } else { WORKLOAD };
    write("base.toml", &format!("{BASE}{workload}"));
    let include = if block.starts_with("include") { "" } else { "include = \"base.toml\"\n" };
    write("block.toml", &format!("{include}{block}"));
    let path = Utf8Path::from_path(folder.path()).unwrap().join("block.toml");
    let (manifest, findings) = Manifest::load(&path, &Overrides::default());
    let manifest = manifest.unwrap_or_else(|| panic!("{block}\n{}", findings.render(false)));
    let (plan, findings) = plan(&manifest);
    plan.unwrap_or_else(|| panic!("{block}\n{}", findings.render(false)))
}

#[test]
fn every_toml_block_loads_and_plans() {
    let mut blocks = 0;
    for file in ["README.md", "experiments/README.md", "tests/bench/README.md"] {
        for block in read(file).split("```toml\n").skip(1) {
            let plan = planned(block.split("```").next().unwrap());
            blocks += 1;
            match plan.experiment.name.as_str() {
                "first-look" => assert_eq!((plan.groups.len(), plan.len()), (2, 20)),
                // max-num-seqs × the zip × the variants.
                "oom-surface" if plan.experiment.repeats.at_most() == 3 => {
                    assert_eq!(plan.groups.len(), 2 * 2 * 2)
                }
                _ => assert!(!plan.is_empty(), "{block}"),
            }
        }
    }
    assert!(blocks > 20, "only {blocks} blocks were found");
}

#[test]
fn the_two_commands_stand_alone_on_their_lines() {
    let readme = read("README.md");
    for command in ["cargo run --release -- run experiments/quickstart.toml", "cargo test"] {
        assert!(readme.lines().any(|line| line == command), "{command}");
    }
}

/// The names in the first column of every table of a file, without their backticks.
fn documented(file: &str) -> BTreeSet<String> {
    let text = read(file);
    let first = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// The names of an enum's variants, which serde lists where it meets another one.
fn variants<T: DeserializeOwned>() -> Vec<String> {
    let Err(error) = serde_json::from_str::<T>("\"?\"") else { panic!("`?` is a variant") };
    let text = error.to_string();
    let (_, list) = text.split_once("expected one of").unwrap();
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_column_outcome_and_verdict_has_its_row() {
    let documented = documented("results/README.md");
    // Rendered from the code of today, which another test checks.
    let run = "results/cpu-grid/cpu-2core";
    let plan: Plan = serde_json::from_str(&read(&format!("{run}/plan.json"))).unwrap();
    let is_axis = |column: &str| plan.load_axes.iter().chain(&plan.server_axes).any(|axis| axis == column);
    let table = read(&format!("{run}/cells.csv"));
    let columns = table.lines().next().unwrap().split(',').filter(|column| !is_axis(column));
    let names = columns.map(str::to_owned).chain(variants::<CellOutcome>()).chain(variants::<VerdictKind>());
    let requests = Outcome::PLAIN.iter().map(ToString::to_string).chain(["rejected(status)".to_owned()]);
    let names = names.chain(requests).chain(ServerOutcome::names().map(str::to_owned));
    let missing: Vec<String> = names.filter(|name| !documented.contains(name)).collect();
    assert!(missing.is_empty(), "results/README.md has no row for {missing:?}");
}

/// Every Markdown file of the repository.
fn markdown(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with(".git") {
                markdown(&path, found);
            }
        } else if path.extension().is_some_and(|kind| kind == "md") {
            found.push(path);
        }
    }
}

/// The anchors that GitHub gives the headings of a file.
fn anchors(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap();
    let (mut anchors, mut heading) = (BTreeSet::new(), None);
    for event in Parser::new(&text) {
        match (event, &mut heading) {
            (Event::Start(Tag::Heading { .. }), _) => heading = Some(String::new()),
            (Event::End(TagEnd::Heading(_)), Some(text)) => {
                let kept = text.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
                anchors.insert(kept.collect::<String>().to_lowercase().replace(' ', "-"));
                heading = None;
            }
            (Event::Text(part) | Event::Code(part), Some(text)) => text.push_str(&part),
            _ => {}
        }
    }
    anchors
}

#[test]
fn every_relative_link_and_path_leads_to_a_file_and_a_heading() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    markdown(root, &mut files);
    let (mut found, mut broken) = (0, Vec::new());
    for file in &files {
        for event in Parser::new(&fs::read_to_string(file).unwrap()) {
            let (link, folder) = match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    (dest_url, file.parent().unwrap())
                }
                // A path of the repository in backticks.
                Event::Code(text) if ["src/", "tests/"].iter().any(|folder| text.starts_with(folder)) => {
                    (text, root)
                }
                _ => continue,
            };
            if link.contains([':', ' ', '*']) {
                continue;
            }
            found += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { file.clone() } else { folder.join(path) };
            if !target.exists() || !(anchor.is_empty() || anchors(&target).contains(anchor)) {
                broken.push(format!("{}: {link}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(found > 50, "only {found} links were found");
}
