//! What is left of a run that was killed before it could begin.

use std::{fs, os::unix::fs::MetadataExt, time::Duration};

use camino::Utf8Path;

use super::{
    atomic::{self, BESIDE},
    folder::layout,
    lock,
};

/// What a folder may hold before its run has begun.
const BEGINNING: [&str; 5] = [lock::FILE, ".gitignore", "manifest.toml", layout::EFFECTIVE, layout::PLAN];
/// A younger folder may be one that is being made.
const MAKING: Duration = Duration::from_secs(10);

/// Removes, in the folder of an experiment, folders that were made for a run and hold none: of this user, with nothing in
/// them but what a run begins with, and with nobody at work. What cannot be removed stays, and harms nobody.
pub(super) fn sweep(experiment: &Utf8Path) {
    for name in atomic::names(experiment).unwrap_or_default() {
        let folder = experiment.join(name);
        if is_left(&folder) {
            // It fails where somebody has put something meanwhile that is a folder.
            for name in atomic::names(&folder).unwrap_or_default() {
                let _ = fs::remove_file(folder.join(name));
            }
            let _ = fs::remove_dir(&folder);
        }
    }
}

fn is_left(folder: &Utf8Path) -> bool {
    let Ok(found) = fs::symlink_metadata(folder) else {
        return false;
    };
    let user = rustix::process::getuid().as_raw();
    let Ok(names) = atomic::names(folder) else {
        return false;
    };
    let is_beginning = |name: &String| {
        BEGINNING.contains(&name.as_str()) || name.starts_with(BESIDE) && folder.join(name).is_file()
    };
    let old = found.modified().ok().and_then(|made| made.elapsed().ok());
    found.is_dir()
        && found.uid() == user
        && names.iter().all(is_beginning)
        && !lock::is_held(folder)
        // A holder that wrote its name there has ended; without one, it may not have come to that.
        && (lock::was_held(folder) || old.is_some_and(|age| age > MAKING))
}
