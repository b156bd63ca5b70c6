//! A server on a real socket whose answer to each path can be replaced by a hostile one.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, sleep},
    time::Duration,
};

/// Answers one request; false ends the connection.
pub(crate) type Answer = fn(&mut TcpStream) -> io::Result<bool>;

/// The list of models of a well-behaved server.
pub(crate) const MODELS: &str =
    r#"{"object":"list","data":[{"id":"m","object":"model","root":"m","max_model_len":4096}]}"#;
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
pub(crate) const TOKEN: &str = "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":null}]}\n\n";
pub(crate) const LAST: &str = "data: {\"choices\":[{\"text\":\"b\",\"finish_reason\":\"length\"}]}\n\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// A complete answer of two tokens with this `usage`.
pub(crate) fn answer(usage: &str) -> String {
    format!("{TOKEN}{LAST}data: {{\"choices\":[],\"usage\":{usage}}}\n\n{DONE}")
}

pub(crate) const USAGE: &str = r#"{"prompt_tokens":1,"completion_tokens":2}"#;

/// Sends one complete JSON value.
pub(crate) fn json(stream: &mut TcpStream, body: &str) -> io::Result<bool> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes())?;
    Ok(true)
}

/// Sends a complete stream.
pub(crate) fn stream(stream: &mut TcpStream, text: &str) -> io::Result<bool> {
    stream.write_all(format!("{HEAD}{:x}\r\n{text}\r\n0\r\n\r\n", text.len()).as_bytes())?;
    Ok(true)
}

/// Sends bytes and closes the connection.
pub(crate) fn raw(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<bool> {
    stream.write_all(bytes)?;
    Ok(false)
}

/// Sends `first`, then `then` over and over, as fast as the client reads.
pub(crate) fn over(stream: &mut TcpStream, first: &[u8], then: &[u8]) -> io::Result<bool> {
    stream.write_all(first)?;
    let piece = then.repeat((1 << 16) / then.len() + 1);
    loop {
        stream.write_all(&piece)?;
    }
}

/// Sends `first`, then one byte of `then` per second.
pub(crate) fn dribble(stream: &mut TcpStream, first: &[u8], then: &[u8]) -> io::Result<bool> {
    stream.write_all(first)?;
    for byte in then.iter().cycle() {
        stream.write_all(&[*byte])?;
        sleep(Duration::from_secs(1));
    }
    Ok(false)
}

/// A gzip stream of `times` members, each of which unpacks to `plain`.
pub(crate) fn gzip(plain: &[u8], times: usize) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(plain).expect("memory takes it");
    let member = packed.finish().expect("memory takes it");
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\r\n";
    [&head[..], &member.repeat(times)].concat()
}

/// A server on a free port, stopped on drop.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Server {
    /// Answers these paths with these answers, and all others as a well-behaved server does. `early` is sent
    /// before the request is read.
    pub(crate) fn start(answers: &[(&'static str, Answer)], early: Option<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let over = Arc::new(AtomicBool::new(false));
        let (ended, answers) = (over.clone(), BTreeMap::from_iter(answers.iter().copied()));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Relaxed) {
                    return;
                }
                let answers = answers.clone();
                thread::spawn(move || {
                    // Whoever asked may go away at any time.
                    let _ = serve(stream, &answers, early);
                });
            }
        });
        Self { address, over }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        // Wakes the thread that waits for the next connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    mut stream: TcpStream,
    answers: &BTreeMap<&'static str, Answer>,
    early: Option<Answer>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut asked = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if asked.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        if let Some(early) = early
            && path == "/v1/completions"
        {
            early(&mut stream)?;
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            asked.read_line(&mut line)?;
            let line = line.trim().to_ascii_lowercase();
            if let Some(told) = line.strip_prefix("content-length:") {
                length = told.trim().parse().unwrap_or(0);
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        asked.read_exact(&mut body)?;
        let more = match (answers.get(path.as_str()), path.as_str()) {
            (Some(answer), _) => answer(&mut stream)?,
            (None, "/health") => json(&mut stream, "{}")?,
            (None, "/v1/models") => json(&mut stream, MODELS)?,
            (None, "/v1/completions") => self::stream(&mut stream, &answer(USAGE))?,
            (None, _) => {
                stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")?;
                true
            }
        };
        if !more {
            return Ok(());
        }
    }
}
