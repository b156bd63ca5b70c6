//! Reads the state of this machine's GPUs: from the driver's library, or from `nvidia-smi` where that cannot
//! be loaded.

#[cfg(target_os = "linux")]
use super::nvml::Nvml;
use super::{gpu_side::GpuState, nvidia_smi::NvidiaSmi};

pub(super) enum GpuDriver {
    /// The library: a call takes microseconds, and it counts energy.
    #[cfg(target_os = "linux")]
    Nvml(Box<Nvml>),
    /// The tool, for static binaries, which cannot load a library. Each call starts a process.
    NvidiaSmi(NvidiaSmi),
}

impl GpuDriver {
    /// Finds a driver; `None` where there is none, or it has no GPU.
    pub(super) async fn find(runner: Option<String>) -> Option<Self> {
        #[cfg(target_os = "linux")]
        if let Some(library) = Nvml::load() {
            return Some(Self::Nvml(Box::new(library)));
        }
        NvidiaSmi::find(runner).await.map(Self::NvidiaSmi)
    }

    pub(super) async fn read(&self) -> Vec<GpuState> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Nvml(library) => library.read(),
            Self::NvidiaSmi(tool) => tool.read().await,
        }
    }
}
