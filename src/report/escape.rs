//! Escapes foreign text for Markdown, XML and terminals.

/// Whether a character is unsafe to print: it moves the cursor, colours the screen or changes the direction
/// of text.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Escapes text for a paragraph or a table cell: Markdown and HTML are escaped, line breaks become spaces,
/// control characters become a replacement mark. Underscores inside words are harmless and stay.
pub(super) fn markdown(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len() + 8);
    for (index, &c) in chars.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|at| chars.get(at));
        let after = chars.get(index + 1);
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if is_harmful(c) => out.push('\u{fffd}'),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' if after.is_some_and(|c| c.is_ascii_alphanumeric() || *c == '#') => out.push_str("&amp;"),
            '\\' | '`' | '*' | '[' | ']' | '|' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            '_' if before.is_some_and(|c| c.is_alphanumeric())
                && after.is_some_and(|c| c.is_alphanumeric()) =>
            {
                out.push('_')
            }
            '_' => out.push_str("\\_"),
            '#' if index == 0 => out.push_str("\\#"),
            c => out.push(c),
        }
    }
    out
}

/// Escapes text for XML and HTML, in an element or a quoted attribute.
pub(super) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push('\n'),
            c if is_harmful(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Escapes prose of our own, but keeps its code spans.
pub(super) fn prose(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) || parts.iter().skip(1).step_by(2).any(|part| part.is_empty()) {
        return markdown(text);
    }
    let shaped = parts.iter().enumerate().map(|(index, part)| match index % 2 {
        0 => markdown(part),
        _ => code(part),
    });
    shaped.collect()
}

/// Formats an inline code span that is valid in a table. Text with a backtick or a pipe is escaped instead.
pub(super) fn code(text: &str) -> String {
    if text.is_empty()
        || text.contains(['`', '|', '\n', '\r', '\t'])
        || text.chars().any(is_harmful)
        || text.starts_with(' ')
        || text.ends_with(' ')
    {
        return markdown(text);
    }
    format!("`{text}`")
}

/// Formats a fenced block, with a fence longer than any run of backticks inside.
pub(super) fn fence(text: &str, language: &str) -> String {
    let mut longest = 0;
    let mut run = 0;
    let mut body = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
        body.push(if c != '\n' && c != '\t' && is_harmful(c) { '\u{fffd}' } else { c });
    }
    let fence = "`".repeat(3.max(longest + 1));
    let language: String = language.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{fence}{language}\n{}\n{fence}", body.trim_end_matches('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_keeps_its_code_and_nothing_else() {
        assert_eq!(prose("ask with `cache = \"a|b\"` or <b>"), "ask with cache = \"a\\|b\" or &lt;b&gt;");
        assert_eq!(prose("raise `requests`, *now*"), "raise `requests`, \\*now\\*");
        assert_eq!(prose("one ` alone"), "one \\` alone");
    }

    #[test]
    fn names_do_no_harm() {
        assert_eq!(markdown("a|b`c"), "a\\|b\\`c");
        assert_eq!(markdown("<script>x</script>"), "&lt;script&gt;x&lt;/script&gt;");
        assert_eq!(markdown("two\nlines\r\n# three"), "two lines  # three");
        assert_eq!(markdown("\u{1b}[31mred\u{7}"), "\u{fffd}\\[31mred\u{fffd}");
        assert_eq!(markdown("\u{202e}gnp.exe"), "\u{fffd}gnp.exe");
        assert_eq!(markdown("max_tokens and _this_"), "max_tokens and \\_this\\_");
        assert_eq!(markdown("R&D &lt; &#60;"), "R&amp;D &amp;lt; &amp;#60;");
        assert_eq!(markdown("[x](javascript:y)"), "\\[x\\](javascript:y)");
        assert_eq!(markdown("$x$"), "\\$x\\$");
        assert_eq!(markdown("# no heading"), "\\# no heading");
    }

    #[test]
    fn code_spans_and_fences_cannot_be_left() {
        assert_eq!(code("--max-num-seqs 128"), "`--max-num-seqs 128`");
        assert_eq!(code("a`b"), "a\\`b");
        assert_eq!(code("a|b"), "a\\|b");
        assert_eq!(fence("x\n````\ny\u{1b}", "text\n"), "`````text\nx\n````\ny\u{fffd}\n`````");
    }
}
