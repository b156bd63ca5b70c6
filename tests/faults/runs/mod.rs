//! What becomes of a run when something goes wrong: each fault is injected, and the row of the table in this folder's README
//! is what was seen. `RUNNER_TEST_WRITE=1` writes the table anew.
//!
//! Whatever the fault, nothing of the run may be left: no process, no entry in the journal, no half-written file.

mod disk;
mod injected;
#[cfg(target_os = "linux")]
mod operations;
mod row;
mod server;
mod signals;

use std::{error::Error, fs, path::PathBuf};

use libtest_mimic::{Completion, Failed, Trial};
use row::{Fault, Row};

const HEADING: &str =
    "| fault | cells | what the run says | what the notes say | exit code |\n|---|---|---|---|---|\n";

fn faults() -> Vec<Fault> {
    let mut faults = server::faults();
    faults.extend(signals::faults());
    faults.extend(disk::faults());
    faults
}

fn readme() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/faults/runs/README.md")
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = faults()
        .into_iter()
        .map(|fault| {
            Trial::ignorable_test(fault.name.replace([' ', ',', '`'], "_"), move || {
                if let Some(reason) = (fault.lacks)()? {
                    return Ok(Completion::ignored_with(reason));
                }
                compare(&fault).map_err(|error| Failed::from(error.to_string()))?;
                Ok(Completion::Completed)
            })
        })
        .collect();
    #[cfg(target_os = "linux")]
    trials.extend(operations::trials());
    trials.push(Trial::test("every_row_is_of_a_fault", || {
        let text = fs::read_to_string(readme()).map_err(|error| error.to_string())?;
        let names: Vec<String> = rows(&text).map(|row| row.0).collect();
        let tried: Vec<String> = faults().into_iter().map(|fault| fault.name.into()).collect();
        (names == tried)
            .then_some(())
            .ok_or_else(|| format!("the table has {names:?}, tried are {tried:?}").into())
    }));
    trials
}

/// The name and the text of every row.
fn rows(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| Some((line.split(" | ").next()?.get(2..)?.to_owned(), line.to_owned())))
}

fn compare(fault: &Fault) -> Result<(), Box<dyn Error>> {
    let seen = Row::of(fault)?.to_string();
    let text = fs::read_to_string(readme())?;
    let told = rows(&text).find(|(name, _)| name == fault.name);
    match told {
        Some((_, told)) if told == seen => Ok(()),
        Some((_, told)) => Err(format!(
            "the table says\n{told}\nand this was seen:\n{seen}\nIf it should be so: RUNNER_TEST_WRITE=1 cargo test --test faults"
        )
        .into()),
        None => Err(format!("the table has no row for this:\n{seen}").into()),
    }
}

pub(crate) fn write() -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(readme())?;
    let (before, _) = text.split_once(HEADING).ok_or("the table's heading is gone")?;
    let after = text.rsplit_once("|\n\n").map_or("", |(_, after)| after);
    let old: Vec<(String, String)> = rows(&text).collect();
    let mut table = String::from(HEADING);
    for fault in faults() {
        let row = match (fault.lacks)()? {
            None => Row::of(&fault)?.to_string(),
            Some(_) => old
                .iter()
                .find(|(name, _)| name == fault.name)
                .map(|(_, row)| row.clone())
                .ok_or_else(|| format!("{} cannot be tried here", fault.name))?,
        };
        table.push_str(&row);
        table.push('\n');
    }
    fs::write(readme(), format!("{before}{table}\n{after}"))?;
    Ok(())
}
