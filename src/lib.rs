//! `runner` measures what an LLM server can really do, from a TOML manifest.
//!
//! A manifest declares a server, workloads, sweep axes and latency targets. The house below turns it into a
//! folder of results and notes. Every room is a module; one noun enters it, one leaves, and a room may name only
//! the rooms listed for it in this table, which a test reads against the code.
//!
//! | room | what enters → what leaves | may name |
//! |---|---|---|
//! | `unit` | text → quantities with units | |
//! | `secret` | text → the same without secrets | |
//! | `diagnostic` | a mistake and where it stands → what a person reads | |
//! | `manifest` | TOML text → [`manifest::Manifest`] and findings | `unit`, `diagnostic` |
//! | `engine` | an engine, scripted or a model of vLLM's, and arrivals → when each token leaves | `unit`, `manifest` |
//! | `plan` | manifest → [`plan::Plan`]: server groups of cells | `unit`, `diagnostic`, `manifest` |
//! | `workload` | cell and seed → requests | `unit`, `manifest`, `plan` |
//! | `load` | requests, arrivals and a stop → [`load::Record`]s | `unit`, `secret`, `manifest`, `plan`, `workload` |
//! | `server` | server specification → a ready server, or how it ended | `unit`, `secret`, `manifest`, `plan` |
//! | `sim` | an engine → an HTTP server | `unit`, `manifest`, `engine` |
//! | `observe` | a running server, while a cell runs → [`observe::ServerSide`] | `unit`, `manifest`, `plan`, `server` |
//! | `measure` | records → summaries and verdicts | `unit`, `manifest`, `plan`, `load`, `server`, `observe` |
//! | `store` | what was measured ↔ the run folder | `unit`, `diagnostic`, `manifest`, `plan`, `load`, `server`, `observe`, `measure` |
//! | `import` | what other tools measured → a stored run | `unit`, `diagnostic`, `manifest`, `plan`, `measure`, `store` |
//! | `predict` | cells and hardware → predicted summaries or a whole predicted run, and measured cells → its constants | `unit`, `manifest`, `engine`, `plan`, `workload`, `load`, `server`, `observe`, `measure`, `store` |
//! | `report` | a stored run → notes, pictures and a page | `unit`, `diagnostic`, `manifest`, `plan`, `observe`, `measure`, `store` |
//! | `run` | plan → servers → load → measures → store, telling [`run::Event`]s | every room above but `sim`, `import` and `report` |
//! | `cli` | words → settings → one room's verb, a screen and an exit code | every room |
//!
//! # Deliberately absent
//!
//! - `report` knows no clock, no server and no socket: the same light files give the same bytes.
//! - `measure`, `plan` and `engine` know no clock and no file; what looks random comes from the manifest's seed.
//! - No room keeps global state: several servers at once need nothing but several values.

pub mod cli;
pub mod diagnostic;
pub mod engine;
pub mod import;
pub mod load;
pub mod manifest;
pub mod measure;
pub mod observe;
pub mod plan;
pub mod predict;
pub mod report;
pub mod run;
pub mod secret;
pub mod server;
pub mod sim;
pub mod store;
pub mod unit;
pub mod workload;
