//! What of a run folder is damaged when the run is gone on with: kept aside, told, and made anew.
//!
//! A run of hours must not be lost to one file that a failing disk, or a person, has cut short.

use camino::Utf8Path;

use super::{
    Predictions, RunFolder, ServerFile, StoreError, atomic,
    folder::{check_id, layout},
    read,
};
use crate::plan::Plan;

/// What everything that was kept aside begins with.
const ASIDE: &str = ".damaged-";

impl RunFolder {
    /// Makes the folder one that can be read again: the plan and the resolved manifest are written anew where they are
    /// damaged, and a cell, a server or a prediction that is damaged is kept aside under a name that begins with `.damaged-`,
    /// to be made anew by the run. Returns what was done, a sentence each. What a newer program wrote is left as it is.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn mend(&self, plan: &Plan, effective: &str) -> Result<Vec<String>, StoreError> {
        let mut told = Vec::new();
        let plan_file = self.path().join(layout::PLAN);
        if let Some(damage) = damage(read::json::<Plan>(&plan_file)) {
            self.keep_aside(&plan_file)?;
            self.write_plan(plan)?;
            told.push(format!("{damage}; it was written anew from the manifest"));
        }
        let effective_file = self.path().join(layout::EFFECTIVE);
        if let Some(damage) = damage(read::text(&effective_file)) {
            self.keep_aside(&effective_file)?;
            self.write_text(layout::EFFECTIVE, effective)?;
            told.push(format!("{damage}; it was written anew from the manifest"));
        }
        let predictions = self.path().join(layout::PREDICTIONS);
        if predictions.exists()
            && let Some(damage) = damage(read::json::<Predictions>(&predictions))
        {
            let kept = self.keep_aside(&predictions)?;
            told.push(format!("{damage}; {kept}cells are predicted anew"));
        }
        // Those of the plan that is stored are read, and those of the manifest are measured.
        let stored: Plan = read::json(&plan_file)?;
        for group in stored.groups.iter().chain(&plan.groups) {
            check_id(self.path(), &group.id)?;
            let folder = self.path().join(layout::SERVERS).join(&group.id);
            let server = folder.join(layout::SERVER);
            if server.exists()
                && let Some(damage) = damage(read::json::<ServerFile>(&server))
            {
                let kept = self.keep_aside(&server)?;
                told.push(format!("{damage}; {kept}it is written anew when the server starts again"));
            }
            for cell in &group.cells {
                check_id(self.path(), &cell.id)?;
                let folder = self.path().join(layout::CELLS).join(&cell.id);
                if folder.exists()
                    && let Some(damage) = damage(read::read_cell(&folder, &cell.id))
                {
                    let kept = self.keep_aside(&folder)?;
                    told.push(format!("{damage}; {kept}the cell is measured again"));
                }
            }
        }
        Ok(told)
    }

    /// Moves a file or a folder aside, and says where it is now; nothing where there was none.
    fn keep_aside(&self, path: &Utf8Path) -> Result<String, StoreError> {
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
                Ok(format!("what is there is kept as {aside}, and "))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(StoreError::io(path, "move it aside", &error)),
        }
    }
}

/// What is wrong with a file, when its content is.
fn damage<T>(read: Result<T, StoreError>) -> Option<String> {
    let error = read.err().filter(|error| error.damaged)?;
    Some(format!("{} {}", error.path, error.reason))
}
