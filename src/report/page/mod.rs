//! A stored run → `report.html`: one file that needs no network, with the pictures, a table of all cells and a page for each.
//!
//! `page.html`, `page.css` and `page.js` are what a person reads and changes; here they are put together with the pictures
//! and the data. No framework: the browser has tables, details and SVG, and a file that shall open in ten years should not
//! depend on more. The data stands in the page as JSON, and the script writes it by `textContent` alone, so a name is never
//! markup.

mod data;

#[cfg(test)]
mod tests;

use super::{Chart, escape, headline::title};
use crate::store::StoredRun;

const HTML: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");

/// The page of a run with its pictures.
pub(super) fn page(run: &StoredRun, charts: &[Chart]) -> String {
    let pictures = if charts.is_empty() {
        "<p class=\"quiet\">No picture: there are not enough cells with numbers to draw one.</p>\n"
            .into()
    } else {
        charts
            .iter()
            .map(|chart| format!("<div class=\"figure\">{}</div>\n", chart.inline()))
            .collect::<String>()
    };
    let style = format!("{}{CSS}", Chart::style());
    let parts = [
        ("title", escape::xml(&title(run))),
        ("style", style),
        ("pictures", pictures),
        ("data", safe_json(&data::of_run(run))),
        ("script", JS.to_owned()),
    ];
    // Each marker stands once in the page, in this order: what is put in is never looked at again.
    let mut page = String::new();
    let mut rest = HTML;
    for (name, text) in &parts {
        let marker = format!("<!--{name}-->");
        let (before, after) = rest.split_once(&marker).unwrap_or((rest, ""));
        page.push_str(before);
        page.push_str(text);
        rest = after;
    }
    page.push_str(rest);
    page
}

/// JSON that cannot end the element it stands in: `<` is written by its number, and so are the two line ends that old
/// scripts stumble over.
fn safe_json(value: &serde_json::Value) -> String {
    value
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}
