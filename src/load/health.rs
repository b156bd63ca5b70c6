//! How our own client fares while it drives: the processor time of its thread, and how late its event loop turns.
//!
//! A client that has no time left stamps what it sees late, and its own delay is taken for the server's. Both numbers are
//! needed: a thread may be busy without being late, and late without being busy when others hold its core.

use std::{future::Future, time::Duration};

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};

/// How often the event loop is asked whether it turns. A hundred timers a second cost nothing beside the load.
const BEAT: Duration = Duration::from_millis(10);
/// Largest delay that is kept apart, microseconds: a minute. What is later counts as that.
const LARGEST_US: u64 = 60_000_000;

/// How our own client fared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientHealth {
    /// Seconds it drove.
    pub wall_s: f64,
    /// Seconds of processor time that its thread used, user and system.
    pub cpu_s: f64,
    /// How late its event loop turned; absent when it drove for less than one beat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_delay: Option<LoopDelay>,
}

/// How late a timer of the event loop fired, every 10 ms, in milliseconds. A timer has a grain of 1 ms, so up to that much
/// is no delay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoopDelay {
    /// How often it was asked.
    pub n: u64,
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Largest.
    pub max_ms: f64,
}

impl ClientHealth {
    /// The part of one core that the thread used.
    pub fn cpu_share(&self) -> f64 {
        self.cpu_s / self.wall_s
    }
}

/// Processor time of the calling thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Drives to the end, and looks at the thread that does it. It has to be polled by one thread only, as a runtime with a
/// single thread does.
pub async fn with_health<F: Future>(drive: F) -> (F::Output, ClientHealth) {
    let (began, cpu) = (Instant::now(), thread_time());
    let mut delays = Delays::new();
    let mut drive = std::pin::pin!(drive);
    let mut due = began + BEAT;
    let output = loop {
        tokio::select! {
            // The beat first: what came due while the drive was polled is late, and counts.
            biased;
            () = sleep_until(due) => {
                delays.add(due.elapsed());
                // Beats that were missed altogether are one delay, not many.
                due = (due + BEAT).max(Instant::now());
            }
            output = &mut drive => break output,
        }
    };
    let health = ClientHealth {
        wall_s: began.elapsed().as_secs_f64(),
        cpu_s: (thread_time().saturating_sub(cpu)).as_secs_f64(),
        loop_delay: delays.summary(),
    };
    (output, health)
}

/// Delays in a fixed room, however long a cell is.
struct Delays(Histogram<u64>);

impl Delays {
    fn new() -> Self {
        Self(
            Histogram::new_with_max(LARGEST_US, 2)
                .expect("two significant digits are within what a histogram takes"),
        )
    }

    fn add(&mut self, delay: Duration) {
        self.0.saturating_record(u64::try_from(delay.as_micros()).unwrap_or(LARGEST_US));
    }

    fn summary(&self) -> Option<LoopDelay> {
        let ms = |us: u64| us as f64 / 1e3;
        (!self.0.is_empty()).then(|| LoopDelay {
            n: self.0.len(),
            p50_ms: ms(self.0.value_at_quantile(0.5)),
            p99_ms: ms(self.0.value_at_quantile(0.99)),
            max_ms: ms(self.0.max()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_turns_is_not_late_and_every_beat_is_counted() {
        let (output, health) = with_health(async {
            tokio::time::sleep(Duration::from_millis(105)).await;
            7
        })
        .await;
        assert_eq!((output, health.wall_s), (7, 0.105));
        let delay = health.loop_delay.unwrap();
        assert_eq!((delay.n, delay.max_ms), (10, 0.0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_is_held_up_is_late_by_as_much() {
        let (_, health) = with_health(async {
            tokio::time::sleep(Duration::from_millis(15)).await;
            // What a poll that takes 40 ms looks like to the others.
            tokio::time::advance(Duration::from_millis(40)).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        })
        .await;
        // The beat due at 20 ms turned at 55 ms.
        let delay = health.loop_delay.unwrap();
        assert!((delay.max_ms - 35.0).abs() < 0.5, "{delay:?}");
    }

    #[tokio::test]
    async fn work_is_counted_as_processor_time_and_waiting_is_not() {
        let busy = async {
            let mut x = 1u64;
            for i in 0..3_000_000u64 {
                x = std::hint::black_box(x.wrapping_mul(i | 1));
            }
            x
        };
        let (_, worked) = with_health(busy).await;
        let (_, waited) = with_health(tokio::time::sleep(Duration::from_millis(30))).await;
        assert!(worked.cpu_s > 0.0 && worked.cpu_s <= worked.wall_s * 1.5, "{worked:?}");
        assert!(waited.cpu_share() < worked.cpu_share(), "{waited:?} {worked:?}");
    }
}
