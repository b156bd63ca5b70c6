//! Hostile answers to one request: each has an outcome, within bounded time and memory.
//!
//! Bounds of one request: its `timeout`; an event or an unstreamed answer of 8 MiB; a head of 256 KiB; a
//! refusal of 64 KiB; 1,048,576 chunks; 16 MiB of text kept for the next turn. Together with their buffers
//! that is less than 64 MiB; an ordinary stream holds a few kilobytes.

use runner::load::{Outcome, Wait};
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    time::{Duration, sleep},
};

use super::{
    answer::{Behave, TIMEOUT, ask},
    memory,
};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const TOKEN: &[u8] = b"data: {\"choices\":[{\"text\":\"a\"}]}\n\n";

#[derive(Clone, Copy, Debug)]
enum Harm {
    /// One event that never ends.
    EndlessEvent,
    /// Events just below the limit.
    LargeEvents,
    EndlessHeaders,
    OneEndlessHeader,
    /// The answer's size line never ends.
    EndlessChunkSize,
    /// An answer that comes at one byte per second.
    Dribble,
    /// Endless tokens.
    EndlessTokens,
    /// Endless comments.
    EndlessComments,
    BadText,
    BillionTokens,
    /// An endless refusal.
    EndlessRefusal,
    /// An endless JSON value.
    EndlessWhole,
    /// Deep nesting, which overflows a recursive parser's stack.
    Deep,
    /// Reads the request and never answers.
    Silence,
}

impl Behave for Harm {
    async fn answer(&self, io: &mut DuplexStream) -> std::io::Result<()> {
        let filler = [b'x'; 1 << 14];
        let stream = async |io: &mut DuplexStream, first: &[u8], over: &[u8]| {
            io.write_all(first).await?;
            loop {
                io.write_all(over).await?;
            }
        };
        match self {
            Self::EndlessEvent => {
                io.write_all(HEAD).await?;
                stream(io, b"data: \"", &filler).await
            }
            Self::LargeEvents => {
                let event =
                    [b"data: {\"choices\":[{\"text\":\"", &[b'x'; 8_000_000][..], b"\"}]}\n\n"].concat();
                io.write_all(HEAD).await?;
                for _ in 0..8 {
                    io.write_all(&event).await?;
                }
                io.write_all(b"data: [DONE]\n\n").await
            }
            Self::EndlessHeaders => stream(io, b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n").await,
            Self::OneEndlessHeader => stream(io, b"HTTP/1.1 200 OK\r\nx-a: ", &filler).await,
            Self::EndlessChunkSize => {
                io.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;").await?;
                stream(io, b"", &filler).await
            }
            Self::Dribble => {
                io.write_all(HEAD).await?;
                for byte in b"data: {\"choices\":[{\"text\":\"".iter().cycle() {
                    io.write_all(&[*byte]).await?;
                    sleep(Duration::from_secs(1)).await;
                }
                Ok(())
            }
            Self::EndlessTokens => stream(io, HEAD, &TOKEN.repeat(100)).await,
            Self::EndlessComments => {
                io.write_all(HEAD).await?;
                loop {
                    io.write_all(&b": ping\n\n".repeat(1000)).await?;
                    sleep(Duration::from_millis(100)).await;
                }
            }
            Self::BadText => {
                io.write_all(HEAD).await?;
                io.write_all(b"data: {\"choices\":[{\"text\":\"\xff\xfe\xc0\"}]}\n\ndata: [DONE]\n\n").await
            }
            Self::BillionTokens => {
                io.write_all(HEAD).await?;
                io.write_all(TOKEN).await?;
                io.write_all(b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1000000000}}\n\n").await?;
                io.write_all(b"data: [DONE]\n\n").await
            }
            Self::EndlessRefusal => stream(io, b"HTTP/1.1 500 No\r\n\r\n", &filler).await,
            Self::EndlessWhole => {
                io.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[\"").await?;
                stream(io, b"", &filler).await
            }
            Self::Deep => {
                io.write_all(HEAD).await?;
                io.write_all(&[b"data: ", &[b'['; 1 << 20][..], b"\n\ndata: [DONE]\n\n"].concat()).await
            }
            Self::Silence => std::future::pending().await,
        }
    }
}

#[test]
fn every_hostile_answer_has_an_outcome_in_bounded_time_and_memory() {
    let before = memory::peak();
    for (harm, outcome, says) in [
        (Harm::EndlessEvent, Outcome::Malformed, "larger than 8388608 bytes"),
        (Harm::LargeEvents, Outcome::Completed, ""),
        (Harm::EndlessHeaders, Outcome::Malformed, "head"),
        (Harm::OneEndlessHeader, Outcome::Malformed, "head"),
        (Harm::EndlessChunkSize, Outcome::Malformed, "chunk"),
        (Harm::Dribble, Outcome::TimedOut(Wait::FirstToken), ""),
        (Harm::EndlessTokens, Outcome::Malformed, "1048576 chunks"),
        (Harm::EndlessComments, Outcome::TimedOut(Wait::FirstToken), ""),
        (Harm::BadText, Outcome::Malformed, ""),
        (Harm::BillionTokens, Outcome::Completed, ""),
        (Harm::EndlessRefusal, Outcome::Rejected(500), "xxx"),
        (Harm::EndlessWhole, Outcome::Malformed, "larger than 8388608 bytes"),
        (Harm::Deep, Outcome::Malformed, ""),
        (Harm::Silence, Outcome::TimedOut(Wait::FirstToken), ""),
    ] {
        let (record, took) = ask(harm);
        assert_eq!(record.outcome, outcome, "{harm:?}: {:?}", record.error);
        let said = record.error.unwrap_or_default();
        assert!(said.contains(says), "{harm:?}: {said}");
        assert!(said.len() < 1000, "{harm:?}: {} bytes of error", said.len());
        assert!(took <= TIMEOUT + Duration::from_secs(2), "{harm:?}: {took:?}");
    }
    let grown = memory::peak().saturating_sub(before);
    // The hostile server of this test holds some of it itself.
    assert!(grown < 128 << 20, "{grown} bytes");
}
