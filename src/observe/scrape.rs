//! `/metrics` of one server: asked, timed, and remembered why not.

use std::time::{Duration, Instant};

use super::{server_side::Scraping, snapshot::Snapshot};
use crate::unit::TimeSpan;

/// How long one page may take: more than a second was seen of a real vLLM under load.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest page that is read, bytes; a real vLLM's has 60 KB.
const LARGEST: usize = 16 << 20;

/// What asks every server of a run: made once, since it reads the machine's certificates.
pub(super) fn client() -> Result<reqwest::Client, String> {
    // A second installation fails, and the first one is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .map_err(|error| format!("the observer's client cannot start: {error}"))
}

/// Asks one server for its page.
pub(super) struct Scraper {
    client: Result<reqwest::Client, String>,
    url: String,
    api_key: Option<String>,
    every: TimeSpan,
    took_ms: Vec<f64>,
    failed: u32,
    /// Why the last one that failed did.
    reason: Option<String>,
}

impl Scraper {
    pub(super) fn new(
        client: &Result<reqwest::Client, String>,
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

    /// The page, read; `None` when there is none, or nothing on it is known.
    pub(super) async fn page(&mut self) -> Option<Snapshot> {
        let began = Instant::now();
        match self.text().await {
            Ok(text) => {
                self.took_ms.push(began.elapsed().as_secs_f64() * 1e3);
                let snapshot = Snapshot::read(&text);
                if snapshot.is_none() {
                    self.reason = Some(format!("{} shows none of the metrics that vLLM has", self.url));
                }
                snapshot
            }
            Err(reason) => {
                self.failed += 1;
                self.reason = Some(reason);
                None
            }
        }
    }

    async fn text(&self) -> Result<String, String> {
        let said = |error: reqwest::Error| {
            let mut reason: &dyn std::error::Error = &error;
            while let Some(deeper) = reason.source() {
                reason = deeper;
            }
            format!("{} does not answer: {reason}", self.url)
        };
        let mut request = self.client.as_ref().map_err(Clone::clone)?.get(&self.url);
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key);
        }
        let mut response = request.send().await.map_err(said)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(format!("{} answers {}", self.url, response.status().as_u16()));
        }
        let mut page = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(said)? {
            page.extend_from_slice(&chunk);
            if page.len() > LARGEST {
                return Err(format!("{} is longer than {LARGEST} bytes", self.url));
            }
        }
        Ok(String::from_utf8_lossy(&page).into_owned())
    }

    /// Why there is nothing to compare.
    pub(super) fn why_not(&self) -> String {
        self.reason.clone().unwrap_or_else(|| format!("{} was not asked", self.url))
    }

    /// What asking cost.
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
