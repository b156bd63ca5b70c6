//! Repairs a damaged run folder before a run resumes, so that one broken file does not cost hours of
//! measurements. Damaged files are moved aside, reported, and written again.

use camino::Utf8Path;

use super::{
    atomic, error::StoreError, folder::RunFolder, json, layout, name, prediction::Predictions, read,
    schema::ServerFile,
};
use crate::plan::Plan;

/// Prefix of everything that was moved aside.
const ASIDE: &str = ".damaged-";

impl RunFolder {
    /// Makes the folder readable again. A damaged plan or resolved manifest is written again; a damaged cell,
    /// server or prediction is moved aside, to be made again by the run. Files that a newer program wrote are
    /// left alone. Returns one sentence for each repair.
    ///
    /// # Errors
    /// When a file cannot be moved or written.
    pub fn repair(&self, plan: &Plan, effective: &str) -> Result<Vec<String>, StoreError> {
        let mut repairs = Vec::new();
        let plan_file = self.path().join(layout::PLAN);
        if let Some(damage) = damage(json::read::<Plan>(&plan_file)) {
            self.move_aside(&plan_file)?;
            self.write_plan(plan)?;
            repairs.push(format!("{damage}; it was written again from the manifest"));
        }
        let effective_file = self.path().join(layout::EFFECTIVE);
        if let Some(damage) = damage(json::read_text(&effective_file)) {
            self.move_aside(&effective_file)?;
            self.write_text(layout::EFFECTIVE, effective)?;
            repairs.push(format!("{damage}; it was written again from the manifest"));
        }
        let mut repair = |path: &Utf8Path, damage: Option<String>, next: &str| {
            if let Some(damage) = damage {
                let moved = self.move_aside(path)?;
                repairs.push(format!("{damage}; {moved}{next}"));
            }
            Ok::<_, StoreError>(())
        };
        let predictions = self.path().join(layout::PREDICTIONS);
        if predictions.exists() {
            repair(
                &predictions,
                damage(json::read::<Predictions>(&predictions)),
                "cells are predicted again",
            )?;
        }
        // Cells of the stored plan are read, and those of the manifest's plan are measured: both must be
        // sound.
        let stored: Plan = json::read(&plan_file)?;
        for group in stored.groups.iter().chain(&plan.groups) {
            name::check_in(self.path(), &group.id)?;
            let server = self.path().join(layout::SERVERS).join(&group.id).join(layout::SERVER);
            if server.exists() {
                let damage = damage(json::read::<ServerFile>(&server));
                repair(&server, damage, "it is written again when the server starts again")?;
            }
            for cell in &group.cells {
                name::check_in(self.path(), &cell.id)?;
                let folder = self.path().join(layout::CELLS).join(&cell.id);
                if folder.exists() {
                    let damage = damage(read::read_cell(&folder, &cell.id));
                    repair(&folder, damage, "the cell is measured again")?;
                }
            }
        }
        Ok(repairs)
    }

    /// Moves a file or folder aside and returns a clause that says where to; empty when there was nothing to
    /// move.
    fn move_aside(&self, path: &Utf8Path) -> Result<String, StoreError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(String::new());
        };
        let mut aside = parent.join(format!("{ASIDE}{name}"));
        let mut number = 1;
        while aside.symlink_metadata().is_ok() {
            number += 1;
            aside = parent.join(format!("{ASIDE}{name}-{number}"));
        }
        match std::fs::rename(path, &aside) {
            Ok(()) => {
                atomic::sync_folder(parent)?;
                Ok(format!("what is left of it was moved to {aside}, and "))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(StoreError::io(path, "move it aside", &error)),
        }
    }
}

/// Describes the damage when reading failed because of the file's content, not because of the disk.
fn damage<T>(result: Result<T, StoreError>) -> Option<String> {
    let error = result.err().filter(|error| error.is_damaged)?;
    Some(format!("{} {}", error.path, error.reason))
}
