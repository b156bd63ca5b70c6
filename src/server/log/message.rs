//! Splits a line of vLLM's log into the logger's prefix and the message.

/// A line without the logger's prefix, such as `(EngineCore pid=1) ERROR 11-24 02:06:16 [core.py:1510] `.
pub(super) fn message(line: &str) -> &str {
    let text = line.trim();
    let Some(rest) = text.strip_prefix('(') else {
        return text;
    };
    let logged = rest
        .split_once(" pid=")
        .and_then(|(_, rest)| rest.split_once(") "))
        .and_then(|(pid, rest)| pid.bytes().all(|b| b.is_ascii_digit()).then_some(rest.trim()));
    let Some(rest) = logged else {
        return text;
    };
    match rest.split_once(" [").and_then(|(level, rest)| {
        let short = level.split_whitespace().count() <= 3;
        short.then(|| rest.split_once("] ")).flatten()
    }) {
        Some((_, message)) => message.trim(),
        None => rest,
    }
}

/// Whether vLLM's logger or Python marks a line as a warning.
pub(super) fn is_warning(line: &str) -> bool {
    line.contains(" WARNING ") || line.contains("Warning: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loggers_prefix_is_removed() {
        for (line, expected) in [
            (
                "(Worker pid=12) ERROR 11-24 02:46:40 [multiproc_executor.py:1063] ValueError: no",
                "ValueError: no",
            ),
            ("(Worker pid=12) plain", "plain"),
            ("ValueError: [a] b", "ValueError: [a] b"),
            ("(a b) ERROR [x] y", "(a b) ERROR [x] y"),
        ] {
            assert_eq!(message(line), expected);
        }
    }
}
