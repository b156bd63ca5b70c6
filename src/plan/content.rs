//! Rules about what a workload asks: where it comes from, and how long it is.

use minijinja::Environment;

use crate::{
    diagnostic::Finding,
    manifest::{Manifest, Source, Workload},
};

/// What is wrong with what a workload asks.
pub(super) fn check(manifest: &Manifest, name: &str, spec: &Workload, found: &mut Vec<Finding>) {
    let at = |keys: &[&str]| {
        let path: Vec<&str> = ["workload", name].iter().chain(keys).copied().collect();
        manifest.place(&path)
    };
    let source = spec.source();
    if let Err(reason) = manifest.inputs.count(spec) {
        let key = source.as_ref().map_or("prompts", Source::key);
        found.push(
            Finding::error(format!("workload `{name}`: {reason}"))
                .at(&at(&[key]), "")
                .help("prompts = [\"…\"], prompts = { file = \"prompts.jsonl\" }, documents = { file = \"docs.txt\" }, or conversations = { file = \"sharegpt.json\" }"),
        );
    }
    if let Ok(Source::Conversations(file)) = source
        && let Ok(conversations) = manifest.inputs.conversations(file)
        && conversations.left_out > 0
    {
        found.push(
            Finding::note(format!(
                "workload `{name}`: {} of {} conversations are left out",
                conversations.left_out,
                conversations.left_out + conversations.kept.len()
            ))
            .at(
                &at(&["conversations"]),
                "they hold no turn of a person, or an empty first one",
            ),
        );
    }
    if let Some(template) = &spec.prompt {
        template_names(manifest, name, spec, template, found);
    }
}

fn template_names(
    manifest: &Manifest,
    name: &str,
    spec: &Workload,
    template: &str,
    found: &mut Vec<Finding>,
) {
    let place = manifest.place(&["workload", name, "prompt"]);
    let known: Vec<String> = match spec.source() {
        Ok(Source::Documents(_)) => vec!["document".into()],
        Ok(Source::Lines(file)) => match manifest.inputs.lines(file) {
            Ok(lines) => lines
                .first()
                .map(|line| line.keys().cloned().collect())
                .unwrap_or_default(),
            Err(_) => return,
        },
        _ => {
            found.push(
                Finding::error(format!(
                    "workload `{name}`: `prompt` is a template for documents or a JSONL file"
                ))
                .at(&place, "this workload has neither")
                .help("take `prompt` away, or name a file"),
            );
            return;
        }
    };
    let environment = Environment::empty();
    let compiled = match environment.template_from_str(template) {
        Ok(compiled) => compiled,
        Err(error) => {
            found.push(
                Finding::error(format!(
                    "workload `{name}`: the prompt template cannot be read"
                ))
                .at(
                    &place,
                    error.detail().unwrap_or("not a template").to_owned(),
                ),
            );
            return;
        }
    };
    let used = compiled.undeclared_variables(false);
    for unknown in used.iter().filter(|word| !known.contains(word)) {
        found.push(
            Finding::error(format!(
                "workload `{name}`: the prompt template names `{unknown}`, which does not exist"
            ))
            .at(&place, "in this template")
            .help(format!("names at hand: {}", known.join(", "))),
        );
    }
    if used.is_empty() {
        found.push(
            Finding::error(format!("workload `{name}`: the prompt template names nothing, so every prompt would be the same"))
                .at(&place, "no {{ … }} in it")
                .help(format!("put {{{{ {} }}}} where the text belongs", known.join(" }} or {{ "))),
        );
    }
}
