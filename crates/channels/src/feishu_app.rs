//! An app of Feishu or Lark: cards to chats and persons, whose buttons call back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::{Answer, Class, Classes, Fault, Reply, Whose};
use crate::channel::{Access, Channel, How, Limits, Parcel, Request};
use crate::feishu_bot::card;
use crate::markdown;
use crate::message::Message;
use crate::secret::Secret;
use crate::sign;

// 1000 a minute and 50 a second for the app, 5 a second for one chat.
const LIMITS: Limits =
    Limits { per_minute: 900, per_second: 5, reserved_per_minute: 100, text_bytes_max: 9_000 };

const CLASSES: Classes = Classes {
    cool_down: Duration::from_secs(60),
    codes: &[
        ("99991400", Class::Later),
        ("230020", Class::Later),
        ("99991663", Class::Login),
        ("99991664", Class::Login),
        ("99991668", Class::Login),
        ("230001", Class::Refused(Whose::Message)),
        ("230002", Class::Refused(Whose::Recipient)),
        ("230013", Class::Refused(Whose::Recipient)),
    ],
};

/// An app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeishuApp {
    /// `https://open.feishu.cn`, or `https://open.larksuite.com`.
    #[serde(default = "feishu")]
    pub api: String,
    /// The app's id.
    pub app_id: String,
    /// The app's secret.
    pub app_secret: Secret,
    /// The chat that gets what is not for one person.
    #[serde(default)]
    pub chat: String,
}

fn feishu() -> String {
    "https://open.feishu.cn".to_owned()
}

impl Channel for FeishuApp {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn login(&self) -> Option<Request> {
        let url = format!("{}/open-apis/auth/v3/tenant_access_token/internal", self.api);
        let body = json!({ "app_id": self.app_id, "app_secret": self.app_secret.expose() });
        Some(Request::json(url, &body))
    }

    fn read_login(&self, reply: &Reply<'_>) -> Result<Access, Fault> {
        read_login(reply, "code", "msg", "tenant_access_token", "expire")
    }

    fn parcel(&self, message: &Message, to: &str, how: How<'_>) -> Result<Parcel, Fault> {
        let to = if to.is_empty() { &self.chat } else { to };
        let (kind, content) = if how.is_plain {
            let text = message.escaped_with_links(LIMITS.text_bytes_max, markdown::lark_plain);
            ("text", json!({ "text": text }))
        } else {
            ("interactive", card(message, true))
        };
        let url = format!("{}/open-apis/im/v1/messages?receive_id_type={}", self.api, id_kind(to));
        // The platform drops a second message with the same uuid, so a crash cannot tell twice.
        let uuid = &sign::hex(sign::sha256(message.key.as_bytes()))[..32];
        let body = json!({
            "receive_id": to, "msg_type": kind, "content": content.to_string(), "uuid": uuid,
        });
        let request =
            Request::json(url, &body).with("Authorization", format!("Bearer {}", how.token));
        Ok(Parcel::Http(vec![request]))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        match CLASSES.numbered(reply, "code", "msg") {
            Answer::Sent { .. } => {
                let id = reply.json()["data"]["message_id"].as_str().map(str::to_owned);
                Answer::Sent { id }
            }
            other => other,
        }
    }
}

fn id_kind(id: &str) -> &'static str {
    match id {
        _ if id.starts_with("oc_") => "chat_id",
        _ if id.starts_with("ou_") => "open_id",
        _ if id.contains('@') => "email",
        _ => "user_id",
    }
}

/// Reads an access token with how long it holds in seconds. A minute less is believed, for clocks that differ.
pub(crate) fn read_login(
    reply: &Reply<'_>,
    code: &str,
    text: &str,
    token: &str,
    seconds: &str,
) -> Result<Access, Fault> {
    let body = reply.json();
    match body[token].as_str() {
        Some(found) if !found.is_empty() => {
            let holds = body[seconds].as_u64().unwrap_or(0).saturating_sub(60).max(60);
            Ok(Access { token: found.to_owned(), holds: Duration::from_secs(holds) })
        }
        _ => {
            let number = body[code].to_string();
            let number = if body[code].is_null() { reply.status.to_string() } else { number };
            Err(Fault::new(number, body[text].as_str().unwrap_or("no access token")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::{body, how, read, request};
    use crate::message::tests::message;

    fn app() -> FeishuApp {
        let (app_id, app_secret) = ("cli_1".to_owned(), "hunter2".into());
        FeishuApp { api: feishu(), app_id, app_secret, chat: "oc_ops".to_owned() }
    }

    #[test]
    fn a_person_is_addressed_by_the_kind_of_the_id() {
        for (to, kind) in
            [("", "chat_id"), ("ou_1", "open_id"), ("ann@example.com", "email"), ("ann", "user_id")]
        {
            let request = request(&app(), &message(), to, how());
            assert!(request.url.ends_with(&format!("receive_id_type={kind}")), "{}", request.url);
            assert_eq!(request.header("Authorization"), Some("Bearer tok"));
        }
    }

    #[test]
    fn the_card_is_a_text_inside_the_body_and_carries_handles() {
        let sent = body(&app(), &message(), "ou_1", how());
        let card: serde_json::Value =
            serde_json::from_str(sent["content"].as_str().unwrap()).unwrap();
        assert_eq!(card["elements"][1]["actions"][0]["value"]["act"], "AbCdEfGhIjKl1");
        assert_eq!(sent["uuid"].as_str().unwrap().len(), 32);
    }

    #[test]
    fn a_token_is_read_and_believed_for_a_minute_less() {
        let reply = |body| Reply { status: 200, wait: None, body };
        let good = reply(br#"{"code":0,"tenant_access_token":"t-1","expire":7200}"#.as_slice());
        let access = app().read_login(&good).unwrap();
        assert_eq!((access.token.as_str(), access.holds.as_secs()), ("t-1", 7140));
        let bad = reply(br#"{"code":10003,"msg":"invalid param"}"#.as_slice());
        assert_eq!(app().read_login(&bad), Err(Fault::new("10003", "invalid param")));
    }

    #[test]
    fn its_codes_mean_what_the_platform_says() {
        let sent = read(&app(), 200, r#"{"code":0,"data":{"message_id":"om_1"}}"#);
        assert_eq!(sent, Answer::Sent { id: Some("om_1".to_owned()) });
        assert!(matches!(read(&app(), 400, r#"{"code":99991663}"#), Answer::Login { .. }));
        assert!(matches!(read(&app(), 400, r#"{"code":99991400}"#), Answer::Later { .. }));
        let answer = read(&app(), 400, r#"{"code":230002}"#);
        assert!(matches!(answer, Answer::Refused { whose: Whose::Recipient, .. }));
    }
}
