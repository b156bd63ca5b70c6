//! The observer over a real socket, against a server with scripted pages.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{ObservedServer, Observer, ServerSide};
use crate::{manifest::ScrapeEvery, unit::TimeSpan};

/// Serves `page(number of the scrape)` with a status, and counts the scrapes.
async fn server(
    status: &'static str,
    page: impl Fn(u64) -> String + Send + 'static,
) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let scrapes = Arc::new(AtomicU64::new(0));
    let count = scrapes.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let body = page(count.fetch_add(1, Relaxed));
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, scrapes)
}

async fn observe(url: String, every: ScrapeEvery, completed: u64) -> ServerSide {
    let observer = Observer::start(None);
    let observation = observer.observe(ObservedServer { url, api_key: None, every, processes: None }).await;
    observation.end(completed).await
}

fn page(tokens: u64, finished: u64, running: u64) -> String {
    format!(
        "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{engine=\"0\"}} {running}\n\
         vllm:generation_tokens_total {tokens}\nvllm:request_success_total{{finished_reason=\"length\"}} {finished}\n"
    )
}

const ENDS: ScrapeEvery = ScrapeEvery::Every(TimeSpan::from_millis(0));

#[tokio::test]
async fn the_last_page_is_one_on_which_everything_is_counted() {
    // First before the load; then busy, then idle with a count that lags behind, then done.
    let (url, scrapes) = server("200 OK", |scrape| match scrape {
        0 => page(100, 4, 0),
        1 => page(150, 5, 1),
        2 => page(190, 5, 0),
        _ => page(200, 6, 0),
    })
    .await;
    let side = observe(url, ENDS, 2).await;
    let engine = side.engine.unwrap();
    assert_eq!((engine.generation_tokens, engine.requests), (Some(100), Some(2)));
    assert!(engine.settled);
    assert_eq!(scrapes.load(Relaxed), 4);
    assert_eq!(side.scraping.unwrap().scrapes, 4);
    assert_eq!(engine.running_peak, None, "no scrape fell between the first and the last");
}

#[tokio::test]
async fn an_engine_that_does_not_report_what_runs_is_not_settled() {
    let (url, _) =
        server("200 OK", |_| "vllm:generation_tokens_total 5\nvllm:request_success_total 1\n".into()).await;
    let side = observe(url, ENDS, 0).await;
    assert!(!side.engine.unwrap().settled);
    assert!(side.absent[0].contains("may lack some"), "{:?}", side.absent);
}

#[tokio::test]
async fn a_server_without_metrics_is_absent_with_the_reason() {
    let (url, scrapes) = server("404 Not Found", |_| String::new()).await;
    let side = observe(url.clone(), ENDS, 2).await;
    assert_eq!(side.engine, None);
    assert_eq!(side.absent, [format!("{url}/metrics returned 404")]);
    assert_eq!(scrapes.load(Relaxed), 1, "it is not scraped again");

    let (url, _) = server("200 OK", |_| "llamacpp:requests_processing 0\n".into()).await;
    let side = observe(url, ENDS, 2).await;
    assert!(side.absent[0].contains("none of vLLM's metrics"), "{:?}", side.absent);
}

#[tokio::test]
async fn a_server_that_restarted_is_absent_with_the_reason() {
    let (url, _) = server("200 OK", |scrape| match scrape {
        0 => page(100, 4, 0),
        _ => page(20, 6, 0),
    })
    .await;
    let side = observe(url, ENDS, 2).await;
    assert_eq!(side.engine, None);
    assert!(side.absent[0].contains("restarted in between"), "{:?}", side.absent);
}

#[tokio::test]
async fn a_server_is_not_scraped_when_scraping_is_off() {
    let (url, scrapes) = server("200 OK", |_| page(1, 1, 0)).await;
    let side = observe(url, ScrapeEvery::Off, 2).await;
    assert_eq!((side.engine, side.scraping), (None, None));
    assert_eq!(scrapes.load(Relaxed), 0);
    assert!(side.absent[0].contains("off"), "{:?}", side.absent);
}

#[tokio::test]
async fn gauges_peak_during_the_observation() {
    let (url, scrapes) = server("200 OK", |scrape| match scrape {
        0 => page(0, 0, 0),
        1 | 2 => page(50, 0, scrape * 3),
        _ => page(90, 2, 0),
    })
    .await;
    let observer = Observer::start(None);
    let observation = observer
        .observe(ObservedServer {
            url,
            api_key: None,
            every: ScrapeEvery::Every(TimeSpan::from_millis(10)),
            processes: None,
        })
        .await;
    while scrapes.load(Relaxed) < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let side = observation.end(2).await;
    assert_eq!(side.engine.unwrap().running_peak, Some(6.0));
    assert!(side.timeline.len() >= 2, "{:?}", side.timeline);
}

#[tokio::test]
async fn a_dropped_observation_does_not_disturb_the_next_one() {
    let (url, _) = server("200 OK", |_| page(1, 1, 0)).await;
    let observer = Observer::start(None);
    let target = ObservedServer { url, api_key: None, every: ENDS, processes: None };
    drop(observer.observe(target.clone()).await);
    let side = observer.observe(target).await.end(0).await;
    assert!(side.engine.is_some());
}
