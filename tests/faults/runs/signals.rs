//! Signals, to whoever has a part in a run.

use std::{path::Path, process::Command};

use rustix::process::Signal;

use crate::support::RUNNER;

use super::{
    injected::{Told, at, manifest, nothing, run, surround, told},
    row::Fault,
};

/// The second cell has begun.
const IN_A_CELL: &str = "cell 2/3";
const AT_START: &str = "starting, ready within";

#[cfg(not(target_os = "linux"))]
pub(crate) fn faults() -> Vec<Fault> {
    Vec::new()
}

#[cfg(target_os = "linux")]
pub(crate) fn faults() -> Vec<Fault> {
    use super::injected::server_and_guard;
    use crate::support::processes::signal;

    let to = |name, says, moment: &'static str, send: fn(i32)| Fault {
        name,
        says,
        inject: Box::new(move |folder| {
            manifest(folder, "", "")?;
            Ok(told(folder, at(run(folder, &[]), moment, send)?))
        }),
        lacks: nothing,
    };
    let resumed = |name, says, moment: &'static str, send: fn(i32)| Fault {
        name,
        says,
        inject: Box::new(move |folder| {
            manifest(folder, "", "")?;
            let first = at(run(folder, &[]), moment, send)?;
            resume(folder, first)
        }),
        lacks: nothing,
    };
    vec![
        to("kill -9 of the server in a cell", ": crashed ·", IN_A_CELL, |runner| {
            signal(server_and_guard(runner).0, Signal::KILL);
        }),
        to("kill -STOP of the server in a cell", ": crashed ·", IN_A_CELL, |runner| {
            signal(server_and_guard(runner).0, Signal::STOP);
        }),
        to("kill -9 of the guardian in a cell", ": crashed ·", IN_A_CELL, |runner| {
            signal(server_and_guard(runner).1, Signal::KILL);
        }),
        to("USR1, TERM and HUP to the guardian in a cell", "finished: ", IN_A_CELL, |runner| {
            let (_, guard) = server_and_guard(runner);
            for which in [Signal::USR1, Signal::TERM, Signal::HUP] {
                signal(guard, which);
            }
        }),
        to("Ctrl-C in a cell", "interrupted", IN_A_CELL, |runner| signal(runner, Signal::INT)),
        interrupt_at_start(),
        resumed("Ctrl-C in a cell, then `--resume`", "finished: ", IN_A_CELL, |runner| {
            signal(runner, Signal::INT);
        }),
        to("TERM in a cell", "interrupted", IN_A_CELL, |runner| signal(runner, Signal::TERM)),
        to("HUP in a cell (a dropped ssh)", "interrupted", IN_A_CELL, |runner| signal(runner, Signal::HUP)),
        hangup_under_nohup(),
        to("Ctrl-C twice in a cell", IN_A_CELL, IN_A_CELL, |runner| {
            let _ = Command::new("sh")
                .args([
                    "-c",
                    "kill -INT $0 && kill -INT $0 && sleep 0.01 && kill -INT $0",
                    &runner.to_string(),
                ])
                .stderr(std::process::Stdio::null())
                .status();
        }),
        resumed("kill -9 of the runner in a cell, then `--resume`", "did not finish", IN_A_CELL, |runner| {
            signal(runner, Signal::KILL);
        }),
        resumed(
            "kill -9 of the runner and its guardian, then `--resume`",
            "an earlier run",
            IN_A_CELL,
            |runner| {
                let (_, guard) = server_and_guard(runner);
                signal(runner, Signal::STOP);
                signal(guard, Signal::KILL);
                signal(runner, Signal::KILL);
            },
        ),
        second_runner(),
    ]
}

#[cfg(target_os = "linux")]
fn interrupt_at_start() -> Fault {
    use crate::support::processes::signal;

    Fault {
        name: "Ctrl-C while the server starts",
        says: "interrupted",
        inject: Box::new(|folder| {
            manifest(folder, "", "startup = \"5s\"")?;
            let said = at(run(folder, &[]), AT_START, |runner| signal(runner, Signal::INT))?;
            // It says nothing of the server: not that it failed, and not that it was late.
            let text = all_text(&folder.join("results"))?;
            for word in ["timed_out", "server_failed", "\"outcome\""] {
                assert!(!text.contains(word), "{word} is in\n{text}");
            }
            Ok(told(folder, said))
        }),
        lacks: nothing,
    }
}

#[cfg(target_os = "linux")]
fn hangup_under_nohup() -> Fault {
    use crate::support::processes::signal;

    Fault {
        name: "HUP in a cell of a run under nohup",
        says: "finished: ",
        inject: Box::new(move |folder| {
            manifest(folder, "", "")?;
            let mut command = Command::new("nohup");
            command.arg(RUNNER).args(["run", "manifest.toml", "--results", "results"]);
            surround(&mut command, folder);
            // nohup becomes the runner.
            let hang_up = |runner| signal(runner, Signal::HUP);
            Ok(told(folder, at(command, IN_A_CELL, hang_up)?))
        }),
        lacks: nothing,
    }
}

#[cfg(target_os = "linux")]
fn second_runner() -> Fault {
    Fault {
        name: "a second runner on the same run",
        says: "is working on this run",
        inject: Box::new(|folder| {
            manifest(folder, "", "")?;
            // So slow that the first run is at work for as long as the second one needs to see that.
            let path = folder.join("manifest.toml");
            let text =
                std::fs::read_to_string(&path)?.replace("per_token = \"20ms\"", "per_token = \"300ms\"");
            std::fs::write(path, text)?;
            let mut second = None;
            let first = at(run(folder, &[]), IN_A_CELL, |_| {
                second = Some(at(run(folder, &["--resume"]), "", |_| ()));
            })?;
            assert_eq!(first.0, "0", "{}", first.1);
            let second = second.ok_or("there was no second run")??;
            Ok(told(folder, second))
        }),
        lacks: nothing,
    }
}

/// The text of every file below a folder that the run itself says something in; not that of the server's log.
#[cfg(target_os = "linux")]
fn all_text(folder: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            text.push_str(&all_text(&path)?);
        } else if path
            .extension()
            .is_some_and(|kind| ["json", "md", "csv"].iter().any(|known| kind == *known))
        {
            text.push_str(&std::fs::read_to_string(&path)?);
        }
    }
    Ok(text)
}

/// Goes on with a run, and tells of both.
#[cfg(target_os = "linux")]
fn resume(folder: &Path, first: (String, String)) -> Result<Told, Box<dyn std::error::Error>> {
    let (code, said) = at(run(folder, &["--resume"]), "", |_| ())?;
    Ok(told(folder, (format!("{}, then {code}", first.0), said)))
}
