//! Measures the client itself while it sends load: CPU time of its thread, and the delay of its event loop.
//!
//! A saturated client stamps late, and its own delay looks like the server's. Both numbers are needed: a
//! thread can be busy without being late, and late without being busy when other processes hold its core.

use std::{future::Future, time::Duration};

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};

/// Interval at which the delay of the event loop is sampled.
const SAMPLE_EVERY: Duration = Duration::from_millis(10);
/// Largest delay that is distinguished, microseconds: a minute.
const LARGEST_US: u64 = 60_000_000;

/// Load on the client itself during one repeat.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientHealth {
    /// Duration of the repeat, seconds.
    pub wall_s: f64,
    /// CPU time of the client's thread, user and system, seconds.
    pub cpu_s: f64,
    /// Delay of the event loop; absent when the repeat was shorter than one sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_delay: Option<LoopDelay>,
}

/// How late a timer of the event loop fired, sampled every 10 ms, in milliseconds. The timer has a resolution
/// of 1 ms, so up to that much is no delay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoopDelay {
    /// Number of samples.
    pub n: u64,
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Largest.
    pub max_ms: f64,
}

impl ClientHealth {
    /// CPU time over wall time: the share of one core that the thread used.
    pub fn cpu_share(&self) -> f64 {
        self.cpu_s / self.wall_s
    }
}

/// CPU time of the calling thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs a future to its end and measures the thread that does it. It must be polled by one thread only, as a
/// current-thread runtime does.
pub async fn with_health<F: Future>(future: F) -> (F::Output, ClientHealth) {
    let (began, cpu) = (Instant::now(), thread_time());
    let mut delays: Histogram<u64> =
        Histogram::new_with_max(LARGEST_US, 2).expect("a histogram has up to five significant digits");
    let mut future = std::pin::pin!(future);
    let mut due = began + SAMPLE_EVERY;
    let output = loop {
        tokio::select! {
            // The sample first: one that came due while the future was polled is late and counts.
            biased;
            () = sleep_until(due) => {
                delays.saturating_record(due.elapsed().as_micros() as u64);
                // Samples missed during one delay count once.
                due = (due + SAMPLE_EVERY).max(Instant::now());
            }
            output = &mut future => break output,
        }
    };
    let health = ClientHealth {
        wall_s: began.elapsed().as_secs_f64(),
        cpu_s: (thread_time().saturating_sub(cpu)).as_secs_f64(),
        loop_delay: summary(&delays),
    };
    (output, health)
}

fn summary(delays: &Histogram<u64>) -> Option<LoopDelay> {
    let ms = |us: u64| us as f64 / 1e3;
    (!delays.is_empty()).then(|| LoopDelay {
        n: delays.len(),
        p50_ms: ms(delays.value_at_quantile(0.5)),
        p99_ms: ms(delays.value_at_quantile(0.99)),
        max_ms: ms(delays.max()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_idle_loop_is_not_late_and_every_sample_counts() {
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
    async fn a_blocked_loop_is_late_by_the_time_it_was_blocked() {
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
    async fn work_counts_as_cpu_time_and_waiting_does_not() {
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
