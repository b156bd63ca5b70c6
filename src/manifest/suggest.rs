//! Suggestions for words that the manifest does not know: similar ones, and keys that people mean by other
//! names.

use crate::flags;

/// Names that people use for a key, each with the key's path. `*` stands for a workload's name.
const OTHER_NAMES: [(&str, &str); 38] = [
    ("users", "workload.*.concurrency"),
    ("clients", "workload.*.concurrency"),
    ("streams", "workload.*.concurrency"),
    ("max_concurrency", "workload.*.concurrency"),
    ("num_prompts", "workload.*.requests"),
    ("num_requests", "workload.*.requests"),
    ("qps", "workload.*.rate"),
    ("rps", "workload.*.rate"),
    ("request_rate", "workload.*.rate"),
    ("max_new_tokens", "workload.*.max_tokens"),
    ("max_output_tokens", "workload.*.max_tokens"),
    ("output_len", "workload.*.max_tokens"),
    ("input_len", "workload.*.synthetic.input_tokens"),
    ("prompt_tokens", "workload.*.synthetic.input_tokens"),
    ("prefix_len", "workload.*.shared_prefix.prefix_tokens"),
    ("dataset", "workload.*.prompts.file"),
    ("system_prompt", "workload.*.system"),
    ("endpoint", "workload.*.api"),
    ("time", "workload.*.duration"),
    ("ignore_eos", "workload.*.output"),
    ("streaming", "workload.*.stream"),
    ("top_p", "workload.*.extra_body.top_p"),
    ("top_k", "workload.*.extra_body.top_k"),
    ("stop", "workload.*.extra_body.stop"),
    ("args", "server.flags"),
    ("environment", "server.env"),
    ("base_url", "server.launch.url"),
    ("api_key", "server.launch.api_key_env"),
    ("startup_timeout", "server.ready_within"),
    ("runs", "experiment.repeats"),
    ("repetitions", "experiment.repeats"),
    ("iterations", "experiment.repeats"),
    ("max_repeats", "experiment.repeats.at_most"),
    ("min_repeats", "experiment.repeats.at_least"),
    ("random_seed", "experiment.seed"),
    ("price", "hardware.usd_per_hour"),
    ("cost", "hardware.usd_per_hour"),
    ("axes", "sweep"),
];

/// The known word that is most similar to `word`, if any is similar enough.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = plain(word);
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(&word, &plain(candidate)), *candidate))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// `; did you mean …?`, where a known word is similar.
pub(crate) fn suggestion(word: &str, known: &[&str]) -> String {
    nearest(word, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// The full paths that a key alone could mean: those of `paths` that end in it, the path of a key that people
/// call so, and a server flag. `*` in a path stands for every workload.
pub(super) fn meant(key: &str, paths: &[String], workloads: &[String]) -> Vec<String> {
    let key = plain(key);
    let ends = |path: &&str| path.rsplit('.').next().is_some_and(|last| plain(last) == key);
    let named = OTHER_NAMES.iter().filter(|(name, _)| *name == key).map(|(_, path)| *path);
    let mut found: Vec<String> = paths
        .iter()
        .map(String::as_str)
        .filter(ends)
        .chain(named)
        .flat_map(|path| match path.contains('*') {
            true => workloads.iter().map(|name| path.replacen('*', name, 1)).collect(),
            false => vec![path.to_owned()],
        })
        .collect();
    found.extend(
        flags::info(&key).filter(|flag| !flag.secret).map(|flag| format!("server.flags.{}", flag.name)),
    );
    found
}

/// `did you mean a or b?`, for a few paths.
pub(super) fn question(paths: &[String]) -> Option<String> {
    let quoted: Vec<String> = paths.iter().take(3).map(|path| format!("`{path}`")).collect();
    (!quoted.is_empty()).then(|| format!("did you mean {}?", quoted.join(" or ")))
}

fn plain(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_alone_means_the_paths_that_end_in_it() {
        let paths = ["server.ready_within", "workload.*.concurrency"].map(str::to_owned);
        let workloads = ["chat", "batch"].map(str::to_owned);
        let meant = |key| meant(key, &paths, &workloads);
        assert_eq!(meant("max_model_len"), ["server.flags.max-model-len"]);
        assert_eq!(meant("concurrency"), ["workload.chat.concurrency", "workload.batch.concurrency"]);
        assert_eq!(meant("users"), meant("concurrency"));
        assert_eq!(meant("ready-within"), ["server.ready_within"]);
        assert!(meant("nonsense").is_empty());
        assert_eq!(question(&meant("max-model-len")).unwrap(), "did you mean `server.flags.max-model-len`?");
    }
}
