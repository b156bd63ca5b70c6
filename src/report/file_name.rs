//! Turns workload names into parts of file names: safe on any file system, and unique.

/// Lower-cases the letters and digits of a name and replaces everything else by hyphens. At most 48
/// characters, never empty.
pub(super) fn plain(name: &str) -> String {
    let text: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let text: Vec<&str> = text.split('-').filter(|part| !part.is_empty()).collect();
    let text = text.join("-");
    if text.is_empty() { "workload".into() } else { text.chars().take(48).collect() }
}

/// Returns the stem, with a number appended if it is taken, and marks the result as taken.
pub(super) fn own(stem: String, taken: &mut Vec<String>) -> String {
    let mut name = stem.clone();
    let mut number = 2;
    while taken.contains(&name) {
        name = format!("{stem}-{number}");
        number += 1;
    }
    taken.push(name.clone());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_become_plain_ones_and_stay_apart() {
        assert_eq!(plain("Chat: <b>RAG</b> 8k"), "chat-b-rag-b-8k");
        assert_eq!(plain("../../etc"), "etc");
        assert_eq!(plain("会話"), "workload");
        let mut taken = Vec::new();
        let names: Vec<String> =
            ["会話", "要約", "a"].iter().map(|name| own(plain(name), &mut taken)).collect();
        assert_eq!(names, ["workload", "workload-2", "a"]);
    }
}
