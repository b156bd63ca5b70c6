//! Runs met in the states that a crash, a full disk, a second runner or a person leaves.

use std::{fs, io};

use super::{cell, plan, records, results, run, started, text, unmeasured};
use crate::{
    measure::CellOutcome,
    store::{RunFolder, StoreError, read, read_records},
};

#[test]
fn a_name_that_is_taken_is_refused_with_the_next_step() {
    let results = results();
    drop(started(&results, &plan(&[])));
    let error = RunFolder::create(&results.path, "day003", "first").unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }));
    let said = error.to_string();
    assert!(said.contains("day003/first") && said.contains("--resume") && said.contains("--name"));
}

#[test]
fn names_that_are_paths_do_no_harm() {
    let results = results();
    for name in [
        "..",
        "a/b",
        "",
        ".hidden",
        "/etc",
        "a\0b",
        "ü",
        &"x".repeat(300),
    ] {
        let refused = RunFolder::create(&results.path, "day003", name);
        assert!(
            matches!(refused, Err(StoreError::BadName { .. })),
            "{name:?}"
        );
        let refused = RunFolder::create(&results.path, name, "first");
        assert!(
            matches!(refused, Err(StoreError::BadName { .. })),
            "{name:?}"
        );
    }
    let folder = started(&results, &plan(&[]));
    assert!(folder.server_folder("../x").is_err());
    assert!(
        folder
            .write_cell(&unmeasured("../x", CellOutcome::Oom), &[])
            .is_err()
    );
    assert!(read_records(folder.path(), "../x").is_err());
    for path in ["../x", "/etc/x", "notes/../../x", ""] {
        assert!(folder.write_text(path, "").is_err(), "{path:?}");
    }
    folder.write_text("notes/summary.md", "# Note\n").unwrap();
    assert_eq!(text(folder.path().join("notes/summary.md")), "# Note\n");
}

#[test]
fn a_second_runner_is_told_who_holds_the_folder() {
    let results = results();
    let folder = started(&results, &plan(&[]));
    let path = folder.path().to_owned();
    let error = RunFolder::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }));
    let holder = format!("process {}", std::process::id());
    assert!(error.to_string().contains(&holder), "{error}");
    drop(folder);
    RunFolder::open(&path).unwrap();
}

#[test]
fn what_is_not_a_run_is_not_opened_and_not_touched() {
    let results = results();
    let error = RunFolder::open(&results.path).unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert_eq!(fs::read_dir(&results.path).unwrap().count(), 0);
    assert!(matches!(
        read(&results.path),
        Err(StoreError::Missing { .. })
    ));
}

#[test]
fn a_resume_leaves_what_is_done_and_what_a_crash_left_is_no_cell() {
    let results = results();
    let plan = plan(&["ok", "oom", "failed", "later"]);
    let folder = started(&results, &plan);
    folder
        .write_cell(&cell("ok", &[records(0)]), &[records(0)])
        .unwrap();
    folder
        .write_cell(&unmeasured("oom", CellOutcome::Oom), &[])
        .unwrap();
    folder
        .write_cell(&unmeasured("failed", CellOutcome::Crashed), &[])
        .unwrap();
    let path = folder.path().to_owned();
    let half = path.join("cells/.tmp-later");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("cell.json"), "{\"form").unwrap();
    fs::write(path.join(".tmp-run.json"), "{").unwrap();
    fs::create_dir(path.join("cells/later")).unwrap();

    assert_eq!(read(&path).unwrap().cells.len(), 3);
    drop(folder);
    let folder = RunFolder::open(&path).unwrap();
    assert!(!half.exists() && !path.join(".tmp-run.json").exists());
    // The failed one is measured again: nothing of the first attempt stays.
    folder
        .write_cell(&cell("failed", &[records(0)]), &[records(0)])
        .unwrap();
    let done = |id: &str| {
        let stored = read(&path).unwrap().cells;
        stored
            .iter()
            .any(|cell| cell.id == id && cell.outcome.is_done())
    };
    assert_eq!(
        ["ok", "oom", "failed", "later"].map(done),
        [true, true, true, false]
    );
    folder
        .write_cell(&unmeasured("ok", CellOutcome::Oom), &[])
        .unwrap();
    assert!(read_records(&path, "ok").unwrap().is_empty());
}

#[test]
fn a_file_that_is_cut_short_is_named() {
    let results = results();
    let folder = started(&results, &plan(&["chat-a"]));
    folder
        .write_cell(&cell("chat-a", &[records(0)]), &[records(0)])
        .unwrap();
    let path = folder.path().join("cells/chat-a/cell.json");
    let whole = text(&path);
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = read(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }));
    assert!(
        error.to_string().contains("cells/chat-a/cell.json"),
        "{error}"
    );

    let path = folder.path().join("cells/chat-a/records-1.jsonl.gz");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let error = read_records(folder.path(), "chat-a").unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn a_later_format_is_refused_even_when_nothing_else_is_understood() {
    let results = results();
    let folder = started(&results, &plan(&[]));
    fs::write(
        folder.path().join("run.json"),
        "{\"format\": 2, \"all\": \"new\"}",
    )
    .unwrap();
    let error = read(folder.path()).unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { format: 2, .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("run.json has format 2"),
        "{error}"
    );
}

#[test]
fn a_folder_removed_under_a_run_is_told_and_not_made_anew() {
    let results = results();
    let folder = started(&results, &plan(&[]));
    fs::remove_dir_all(folder.path()).unwrap();
    let refused = [
        folder.write_cell(&unmeasured("chat-a", CellOutcome::Oom), &[]),
        folder.write_run(&run()),
        folder.write_text("notes/summary.md", ""),
        folder.server_folder("qwen-0000").map(|_| ()),
    ];
    for error in refused {
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("day003/first") && error.contains("moved or removed"),
            "{error}"
        );
    }
    assert!(!folder.path().exists());
}

#[test]
fn what_the_system_refuses_has_a_next_step() {
    let says =
        |kind: io::ErrorKind| StoreError::io("write", "results/x".into())(kind.into()).to_string();
    assert!(says(io::ErrorKind::StorageFull).contains("make room"));
    assert!(says(io::ErrorKind::ReadOnlyFilesystem).contains("choose a results folder"));
    assert!(says(io::ErrorKind::StorageFull).starts_with("cannot write results/x: "));
    // A file where a folder should be.
    let results = results();
    fs::write(results.path.join("day003"), "").unwrap();
    let error = RunFolder::create(&results.path, "day003", "first").unwrap_err();
    assert!(error.to_string().contains("day003"), "{error}");
}
