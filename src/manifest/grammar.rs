//! The JSON Schema of a manifest, derived from the types of [`super::declaration`]. Editors read it, and this
//! file checks manifests against it and reports every mistake with its place.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};
use thiserror::Error;

use super::{
    catalogue::Catalogue,
    declaration::{Experiment, Hardware, Metric, Server, ServerSearch, SloTerm, Until, Workload},
    error::ValueError,
    path::Path,
    scrape::{SCRAPE_EVERY, ScrapeEvery},
    suggest::{meant, nearest, question, suggestion},
    tree::{Item, Node},
};
use crate::{
    diagnostic::{Finding, Findings},
    unit::{Percent, Percentile, TimeSpan},
};

/// Returns the JSON Schema of a manifest.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let experiment = generator.subschema_for::<Experiment>();
    let hardware = generator.subschema_for::<Hardware>();
    let catalogue = generator.subschema_for::<Catalogue>();
    let server = generator.subschema_for::<Server>();
    let search = generator.subschema_for::<ServerSearch>();
    let mut workload = Workload::json_schema(&mut generator).to_value();
    workload["properties"]["sweep"] = sweep_schema("Load axes: keys of this workload, each with its values.");
    let mut definitions = Value::Object(generator.take_definitions(true));
    definitions["Workload"] = workload;
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "runner manifest",
        "description": "An experiment: one server, workloads, sweep axes and latency targets.",
        "type": "object",
        "properties": {
            "include": {
                "description": "Manifests to start from, by paths relative to this file's folder. This file's values override theirs.",
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
            "search": {
                "description": "Searches over servers, by name: the largest or smallest value of a server axis that works, or the best server.",
                "type": "object",
                "additionalProperties": search
            },
            "sweep": sweep_schema("Server axes: full paths such as server.flags.max-model-len. Every distinct combination starts one server."),
        },
        "required": ["experiment", "server"],
        "additionalProperties": false,
        "$defs": definitions,
    })
}

/// The outline of a sweep table, for editors. `super::sweep` checks the axes themselves.
fn sweep_schema(description: &str) -> Value {
    json!({
        "description": description,
        "type": "object",
        "properties": {
            "zip": {
                "description": "Groups of axes that advance together.",
                "type": "array", "items": { "type": "object", "additionalProperties": true }
            },
            "variant": {
                "description": "Variants: named sets of paths and values.",
                "type": "object", "additionalProperties": { "type": "object", "additionalProperties": true }
            },
            "skip": {
                "description": "Expressions. A cell is skipped when one of them is true.",
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

/// Why no value can stand at a path.
#[derive(Debug, Error)]
pub(crate) enum NoSuchPath {
    /// The parent is not a table.
    #[error("`{0}` has no keys below it")]
    NoKeys(Path),
    /// The parent has other keys.
    #[error("`{parent}` has no key `{key}`{suggestion}")]
    NoKey {
        /// The table.
        parent: Path,
        /// The key that it does not have.
        key: String,
        /// A similar key, as the end of the sentence.
        suggestion: String,
    },
}

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

    /// The alternatives of a schema, without `null`, which does not exist in TOML.
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

    /// The schema of the value at a path.
    ///
    /// # Errors
    /// When no value can stand there.
    pub(crate) fn at(&self, path: &Path) -> Result<&Value, NoSuchPath> {
        let mut schema = &self.root;
        for (depth, key) in path.0.iter().enumerate() {
            let options = self.alternatives(schema);
            let child = options.iter().find_map(|option| self.child(option, key));
            schema = match child {
                Some(child) => child,
                None => {
                    let known: Vec<&str> = options.iter().flat_map(|option| keys(option)).collect();
                    let parent = Path(path.0[..depth].to_vec());
                    return Err(match known.is_empty() {
                        true => NoSuchPath::NoKeys(parent),
                        false => {
                            let key = key.clone();
                            NoSuchPath::NoKey { parent, suggestion: suggestion(&key, &known), key }
                        }
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
            // The parsers of the tables with patterns are stricter than their regular expressions.
            return key_of_pattern(schema, key).ok().and_then(|()| patterns.values().next());
        }
        match schema.get("additionalProperties") {
            Some(Value::Bool(false)) | None => None,
            Some(open) => Some(open),
        }
    }

    /// Checks a whole manifest, except for missing keys, which an axis may set.
    pub(crate) fn check(&self, node: &Node, findings: &mut Findings) {
        self.check_node(node, &self.root, &Path::of(&[]), findings);
    }

    /// The full paths that a key alone could mean.
    pub(super) fn meant(&self, key: &str, workloads: &[String]) -> Vec<String> {
        let mut paths = Vec::new();
        for table in ["experiment", "hardware", "server", "workload"] {
            let schema = self.root.pointer(&format!("/properties/{table}")).unwrap_or(&Value::Null);
            self.paths(schema, table, &mut paths);
        }
        meant(key, &paths, workloads)
    }

    /// Appends the path of every key below a schema. `*` stands for the name of a workload.
    fn paths(&self, schema: &Value, path: &str, found: &mut Vec<String>) {
        for option in self.alternatives(schema) {
            let properties = option.get("properties").and_then(Value::as_object);
            for (key, child) in properties.into_iter().flatten().filter(|(key, _)| *key != "catalogue") {
                let below = format!("{path}.{key}");
                self.paths(child, &below, found);
                found.push(below);
            }
            if path == "workload"
                && let Some(workload) = option.get("additionalProperties")
            {
                self.paths(workload, "workload.*", found);
            }
        }
    }

    pub(crate) fn check_at(&self, node: &Node, path: &Path, findings: &mut Findings) {
        match self.at(path) {
            Ok(schema) => self.check_node(node, schema, path, findings),
            Err(error) => findings.push(Finding::error(error.to_string()).at(&node.place, "no such path")),
        }
    }

    fn check_node(&self, node: &Node, schema: &Value, path: &Path, findings: &mut Findings) {
        let options = self.alternatives(schema);
        if options.iter().any(|o| **o == Value::Bool(true)) {
            return;
        }
        let Some(option) = options.iter().find(|option| accepts(option, node)) else {
            let expected = expectation(&options);
            let help = self
                .similar_key(path, node)
                .or_else(|| among_axes(path, node))
                .unwrap_or_else(|| help(&options, node));
            findings.push(
                Finding::error(format!("`{path}` must be {expected}, not {}", node.kind()))
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
                            .at(&node.place, "expected at least one value"),
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
                    match self.child(option, key) {
                        Some(child) => self.check_node(&entry.node, child, &path.child(key), findings),
                        None => {
                            let finding = self.unknown_key(key, path, option).at(&entry.key, "unknown");
                            findings.push(match split_target(key, &entry.node) {
                                Some(whole) => {
                                    finding.help(format!("quote a key that contains a dot: \"{whole}\""))
                                }
                                None => finding,
                            });
                        }
                    }
                }
            }
        }
    }

    /// A sibling of a key with a similar name that accepts the value: `prompts` for `prompt = ["hi"]`.
    fn similar_key(&self, path: &Path, node: &Node) -> Option<String> {
        let (key, parent) = path.0.split_last()?;
        let parent = self.at(&Path(parent.to_vec())).ok()?;
        let options = self.alternatives(parent);
        let accepting: Vec<&str> = options
            .iter()
            .flat_map(|option| keys(option))
            .filter(|other| *other != key)
            .filter(|other| {
                let child = options.iter().find_map(|option| self.child(option, other));
                child.is_some_and(|child| self.alternatives(child).iter().any(|option| accepts(option, node)))
            })
            .collect();
        // Only a plural or a slip of the pen, not every key with the same beginning.
        nearest(key, &accepting)
            .filter(|near| strsim::levenshtein(key, near) <= 2)
            .map(|near| format!("did you mean `{near}`? It takes {}", node.kind()))
    }

    fn unknown_key(&self, key: &str, path: &Path, schema: &Value) -> Finding {
        if schema.get("patternProperties").is_some() {
            let error = key_of_pattern(schema, key).err();
            let finding = Finding::error(error.map(|error| error.to_string()).unwrap_or_default());
            // A percentile alone is the part of a key before its dot.
            return match is_of_metrics(schema) && key.parse::<Percentile>().is_err() {
                true => finding.help(metric_help(key)),
                false => finding,
            };
        }
        let known = keys(schema);
        let finding = if path.0.is_empty() {
            Finding::error(format!("unknown table or key `{key}`"))
        } else {
            Finding::error(format!("unknown key `{key}` in `{path}`"))
        };
        let elsewhere = || {
            let workload = match path.0.as_slice() {
                [table, name, ..] if table == "workload" => name.as_str(),
                _ => "<name>",
            };
            question(&self.meant(key, &[workload.to_owned()]))
        };
        let similar = nearest(key, &known).map(|near| format!("did you mean `{near}`?"));
        finding.help(match similar.or_else(elsewhere) {
            Some(question) => question,
            None => format!("known keys: {}", known.join(", ")),
        })
    }

    /// Returns a finding for each required key that the table at `path` lacks, unless `is_set` says that it
    /// is set elsewhere.
    pub(crate) fn missing(&self, node: &Node, path: &Path, is_set: impl Fn(&Path) -> bool) -> Vec<Finding> {
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
                let below = path.child(key);
                let reason = schema
                    .pointer(&format!("/properties/{key}/description"))
                    .and_then(Value::as_str)
                    .map(first_sentence);
                (!is_set(&below)).then(|| {
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

/// Parses a key of a table with patterns: a metric, or a target of an SLO.
fn key_of_pattern(schema: &Value, key: &str) -> Result<(), ValueError> {
    match is_of_metrics(schema) {
        true => Until::metric(key).map(drop),
        false => SloTerm::parse_key(key).map(drop),
    }
}

fn is_of_metrics(schema: &Value) -> bool {
    schema.pointer("/propertyNames/format") == Some(&json!("metric"))
}

/// The help for an unknown metric: a similar one, and all that have a column.
fn metric_help(key: &str) -> String {
    let names = Metric::COLUMNS.map(Metric::key);
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    // A column's name has a unit.
    let near = Metric::parse(key).map(Metric::key).or_else(|| nearest(key, &known).map(str::to_owned));
    let known = known.join(", ");
    match near {
        Some(near) => format!("did you mean `{near}`? Known: {known}"),
        None => format!("known: {known}"),
    }
}

fn keys(schema: &Value) -> Vec<&str> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flat_map(|map| map.keys().map(String::as_str)).collect()
}

/// A latency target that TOML split into two keys at the dot of its percentile: `p99.9_ttft`.
fn split_target(key: &str, node: &Node) -> Option<String> {
    let Item::Table(table) = &node.item else {
        return None;
    };
    let (rest, _) = table.iter().next()?;
    let whole = format!("{key}.{rest}");
    SloTerm::parse_key(&whole).is_ok().then_some(whole)
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
        || "see `runner schema` for the values that are allowed here".to_owned(),
        |text| first_sentence(text).to_owned(),
    )
}

/// The help for several values, or a computed one, where one value belongs; `None` for any other mistake.
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
    is_axis.then(|| format!("to vary it, make it an axis: `{key} = …` in {table}"))
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
            Some("time-span") => text.parse::<TimeSpan>().err().map(|error| error.to_string()),
            Some(SCRAPE_EVERY) => text.parse::<ScrapeEvery>().err().map(|error| error.to_string()),
            _ => None,
        };
        if let Some(reason) = time {
            wrong(format!("`{path}` is not a time"), reason);
        }
        if schema.get("format") == Some(&json!("percent"))
            && let Err(error) = text.parse::<Percent>()
        {
            wrong(format!("`{path}` is not a percentage"), error.to_string());
        }
        if text.is_empty() && schema.get("minLength").is_some() {
            wrong(format!("`{path}` is empty"), "expected at least one character".to_owned());
        }
    }
    if let Some(number) = value.as_f64()
        && let Some(limit) = limit(number, schema)
    {
        let finding = Finding::error(format!("`{path}` is {value}")).at(&node.place, limit);
        let meaning = schema.get("description").and_then(Value::as_str);
        findings.push(match meaning {
            Some(text) => finding.help(format!("`{}`: {}", path.last(), first_sentence(text))),
            None => finding,
        });
    }
}

/// What a number has to be that is outside the range of its schema.
fn limit(number: f64, schema: &Value) -> Option<String> {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    if let Some(min) = bound("minimum").filter(|min| number < *min) {
        return Some(format!("must be at least {min}"));
    }
    let format_max = (schema.get("format") == Some(&json!("uint32"))).then_some(f64::from(u32::MAX));
    let max = bound("maximum").or(format_max).filter(|max| number > *max)?;
    Some(format!("must be at most {max}"))
}
