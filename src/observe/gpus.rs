//! Who is asked about the GPUs of this machine: the driver's library, or where it cannot be loaded the driver's own tool.

#[cfg(target_os = "linux")]
use super::nvml::Nvml;
use super::{gpu_side::GpuLook, nvidia_smi::NvidiaSmi};

/// What there is to ask.
pub(super) enum Gpus {
    /// A call of its library takes microseconds, and it counts energy.
    #[cfg(target_os = "linux")]
    Nvml(Box<Nvml>),
    /// A static binary can load no library; a look starts a process.
    NvidiaSmi(NvidiaSmi),
}

impl Gpus {
    /// `None` where there is neither, or no GPU behind it.
    pub(super) async fn find(runner: Option<String>) -> Option<Self> {
        #[cfg(target_os = "linux")]
        if let Some(library) = Nvml::load() {
            return Some(Self::Nvml(Box::new(library)));
        }
        NvidiaSmi::find(runner).await.map(Self::NvidiaSmi)
    }

    /// Looks at every GPU. What one of them does not tell is absent.
    pub(super) async fn look(&self) -> Vec<GpuLook> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Nvml(library) => library.look(),
            Self::NvidiaSmi(tool) => tool.look().await,
        }
    }
}
