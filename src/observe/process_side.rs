//! Processor time and memory of the server's processes.

use serde::{Deserialize, Serialize};

use crate::server::TreeUsage;

/// What the processes of a server used during a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessSide {
    /// Processor time of all processes, user and system, seconds.
    pub cpu_s: f64,
    /// Processor time divided by elapsed time: the mean number of busy cores.
    pub cores: f64,
    /// Peak resident memory of all processes, bytes. Shared pages count once per process.
    pub peak_rss_bytes: u64,
    /// Peak number of processes.
    pub processes: u32,
}

impl ProcessSide {
    /// Summarizes samples in order of time, the last one `span_s` seconds after the first. `None` with fewer
    /// than two, and when the processor time fell because a process ended without being waited for.
    pub(super) fn summarize(samples: &[TreeUsage], span_s: f64) -> Option<Self> {
        let (first, last) = (samples.first()?, samples.last()?);
        let cpu_s = last.cpu_s - first.cpu_s;
        if samples.len() < 2 || cpu_s < 0.0 || span_s <= 0.0 {
            return None;
        }
        Some(Self {
            cpu_s,
            cores: cpu_s / span_s,
            peak_rss_bytes: samples.iter().map(|sample| sample.rss_bytes).max()?,
            processes: samples.iter().map(|sample| sample.processes).max()?,
        })
    }

    /// Pools two repeats, whose durations are `spans_s` seconds.
    pub(super) fn pool(&self, spans_s: (f64, f64), other: &Self) -> Self {
        let cpu_s = self.cpu_s + other.cpu_s;
        Self {
            cpu_s,
            cores: cpu_s / (spans_s.0 + spans_s.1),
            peak_rss_bytes: self.peak_rss_bytes.max(other.peak_rss_bytes),
            processes: self.processes.max(other.processes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu_s: f64, rss_bytes: u64, processes: u32) -> TreeUsage {
        TreeUsage { cpu_s, rss_bytes, processes }
    }

    #[test]
    fn time_is_a_difference_and_memory_a_peak() {
        let samples = [sample(1.0, 10, 1), sample(2.0, 30, 3), sample(4.0, 20, 2)];
        let side = ProcessSide::summarize(&samples, 2.0).unwrap();
        assert_eq!((side.cpu_s, side.cores), (3.0, 1.5));
        assert_eq!((side.peak_rss_bytes, side.processes), (30, 3));
        assert_eq!(side.pool((2.0, 1.0), &side).cores, 2.0);
    }

    #[test]
    fn one_sample_and_falling_time_have_no_summary() {
        assert_eq!(ProcessSide::summarize(&[sample(1.0, 1, 1)], 1.0), None);
        assert_eq!(ProcessSide::summarize(&[sample(5.0, 1, 2), sample(3.0, 1, 1)], 1.0), None);
        assert_eq!(ProcessSide::summarize(&[], 1.0), None);
    }
}
