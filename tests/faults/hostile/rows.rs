//! The attacks, and the results expected of each.

use std::{io::Write, net::TcpStream, sync::LazyLock, thread::sleep, time::Duration};

use super::server::{
    Answer, DONE, LAST, MODELS, TOKEN, USAGE, answer, dribble, gzip, json, over, raw, stream,
};

/// An attack.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The hostile paths and their answers.
    pub(crate) answers: &'static [(&'static str, Answer)],
    /// Sent as soon as a request begins.
    pub(crate) early: Option<Answer>,
    /// How the requests end: each outcome must occur, and no other.
    pub(crate) requests: &'static [&'static str],
    pub(crate) cell: &'static str,
    /// Whether something of the cell may be ranked.
    pub(crate) ranked: bool,
    /// How long a request may take.
    pub(crate) timeout: &'static str,
    /// Lines of the workload that say what is asked.
    pub(crate) asks: &'static str,
}

const PROMPTS: &str = "prompts = [\"x\"]";
/// Prompts of an exact length: what words cost is asked first.
const MADE: &str = "synthetic = { input_tokens = 24 }";

/// No prompt of an exact length can be made, so nothing is asked.
const fn uncounted(name: &'static str, answers: &'static [(&'static str, Answer)]) -> Row {
    Row { cell: "failed", asks: MADE, ..refused(name, answers) }
}

/// Sends whoever asks to another server.
fn elsewhere(to: &mut TcpStream) -> std::io::Result<bool> {
    raw(to, b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://localhost:9/\r\ncontent-length: 0\r\n\r\n")
}

const ASK: &str = "/v1/completions";
const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const HEAD_OF_JSON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";

/// A small answer that unpacks to gigabytes; made once, since making it takes a while.
static BOMB_OF_ONE_EVENT: LazyLock<Vec<u8>> = LazyLock::new(|| gzip(&[b'x'; 1 << 20], 1024));
static BOMB_OF_COMMENTS: LazyLock<Vec<u8>> = LazyLock::new(|| gzip(&b": comment\n\n".repeat(1 << 16), 1024));

/// Makes what takes a while to make.
pub(crate) fn prepare() {
    LazyLock::force(&BOMB_OF_ONE_EVENT);
    LazyLock::force(&BOMB_OF_COMMENTS);
}

/// Every request ends badly, in the same way.
const fn fails(
    name: &'static str,
    answers: &'static [(&'static str, Answer)],
    outcome: &'static [&'static str],
) -> Row {
    Row {
        name,
        answers,
        early: None,
        requests: outcome,
        cell: "failed",
        ranked: false,
        timeout: "2s",
        asks: PROMPTS,
    }
}

/// The requests go well all the same.
const fn survives(name: &'static str, answers: &'static [(&'static str, Answer)]) -> Row {
    Row {
        name,
        answers,
        early: None,
        requests: &["completed"],
        cell: "ok",
        ranked: true,
        timeout: "2s",
        asks: PROMPTS,
    }
}

/// The requests go well, and nobody may believe what they say.
const fn lies(name: &'static str, answers: &'static [(&'static str, Answer)]) -> Row {
    Row { ranked: false, ..survives(name, answers) }
}

/// The server is not taken for one.
const fn refused(name: &'static str, answers: &'static [(&'static str, Answer)]) -> Row {
    Row {
        name,
        answers,
        early: None,
        requests: &[],
        cell: "server_failed",
        ranked: false,
        timeout: "2s",
        asks: PROMPTS,
    }
}

fn usage(to: &mut TcpStream, usage: &str) -> std::io::Result<bool> {
    stream(to, &answer(usage))
}

fn metrics(to: &mut TcpStream, value: &str) -> std::io::Result<bool> {
    json(
        to,
        &format!(
            "vllm:num_requests_running {value}\nvllm:num_requests_waiting {value}\nvllm:kv_cache_usage_perc {value}\n\
             vllm:prompt_tokens_total {value}\nvllm:generation_tokens_total {value}\n\
             vllm:e2e_request_latency_seconds_bucket{{le=\"{value}\"}} {value}\n\
             vllm:e2e_request_latency_seconds_bucket{{le=\"+Inf\"}} {value}\n\
             vllm:e2e_request_latency_seconds_sum {value}\nvllm:e2e_request_latency_seconds_count {value}\n"
        ),
    )
}

/// The longest that a row may take beyond what a harmless server takes: the requests' `timeout`, the patience
/// for one answer beside a cell three times over, and a machine that is busy.
pub(crate) const LONGEST: Duration = Duration::from_secs(40);

pub(crate) const ROWS: &[Row] = &[
    Row {
        // A busy machine parses slowly, and this one must not be cut short.
        timeout: "20s",
        ..survives(
            "events of 8 MB",
            &[(ASK, |to| {
                let event = format!("data: {{\"choices\":[{{\"text\":\"{}\"}}]}}\n\n", "x".repeat(8_000_000));
                to.write_all(STREAM)?;
                for _ in 0..2 {
                    to.write_all(event.as_bytes())?;
                }
                raw(to, format!("data: {{\"choices\":[],\"usage\":{USAGE}}}\n\n{DONE}").as_bytes())
            })],
        )
    },
    fails(
        "a byte a second, never whole",
        &[(ASK, |to| dribble(to, STREAM, b"data: {\"choices\":[{\"text\":\""))],
        &["timed_out(first_token)"],
    ),
    fails(
        "a token, then a byte a second",
        &[(ASK, |to| {
            to.write_all(&[STREAM, TOKEN.as_bytes()].concat())?;
            dribble(to, b"data: ", b" ")
        })],
        &["timed_out(rest)"],
    ),
    fails(
        "a head of which a byte a second comes",
        &[(ASK, |to| dribble(to, b"HTTP/1.1 200 OK\r\nx: ", b"y"))],
        &["timed_out(first_token)"],
    ),
    fails(
        "interim answers (100 Continue) without end",
        &[(ASK, |to| over(to, b"", b"HTTP/1.1 100 Continue\r\n\r\n"))],
        &["timed_out(first_token)"],
    ),
    fails(
        "comments without end",
        &[(ASK, |to| over(to, STREAM, b": ping\n\n"))],
        &["timed_out(first_token)"],
    ),
    fails(
        "tokens without end",
        &[(ASK, |to| over(to, STREAM, TOKEN.as_bytes()))],
        // Whichever bound is met first.
        &["malformed|timed_out(rest)"],
    ),
    fails(
        "a gzip bomb of one event",
        &[(ASK, |to| raw(to, &BOMB_OF_ONE_EVENT))],
        &["malformed|timed_out(first_token)"],
    ),
    fails(
        "a gzip bomb of comments",
        &[(ASK, |to| raw(to, &BOMB_OF_COMMENTS))],
        &["malformed|timed_out(first_token)"],
    ),
    fails(
        "an event of two million choices",
        &[(ASK, |to| {
            let choices = "{},".repeat(2_000_000);
            raw(to, &[STREAM, b"data: {\"choices\":[", choices.as_bytes(), b"{}]}\n\n"].concat())
        })],
        &["malformed"],
    ),
    fails(
        "an event without end",
        &[(ASK, |to| over(to, &[STREAM, b"data: \""].concat(), b"x"))],
        &["malformed"],
    ),
    fails(
        "header lines without end",
        &[(ASK, |to| over(to, b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n"))],
        &["malformed"],
    ),
    fails("a header without end", &[(ASK, |to| over(to, b"HTTP/1.1 200 OK\r\nx-a: ", b"x"))], &["malformed"]),
    fails(
        "invalid UTF-8",
        &[(ASK, |to| raw(to, &[STREAM, b"data: {\"choices\":[{\"text\":\"\xff\xc0\xaf\"}]}\n\n"].concat()))],
        &["malformed"],
    ),
    fails("NUL bytes", &[(ASK, |to| raw(to, &[STREAM, &[0; 4096], b"\n\n"].concat()))], &["empty|truncated"]),
    fails(
        "a redirect to itself",
        &[(ASK, |to| {
            raw(
                to,
                b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /v1/completions\r\ncontent-length: 0\r\n\r\n",
            )
        })],
        &["rejected(307)"],
    ),
    fails(
        "a chunk whose size does not fit into 64 bits",
        &[(ASK, |to| {
            raw(to, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\ndata: x\n\n")
        })],
        &["malformed"],
    ),
    fails(
        "a chunk of 2\u{2076}\u{2070} bytes that ends early",
        &[(ASK, |to| {
            raw(to, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffff\r\n: x\n\n")
        })],
        &["truncated"],
    ),
    fails(
        "a negative chunk",
        &[(ASK, |to| raw(to, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n"))],
        &["malformed"],
    ),
    fails(
        "two lengths that differ",
        &[(ASK, |to| raw(to, b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!"))],
        &["malformed"],
    ),
    fails(
        "a length beyond 64 bits",
        &[(ASK, |to| raw(to, b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n{}"))],
        &["malformed"],
    ),
    fails("another protocol", &[(ASK, |to| raw(to, b"SSH-2.0-OpenSSH_9.6\r\n"))], &["malformed"]),
    fails(
        "a switch of protocols",
        &[(ASK, |to| raw(to, b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n"))],
        &["malformed"],
    ),
    fails("nothing at all", &[(ASK, |to| raw(to, b""))], &["reset"]),
    fails(
        "JSON of a megabyte of nesting",
        &[(ASK, |to| raw(to, &[STREAM, b"data: ", &[b'['; 1 << 20], b"\n\n"].concat()))],
        &["malformed"],
    ),
    fails(
        "one JSON value without end",
        &[(ASK, |to| over(to, &[HEAD_OF_JSON, b"[\""].concat(), b"x"))],
        &["malformed"],
    ),
    fails(
        "a refusal without end",
        &[(ASK, |to| over(to, b"HTTP/1.1 500 No\r\n\r\n", b"x"))],
        &["rejected(500)"],
    ),
    survives(
        "more events behind [DONE]",
        &[(ASK, |to| stream(to, &format!("{}{TOKEN}{LAST}", answer(USAGE))))],
    ),
    survives(
        "a second answer behind the first",
        &[(ASK, |to| {
            let text = answer(USAGE);
            let once = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{text}",
                text.len()
            );
            to.write_all(once.repeat(2).as_bytes())?;
            Ok(true)
        })],
    ),
    survives(
        "a connection that is never closed behind [DONE]",
        &[(ASK, |to| {
            to.write_all(&[STREAM, answer(USAGE).as_bytes()].concat())?;
            sleep(Duration::from_secs(4));
            Ok(false)
        })],
    ),
    Row {
        // It says that it closes, so that nothing else is asked on that connection.
        early: Some(|to| {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n";
            let text = answer(USAGE);
            let all = format!("{head}content-length: {}\r\n\r\n{text}", text.len());
            raw(to, all.as_bytes())
        }),
        ..survives("an answer before the request is read", &[(ASK, |_| Ok(false))])
    },
    lies(
        "a usage of a billion output tokens",
        &[(ASK, |to| usage(to, r#"{"prompt_tokens":1,"completion_tokens":1000000000}"#))],
    ),
    lies(
        "a usage of a billion prompt tokens",
        &[(ASK, |to| usage(to, r#"{"prompt_tokens":1000000000,"completion_tokens":2}"#))],
    ),
    lies(
        "more cached tokens than the prompt has",
        &[(ASK, |to| {
            usage(
                to,
                r#"{"prompt_tokens":1,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4000000000}}"#,
            )
        })],
    ),
    lies(
        "no output tokens by the usage",
        &[(ASK, |to| usage(to, r#"{"prompt_tokens":1,"completion_tokens":0}"#))],
    ),
    fails(
        "a usage of 2\u{2076}\u{2074} - 1 tokens",
        &[(ASK, |to| {
            usage(to, r#"{"prompt_tokens":18446744073709551615,"completion_tokens":18446744073709551615}"#)
        })],
        &["malformed"],
    ),
    fails(
        "a usage of -1 tokens",
        &[(ASK, |to| usage(to, r#"{"prompt_tokens":-1,"completion_tokens":-1}"#))],
        &["malformed"],
    ),
    fails(
        "a usage of 1e999 tokens",
        &[(ASK, |to| usage(to, r#"{"prompt_tokens":1,"completion_tokens":1e999}"#))],
        &["malformed"],
    ),
    fails(
        "a usage of NaN tokens",
        &[(ASK, |to| usage(to, r#"{"prompt_tokens":1,"completion_tokens":NaN}"#))],
        &["malformed"],
    ),
    fails(
        "a usage of two and a half tokens",
        &[(ASK, |to| usage(to, r#"{"prompt_tokens":1,"completion_tokens":2.5}"#))],
        &["malformed"],
    ),
    survives(
        "metrics without end",
        &[("/metrics", |to| over(to, b"HTTP/1.1 200 OK\r\n\r\n", b"vllm:num_requests_running 1\n"))],
    ),
    survives(
        "a line of metrics without end",
        &[("/metrics", |to| over(to, b"HTTP/1.1 200 OK\r\n\r\nvllm:num_requests_running{a=\"", b"x"))],
    ),
    survives(
        "metrics, a byte a second",
        &[("/metrics", |to| dribble(to, b"HTTP/1.1 200 OK\r\n\r\n", b"vllm:num_requests_running 1\n"))],
    ),
    survives(
        "metrics that redirect to themselves",
        &[("/metrics", |to| {
            raw(to, b"HTTP/1.1 302 Found\r\nlocation: /metrics\r\ncontent-length: 0\r\n\r\n")
        })],
    ),
    survives("metrics of NaN", &[("/metrics", |to| metrics(to, "NaN"))]),
    survives("metrics of infinity", &[("/metrics", |to| metrics(to, "+Inf"))]),
    survives("metrics of -1", &[("/metrics", |to| metrics(to, "-1"))]),
    survives("metrics of 1e308", &[("/metrics", |to| metrics(to, "1e308"))]),
    survives(
        "metrics of 100,000 buckets, the largest first",
        &[("/metrics", |to| {
            let lines = (0..100_000)
                .rev()
                .map(|le| format!("vllm:e2e_request_latency_seconds_bucket{{le=\"{le}\"}} 1\n"));
            json(to, &lines.collect::<String>())
        })],
    ),
    survives("a version without end", &[("/version", |to| over(to, HEAD_OF_JSON, b"x"))]),
    survives(
        "a version of a megabyte",
        &[("/version", |to| json(to, &format!("{{\"version\":\"{}\"}}", "9".repeat(1 << 20))))],
    ),
    refused("models without end", &[("/v1/models", |to| over(to, HEAD_OF_JSON, b"["))]),
    refused("models, a byte a second", &[("/v1/models", |to| dribble(to, HEAD_OF_JSON, MODELS.as_bytes()))]),
    refused(
        "200,000 models, none of them ours",
        &[("/v1/models", |to| {
            let others: String = (0..200_000).map(|n| format!("{{\"id\":\"other-{n}\"}},")).collect();
            json(to, &format!("{{\"data\":[{others}{{}}]}}"))
        })],
    ),
    refused(
        "our model by a name of a megabyte",
        &[("/v1/models", |to| {
            json(to, &format!("{{\"data\":[{{\"id\":\"{}\",\"root\":\"m\"}}]}}", "x".repeat(1 << 20)))
        })],
    ),
    refused("models that are no JSON", &[("/v1/models", |to| json(to, "<html>"))]),
    refused("models of nested JSON", &[("/v1/models", |to| json(to, &"[".repeat(1 << 20)))]),
    refused(
        "health that redirects to itself",
        &[("/health", |to| raw(to, b"HTTP/1.1 302 Found\r\nlocation: /health\r\ncontent-length: 0\r\n\r\n"))],
    ),
    refused("health, a byte a second", &[("/health", |to| dribble(to, b"HTTP/1.1 200 OK\r\nx: ", b"y"))]),
    refused(
        "health with a header without end",
        &[("/health", |to| over(to, b"HTTP/1.1 200 OK\r\nx: ", b"y"))],
    ),
    refused(
        "models with header lines without end",
        &[("/v1/models", |to| over(to, b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"))],
    ),
    refused("models at another server", &[("/v1/models", elsewhere)]),
    survives(
        "a model of -1 tokens",
        &[("/v1/models", |to| json(to, r#"{"data":[{"id":"m","max_model_len":-1}]}"#))],
    ),
    refused(
        "a model of 1e309 tokens",
        &[("/v1/models", |to| json(to, r#"{"data":[{"id":"m","max_model_len":1e309}]}"#))],
    ),
    survives(
        "metrics with a header without end",
        &[("/metrics", |to| over(to, b"HTTP/1.1 200 OK\r\nx: ", b"y"))],
    ),
    survives("a version in a list of lists", &[("/version", |to| json(to, &"[".repeat(1 << 19)))]),
    uncounted("counts without end", &[("/tokenize", |to| over(to, HEAD_OF_JSON, b"[1,"))]),
    uncounted("counts, a byte a second", &[("/tokenize", |to| dribble(to, HEAD_OF_JSON, b"{\"count\": 1}"))]),
    uncounted(
        "counts with a header without end",
        &[("/tokenize", |to| over(to, b"HTTP/1.1 200 OK\r\nx: ", b"y"))],
    ),
    uncounted("a count of -1", &[("/tokenize", |to| json(to, r#"{"count":-1}"#))]),
    uncounted("a count of 1e309", &[("/tokenize", |to| json(to, r#"{"count":1e309}"#))]),
    uncounted("a count of four billion", &[("/tokenize", |to| json(to, r#"{"count":4294967295}"#))]),
    uncounted("counts of nested JSON", &[("/tokenize", |to| json(to, &"[".repeat(1 << 19)))]),
    uncounted("counts at another server", &[("/tokenize", elsewhere)]),
];
