//! The disk is full, read-only, limited, or the folder goes away.

use std::{
    error::Error,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::support::{RUNNER, lacking};

use super::{
    injected::{Told, at, manifest, nothing, run, surround, told},
    row::Fault,
};

const IN_A_CELL: &str = "cell 2/3";

/// Cuts three files of the only run, each behind its first byte: where its middle is differs from run to run.
fn cut_short(folder: &Path) -> std::io::Result<()> {
    let run = first_entry(&folder.join("results/faults"))?;
    let cell = first_entry(&run.join("cells"))?;
    let server = first_entry(&run.join("servers"))?;
    for path in [cell.join("cell.json"), server.join("server.json"), run.join("plan.json")] {
        let bytes = fs::read(&path)?;
        fs::write(&path, &bytes[..1])?;
    }
    Ok(())
}

/// The first of what is in a folder, by name.
fn first_entry(folder: &Path) -> std::io::Result<PathBuf> {
    let entries = fs::read_dir(folder)?.flatten();
    let first = entries.map(|entry| entry.path()).min();
    first.ok_or_else(|| std::io::Error::other("an empty folder"))
}

/// A small disk of one's own needs a namespace for mounts.
fn mount() -> Result<Option<String>, String> {
    let tried = Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount -t tmpfs none /mnt"])
        .stderr(Stdio::null())
        .status();
    if tried.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    lacking(
        "a disk that is full needs a namespace to mount one in; allow it: sysctl kernel.unprivileged_userns_clone=1 (or run as root)",
    )
    .map(Some)
}

/// A run in a namespace with a disk of its own for the results, then what the script does; the results are
/// copied out.
fn on_a_disk(
    folder: &Path,
    options: &str,
    then: &str,
    act: impl FnOnce(i32),
    moment: &str,
) -> Result<Told, Box<dyn Error>> {
    fs::create_dir(folder.join("results"))?;
    manifest(folder, "", "")?;
    let script = format!(
        r#"mount -t tmpfs -o {options} none results || exit 99
"$0" run manifest.toml --results results; code=$?
{then}
cp -r results kept; exit $code"#
    );
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script, RUNNER]);
    surround(&mut command, folder);
    let (code, said) = at(command, moment, act)?;
    Ok(Told { code, said, results: Some(folder.join("kept")) })
}

/// Fills the disk of a run, as that run sees it.
#[cfg(target_os = "linux")]
fn fill(shell: i32, folder: &Path) {
    let (runner, _) = crate::support::processes::below(shell)[0];
    let inside = format!("/proc/{runner}/root{}/results/fill", folder.display());
    let mut file = fs::File::create(inside).expect("the disk of the run");
    while file.write_all(&[0; 4096]).is_ok() {}
}

/// Disks that are full at the plan, at a start script, at a cell, at a table, at a chart.
#[cfg(target_os = "linux")]
const SIZES_KIB: [u32; 6] = [16, 32, 56, 80, 120, 200];

/// A run on a disk of each size; then the disk is made larger, and the run is gone on with.
#[cfg(target_os = "linux")]
fn of_every_size(folder: &Path) -> Result<Told, Box<dyn Error>> {
    let mut last = None;
    for size in SIZES_KIB {
        let folder = folder.join(size.to_string());
        fs::create_dir(&folder)?;
        // A run that could not even begin leaves nothing behind: --resume starts one.
        let then = r#"mount -o remount,size=8m results
"$0" run manifest.toml --results results --resume; code=$code$?"#;
        let told = on_a_disk(&folder, &format!("size={size}k"), then, |_| (), "")?;
        assert_eq!(told.code, "10", "{size} KiB: {}", told.said);
        assert!(told.said.contains("free some space"), "{}", told.said);
        super::injected::nothing_is_left(&folder)?;
        last = Some(told);
    }
    let told = last.ok_or("no size was tried")?;
    Ok(Told { code: "1, then 0".into(), ..told })
}

pub(crate) fn faults() -> Vec<Fault> {
    let mut faults = vec![
        Fault {
            name: "the folder of the run is removed in a cell",
            says: "was removed",
            inject: Box::new(|folder| {
                manifest(folder, "", "")?;
                let seen = at(run(folder, &[]), IN_A_CELL, |_| {
                    fs::remove_dir_all(folder.join("results")).expect("a folder");
                })?;
                assert!(!folder.join("results").exists(), "half a run was made anew");
                Ok(told(folder, seen))
            }),
            lacks: nothing,
        },
        Fault {
            name: "a file stands where the results should go",
            says: "error:",
            inject: Box::new(|folder| {
                manifest(folder, "", "")?;
                fs::write(folder.join("results"), "")?;
                Ok(told(folder, at(run(folder, &[]), "", |_| ())?))
            }),
            lacks: nothing,
        },
        Fault {
            name: "a cell, the plan and a server's file are cut short; then `--resume`",
            says: "the cell is measured again",
            inject: Box::new(|folder| {
                manifest(folder, "", "")?;
                let first = at(run(folder, &[]), "", |_| ())?;
                assert_eq!(first.0, "0", "{}", first.1);
                cut_short(folder)?;
                let (code, said) = at(run(folder, &["--resume"]), "", |_| ())?;
                assert!(said.contains("plan.json is cut short"), "{said}");
                assert!(said.contains("server.json is cut short"), "{said}");
                Ok(told(folder, (format!("0, then {code}"), said)))
            }),
            lacks: nothing,
        },
        Fault {
            name: "a limit on the size of files is met",
            says: "error:",
            inject: Box::new(|folder| {
                manifest(folder, "", "")?;
                let mut command = Command::new("sh");
                // In blocks of 512 bytes: the plan fits, the notes and a cell do not.
                command.args(["-c", "ulimit -f 10; exec \"$0\" run manifest.toml --results results", RUNNER]);
                surround(&mut command, folder);
                Ok(told(folder, at(command, "", |_| ())?))
            }),
            lacks: nothing,
        },
    ];
    #[cfg(target_os = "linux")]
    faults.extend([
        Fault {
            name: "the disk is full in a cell",
            says: "error:",
            inject: Box::new(|folder| {
                on_a_disk(folder, "size=2m", "rm results/fill", |shell| fill(shell, folder), IN_A_CELL)
            }),
            lacks: mount,
        },
        Fault {
            name: "the disk is full in a cell; room is made, then `--resume`",
            says: "finished: ",
            inject: Box::new(|folder| {
                let then =
                    "rm results/fill; \"$0\" run manifest.toml --results results --resume; code=$code$?";
                let told = on_a_disk(folder, "size=2m", then, |shell| fill(shell, folder), IN_A_CELL)?;
                // Both codes stand beside each other: 1 and 0.
                assert_eq!(told.code, "10", "{}", told.said);
                Ok(Told { code: "1, then 0".into(), ..told })
            }),
            lacks: mount,
        },
        Fault {
            name: "the disk is full at whatever it has to take; room is made, then `--resume`",
            says: " cells (3 ok)",
            inject: Box::new(of_every_size),
            lacks: mount,
        },
        Fault {
            name: "the disk is read-only",
            says: "error:",
            inject: Box::new(|folder| on_a_disk(folder, "ro", "", |_| (), "")),
            lacks: mount,
        },
    ]);
    faults
}
