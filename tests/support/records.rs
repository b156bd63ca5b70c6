//! The records of a run: the raw stamps of every request.

use std::{fs, io::Read as _, path::Path};

use serde_json::Value;

/// The records of every cell and repeat in a run's folder.
pub(crate) fn records(run: &Path) -> Result<Vec<Value>, String> {
    let list = |path: &Path| fs::read_dir(path).map_err(|e| format!("{}: {e}", path.display()));
    let mut records = Vec::new();
    for cell in list(&run.join("cells"))?.flatten() {
        for file in list(&cell.path())?.flatten() {
            if !file.file_name().to_string_lossy().starts_with("records") {
                continue;
            }
            let mut text = String::new();
            let packed = fs::File::open(file.path()).map_err(|e| e.to_string())?;
            flate2::read::GzDecoder::new(packed).read_to_string(&mut text).map_err(|e| e.to_string())?;
            // The first line says what the others are.
            for line in text.lines().skip(1) {
                records.push(serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?);
            }
        }
    }
    Ok(records)
}
