//! What the GPUs did during a repeat, from samples of their state.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// The state of one GPU at one instant. What its driver does not report is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct GpuState {
    /// Its index, as the driver counts.
    pub(super) index: u32,
    pub(super) name: Option<String>,
    /// Memory in use, bytes.
    pub(super) memory_bytes: Option<u64>,
    /// Part of the last sampling period in which a kernel ran, 0 to 1.
    pub(super) utilization: Option<f64>,
    pub(super) power_w: Option<f64>,
    /// Energy since the driver was loaded, joules.
    pub(super) energy_j: Option<f64>,
    /// PIDs of the processes that compute on it; empty in many containers, where the driver cannot see them.
    pub(super) pids: Vec<u32>,
}

/// The state of every GPU at one instant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GpuSample {
    /// Seconds since the first sample of the repeat.
    pub(super) t_s: f64,
    pub(super) gpus: Vec<GpuState>,
}

/// What one GPU did during a repeat. What its driver does not report is absent.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuSide {
    /// Its index, as the driver counts.
    pub index: u32,
    /// Its name.
    pub name: Option<String>,
    /// Whether the server computes on it; absent where the driver does not show the processes on it.
    pub used_by_server: Option<bool>,
    /// Peak memory in use by any process, bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Part of the time in which a kernel ran, 0 to 1; mean over the samples.
    pub utilization: Option<f64>,
    /// Mean power, watts: energy divided by time, or the mean over the samples where the driver counts no
    /// energy.
    pub power_mean_w: Option<f64>,
    /// Peak power, watts.
    pub power_peak_w: Option<f64>,
    /// Energy from the first sample to the last, joules.
    pub energy_j: Option<f64>,
    /// Where the energy comes from.
    pub energy_from: Option<EnergyFrom>,
}

/// Where an energy comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnergyFrom {
    /// The driver's own counter, which covers the time between samples.
    Counter,
    /// Power integrated by the trapezoidal rule, which misses changes between samples.
    Power,
}

impl GpuSide {
    /// Summarizes every GPU from samples in order of time. `server` has the PIDs of the server's processes.
    pub(super) fn summarize(samples: &[GpuSample], server: &[u32]) -> Vec<Self> {
        let Some(first) = samples.first() else {
            return Vec::new();
        };
        // A driver that shows none of the server's processes on any GPU does not show them at all.
        let shows_processes = samples
            .iter()
            .flat_map(|sample| &sample.gpus)
            .any(|gpu| gpu.pids.iter().any(|pid| server.contains(pid)));
        first
            .gpus
            .iter()
            .map(|gpu| {
                let series: Vec<(f64, &GpuState)> = samples
                    .iter()
                    .filter_map(|sample| {
                        let same = sample.gpus.iter().find(|other| other.index == gpu.index)?;
                        Some((sample.t_s, same))
                    })
                    .collect();
                Self::from_series(gpu, &series, shows_processes.then_some(server))
            })
            .collect()
    }

    fn from_series(gpu: &GpuState, series: &[(f64, &GpuState)], server: Option<&[u32]>) -> Self {
        let known = |get: fn(&GpuState) -> Option<f64>| -> Vec<(f64, f64)> {
            series.iter().filter_map(|(t, state)| Some((*t, get(state)?))).collect()
        };
        let power = known(|state| state.power_w);
        let counted = match known(|state| state.energy_j).as_slice() {
            [(_, from), .., (_, to)] if to >= from => Some(to - from),
            _ => None,
        };
        let integral = (power.len() > 1).then(|| {
            power.windows(2).map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0).sum()
        });
        let span = match series {
            [(from, _), .., (to, _)] if to > from => Some(to - from),
            _ => None,
        };
        let mean = |values: &[(f64, f64)]| {
            (!values.is_empty())
                .then(|| values.iter().map(|(_, value)| value).sum::<f64>() / values.len() as f64)
        };
        Self {
            index: gpu.index,
            name: gpu.name.clone(),
            used_by_server: server.map(|server| {
                series.iter().any(|(_, state)| state.pids.iter().any(|pid| server.contains(pid)))
            }),
            memory_peak_bytes: series.iter().filter_map(|(_, state)| state.memory_bytes).max(),
            utilization: mean(&known(|state| state.utilization)),
            power_mean_w: counted.zip(span).map(|(energy, span)| energy / span).or_else(|| mean(&power)),
            power_peak_w: power.iter().map(|(_, value)| *value).max_by(f64::total_cmp),
            energy_j: counted.or(integral),
            energy_from: match (counted, integral) {
                (Some(_), _) => Some(EnergyFrom::Counter),
                (None, Some(_)) => Some(EnergyFrom::Power),
                (None, None) => None,
            },
        }
    }

    /// Pools the same GPU in two repeats, whose durations are `spans_s` seconds.
    pub(super) fn pool(&self, spans_s: (f64, f64), other: &Self) -> Self {
        let weighted = |a: Option<f64>, b: Option<f64>| {
            Some((a? * spans_s.0 + b? * spans_s.1) / (spans_s.0 + spans_s.1))
        };
        let used = [self.used_by_server, other.used_by_server];
        Self {
            index: self.index,
            name: self.name.clone(),
            used_by_server: used.into_iter().flatten().max(),
            memory_peak_bytes: self.memory_peak_bytes.max(other.memory_peak_bytes),
            utilization: weighted(self.utilization, other.utilization),
            power_mean_w: weighted(self.power_mean_w, other.power_mean_w),
            power_peak_w: [self.power_peak_w, other.power_peak_w]
                .into_iter()
                .flatten()
                .max_by(f64::total_cmp),
            energy_j: self.energy_j.zip(other.energy_j).map(|(a, b)| a + b),
            energy_from: match (self.energy_from, other.energy_from) {
                (Some(EnergyFrom::Counter), Some(EnergyFrom::Counter)) => Some(EnergyFrom::Counter),
                (Some(_), Some(_)) => Some(EnergyFrom::Power),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(each: &[(f64, GpuState)]) -> Vec<GpuSample> {
        each.iter().map(|(t_s, gpu)| GpuSample { t_s: *t_s, gpus: vec![gpu.clone()] }).collect()
    }

    fn state(energy_j: Option<f64>, power_w: f64, memory: u64, pid: u32) -> GpuState {
        GpuState {
            energy_j,
            power_w: Some(power_w),
            memory_bytes: Some(memory),
            utilization: Some(0.5),
            pids: vec![pid],
            ..GpuState::default()
        }
    }

    #[test]
    fn the_drivers_energy_counter_takes_precedence_over_integrated_power() {
        let samples = samples(&[
            (0.0, state(Some(1000.0), 100.0, 5, 7)),
            (1.0, state(Some(1250.0), 300.0, 9, 7)),
            (2.0, state(Some(1400.0), 100.0, 6, 7)),
        ]);
        let sides = GpuSide::summarize(&samples, &[7]);
        let gpu = &sides[0];
        assert_eq!((gpu.energy_j, gpu.energy_from), (Some(400.0), Some(EnergyFrom::Counter)));
        assert_eq!((gpu.power_mean_w, gpu.power_peak_w), (Some(200.0), Some(300.0)));
        assert_eq!((gpu.memory_peak_bytes, gpu.utilization), (Some(9), Some(0.5)));
        assert_eq!(gpu.used_by_server, Some(true));
        assert_eq!(gpu.pool((2.0, 2.0), gpu).energy_j, Some(800.0));
    }

    #[test]
    fn without_a_counter_power_is_integrated() {
        let samples = samples(&[(0.0, state(None, 100.0, 5, 1)), (2.0, state(None, 300.0, 5, 1))]);
        let sides = GpuSide::summarize(&samples, &[7]);
        assert_eq!((sides[0].energy_j, sides[0].energy_from), (Some(400.0), Some(EnergyFrom::Power)));
        // The driver shows other processes but none of the server's.
        assert_eq!(sides[0].used_by_server, None);
    }

    #[test]
    fn what_a_driver_does_not_report_is_absent() {
        let samples = samples(&[(0.0, GpuState::default()), (1.0, GpuState::default())]);
        let sides = GpuSide::summarize(&samples, &[]);
        let gpu = &sides[0];
        assert_eq!((gpu.energy_j, gpu.power_mean_w, gpu.energy_from), (None, None, None));
        assert_eq!((gpu.memory_peak_bytes, gpu.utilization), (None, None));
        assert!(GpuSide::summarize(&[], &[]).is_empty());
    }
}
