//! Estimates the width of texts without a font, so that nothing is clipped or overlaps.

/// The width of a text in pixels, on the wide side of the usual sans-serif fonts.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let em: f64 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | '·' => 0.3,
            'f' | 't' | 'r' | ' ' | '(' | ')' | '[' | ']' | '/' | '-' => 0.36,
            'm' | 'M' | 'W' | 'w' | '%' | '@' | '—' => 0.92,
            'A'..='Z' => 0.7,
            c if c.is_ascii() => 0.57,
            '\u{1100}'..='\u{115f}'
            | '\u{2e80}'..='\u{a4cf}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}'
            | '\u{ff00}'..='\u{ff60}'
            | '\u{1f300}'..='\u{1faff}' => 1.05,
            _ => 0.65,
        })
        .sum();
    em * size * 1.04
}

/// The text, cut with an ellipsis to fit.
pub(super) fn fitted(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        out.push(c);
        if width(&out, size) + size * 0.95 > room {
            out.pop();
            break;
        }
    }
    format!("{}…", out.trim_end())
}

/// Cuts texts so that they fit and still differ: if cutting the ends makes two equal, their common prefix is
/// left out.
pub(super) fn told_apart(texts: &[&str], size: f64, room: f64) -> Vec<String> {
    let cut: Vec<String> = texts.iter().map(|text| fitted(text, size, room)).collect();
    let same = (1..cut.len()).any(|index| cut[..index].contains(&cut[index]));
    let (Some(first), true) = (texts.first(), same) else {
        return cut;
    };
    let shared = first
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .take_while(|end| texts.iter().all(|text| text.starts_with(&first[..*end])))
        .last()
        .unwrap_or(0);
    texts.iter().map(|text| fitted(&format!("…{}", &text[shared..]), size, room)).collect()
}

/// The text in at most `most` lines, the last one cut if there is more.
pub(super) fn lines(text: &str, size: f64, room: f64, most: usize) -> Vec<String> {
    let mut lines = wrapped(text, size, room);
    if lines.len() > most {
        let rest = lines.split_off(most - 1).join(" ");
        lines.push(fitted(&rest, size, room));
    }
    lines
}

/// The text in lines that fit, broken at spaces.
pub(super) fn wrapped(text: &str, size: f64, room: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // A number and its percent sign stay together.
    let text = text.replace(" %", "\u{a0}%");
    for word in text.split([' ', '\n', '\t']).filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), size) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(fitted(word, size, room)),
        }
    }
    lines
}

/// Moves labels with the heights `wanted` at least `gap` apart and within `low..=high`, as far as there is
/// room, in the same order.
pub(super) fn apart(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut placed = wanted.to_vec();
    let mut floor = low;
    for &index in &order {
        placed[index] = placed[index].max(floor);
        floor = placed[index] + gap;
    }
    let mut ceiling = high;
    for &index in order.iter().rev() {
        placed[index] = placed[index].min(ceiling);
        ceiling = placed[index] - gap;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_cut_with_an_ellipsis() {
        assert_eq!(fitted("chat", 13.0, 100.0), "chat");
        let cut = fitted(&"long name ".repeat(20), 13.0, 100.0);
        assert!(cut.ends_with('…') && width(&cut, 13.0) <= 100.0, "{cut}");
    }

    #[test]
    fn cut_texts_still_differ() {
        let texts = ["Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct-AWQ"];
        let cut = told_apart(&texts, 12.0, 100.0);
        assert_ne!(cut[0], cut[1]);
        assert_eq!(cut[1], "…-AWQ");
        assert_eq!(told_apart(&["a", "b"], 12.0, 100.0), ["a", "b"]);
    }

    #[test]
    fn the_last_of_few_lines_is_cut() {
        let two = lines("one two three four five six seven", 12.0, 80.0, 2);
        assert_eq!(two.len(), 2);
        assert!(two[1].ends_with('…'), "{two:?}");
    }

    #[test]
    fn lines_break_at_spaces_and_keep_every_word() {
        let text = "one two three four five six seven";
        let lines = wrapped(text, 12.0, 80.0);
        assert!(lines.len() > 1 && lines.iter().all(|line| width(line, 12.0) <= 80.0));
        assert_eq!(lines.join(" "), text);
    }

    #[test]
    fn labels_keep_their_distance_and_stay_inside() {
        let placed = apart(&[10.0, 11.0, 95.0, 99.0], 15.0, 0.0, 100.0);
        assert_eq!(placed, [10.0, 25.0, 85.0, 100.0]);
    }
}
