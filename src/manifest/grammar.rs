//! What may stand in a manifest. The types of [`super::declaration`] give a JSON Schema; the same schema is what
//! editors read and what this file walks to find every mistake, with its place, at once.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::{
    catalogue::Catalogue,
    declaration::{Experiment, Hardware, Server, SloTerm, Workload},
    path::Path,
    scrape::{SCRAPE_EVERY, ScrapeEvery},
    tree::{Item, Node},
};
use crate::{
    diagnostic::{Finding, Findings},
    unit::TimeSpan,
};

/// The JSON Schema of a manifest, for editors (`runner schema`) and for the findings.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let experiment = generator.subschema_for::<Experiment>();
    let hardware = generator.subschema_for::<Hardware>();
    let catalogue = generator.subschema_for::<Catalogue>();
    let server = generator.subschema_for::<Server>();
    let mut workload = Workload::json_schema(&mut generator).to_value();
    workload["properties"]["sweep"] = sweep_schema("Load axes: keys of this workload.");
    let mut definitions = Value::Object(generator.take_definitions(true));
    definitions["Workload"] = workload;
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "runner manifest",
        "description": "An experiment: one server, workloads, sweep axes and latency targets.",
        "type": "object",
        "properties": {
            "include": {
                "description": "Manifests that this one is laid upon, from this file's folder.",
                "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
            },
            "experiment": experiment,
            "hardware": hardware,
            "catalogue": catalogue,
            "server": server,
            "workload": {
                "description": "Workloads by name.",
                "type": "object",
                "additionalProperties": { "$ref": "#/$defs/Workload" }
            },
            "sweep": sweep_schema("Server axes: one launch per distinct combination."),
        },
        "required": ["experiment", "server", "workload"],
        "additionalProperties": false,
        "$defs": definitions,
    })
}

/// Axes are read by `super::sweep`, which knows what a path may hold; an editor gets the outline.
fn sweep_schema(description: &str) -> Value {
    json!({
        "description": description,
        "type": "object",
        "properties": {
            "zip": {
                "description": "Blocks of axes that advance together.",
                "type": "array", "items": { "type": "object", "additionalProperties": true }
            },
            "variant": {
                "description": "Named bundles of paths and values.",
                "type": "object", "additionalProperties": { "type": "object", "additionalProperties": true }
            },
            "skip": {
                "description": "Expressions; a cell for which one is true is left out.",
                "type": "array",
                "items": { "anyOf": [
                    { "type": "string" },
                    { "type": "object", "required": ["when"], "additionalProperties": false,
                      "properties": { "when": { "type": "string" }, "reason": { "type": "string" } } }
                ] }
            }
        },
        "additionalProperties": true
    })
}

/// The schema with what is needed to walk it.
pub(crate) struct Grammar {
    root: Value,
}

impl Grammar {
    pub(crate) fn new() -> Self {
        Self { root: schema() }
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.root.pointer(reference.trim_start_matches('#')).unwrap_or(schema),
            None => schema,
        }
    }

    /// The alternatives of a schema, without `null`, which TOML does not have.
    fn alternatives<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.resolve(schema);
        match schema.get("anyOf").and_then(Value::as_array) {
            Some(options) => options
                .iter()
                .filter(|option| option.get("type") != Some(&json!("null")))
                .flat_map(|option| self.alternatives(option))
                .collect(),
            None => vec![schema],
        }
    }

    /// The schema of the value at a path, or why there is none.
    pub(crate) fn at(&self, path: &Path) -> Result<&Value, String> {
        let mut schema = &self.root;
        for (depth, key) in path.0.iter().enumerate() {
            let options = self.alternatives(schema);
            let child = options.iter().find_map(|option| self.child(option, key));
            schema = match child {
                Some(child) => child,
                None => {
                    let known: Vec<&str> = options.iter().flat_map(|option| keys(option)).collect();
                    let parent = Path(path.0[..depth].to_vec());
                    return Err(if known.is_empty() {
                        format!("`{parent}` has no keys below it")
                    } else {
                        format!("`{parent}` has no key `{key}`{}", suggestion(key, &known))
                    });
                }
            };
        }
        Ok(schema)
    }

    fn child<'a>(&'a self, schema: &'a Value, key: &str) -> Option<&'a Value> {
        if let Some(child) = schema.get("properties").and_then(|p| p.get(key)) {
            return Some(child);
        }
        if let Some(patterns) = schema.get("patternProperties").and_then(Value::as_object) {
            // The only patterned table is the SLO; its own parser knows its keys better than a regular expression.
            return SloTerm::parse_key(key).ok().and_then(|_| patterns.values().next());
        }
        match schema.get("additionalProperties") {
            Some(Value::Bool(false)) | None => None,
            Some(open) => Some(open),
        }
    }

    /// Checks a whole manifest. Keys that an axis may bring are not missed here.
    pub(crate) fn check(&self, node: &Node, findings: &mut Findings) {
        self.check_node(node, &self.root, &Path(Vec::new()), findings);
    }

    /// Checks a value against the schema of its path.
    pub(crate) fn check_at(&self, node: &Node, path: &Path, findings: &mut Findings) {
        match self.at(path) {
            Ok(schema) => self.check_node(node, schema, path, findings),
            Err(reason) => findings.push(Finding::error(reason).at(&node.place, "no such path")),
        }
    }

    fn check_node(&self, node: &Node, schema: &Value, path: &Path, findings: &mut Findings) {
        let options = self.alternatives(schema);
        if options.iter().any(|o| **o == Value::Bool(true)) {
            return;
        }
        let Some(option) = options.iter().find(|option| accepts(option, node)) else {
            let expected = expectation(&options);
            let help = among_axes(path, node).unwrap_or_else(|| help(&options, node));
            findings.push(
                Finding::error(format!("`{path}` is {}, not {}", expected, node.kind()))
                    .at(&node.place, format!("expected {expected}"))
                    .help(help),
            );
            return;
        };
        match &node.item {
            Item::Scalar(value) => scalar(value, option, path, node, findings),
            Item::Array(items) => {
                if let Some(min) = option.get("minItems").and_then(Value::as_u64)
                    && (items.len() as u64) < min
                {
                    findings.push(
                        Finding::error(format!("`{path}` is empty"))
                            .at(&node.place, "needs at least one value"),
                    );
                }
                if let Some(schema) = option.get("items") {
                    for item in items {
                        self.check_node(item, schema, path, findings);
                    }
                }
            }
            Item::Table(table) => {
                for (key, entry) in table {
                    let mut below = path.clone();
                    below.0.push(key.clone());
                    match self.child(option, key) {
                        Some(child) => self.check_node(&entry.node, child, &below, findings),
                        None => {
                            let finding = unknown_key(key, path, option).at(&entry.key, "unknown");
                            findings.push(match split_target(key, &entry.node) {
                                Some(whole) => finding
                                    .help(format!("a name with a point in it stands in quotes: \"{whole}\"")),
                                None => finding,
                            });
                        }
                    }
                }
            }
        }
    }

    /// Keys that must be there and are not, in the table at `path`; `given` says what else will bring one.
    pub(crate) fn missing(&self, node: &Node, path: &Path, given: impl Fn(&Path) -> bool) -> Vec<Finding> {
        let Ok(schema) = self.at(path) else {
            return Vec::new();
        };
        let schema = self.resolve(schema);
        let required = schema.get("required").and_then(Value::as_array);
        required
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|key| node.get(&[key]).is_none())
            .filter_map(|key| {
                let mut below = path.clone();
                below.0.push(key.to_owned());
                let reason = schema
                    .pointer(&format!("/properties/{key}/description"))
                    .and_then(Value::as_str)
                    .map(first_sentence);
                (!given(&below)).then(|| {
                    let finding = Finding::error(format!("`{below}` is missing"))
                        .at(&node.place, format!("needs `{key}`"));
                    match reason {
                        Some(text) => finding.help(format!("`{key}`: {text}")),
                        None => finding,
                    }
                })
            })
            .collect()
    }
}

fn keys(schema: &Value) -> Vec<&str> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|map| map.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

/// The target that TOML took for two keys at the point of its percentile: `p99.9_ttft`.
fn split_target(key: &str, node: &Node) -> Option<String> {
    let Item::Table(table) = &node.item else {
        return None;
    };
    let (rest, _) = table.iter().next()?;
    let whole = format!("{key}.{rest}");
    SloTerm::parse_key(&whole).is_ok().then_some(whole)
}

fn unknown_key(key: &str, path: &Path, schema: &Value) -> Finding {
    if schema.get("patternProperties").is_some() {
        let reason = SloTerm::parse_key(key).err().unwrap_or_default();
        return Finding::error(reason);
    }
    let known = keys(schema);
    let finding = if path.0.is_empty() {
        Finding::error(format!("unknown table or key `{key}`"))
    } else {
        Finding::error(format!("unknown key `{key}` in `{path}`"))
    };
    match nearest(key, &known) {
        Some(near) => finding.help(format!("did you mean `{near}`?")),
        None => finding.help(format!("known keys: {}", known.join(", "))),
    }
}

/// `; did you mean …?`, when something is near.
pub(crate) fn suggestion(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    }
}

/// The known word that a mistyped one most resembles.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(&plain(word), &plain(candidate)), *candidate))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn types(schema: &Value) -> Vec<&str> {
    if schema.get("oneOf").is_some() || schema.get("enum").is_some() {
        return vec!["string"];
    }
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn accepts(schema: &Value, node: &Node) -> bool {
    types(schema).iter().any(|name| match (*name, &node.item) {
        ("string", Item::Scalar(Value::String(_))) => true,
        ("boolean", Item::Scalar(Value::Bool(_))) => true,
        ("integer", Item::Scalar(Value::Number(n))) => !n.is_f64(),
        ("number", Item::Scalar(Value::Number(_))) => true,
        ("array", Item::Array(_)) => true,
        ("object", Item::Table(_)) => true,
        _ => false,
    })
}

fn choices(schema: &Value) -> Vec<&str> {
    let constants = schema.get("oneOf").and_then(Value::as_array);
    constants.into_iter().flatten().filter_map(|option| option.get("const").and_then(Value::as_str)).collect()
}

fn expectation(options: &[&Value]) -> String {
    let mut words: Vec<&str> = Vec::new();
    for option in options {
        for name in types(option) {
            let word = match name {
                "string" if is_span(option) => "a time with a unit",
                "string" => "a string",
                "boolean" => "a boolean",
                "integer" => "a whole number",
                "number" => "a number",
                "array" => "an array",
                "object" => "a table",
                _ => continue,
            };
            if !words.contains(&word) {
                words.push(word);
            }
        }
    }
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "something else".to_owned(),
    }
}

fn is_span(schema: &Value) -> bool {
    let format = schema.get("format").and_then(Value::as_str);
    matches!(format, Some("time-span" | SCRAPE_EVERY))
}

fn help(options: &[&Value], node: &Node) -> String {
    if options.iter().any(|option| is_span(option))
        && let Some(number) = node.scalar().filter(|v| v.is_number())
    {
        return format!("write the unit: \"{number}ms\" or \"{number}s\"");
    }
    options.iter().find_map(|option| option.get("description").and_then(Value::as_str)).map_or_else(
        || "see `runner schema` for what may stand here".to_owned(),
        |text| first_sentence(text).to_owned(),
    )
}

/// What to do with several values, or a computed one, where one value belongs; `None` for any other mistake.
fn among_axes(path: &Path, node: &Node) -> Option<String> {
    let is_axis = match &node.item {
        Item::Array(_) => true,
        Item::Table(keys) => ["expr", "from"].iter().any(|key| keys.contains_key(*key)),
        Item::Scalar(_) => false,
    };
    let keys: Vec<&str> = path.0.iter().map(String::as_str).collect();
    let (table, key) = match &keys[..] {
        ["workload", name, rest @ ..] if !rest.is_empty() => {
            (format!("[workload.{name}.sweep]"), rest.join("."))
        }
        ["server", ..] => ("[sweep]".to_owned(), path.to_string()),
        _ => return None,
    };
    is_axis.then(|| format!("what varies stands among the axes: `{key} = …` in {table}"))
}

fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(first, _)| first)
}

fn scalar(value: &Value, schema: &Value, path: &Path, node: &Node, findings: &mut Findings) {
    let mut wrong = |title: String, label: String| {
        findings.push(Finding::error(title).at(&node.place, label));
    };
    if let Some(text) = value.as_str() {
        let choices = choices(schema);
        if !choices.is_empty() && !choices.contains(&text) {
            let near = suggestion(text, &choices);
            wrong(format!("`{path}` cannot be {text:?}{near}"), format!("one of {}", choices.join(", ")));
        }
        let time = match schema.get("format").and_then(Value::as_str) {
            Some("time-span") => text.parse::<TimeSpan>().err(),
            Some(SCRAPE_EVERY) => text.parse::<ScrapeEvery>().err(),
            _ => None,
        };
        if let Some(reason) = time {
            wrong(format!("`{path}` is not a time"), reason);
        }
        if text.is_empty() && schema.get("minLength").is_some() {
            wrong(format!("`{path}` is empty"), "needs a text".to_owned());
        }
    }
    if let Some(number) = value.as_f64() {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        if let Some(min) = bound("minimum").filter(|min| number < *min) {
            wrong(format!("`{path}` is {value}"), format!("must be at least {min}"));
        }
        let format_max = (schema.get("format") == Some(&json!("uint32"))).then_some(f64::from(u32::MAX));
        if let Some(max) = bound("maximum").or(format_max).filter(|max| number > *max) {
            wrong(format!("`{path}` is {value}"), format!("must be at most {max}"));
        }
    }
}
