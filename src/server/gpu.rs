//! Detects the GPUs of this machine with the driver's own tool.

use std::time::Duration;

use super::process::{CaptureError, capture};

/// Timeout of `nvidia-smi`: a driver that hangs must not hang the runner.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One GPU as `nvidia-smi` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectedGpu {
    /// Its name.
    pub name: String,
    /// Memory, MiB.
    pub memory_mib: Option<u64>,
    /// Memory in use at the time of the call, MiB.
    pub used_mib: Option<u64>,
    /// Version of the driver.
    pub driver: String,
}

/// `nvidia-smi` is there but gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "nvidia-smi: {0}, so the GPUs of this run are unknown; try `nvidia-smi` by hand: a driver that hangs needs a reboot"
)]
pub struct DetectGpusError(CaptureError);

const QUERY: [&str; 3] = [
    "nvidia-smi",
    "--query-gpu=name,memory.total,driver_version,memory.used",
    "--format=csv,noheader,nounits",
];

/// Lists the GPUs of this machine; none where `nvidia-smi` is absent or fails. `runner` is the path of this
/// binary, which guards the tool.
///
/// # Errors
/// When the tool hangs or floods its output.
pub async fn detect_gpus(runner: &str) -> Result<Vec<DetectedGpu>, DetectGpusError> {
    match capture(Some(runner), TIMEOUT, &QUERY).await {
        Ok(text) => Ok(read(&text)),
        Err(CaptureError::CannotRun(_) | CaptureError::Failed { .. }) => Ok(Vec::new()),
        Err(error) => Err(DetectGpusError(error)),
    }
}

/// Memory in use on every GPU, MiB; empty where that cannot be known.
pub(super) async fn used_mib(runner: &str) -> Vec<u64> {
    let gpus = detect_gpus(runner).await.unwrap_or_default();
    let used: Option<Vec<u64>> = gpus.iter().map(|gpu| gpu.used_mib).collect();
    used.unwrap_or_default()
}

fn read(text: &str) -> Vec<DetectedGpu> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(',').map(str::trim);
            Some(DetectedGpu {
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
    fn lines_of_the_tool_are_read_and_unknown_memory_is_absent() {
        let gpus = read("NVIDIA H100 80GB HBM3, 81559, 550.54.15, 4\nGPU, [N/A], 1, [N/A]\n\n");
        assert_eq!(gpus.len(), 2);
        assert_eq!(gpus[0].memory_mib, Some(81559));
        assert_eq!(gpus[0].used_mib, Some(4));
        assert_eq!(gpus[1].memory_mib, None);
        assert_eq!(gpus[1].used_mib, None);
    }
}
