//! A grid measured with a real vLLM on a CPU: constants fitted to four cells predict the other eight. Needs
//! the model's `config.json`, which the installer puts beside vLLM.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use crate::support::RUNNER;

/// The four cells that are fitted: fewest and most users, both lengths short or both long.
const FITTED: [&str; 4] =
    ["chat-c1-t16-46487b21", "chat-c1-t64-442dfff0", "chat-c8-t16-db541e3c", "chat-c8-t64-0171c5dd"];

pub(super) fn four_calibrated_cells_predict_the_other_eight(vllm: &Path) -> Result<(), String> {
    let said = |why: std::io::Error| why.to_string();
    let installed = vllm.parent().and_then(Path::parent).ok_or("vLLM's command stands in no folder")?;
    // The manifest names the model as `~/.cache/runner/vllm/…`.
    let home = tempfile::tempdir().map_err(said)?;
    let cache = home.path().join(".cache/runner");
    fs::create_dir_all(&cache).map_err(said)?;
    symlink(fs::canonicalize(installed).map_err(said)?, cache.join("vllm")).map_err(said)?;
    let constants = home.path().join("cpu.toml").display().to_string();
    let runner = |words: &[&str]| -> Result<String, String> {
        let output = Command::new(RUNNER)
            .args(words)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("HOME", home.path())
            .output()
            .map_err(said)?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    };
    let manifest = "experiments/cpu_grid.toml";
    let mut words = vec!["calibrate", "results/cpu-grid/cpu-2core", "--manifest", manifest];
    words.extend(["-o", constants.as_str()]);
    words.extend(FITTED.iter().flat_map(|cell| ["--only", cell]));
    runner(&words)?;
    let measured = "results/cpu-grid/cpu-2core/cells.csv";
    let table = runner(&["predict", manifest, "--calibration", &constants, "--against", measured])?;
    let (fitted, others): (Vec<&str>, Vec<&str>) =
        table.lines().filter(|line| line.starts_with("chat-")).partition(|line| line.ends_with("fitted"));
    if (fitted.len(), others.len()) != (4, 8) || !FITTED.iter().all(|cell| table.contains(cell)) {
        return Err(format!("not four fitted cells of twelve:\n{table}"));
    }
    for line in others {
        let errors: Vec<f64> = line
            .split_whitespace()
            .filter(|word| word.starts_with(['+', '-']))
            .filter_map(|word| word.parse().ok())
            .collect();
        if errors.len() != 2 || errors.iter().any(|error| error.abs() > 20.0) {
            return Err(format!("not within 20 % of p50 E2E and of throughput: {line}\n{table}"));
        }
    }
    Ok(())
}
