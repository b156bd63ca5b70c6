//! Reads GPU states from `nvidia-smi`. It counts no energy, so energy is integrated from power. Never tested
//! on a real GPU: the format of its lines is that of its manual.

use std::time::Duration;

use super::gpu_side::GpuState;
use crate::server::capture;

/// Timeout of one call: a driver that hangs must not stop all other observations.
const TIMEOUT: Duration = Duration::from_secs(5);

const GPUS: &str = "--query-gpu=index,uuid,memory.used,utilization.gpu,power.draw,name";
const PROCESSES: &str = "--query-compute-apps=gpu_uuid,pid";
const FORMAT: &str = "--format=csv,noheader,nounits";

/// The tool, which has worked once.
pub(super) struct NvidiaSmi {
    program: String,
    /// Path of this binary, which guards the tool; `None` runs it without a guardian.
    runner: Option<String>,
}

impl NvidiaSmi {
    /// Finds the tool on the `PATH`; `None` where it is absent or lists no GPU.
    pub(super) async fn find(runner: Option<String>) -> Option<Self> {
        Self::at("nvidia-smi".into(), runner).await
    }

    async fn at(program: String, runner: Option<String>) -> Option<Self> {
        let tool = Self { program, runner };
        let gpus = tool.query(GPUS).await?;
        (!parse(&gpus, "").is_empty()).then_some(tool)
    }

    pub(super) async fn read(&self) -> Vec<GpuState> {
        let (gpus, processes) = tokio::join!(self.query(GPUS), self.query(PROCESSES));
        parse(&gpus.unwrap_or_default(), &processes.unwrap_or_default())
    }

    async fn query(&self, option: &str) -> Option<String> {
        capture(self.runner.as_deref(), TIMEOUT, &[&self.program, option, FORMAT]).await.ok()
    }
}

/// Parses the lists of GPUs and of processes. `[N/A]` and `[Not Supported]` are no numbers, and so absent.
fn parse(gpus: &str, processes: &str) -> Vec<GpuState> {
    let processes: Vec<(&str, u32)> = processes
        .lines()
        .filter_map(|line| {
            let (gpu, pid) = line.split_once(',')?;
            Some((gpu.trim(), pid.trim().parse().ok()?))
        })
        .collect();
    gpus.lines()
        .filter_map(|line| {
            // The name comes last because it may contain commas.
            let mut fields = line.splitn(6, ',').map(str::trim);
            let index = fields.next()?.parse().ok()?;
            let uuid = fields.next()?;
            let mut number = || fields.next()?.parse::<f64>().ok();
            Some(GpuState {
                index,
                memory_bytes: number().map(|mib| (mib * f64::from(1 << 20)) as u64),
                utilization: number().map(|percent| percent / 100.0),
                power_w: number(),
                energy_j: None,
                pids: processes.iter().filter(|(gpu, _)| *gpu == uuid).map(|(_, pid)| *pid).collect(),
                name: fields.next().map(str::to_owned),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "0, GPU-aa, 14336, 87, 61.25, NVIDIA RTX 2000 Ada Generation\n1, GPU-bb, 4, [N/A], [Not Supported], Tesla T4\n";

    #[test]
    fn lines_of_the_tool_are_read_and_missing_numbers_are_absent() {
        let gpus = parse(LINES, "GPU-bb, 41\nGPU-aa, 17\nGPU-aa, 18\n");
        assert_eq!(gpus.len(), 2);
        assert_eq!(gpus[0].memory_bytes, Some(14336 << 20));
        assert_eq!((gpus[0].utilization, gpus[0].power_w), (Some(0.87), Some(61.25)));
        assert_eq!(gpus[0].pids, [17, 18]);
        assert_eq!(gpus[0].name.as_deref(), Some("NVIDIA RTX 2000 Ada Generation"));
        assert_eq!((gpus[1].utilization, gpus[1].power_w), (None, None));
        assert_eq!(gpus[1].pids, [41]);
    }

    #[test]
    fn an_error_message_is_no_gpu() {
        let message = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.";
        assert!(parse(message, "").is_empty());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_tool_that_fails_or_is_missing_is_not_found() {
        assert!(NvidiaSmi::at("/no/such/nvidia-smi".into(), None).await.is_none());
        assert!(NvidiaSmi::at("/bin/false".into(), None).await.is_none());
        let works = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/standin/driver/nvidia-smi");
        let tool = NvidiaSmi::at(works.into(), None).await.unwrap();
        assert_eq!(tool.read().await[1].pids, [41]);
    }
}
