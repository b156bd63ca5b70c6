//! What lies on disk: whole, locked, versioned.

use std::fs;

use serde_json::json;

use super::*;
use crate::{
    measure::summarize,
    store::{StoreError, fingerprint_difference, newest, read, read_records, unfinished},
};

fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    result.expect_err("a refusal").to_string()
}

#[test]
fn a_run_is_read_back_as_it_was_written() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    let stored = read(folder.path()).unwrap();
    assert_eq!(stored.folder, results.join("small/one"));
    assert_eq!(stored.run, run("one"));
    assert_eq!(stored.plan, plan());
    assert_eq!(stored.servers, [server()]);
    assert_eq!(stored.cells, [measured()]);
    assert_eq!(stored.effective, "[experiment]\n");
    let stored = read_records(folder.path(), CELL).unwrap();
    assert_eq!(stored.len(), 1);
    assert!(stored[0].iter().eq(list()));
    let text = fs::read_to_string(folder.path().join("run.json")).unwrap();
    assert!(text.starts_with("{\n  \"format\": 1,") && text.ends_with("}\n"));
}

#[test]
fn a_summary_is_derived_again_from_the_stored_records() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    let spec = spec();
    let repeats = vec![records(), records()];
    let each: Vec<Summary> = repeats.iter().map(|records| summarize(records, &context(&spec))).collect();
    let pooled = pool(&repeats, &context(&spec));
    folder.write_cell(&cell(CELL, 4096, Some(pooled), each), &repeats).unwrap();

    let stored = read(folder.path()).unwrap().cells.remove(0);
    let again = read_records(folder.path(), CELL).unwrap();
    assert_eq!(stored.summary, Some(pool(&again, &context(&spec))));
    assert_eq!(stored.repeats.len(), 2);
    for (stored, records) in stored.repeats.iter().zip(&again) {
        assert_eq!(*stored, summarize(records, &context(&spec)));
    }
}

#[test]
fn light_files_suffice_to_read_a_run_and_records_say_where_they_are() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    let before = read(folder.path()).unwrap();
    fs::remove_file(folder.path().join("cells").join(CELL).join("records-1.jsonl.gz")).unwrap();
    assert_eq!(read(folder.path()).unwrap(), before);
    let error = refused(read_records(folder.path(), CELL));
    assert!(error.contains("records-1.jsonl.gz") && error.contains("copy them"), "{error}");
    let ignored = fs::read_to_string(folder.path().join(".gitignore")).unwrap();
    for pattern in ["records-*.jsonl.gz", "server.log", ".lock", ".tmp-*"] {
        assert!(ignored.lines().any(|line| line == pattern), "{pattern}");
    }
}

#[test]
fn a_cell_without_requests_has_no_records() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    folder.write_cell(&cell(OOM, 4096, None, Vec::new()), &[]).unwrap();
    assert!(read_records(folder.path(), OOM).unwrap().is_empty());
    assert_eq!(read(folder.path()).unwrap().cells.len(), 2);
}

#[test]
fn a_cell_written_again_replaces_the_older_one() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    folder.write_cell(&measured(), &[records(), records()]).unwrap();
    folder.write_cell(&measured(), &[records()]).unwrap();
    assert_eq!(read_records(folder.path(), CELL).unwrap().len(), 1);
    let names: Vec<_> = fs::read_dir(folder.path().join("cells")).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn leftovers_of_interrupted_writes_are_not_read_and_are_removed_on_open() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    let path = folder.path().to_owned();
    let half = path.join("cells").join(format!(".tmp-new-{OOM}"));
    fs::create_dir(&half).unwrap();
    fs::write(half.join("cell.json"), "{").unwrap();
    fs::write(path.join(".tmp-run.json"), "{").unwrap();
    assert_eq!(read(&path).unwrap().cells.len(), 1);
    // A crash between moving the old cell aside and putting the new one in its place.
    let aside = path.join("cells").join(format!(".tmp-old-{CELL}"));
    fs::rename(path.join("cells").join(CELL), &aside).unwrap();
    assert_eq!(read(&path).unwrap().cells.len(), 0);

    drop(folder);
    let folder = RunFolder::open(&path).unwrap();
    assert!(!half.exists() && !aside.exists() && !path.join(".tmp-run.json").exists());
    assert_eq!(read(folder.path()).unwrap().cells, [measured()]);
}

#[test]
fn a_truncated_file_is_named_with_a_next_step() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    let cell_folder = folder.path().join("cells").join(CELL);
    let json = cell_folder.join("cell.json");
    let whole = fs::read(&json).unwrap();
    fs::write(&json, &whole[..whole.len() / 2]).unwrap();
    let error = refused(read(folder.path()));
    assert!(
        error.contains(json.as_str()) && error.contains("cut short") && error.contains("restore"),
        "{error}"
    );
    fs::write(&json, &whole).unwrap();

    let heavy = cell_folder.join("records-1.jsonl.gz");
    let whole = fs::read(&heavy).unwrap();
    fs::write(&heavy, &whole[..whole.len() - 12]).unwrap();
    let error = refused(read_records(folder.path(), CELL));
    assert!(error.contains("records-1.jsonl.gz: cannot be unpacked"), "{error}");

    fs::remove_file(&json).unwrap();
    let error = refused(read(folder.path()));
    assert!(error.contains("cell.json: is missing") && error.contains("--resume"), "{error}");
}

#[test]
fn a_newer_format_is_refused_before_it_is_parsed() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    for relative in ["run.json".to_owned(), "plan.json".to_owned(), format!("cells/{CELL}/cell.json")] {
        let path = folder.path().join(relative);
        let old = fs::read(&path).unwrap();
        fs::write(&path, json!({ "format": 2, "unknown": {} }).to_string()).unwrap();
        let error = refused(read(folder.path()));
        assert!(error.contains(path.as_str()) && error.contains("format 2"), "{error}");
        assert!(error.contains("newer runner"), "{error}");
        fs::write(&path, old).unwrap();
    }
}

#[test]
fn one_runner_at_a_time_works_on_a_run() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    let path = folder.path().to_owned();
    let error = refused(RunFolder::open(&path));
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    assert!(error.contains("--name"), "{error}");
    drop(folder);
    assert_eq!(RunFolder::open(&path).unwrap().path(), path);
}

#[test]
fn no_partial_file_stays_in_a_resumed_run() {
    let (_guard, results) = scratch();
    let run = write(&results, "one");
    let path = run.path().to_owned();
    drop(run);
    let left = [
        ".tmp-cells.csv",
        "notes/.tmp-capacity.md",
        "notes/.tmp-old-notes.md",
        "charts/.tmp-a.svg",
        "servers/s-1/.tmp-serve.sh",
    ];
    for name in left {
        fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
        fs::write(path.join(name), "half").unwrap();
    }
    fs::write(path.join("servers/.DS_Store"), "").unwrap();
    drop(RunFolder::open(&path).unwrap());
    for name in left {
        assert!(!path.join(name).exists(), "{name}");
    }
    assert!(!path.join("notes/notes.md").exists());
}

#[test]
fn a_run_that_cannot_begin_leaves_nothing() {
    let (_guard, results) = scratch();
    let folder = RunFolder::create_free(&results, "small", "one").unwrap();
    let path = folder.path().to_owned();
    // Nothing can be put in its place.
    fs::create_dir(path.join("plan.json")).unwrap();
    let error = refused(folder.write_beginning("", "", &plan(), &run("one")));
    assert!(error.contains("plan.json"), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_run_is_never_written_over() {
    let (_guard, results) = scratch();
    drop(write(&results, "one"));
    let error = refused(RunFolder::create(&results, "small", "one"));
    assert!(error.contains("--resume") && error.contains("--name"), "{error}");
    let error = refused(RunFolder::open(&results));
    assert!(error.contains("is not a run"), "{error}");
    // One that was cut off before its first file has nothing to lose.
    drop(RunFolder::create(&results, "small", "two").unwrap());
    drop(RunFolder::create(&results, "small", "two").unwrap());
}

#[test]
fn concurrent_runs_of_one_name_get_different_folders() {
    let (_guard, results) = scratch();
    let folders: Vec<RunFolder> = std::thread::scope(|scope| {
        let make = || RunFolder::create_free(&results, "small", "one").unwrap();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        let made = threads.into_iter().map(|thread| thread.join().unwrap());
        made.collect()
    });
    let mut names: Vec<&str> = folders.iter().map(RunFolder::name).collect();
    names.sort_unstable();
    assert_eq!(names, ["one", "one-2", "one-3", "one-4", "one-5", "one-6", "one-7", "one-8"]);
}

#[test]
fn no_name_leads_out_of_the_run_folder() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    for id in ["", "..", "a/b", "a\\b", ".hidden", "-flag", "a\nb"] {
        assert!(RunFolder::create(&results, id, "x").is_err(), "{id:?}");
        assert!(RunFolder::create(&results, "small", id).is_err(), "{id:?}");
        assert!(folder.server_folder(id).is_err(), "{id:?}");
        assert!(read_records(folder.path(), id).is_err(), "{id:?}");
        let mut cell = measured();
        cell.id = id.into();
        assert!(folder.write_cell(&cell, &[]).is_err(), "{id:?}");
    }
    for relative in ["", "../x", "/x", "a/../../x", "./x"] {
        let error = refused(folder.write_text(relative, "x"));
        assert!(error.contains("out of the run folder"), "{error}");
    }
    folder.write_text("notes/capacity.md", "# note\n").unwrap();
    assert!(folder.path().join("notes/capacity.md").exists());
}

#[test]
fn the_newest_run_is_the_one_that_began_last_whatever_its_name() {
    let (_guard, results) = scratch();
    assert_eq!(newest(&results, "small").unwrap(), None);
    drop(write(&results, "z"));
    let later = write(&results, "a");
    let mut provenance = run("a");
    provenance.started_at = at(60);
    later.write_run(&provenance).unwrap();
    // It was made and never got as far as its provenance.
    drop(RunFolder::create(&results, "small", "empty").unwrap());
    assert_eq!(newest(&results, "small").unwrap(), Some(results.join("small/a")));
    fs::write(results.join("small/z/run.json"), "{").unwrap();
    assert!(refused(newest(&results, "small")).contains("z/run.json"));
}

#[test]
fn differences_between_two_starts_are_named() {
    let old = run("one");
    let mut new = run("two");
    new.host.as_mut().unwrap().cpu = None;
    new.started_at = at(99);
    new.engine.as_mut().unwrap().version = None;
    assert_eq!(fingerprint_difference(&old, &new), Vec::<String>::new());
    new = run("two");
    new.gpus[0].name = "Card B".into();
    new.engine.as_mut().unwrap().version = Some("0.11.0".into());
    new.host.as_mut().unwrap().cores = 16;
    assert_eq!(
        fingerprint_difference(&old, &new),
        [
            "gpu: Card A (16384 MiB) → Card B (16384 MiB)",
            "engine version: 0.10.0 → 0.11.0",
            "processor cores: 2 → 16",
        ]
    );
    new.gpus.clear();
    new.simulated = true;
    let differences = fingerprint_difference(&old, &new);
    assert_eq!(differences[0], "simulated: false → true");
    assert_eq!(differences[1], "gpu: Card A (16384 MiB) → none");
}

#[test]
fn damaged_files_are_moved_aside_and_the_run_can_be_read_again() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    let path = folder.path().to_owned();
    let cell = path.join("cells").join(CELL);
    let half = |path: &Utf8Path| {
        let whole = fs::read(path).unwrap();
        fs::write(path, &whole[..whole.len() / 2]).unwrap();
    };
    assert_eq!(folder.repair(&plan(), "").unwrap(), [] as [String; 0]);
    half(&cell.join("cell.json"));
    half(&path.join("servers").join(&server().id).join("server.json"));
    fs::remove_file(path.join("plan.json")).unwrap();
    let told = folder.repair(&plan(), "").unwrap();
    let says = |words: [&str; 2]| {
        let told = told.iter().any(|told| words.iter().all(|word| told.contains(word)));
        assert!(told, "{words:?}");
    };
    assert_eq!(told.len(), 3, "{told:?}");
    says(["plan.json is missing", "written again from the manifest"]);
    says(["server.json is cut short", "when the server starts again"]);
    says(["cell.json is cut short", "the cell is measured again"]);
    let stored = read(&path).unwrap();
    assert_eq!((stored.plan, stored.cells.len(), stored.servers.len()), (plan(), 0, 0));
    // Nothing that was there is gone, and a second damage takes the place of no first one.
    folder.write_cell(&measured(), &[records()]).unwrap();
    half(&cell.join("cell.json"));
    folder.repair(&plan(), "").unwrap();
    for kept in [format!(".damaged-{CELL}"), format!(".damaged-{CELL}-2")] {
        let kept = path.join("cells").join(kept);
        assert!(kept.join("records-1.jsonl.gz").exists(), "{kept}");
    }
}

#[test]
fn a_newer_format_is_not_damage() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    let json = folder.path().join("cells").join(CELL).join("cell.json");
    let newer = fs::read_to_string(&json).unwrap();
    let newer = newer.replacen("\"format\": 1", "\"format\": 99", 1);
    fs::write(&json, &newer).unwrap();
    assert_eq!(folder.repair(&plan(), "").unwrap(), [] as [String; 0]);
    assert_eq!(fs::read_to_string(&json).unwrap(), newer);
}

#[test]
fn the_advice_on_a_damaged_run_json_is_not_to_remove_it() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    fs::write(folder.path().join("run.json"), "{").unwrap();
    let error = refused(read(folder.path()));
    assert!(error.contains("restore it") && !error.contains("remove"), "{error}");
}

#[test]
fn an_unfinished_run_is_found_once_no_process_works_on_it() {
    let (_guard, results) = scratch();
    assert_eq!(unfinished(&results, "small"), None);
    let folder = write(&results, "one");
    assert_eq!(unfinished(&results, "small"), None, "it is at work");
    let path = folder.path().to_owned();
    drop(folder);
    let found = unfinished(&results, "small").unwrap();
    assert_eq!((found.folder, found.cells), (path.clone(), 1));
    let folder = RunFolder::open(&path).unwrap();
    let over = RunFile { finished_at: Some(at(9)), ..run("one") };
    folder.write_run(&over).unwrap();
    drop(folder);
    assert_eq!(unfinished(&results, "small"), None);
}

#[test]
fn abandoned_folders_are_removed_by_the_next_run() {
    let (_guard, results) = scratch();
    let there = |name: &str| results.join("small").join(name).exists();
    let made = |name: &str, files: &[&str]| {
        let folder = RunFolder::create(&results, "small", name).unwrap();
        for file in files {
            fs::write(folder.path().join(file), "x").unwrap();
        }
        folder
    };
    let killed = made("killed", &["manifest.toml", ".tmp-plan.json"]);
    let at_work = made("at-work", &["manifest.toml"]);
    drop(made("not-ours", &["thesis.txt"]));
    assert!(there("killed"), "somebody is at work in it");
    drop(killed);
    drop(made("next", &["run.json"]));
    assert!(!there("killed"));
    for name in ["at-work", "not-ours", "next"] {
        assert!(there(name), "{name}");
    }
    drop(at_work);
}
