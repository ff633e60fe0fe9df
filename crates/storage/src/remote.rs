//! A store behind the network: any engine that speaks the Prometheus HTTP API and takes remote write.

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use thiserror::Error;
use wire::prom_answer::{self, AnswerError};

use crate::overlay::Overlay;

/// So much of an answer that is no JSON is quoted.
const QUOTED_CHARS_MAX: usize = 300;

/// Where a remote store is. `Debug` shows neither token nor headers.
#[derive(Clone)]
pub struct RemoteConfig {
    /// Where it is read: the part of the address before `/api/v1/query`.
    pub url: String,
    /// Where it takes remote write, the whole address. Empty: it cannot be written.
    pub write_url: String,
    /// The bearer token for both.
    pub token: Option<String>,
    /// More headers of every request, as `X-Scope-OrgID`.
    pub headers: Vec<(String, String)>,
    /// How long a question that names no time of its own may take, and a write with its repetitions.
    pub timeout: Duration,
    /// Most bytes of an answer.
    pub answer_bytes_max: usize,
    /// What was written is seen by queries of this process at once and for this long, whatever the engine shows yet.
    pub overlay_span: Duration,
    /// Most samples that are kept for that.
    pub overlay_samples_max: usize,
}

impl RemoteConfig {
    /// The defaults for a store.
    pub fn new(url: impl Into<String>, write_url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            write_url: write_url.into(),
            token: None,
            headers: Vec::new(),
            timeout: Duration::from_secs(30),
            answer_bytes_max: 256 << 20,
            overlay_span: Duration::from_secs(60),
            overlay_samples_max: 1_000_000,
        }
    }

    /// Says what is wrong with it, without connecting.
    pub fn check(&self) -> Result<(), RemoteError> {
        base(&self.url)?;
        if !self.write_url.is_empty() {
            base(&self.write_url)?;
        }
        self.header_map().map(|_| ())
    }

    fn header_map(&self) -> Result<HeaderMap, RemoteError> {
        let fault = |what: String| RemoteError::Config { what };
        let mut headers = HeaderMap::new();
        for (name, text) in &self.headers {
            let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(text).ok());
            let (name, value) = parsed.ok_or_else(|| fault(format!("{name:?} is no header")))?;
            headers.insert(name, value);
        }
        if let Some(token) = &self.token {
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let mut value = value.map_err(|_| fault("the token holds other signs".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }
}

impl fmt::Debug for RemoteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = |url: &str| base(url).ok().and_then(|url| url.host_str().map(str::to_owned));
        f.debug_struct("RemoteConfig")
            .field("host", &host(&self.url))
            .field("write_host", &host(&self.write_url))
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Why a remote store gave no answer. No variant holds a password or token.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// The settings cannot be used.
    #[error("the remote store is not set up: {what}")]
    Config {
        /// What is wrong.
        what: String,
    },
    /// It did not answer, or not in time.
    #[error("{operation}: no answer from {host}")]
    Away {
        /// What was asked.
        operation: &'static str,
        /// Whom.
        host: String,
        /// Why.
        source: reqwest::Error,
    },
    /// It answers that it cannot now: too many requests, or a fault of its own.
    #[error("{operation}: {host} answered {status}: {text}")]
    Failing {
        /// What was asked.
        operation: &'static str,
        /// Whom.
        host: String,
        /// The status.
        status: u16,
        /// What it said.
        text: String,
    },
    /// It says that the question is wrong, or that who asks may not.
    #[error("{operation}: {host} refused it with {status} ({kind}): {text}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Whom.
        host: String,
        /// The status.
        status: u16,
        /// The error type of the Prometheus API; empty when it named none.
        kind: String,
        /// What it said.
        text: String,
    },
    /// The answer is larger than the limit.
    #[error("{operation}: the answer of {host} has more than {limit} bytes: ask for less")]
    TooLarge {
        /// What was asked.
        operation: &'static str,
        /// Whom.
        host: String,
        /// The limit.
        limit: usize,
    },
    /// The answer cannot be read.
    #[error("{operation}: the answer of {host} cannot be read")]
    Answer {
        /// What was asked.
        operation: &'static str,
        /// Whom.
        host: String,
        /// What is wrong with it.
        source: AnswerError,
    },
}

impl RemoteError {
    /// Whether the same request may succeed later.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Failing { .. })
    }

    /// The error type of the Prometheus API that says the same.
    pub fn kind(&self) -> &str {
        match self {
            Self::Refused { kind, .. } if !kind.is_empty() => kind,
            Self::Away { source, .. } if source.is_timeout() => "timeout",
            Self::TooLarge { .. } => "execution",
            Self::Away { .. } | Self::Failing { .. } => "unavailable",
            Self::Config { .. } | Self::Refused { .. } | Self::Answer { .. } => "internal",
        }
    }
}

/// A remote store.
pub(crate) struct Remote {
    pub(crate) http: Client,
    url: Url,
    write_url: Option<Url>,
    headers: HeaderMap,
    pub(crate) timeout: Duration,
    answer_bytes_max: usize,
    pub(crate) overlay: Overlay,
}

// The client's headers hold the token.
impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("host", &host_of(&self.url)).finish_non_exhaustive()
    }
}

impl Remote {
    pub(crate) fn new(config: &RemoteConfig, http: Client) -> Result<Self, RemoteError> {
        let write_url = match config.write_url.as_str() {
            "" => None,
            url => Some(base(url)?),
        };
        Ok(Self {
            http,
            url: base(&config.url)?,
            write_url,
            headers: config.header_map()?,
            timeout: config.timeout,
            answer_bytes_max: config.answer_bytes_max,
            overlay: Overlay::new(config.overlay_span, config.overlay_samples_max),
        })
    }

    /// The address of an endpoint, with its parts as they are in the path.
    pub(crate) fn endpoint(&self, parts: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(parts);
        }
        url
    }

    /// Where to write, with the host for messages.
    pub(crate) fn write_url(&self) -> Result<&Url, RemoteError> {
        let what = "it has no address to write to (write_url)";
        self.write_url.as_ref().ok_or_else(|| RemoteError::Config { what: what.to_owned() })
    }

    /// Asks, and answers the body of a success.
    pub(crate) async fn ask(
        &self,
        operation: &'static str,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<Vec<u8>, RemoteError> {
        let asking = Asking { operation, host: host_of(&self.url), remote: self };
        asking.send(request, timeout).await
    }

    /// As [`Remote::ask`], of whoever takes samples.
    pub(crate) async fn post_samples(
        &self,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<(), RemoteError> {
        let host = self.write_url.as_ref().map(host_of).unwrap_or_default();
        let asking = Asking { operation: "write samples", host, remote: self };
        asking.send(request, timeout).await.map(|_| ())
    }

    /// What is wrong with an answer that came with success.
    pub(crate) fn unreadable(&self, operation: &'static str, source: AnswerError) -> RemoteError {
        RemoteError::Answer { operation, host: host_of(&self.url), source }
    }
}

struct Asking<'r> {
    operation: &'static str,
    host: String,
    remote: &'r Remote,
}

impl Asking<'_> {
    async fn send(
        self,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<Vec<u8>, RemoteError> {
        let request = request.headers(self.remote.headers.clone()).timeout(timeout);
        let response = match request.send().await {
            Ok(response) => response,
            Err(source) => return Err(self.away(source)),
        };
        let status = response.status();
        let limit = if status.is_success() { self.remote.answer_bytes_max } else { 64 << 10 };
        let body = self.body(response, limit).await;
        if status.is_success() {
            return body;
        }
        let body = body.unwrap_or_default();
        let (kind, text) = prom_answer::read_error(&body).unwrap_or_else(|| {
            let text = String::from_utf8_lossy(&body);
            (String::new(), text.trim().chars().take(QUOTED_CHARS_MAX).collect())
        });
        let (operation, host, number) = (self.operation, self.host, status.as_u16());
        let is_passing = status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT
            || (status.is_server_error() && kind.is_empty());
        Err(match is_passing {
            true => RemoteError::Failing { operation, host, status: number, text },
            false => RemoteError::Refused { operation, host, status: number, kind, text },
        })
    }

    async fn body(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, RemoteError> {
        let too_large = || {
            let (operation, host) = (self.operation, self.host.clone());
            RemoteError::TooLarge { operation, host, limit }
        };
        let announced = response.content_length().unwrap_or(0);
        if announced > limit as u64 {
            return Err(too_large());
        }
        let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
        loop {
            match response.chunk().await {
                Ok(Some(piece)) if body.len() + piece.len() > limit => return Err(too_large()),
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => return Ok(body),
                Err(source) => return Err(self.away(source)),
            }
        }
    }

    fn away(&self, source: reqwest::Error) -> RemoteError {
        let (operation, host) = (self.operation, self.host.clone());
        // The address may hold a password.
        RemoteError::Away { operation, host, source: source.without_url() }
    }
}

fn base(url: &str) -> Result<Url, RemoteError> {
    let fault = || RemoteError::Config {
        what: "its address must be like http://host:port or https://host/path".to_owned(),
    };
    let url = Url::parse(url).map_err(|_| fault())?;
    let is_usable = matches!(url.scheme(), "http" | "https") && url.has_host();
    if is_usable { Ok(url) } else { Err(fault()) }
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_follow_the_path_of_the_address() {
        for (url, expected) in [
            ("http://h:1", "http://h:1/api/v1/label/a%2Fb/values"),
            (
                "http://h/select/0/prometheus/",
                "http://h/select/0/prometheus/api/v1/label/a%2Fb/values",
            ),
        ] {
            let http = daemon::http_client().expect("a client can be built");
            let remote = Remote::new(&RemoteConfig::new(url, ""), http).expect("it is valid");
            assert_eq!(remote.endpoint(&["label", "a/b", "values"]).as_str(), expected);
            assert!(remote.write_url().is_err());
        }
    }

    #[test]
    fn secrets_are_never_shown_and_faults_are() {
        let config = RemoteConfig {
            token: Some("s3cret".to_owned()),
            headers: vec![("X-Scope-OrgID".to_owned(), "s3cret".to_owned())],
            ..RemoteConfig::new("http://u:s3cret@h:1/", "http://h:2/api/v1/write")
        };
        assert!(config.check().is_ok());
        assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
        let bad = [
            RemoteConfig::new("h:1", ""),
            RemoteConfig::new("ftp://h", ""),
            RemoteConfig::new("http://h", "write"),
            RemoteConfig { token: Some("a\nb".to_owned()), ..RemoteConfig::new("http://h", "") },
            RemoteConfig {
                headers: vec![("a b".to_owned(), String::new())],
                ..RemoteConfig::new("http://h", "")
            },
        ];
        assert!(bad.iter().all(|config| config.check().is_err()));
    }
}
