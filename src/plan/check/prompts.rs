//! Rules for a workload's prompts: their source and their length.

use minijinja::Environment;

use crate::{
    diagnostic::{Finding, Place},
    manifest::{Api, Cache, Length, Manifest, Source, Workload},
};

/// Checks a workload's prompts.
pub(super) fn check(
    manifest: &Manifest,
    name: &str,
    spec: &Workload,
    max_model_len: Option<u64>,
    found: &mut Vec<Finding>,
) {
    let at = |keys: &[&str]| {
        let path: Vec<&str> = ["workload", name].iter().chain(keys).copied().collect();
        manifest.place(&path)
    };
    let source = spec.source();
    if let Err(error) = manifest.inputs.count(spec) {
        let key = source.as_ref().map_or("prompts", Source::key);
        found.push(
            Finding::error(format!("workload `{name}`: {error}"))
                .at(&at(&[key]), "")
                .help("prompts = [\"…\"], prompts = { file = \"prompts.jsonl\" }, documents = { file = \"docs.txt\" }, conversations = { file = \"sharegpt.json\" }, synthetic = { input_tokens = 512 }, or shared_prefix = { groups = 4, prefix_tokens = 512, suffix_tokens = 64 }"),
        );
    }
    if let Ok(Source::Conversations(file)) = source
        && let Ok(conversations) = manifest.inputs.conversations(file)
        && conversations.left_out > 0
    {
        found.push(
            Finding::note(format!(
                "workload `{name}`: {} of {} conversations are skipped",
                conversations.left_out,
                conversations.left_out + conversations.kept.len()
            ))
            .at(&at(&["conversations"]), "they have no user turn, or an empty first one"),
        );
    }
    if spec.has_turns() {
        turns(name, spec, &at, found);
    }
    if let Ok(source) = source
        && source.is_generated()
    {
        generated(name, spec, source, &at, found);
    }
    match (spec.exact_length_key(), spec.max_tokens) {
        (Some(other), Some(_)) => found.push(
            Finding::error(format!("workload `{name}` sets the output length twice: max_tokens and {other}"))
                .at(&at(&["max_tokens"]), format!("{other} sets it too"))
                .help("remove one of them"),
        ),
        (None, None) => found.push(
            Finding::error(format!("workload `{name}` has no max_tokens"))
                .at(&at(&[]), "the most tokens of an answer are not set")
                .help("max_tokens = 128, or an axis: sweep.max_tokens = [64, 128]"),
        ),
        _ => {}
    }
    if let Some(limit) = max_model_len {
        context_length(name, spec, limit, &at, found);
    }
    if let Some(template) = &spec.prompt {
        template_names(manifest, name, spec, template, found);
    }
}

/// Checks conversations of several turns.
fn turns(name: &str, spec: &Workload, at: &impl Fn(&[&str]) -> Place, found: &mut Vec<Finding>) {
    if spec.api != Api::Chat {
        found.push(
            Finding::error(format!("workload `{name}`: conversations of several turns need api = \"chat\""))
                .at(&at(&["conversations"]), "completions have no messages"),
        );
    }
    if matches!(&spec.conversations, Some(file) if file.turns.most() == 0) {
        found.push(
            Finding::error(format!("workload `{name}`: no turn would be sent"))
                .at(&at(&["conversations", "turns"]), "0")
                .help("turns = \"all\", or the most turns of a conversation"),
        );
    }
}

/// Checks generated prompts.
fn generated(
    name: &str,
    spec: &Workload,
    source: Source<'_>,
    at: &impl Fn(&[&str]) -> Place,
    found: &mut Vec<Finding>,
) {
    let key = source.key();
    let lengths = match source {
        Source::Synthetic(synthetic) => [
            ("input_tokens", Some(&synthetic.input_tokens)),
            ("output_tokens", synthetic.output_tokens.as_ref()),
        ],
        Source::SharedPrefix(shared) => {
            [("suffix_tokens", Some(&shared.suffix_tokens)), ("output_tokens", shared.output_tokens.as_ref())]
        }
        Source::Trace(_) => [("input_length", None), ("output_length", None)],
        _ => return,
    };
    for (field, length) in lengths {
        if let Some(Err(error)) = length.map(Length::check) {
            found.push(
                Finding::error(format!("workload `{name}`: `{key}.{field}` is not a length: {error}"))
                    .at(&at(&[key, field]), "")
                    .help("write a number of tokens from 1 up, or a distribution: { uniform = [64, 512] }"),
            );
        }
    }
    if spec.passes.is_some() {
        found.push(
            Finding::error(format!("workload `{name}`: `passes` needs prompts from the manifest or a file"))
                .at(&at(&["passes"]), "generated prompts are different in every request")
                .help("set requests, requests_per_stream or duration instead"),
        );
    }
    if spec.cache == Cache::Fresh && matches!(source, Source::SharedPrefix(_)) {
        found.push(
            Finding::error(format!("workload `{name}`: cache = \"fresh\" contradicts a shared prefix"))
                .at(&at(&["cache"]), "every prompt would begin differently")
                .help("remove `cache`: prefixes are new in every cell and repeat, suffixes in every request"),
        );
    }
}

/// Checks that prompts and answers fit into the server's `max-model-len`, where their lengths are known before a run.
fn context_length(
    name: &str,
    spec: &Workload,
    limit: u64,
    at: &impl Fn(&[&str]) -> Place,
    found: &mut Vec<Finding>,
) {
    let wide = |(least, most): (u32, u32)| (u64::from(least), u64::from(most));
    let (input, key) = match spec.source() {
        Ok(Source::Synthetic(synthetic)) => (wide(synthetic.input_tokens.bounds()), "synthetic"),
        Ok(Source::SharedPrefix(shared)) => {
            let (least, most) = wide(shared.suffix_tokens.bounds());
            let prefix = u64::from(shared.prefix_tokens);
            ((prefix + least, prefix + most), "shared_prefix")
        }
        _ => return,
    };
    let output = match (spec.output_tokens(), spec.max_tokens) {
        (Some(length), _) => wide(length.bounds()),
        (None, Some(most)) => wide((most, most)),
        (None, None) => return,
    };
    let (least, most) = (input.0 + output.0, input.1 + output.1);
    let finding = if least > limit {
        Finding::error(format!("workload `{name}`: no request fits into max-model-len = {limit}"))
            .at(&at(&[key]), format!("the shortest has {} + {} = {least} tokens", input.0, output.0))
    } else if most > limit {
        Finding::warning(format!(
            "workload `{name}`: the longest requests do not fit into max-model-len = {limit}"
        ))
        .at(&at(&[key]), format!("up to {} + {} = {most} tokens", input.1, output.1))
    } else {
        return;
    };
    found.push(finding.help(
        "the server refuses longer requests: shorten them, raise max-model-len, or leave the cell out with `skip`",
    ));
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
            Ok(lines) => lines.first().map(|line| line.keys().cloned().collect()).unwrap_or_default(),
            Err(_) => return,
        },
        _ => {
            found.push(
                Finding::error(format!(
                    "workload `{name}`: `prompt` is a template for documents or for prompts from a JSONL file"
                ))
                .at(&place, "this workload has neither")
                .help("for prompts without a template, use `prompts`; otherwise remove `prompt`"),
            );
            return;
        }
    };
    let environment = Environment::empty();
    let compiled = match environment.template_from_str(template) {
        Ok(compiled) => compiled,
        Err(error) => {
            found.push(
                Finding::error(format!("workload `{name}`: the prompt template is not valid"))
                    .at(&place, error.detail().unwrap_or("not a template").to_owned()),
            );
            return;
        }
    };
    let used = compiled.undeclared_variables(false);
    for unknown in used.iter().filter(|word| !known.contains(word)) {
        found.push(
            Finding::error(format!(
                "workload `{name}`: the prompt template uses `{unknown}`, which does not exist"
            ))
            .at(&place, "in this template")
            .help(format!("available names: {}", known.join(", "))),
        );
    }
    if used.is_empty() {
        found.push(
            Finding::error(format!(
                "workload `{name}`: the prompt template has no placeholder, so all prompts would be the same"
            ))
            .at(&place, "no {{ … }} in it")
            .help(format!("write {{{{ {} }}}} where the text belongs", known.join(" }} or {{ "))),
        );
    }
}
