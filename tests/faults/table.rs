//! A table in a README with one row for each fault. A test compares what it saw with the row of its fault,
//! or, when `RUNNER_TEST_WRITE` is set, writes that row again.

use std::{
    env, fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use libtest_mimic::Trial;

/// A README, by its folder under `tests/faults`. Its only table begins with the fault's name.
#[derive(Clone, Copy)]
pub(crate) struct Table(pub(crate) &'static str);

/// Rows are written one at a time.
static WRITING: Mutex<()> = Mutex::new(());

impl Table {
    fn path(self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/faults").join(self.0).join("README.md")
    }

    /// Compares a row (`| name | … |`) with that of the README.
    ///
    /// # Errors
    ///
    /// When they differ, or the README has no row of that name.
    pub(crate) fn compare(self, name: &str, seen: &str) -> Result<(), String> {
        let _one_at_a_time = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let text = fs::read_to_string(self.path()).map_err(|e| e.to_string())?;
        let Some((_, expected)) = rows(&text).find(|row| row.0 == name) else {
            return Err(format!("{} has no row for this:\n{seen}", self.path().display()));
        };
        if expected == seen {
            return Ok(());
        }
        if env::var_os("RUNNER_TEST_WRITE").is_some() {
            return fs::write(self.path(), text.replace(expected, seen)).map_err(|e| e.to_string());
        }
        Err(format!(
            "the README says\n{expected}\nthis was seen\n{seen}\n\
             to accept it: RUNNER_TEST_WRITE=1 cargo test --test faults '[{}]'",
            self.0
        ))
    }

    /// The test that the README has the rows of these faults and no others, in their order.
    pub(crate) fn trial(self, faults: Vec<&'static str>) -> Trial {
        Trial::test("the_readme_has_a_row_for_each_fault", move || {
            let text = fs::read_to_string(self.path()).map_err(|e| e.to_string())?;
            let names: Vec<&str> = rows(&text).map(|row| row.0).collect();
            (names == faults)
                .then_some(())
                .ok_or_else(|| format!("the README has {names:?}, the tests are of {faults:?}").into())
        })
    }
}

/// A fault's name as that of its test.
pub(crate) fn test_name(fault: &str) -> String {
    fault.replace([' ', ',', '`'], "_")
}

/// Name and text of every row.
fn rows(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| Some((line.split(" | ").next()?.get(2..)?, line)))
}
