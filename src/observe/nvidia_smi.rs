//! The driver's own tool, asked once a look. It counts no energy, so that energy is the integral of its power. Nothing of
//! this was tried on a real GPU: its lines are those that its manual shows.

use std::time::Duration;

use super::gpu_side::GpuLook;
use crate::server;

/// How long one question may take: a driver that hangs must not hold up the looks at everything else for ever.
const PATIENCE: Duration = Duration::from_secs(5);

const GPUS: &str = "--query-gpu=index,uuid,memory.used,utilization.gpu,power.draw,name";
const PROCESSES: &str = "--query-compute-apps=gpu_uuid,pid";
const FORMAT: &str = "--format=csv,noheader,nounits";

/// The tool, which has answered once.
pub(super) struct NvidiaSmi {
    program: String,
    /// This binary, which guards the tool; `None` asks without a guardian.
    runner: Option<String>,
}

impl NvidiaSmi {
    /// `None` where there is no such tool on the `PATH`, or it shows no GPU.
    pub(super) async fn find(runner: Option<String>) -> Option<Self> {
        Self::at("nvidia-smi".into(), runner).await
    }

    async fn at(program: String, runner: Option<String>) -> Option<Self> {
        let tool = Self { program, runner };
        let gpus = tool.ask(GPUS).await?;
        (!read(&gpus, "").is_empty()).then_some(tool)
    }

    /// Looks at every GPU. What one of them does not tell is absent.
    pub(super) async fn look(&self) -> Vec<GpuLook> {
        let (gpus, processes) = tokio::join!(self.ask(GPUS), self.ask(PROCESSES));
        read(&gpus.unwrap_or_default(), &processes.unwrap_or_default())
    }

    async fn ask(&self, question: &str) -> Option<String> {
        let words = [self.program.as_str(), question, FORMAT];
        let answer = server::answer(self.runner.as_deref(), PATIENCE, &words).await;
        answer.ok().flatten()
    }
}

/// A look from the tool's two answers. `[N/A]` and `[Not Supported]` are no numbers, and so absent.
fn read(gpus: &str, processes: &str) -> Vec<GpuLook> {
    let processes: Vec<(&str, u32)> = processes
        .lines()
        .filter_map(|line| {
            let (gpu, pid) = line.split_once(',')?;
            Some((gpu.trim(), pid.trim().parse().ok()?))
        })
        .collect();
    gpus.lines()
        .filter_map(|line| {
            // The name comes last: it may hold anything.
            let mut fields = line.splitn(6, ',').map(str::trim);
            let index = fields.next()?.parse().ok()?;
            let uuid = fields.next()?;
            let mut number = || fields.next()?.parse::<f64>().ok();
            Some(GpuLook {
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
    fn the_tools_lines_are_a_look_and_what_is_no_number_is_absent() {
        let looks = read(LINES, "GPU-bb, 41\nGPU-aa, 17\nGPU-aa, 18\n");
        assert_eq!(looks.len(), 2);
        assert_eq!(looks[0].memory_bytes, Some(14336 << 20));
        assert_eq!((looks[0].utilization, looks[0].power_w), (Some(0.87), Some(61.25)));
        assert_eq!(looks[0].pids, [17, 18]);
        assert_eq!(looks[0].name.as_deref(), Some("NVIDIA RTX 2000 Ada Generation"));
        assert_eq!((looks[1].utilization, looks[1].power_w), (None, None));
        assert_eq!(looks[1].pids, [41]);
    }

    #[test]
    fn what_is_no_line_of_the_tool_is_no_gpu() {
        let said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.";
        assert!(read(said, "").is_empty());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_tool_that_fails_or_is_missing_shows_nothing_and_one_that_answers_is_asked_again() {
        assert!(NvidiaSmi::at("/no/such/nvidia-smi".into(), None).await.is_none());
        assert!(NvidiaSmi::at("/bin/false".into(), None).await.is_none());
        let works = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/standin/driver/nvidia-smi");
        let tool = NvidiaSmi::at(works.into(), None).await.unwrap();
        assert_eq!(tool.look().await[1].pids, [41]);
    }
}
