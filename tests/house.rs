//! The rooms keep their direction: the table in the crate's documentation is what the code does.

use std::{collections::BTreeMap, fs, path::Path};

/// Rows of the table: a room, and the rooms it may name.
fn table() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `"))
        .map(|row| row.split(" | ").collect())
        .collect();
    let names: Vec<String> = rows.iter().map(|row| row[0].trim_end_matches('`').to_owned()).collect();
    rows.iter()
        .enumerate()
        .map(|(index, row)| {
            let cell = row[2];
            let mut allowed: Vec<String> =
                if cell.contains("every room") { names[..index].to_vec() } else { Vec::new() };
            let quoted = |text: &str| -> Vec<String> {
                text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
            };
            if let Some((_, but)) = cell.split_once(" but ") {
                let out = quoted(but);
                allowed.retain(|name| !out.contains(name));
            } else {
                allowed.extend(quoted(cell));
            }
            (names[index].clone(), allowed)
        })
        .collect()
}

fn sources(path: &Path, found: &mut Vec<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            sources(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|kind| kind == "rs") {
        found.push(fs::read_to_string(path).unwrap());
    }
}

/// The rooms that a text names: `crate::room`, and the first words inside `use crate::{…}`.
fn named(text: &str, rooms: &[String]) -> Vec<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.extend(rooms.iter().filter(|room| starts_with_word(rest, room)).cloned());
            continue;
        };
        let mut depth = 1;
        let mut word = String::new();
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if depth == 1 && (c.is_alphanumeric() || c == '_' || c == ':') {
                word.push(c);
            } else if c == ',' && depth == 1 {
                word.push(' ');
            }
        }
        for name in word.split(' ') {
            let first = name.split("::").next().unwrap();
            found.extend(rooms.iter().filter(|room| *room == first).cloned());
        }
    }
    found
}

fn starts_with_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn every_room_names_only_the_rooms_its_row_allows() {
    let table = table();
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    let modules = text.lines().filter(|line| line.starts_with("pub mod "));
    assert_eq!(table.len(), modules.count(), "every room has a row");
    let rooms: Vec<String> = table.keys().cloned().collect();
    let mut seen = 0;
    for (room, allowed) in &table {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut texts = Vec::new();
        sources(&src.join(room), &mut texts);
        let single = src.join(format!("{room}.rs"));
        if single.exists() {
            sources(&single, &mut texts);
        }
        assert!(!texts.is_empty(), "the room `{room}` has code");
        for text in texts {
            for name in named(&text, &rooms) {
                seen += 1;
                assert!(
                    &name == room || allowed.contains(&name),
                    "`{room}` names `{name}`, which its row does not allow"
                );
            }
        }
    }
    assert!(seen > 50, "only {seen} names were found: the reading is broken");
}
