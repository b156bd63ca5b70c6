//! Tables of plain text, for people.

/// Aligns columns: the first to the left, the others to the right.
pub(super) fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let widths = lines.iter().filter_map(|line| line.get(column));
        widths.map(|text| text.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    let mut out = String::new();
    for line in lines {
        for (column, (text, width)) in line.iter().zip(&widths).enumerate() {
            out.push_str(&match column {
                0 => format!("{text:<width$}"),
                _ => format!("  {text:>width$}"),
            });
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// A number with so many decimals, or a dash.
pub(super) fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// A fraction as a percentage.
pub(super) fn percent(fraction: f64) -> String {
    format!("{:.1} %", fraction * 100.0)
}
