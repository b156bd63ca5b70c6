//! The server's address, and how connections to it are opened.

use std::{future::Future, io, sync::Arc};

use rustix::io::Errno;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    error::{LoadError, tls_hint},
    record::Outcome,
};

/// Opens connections: over TCP or TLS in a run, in-memory pipes in tests.
pub trait Connect: Clone + Send + Sync + 'static {
    /// The type of an open connection.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Opens one connection.
    fn connect(&self) -> impl Future<Output = Result<Self::Io, ConnectError>> + Send;
}

/// Why a connection could not be opened, as the outcome of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// `refused`, `reset` or `unreachable`.
    pub outcome: Outcome,
    /// The error message, with advice where there is some.
    pub message: String,
}

/// An HTTP or HTTPS server.
#[derive(Clone)]
pub struct Target {
    host: String,
    port: u16,
    /// The path before `/v1`, without a trailing slash.
    base: String,
    tls: Option<TlsConnector>,
}

impl Target {
    /// Parses `http://host:port[/base]` or `https://…`.
    ///
    /// # Errors
    /// When the URL is not an address, or HTTPS needs the system's certificates and they cannot be read.
    pub fn parse(url: &str) -> Result<Self, LoadError> {
        let wrong = |reason: &str| LoadError::Address { url: url.to_owned(), reason: reason.to_owned() };
        let parsed = reqwest::Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        let tls = match parsed.scheme() {
            "http" => None,
            "https" => Some(tls()?),
            _ => return Err(wrong("the scheme is neither http nor https")),
        };
        let host = parsed.host_str().ok_or_else(|| wrong("it has no host"))?;
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: parsed.port_or_known_default().ok_or_else(|| wrong("it has no port"))?,
            base: parsed.path().trim_end_matches('/').to_owned(),
            tls,
        })
    }

    /// The value of the `Host` header.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// The path before the endpoint's, without a trailing slash.
    pub fn base(&self) -> &str {
        &self.base
    }
}

fn tls() -> Result<TlsConnector, LoadError> {
    // Fails when it is already installed, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ClientConfig::with_platform_verifier()
        .map_err(|error| LoadError::Certificates(error.to_string()))?;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The error message, with advice when this machine has run out of files or ports.
fn with_advice(error: &io::Error) -> String {
    let hint = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE) => {
            "; raise the limit of this process with `ulimit -n`, or set `max_in_flight`"
        }
        Some(Errno::ADDRNOTAVAIL) => {
            "; all local ports are in use: allow fewer requests in flight, or widen net.ipv4.ip_local_port_range"
        }
        _ => "",
    };
    format!("{error}{hint}")
}

/// A TCP or a TLS stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connect for Target {
    type Io = Box<dyn Stream>;

    async fn connect(&self) -> Result<Self::Io, ConnectError> {
        let stream =
            TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| ConnectError {
                outcome: match error.kind() {
                    io::ErrorKind::ConnectionRefused => Outcome::Refused,
                    io::ErrorKind::ConnectionReset => Outcome::Reset,
                    _ => Outcome::Unreachable,
                },
                message: with_advice(&error),
            })?;
        let unreachable = |message: String| ConnectError { outcome: Outcome::Unreachable, message };
        // Nagle's algorithm would delay small requests.
        stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(self.host.clone()).map_err(|error| unreachable(error.to_string()))?;
        let stream = tls
            .connect(name, stream)
            .await
            .map_err(|error| unreachable(format!("TLS: {error}{}", tls_hint(&error.to_string()))))?;
        Ok(Box::new(stream))
    }
}
