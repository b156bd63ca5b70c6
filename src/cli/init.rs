//! Writes a commented manifest to start from.

use std::{
    fs::{self, OpenOptions},
    io::Write,
};

use camino::Utf8Path;

use crate::diagnostic::{Finding, Findings};

/// The default path of `runner init`.
pub const DEFAULT_PATH: &str = "experiments/first.toml";

/// The manifest that `runner init` writes.
pub const MANIFEST: &str = include_str!("init.toml");

/// Writes [`MANIFEST`] to `path` and returns a message that says what to do next.
///
/// # Errors
/// When `path` exists, which is never overwritten, or cannot be written.
pub fn init(path: &Utf8Path) -> Result<String, Findings> {
    let failed = |error: std::io::Error| -> Findings {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            Finding::error(format!("{path} already exists and is not overwritten"))
                .help(format!(
                    "name another file: runner init experiments/second.toml; or check this one: runner check {path}"
                ))
                .into()
        } else {
            Finding::error(format!("cannot write {path}: {error}"))
                .help("name a file in a folder that you can write to")
                .into()
        }
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(MANIFEST.as_bytes()).map_err(failed)?;
    Ok(format!(
        "wrote {path}; to measure a real server, set engine = \"vllm\" in it\nnext:\n  \
         runner check {path}\n  runner plan {path}\n  runner run {path}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        manifest::{Manifest, Overrides},
        plan::plan,
    };

    #[test]
    fn the_scaffold_is_a_manifest_without_findings() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("experiments/first.toml");
        let words = init(&path).unwrap();
        assert!(words.contains(&format!("runner run {path}")), "{words}");
        let (manifest, findings) = Manifest::load(&path, &Overrides::default());
        assert!(findings.0.is_empty(), "{}", findings.render(false));
        let (plan, findings) = plan(&manifest.unwrap());
        assert!(findings.0.is_empty(), "{}", findings.render(false));
        assert_eq!(plan.unwrap().len(), 6);
    }

    #[test]
    fn a_file_that_exists_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("x.toml");
        fs::write(&path, "mine").unwrap();
        let text = init(&path).unwrap_err().render(false);
        assert!(text.contains("already exists and is not overwritten"), "{text}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
