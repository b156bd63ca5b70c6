//! Finds the prompts of a stored run.

use camino::Utf8Path;

use super::PredictError;
use crate::{
    manifest::{Manifest, Overrides},
    store::StoredRun,
};

/// The manifest that leads to the prompts of a stored run: the one that is `named`, else the run's own copy,
/// else one of the run's command line whose inputs are unchanged. Only its input files and its catalogue
/// matter: the plan is the run's.
///
/// # Errors
/// When none of them can be loaded.
pub fn manifest_of_run(stored: &StoredRun, named: Option<&Utf8Path>) -> Result<Manifest, PredictError> {
    let load = |path: &Utf8Path| Manifest::load(path, &Overrides::default());
    let own = stored.folder.join("effective.toml");
    let path = named.unwrap_or(&own);
    let (manifest, findings) = load(path);
    let is_unchanged = |manifest: &Manifest| {
        let mut inputs = manifest.inputs.0.values();
        inputs.all(|input| stored.effective.contains(&input.sha256))
    };
    let of_command = || {
        let words = stored.run.command.iter().map(Utf8Path::new);
        words
            .filter(|word| word.extension() == Some("toml") && word.is_file())
            .find_map(|path| load(path).0.filter(is_unchanged))
    };
    manifest
        .or_else(|| named.is_none().then(of_command).flatten())
        .ok_or_else(|| PredictError::Prompts { path: path.to_owned(), findings: findings.render(false) })
}
