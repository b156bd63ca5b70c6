//! `runner` measures what an LLM server can really do, from a TOML manifest.
//!
//! A manifest declares a server, workloads, sweep axes and latency targets. The rooms below turn it into a
//! folder of results and notes. Every room is a module: one noun comes in, one goes out, and a room may use
//! only the rooms listed for it. `tests/house.rs` reads this table and checks it against the code, and that
//! no two files of a room depend on each other.
//!
//! | room | what enters → what leaves | may name |
//! |---|---|---|
//! | `unit` | text → quantities with units | |
//! | `secret` | text → the same without secrets | |
//! | `diagnostic` | a mistake and where it stands → what a person reads | |
//! | `flags` | a server's flags → typed values, and what is known of vLLM's own flags | |
//! | `manifest` | TOML text → [`manifest::Manifest`] and findings | `unit`, `diagnostic`, `flags` |
//! | `engine` | an engine, scripted or a model of vLLM's, and arrivals → when each token leaves | `unit`, `flags`, `manifest` |
//! | `plan` | manifest → [`plan::Plan`]: server groups of cells | `unit`, `diagnostic`, `flags`, `manifest` |
//! | `workload` | cell and seed → requests | `unit`, `manifest`, `plan` |
//! | `load` | requests, arrivals and a stop → [`load::Record`]s | `unit`, `secret`, `manifest`, `plan`, `workload` |
//! | `server` | server specification → a ready server, or how it ended | `unit`, `secret`, `flags`, `manifest`, `plan` |
//! | `sim` | an engine → an HTTP server | `unit`, `flags`, `manifest`, `engine` |
//! | `observe` | a running server, while a cell runs → [`observe::ServerSide`] | `unit`, `manifest`, `plan`, `server` |
//! | `measure` | records → summaries and verdicts | `unit`, `manifest`, `plan`, `load`, `server`, `observe` |
//! | `store` | what was measured ↔ the run folder | `unit`, `diagnostic`, `manifest`, `plan`, `load`, `server`, `observe`, `measure` |
//! | `search` | a search and its probes → the next probe, or the answer | `unit`, `manifest`, `plan`, `load`, `server`, `measure`, `store` |
//! | `import` | what other tools measured → a stored run | `unit`, `diagnostic`, `flags`, `manifest`, `plan`, `measure`, `store` |
//! | `predict` | cells and hardware → predicted summaries or a whole predicted run, and measured cells → its constants | `unit`, `diagnostic`, `flags`, `manifest`, `engine`, `plan`, `workload`, `load`, `server`, `observe`, `measure`, `store`, `search` |
//! | `report` | a stored run → notes, pictures and a page | `unit`, `diagnostic`, `manifest`, `plan`, `observe`, `measure`, `store`, `search` |
//! | `run` | plan → servers → load → measures → store, telling [`run::Event`]s | every room above but `sim`, `import` and `report` |
//! | `cli` | words → settings → one room's verb, a screen and an exit code | every room |
//!
//! # Kept out on purpose
//!
//! - `report` reads no clock and opens no socket: the same stored files render to the same bytes.
//! - `measure`, `plan` and `engine` read no clock and no file; everything random comes from the manifest's
//!   seed.
//! - No room keeps global state, so that several servers can run at once.
//!
//! # Dependencies
//!
//! `tests/house.rs` checks that this table and `Cargo.toml` name the same crates.
//!
//! | crate | why it is here |
//! |---|---|
//! | `aho-corasick` | finds every known pattern in a server's log in one pass over the bytes |
//! | `annotate-snippets` | prints findings with the manifest's line, as rustc prints its errors |
//! | `anstream` | writes color to terminals only, and honors `NO_COLOR` |
//! | `bytes` | buffers that request bodies and the embedded engine's answers share without copying |
//! | `camino` | UTF-8 paths, which can be written to TOML and JSON without loss |
//! | `clap`, `clap_complete`, `clap_mangen` | arguments, help, shell completions and man pages from one declaration |
//! | `csv` | `cells.csv`, traces, and tables of other tools |
//! | `figment` | settings of the tool in layers: defaults, `runner.toml`, environment, flags |
//! | `flate2` with `zlib-rs` | gzip for records, in Rust alone, so that the static binary needs no C library |
//! | `hdrhistogram` | latency histograms of bounded size and known error, which can be merged |
//! | `httparse` | parses response heads in the load client; it is also hyper's parser |
//! | `hyper`, `hyper-util`, `http-body-util` | the HTTP server of the embedded engine |
//! | `indexmap` | maps that keep the manifest's order |
//! | `indicatif` | progress bars |
//! | `jiff` | timestamps, RFC 3339 |
//! | `memchr` | finds line ends in streams and logs at memory speed |
//! | `minijinja` | templates of notes; it limits the work of a template, and an error names the template's line |
//! | `nvml-wrapper` | GPU memory, power and energy; it loads the driver's library at run time and is absent outside Linux |
//! | `procfs` | CPU time and memory of the server's processes |
//! | `pulldown-cmark` | the first page of the notes as HTML, for `report.html` |
//! | `rand_chacha` | random numbers that are the same for a seed on every platform and in every version |
//! | `reqwest` | short requests: readiness, `/metrics`, tokenization. The load client has its own connection (see [`load`]) |
//! | `rmp-serde` | records in memory and in the spill file of a repeat, compact |
//! | `rustix` | signals, process groups, file locks and timers without unsafe code |
//! | `rustls`, `tokio-rustls`, `rustls-platform-verifier` | TLS of both clients with the machine's own certificates; `ring` needs no CMake |
//! | `schemars` | the manifest's JSON Schema, from the types that read it |
//! | `serde`, `serde_json`, `serde_with`, `toml` | the manifest, and every stored file |
//! | `sha2` | identity of cells, servers and input files |
//! | `shlex` | quotes the commands that are printed for a shell |
//! | `strsim` | "did you mean" |
//! | `tempfile` | files that are written beside and renamed, or removed |
//! | `terminal_size` | the width of the terminal, which the progress lines have to fit |
//! | `thiserror` | error types whose message stands beside each variant |
//! | `tokio` | sockets, timers and child processes |
//! | `insta`, `proptest`, `rcgen`, `libtest-mimic`, `proc-macro2` | tests: snapshots, properties, a certificate authority, suites whose cases come from a table, and the reading of this crate's own source |
//!
//! Decided against:
//!
//! | instead of | we have | because |
//! |---|---|---|
//! | hyper or reqwest in the load client | one HTTP/1.1 reader in `load::http` | hyper's channel between connection and body was most of the cost of a token (figures in [`load`]) |
//! | plotters, charming, poloto | `report::chart`, which writes SVG | GitHub shows an SVG as an image: light and dark need classes and a media query inside the file, which plotters does not write; charming runs a JavaScript engine; poloto had no release since 2023 |
//! | a Prometheus parser | `observe::exposition`, 120 lines | the crates bring a regular-expression engine, and reject a page for one bad line |
//! | a tokenizer | the server's own `/tokenize` | it would have to match the server's version and chat template |
//! | libc, nix | `rustix`, `procfs` | no unsafe code in this crate |
//! | OpenSSL, aws-lc | `ring` | a static binary without a C library or CMake |
//! | anyhow | an error type in each room | callers decide by kind, and every message names the next step |

/// The version of `runner` with the commit and the target it was built from: `0.1.0 (3a66371d2c,
/// x86_64-unknown-linux-gnu)`. Without the commit where it was built outside its repository.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("RUNNER_BUILD"));

pub mod cli;
pub mod diagnostic;
pub mod engine;
pub mod flags;
pub mod import;
pub mod load;
pub mod manifest;
pub mod measure;
pub mod observe;
pub mod plan;
pub mod predict;
pub mod report;
pub mod run;
pub mod search;
pub mod secret;
pub mod server;
pub mod sim;
pub mod store;
pub mod unit;
pub mod workload;
