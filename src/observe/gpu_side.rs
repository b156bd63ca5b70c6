//! What the GPUs did, from looks at them.

use serde::{Deserialize, Serialize};

/// One look at one GPU. Absent is what its driver does not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct GpuLook {
    /// Its number, as the driver counts.
    pub(super) index: u32,
    pub(super) name: Option<String>,
    /// Memory in use, bytes.
    pub(super) memory_bytes: Option<u64>,
    /// Part of the last sampling period in which a kernel ran, 0 to 1.
    pub(super) utilization: Option<f64>,
    pub(super) power_w: Option<f64>,
    /// Energy since the driver was loaded, joules.
    pub(super) energy_j: Option<f64>,
    /// Processes that compute on it; empty inside many containers, where the driver cannot tell.
    pub(super) pids: Vec<u32>,
}

/// Every GPU, at one instant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GpuLooks {
    /// Seconds since the first look of the repeat.
    pub(super) t_s: f64,
    pub(super) gpus: Vec<GpuLook>,
}

/// What one GPU did while a repeat ran. Absent is what its driver does not tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuSide {
    /// Its number, as the driver counts.
    pub index: u32,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the server computes on it; absent where the driver does not show whose processes run there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by_server: Option<bool>,
    /// Largest memory in use that was seen, bytes, whoever used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// Mean over the looks of the part of the time in which a kernel ran, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
    /// Energy over the time that passed, watts; the mean of the looks where the driver counts no energy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_mean_w: Option<f64>,
    /// Largest power that was seen, watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_peak_w: Option<f64>,
    /// Energy from the first look to the last, joules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_j: Option<f64>,
    /// Where the energy comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_from: Option<EnergyFrom>,
}

/// Where an energy comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnergyFrom {
    /// The driver's own counter, which misses nothing between two looks.
    Counter,
    /// Power between the looks, by the trapezoidal rule: only as good as they are close.
    Power,
}

impl GpuSide {
    /// One for every GPU, from looks in the order of time; `server` are the server's processes.
    pub(super) fn of(looks: &[GpuLooks], server: &[u32]) -> Vec<Self> {
        let Some(first) = looks.first() else {
            return Vec::new();
        };
        // A driver that shows no process anywhere shows none of ours: then whose a GPU is cannot be told.
        let tells = looks
            .iter()
            .flat_map(|look| &look.gpus)
            .any(|gpu| gpu.pids.iter().any(|pid| server.contains(pid)));
        first
            .gpus
            .iter()
            .map(|gpu| {
                let series: Vec<(f64, &GpuLook)> = looks
                    .iter()
                    .filter_map(|look| {
                        let same = look.gpus.iter().find(|other| other.index == gpu.index)?;
                        Some((look.t_s, same))
                    })
                    .collect();
                Self::one(gpu, &series, tells.then_some(server))
            })
            .collect()
    }

    fn one(gpu: &GpuLook, series: &[(f64, &GpuLook)], server: Option<&[u32]>) -> Self {
        let known = |get: fn(&GpuLook) -> Option<f64>| -> Vec<(f64, f64)> {
            series.iter().filter_map(|(t, look)| Some((*t, get(look)?))).collect()
        };
        let power = known(|look| look.power_w);
        let counted = match known(|look| look.energy_j).as_slice() {
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
                series.iter().any(|(_, look)| look.pids.iter().any(|pid| server.contains(pid)))
            }),
            memory_peak_bytes: series.iter().filter_map(|(_, look)| look.memory_bytes).max(),
            utilization: mean(&known(|look| look.utilization)),
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

    /// The same GPU in two repeats, which took so many seconds.
    pub(super) fn pool(&self, spans_s: (f64, f64), other: &Self) -> Self {
        let weighed = |a: Option<f64>, b: Option<f64>| {
            Some((a? * spans_s.0 + b? * spans_s.1) / (spans_s.0 + spans_s.1))
        };
        let used = [self.used_by_server, other.used_by_server];
        Self {
            index: self.index,
            name: self.name.clone(),
            used_by_server: used.into_iter().flatten().max(),
            memory_peak_bytes: self.memory_peak_bytes.max(other.memory_peak_bytes),
            utilization: weighed(self.utilization, other.utilization),
            power_mean_w: weighed(self.power_mean_w, other.power_mean_w),
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

    fn looks(each: &[(f64, GpuLook)]) -> Vec<GpuLooks> {
        each.iter().map(|(t_s, gpu)| GpuLooks { t_s: *t_s, gpus: vec![gpu.clone()] }).collect()
    }

    fn look(energy_j: Option<f64>, power_w: f64, memory: u64, pid: u32) -> GpuLook {
        GpuLook {
            energy_j,
            power_w: Some(power_w),
            memory_bytes: Some(memory),
            utilization: Some(0.5),
            pids: vec![pid],
            ..GpuLook::default()
        }
    }

    #[test]
    fn the_drivers_own_count_of_energy_goes_before_the_integral_of_power() {
        let looks = looks(&[
            (0.0, look(Some(1000.0), 100.0, 5, 7)),
            (1.0, look(Some(1250.0), 300.0, 9, 7)),
            (2.0, look(Some(1400.0), 100.0, 6, 7)),
        ]);
        let sides = GpuSide::of(&looks, &[7]);
        let gpu = &sides[0];
        assert_eq!((gpu.energy_j, gpu.energy_from), (Some(400.0), Some(EnergyFrom::Counter)));
        assert_eq!((gpu.power_mean_w, gpu.power_peak_w), (Some(200.0), Some(300.0)));
        assert_eq!((gpu.memory_peak_bytes, gpu.utilization), (Some(9), Some(0.5)));
        assert_eq!(gpu.used_by_server, Some(true));
        assert_eq!(gpu.pool((2.0, 2.0), gpu).energy_j, Some(800.0));
    }

    #[test]
    fn without_a_counter_power_is_integrated_and_said_so() {
        let looks = looks(&[(0.0, look(None, 100.0, 5, 1)), (2.0, look(None, 300.0, 5, 1))]);
        let sides = GpuSide::of(&looks, &[7]);
        assert_eq!((sides[0].energy_j, sides[0].energy_from), (Some(400.0), Some(EnergyFrom::Power)));
        // Other processes are shown, ours nowhere: whose it is cannot be told.
        assert_eq!(sides[0].used_by_server, None);
    }

    #[test]
    fn what_a_driver_does_not_tell_is_absent() {
        let looks = looks(&[(0.0, GpuLook::default()), (1.0, GpuLook::default())]);
        let sides = GpuSide::of(&looks, &[]);
        let gpu = &sides[0];
        assert_eq!((gpu.energy_j, gpu.power_mean_w, gpu.energy_from), (None, None, None));
        assert_eq!((gpu.memory_peak_bytes, gpu.utilization), (None, None));
        assert!(GpuSide::of(&[], &[]).is_empty());
    }
}
