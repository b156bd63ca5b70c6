//! Parses the Prometheus text format of `/metrics`.
//!
//! The format is one line, `name{label="value",…} value [timestamp] [# exemplar]`. The crates for it depend
//! on regular expressions and a calendar, and reject a whole page because of one bad line. Comments,
//! including `# HELP` and `# TYPE`, are skipped, because a sample's name determines its type.

/// One line that carries a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample<'a> {
    /// The series' name with its suffix (`_total`, `_bucket`, `_sum`, `_count`).
    pub(super) name: &'a str,
    /// Upper bound of a histogram's bucket, from the label `le`; other labels are ignored.
    pub(super) le: Option<f64>,
    /// The value; never NaN.
    pub(super) value: f64,
}

/// The samples of a page. A line that cannot be parsed or whose value is NaN is skipped.
pub(super) fn samples(page: &str) -> impl Iterator<Item = Sample<'_>> {
    page.lines().filter_map(sample)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (le, rest) = match rest.strip_prefix('{') {
        Some(labels) => parse_labels(labels)?,
        None => (None, rest),
    };
    let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
    (!name.is_empty() && !value.is_nan()).then_some(Sample { name, le, value })
}

/// Returns the label `le`, and the text after the labels' closing brace.
fn parse_labels(mut rest: &str) -> Option<(Option<f64>, &str)> {
    let mut le = None;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((le, after));
        }
        let (name, after) = rest.split_once('=')?;
        let quoted = after.trim_start().strip_prefix('"')?;
        let end = closing_quote(quoted)?;
        if name.trim() == "le" {
            le = Some(quoted[..end].parse().ok()?);
        }
        rest = &quoted[end + 1..];
    }
}

/// The position of the first quote without a backslash.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Option<(String, Option<f64>, f64)> {
        let found: Vec<_> = samples(line).collect();
        assert!(found.len() <= 1);
        found.first().map(|s| (s.name.to_owned(), s.le, s.value))
    }

    #[test]
    fn a_line_is_read_with_and_without_labels_timestamp_and_exemplar() {
        for (line, name, le, value) in [
            ("up 1", "up", None, 1.0),
            ("  a:b_total{x=\"1\"} 2.5e3 1700000000000", "a:b_total", None, 2500.0),
            ("h_bucket{le=\"0.25\",engine=\"0\"} 7 # {trace=\"x\"} 0.1", "h_bucket", Some(0.25), 7.0),
            ("h_bucket{engine=\"0\", le=\"+Inf\",} 9", "h_bucket", Some(f64::INFINITY), 9.0),
            ("g{} +Inf", "g", None, f64::INFINITY),
            ("m{path=\"a}b\\\"c,le=\\\\\",k=\"\"} -3", "m", None, -3.0),
            ("t\t4", "t", None, 4.0),
        ] {
            assert_eq!(read(line), Some((name.to_owned(), le, value)), "{line}");
        }
    }

    #[test]
    fn a_line_without_a_sample_is_skipped() {
        for line in [
            "",
            "# TYPE up gauge",
            "up",
            "up NaN",
            "up one",
            "h_bucket{le=\"wide\"} 1",
            "h{le=\"1\" 3",
            "h{le=1} 3",
            "{} 3",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(page in "\\PC{0,200}") {
            let _ = samples(&page).count();
        }

        #[test]
        fn any_label_value_can_be_written_and_skipped(label in "\\PC{0,30}", value in -1e9..1e9f64) {
            let quoted = label.replace('\\', "\\\\").replace('"', "\\\"");
            let line = format!("x_bucket{{a=\"{quoted}\",le=\"2\"}} {value}");
            prop_assert_eq!(read(&line), Some(("x_bucket".to_owned(), Some(2.0), value)));
        }
    }
}
