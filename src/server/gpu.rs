//! The GPUs of this machine, as the driver's own tool lists them.

use std::time::Duration;

use super::asker::answer;

/// How long the driver's tool may take; a hanging driver must not hang the runner.
const PATIENCE: Duration = Duration::from_secs(10);

/// One GPU, as `nvidia-smi` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuSeen {
    /// Its name.
    pub name: String,
    /// Memory, MiB.
    pub memory_mib: Option<u64>,
    /// Memory in use when it was looked at, MiB.
    pub used_mib: Option<u64>,
    /// Version of the driver.
    pub driver: String,
}

const QUERY: [&str; 3] = [
    "nvidia-smi",
    "--query-gpu=name,memory.total,driver_version,memory.used",
    "--format=csv,noheader,nounits",
];

/// The GPUs that can be seen; none where the driver's tool is absent. `runner` is this binary, which guards the tool.
///
/// # Errors
/// What the tool did instead of answering, as a sentence.
pub async fn seen_gpus(runner: &str) -> Result<Vec<GpuSeen>, String> {
    match answer(Some(runner), PATIENCE, &QUERY).await {
        Ok(text) => Ok(read(&text.unwrap_or_default())),
        Err(reason) => Err(format!(
            "nvidia-smi: {reason}, so this run does not know its GPUs; see what `nvidia-smi` does by hand: a driver that hangs needs a reboot"
        )),
    }
}

/// Memory in use on every GPU, MiB; empty where that cannot be known.
pub(super) async fn used_mib(runner: &str) -> Vec<u64> {
    let gpus = seen_gpus(runner).await.unwrap_or_default();
    let used: Option<Vec<u64>> = gpus.iter().map(|gpu| gpu.used_mib).collect();
    used.unwrap_or_default()
}

fn read(text: &str) -> Vec<GpuSeen> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(',').map(str::trim);
            Some(GpuSeen {
                name: fields.next().filter(|name| !name.is_empty())?.to_owned(),
                memory_mib: fields.next()?.parse().ok(),
                driver: fields.next()?.to_owned(),
                used_mib: fields.next().and_then(|field| field.parse().ok()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_lines_are_read_and_an_unknown_memory_is_absent() {
        let gpus = read("NVIDIA H100 80GB HBM3, 81559, 550.54.15, 4\nGPU, [N/A], 1, [N/A]\n\n");
        assert_eq!(gpus.len(), 2);
        assert_eq!(gpus[0].memory_mib, Some(81559));
        assert_eq!(gpus[0].used_mib, Some(4));
        assert_eq!(gpus[1].memory_mib, None);
        assert_eq!(gpus[1].used_mib, None);
    }
}
