//! Rules for a workload's prompts: their source and their length.

use minijinja::Environment;

use super::WorkloadCheck;
use crate::{
    diagnostic::Finding,
    manifest::{Api, Cache, Length, Source},
};

impl WorkloadCheck<'_> {
    pub(super) fn prompts(&mut self, max_model_len: Option<u64>) {
        let (manifest, name, spec) = (self.manifest, self.name, self.spec);
        let source = spec.source();
        if let Err(error) = manifest.inputs.count(spec) {
            let key = source.as_ref().map_or("prompts", Source::key);
            self.found.push(
            Finding::error(format!("workload `{name}`: {error}"))
                .at(&self.at(&[key]), "")
                .help("prompts = [\"…\"], prompts = { file = \"prompts.jsonl\" }, documents = { file = \"docs.txt\" }, conversations = { file = \"sharegpt.json\" }, synthetic = { input_tokens = 512 }, or shared_prefix = { groups = 4, prefix_tokens = 512, suffix_tokens = 64 }"),
        );
        }
        if let Ok(Source::Conversations(file)) = source
            && let Ok(conversations) = manifest.inputs.conversations(file)
            && conversations.left_out > 0
        {
            self.found.push(
                Finding::note(format!(
                    "workload `{name}`: {} of {} conversations are skipped",
                    conversations.left_out,
                    conversations.left_out + conversations.kept.len()
                ))
                .at(&self.at(&["conversations"]), "they have no user turn, or an empty first one"),
            );
        }
        if spec.has_turns() {
            self.turns();
        }
        if let Ok(source) = source
            && source.is_generated()
        {
            self.generated(source);
        }
        match (spec.exact_length_key(), spec.max_tokens) {
            (Some(other), Some(_)) => self.found.push(
                Finding::error(format!(
                    "workload `{name}` sets the output length twice: max_tokens and {other}"
                ))
                .at(&self.at(&["max_tokens"]), format!("{other} sets it too"))
                .help("remove one of them"),
            ),
            (None, None) => self.found.push(
                Finding::error(format!("workload `{name}` has no max_tokens"))
                    .at(&self.at(&[]), "no limit on the tokens of an answer")
                    .help("max_tokens = 128, or an axis: sweep.max_tokens = [64, 128]"),
            ),
            _ => {}
        }
        if let Some(limit) = max_model_len {
            self.context_length(limit);
        }
        if let Some(template) = &spec.prompt {
            self.template_names(template);
        }
    }

    /// Checks conversations of several turns.
    fn turns(&mut self) {
        let (name, spec) = (self.name, self.spec);
        if spec.api != Api::Chat {
            self.found.push(
                Finding::error(format!(
                    "workload `{name}`: conversations of several turns need api = \"chat\""
                ))
                .at(&self.at(&["conversations"]), "completions have no messages"),
            );
        }
        if matches!(&spec.conversations, Some(file) if file.turns.most() == 0) {
            self.found.push(
                Finding::error(format!("workload `{name}`: no turn would be sent"))
                    .at(&self.at(&["conversations", "turns"]), "0")
                    .help("turns = \"all\", or the most turns of a conversation"),
            );
        }
    }

    fn generated(&mut self, source: Source<'_>) {
        let (name, spec) = (self.name, self.spec);
        let key = source.key();
        let lengths = match source {
            Source::Synthetic(synthetic) => [
                ("input_tokens", Some(&synthetic.input_tokens)),
                ("output_tokens", synthetic.output_tokens.as_ref()),
            ],
            Source::SharedPrefix(shared) => [
                ("suffix_tokens", Some(&shared.suffix_tokens)),
                ("output_tokens", shared.output_tokens.as_ref()),
            ],
            Source::Trace(_) => [("input_length", None), ("output_length", None)],
            _ => return,
        };
        for (field, length) in lengths {
            if let Some(Err(error)) = length.map(Length::check) {
                self.found.push(
                    Finding::error(format!("workload `{name}`: `{key}.{field}` is not a length: {error}"))
                        .at(&self.at(&[key, field]), "")
                        .help(
                            "write a number of tokens from 1 up, or a distribution: { uniform = [64, 512] }",
                        ),
                );
            }
        }
        if spec.passes.is_some() {
            self.found.push(
                Finding::error(format!(
                    "workload `{name}`: `passes` needs prompts from the manifest or a file"
                ))
                .at(&self.at(&["passes"]), "generated prompts are different in every request")
                .help("set requests, requests_per_stream or duration instead"),
            );
        }
        if spec.cache == Cache::Fresh && matches!(source, Source::SharedPrefix(_)) {
            self.found.push(
            Finding::error(format!("workload `{name}`: cache = \"fresh\" contradicts a shared prefix"))
                .at(&self.at(&["cache"]), "every prompt would begin differently")
                .help("remove `cache`: prefixes are new in every cell and repeat, suffixes in every request"),
        );
        }
    }

    /// Checks that prompts and answers fit into the server's `max-model-len`, where their lengths are known
    /// before a run.
    fn context_length(&mut self, limit: u64) {
        let (name, spec) = (self.name, self.spec);
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
                .at(&self.at(&[key]), format!("the shortest has {} + {} = {least} tokens", input.0, output.0))
        } else if most > limit {
            Finding::warning(format!(
                "workload `{name}`: the longest requests do not fit into max-model-len = {limit}"
            ))
            .at(&self.at(&[key]), format!("up to {} + {} = {most} tokens", input.1, output.1))
        } else {
            return;
        };
        self.found.push(finding.help(
        "the server refuses longer requests: shorten them, raise max-model-len, or leave the cell out with `skip`",
    ));
    }

    fn template_names(&mut self, template: &str) {
        let name = self.name;
        let place = self.at(&["prompt"]);
        let known: Vec<String> = match self.spec.source() {
            Ok(Source::Documents(_)) => vec!["document".into()],
            Ok(Source::Lines(file)) => match self.manifest.inputs.lines(file) {
                Ok(lines) => lines.first().map(|line| line.keys().cloned().collect()).unwrap_or_default(),
                Err(_) => return,
            },
            _ => {
                self.found.push(
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
                self.found.push(
                    Finding::error(format!("workload `{name}`: the prompt template is not valid"))
                        .at(&place, error.detail().unwrap_or("not a template").to_owned()),
                );
                return;
            }
        };
        let used = compiled.undeclared_variables(false);
        for unknown in used.iter().filter(|word| !known.contains(word)) {
            self.found.push(
                Finding::error(format!(
                    "workload `{name}`: the prompt template uses `{unknown}`, which does not exist"
                ))
                .at(&place, "in this template")
                .help(format!("available names: {}", known.join(", "))),
            );
        }
        if used.is_empty() {
            self.found.push(
            Finding::error(format!(
                "workload `{name}`: the prompt template has no placeholder, so all prompts would be the same"
            ))
            .at(&place, "no {{ … }} in it")
            .help(format!("write {{{{ {} }}}} where the text belongs", known.join(" }} or {{ "))),
        );
        }
    }
}
