//! Shows the answers of searches: their facts, and their sentences and tables as values of templates.

mod facts;
mod group;
mod number;
mod view;

#[cfg(test)]
pub(super) mod fixtures;
#[cfg(test)]
mod tests;

pub(super) use facts::{Limit, facts};
pub(super) use group::places;
pub(super) use number::Scale;
pub(super) use view::{Said, said};
