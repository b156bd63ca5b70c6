//! The limit: an epoll loop that counts events and looks at nothing in them.

use std::{io, net::SocketAddrV4, os::fd::OwnedFd};

use rustix::{
    buffer::spare_capacity,
    event::epoll,
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt},
};
use serde_json::{Value, json};

use super::{client::Load, clock, server::EVENTS_AT_END};

struct Connection {
    socket: OwnedFd,
    /// Events of the answer so far.
    events: u64,
    /// The last byte read: an event may end between two reads.
    last: u8,
    sent: u64,
    first: u64,
}

/// Asks as the client does, and says how many events came, in how long, for how much processor time.
pub(crate) fn read(load: &Load, tokens: u64) -> io::Result<Value> {
    let address = SocketAddrV4::new([127, 0, 0, 1].into(), load.port);
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections = Vec::new();
    for number in 0..load.streams {
        let socket = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            Some(ipproto::TCP),
        )?;
        rustix::net::connect(&socket, &address)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &socket, epoll::EventData::new_u64(u64::from(number)), flags)?;
        connections.push(Connection { socket, events: 0, last: 0, sent: 0, first: 0 });
    }
    let body = r#"{"model":"m","max_tokens":1,"temperature":0.0,"stream":true,"stream_options":{"include_usage":true},"prompt":"Hello"}"#;
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        load.port,
        body.len()
    );
    let (cpu, start) = (clock::cpu(), clock::now());
    let all = load.warmup + load.requests;
    let mut started = 0;
    let mut ended = 0;
    let mut total = 0;
    let (mut ttft, mut e2e) = (Vec::new(), Vec::new());
    for connection in &mut connections {
        if started < all {
            started += 1;
            connection.sent = clock::now();
            rustix::io::write(&connection.socket, request.as_bytes())?;
        }
    }
    let mut buffer = vec![0; 64 << 10];
    let mut ready = Vec::with_capacity(1024);
    while ended < started {
        epoll::wait(&epoll, spare_capacity(&mut ready), None)?;
        for event in ready.drain(..) {
            let connection = &mut connections[event.data.u64() as usize];
            loop {
                let count = match rustix::io::read(&connection.socket, &mut buffer) {
                    Ok(0) => return Err(io::Error::other("the server closed a connection")),
                    Ok(count) => count,
                    Err(Errno::AGAIN) => break,
                    Err(error) => return Err(error.into()),
                };
                if connection.events == 0 {
                    connection.first = clock::now();
                }
                let bytes = &buffer[..count];
                for at in memchr::memchr_iter(b'\n', bytes) {
                    let before = if at == 0 { connection.last } else { bytes[at - 1] };
                    connection.events += u64::from(before == b'\n');
                }
                connection.last = bytes[count - 1];
                if connection.events == tokens + EVENTS_AT_END {
                    let now = clock::now();
                    ended += 1;
                    if ended > load.warmup {
                        ttft.push((connection.first - connection.sent) as f64 / 1e6);
                        e2e.push((now - connection.sent) as f64 / 1e6);
                    }
                    total += connection.events;
                    connection.events = 0;
                    let over = load.until.is_some_and(|until| now - start >= until);
                    if started < all && !over {
                        started += 1;
                        connection.sent = clock::now();
                        rustix::io::write(&connection.socket, request.as_bytes())?;
                    }
                } else if count < buffer.len() {
                    // The socket is empty; the next bytes ring again.
                    break;
                }
            }
        }
    }
    Ok(json!({
        "requests": ended,
        "events": total,
        "seconds": (clock::now() - start) as f64 / 1e9,
        "cpu_s": (clock::cpu() - cpu) as f64 / 1e9,
        "ttft_ms": ttft,
        "e2e_ms": e2e,
    }))
}
