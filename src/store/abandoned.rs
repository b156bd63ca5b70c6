//! Removes folders of runs that were killed before they began.

use std::{fs, os::unix::fs::MetadataExt, time::Duration};

use camino::Utf8Path;

use super::{
    atomic::{self, TEMPORARY},
    layout, lock,
};

/// The only files of a folder whose run has not begun.
const BEFORE_THE_RUN: [&str; 5] =
    [layout::LOCK, layout::GITIGNORE, layout::MANIFEST, layout::EFFECTIVE, layout::PLAN];
/// A younger folder may belong to a run that is just starting.
const OLD_ENOUGH: Duration = Duration::from_secs(10);

/// Removes abandoned run folders of an experiment. Best effort: one that cannot be removed does no harm.
pub(super) fn remove(experiment: &Utf8Path) {
    for name in atomic::names(experiment).unwrap_or_default() {
        let folder = experiment.join(name);
        if is_abandoned(&folder) {
            // File by file, so that a folder somebody added meanwhile makes it fail.
            for name in atomic::names(&folder).unwrap_or_default() {
                let _ = fs::remove_file(folder.join(name));
            }
            let _ = fs::remove_dir(&folder);
        }
    }
}

/// Whether a folder belongs to this user, holds nothing but what precedes a run, and has no process working
/// in it.
fn is_abandoned(folder: &Utf8Path) -> bool {
    let (Ok(metadata), Ok(names)) = (fs::symlink_metadata(folder), atomic::names(folder)) else {
        return false;
    };
    let precedes_a_run = |name: &String| {
        BEFORE_THE_RUN.contains(&name.as_str()) || name.starts_with(TEMPORARY) && folder.join(name).is_file()
    };
    let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
    metadata.is_dir()
        && metadata.uid() == rustix::process::getuid().as_raw()
        && names.iter().all(precedes_a_run)
        && !lock::is_held(folder)
        // A process that wrote its id into the lock has ended; an empty lock may be about to be written.
        && (lock::was_held(folder) || age.is_some_and(|age| age > OLD_ENOUGH))
}
