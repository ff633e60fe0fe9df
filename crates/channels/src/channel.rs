//! What every channel can do: build what is to be sent, and read the answer. The caller does the sending.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use model::Timestamp;

use crate::answer::{Answer, Fault, Reply};
use crate::message::Message;

/// An HTTP request to make. `Debug` shows neither address, headers nor body: each may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// `POST` unless it is `true`.
    pub is_get: bool,
    /// The whole address.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A `POST` of JSON.
    pub fn json(url: impl Into<String>, body: &serde_json::Value) -> Self {
        Self::post(url, "application/json; charset=utf-8", body.to_string().into_bytes())
    }

    /// A `POST` of a form.
    pub fn form(url: impl Into<String>, fields: &[(&str, &str)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        Self::post(url, "application/x-www-form-urlencoded", body.into_bytes())
    }

    /// A `POST` of a body.
    pub fn post(url: impl Into<String>, content_type: &str, body: Vec<u8>) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Self { is_get: false, url: url.into(), headers, body }
    }

    /// A `GET`.
    pub fn get(url: impl Into<String>) -> Self {
        Self { is_get: true, url: url.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// The request with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// A mail to hand to a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Envelope sender.
    pub from: String,
    /// Envelope recipients.
    pub to: Vec<String>,
    /// The whole text, headers included.
    pub text: Vec<u8>,
}

/// A program to run. Its arguments come from the settings alone, the message goes to its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Absolute path.
    pub program: PathBuf,
    /// Fixed arguments.
    pub arguments: Vec<String>,
    /// The message as JSON.
    pub input: Vec<u8>,
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parcel {
    /// One request after the other; the first answer that is not "sent" ends it.
    Http(Vec<Request>),
    /// A mail.
    Mail(Mail),
    /// A program.
    Run(Run),
}

/// What a platform allows. Ours stay below theirs, since a bot that sends too much is shut out for minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages of one bot in any minute; 0 for no limit.
    pub per_minute: u32,
    /// Messages of one bot in any second; 0 for no limit.
    pub per_second: u32,
    /// Of `per_minute`, how many are kept for urgent messages; half of it at most counts.
    pub reserved_per_minute: u32,
    /// The longest text in bytes; longer ones are cut.
    pub text_bytes_max: usize,
}

impl Limits {
    /// No limit but the length of the text.
    pub const fn none(text_bytes_max: usize) -> Self {
        Self { per_minute: 0, per_second: 0, reserved_per_minute: 0, text_bytes_max }
    }
}

/// What a request is built with besides the message.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    /// The moment of sending; signatures hold it.
    pub now: Timestamp,
    /// The access token, where the channel needs one; else empty.
    pub token: &'a str,
    /// Whether the message must go as plain text, because its better form was refused.
    pub is_plain: bool,
}

/// An access token.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// The token.
    pub token: String,
    /// How long it holds.
    pub holds: Duration,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("holds", &self.holds).finish_non_exhaustive()
    }
}

/// A way to reach people: builds what is to be sent and reads the answer.
pub trait Channel: fmt::Debug + Send + Sync {
    /// What the platform allows.
    fn limits(&self) -> Limits;

    /// The request for an access token, where one is needed.
    fn login(&self) -> Option<Request> {
        None
    }

    /// Reads the answer to [`Channel::login`].
    fn read_login(&self, reply: &Reply<'_>) -> Result<Access, Fault> {
        Err(Fault::new(reply.status.to_string(), "this channel has no login"))
    }

    /// What is to be sent. `to` is the address of the recipient; empty for channels whose settings name it.
    /// Fails on a message that can never be sent.
    fn parcel(&self, message: &Message, to: &str, how: How<'_>) -> Result<Parcel, Fault>;

    /// The request that draws a message anew after somebody pressed one of its buttons, where the platform wants
    /// one. `place` is [`crate::callback::Click::place`], `token` as in [`How::token`].
    fn redraw(&self, _message: &Message, _place: &str, _token: &str) -> Option<Request> {
        None
    }

    /// What the answer means.
    fn read(&self, reply: &Reply<'_>) -> Answer;
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::message::tests::NOW;

    pub(crate) fn how() -> How<'static> {
        How { now: NOW, token: "tok", is_plain: false }
    }

    /// The requests that a message becomes.
    pub(crate) fn requests(
        channel: &dyn Channel,
        message: &Message,
        to: &str,
        how: How<'_>,
    ) -> Vec<Request> {
        match channel.parcel(message, to, how) {
            Ok(Parcel::Http(requests)) => requests,
            other => panic!("not HTTP: {other:?}"),
        }
    }

    /// The only request that a message becomes.
    pub(crate) fn request(
        channel: &dyn Channel,
        message: &Message,
        to: &str,
        how: How<'_>,
    ) -> Request {
        let mut requests = requests(channel, message, to, how);
        assert_eq!(requests.len(), 1);
        requests.remove(0)
    }

    /// The JSON body of the only request.
    pub(crate) fn body(
        channel: &dyn Channel,
        message: &Message,
        to: &str,
        how: How<'_>,
    ) -> serde_json::Value {
        serde_json::from_slice(&request(channel, message, to, how).body).unwrap()
    }

    /// What a channel makes of an HTTP answer.
    pub(crate) fn read(channel: &dyn Channel, status: u16, body: &str) -> Answer {
        channel.read(&Reply { status, wait: None, body: body.as_bytes() })
    }

    #[test]
    fn a_request_shows_nothing_that_may_be_a_secret() {
        let request = Request::form("https://x.example/?key=hunter2", &[("token", "hunter2")])
            .with("Authorization", "Bearer hunter2");
        assert!(!format!("{request:?}").contains("hunter2"));
        let access = Access { token: "hunter2".to_owned(), holds: Duration::from_secs(1) };
        assert!(!format!("{access:?}").contains("hunter2"));
        assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    }
}
