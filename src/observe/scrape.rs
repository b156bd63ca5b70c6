//! Scrapes the `/metrics` of one server, measures what that costs, and remembers why it failed.

use std::time::{Duration, Instant};

use super::{server_side::Scraping, snapshot::Snapshot};
use crate::{
    server::{HttpClient, HttpError, HttpRequest},
    unit::TimeSpan,
};

/// Timeout of one page. A real vLLM under load may take more than a second.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Limit on a page's size, bytes; a real vLLM's has 60 KB.
const MAX_PAGE: usize = 16 << 20;

pub(super) struct Scraper {
    client: Result<HttpClient, HttpError>,
    url: String,
    api_key: Option<String>,
    every: TimeSpan,
    took_ms: Vec<f64>,
    failed: u32,
    /// Why the last failure happened.
    reason: Option<String>,
}

impl Scraper {
    pub(super) fn new(
        client: &Result<HttpClient, HttpError>,
        url: &str,
        api_key: Option<&str>,
        every: TimeSpan,
    ) -> Self {
        Self {
            client: client.clone(),
            url: format!("{url}/metrics"),
            api_key: api_key.map(str::to_owned),
            every,
            took_ms: Vec::new(),
            failed: 0,
            reason: None,
        }
    }

    /// Scrapes once; `None` when there is no page, or no known metric on it.
    pub(super) async fn scrape(&mut self) -> Option<Snapshot> {
        let start = Instant::now();
        match self.page().await {
            Ok(page) => {
                self.took_ms.push(start.elapsed().as_secs_f64() * 1e3);
                let snapshot = Snapshot::read(&page);
                if snapshot.is_none() {
                    self.reason = Some(format!("{} has none of vLLM's metrics", self.url));
                }
                snapshot
            }
            Err(error) => {
                self.failed += 1;
                self.reason = Some(error.to_string());
                None
            }
        }
    }

    async fn page(&self) -> Result<String, HttpError> {
        let request = HttpRequest {
            url: &self.url,
            api_key: self.api_key.as_deref(),
            body: None,
            timeout: TIMEOUT,
            max_body: MAX_PAGE,
        };
        let page = self.client.as_ref().map_err(Clone::clone)?.fetch(request).await?;
        Ok(String::from_utf8_lossy(&page).into_owned())
    }

    /// Why there are no metrics.
    pub(super) fn failure(&self) -> String {
        self.reason.clone().unwrap_or_else(|| format!("{} was not scraped", self.url))
    }

    /// What scraping cost.
    pub(super) fn cost(&self) -> Scraping {
        let scrapes = self.took_ms.len();
        Scraping {
            every_s: self.every.duration().as_secs_f64(),
            scrapes: scrapes as u32,
            failed: self.failed,
            mean_ms: (scrapes > 0).then(|| self.took_ms.iter().sum::<f64>() / scrapes as f64),
            max_ms: self.took_ms.iter().copied().max_by(f64::total_cmp),
        }
    }
}
