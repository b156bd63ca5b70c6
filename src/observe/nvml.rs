//! Reads GPU states from NVML, NVIDIA's management library, which comes with the driver and is loaded when a
//! run begins. Never tested on a real GPU.

use super::gpu_side::GpuState;

/// The driver's library, loaded.
pub(super) struct Nvml(nvml_wrapper::Nvml);

impl Nvml {
    /// Loads the library; `None` without library or driver, and in a static binary, which cannot load one.
    pub(super) fn load() -> Option<Self> {
        nvml_wrapper::Nvml::init().ok().map(Self)
    }

    pub(super) fn read(&self) -> Vec<GpuState> {
        let count = self.0.device_count().unwrap_or_default();
        (0..count)
            .filter_map(|index| {
                let device = self.0.device_by_index(index).ok()?;
                Some(GpuState {
                    index,
                    name: device.name().ok(),
                    memory_bytes: device.memory_info().ok().map(|memory| memory.used),
                    utilization: device.utilization_rates().ok().map(|rates| f64::from(rates.gpu) / 100.0),
                    power_w: device.power_usage().ok().map(|mw| f64::from(mw) / 1e3),
                    energy_j: device.total_energy_consumption().ok().map(|mj| mj as f64 / 1e3),
                    pids: device
                        .running_compute_processes()
                        .map(|processes| processes.iter().map(|process| process.pid).collect())
                        .unwrap_or_default(),
                })
            })
            .collect()
    }
}
