//! Where requests go, and how a connection to it is opened.

use std::{future::Future, io, sync::Arc};

use rustix::io::Errno;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::record::Outcome;

/// What to do about a certificate that nobody here vouches for.
const NAME_THE_CA: &str =
    "name the file of the server's CA, as PEM, in the environment variable SSL_CERT_FILE";

/// What to do about a TLS failure, where it is the certificate's.
pub(crate) fn tls_hint(reason: &str) -> String {
    if reason.contains("UnknownIssuer") || reason.contains("unknown issuer") {
        format!("; {NAME_THE_CA}")
    } else {
        String::new()
    }
}

/// Opens connections: over TCP or TLS in a run, over an in-memory pipe in a test.
pub trait Connect {
    /// What is opened.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Opens one connection.
    fn connect(&self) -> impl Future<Output = Result<Self::Io, ConnectError>> + Send;
}

/// Why no connection was opened, as a request's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// `refused`, `reset` or `unreachable`.
    pub outcome: Outcome,
    /// What the socket said.
    pub message: String,
}

/// An HTTP server's address.
#[derive(Clone)]
pub struct Target {
    host: String,
    port: u16,
    /// What stands before `/v1`, without a slash at its end.
    base: String,
    tls: Option<TlsConnector>,
}

impl Target {
    /// Reads `http://host:port[/base]` or `https://…`.
    ///
    /// # Errors
    /// A sentence when it is not an address, or the system's certificates cannot be read.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{url:?} is not an address ({why}); write http://host:port");
        let parsed = reqwest::Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        let tls = match parsed.scheme() {
            "http" => None,
            "https" => Some(tls()?),
            _ => return Err(wrong("its scheme is neither http nor https")),
        };
        let host = parsed.host_str().ok_or_else(|| wrong("no host"))?;
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: parsed.port_or_known_default().ok_or_else(|| wrong("no port"))?,
            base: parsed.path().trim_end_matches('/').to_owned(),
            tls,
        })
    }

    /// The value of the `Host` header.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// What stands before the endpoint's path.
    pub fn base(&self) -> &str {
        &self.base
    }
}

fn tls() -> Result<TlsConnector, String> {
    // A second installation fails, and the first one is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ClientConfig::with_platform_verifier()
        .map_err(|error| format!("the system's certificates cannot be read: {error}; {NAME_THE_CA}"))?;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What the socket said, and what to do where it is this machine that has no more of something.
fn explained(error: &io::Error) -> String {
    let hint = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE) => {
            "; raise the limit of this process with `ulimit -n`, or set `max_in_flight`"
        }
        Some(Errno::ADDRNOTAVAIL) => {
            "; every local port is taken: let fewer requests be in flight, or widen net.ipv4.ip_local_port_range"
        }
        _ => "",
    };
    format!("{error}{hint}")
}

/// Either kind of stream.
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
                message: explained(&error),
            })?;
        let unreachable = |message: String| ConnectError { outcome: Outcome::Unreachable, message };
        // Nagle's algorithm would hold a small request back until an answer that never comes.
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
