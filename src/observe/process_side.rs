//! What the server's processes used, by the kernel's count.

use serde::{Deserialize, Serialize};

use crate::server::TreeUsage;

/// What the processes of a server used while a repeat ran.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessSide {
    /// Seconds of processor time, user and system, of all processes together.
    pub cpu_s: f64,
    /// The same divided by the time that passed: how many cores were busy, on average.
    pub cores: f64,
    /// Largest resident memory of all processes together that was seen, bytes. Pages that processes share count once
    /// for each of them.
    pub peak_rss_bytes: u64,
    /// Most processes that were seen.
    pub processes: u32,
}

impl ProcessSide {
    /// From looks in the order of time, and the seconds between the first and the last. `None` with fewer than two, and
    /// when less time was used at the end than at the start: then a process took its count with it.
    pub(super) fn of(looks: &[TreeUsage], span_s: f64) -> Option<Self> {
        let (first, last) = (looks.first()?, looks.last()?);
        let cpu_s = last.cpu_s - first.cpu_s;
        if looks.len() < 2 || cpu_s < 0.0 || span_s <= 0.0 {
            return None;
        }
        Some(Self {
            cpu_s,
            cores: cpu_s / span_s,
            peak_rss_bytes: looks.iter().map(|look| look.rss_bytes).max()?,
            processes: looks.iter().map(|look| look.processes).max()?,
        })
    }

    /// Two repeats as one.
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

    fn look(cpu_s: f64, rss_bytes: u64, processes: u32) -> TreeUsage {
        TreeUsage { cpu_s, rss_bytes, processes }
    }

    #[test]
    fn time_is_a_difference_and_memory_a_peak() {
        let looks = [look(1.0, 10, 1), look(2.0, 30, 3), look(4.0, 20, 2)];
        let side = ProcessSide::of(&looks, 2.0).unwrap();
        assert_eq!((side.cpu_s, side.cores), (3.0, 1.5));
        assert_eq!((side.peak_rss_bytes, side.processes), (30, 3));
        assert_eq!(side.pool((2.0, 1.0), &side).cores, 2.0);
    }

    #[test]
    fn one_look_and_time_that_runs_backwards_are_nothing() {
        assert_eq!(ProcessSide::of(&[look(1.0, 1, 1)], 1.0), None);
        assert_eq!(ProcessSide::of(&[look(5.0, 1, 2), look(3.0, 1, 1)], 1.0), None);
        assert_eq!(ProcessSide::of(&[], 1.0), None);
    }
}
