//! The searches of one name: one for each combination of the other axes.

use std::collections::BTreeSet;

use crate::{manifest::scalar_text, report::model::Model, search::Answer};

/// The answers of one name.
pub(super) struct Group<'m> {
    pub(super) answers: Vec<&'m Answer>,
    /// The names of the other axes on which they differ, `server` for servers without axes of their own.
    pub(super) columns: Vec<String>,
    /// Their values, one row for each answer.
    pub(super) rows: Vec<Vec<String>>,
}

impl Group<'_> {
    /// The combination of an answer: `max_tokens 64, dtype half`; empty where there is one answer.
    pub(super) fn place(&self, at: usize) -> String {
        let pairs = self.columns.iter().zip(&self.rows[at]);
        pairs.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    }
}

/// Every answer with the combination of the other axes that tells it from others of its name.
pub(crate) fn places<'m>(model: &'m Model<'_>) -> Vec<(&'m Answer, String)> {
    let groups = groups(model).into_iter();
    let placed = groups.flat_map(|group| {
        let each = (0..group.answers.len()).map(|at| (group.answers[at], group.place(at)));
        each.collect::<Vec<_>>()
    });
    placed.collect()
}

/// The answers by name, in the order of the plan.
pub(super) fn groups<'m>(model: &'m Model<'_>) -> Vec<Group<'m>> {
    let mut names: Vec<&str> = Vec::new();
    for answer in &model.answers {
        if !names.contains(&answer.search.name.as_str()) {
            names.push(&answer.search.name);
        }
    }
    let of = |name: &str| model.answers.iter().filter(|answer| answer.search.name == name).collect();
    names.into_iter().map(|name| group(model, of(name))).collect()
}

fn group<'m>(model: &'m Model<'_>, answers: Vec<&'m Answer>) -> Group<'m> {
    let all: BTreeSet<&String> = answers.iter().flat_map(|answer| answer.search.axes.keys()).collect();
    let value = |answer: &Answer, name: &str| answer.search.axes.get(name).map(scalar_text);
    let varies = |name: &&String| answers.iter().any(|own| value(own, name) != value(answers[0], name));
    // In the order of the run's axes, then by name.
    let known = model.axes.iter().map(|axis| &axis.name).filter(|name| all.contains(*name));
    let rest = all.iter().copied().filter(|name| !model.axes.iter().any(|axis| axis.name == **name));
    let axes: Vec<&String> = known.chain(rest).filter(varies).collect();
    let label = |name: &&String| {
        let axis = model.axes.iter().find(|axis| axis.name == **name);
        axis.map_or_else(|| (*name).clone(), |axis| axis.label().to_owned())
    };
    let mut columns: Vec<String> = axes.iter().map(label).collect();
    let mut rows: Vec<Vec<String>> = answers
        .iter()
        .map(|answer| axes.iter().map(|name| value(answer, name).unwrap_or_default()).collect())
        .collect();
    let distinct: BTreeSet<&Vec<String>> = rows.iter().collect();
    if distinct.len() < answers.len() {
        columns.push("server".into());
        for (row, answer) in rows.iter_mut().zip(&answers) {
            row.push(server(model, answer));
        }
    }
    Group { answers, columns, rows }
}

/// The server of a search, by its values on the server axes.
fn server(model: &Model<'_>, answer: &Answer) -> String {
    let id = answer.search.server.as_deref().unwrap_or_default();
    let at = model.servers.iter().position(|server| server.group.id == id);
    let label = model.server_label(at);
    if label.is_empty() { id.to_owned() } else { label }
}
