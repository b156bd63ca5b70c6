//! The HTTP client for everything but the measured requests: readiness probes, `/metrics` and token counts.

use std::{error::Error, time::Duration};

use serde_json::{Map, Value};

/// Why a request got no usable response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The client cannot be built.
    #[error("cannot start the HTTP client: {0}")]
    Client(String),
    /// No response, or not all of it: the connection failed or the time was up.
    #[error("{url} does not answer: {reason}{hint}")]
    NoResponse {
        /// The requested URL.
        url: String,
        /// The innermost cause.
        reason: String,
        /// What to do about it; may be empty.
        hint: &'static str,
    },
    /// The body is larger than the request's limit.
    #[error("the response of {url} is longer than {limit} bytes")]
    TooLong {
        /// The requested URL.
        url: String,
        /// The limit, bytes.
        limit: usize,
    },
    /// The response has another status than 200.
    #[error("{url} returned {status}")]
    Status {
        /// The requested URL.
        url: String,
        /// The HTTP status.
        status: u16,
    },
}

impl HttpError {
    fn no_response(url: &str, error: &reqwest::Error) -> Self {
        let mut cause: &dyn Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let reason = cause.to_string();
        let hint = if reason.contains("certificate") {
            "; if no installed CA signed its certificate, name the CA's PEM file in the environment variable SSL_CERT_FILE"
        } else {
            ""
        };
        Self::NoResponse { url: url.to_owned(), reason, hint }
    }
}

/// A client that uses no proxy, follows no redirect, and verifies certificates as the platform does. Cheap to
/// clone; building one reads the machine's certificates.
#[derive(Clone, Debug)]
pub struct HttpClient(reqwest::Client);

/// One request: what to ask of whom, and what the response may cost.
#[derive(Clone, Copy)]
pub struct HttpRequest<'a> {
    /// The whole URL.
    pub url: &'a str,
    /// Sent as a bearer token.
    pub api_key: Option<&'a str>,
    /// Sent as JSON by POST; without it the request is a GET.
    pub body: Option<&'a Map<String, Value>>,
    /// Limit on the time until the whole response has arrived.
    pub timeout: Duration,
    /// Limit on the response's body, bytes.
    pub max_body: usize,
}

impl HttpClient {
    /// Builds the client.
    ///
    /// # Errors
    /// When the platform's certificates cannot be read.
    pub fn new() -> Result<Self, HttpError> {
        // Fails when a provider is installed already, which is then this one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .no_proxy()
            // Whoever answers elsewhere is another server.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map(Self)
            .map_err(|error| HttpError::Client(error.to_string()))
    }

    /// Sends a request and returns the status and the whole body of the response.
    pub(super) async fn send(&self, request: HttpRequest<'_>) -> Result<(u16, Vec<u8>), HttpError> {
        let HttpRequest { url, api_key, body, timeout, max_body } = request;
        let mut builder = match body {
            Some(body) => self.0.post(url).json(body),
            None => self.0.get(url),
        };
        if let Some(key) = api_key {
            builder = builder.bearer_auth(key);
        }
        let failed = |error| HttpError::no_response(url, &error);
        let mut response = builder.timeout(timeout).send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > max_body {
                return Err(HttpError::TooLong { url: url.to_owned(), limit: max_body });
            }
        }
        Ok((status, body))
    }

    /// Sends a request whose response must have the status 200, and returns its body.
    ///
    /// # Errors
    /// When no whole response arrives in time, its body is too long, or its status is another one.
    pub async fn fetch(&self, request: HttpRequest<'_>) -> Result<Vec<u8>, HttpError> {
        match self.send(request).await? {
            (200, body) => Ok(body),
            (status, _) => Err(HttpError::Status { url: request.url.to_owned(), status }),
        }
    }
}
