//! Whether requests failed because their server is lost.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::timeout;

use crate::{
    load::Progress,
    server::{Crash, Running},
};

/// How long the news of a server's end may take.
const NEWS_OF_DEATH: Duration = Duration::from_secs(1);

/// How the server died, or ceased to serve, when that is why requests failed: the last of them may fail before its end is
/// known.
pub(super) async fn end_behind(progress: &Progress, alive: &mut Running) -> Option<Crash> {
    if progress.errors.load(Relaxed) == 0 {
        return None;
    }
    if let Ok(crash) = timeout(NEWS_OF_DEATH, alive.crashed()).await {
        return Some(crash);
    }
    alive.stopped_serving().await
}
