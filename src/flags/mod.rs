//! Server flags: typed values out of `[server.flags]`, and what is known about vLLM's own flags.
//!
//! `vllm.toml` holds everything specific to vLLM: names, aliases, defaults, and what each flag does.
//!
//! ```
//! use runner::flags::{self, Flags};
//!
//! let flags: Flags = toml::from_str("max_model_len = '4K'\ntp = 2\nenable-prefix-caching = false")?;
//! assert_eq!(flags.integer("max-model-len"), Some(4096));
//! assert_eq!(flags.switch("enable-prefix-caching"), Some(false));
//! assert_eq!(flags.gpus()?, 2);
//! assert_eq!(flags::info("-tp").unwrap().name, "tensor-parallel-size");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod catalogue;
mod value;

pub use catalogue::{Device, FlagInfo, FlagKind, all, canonical, info};
pub use value::{Flag, FlagError, Flags, NotAFlag, scalar_text};
