//! One row of the table: a fault, and what was seen of it.

use std::{error::Error, fmt, fs, path::Path};

use serde_json::Value;

use super::injected::{Told, nothing_is_left};

/// The most of a line that a row shows, characters.
const LONGEST: usize = 180;

/// Three cells of four requests on one server; the slowest takes a third of a second.
pub(crate) const MANIFEST: &str = r#"
[experiment]
name = "faults"
[server]
engine = "sim"
model = "m"
hung_after = "1200ms"
{server}
[server.sim]
ttft = "5ms"
per_token = "20ms"
{sim}
[workload.chat]
prompts = ["What is a prefix cache?"]
requests = 4
concurrency = 2
[workload.chat.sweep]
max_tokens = [4, 5, 6]
"#;

/// Injects a fault into a run in a folder, and sees the run to its end.
type Inject = Box<dyn Fn(&Path) -> Result<Told, Box<dyn Error>> + Send + Sync>;

/// Something that goes wrong.
pub(crate) struct Fault {
    /// What is injected.
    pub(crate) name: &'static str,
    pub(crate) inject: Inject,
    /// The words that begin what the run says of it.
    pub(crate) says: &'static str,
    /// What this machine lacks to try it; an error where it must be tried.
    pub(crate) lacks: fn() -> Result<Option<String>, String>,
}

/// What was seen.
pub(crate) struct Row {
    name: &'static str,
    cells: String,
    said: String,
    notes: String,
    code: String,
}

impl Row {
    pub(crate) fn of(fault: &Fault) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let folder = folder.path().canonicalize()?;
        let told = (fault.inject)(&folder)?;
        nothing_is_left(&folder)?;
        let run = told.results.as_ref().and_then(|results| only_run(results));
        let cells = run.as_deref().map(cells).transpose()?.unwrap_or_default();
        let line = told
            .said
            .lines()
            .find(|line| line.contains(fault.says))
            .ok_or_else(|| format!("{:?} is not said:\n{}", fault.says, told.said))?;
        let notes = run.as_deref().and_then(notes).unwrap_or_default();
        Ok(Self {
            name: fault.name,
            cells: dash(cells),
            said: short(normal(line, &folder)),
            notes: dash(short(normal(&notes, &folder))),
            code: told.code,
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "| {} | {} | {} | {} | {} |",
            self.name,
            self.cells,
            self.said.replace('|', "\\|"),
            self.notes.replace('|', "\\|"),
            self.code
        )
    }
}

fn dash(text: String) -> String {
    if text.is_empty() { "–".into() } else { text }
}

/// Enough of a line to know it by.
fn short(line: String) -> String {
    let line = line.split(" · log: ").next().unwrap_or_default();
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{} […]", &line[..at]),
        None => line.to_owned(),
    }
}

fn only_run(results: &Path) -> Option<std::path::PathBuf> {
    let runs = fs::read_dir(results.join("faults")).ok()?;
    let mut runs = runs.flatten().map(|run| run.path());
    runs.find(|run| run.join("run.json").exists())
}

/// How each cell ended, in the order of the plan, with the attempts before.
fn cells(run: &Path) -> Result<String, Box<dyn Error>> {
    let mut all = Vec::new();
    for cell in fs::read_dir(run.join("cells")).into_iter().flatten() {
        let cell = cell?;
        // What was damaged is kept beside.
        if cell.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = cell.path();
        let text = fs::read_to_string(path.join("cell.json"))?;
        let cell: Value = serde_json::from_str(&text)?;
        let mut words: Vec<&str> = cell["attempts"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|attempt| attempt["outcome"].as_str())
            .collect();
        words.extend(cell["outcome"].as_str());
        if cell["outcome"] == "ok" && cell["summary"]["counts"]["completed"] != 4 {
            return Err(format!("{} is not whole: {cell:#}", path.display()).into());
        }
        all.push((cell["load"]["max_tokens"].as_u64(), words.join(" → ")));
    }
    all.sort();
    let words: Vec<String> = all.into_iter().map(|(_, words)| words).collect();
    Ok(words.join(", "))
}

/// The line of the notes that tells of the first cell that went wrong.
fn notes(run: &Path) -> Option<String> {
    let text = fs::read_to_string(run.join("notes/capacity.md")).ok()?;
    let wrong = ["| crashed |", "| hung |", "| oom |", "| does not fit |", "| server failed |"];
    let line = text.lines().find(|line| wrong.iter().any(|word| line.contains(word)))?;
    Some(line.trim_matches(['|', ' ']).to_owned())
}

/// A line without what differs from run to run: numbers, hashes and the temporary folder.
fn normal(line: &str, folder: &Path) -> String {
    let text = line.replace(&folder.display().to_string(), "…");
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        let hash = word.len() == 8
            && word.chars().all(|c| c.is_ascii_hexdigit())
            && word.chars().any(|c| c.is_ascii_digit());
        if hash {
            out.push('…');
        } else {
            let mut digits = false;
            for c in word.chars() {
                if !c.is_ascii_digit() {
                    out.push(c);
                } else if !digits {
                    out.push('N');
                }
                digits = c.is_ascii_digit();
            }
        }
        word.clear();
        out.push(c);
    }
    out.trim().replace("N.N", "N")
}
