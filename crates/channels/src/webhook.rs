//! A webhook that takes Alertmanager's body, version 4.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Classes, Fault, Reply, Whose};
use crate::channel::{Channel, How, Limits, Parcel, Request};
use crate::message::Message;
use crate::secret::Secret;

const LIMITS: Limits = Limits::none(usize::MAX);
const CLASSES: Classes = Classes { cool_down: Duration::from_secs(5), codes: &[] };

/// A webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where to post.
    pub url: Secret,
    /// Headers that are always the same.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
}

impl Channel for Webhook {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn parcel(&self, message: &Message, _: &str, _: How<'_>) -> Result<Parcel, Fault> {
        let body = serde_json::to_vec(&message.group)
            .map_err(|cause| Fault::new("json", &cause.to_string()))?;
        let mut request = Request::post(self.url.expose(), "application/json", body)
            .with("Idempotency-Key", header(&message.key));
        for (name, value) in &self.headers {
            request = request.with(name, value.expose());
        }
        Ok(Parcel::Http(vec![request]))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        let fault = || Fault::new(reply.status.to_string(), &String::from_utf8_lossy(reply.body));
        match reply.status {
            200..=299 => Answer::Sent { id: None },
            429 => Answer::Later { fault: fault(), wait: reply.wait.or(Some(CLASSES.cool_down)) },
            408 | 500.. => CLASSES.by_status(reply),
            _ => Answer::Refused { fault: fault(), whose: Whose::Message },
        }
    }
}

/// What may stand in a header.
fn header(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::{body, how, read, request};
    use crate::message::tests::message;

    fn hook() -> Webhook {
        let headers = [("Authorization".to_owned(), Secret::from("hunter2"))].into();
        Webhook { url: "http://hook.example/".into(), headers }
    }

    #[test]
    fn the_body_is_alertmanagers() {
        let sent = body(&hook(), &message(), "", how());
        assert_eq!((&sent["version"], &sent["status"]), (&"4".into(), &"firing".into()));
        assert_eq!(sent["alerts"][0]["labels"]["endpoint"], "web-03");
        let request =
            request(&hook(), &Message { key: "a b\r\n".to_owned(), ..message() }, "", how());
        assert_eq!(request.header("Idempotency-Key"), Some("a-b--"));
        assert_eq!(request.header("Authorization"), Some("hunter2"));
        assert!(!format!("{:?}", hook()).contains("hunter2"));
    }

    #[test]
    fn its_statuses_mean_what_they_say() {
        assert_eq!(read(&hook(), 204, ""), Answer::Sent { id: None });
        for status in [408, 429, 500, 503] {
            assert!(matches!(read(&hook(), status, ""), Answer::Later { .. }), "{status}");
        }
        for status in [301, 400, 404, 410] {
            assert!(matches!(read(&hook(), status, ""), Answer::Refused { .. }), "{status}");
        }
    }
}
