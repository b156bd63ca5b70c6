//! Markdown from templates: the values they see, the filters they have, and what is said when one has a mistake.

mod axes_table;
mod filters;
mod listing;
mod recipe;
mod table;
pub(super) mod template;
pub(super) mod values;

#[cfg(test)]
mod tests;
