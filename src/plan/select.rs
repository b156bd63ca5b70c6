//! Selects cells by patterns.

use super::{Plan, Search};

impl Plan {
    /// Removes the cells and searches that match no pattern, and servers on which then nothing is measured.
    pub fn keep(&mut self, patterns: &[String]) {
        for group in &mut self.groups {
            group.cells.retain(|cell| match &cell.search {
                Some(search) => {
                    self.searches.iter().any(|known| known.id == *search && known.is_selected(patterns))
                }
                None => selects(patterns, &cell.id),
            });
        }
        self.searches.retain(|search| search.is_selected(patterns));
        self.drop_idle_groups();
    }

    /// Whether a pattern matches a cell or a search.
    pub fn has_match(&self, patterns: &[String]) -> bool {
        let mut cells = self.groups.iter().flat_map(|group| &group.cells);
        cells.any(|cell| selects(patterns, &cell.id))
            || self.searches.iter().any(|search| search.is_selected(patterns))
    }
}

impl Search {
    /// Whether a pattern matches the search's id, or for a load the ids of its probes by the name they begin
    /// with: `chat-*` keeps the searches of the workload `chat`. A search is kept or left out as a whole, with
    /// those of its candidates.
    pub fn is_selected(&self, patterns: &[String]) -> bool {
        let is_of_load = self.server.is_some() && !self.is_of_candidate();
        let of_workload = self.workload.as_ref().filter(|_| is_of_load);
        selects(patterns, self.root())
            || of_workload.is_some_and(|name| selects(patterns, &format!("{name}-")))
    }
}

/// Whether an id matches one of the patterns. `*` matches anything; a pattern without `*` matches anywhere in
/// the id. No patterns match every id.
pub fn selects(patterns: &[String], id: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, id))
}

fn matches(pattern: &str, id: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return id.contains(pattern);
    };
    let Some(mut left) = id.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    // The earliest match leaves the most text for the parts that follow.
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_anything() {
        let id = "chat-c8-t128-1f3a9c20";
        for (pattern, meant) in [
            ("chat-*", true),
            ("*-c8-*", true),
            ("*", true),
            ("*20", true),
            ("chat-*-t128-*", true),
            ("c8", true),
            (id, true),
            ("batch-*", false),
            ("c8*", false),
            ("*-c8", false),
            ("chat-*t128*c8*", false),
            ("chat-c8-t128-1f3a9c20*0", false),
        ] {
            assert_eq!(matches(pattern, id), meant, "{pattern}");
        }
        assert!(selects(&[], id));
        assert!(selects(&["batch-*".into(), "chat-*".into()], id));
        assert!(!selects(&["batch-*".into()], id));
    }
}
