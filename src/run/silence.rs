//! A server that lives and says nothing.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::{Instant, sleep};

use crate::load::Progress;

/// Looks in one span of silence.
const LOOKS: u32 = 20;
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Waits until requests were in flight for a span and nothing came: no answer began, no chunk arrived. Returns how many
/// wait. Requests that time out are no sign of life.
pub(super) async fn silence(progress: &Progress, span: Duration) -> u64 {
    let pause = (span / LOOKS).min(LONGEST_PAUSE);
    let heard = || (progress.answers.load(Relaxed), progress.chunks.load(Relaxed));
    let (mut last, mut since) = (heard(), Instant::now());
    loop {
        sleep(pause).await;
        let (now, waiting) = (heard(), progress.in_flight.load(Relaxed));
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
    async fn only_silence_with_requests_in_flight_counts() {
        let progress = Progress::default();
        let span = Duration::from_secs(60);
        let began = Instant::now();
        let talk = async {
            // Nobody waits: as long as it likes.
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
            waiting = silence(&progress, span) => waiting,
            () = talk => unreachable!("talk never ends"),
        };
        assert_eq!(waiting, 4);
        let spoken = span * 5;
        let late = began.elapsed() - spoken;
        assert!(late >= span && late < span + span / 10, "{late:?}");
    }
}
