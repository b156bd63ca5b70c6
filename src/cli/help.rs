//! The long help of each command: what it does, and examples to copy.
//!
//! It is not on the structs of the arguments, because the doc comment of a subcommand's variant, which
//! `missing_docs` requires, replaces a struct's `long_about`.

pub(super) const RUNNER: &str = "\
Measure what an LLM server can really do, from a TOML manifest.

A manifest declares a server, workloads, the values to sweep and the latency targets. `run` starts each distinct server \
once, measures every cell (one combination of values) on it, and stores tables, raw records, Markdown notes, charts and an \
HTML page under results/.

To get started, no GPU needed:

  runner init                           write a commented manifest
  runner check experiments/first.toml   find mistakes before a model loads
  runner plan experiments/first.toml    list every cell and every server start
  runner run experiments/first.toml     measure, and write the notes

Settings are read from runner.toml in the current folder (results, templates, color, quiet), from the environment, and \
from flags; each overrides the one before.";

pub(super) const RUN: &str = "\
Measure every cell of a manifest and write the notes.

Each distinct server is started once and stopped after its last cell. A server that runs out of memory is a result, and \
the sweep goes on. Every cell is stored as soon as it is measured. Ctrl-C ends the run cleanly and keeps the finished \
cells; a second Ctrl-C ends it at once.

With --resume the same command can be run again and again, for example by a queue: it starts the run, continues it, or \
says that it is already complete, with the exit code of its results.

Examples:
  runner run day003.toml
  runner run day003.toml --sim                 without a GPU, simulated
  runner run day003.toml --sim=H100            the same, in an H100's memory
  runner run day003.toml --only 'chat-*'       some of the cells
  runner run day003.toml --set workload.chat.requests=64
  runner run day003.toml --resume              continue the newest, or start
  runner run day003.toml --name a100 --resume  the same for the run named a100";

pub(super) const CHECK: &str = "\
Find mistakes in a manifest without starting a server.

Each mistake is shown with its line. Where the engine is installed, its --help is read for the flags that it \
accepts, so a wrong flag is found before a model loads.

Examples:
  runner check day003.toml
  runner check day003.toml --set server.flags.max-model-len=8192";

pub(super) const PLAN: &str = "\
List the cells and the server starts of a manifest, in order.

Nothing is started. Cells that the manifest skips are listed with the reason. Where the GPU is known, each server shows \
whether it would fit in memory, and the plan shows how long it would take and what that would cost.

Examples:
  runner plan day003.toml
  runner plan day003.toml --only '*-c8-*'
  runner plan day003.toml --sim=A100   what would fit on another GPU
  runner plan day003.toml --json | jq '.groups[].cells[].id'";

pub(super) const PREDICT: &str = "\
Predict every cell of a manifest, or compare a measured run with its prediction.

Nothing is started. A model of vLLM simulates the requests of each cell in virtual time: its scheduler, its KV cache, and \
step times from a roofline of the GPU. Everything printed is predicted, not measured.

Given a run instead of a manifest, it predicts the cells of that run (with the measured lengths of answers that ended by \
themselves) and adds the predictions to the run's predicted.json, tables, notes and page.

Examples:
  runner predict day003.toml
  runner predict day003.toml --gpu L4 --json
  runner predict day003.toml --gpu A100 --name a100   store it as a run
  runner predict day003.toml --only 'chat-*' --against measured.csv
  runner predict day003/monday         add predictions to a measured run
  runner predict day003/monday --gpu L4 --calibration l4.toml";

pub(super) const CALIBRATE: &str = "\
Fit the constants of the predictions to a measured run.

Fits the memory bandwidth and compute throughput that the hardware reaches, and the fixed time of each step and each \
sequence. `runner predict --calibration FILE` then uses these constants for other cells, lengths and flags.

Examples:
  runner calibrate day003 -o rtx2000.toml
  runner calibrate cpu-smollm2 --gpu cpu --only c1- --only c8- -o cpu.toml";

pub(super) const REPORT: &str = "\
Write the notes, charts and page of a stored run again.

The files that git keeps are enough: a clone gives the same notes, byte for byte. Templates are written in minijinja; a file \
in your template folder replaces the built-in template of the same name.

Examples:
  runner report day003                       the experiment's newest run
  runner report day003/monday                the run of that name
  runner report day003 --values              everything a template can use
  runner report day003 --stdout capacity.md  one note, to stdout";

pub(super) const COMPARE: &str = "\
Compare two stored runs: another GPU, quantization, version or flag.

Cells are joined by workload and axis values. Every ratio of measured numbers comes with its 95 % confidence interval and is called better, \
worse, or within the noise. If anything but the machine differs (the model, a flag, the lengths, the engine's version, the \
client), the comparison is refused and the key named; --despite KEY says that this difference is what you want to compare.

Examples:
  runner compare day003-a100 day003           newest runs of two experiments
  runner compare day003/monday day003/friday  two runs of one experiment
  runner compare awq bf16 --despite model --despite flags.quantization

In CI, this exits with 5 when the tail got slower:
  runner compare day003 baseline --fail-on 'p95_ttft_ms > +10%'";

pub(super) const IMPORT: &str = "\
Import what another tool measured, as a run to compare with.

Reads tables with one row per cell (CSV with columns such as concurrency, max_tokens, p95_e2e_ms, throughput_tok_s), \
results of `vllm bench serve`, folders of `vllm bench sweep serve`, GuideLLM's benchmarks.json and AIPerf's \
profile_export_aiperf.json. Values that a file does not contain stay absent, and everything is marked as imported.

Examples:
  runner import grid.csv --as journal --caveat 'Counts words.'
  runner import sweep-results/ --as sweep --gpu A100-40GB
  runner import c*/profile_export_aiperf.json --as aiperf --workload chat
  runner compare day003 journal --despite client";

pub(super) const EXPORT: &str = "\
Write every cell of stored runs as JSON Lines, for notebooks.

One flat object per line: the cell's axis and load values, the hardware, the outcome, and every number of its summary under \
the names of cells.csv. Absent numbers are null.

Examples:
  runner export day003 -o day003.jsonl
  runner export day003 journal | jq -s 'map(select(.concurrency == 8))'
  python -c \"import pandas; print(pandas.read_json('day003.jsonl', lines=True))\"";

pub(super) const RECIPE: &str = "\
Write the scripts that start the manifest's servers by hand.

Writes a serve.sh, quoted for a shell, and a config.yaml for `vllm serve --config`, for every distinct server. A run stores \
the same two files with each server's results.

Examples:
  runner recipe day003.toml
  runner recipe day003.toml --out deploy";

pub(super) const SIM: &str = "\
Serve the embedded engine: an OpenAI-compatible API without a GPU or vLLM.

A run starts it for a manifest with engine = \"sim\"; started by hand, it is a server to try a client with. It takes the \
command line of `vllm serve`. Its answers are simulated, and marked as such wherever they are shown.

Its own options, besides those of `vllm serve` (`runner schema` explains each, under SimScript and Faults):
  --sim-ttft 40ms  --sim-per-token 8ms  --sim-per-token-load 100us
  --sim-jitter 0.05  --sim-startup 300ms  --sim-kv-tokens 40000
  --sim-gpu H100  --sim-seed 1
  --sim-out-of-memory, --sim-crash, --sim-hang  at_request=20 or after=5s
  --sim-hang-at-start
  --sim-fault cut=0.1 crlf=1 …  share of answers with a fault
                                (an unknown name lists all)
  --sim-http-status 503         the status of the fault http_error

Examples:
  runner sim any/model --port 8000
  runner sim any/model --port 8000 --sim-fault http_error=0.05 stall=0.01";

pub(super) const INIT: &str = "\
Write a commented manifest to start from.

It explains every common key and runs anywhere, because it uses the embedded engine until you change one line. An existing \
file is never overwritten.

Examples:
  runner init
  runner init experiments/oom-surface.toml";

pub(super) const SCHEMA: &str = "\
Print the JSON Schema of manifests, for editors.

Examples:
  runner schema > runner.schema.json

Then put `#:schema ./runner.schema.json` on the first line of a manifest. Editors with a TOML language server then complete \
and check its keys.";

pub(super) const COMPLETIONS: &str = "\
Print shell completions.

Examples:
  runner completions bash > ~/.local/share/bash-completion/completions/runner
  runner completions zsh > ~/.zfunc/_runner
  runner completions fish > ~/.config/fish/completions/runner.fish";

pub(super) const MAN: &str = "\
Print the man page, or write the page of every command into a folder.

Examples:
  runner man | man -l -
  runner man ~/.local/share/man/man1";
