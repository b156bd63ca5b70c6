//! The architecture that `src/lib.rs` documents, checked against the code: which rooms a room may use, that
//! no two files of a room depend on each other, and that every dependency has its reason.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path of names: `["crate", "load", "Record"]`.
type Names = Vec<String>;

/// One source file, which is one module.
#[derive(Default)]
struct Module {
    /// What its `use` declarations bring into scope: name → absolute path. Those of `pub use` are re-exports.
    imports: BTreeMap<String, Names>,
    /// Absolute paths that the code names, `pub use` left out: a re-export depends on nothing.
    names: BTreeSet<Names>,
    /// The same of its tests.
    test_names: BTreeSet<Names>,
    /// Modules that are compiled for tests only.
    test_modules: BTreeSet<String>,
}

/// Every module of the crate by its path, `["load", "drive"]`; the crate's root is `[]`.
struct Crate(BTreeMap<Names, Module>);

impl Crate {
    fn read() -> Self {
        let src = root().join("src");
        let mut files = Vec::new();
        source_files(&src, &mut files);
        let mut texts = BTreeMap::new();
        for file in files {
            let mut path: Names = file
                .strip_prefix(&src)
                .unwrap()
                .with_extension("")
                .iter()
                .map(|part| part.to_str().unwrap().to_owned())
                .collect();
            match path.last().map(String::as_str) {
                Some("main") => continue,
                Some("mod" | "lib") => drop(path.pop()),
                _ => {}
            }
            texts.insert(path, fs::read_to_string(&file).unwrap());
        }
        let known: BTreeSet<Names> = texts.keys().cloned().collect();
        let module = |(path, text): (&Names, &String)| {
            let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path:?}: {error}"));
            let mut reader = Reader { known: &known, path, module: Module::default() };
            reader.items(tokens, false);
            (path.clone(), reader.module)
        };
        Self(texts.iter().map(module).collect())
    }

    /// The module that defines what an absolute path names, through re-exports.
    fn home(&self, path: &[String]) -> Names {
        let mut path = path.to_vec();
        // A chain of re-exports is short; the bound ends one that leads back to itself.
        for _ in 0..8 {
            let longest =
                (0..=path.len()).rev().find(|&length| self.0.contains_key(&path[..length])).unwrap();
            let Some(target) = path.get(longest).and_then(|item| self.0[&path[..longest]].imports.get(item))
            else {
                return path[..longest].to_vec();
            };
            path = target.iter().chain(&path[longest + 1..]).cloned().collect();
        }
        panic!("{path:?} is re-exported in a circle")
    }

    fn is_for_tests(&self, path: &[String]) -> bool {
        (1..=path.len()).any(|length| {
            self.0
                .get(&path[..length - 1])
                .is_some_and(|parent| parent.test_modules.contains(&path[length - 1]))
        })
    }

    /// Which modules of its own room each module depends on.
    fn dependencies(&self) -> BTreeMap<&Names, BTreeSet<Names>> {
        let own = self.0.iter().filter(|(path, _)| !path.is_empty() && !self.is_for_tests(path));
        own.map(|(path, module)| {
            let homes = module.names.iter().map(|name| self.home(name));
            (path, homes.filter(|home| home.first() == path.first() && home != path).collect())
        })
        .collect()
    }
}

/// Reads the tokens of one file.
struct Reader<'a> {
    known: &'a BTreeSet<Names>,
    path: &'a Names,
    module: Module,
}

impl Reader<'_> {
    /// Reads items, or the tokens of one: paths, `use` declarations, and modules for tests.
    fn items(&mut self, tokens: TokenStream, for_tests: bool) {
        let mut tokens = tokens.into_iter().peekable();
        let (mut is_public, mut next_for_tests) = (false, false);
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Punct(mark) if mark.as_char() == '#' => {
                    if let Some(TokenTree::Group(attribute)) = tokens.peek() {
                        next_for_tests |=
                            attribute.stream().to_string().replace(' ', "").contains("cfg(test");
                    }
                }
                TokenTree::Punct(mark) if mark.as_char() == ';' => {
                    (is_public, next_for_tests) = (false, false)
                }
                TokenTree::Ident(word) if word == "pub" => is_public = true,
                TokenTree::Ident(word) if word == "mod" => {
                    let name = tokens.next().unwrap().to_string();
                    if next_for_tests {
                        self.module.test_modules.insert(name);
                    }
                }
                TokenTree::Ident(word) if word == "use" => {
                    let declaration = tokens.by_ref().take_while(
                        |token| !matches!(token, TokenTree::Punct(mark) if mark.as_char() == ';'),
                    );
                    for (path, name) in leaves(declaration.collect(), &[]) {
                        let Some(path) = self.absolute(&path) else { continue };
                        if !is_public && !for_tests && !next_for_tests {
                            self.module.names.insert(path.clone());
                        } else if !is_public {
                            self.module.test_names.insert(path.clone());
                        }
                        self.module.imports.insert(name, path);
                    }
                    (is_public, next_for_tests) = (false, false);
                }
                TokenTree::Ident(word) => {
                    let mut path = vec![word.to_string()];
                    while let Some(TokenTree::Punct(mark)) = tokens.peek()
                        && mark.as_char() == ':'
                    {
                        tokens.next();
                        if let Some(TokenTree::Ident(word)) = tokens.peek() {
                            path.push(word.to_string());
                            tokens.next();
                        }
                    }
                    let to = if for_tests || next_for_tests {
                        &mut self.module.test_names
                    } else {
                        &mut self.module.names
                    };
                    if path.len() > 1
                        && let Some(path) = absolute(self.known, self.path, &path)
                    {
                        to.insert(path);
                    }
                }
                TokenTree::Group(group) => {
                    self.items(group.stream(), for_tests || next_for_tests);
                    if group.delimiter() == Delimiter::Brace {
                        (is_public, next_for_tests) = (false, false);
                    }
                }
                _ => {}
            }
        }
    }

    fn absolute(&self, path: &[String]) -> Option<Names> {
        absolute(self.known, self.path, path)
    }
}

/// A path as the module `from` writes it, from the crate's root on; `None` if it leads out of the crate or
/// begins with an imported name, whose import is read by itself.
fn absolute(known: &BTreeSet<Names>, from: &Names, path: &[String]) -> Option<Names> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" | "runner" => Some(rest.to_vec()),
        "self" => Some(from.iter().chain(rest).cloned().collect()),
        "super" => {
            let mut base = from.clone();
            base.pop()?;
            let above = rest.iter().take_while(|name| *name == "super").count();
            for _ in 0..above {
                base.pop()?;
            }
            base.extend_from_slice(&rest[above..]);
            Some(base)
        }
        _ => {
            let child: Names = from.iter().chain([first]).cloned().collect();
            known.contains(&child).then(|| child.into_iter().chain(rest.iter().cloned()).collect())
        }
    }
}

/// The paths of a `use` declaration, each with the name that it brings into scope.
fn leaves(tokens: Vec<TokenTree>, prefix: &[String]) -> Vec<(Names, String)> {
    let mut found = Vec::new();
    let commas = |token: &TokenTree| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',');
    // A trailing comma leaves an empty tree, which names nothing.
    for tree in tokens.split(commas).filter(|tree| !tree.is_empty()) {
        let mut path = prefix.to_vec();
        let mut alias = None;
        let mut is_group = false;
        for (index, token) in tree.iter().enumerate() {
            match token {
                TokenTree::Ident(word) if word == "as" => {
                    alias = tree.get(index + 1).map(ToString::to_string)
                }
                TokenTree::Ident(word) if alias.is_none() && word != "self" || path.is_empty() => {
                    path.push(word.to_string())
                }
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    found.extend(leaves(group.stream().into_iter().collect(), &path));
                    is_group = true;
                }
                _ => {}
            }
        }
        if !is_group && let Some(last) = path.last().cloned() {
            found.push((path, alias.unwrap_or(last)));
        }
    }
    found
}

fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

/// The checkout; cargo sets the variable when it runs a test.
fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
}

fn root_docs() -> String {
    fs::read_to_string(root().join("src/lib.rs")).unwrap()
}

/// What stands in backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The table of rooms: each with the rooms it may use.
fn rooms() -> Vec<(String, Vec<String>)> {
    let docs = root_docs();
    let (_, table) = docs.split_once("| room |").unwrap();
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("//! | "));
    let mut rooms: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.split(" | ").collect();
        let above = rooms.iter().map(|(room, _)| room.clone());
        let allowed = match cells[2].split_once("every room") {
            Some((_, except)) => above.filter(|room| !quoted(except).contains(room)).collect(),
            None => quoted(cells[2]),
        };
        rooms.push((quoted(cells[0])[0].clone(), allowed));
    }
    rooms
}

#[test]
fn every_room_uses_only_the_rooms_its_row_allows() {
    let code = Crate::read();
    let rooms = rooms();
    let modules = root_docs().lines().filter(|line| line.starts_with("pub mod ")).count();
    assert_eq!(rooms.len(), modules, "every room has a row");
    let mut seen = 0;
    for (path, module) in code.0.iter().filter(|(path, _)| !path.is_empty()) {
        let (_, allowed) = rooms.iter().find(|(room, _)| *room == path[0]).unwrap();
        for name in module.names.iter().chain(&module.test_names) {
            let Some(used) = name.first().filter(|first| rooms.iter().any(|(room, _)| room == *first)) else {
                continue;
            };
            seen += 1;
            assert!(
                *used == path[0] || allowed.contains(used),
                "{path:?} uses `{used}`, which its row does not allow"
            );
        }
    }
    assert!(seen > 500, "only {seen} uses were found: the reading is broken");
}

#[test]
fn no_two_files_of_a_room_depend_on_each_other() {
    let code = Crate::read();
    let dependencies = code.dependencies();
    let edges: usize = dependencies.values().map(BTreeSet::len).sum();
    assert!(edges > 200, "only {edges} dependencies were found: the reading is broken");
    // Everything that a file reaches, itself only by way of a circle.
    let reach = |from: &Names| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&Names> = dependencies[from].iter().collect();
        while let Some(path) = next.pop() {
            if reached.insert(path) {
                next.extend(dependencies.get(path).into_iter().flatten());
            }
        }
        reached
    };
    let reached: BTreeMap<&Names, BTreeSet<&Names>> =
        dependencies.keys().map(|&path| (path, reach(path))).collect();
    let circles: BTreeSet<Vec<String>> = reached
        .iter()
        .filter(|(path, reached)| reached.contains(**path))
        .map(|(path, those)| {
            let back =
                those.iter().filter(|other| reached.get(**other).is_some_and(|back| back.contains(path)));
            back.map(|other| other.join("::")).collect()
        })
        .collect();
    let lines: Vec<String> = circles.iter().map(|circle| circle.join(" ↔ ")).collect();
    assert!(lines.is_empty(), "{} circles of files:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let targets = manifest["target"].as_table().unwrap().values().filter_map(toml::Value::as_table);
    let tables = targets.chain([&manifest]);
    let listed: BTreeSet<String> = tables
        .flat_map(|table| {
            ["dependencies", "dev-dependencies"].into_iter().filter_map(|kind| table.get(kind)?.as_table())
        })
        .flat_map(|table| table.keys().cloned())
        .collect();
    let docs = root_docs();
    let (_, table) = docs.split_once("| crate |").unwrap();
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("//! | "));
    let explained: BTreeSet<String> = rows
        .flat_map(|row| quoted(row.split(" | ").next().unwrap()))
        .filter(|name| name != "zlib-rs")
        .collect();
    assert_eq!(explained, listed);
}
