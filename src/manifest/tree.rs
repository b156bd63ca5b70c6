//! A TOML document in which every key and value has its place in the text.

use std::{ops::Range, sync::Arc};

use indexmap::IndexMap;
use serde_json::{Map, Number, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::diagnostic::{Finding, Findings, Place, Source};

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) item: Item,
    pub(crate) place: Place,
}

#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// A string, number or boolean; a date is kept as a string.
    Scalar(Value),
    Array(Vec<Node>),
    Table(Table),
}

pub(crate) type Table = IndexMap<String, Entry>;

/// A key's value, and the place of the key.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Place,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.item {
            Item::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The table at a path below this node.
    pub(crate) fn table_mut(&mut self, path: &[&str]) -> Option<&mut Table> {
        let mut node = self;
        for key in path {
            let Item::Table(table) = &mut node.item else { return None };
            node = &mut table.get_mut(*key)?.node;
        }
        match &mut node.item {
            Item::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn array(&self) -> Option<&[Node]> {
        match &self.item {
            Item::Array(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn scalar(&self) -> Option<&Value> {
        match &self.item {
            Item::Scalar(value) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        self.scalar().and_then(Value::as_str)
    }

    /// The node at a path below this one.
    pub(crate) fn get<S: AsRef<str>>(&self, path: &[S]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.table()?.get(key.as_ref()).map(|entry| &entry.node))
    }

    pub(crate) fn to_value(&self) -> Value {
        match &self.item {
            Item::Scalar(value) => value.clone(),
            Item::Array(items) => items.iter().map(Node::to_value).collect(),
            Item::Table(table) => {
                Value::Object(table.iter().map(|(key, entry)| (key.clone(), entry.node.to_value())).collect())
            }
        }
    }

    /// The kind of value, as words of a sentence.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.item {
            Item::Scalar(Value::String(_)) => "a string",
            Item::Scalar(Value::Bool(_)) => "a boolean",
            Item::Scalar(Value::Number(n)) if n.is_f64() => "a number with a fraction",
            Item::Scalar(_) => "a whole number",
            Item::Array(_) => "an array",
            Item::Table(_) => "a table",
        }
    }

    /// Merges `over` into this node: tables key by key, everything else is replaced.
    pub(crate) fn overlay(&mut self, over: Node) {
        self.overlay_at(over, &mut Vec::new());
    }

    fn overlay_at(&mut self, over: Node, path: &mut Vec<String>) {
        match (&mut self.item, over.item) {
            (Item::Table(base), Item::Table(table)) if is_search(path) || !is_atomic(&table) => {
                self.place = over.place;
                for (key, entry) in table {
                    match base.get_mut(&key) {
                        Some(old) => {
                            old.key = entry.key;
                            path.push(key);
                            old.node.overlay_at(entry.node, path);
                            path.pop();
                        }
                        None => {
                            base.insert(key, entry);
                        }
                    }
                }
            }
            (_, item) => {
                self.item = item;
                self.place = over.place;
            }
        }
    }
}

/// Whether a path is that of a search, whose `from` and `to` are keys of their own.
fn is_search(path: &[String]) -> bool {
    match path {
        [table, _] => table == "search",
        [table, _, key] => table == "workload" && key == "search",
        _ => false,
    }
}

/// Whether a table is one value (a range, a derived value or an unset), which is replaced rather than merged.
fn is_atomic(table: &Table) -> bool {
    ["from", "to", "expr", "unset"].iter().any(|key| table.contains_key(*key))
}

/// Sets the value at a path, creating tables where needed.
pub(crate) fn set_value(root: &mut Value, path: &[String], value: Value) {
    let mut slot = root;
    for key in path {
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        let Value::Object(map) = slot else { unreachable!("made an object above") };
        slot = map.entry(key.clone()).or_insert(Value::Null);
    }
    *slot = value;
}

/// The most syntax errors that are reported for a file. Further ones usually follow from the first.
const MOST_SYNTAX_ERRORS: usize = 5;

/// Parses a text. Syntax errors become findings, up to [`MOST_SYNTAX_ERRORS`].
pub(crate) fn parse(source: &Arc<Source>, findings: &mut Findings) -> Node {
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    let more = errors.len().saturating_sub(MOST_SYNTAX_ERRORS);
    for (index, error) in errors.into_iter().take(MOST_SYNTAX_ERRORS).enumerate() {
        let span = error.span().unwrap_or(0..0);
        let mut finding = Finding::error(format!("invalid TOML: {}", error.message().replace('\n', "; ")))
            .at(&place(source, span), "");
        if more > 0 && index + 1 == MOST_SYNTAX_ERRORS {
            finding = finding.help(format!("{more} more syntax errors; is this file a manifest?"));
        }
        findings.push(finding);
    }
    let span = document.span();
    Node { item: Item::Table(table(source, document.into_inner(), findings)), place: place(source, span) }
}

fn place(source: &Arc<Source>, span: Range<usize>) -> Place {
    Place { source: source.clone(), span }
}

fn table(source: &Arc<Source>, document: DeTable<'_>, findings: &mut Findings) -> Table {
    document
        .into_iter()
        .map(|(key, value)| {
            let entry = Entry { key: place(source, key.span()), node: node(source, value, findings) };
            (key.into_inner().into_owned(), entry)
        })
        .collect()
}

fn node(source: &Arc<Source>, value: Spanned<DeValue<'_>>, findings: &mut Findings) -> Node {
    let here = place(source, value.span());
    let item = match value.into_inner() {
        DeValue::String(text) => Item::Scalar(text.into_owned().into()),
        DeValue::Boolean(truth) => Item::Scalar(truth.into()),
        DeValue::Datetime(date) => Item::Scalar(date.to_string().into()),
        DeValue::Integer(integer) => {
            let digits = integer.as_str().replace('_', "");
            match i64::from_str_radix(&digits, integer.radix()) {
                Ok(number) => Item::Scalar(number.into()),
                Err(_) => {
                    findings.push(
                        Finding::error(format!("{digits} does not fit in 64 bits")).at(&here, "too large"),
                    );
                    Item::Scalar(0.into())
                }
            }
        }
        DeValue::Float(float) => {
            let number = float.as_str().replace('_', "").parse::<f64>().ok();
            match number.and_then(Number::from_f64) {
                Some(number) => Item::Scalar(Value::Number(number)),
                None => {
                    findings.push(
                        Finding::error(format!("{} is not supported", float.as_str()))
                            .at(&here, "not a finite number")
                            .help("write a finite number"),
                    );
                    Item::Scalar(0.0.into())
                }
            }
        }
        DeValue::Array(items) => {
            Item::Array(items.into_iter().map(|item| node(source, item, findings)).collect())
        }
        DeValue::Table(inner) => Item::Table(table(source, inner, findings)),
    };
    Node { item, place: here }
}
