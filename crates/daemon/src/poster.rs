//! Posts many small messages to few places.
//!
//! Under [`http_client`](crate::http_client) lies the client of hyper-util, which this is without reqwest's layers: they
//! parse and copy the address of every message again and look for redirects, cookies and packed answers. A storm of
//! 50,000 messages cost a third more with them.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    USER_AGENT,
};
use axum::http::{Method, Request, StatusCode, Uri};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use thiserror::Error;
use tokio::net::TcpStream;
use tower::ServiceExt as _;
use tower::util::MapFuture;

use crate::http_client::{self, CONNECT_TIMEOUT, tls};

/// A connection that nothing was sent over for so long is closed.
const IDLE_FOR: Duration = Duration::from_secs(90);
/// A silent connection is probed after so long, and given up after so many probes, or when what was sent stays
/// unacknowledged. As reqwest has it.
const PROBED_AFTER: Duration = Duration::from_secs(15);
const PROBES: u32 = 3;
const UNACKNOWLEDGED_FOR: Duration = Duration::from_secs(30);
/// For so long the text of a refusal is waited for.
const TEXT_WITHIN: Duration = Duration::from_secs(1);
/// `IDEMPOTENCY-KEY` of an IETF draft: the same for every attempt to tell the same thing.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type Connecting = BoxFuture<'static, Result<Stream, Box<dyn std::error::Error + Send + Sync>>>;
type Connector = MapFuture<HttpsConnector<HttpConnector>, fn(Connecting) -> Connecting>;

/// Where messages go: an address made ready once for all of them.
#[derive(Clone)]
pub struct Target {
    uri: Uri,
    headers: HeaderMap,
}

/// The address may hold a token, a header a password.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.uri.host().unwrap_or(""))
    }
}

impl Target {
    /// For messages of this type, such as `application/json`. A name and password in the address are sent as
    /// `Authorization: Basic`. Fails on an address that is none of HTTP, or holds what no request can.
    pub fn new(mut url: Url, content_type: &'static str) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(USER_AGENT, HeaderValue::from_static(http_client::USER_AGENT));
        if let Some(authorization) = basic(&url)? {
            headers.insert(AUTHORIZATION, authorization);
        }
        let is_plain = url.set_username("").is_ok() && url.set_password(None).is_ok();
        anyhow::ensure!(
            is_plain && matches!(url.scheme(), "http" | "https"),
            "not an address of HTTP"
        );
        url.set_fragment(None);
        // The cause would show the address.
        let uri = url.as_str().parse().ok().context("not an address of HTTP")?;
        Ok(Self { uri, headers })
    }

    /// What must not be repeated: the address, which may hold a token, and the login. Not for logs.
    pub fn secrets(&self) -> Vec<String> {
        let login = self.headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let login = login.map(|login| login.rsplit(' ').next().unwrap_or(login).to_owned());
        [self.uri.to_string()].into_iter().chain(login).collect()
    }
}

fn basic(url: &Url) -> anyhow::Result<Option<HeaderValue>> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let plain = |text: &str| percent_decode_str(text).decode_utf8().map(String::from);
    let not_text = "the user or password in the address is not text";
    let user = plain(url.username()).context(not_text)?;
    let password = plain(url.password().unwrap_or("")).context(not_text)?;
    let word = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::try_from(format!("Basic {word}")).context(not_text)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// What a server answered.
#[derive(Debug)]
pub struct Answered {
    /// Its status.
    pub status: StatusCode,
    /// After how long it wants to be asked again, in seconds or as a date.
    pub retry_after: Option<HeaderValue>,
    /// What the body is, where it says so.
    pub content_type: Option<HeaderValue>,
    /// How the body of a refusal begins: what came in one piece. Empty after a success, which is not read.
    pub beginning: Bytes,
}

/// Why there is no answer. None of the texts shows the address.
#[derive(Debug, Error)]
pub enum PostError {
    /// The message cannot be written as a request.
    #[error("the message cannot be sent: {0}")]
    Unsendable(String),
    /// It did not come in time.
    #[error("no answer in time")]
    TimedOut,
    /// There is no connection.
    #[error("cannot connect: {0}")]
    NotConnected(String),
    /// The connection ended before the answer. The message may have arrived.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// A client without proxies, redirects and cookies that trusts what the host trusts, as
/// [`http_client`](crate::http_client). Connections are kept and used again; a message that meets a closed one before
/// anything of it was written goes over another. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Poster {
    client: legacy::Client<Connector, Full<Bytes>>,
}

impl Poster {
    /// Fails when there is no TLS.
    pub fn new() -> anyhow::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(PROBED_AFTER));
        tcp.set_keepalive_interval(Some(PROBED_AFTER));
        tcp.set_keepalive_retries(Some(PROBES));
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED_FOR));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_timer(TokioTimer::new())
            .build(connector.map_future(connected_in_time as fn(Connecting) -> Connecting));
        Ok(Self { client })
    }

    /// Posts a message and waits for the answer for so long at most; for the text of a refusal a second more.
    pub async fn post(
        &self,
        target: &Target,
        idempotency_key: &str,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Answered, PostError> {
        let key = HeaderValue::from_str(idempotency_key)
            .map_err(|error| PostError::Unsendable(error.to_string()))?;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target.uri.clone();
        request.headers_mut().clone_from(&target.headers);
        request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        let answer = tokio::time::timeout(timeout, self.client.request(request)).await;
        let response = answer.map_err(|_| PostError::TimedOut)?.map_err(no_answer)?;
        let (mut head, mut body) = response.into_parts();
        let beginning = if head.status.is_success() {
            Bytes::new()
        } else {
            // A refusal is one without its text too, and who waits for the text sends nothing else meanwhile.
            let piece = tokio::time::timeout(TEXT_WITHIN, body.frame()).await.ok().flatten();
            piece.and_then(|piece| piece.ok()?.into_data().ok()).unwrap_or_default()
        };
        Ok(Answered {
            status: head.status,
            retry_after: head.headers.remove(RETRY_AFTER),
            content_type: head.headers.remove(CONTENT_TYPE),
            beginning,
        })
    }
}

/// TCP and TLS together.
fn connected_in_time(connecting: Connecting) -> Connecting {
    Box::pin(async {
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(format!("not within {} s", CONNECT_TIMEOUT.as_secs()).into()),
        }
    })
}

fn no_answer(error: legacy::Error) -> PostError {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let cause = cause.to_string();
    if error.is_connect() { PostError::NotConnected(cause) } else { PostError::Broken(cause) }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    const PATIENCE: Duration = Duration::from_secs(20);

    /// The requests of each connection, in order.
    type Heard = Arc<Mutex<Vec<Vec<String>>>>;

    fn target(url: &str) -> anyhow::Result<Target> {
        Target::new(url.parse().unwrap(), "application/json")
    }

    /// A server that gives this answer to every request, none if it is empty, and hangs up after so many.
    fn server(answer: &'static str, per_connection: usize) -> (String, Heard) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let heard = Heard::default();
        let told = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = told.lock().unwrap().len();
                told.lock().unwrap().push(Vec::new());
                let (stream, told) = (stream.unwrap(), Arc::clone(&told));
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    for _ in 0..per_connection {
                        let Some(request) = request(&mut reader) else { return };
                        told.lock().unwrap()[connection].push(request);
                        (&stream).write_all(answer.as_bytes()).unwrap();
                    }
                });
            }
        });
        (url, heard)
    }

    fn request(reader: &mut BufReader<TcpStream>) -> Option<String> {
        let (mut text, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            text.push_str(&line);
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(text + &String::from_utf8(body).unwrap())
    }

    async fn post(poster: &Poster, url: &str, body: &str) -> Result<Answered, PostError> {
        poster.post(&target(url).unwrap(), "key-1", body.into(), PATIENCE).await
    }

    #[test]
    fn an_address_gives_nothing_away() {
        let target = target("https://ann:hunter%202@h.example/x?token=hunter3#part").unwrap();
        assert_eq!(format!("{target:?}"), "Target(h.example)");
        assert_eq!(target.uri, "https://h.example/x?token=hunter3");
        let authorization = &target.headers[AUTHORIZATION];
        assert_eq!(authorization, &format!("Basic {}", BASE64_STANDARD.encode("ann:hunter 2")));
        assert!(authorization.is_sensitive());
    }

    #[test]
    fn what_is_no_address_of_http_is_refused() {
        for text in ["ftp://h.example/", "mailto:a@h.example", "http://%FF:x@h.example/"] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn messages_follow_each_other_over_one_connection() {
        let (url, heard) = server(OK, usize::MAX);
        let poster = Poster::new().unwrap();
        for body in ["one", "two", "three"] {
            let answered = post(&poster, &format!("{url}?a=b"), body).await.unwrap();
            assert_eq!(answered.status, StatusCode::OK);
        }
        let heard = heard.lock().unwrap();
        assert_eq!(heard.iter().map(Vec::len).collect::<Vec<_>>(), [3]);
        let first = &heard[0][0];
        assert!(first.starts_with("POST /hook?a=b HTTP/1.1\r\n") && first.ends_with("\r\n\r\none"));
        for header in ["content-type: application/json", "idempotency-key: key-1", "host: 127."] {
            assert!(first.contains(header), "{header} in {first}");
        }
        assert!(first.contains("user-agent: saker/") && first.contains("accept: */*"), "{first}");
    }

    #[tokio::test]
    async fn a_server_that_says_it_hangs_up_costs_no_message() {
        let bye = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let (url, heard) = server(bye, 1);
        let poster = Poster::new().unwrap();
        for number in 0..20 {
            post(&poster, &url, &number.to_string()).await.unwrap();
        }
        assert_eq!(heard.lock().unwrap().len(), 20);
    }

    #[tokio::test]
    async fn a_refusal_whose_text_never_comes_is_a_refusal_all_the_same() {
        let cut = "HTTP/1.1 429 Too Many\r\nRetry-After: 77\r\nContent-Length: 9\r\n\r\n";
        let (url, _) = server(cut, 1_000);
        let answered = post(&Poster::new().unwrap(), &url, "x").await.expect("there is an answer");
        assert_eq!((answered.status, answered.beginning.len()), (StatusCode::TOO_MANY_REQUESTS, 0));
        assert_eq!(answered.retry_after.unwrap(), "77");
    }

    #[tokio::test]
    async fn a_server_that_just_hangs_up_is_never_taken_for_one_that_answered() {
        let (url, heard) = server(OK, 2);
        let poster = Poster::new().unwrap();
        let mut sent = 0;
        for number in 0..40 {
            // One that is written while the connection ends is not known to have arrived. It is for the caller to
            // tell it again.
            loop {
                match post(&poster, &url, &number.to_string()).await {
                    Ok(_) => break,
                    Err(error) => assert!(matches!(error, PostError::Broken(_)), "{error}"),
                }
            }
            sent += 1;
        }
        let heard = heard.lock().unwrap();
        let bodies: Vec<&str> =
            heard.iter().flatten().filter_map(|text| text.split("\r\n\r\n").nth(1)).collect();
        assert!((0..sent).all(|number: i32| bodies.contains(&number.to_string().as_str())));
        assert_eq!(bodies.len(), 40, "nothing that was answered was told again");
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_not_waited_for() {
        let (url, heard) = server("", usize::MAX);
        let (poster, target) = (Poster::new().unwrap(), target(&url).unwrap());
        // Not before it has the message.
        let wait = Duration::from_millis(300);
        let error = poster.post(&target, "k", b"x".to_vec(), wait).await.unwrap_err();
        assert!(matches!(error, PostError::TimedOut), "{error}");
        assert!(heard.lock().unwrap().len() <= 1);
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer() {
        let (other, heard) = server(OK, 1);
        let text = format!("HTTP/1.1 307 Go\r\nLocation: {other}\r\nContent-Length: 0\r\n\r\n");
        let (url, _) = server(text.leak(), 1);
        let answered = post(&Poster::new().unwrap(), &url, "x").await.unwrap();
        assert_eq!(answered.status, StatusCode::TEMPORARY_REDIRECT);
        assert!(heard.lock().unwrap().is_empty(), "nobody went there");
    }

    #[tokio::test]
    async fn a_refusal_says_why_and_when_to_come_again() {
        let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Type: text/plain\r\n\
                    Content-Length: 8\r\n\r\nnot now!";
        let (url, _) = server(busy, 1);
        let answered = post(&Poster::new().unwrap(), &url, "x").await.unwrap();
        assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answered.retry_after.unwrap(), "7");
        assert_eq!(answered.content_type.unwrap(), "text/plain");
        assert_eq!(answered.beginning, "not now!");
    }

    #[tokio::test]
    async fn nobody_and_nobody_that_speaks_tls_are_no_connection() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let poster = Poster::new().unwrap();
        let error = post(&poster, &format!("http://{closed}/hunter2"), "x").await.unwrap_err();
        assert!(matches!(error, PostError::NotConnected(_)), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let babble = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut hello = [0; 64];
            stream.read_exact(&mut hello).unwrap();
            let _ = stream.write_all(OK.as_bytes());
            hello
        });
        let error = post(&poster, &format!("https://{address}/hunter2"), "x").await.unwrap_err();
        assert!(matches!(error, PostError::NotConnected(_)), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(babble.join().unwrap()[0], 22, "it began with a handshake of TLS");
    }
}
