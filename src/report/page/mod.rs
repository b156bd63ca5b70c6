//! Renders `report.html`: one file that needs no network, with the charts, a table of all cells and a page
//! for each.
//!
//! This puts `page.html`, `page.css` and `page.js` together with the charts and the data. There is no
//! framework: browsers have tables, details and SVG, and a file that must open in ten years should not depend
//! on more. The data is JSON in the page, and the script writes it by `textContent` alone, so a name is never
//! markup.

mod data;

#[cfg(test)]
mod tests;

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, html};

use super::{Chart, escape, model::Model};

const HTML: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");

/// The data of the page, which takes long for ten thousand cells and does not depend on the rest of the page.
pub(super) fn cells(model: &Model<'_>) -> String {
    safe_json(&data::of_run(model))
}

/// Puts the page together: the first page of the notes (Markdown), the charts, and the data of the cells.
pub(super) fn page(model: &Model<'_>, charts: &[Chart], first: &str, cells: &str) -> String {
    let hint = "<p class=\"quiet\">Hover over a mark, or reach it with Tab and the arrow keys, to read its numbers. A click or Enter opens its cell.</p>\n";
    let pictures = if charts.is_empty() {
        "<p class=\"quiet\">No charts: too few cells have numbers to draw one.</p>\n".into()
    } else {
        charts
            .iter()
            .map(|chart| format!("<div class=\"figure\">{}</div>\n", chart.inline()))
            .fold(hint.to_owned(), |all, one| all + &one)
    };
    let style = format!("{}{CSS}", Chart::style());
    let parts = [
        ("title", escape::xml(&model.title())),
        ("style", style),
        ("first", in_html(first)),
        ("pictures", pictures),
        ("data", cells.to_owned()),
        ("script", JS.to_owned()),
    ];
    // Each marker occurs once, in this order; inserted text is not searched for markers.
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

/// Converts our own Markdown to HTML. Markup in it becomes text; links to notes are relative to the folder of
/// the run.
fn in_html(markdown: &str) -> String {
    let events = Parser::new_ext(markdown, Options::ENABLE_TABLES).map(|event| match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let dest_url = CowStr::from(format!("notes/{dest_url}"));
            Event::Start(Tag::Link { link_type, dest_url, title, id })
        }
        other => other,
    });
    let mut page = String::new();
    html::push_html(&mut page, events);
    page
}

/// Escapes JSON so that it cannot end its element: `<`, `>`, `&` and the line separators that old scripts do
/// not accept.
fn safe_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        let (before, after) = rest.split_at(at);
        safe.push_str(before);
        let mut after = after.chars();
        if let Some(c) = after.next() {
            safe.push_str(&format!("\\u{:04x}", u32::from(c)));
        }
        rest = after.as_str();
    }
    safe.push_str(rest);
    safe
}
