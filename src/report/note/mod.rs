//! The values that note templates see, and the tables among them.

mod listing;
mod recipe;
mod table;
pub(super) mod values;

#[cfg(test)]
mod tests;
