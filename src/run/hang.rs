//! Detects a server that is alive but no longer answers.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::{Instant, sleep};

use crate::load::Progress;

/// Checks during one timeout.
const CHECKS: u32 = 20;
/// The longest pause between two checks.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Waits until requests have been in flight for `span` without any output: no answer began and no chunk
/// arrived. Returns the number of requests in flight. Requests that time out do not count as output.
pub(super) async fn wait_for_hang(progress: &Progress, span: Duration) -> u64 {
    let pause = (span / CHECKS).min(LONGEST_PAUSE);
    let output = || (progress.answers.load(Relaxed), progress.chunks.load(Relaxed));
    let (mut last, mut since) = (output(), Instant::now());
    loop {
        sleep(pause).await;
        let (now, waiting) = (output(), progress.in_flight.load(Relaxed));
        if now != last || waiting == 0 {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() >= span {
            return waiting;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_pause_with_requests_in_flight_is_a_hang() {
        let progress = Progress::default();
        let span = Duration::from_secs(60);
        let began = Instant::now();
        let server = async {
            // Nothing is in flight: no output is expected.
            sleep(span * 3).await;
            progress.in_flight.store(4, Relaxed);
            for _ in 0..3 {
                sleep(span / 2).await;
                progress.chunks.fetch_add(1, Relaxed);
            }
            sleep(span / 2).await;
            progress.answers.fetch_add(1, Relaxed);
            std::future::pending::<()>().await;
        };
        let waiting = tokio::select! {
            waiting = wait_for_hang(&progress, span) => waiting,
            () = server => unreachable!("the server never ends"),
        };
        assert_eq!(waiting, 4);
        let last_output = span * 5;
        let late = began.elapsed() - last_output;
        assert!(late >= span && late < span + span / 10, "{late:?}");
    }
}
