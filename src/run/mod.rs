//! Plan → servers → load → measures → store, telling [`Event`]s.

mod event;

pub use event::Event;
