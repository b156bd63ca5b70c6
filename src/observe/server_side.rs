//! The stored result of observing a server during a repeat, and how repeats are pooled.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{engine_side::EngineSide, gpu_side::GpuSide, process_side::ProcessSide, snapshot::GaugePoint};

/// Observations of the server during one repeat, or during a cell's pooled repeats; warm-up included.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerSide {
    /// Observed time, seconds.
    pub span_s: f64,
    /// What scraping cost.
    pub scraping: Option<Scraping>,
    /// The engine's own metrics.
    pub engine: Option<EngineSide>,
    /// Processor time and memory of its processes; absent for an attached server.
    pub process: Option<ProcessSide>,
    /// Each GPU; empty where none is found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuSide>,
    /// Why something is absent, as sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
    /// The engine's gauges over time in the last repeat, at most sixty points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<GaugePoint>,
}

/// How often `/metrics` was scraped, and how long that took.
#[skip_serializing_none]
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scraping {
    /// Seconds between two scrapes while requests ran; 0 without such scrapes.
    pub every_s: f64,
    /// Successful scrapes.
    pub scrapes: u32,
    /// Failed scrapes.
    pub failed: u32,
    /// Mean time until the whole page had arrived, milliseconds; absent without a successful scrape.
    pub mean_ms: Option<f64>,
    /// The longest such time, milliseconds.
    pub max_ms: Option<f64>,
}

impl ServerSide {
    /// Pools repeats; `None` when there are none. What one repeat lacks is unknown for all.
    pub fn pool(repeats: &[Self]) -> Option<Self> {
        let (first, rest) = repeats.split_first()?;
        Some(rest.iter().fold(first.clone(), |all, next| all.pool_with(next)))
    }

    fn pool_with(&self, other: &Self) -> Self {
        let spans = (self.span_s, other.span_s);
        let mut absent = self.absent.clone();
        absent.extend(other.absent.iter().filter(|reason| !self.absent.contains(reason)).cloned());
        Self {
            span_s: spans.0 + spans.1,
            scraping: self.scraping.zip(other.scraping).map(|(a, b)| a.pool_with(&b)),
            engine: self.engine.as_ref().zip(other.engine.as_ref()).map(|(a, b)| a.pool(b)),
            process: self.process.zip(other.process).map(|(a, b)| a.pool(spans, &b)),
            gpus: self
                .gpus
                .iter()
                .filter_map(|gpu| {
                    let same = other.gpus.iter().find(|other| other.index == gpu.index)?;
                    Some(gpu.pool(spans, same))
                })
                .collect(),
            absent,
            timeline: other.timeline.clone(),
        }
    }

    /// Energy of the GPUs that the server used, joules; of all GPUs where it is unknown which it used. Absent
    /// when there are none, or the energy of one is unknown.
    pub fn gpu_energy_j(&self) -> Option<f64> {
        let used: Vec<&GpuSide> = self.gpus.iter().filter(|gpu| gpu.used_by_server != Some(false)).collect();
        let energies: Option<Vec<f64>> = used.iter().map(|gpu| gpu.energy_j).collect();
        energies.filter(|energies| !energies.is_empty()).map(|energies| energies.iter().sum())
    }
}

impl Scraping {
    fn pool_with(&self, other: &Self) -> Self {
        let scrapes = self.scrapes + other.scrapes;
        let total = |side: &Self| side.mean_ms.map(|mean| mean * f64::from(side.scrapes));
        let sums: Vec<f64> = [total(self), total(other)].into_iter().flatten().collect();
        Self {
            every_s: self.every_s,
            scrapes,
            failed: self.failed + other.failed,
            mean_ms: (!sums.is_empty()).then(|| sums.iter().sum::<f64>() / f64::from(scrapes)),
            max_ms: [self.max_ms, other.max_ms].into_iter().flatten().max_by(f64::total_cmp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(span_s: f64, scrapes: u32, mean_ms: Option<f64>, absent: &str) -> ServerSide {
        ServerSide {
            span_s,
            scraping: Some(Scraping { every_s: 1.0, scrapes, failed: 0, mean_ms, max_ms: mean_ms }),
            absent: vec![absent.into()],
            ..ServerSide::default()
        }
    }

    #[test]
    fn repeats_add_up_and_reasons_are_listed_once() {
        let pooled =
            ServerSide::pool(&[side(1.0, 1, Some(2.0), "no GPU"), side(2.0, 3, Some(6.0), "no GPU")])
                .unwrap();
        assert_eq!((pooled.span_s, pooled.absent), (3.0, vec!["no GPU".into()]));
        let scraping = pooled.scraping.unwrap();
        assert_eq!((scraping.scrapes, scraping.mean_ms, scraping.max_ms), (4, Some(5.0), Some(6.0)));
        assert_eq!(ServerSide::pool(&[]), None);
    }

    #[test]
    fn energy_is_that_of_the_servers_gpus_and_unknown_when_one_is_unknown() {
        let gpu = |index, used_by_server, energy_j| GpuSide {
            index,
            name: None,
            used_by_server,
            memory_peak_bytes: None,
            utilization: None,
            power_mean_w: None,
            power_peak_w: None,
            energy_j,
            energy_from: None,
        };
        let with = |gpus| ServerSide { gpus, ..ServerSide::default() };
        let some = with(vec![gpu(0, Some(true), Some(5.0)), gpu(1, Some(false), Some(9.0))]);
        assert_eq!(some.gpu_energy_j(), Some(5.0));
        let all = with(vec![gpu(0, None, Some(5.0)), gpu(1, None, Some(9.0))]);
        assert_eq!(all.gpu_energy_j(), Some(14.0));
        assert_eq!(with(vec![gpu(0, None, None)]).gpu_energy_j(), None);
        assert_eq!(with(Vec::new()).gpu_energy_j(), None);
    }
}
