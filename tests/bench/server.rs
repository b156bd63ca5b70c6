//! A server that knows when it wrote: one thread, one epoll, no HTTP library, no code of the client's.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt},
};

use super::clock;

/// What it answers. Every answer is the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    /// Tokens of an answer; one event each.
    pub(crate) tokens: u32,
    /// Events in one write.
    pub(crate) per_write: u32,
    /// From a request to its first write, nanoseconds.
    pub(crate) ttft: u64,
    /// From one write to the next, nanoseconds; 0 writes as fast as the sockets take.
    pub(crate) gap: u64,
    /// The first answer of each connection is held back by a part of an answer's length that differs from
    /// connection to connection, so that later ones are out of step.
    pub(crate) out_of_step: bool,
    /// Each event is a chunk of the transfer coding of its own, as vLLM sends it; otherwise one write is one
    /// chunk.
    pub(crate) chunk_each: bool,
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// What vLLM sends for a token, and after the last one.
const TOKEN: &str = "data: {\"id\":\"cmpl-8f1b7f0f9c2f4a3bb0f3d2f8a7c1e5d4\",\"object\":\"text_completion\",\"created\":1764000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\" token\",\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null,\"token_ids\":null}],\"usage\":null}\n\n";
const FINISH: &str = "data: {\"id\":\"cmpl-8f1b7f0f9c2f4a3bb0f3d2f8a7c1e5d4\",\"object\":\"text_completion\",\"created\":1764000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"length\",\"stop_reason\":null,\"token_ids\":null}],\"usage\":null}\n\n";

/// Events of an answer beside its tokens: the reason of its end, the usage, `[DONE]`.
pub(crate) const EVENTS_AT_END: u64 = 3;

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

impl Answers {
    /// The bytes of each write.
    fn writes(self) -> Vec<Vec<u8>> {
        let usage = format!(
            "data: {{\"id\":\"cmpl-8f1b7f0f9c2f4a3bb0f3d2f8a7c1e5d4\",\"object\":\"text_completion\",\"created\":1764000000,\"model\":\"m\",\"choices\":[],\"usage\":{{\"prompt_tokens\":5,\"total_tokens\":{},\"completion_tokens\":{}}}}}\n\n",
            self.tokens + 5,
            self.tokens
        );
        let count = self.tokens.div_ceil(self.per_write);
        (0..count)
            .map(|number| {
                let tokens = self.per_write.min(self.tokens - number * self.per_write);
                let mut text = String::new();
                if number == 0 {
                    text.push_str(HEAD);
                }
                if self.chunk_each {
                    text.push_str(&chunk(TOKEN).repeat(tokens as usize));
                } else {
                    text.push_str(&chunk(&TOKEN.repeat(tokens as usize)));
                }
                if number + 1 == count {
                    for event in [FINISH, &usage, "data: [DONE]\n\n"] {
                        text.push_str(&chunk(event));
                    }
                    text.push_str("0\r\n\r\n");
                }
                text.into_bytes()
            })
            .collect()
    }

    fn paced(self) -> bool {
        self.gap > 0
    }
}

struct Connection {
    socket: OwnedFd,
    received: Vec<u8>,
    /// The request that is answered: when it had arrived, and when each write began.
    arrival: u64,
    written: Vec<u64>,
    /// The next write, and how much of it is out already.
    write: usize,
    offset: usize,
    answering: bool,
    answered: u64,
    number: u64,
}

/// About 50 µs of writing on loopback.
const WRITES_BETWEEN_LOOKS: usize = 8;

const LISTENER: u64 = u64::MAX;
const STDIN: u64 = u64::MAX - 1;

/// Serves until its standard input ends, and then writes down, a line per answer, when it began to write: the
/// arrival of the request and the instant of each write, nanoseconds, in order. Answers that only brought
/// connections out of step are left out.
pub(crate) fn serve(answers: Answers) -> io::Result<()> {
    let listener = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        Some(ipproto::TCP),
    )?;
    rustix::net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    rustix::net::listen(&listener, 4096)?;
    let address = SocketAddrV4::try_from(rustix::net::getsockname(&listener)?)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", address.port())?;
    out.flush()?;

    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let watch =
        |fd: &dyn AsFd, data, flags| epoll::add(&epoll, fd.as_fd(), epoll::EventData::new_u64(data), flags);
    watch(&listener, LISTENER, epoll::EventFlags::IN)?;
    watch(&io::stdin(), STDIN, epoll::EventFlags::IN)?;
    let mut server = Server {
        writes: answers.writes(),
        answers,
        connections: Vec::new(),
        due: BinaryHeap::new(),
        ready: VecDeque::new(),
        truth: Vec::new(),
    };
    let mut events = Vec::with_capacity(1024);
    loop {
        let timeout = server.timeout();
        match epoll::wait(&epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Err(Errno::INTR) | Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => {
                    while let Ok(socket) =
                        rustix::net::accept_with(&listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
                    {
                        sockopt::set_tcp_nodelay(&socket, true)?;
                        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
                        watch(&socket, server.connections.len() as u64, flags)?;
                        server.accepted(socket);
                    }
                }
                STDIN => {
                    for line in &server.truth {
                        writeln!(out, "{line}")?;
                    }
                    return out.flush();
                }
                number => server.moved(number as usize, event.flags),
            }
        }
        server.turn();
    }
}

struct Server {
    answers: Answers,
    writes: Vec<Vec<u8>>,
    connections: Vec<Option<Connection>>,
    /// Paced: which connection writes when.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    /// Not paced: connections that have something to write and room for it.
    ready: VecDeque<usize>,
    truth: Vec<String>,
}

impl Server {
    /// Spins while a write is near: waking up would be later than the clock.
    fn timeout(&self) -> Option<Timespec> {
        let wait = if self.ready.is_empty() {
            match self.due.peek() {
                None => return None,
                Some(Reverse((due, _))) => due.saturating_sub(clock::now()) / 1_000_000,
            }
        } else {
            0
        };
        Some(Timespec { tv_sec: (wait / 1000) as i64, tv_nsec: (wait % 1000 * 1_000_000) as i64 })
    }

    fn accepted(&mut self, socket: OwnedFd) {
        let number = self.connections.len() as u64;
        self.connections.push(Some(Connection {
            socket,
            received: Vec::new(),
            arrival: 0,
            written: Vec::new(),
            write: 0,
            offset: 0,
            answering: false,
            answered: 0,
            number,
        }));
    }

    fn moved(&mut self, index: usize, flags: epoll::EventFlags) {
        let Some(connection) = &mut self.connections[index] else {
            return;
        };
        if flags.contains(epoll::EventFlags::IN) {
            let mut buffer = [0; 4096];
            loop {
                match rustix::io::read(&connection.socket, &mut buffer) {
                    Ok(0) => {
                        self.connections[index] = None;
                        return;
                    }
                    Ok(count) => connection.received.extend_from_slice(&buffer[..count]),
                    Err(Errno::AGAIN) => break,
                    Err(_) => {
                        self.connections[index] = None;
                        return;
                    }
                }
            }
            if self.begin(index) {
                return;
            }
        }
        let Some(connection) = &self.connections[index] else {
            return;
        };
        // Only a write that was cut waits for room.
        if flags.contains(epoll::EventFlags::OUT) && connection.answering && connection.offset > 0 {
            self.write(index, None);
        }
    }

    /// Begins to answer when a whole request is there and the last one is answered.
    fn begin(&mut self, index: usize) -> bool {
        let Some(connection) = &mut self.connections[index] else {
            return false;
        };
        if connection.answering || !whole(&connection.received) {
            return false;
        }
        connection.received.clear();
        connection.arrival = clock::now();
        connection.answering = true;
        connection.write = 0;
        connection.offset = 0;
        if !self.answers.paced() {
            self.ready.push_back(index);
            return true;
        }
        let held = if self.answers.out_of_step && connection.answered == 0 {
            let length = self.answers.ttft + self.writes.len() as u64 * self.answers.gap;
            // Multiples of the golden ratio fill the circle evenly.
            let part = (connection.number as f64 * 0.618_033_988_749_895).fract();
            (part * length as f64) as u64
        } else {
            0
        };
        let due = connection.arrival + held + self.answers.ttft;
        self.due.push(Reverse((due, index)));
        true
    }

    /// Writes what is due, or once for each connection that is ready. A server that is behind still looks for
    /// requests between a few writes: one that waited unread would be written down as arrived later than it
    /// was, and the wait, which is the server's, would pose as the client's error.
    fn turn(&mut self) {
        for _ in 0..WRITES_BETWEEN_LOOKS {
            match self.due.peek().copied() {
                Some(Reverse((due, index))) if due <= clock::now() => {
                    self.due.pop();
                    self.write(index, Some(due));
                }
                _ => break,
            }
        }
        for _ in 0..self.ready.len() {
            if let Some(index) = self.ready.pop_front() {
                self.write(index, None);
            }
        }
    }

    fn write(&mut self, index: usize, due: Option<u64>) {
        let Some(connection) = &mut self.connections[index] else {
            return;
        };
        if connection.offset == 0 && self.answers.paced() {
            connection.written.push(clock::now());
        }
        let bytes = &self.writes[connection.write];
        match rustix::io::write(&connection.socket, &bytes[connection.offset..]) {
            Ok(count) => connection.offset += count,
            // It goes on when the socket has room.
            Err(Errno::AGAIN) => {
                if connection.offset == 0 && due.is_none() {
                    self.ready.push_back(index);
                }
                return;
            }
            Err(_) => {
                self.connections[index] = None;
                return;
            }
        }
        if connection.offset < bytes.len() {
            return;
        }
        connection.offset = 0;
        connection.write += 1;
        if connection.write < self.writes.len() {
            match due {
                Some(due) => self.due.push(Reverse((due + self.answers.gap, index))),
                None => self.ready.push_back(index),
            }
            return;
        }
        connection.answering = false;
        connection.answered += 1;
        let written = std::mem::take(&mut connection.written);
        if self.answers.paced() && !(self.answers.out_of_step && connection.answered == 1) {
            let mut line = connection.arrival.to_string();
            for at in written {
                line.push_str(&format!(" {at}"));
            }
            self.truth.push(line);
        }
        // Who counts events asks again before the last bytes of the answer are out.
        self.begin(index);
    }
}

/// Whether a whole request is there: its head and as many bytes as it says.
fn whole(received: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(received, b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse::<usize>().ok());
    received.len() >= end + 4 + length.unwrap_or(0)
}
