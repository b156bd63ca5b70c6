//! What is kept of one repeat's observation, and how repeats become one.

use serde::{Deserialize, Serialize};

use super::{engine_side::EngineSide, gpu_side::GpuSide, process_side::ProcessSide};

/// The server's side of one repeat, or of a cell's pooled repeats, warm-up included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerSide {
    /// Seconds that were observed.
    pub span_s: f64,
    /// What asking for it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scraping: Option<Scraping>,
    /// What the engine's own metrics say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineSide>,
    /// What its processes used; absent for an attached server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessSide>,
    /// What each GPU did; empty where none can be seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuSide>,
    /// Why something is not here, as sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
    /// The engine's gauges over time, of the last repeat, at most sixty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<GaugePoint>,
}

/// How often `/metrics` was asked, and how long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scraping {
    /// Seconds between two scrapes while requests ran; 0 when there were none in between.
    pub every_s: f64,
    /// Scrapes that were answered.
    pub scrapes: u32,
    /// Scrapes that were not.
    pub failed: u32,
    /// Mean time until the whole page was there, milliseconds; absent when none was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_ms: Option<f64>,
    /// The longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<f64>,
}

/// The engine's gauges in one scrape.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GaugePoint {
    /// Seconds since the first scrape of the repeat.
    pub t_s: f64,
    /// Requests that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<f64>,
    /// Requests that waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<f64>,
    /// Part of the KV cache in use, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_usage: Option<f64>,
}

impl ServerSide {
    /// Several repeats as one; `None` when there are none. What one of them lacks is unknown of all.
    pub fn pool(repeats: &[Self]) -> Option<Self> {
        let (first, rest) = repeats.split_first()?;
        Some(rest.iter().fold(first.clone(), |all, next| all.with(next)))
    }

    fn with(&self, other: &Self) -> Self {
        let spans = (self.span_s, other.span_s);
        let mut absent = self.absent.clone();
        absent.extend(other.absent.iter().filter(|reason| !self.absent.contains(reason)).cloned());
        Self {
            span_s: spans.0 + spans.1,
            scraping: self.scraping.zip(other.scraping).map(|(a, b)| a.with(&b)),
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

    /// Energy of the GPUs that the server used, joules; of all of them where it cannot be told which it used. Absent
    /// when there are none, or one of them does not tell.
    pub fn gpu_energy_j(&self) -> Option<f64> {
        let used: Vec<&GpuSide> = self.gpus.iter().filter(|gpu| gpu.used_by_server != Some(false)).collect();
        let energies: Option<Vec<f64>> = used.iter().map(|gpu| gpu.energy_j).collect();
        energies.filter(|energies| !energies.is_empty()).map(|energies| energies.iter().sum())
    }
}

impl Scraping {
    fn with(&self, other: &Self) -> Self {
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
    fn repeats_add_up_and_reasons_are_said_once() {
        let pooled =
            ServerSide::pool(&[side(1.0, 1, Some(2.0), "no GPU"), side(2.0, 3, Some(6.0), "no GPU")])
                .unwrap();
        assert_eq!((pooled.span_s, pooled.absent), (3.0, vec!["no GPU".into()]));
        let scraping = pooled.scraping.unwrap();
        assert_eq!((scraping.scrapes, scraping.mean_ms, scraping.max_ms), (4, Some(5.0), Some(6.0)));
        assert_eq!(ServerSide::pool(&[]), None);
    }

    #[test]
    fn energy_is_that_of_the_servers_gpus_and_unknown_when_one_does_not_tell() {
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
