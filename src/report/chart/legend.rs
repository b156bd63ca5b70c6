//! The legend of some series.

use super::{
    scope::Series,
    sheet::Sheet,
    svg::Anchor,
    text::{fitted, told_apart, width},
};

/// Draws the shapes of some series with their values, below the head of the chart. Series without numbers
/// have no key.
pub(super) fn series(sheet: &mut Sheet, series: &[Series<'_, '_>]) {
    let Some(first) = series.first() else { return };
    let has_numbers = |one: &Series<'_, '_>| one.cells.iter().any(|cell| cell.has_numbers());
    let mut flow = sheet.row();
    let names = fitted(&first.names, 12.0, flow.room());
    let (x, y) = flow.place(width(&names, 12.0));
    sheet.svg.text((x, y), Anchor::Start, "key", &names);
    let texts: Vec<&str> = series.iter().map(|one| one.values.as_str()).collect();
    let texts = told_apart(&texts, 12.0, flow.room().min(240.0) - 22.0);
    for (index, text) in texts.iter().enumerate() {
        if !has_numbers(&series[index]) {
            continue;
        }
        let (x, y) = flow.place(22.0 + width(text, 12.0));
        sheet.svg.marker(index, (x + 8.0, y - 4.0), 4.5, &format!("f{index}"));
        sheet.svg.text((x + 22.0, y), Anchor::Start, "key", text);
    }
    sheet.end_row(flow);
}
