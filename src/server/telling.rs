//! Which lines of a log mean anything: one pass over the bytes finds every text that a rule knows. A log may come faster than
//! sixty searches of each line could read it, and whoever writes it waits for its reader.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::{
    facts,
    failure::{self, CRASHES, EXCEPTIONS, MARKS, RULES, SEVERE},
};

/// What it means that a text stands in a line.
#[derive(Clone, Copy)]
enum Kind {
    /// The line tells of an error.
    Sure,
    /// It does if the other parts of a rule stand there too.
    Part,
    /// It does if it is the last line of a traceback.
    Exception,
}

/// Texts of which a telling line holds one.
struct Telling {
    texts: AhoCorasick,
    kinds: Vec<Kind>,
}

static TELLING: LazyLock<Option<Telling>> = LazyLock::new(|| {
    let single = RULES.iter().filter(|(parts, _)| parts.len() == 1);
    let several = RULES.iter().filter(|(parts, _)| parts.len() > 1);
    let sure = [SEVERE, MARKS, CRASHES].into_iter().flatten().copied();
    let sure = sure.chain(single.flat_map(|(parts, _)| parts.first().copied()));
    let parts = several.flat_map(|(parts, _)| parts.first().copied());
    let texts: Vec<(&str, Kind)> = sure
        .map(|text| (text, Kind::Sure))
        .chain(parts.map(|text| (text, Kind::Part)))
        .chain(EXCEPTIONS.iter().map(|text| (*text, Kind::Exception)))
        .collect();
    Some(Telling {
        texts: AhoCorasick::new(texts.iter().map(|(text, _)| text)).ok()?,
        kinds: texts.iter().map(|(_, kind)| *kind).collect(),
    })
});

/// Texts of which a line holds one that says anything at all: of an error, of the server, or of how far its start got.
static SAYING: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let errors = [SEVERE, MARKS, CRASHES, EXCEPTIONS, &[failure::FRAME]];
    let rules = RULES.iter().filter_map(|(parts, _)| parts.first());
    let phases = facts::PHASES.iter().flat_map(|(texts, _)| *texts);
    let texts = errors.into_iter().flatten().chain(rules).chain(phases);
    AhoCorasick::new(texts.chain(facts::TEXTS)).ok()
});

/// Whether a line may say why a server failed.
pub(super) fn is_telling(line: &[u8]) -> bool {
    // No automaton can be made: then every line is looked at.
    let Some(telling) = TELLING.as_ref() else {
        return failure::is_telling(&String::from_utf8_lossy(line));
    };
    let (mut part, mut exception) = (false, false);
    for found in telling.texts.find_overlapping_iter(line) {
        match telling.kinds.get(found.pattern().as_usize()) {
            Some(Kind::Sure) => return true,
            Some(Kind::Part) => part = true,
            Some(Kind::Exception) => exception = true,
            None => {}
        }
    }
    (part || exception) && {
        let line = String::from_utf8_lossy(line);
        part && failure::has_several_parts(&line) || exception && failure::ends_a_traceback(&line)
    }
}

/// Whether a line may say anything that is to be known of a server.
pub(super) fn is_saying(line: &str) -> bool {
    SAYING.as_ref().is_none_or(|texts| texts.is_match(line))
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

    #[test]
    fn one_pass_finds_what_a_search_for_each_text_finds() {
        let mut lines = recorded();
        assert!(lines.len() > 1000, "{}", lines.len());
        lines.extend(RULES.iter().map(|(parts, _)| parts.join(" ")));
        lines.extend(RULES.iter().map(|(parts, _)| parts[0].to_owned()));
        let mut telling = 0;
        for line in &lines {
            let slowly = failure::is_telling(line);
            assert_eq!(is_telling(line.as_bytes()), slowly, "{line}");
            telling += usize::from(slowly);
        }
        assert!(telling > 100, "{telling}");
    }

    #[test]
    fn a_line_that_is_passed_over_would_have_said_nothing() {
        let mut passed = 0;
        for line in recorded() {
            if is_saying(&line) {
                continue;
            }
            passed += 1;
            let (mut found, mut cause) = (Facts::default(), failure::Cause::default());
            facts::read(&line, &mut found);
            cause.consider(&line, OomAt::Weights);
            assert_eq!(found, Facts::default(), "{line}");
            assert_eq!(facts::phase(&line), None, "{line}");
            assert_eq!(format!("{cause:?}"), format!("{:?}", failure::Cause::default()), "{line}");
        }
        assert!(passed > 1000, "{passed}");
    }
}
