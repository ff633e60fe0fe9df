//! A provider behind an address of your own: signed JSON out, a clear answer back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::{Answer, Class, Classes, Fault, Reply, Whose};
use crate::channel::{Channel, How, Limits, Parcel, Request};
use crate::message::Message;
use crate::secret::Secret;
use crate::sign;
use crate::spoken::{short, spoken};

const LIMITS: Limits = Limits::none(2_000);
const CLASSES: Classes =
    Classes { cool_down: Duration::from_secs(60), codes: &[("", Class::Later)] };

/// A provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedHttp {
    /// Where to post.
    pub url: Secret,
    /// What signs the bodies.
    pub key: Secret,
    /// Whose phone it is for what is not for one person.
    #[serde(default)]
    pub to: String,
}

impl Channel for SignedHttp {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn parcel(&self, message: &Message, to: &str, how: How<'_>) -> Result<Parcel, Fault> {
        let to = if to.is_empty() { &self.to } else { to };
        let body = json!({
            "id": message.key, "to": to, "text": short(message, LIMITS.text_bytes_max),
            "spoken": spoken(message), "lang": message.language.tag(),
            "urgency": message.urgency, "case": message.thread, "kind": message.kind,
            "buttons": message.buttons,
        });
        let request = Request::json(self.url.expose(), &body);
        let timestamp = how.now.seconds().to_string();
        let signature = sign::saker(self.key.expose(), &timestamp, &request.body);
        let request =
            request.with("X-Saker-Timestamp", timestamp).with("X-Saker-Signature", signature);
        Ok(Parcel::Http(vec![request]))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        let body = reply.json();
        match body["ok"].as_bool() {
            Some(true) if reply.status < 300 => {
                Answer::Sent { id: body["provider_id"].as_str().map(str::to_owned) }
            }
            Some(false) => {
                let code = body["code"].as_str().map_or(body["code"].to_string(), str::to_owned);
                let fault = Fault::new(code, body["text"].as_str().unwrap_or(""));
                match body["retryable"].as_bool() {
                    Some(false) => Answer::Refused { fault, whose: Whose::Message },
                    _ => Answer::Later { fault, wait: reply.wait },
                }
            }
            _ => CLASSES.by_status(reply),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::{how, read, request};
    use crate::message::tests::message;

    fn provider() -> SignedHttp {
        SignedHttp { url: "http://sms.example/".into(), key: "k".into(), to: "+1".to_owned() }
    }

    #[test]
    fn the_raw_body_is_signed_with_its_time() {
        let sent = request(&provider(), &message(), "", how());
        assert_eq!(sent.header("X-Saker-Timestamp"), Some("1700000000"));
        let expected = sign::saker("k", "1700000000", &sent.body);
        assert_eq!(sent.header("X-Saker-Signature"), Some(expected.as_str()));
    }

    #[test]
    fn a_provider_knows_what_to_report_when_a_key_is_pressed() {
        let body: serde_json::Value =
            serde_json::from_slice(&request(&provider(), &message(), "", how()).body).unwrap();
        assert_eq!(body["buttons"][0]["action"], "AbCdEfGhIjKl1");
        assert!(crate::Spec::SignedHttp(provider()).hears());
    }

    #[test]
    fn only_a_clear_yes_is_sent() {
        let sent = read(&provider(), 200, r#"{"ok":true,"provider_id":"p1"}"#);
        assert_eq!(sent, Answer::Sent { id: Some("p1".to_owned()) });
        assert!(matches!(read(&provider(), 200, "{}"), Answer::Later { .. }));
        assert!(matches!(read(&provider(), 500, r#"{"ok":true}"#), Answer::Later { .. }));
        let again = read(&provider(), 200, r#"{"ok":false,"retryable":true,"code":"busy"}"#);
        assert!(matches!(again, Answer::Later { .. }));
        let never = read(&provider(), 200, r#"{"ok":false,"retryable":false,"code":7}"#);
        assert!(matches!(never, Answer::Refused { whose: Whose::Message, .. }));
    }
}
