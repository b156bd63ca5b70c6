//! Runs a plan: starts each server, sends the load, measures every cell, and stores the results. Progress is
//! reported as
//! [`Event`]s.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use runner::{manifest::{Manifest, Overrides}, plan::plan, run::{self, Budget, Order, Resume}};
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = camino::Utf8Path::from_path(folder.path()).ok_or("the path is not UTF-8")?;
//! let path = folder.join("first.toml");
//! std::fs::write(
//!     &path,
//!     r#"
//!     experiment.name = "first"
//!     server = { engine = "openai", model = "m", launch = { on = "attach", url = "http://127.0.0.1:1" }, ready_within = "1s" }
//!     workload.chat = { prompts = ["Hello"], requests = 1, max_tokens = 1 }
//!     "#,
//! )?;
//! let (manifest, findings) = Manifest::load(&path, &Overrides::default());
//! let manifest = manifest.ok_or_else(|| findings.render(false))?;
//! let (plan, findings) = plan(&manifest);
//! let plan = plan.ok_or_else(|| findings.render(false))?;
//! let order = Order {
//!     results: folder.join("results"),
//!     name: Some("monday".into()),
//!     resume: Resume::IfPresent,
//!     budget: Budget::default(),
//!     only: Vec::new(),
//!     manifest_folder: folder.to_owned(),
//!     runner: "runner".into(),
//!     command: Vec::new(),
//! };
//! let (_interrupt, stop) = tokio::sync::watch::channel(false);
//! let runtime = tokio::runtime::Runtime::new()?;
//! let ended = runtime.block_on(run::run(&manifest, &plan, &order, &mut |_event| (), stop))?;
//! // Nothing listens on that port: the only cell says so, and is stored.
//! assert_eq!(ended.outcomes, [(runner::measure::CellOutcome::ServerFailed, 1)]);
//! assert!(ended.folder.join("cells.csv").exists());
//! # Ok(())
//! # }
//! ```

mod begun;
mod budget;
mod cell;
mod credentials;
mod ended;
mod error;
mod event;
mod forecast;
mod group;
mod hang;
mod launch;
mod order;
mod provenance;
mod search;
mod skip_impossible;
mod start;
mod sweep;
mod token_counts;
mod turn;

pub use budget::Budget;
pub use ended::Ended;
pub use error::RunError;
pub use event::Event;
pub use order::{Order, Resume};
pub use start::run;
