//! Servers to tune: models, GPUs, workloads and flags, each with every combination predicted.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use camino::Utf8Path;
use runner::{
    manifest::{Manifest, Overrides, SearchObjective},
    plan::{Cell, Goal, Group, Search, TuneAxis, plan},
    predict::{Assumptions, Placed, Placement, Setup},
    search::{Evidence, Ratio, Score},
};
use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const SEQS: &str = "[4, 8, 16, 32, 64, 128, 256, 512, 1024]";
const TOKENS: &str = "[512, 1024, 2048, 4096, 8192, 16384]";
const MEMORY: &str = "[0.5, 0.6, 0.7, 0.8, 0.9, 0.95]";

/// A server to tune.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    gpu: &'static str,
    model: &'static str,
    /// The server's other flags, as TOML.
    flags: &'static str,
    /// The workload, as TOML.
    workload: &'static str,
    /// Flags to tune and their values, as TOML.
    axes: &'static [(&'static str, &'static str)],
    objective: SearchObjective,
    /// Whether the method was chosen without looking at it.
    pub(crate) held_out: bool,
}

/// A scene whose combinations are all predicted.
pub(crate) struct Grid {
    pub(crate) search: Search,
    /// The values of each combination, and what it reaches.
    pub(crate) evidence: Vec<(Vec<Value>, Evidence)>,
}

pub(crate) const SCENES: [Scene; 16] = [
    Scene {
        name: "chat, Qwen2.5-7B on L4",
        gpu: "L4",
        model: "Qwen/Qwen2.5-7B-Instruct",
        flags: "max-model-len = 4096",
        workload: "synthetic = { input_tokens = { lognormal = { mean = 400, stddev = 300 } }, output_tokens = 120 }
            arrivals = 'poisson'
            rate = 4
            requests = 200
            slo = { p95_ttft = '2s', p95_tpot = '110ms' }",
        axes: &[("max-num-seqs", SEQS), ("max-num-batched-tokens", TOKENS), ("gpu-memory-utilization", MEMORY)],
        objective: SearchObjective::Goodput,
        held_out: false,
    },
    Scene {
        name: "chat, Llama-3.1-8B on A100 80GB",
        gpu: "A100 80GB",
        model: "meta-llama/Llama-3.1-8B-Instruct",
        flags: "max-model-len = 8192",
        workload: "synthetic = { input_tokens = 800, output_tokens = 150 }
            concurrency = 128
            requests = 512
            slo = { p95_ttft = '7s', p95_tpot = '65ms' }",
        axes: &[
            ("max-num-seqs", SEQS),
            ("max-num-batched-tokens", TOKENS),
            ("gpu-memory-utilization", "[0.3, 0.5, 0.7, 0.9]"),
            ("kv-cache-dtype", "['auto', 'fp8']"),
        ],
        objective: SearchObjective::Throughput,
        held_out: false,
    },
    Scene {
        name: "batch, Qwen2.5-32B on H100",
        gpu: "H100",
        model: "Qwen/Qwen2.5-32B-Instruct",
        flags: "max-model-len = 4096",
        workload: "synthetic = { input_tokens = 600, output_tokens = 200 }
            concurrency = 200
            requests = 400",
        axes: &[
            ("max-num-seqs", SEQS),
            ("max-num-batched-tokens", TOKENS),
            ("gpu-memory-utilization", "[0.85, 0.9, 0.95]"),
            ("kv-cache-dtype", "['auto', 'fp8']"),
        ],
        objective: SearchObjective::Throughput,
        held_out: false,
    },
    Scene {
        name: "batch, Qwen2.5-1.5B on T4",
        gpu: "T4",
        model: "Qwen/Qwen2.5-1.5B-Instruct",
        flags: "max-model-len = 4096\ndtype = 'float16'",
        workload: "synthetic = { input_tokens = { uniform = [100, 1500] }, output_tokens = { uniform = [50, 250] } }
            concurrency = 128
            requests = 384",
        axes: &[("max-num-seqs", SEQS), ("max-num-batched-tokens", TOKENS), ("gpu-memory-utilization", MEMORY)],
        objective: SearchObjective::Throughput,
        held_out: false,
    },
    Scene {
        name: "long prompts, Llama-3.1-8B on RTX 4090",
        gpu: "RTX 4090",
        model: "meta-llama/Llama-3.1-8B-Instruct",
        flags: "",
        workload: "synthetic = { input_tokens = { uniform = [1000, 5000] }, output_tokens = 100 }
            arrivals = 'poisson'
            rate = 2
            requests = 150
            slo = { p95_ttft = '3s', p95_tpot = '60ms' }",
        axes: &[
            ("max-num-seqs", "[4, 8, 16, 32, 64, 128]"),
            ("max-num-batched-tokens", TOKENS),
            ("gpu-memory-utilization", "[0.8, 0.85, 0.9, 0.95]"),
            ("max-model-len", "[8192, 16384, 32768]"),
        ],
        objective: SearchObjective::Goodput,
        held_out: false,
    },
    Scene {
        name: "chat, Qwen2.5-1.5B on RTX 2000 Ada",
        gpu: "RTX 2000 Ada",
        model: "Qwen/Qwen2.5-1.5B-Instruct",
        flags: "max-model-len = 4096",
        workload: "synthetic = { input_tokens = 300, output_tokens = 100 }
            concurrency = 64
            requests = 320
            slo = { p95_ttft = '1500ms', p95_tpot = '40ms' }",
        axes: &[("max-num-seqs", SEQS), ("max-num-batched-tokens", "[256, 512, 1024, 2048, 4096, 8192]")],
        objective: SearchObjective::Throughput,
        held_out: false,
    },
    Scene {
        name: "batch, Mistral-7B on A10G",
        gpu: "A10G",
        model: "mistralai/Mistral-7B-Instruct-v0.3",
        flags: "",
        workload: "synthetic = { input_tokens = 1200, output_tokens = 150 }
            concurrency = 96
            requests = 192",
        axes: &[
            ("max-num-seqs", "[8, 16, 32, 64, 128]"),
            ("max-num-batched-tokens", "[1024, 2048, 4096, 8192]"),
            ("gpu-memory-utilization", "[0.8, 0.85, 0.9, 0.95]"),
            ("max-model-len", "[4096, 8192, 16384]"),
            ("kv-cache-dtype", "['auto', 'fp8']"),
        ],
        objective: SearchObjective::Throughput,
        held_out: false,
    },
    Scene {
        name: "chat, Llama-3.1-70B on MI300X",
        gpu: "MI300X",
        model: "meta-llama/Llama-3.1-70B-Instruct",
        flags: "max-model-len = 8192",
        workload: "synthetic = { input_tokens = { lognormal = { mean = 700, stddev = 500 } }, output_tokens = 150 }
            arrivals = 'poisson'
            rate = 5
            requests = 200
            slo = { p95_ttft = '2500ms', p95_tpot = '110ms' }",
        axes: &[
            ("max-num-seqs", SEQS),
            ("max-num-batched-tokens", TOKENS),
            ("gpu-memory-utilization", "[0.8, 0.85, 0.9, 0.95]"),
        ],
        objective: SearchObjective::Goodput,
        held_out: false,
    },
    Scene {
        name: "shared prefix, Qwen3-4B on L4",
        gpu: "L4",
        model: "Qwen/Qwen3-4B",
        flags: "max-model-len = 8192",
        workload: "shared_prefix = { groups = 12, prefix_tokens = 1500, suffix_tokens = 200, output_tokens = 80 }
            concurrency = 48
            requests = 240
            slo = { p95_ttft = '6s' }",
        axes: &[
            ("max-num-seqs", "[4, 8, 16, 32, 64, 128]"),
            ("max-num-batched-tokens", TOKENS),
            ("gpu-memory-utilization", "[0.6, 0.7, 0.8, 0.9]"),
            ("enable-prefix-caching", "[false, true]"),
        ],
        objective: SearchObjective::Throughput,
        held_out: false,
    },
    Scene {
        name: "chat, Qwen2.5-14B on L40S",
        gpu: "L40S",
        model: "Qwen/Qwen2.5-14B-Instruct",
        flags: "max-model-len = 4096",
        workload: "synthetic = { input_tokens = 500, output_tokens = 120 }
            concurrency = 80
            requests = 320
            slo = { p95_ttft = '6s', p95_tpot = '90ms' }",
        axes: &[
            ("max-num-seqs", SEQS),
            ("max-num-batched-tokens", TOKENS),
            ("gpu-memory-utilization", "[0.7, 0.75, 0.8, 0.85, 0.9, 0.95]"),
        ],
        objective: SearchObjective::Throughput,
        held_out: true,
    },
    Scene {
        name: "batch, Qwen3-8B on A100 40GB",
        gpu: "A100 40GB",
        model: "Qwen/Qwen3-8B",
        flags: "",
        workload: "synthetic = { input_tokens = { lognormal = { mean = 900, stddev = 700 } }, output_tokens = { uniform = [50, 300] } }
            concurrency = 160
            requests = 480",
        axes: &[
            ("max-num-seqs", SEQS),
            ("max-num-batched-tokens", TOKENS),
            ("gpu-memory-utilization", "[0.6, 0.7, 0.8, 0.9]"),
            ("max-model-len", "[8192, 16384, 32768]"),
        ],
        objective: SearchObjective::Throughput,
        held_out: true,
    },
    Scene {
        name: "chat, Llama-3.2-3B on RTX 3090",
        gpu: "RTX 3090",
        model: "meta-llama/Llama-3.2-3B-Instruct",
        flags: "max-model-len = 8192",
        workload: "synthetic = { input_tokens = { uniform = [100, 900] }, output_tokens = 150 }
            arrivals = 'gamma'
            burstiness = 0.5
            rate = 12
            requests = 300
            slo = { p95_ttft = '1s', p95_tpot = '60ms' }",
        axes: &[("max-num-seqs", SEQS), ("max-num-batched-tokens", TOKENS), ("gpu-memory-utilization", MEMORY)],
        objective: SearchObjective::Goodput,
        held_out: true,
    },
    Scene {
        name: "batch, Qwen3-30B-A3B on H100",
        gpu: "H100",
        model: "Qwen/Qwen3-30B-A3B",
        flags: "max-model-len = 8192",
        workload: "synthetic = { input_tokens = 500, output_tokens = 150 }
            concurrency = 256
            requests = 512",
        axes: &[
            ("max-num-seqs", SEQS),
            ("max-num-batched-tokens", TOKENS),
            ("gpu-memory-utilization", "[0.8, 0.85, 0.9, 0.95]"),
        ],
        objective: SearchObjective::Throughput,
        held_out: true,
    },
    Scene {
        name: "documents, Qwen2.5-72B on H200",
        gpu: "H200",
        model: "Qwen/Qwen2.5-72B-Instruct",
        flags: "quantization = 'fp8'",
        workload: "synthetic = { input_tokens = { uniform = [2000, 6000] }, output_tokens = 80 }
            concurrency = 32
            requests = 128
            slo = { p95_ttft = '25s', p95_tpot = '250ms' }",
        axes: &[
            ("max-num-seqs", "[2, 4, 8, 16, 32, 64]"),
            ("max-num-batched-tokens", "[1024, 2048, 4096, 8192, 16384, 32768]"),
            ("gpu-memory-utilization", "[0.7, 0.8, 0.9, 0.95]"),
            ("kv-cache-dtype", "['auto', 'fp8']"),
        ],
        objective: SearchObjective::Throughput,
        held_out: true,
    },
    Scene {
        name: "chat, Qwen2.5-0.5B on L4",
        gpu: "L4",
        model: "Qwen/Qwen2.5-0.5B-Instruct",
        flags: "max-model-len = 4096",
        workload: "synthetic = { input_tokens = 250, output_tokens = 100 }
            concurrency = 200
            requests = 600
            slo = { p95_e2e = '5s' }",
        axes: &[("max-num-seqs", SEQS), ("max-num-batched-tokens", TOKENS)],
        objective: SearchObjective::Throughput,
        held_out: true,
    },
    Scene {
        name: "shared prefix, Llama-3.1-8B on RTX 4090",
        gpu: "RTX 4090",
        model: "meta-llama/Llama-3.1-8B-Instruct",
        flags: "max-model-len = 4096",
        workload: "shared_prefix = { groups = 6, prefix_tokens = 1000, suffix_tokens = { uniform = [50, 500] }, output_tokens = 100 }
            arrivals = 'poisson'
            rate = 9
            requests = 250
            slo = { p95_ttft = '1500ms', p95_tpot = '60ms' }",
        axes: &[
            ("max-num-seqs", "[4, 8, 16, 32, 64, 128]"),
            ("max-num-batched-tokens", TOKENS),
            ("gpu-memory-utilization", "[0.8, 0.85, 0.9, 0.95]"),
            ("enable-prefix-caching", "[false, true]"),
            ("kv-cache-dtype", "['auto', 'fp8']"),
        ],
        objective: SearchObjective::Goodput,
        held_out: true,
    },
];

impl Scene {
    /// The manifest that measures every combination.
    fn manifest(&self) -> String {
        let axes: Vec<String> =
            self.axes.iter().map(|(flag, values)| format!("server.flags.{flag} = {values}\n")).collect();
        format!(
            "[experiment]\nname = 'tune'\n[server]\nmodel = '{}'\n[server.flags]\n{}\n[sweep]\n{}[workload.w]\n{}\n",
            self.model,
            self.flags,
            axes.concat(),
            self.workload
        )
    }

    /// Predicts every combination.
    pub(crate) fn predict(&self) -> Result<Grid> {
        let folder = tempfile::tempdir()?;
        let path = Utf8Path::from_path(folder.path()).ok_or("a path that is not UTF-8")?.join("tune.toml");
        fs::write(&path, self.manifest())?;
        let (manifest, findings) = Manifest::load(&path, &Overrides::default());
        let manifest = manifest.ok_or_else(|| findings.render(false))?;
        let (planned, findings) = plan(&manifest);
        let planned = planned.ok_or_else(|| findings.render(false))?;
        let placements = Placement { gpu: Some(self.gpu), required: true, ..Placement::of(&manifest) };
        let placed = placements.place(&planned).placed;
        let setup = Setup { inputs: &manifest.inputs, assumed: Assumptions::default(), spill: folder.path() };
        let axes: Vec<TuneAxis> = self.axes.iter().map(|(flag, _)| axis(flag, &planned.groups)).collect();
        let evidence = on_all_cores(&planned.groups, |group| -> Result<_> {
            let values: Vec<Value> = axes.iter().map(|axis| group.axes[&axis.column].clone()).collect();
            let placed = placed.get(&group.id).ok_or("a server without a GPU")?;
            let evidence = self.evidence(group, placed, &setup)?;
            Ok((values, evidence))
        });
        let goal = Goal::Best { axes, objective: self.objective, starts: 0 };
        let search = Search {
            id: "tune".to_owned(),
            name: "tune".to_owned(),
            workload: None,
            server: None,
            axes: BTreeMap::new(),
            goal,
            expected: None,
        };
        Ok(Grid { search, evidence: evidence.into_iter().collect::<Result<_>>()? })
    }

    /// What a server reaches.
    fn evidence(&self, group: &Group, placed: &Placed, setup: &Setup<'_>) -> Result<Evidence> {
        let machine = match &placed.machine {
            Ok(machine) => machine,
            Err(misfit) => return Ok(Evidence::Fails { binding: misfit.to_string(), hint: None }),
        };
        // The same requests at the same times for every server, so that only the server makes a difference.
        let cell = &Cell { seed: 1, ..group.cells[0].clone() };
        let summary = setup.predict(cell, machine)?.summary;
        Ok(Evidence::Scored(Score {
            objective: match self.objective {
                SearchObjective::Goodput => summary.goodput_req_s,
                _ => summary.throughput_tok_s,
            },
            p95_ttft_ms: summary.ttft.as_ref().map(|ttft| ttft.p95_ms),
            throughput_tok_s: summary.throughput_tok_s,
            slo: Ratio::of(&summary, &cell.spec.slo),
        }))
    }
}

/// An axis of the plan with its values in the manifest's order.
fn axis(flag: &str, groups: &[Group]) -> TuneAxis {
    let column = flag.to_owned();
    let mut values: Vec<Value> = Vec::new();
    for value in groups.iter().filter_map(|group| group.axes.get(&column)) {
        if !values.contains(value) {
            values.push(value.clone());
        }
    }
    TuneAxis { axis: format!("server.flags.{flag}"), column, values }
}

/// Calls `work` for every item on all cores and returns the results in order.
pub(crate) fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let run = || {
        let take = || {
            let at = next.fetch_add(1, Relaxed);
            items.get(at).map(|item| (at, work(item)))
        };
        std::iter::from_fn(take).collect::<Vec<(usize, R)>>()
    };
    let mut all: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(run)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no work panics")).collect()
    });
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, result)| result).collect()
}
