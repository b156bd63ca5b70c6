//! Rendering the committed results again gives the committed notes, charts and page, byte for byte.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Runs under `results/`: folders that hold a `run.json`.
fn runs(folder: &Path, found: &mut Vec<PathBuf>) {
    if folder.join("run.json").exists() {
        found.push(folder.to_owned());
        return;
    }
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            runs(&path, found);
        }
    }
}

/// Copies the files that git keeps.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else if !name.starts_with("records-") && name != "server.log" {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// Rendered files and folders.
const RENDERED: [&str; 3] = ["charts", "notes", "report.html"];

/// Every rendered file and its text, by path.
fn rendered(run: &Path) -> Vec<(String, String)> {
    let mut files = vec![run.join("cells.csv"), run.join("report.html")];
    for folder in &RENDERED[..2] {
        let entries = fs::read_dir(run.join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.sort();
    files
        .iter()
        .map(|path| {
            let name = path.strip_prefix(run).unwrap().to_str().unwrap();
            (name.to_owned(), fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn a_clone_renders_what_is_committed() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let mut found = Vec::new();
    runs(&results, &mut found);
    assert!(!found.is_empty(), "no run is committed");
    for run in found {
        let folder = tempfile::tempdir().unwrap();
        copy(&run, folder.path());
        let before = rendered(folder.path());
        for (name, _) in &before {
            if RENDERED.iter().any(|folder| name.starts_with(folder)) {
                fs::remove_file(folder.path().join(name)).unwrap();
            }
        }
        let output = Command::new(env!("CARGO_BIN_EXE_runner"))
            .arg("report")
            .arg(folder.path())
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(
            rendered(folder.path()) == before,
            "{} renders otherwise now: `runner report {}` and commit what changed",
            run.display(),
            run.display()
        );
    }
}

/// The README's excerpts stand in the committed notes.
#[test]
fn the_readme_quotes_notes_verbatim() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let (_, rest) = readme.split_once("<!-- notes:begin -->").unwrap();
    let (excerpt, _) = rest.split_once("<!-- notes:end -->").unwrap();
    let (_, link) = excerpt.split_once("](").unwrap();
    let (note, _) = link.split_once(')').unwrap();
    let run = note.strip_suffix("notes/capacity.md").unwrap();
    let notes = fs::read_to_string(root.join(note)).unwrap();
    let quoted: Vec<String> = excerpt
        .lines()
        .filter_map(|line| line.strip_prefix('>'))
        .map(|line| line.trim_start().replace(run, "../"))
        .collect();
    assert!(quoted.len() > 5, "{excerpt}");
    for line in quoted {
        assert!(notes.lines().any(|there| there == line), "{line}");
    }
}
