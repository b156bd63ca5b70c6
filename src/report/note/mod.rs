//! Markdown from templates: the values they see, the filters they have, and what is said when one has a mistake.

mod axes_table;
mod curves;
mod filters;
mod grid;
pub(super) mod template;
#[cfg(test)]
mod tests;
pub(super) mod values;
