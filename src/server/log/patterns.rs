//! Finds the log lines that matter in one pass over the bytes. A log may come faster than it could be
//! searched for sixty texts one by one, and the server waits for whoever writes its log.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::{
    facts,
    failure::{self, CRASHES, EXCEPTIONS, ROOT_MARKS, RULES, SEVERE},
};

/// What a text that occurs in a line means.
#[derive(Clone, Copy)]
enum Kind {
    /// The line reports an error.
    Error,
    /// It does if it holds the other texts of a rule too.
    RulePart,
    /// It does if it is the last line of a traceback.
    Exception,
}

static ERRORS: LazyLock<(AhoCorasick, Vec<Kind>)> = LazyLock::new(|| {
    let kind = |parts: &[&str]| if parts.len() == 1 { Kind::Error } else { Kind::RulePart };
    let errors = [SEVERE, ROOT_MARKS, CRASHES].into_iter().flatten().map(|text| (*text, Kind::Error));
    let rules = RULES.iter().map(|(parts, _)| (parts[0], kind(parts)));
    let exceptions = EXCEPTIONS.iter().map(|text| (*text, Kind::Exception));
    let (texts, kinds): (Vec<_>, Vec<_>) = errors.chain(rules).chain(exceptions).unzip();
    (automaton(texts), kinds)
});

static RELEVANT: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let errors = [SEVERE, ROOT_MARKS, CRASHES, EXCEPTIONS, &[failure::FRAME]];
    let rules = RULES.iter().map(|(parts, _)| &parts[0]);
    let phases = facts::PHASES.iter().flat_map(|(texts, _)| *texts);
    automaton(errors.into_iter().flatten().chain(rules).chain(phases).chain(facts::FACT_TEXTS))
});

fn automaton(texts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> AhoCorasick {
    AhoCorasick::new(texts).expect("a few constant texts always make an automaton")
}

/// Whether a line may explain why a server failed.
pub(super) fn is_error(line: &[u8]) -> bool {
    let (texts, kinds) = &*ERRORS;
    let (mut part, mut exception) = (false, false);
    for found in texts.find_overlapping_iter(line) {
        match kinds[found.pattern().as_usize()] {
            Kind::Error => return true,
            Kind::RulePart => part = true,
            Kind::Exception => exception = true,
        }
    }
    (part || exception) && {
        let line = String::from_utf8_lossy(line);
        part && failure::matches_compound_rule(&line) || exception && failure::ends_a_traceback(&line)
    }
}

/// Whether a line may report anything: an error, a fact about the server, or the progress of its start.
pub(super) fn is_relevant(line: &str) -> bool {
    RELEVANT.is_match(line)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::server::outcome::{Facts, OomAt};

    fn recorded() -> Vec<String> {
        let folder = format!("{}/tests/recorded/vllm", env!("CARGO_MANIFEST_DIR"));
        let files = fs::read_dir(folder).unwrap().flatten();
        let texts = files.filter_map(|file| fs::read(file.path()).ok());
        texts
            .flat_map(|text| {
                let text = String::from_utf8_lossy(&text).into_owned();
                text.lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect()
    }

    /// The slow form of [`super::is_error`].
    fn searched(line: &str) -> bool {
        let any = |texts: &[&str]| texts.iter().any(|text| line.contains(text));
        let all = |parts: &[&str]| parts.iter().all(|part| line.contains(part));
        any(SEVERE)
            || any(ROOT_MARKS)
            || any(CRASHES)
            || RULES.iter().any(|(parts, _)| all(parts))
            || failure::ends_a_traceback(line)
    }

    #[test]
    fn one_pass_finds_what_a_search_for_each_text_finds() {
        let mut lines = recorded();
        assert!(lines.len() > 1000, "{}", lines.len());
        lines.extend(RULES.iter().map(|(parts, _)| parts.join(" ")));
        lines.extend(RULES.iter().map(|(parts, _)| parts[0].to_owned()));
        let mut errors = 0;
        for line in &lines {
            let expected = searched(line);
            assert_eq!(is_error(line.as_bytes()), expected, "{line}");
            errors += usize::from(expected);
        }
        assert!(errors > 100, "{errors}");
    }

    #[test]
    fn a_line_that_is_skipped_reports_nothing() {
        let mut skipped = 0;
        for line in recorded() {
            if is_relevant(&line) {
                continue;
            }
            skipped += 1;
            let (mut found, mut cause) = (Facts::default(), failure::Cause::default());
            facts::read(&line, &mut found);
            cause.read(&line, OomAt::Weights);
            assert_eq!(found, Facts::default(), "{line}");
            assert_eq!(facts::progress(&line), None, "{line}");
            assert_eq!(format!("{cause:?}"), format!("{:?}", failure::Cause::default()), "{line}");
        }
        assert!(skipped > 1000, "{skipped}");
    }
}
