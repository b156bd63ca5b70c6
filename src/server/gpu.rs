//! The GPUs of this machine, as the driver's own tool lists them.

use std::process::{Command, Stdio};

/// One GPU, as `nvidia-smi` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuSeen {
    /// Its name.
    pub name: String,
    /// Memory, MiB.
    pub memory_mib: Option<u64>,
    /// Version of the driver.
    pub driver: String,
}

/// The GPUs that can be seen; none where the driver's tool is absent.
pub fn seen_gpus() -> Vec<GpuSeen> {
    let output = Command::new("nvidia-smi")
        .args([
            "--query-gpu=name,memory.total,driver_version",
            "--format=csv,noheader,nounits",
        ])
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => read(&String::from_utf8_lossy(&output.stdout)),
        _ => Vec::new(),
    }
}

fn read(text: &str) -> Vec<GpuSeen> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(',').map(str::trim);
            Some(GpuSeen {
                name: fields.next().filter(|name| !name.is_empty())?.to_owned(),
                memory_mib: fields.next()?.parse().ok(),
                driver: fields.next()?.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_lines_are_read_and_an_unknown_memory_is_absent() {
        let gpus = read("NVIDIA H100 80GB HBM3, 81559, 550.54.15\nGPU, [N/A], 1\n\n");
        assert_eq!(gpus.len(), 2);
        assert_eq!(gpus[0].memory_mib, Some(81559));
        assert_eq!(gpus[1].memory_mib, None);
    }
}
