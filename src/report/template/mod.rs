//! Renders Jinja templates to Markdown, and explains the mistakes in a user's own.

mod files;
mod filters;
mod grid;
mod mistake;
mod render;

pub(crate) use files::{Template, WORDS, comparison, need_cells, own, sources};
pub(crate) use mistake::explain;
pub use render::Note;
pub(crate) use render::{configure, first_page, render};
