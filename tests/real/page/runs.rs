//! Copies of a committed run, changed as a test needs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::RUNNER;

/// A name that would run a script if it were taken for markup.
pub(crate) const BAD: &str =
    "</script><script>window.harmed = true</script><img src=x onerror=\"window.harmed = true\"> {{ 7 * 7 }}";

/// Changes a copy of the run before it is rendered.
pub(crate) type Change = fn(&Path) -> Result<(), String>;

fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

fn write(path: &Path, value: &Value) -> Result<(), String> {
    fs::write(path, value.to_string()).map_err(|error| format!("{}: {error}", path.display()))
}

/// Leaves the run as it is.
pub(crate) fn unchanged(_: &Path) -> Result<(), String> {
    Ok(())
}

/// Replaces names and logs with [`BAD`].
pub(crate) fn harmful(run: &Path) -> Result<(), String> {
    for cell in fs::read_dir(run.join("cells")).map_err(|error| error.to_string())? {
        let cell = cell.map_err(|error| error.to_string())?.path();
        let path = cell.join("cell.json");
        let mut value = read(&path)?;
        value["workload"] = json!(BAD);
        value["reason"] = json!(BAD);
        // With a badge beside the titles, which the long name must not run into.
        value["simulated"] = json!(true);
        value["log_tail"] = json!([BAD, "\u{1b}[31mred"]);
        write(&path, &value)?;
    }
    Ok(())
}

/// Copies every cell forty times: 640 cells.
pub(crate) fn multiplied(run: &Path) -> Result<(), String> {
    let mut plan = read(&run.join("plan.json"))?;
    for group in plan["groups"].as_array_mut().into_iter().flatten() {
        let Some(cells) = group["cells"].as_array_mut() else {
            continue;
        };
        let mut all = Vec::new();
        for cell in cells.iter() {
            let id = cell["id"].as_str().unwrap_or_default();
            let stored = read(&run.join("cells").join(id).join("cell.json"))?;
            for copy in 1..40 {
                let (mut cell, mut stored) = (cell.clone(), stored.clone());
                let own = format!("{id}-{copy}");
                cell["id"] = json!(own);
                stored["id"] = json!(own);
                let folder = run.join("cells").join(&own);
                fs::create_dir(&folder).map_err(|error| error.to_string())?;
                write(&folder.join("cell.json"), &stored)?;
                all.push(cell);
            }
        }
        cells.extend(all);
    }
    write(&run.join("plan.json"), &plan)
}

/// Renders the page of a changed copy of the committed run.
pub(crate) fn rendered(folder: &TempDir, change: Change) -> Result<PathBuf, String> {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/cpu-smollm2/cpu-2core");
    copy(&run, folder.path()).map_err(|error| error.to_string())?;
    change(folder.path())?;
    let output =
        Command::new(RUNNER).arg("report").arg(folder.path()).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{output:?}"));
    }
    Ok(folder.path().join("report.html"))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let there = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &there)?;
        } else {
            fs::copy(&path, there)?;
        }
    }
    Ok(())
}
