//! An app of WeCom: cards to persons, whose buttons call back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{Answer, Class, Classes, Fault, Reply, Whose};
use crate::channel::{Access, Channel, How, Limits, Parcel, Request};
use crate::feishu_app::read_login;
use crate::markdown;
use crate::message::{Message, cut};
use crate::secret::Secret;
use crate::sign;

const LIMITS: Limits =
    Limits { per_minute: 180, per_second: 0, reserved_per_minute: 30, text_bytes_max: 2_000 };
/// The longest code for a new card that is believed to be one.
const CODE_BYTES_MAX: usize = 512;
/// The platform takes so many buttons.
const BUTTONS_MAX: usize = 6;

const CLASSES: Classes = Classes {
    cool_down: Duration::from_secs(60),
    codes: &[
        ("-1", Class::Later),
        ("45009", Class::Later),
        ("45033", Class::Later),
        ("40014", Class::Login),
        ("42001", Class::Login),
        ("60020", Class::Refused(Whose::Bot)),
        ("301002", Class::Refused(Whose::Bot)),
        ("81013", Class::Refused(Whose::Recipient)),
    ],
};

/// An app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeComApp {
    /// Where the API is.
    #[serde(default = "wecom")]
    pub api: String,
    /// The company's id.
    pub corp_id: String,
    /// The app's secret.
    pub corp_secret: Secret,
    /// The app's number.
    pub agent_id: i64,
    /// Who gets what is not for one person: user ids joined by `|`.
    #[serde(default)]
    pub to_user: String,
}

fn wecom() -> String {
    "https://qyapi.weixin.qq.com".to_owned()
}

impl Channel for WeComApp {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn login(&self) -> Option<Request> {
        let (id, secret) = (sign::percent(&self.corp_id), sign::percent(self.corp_secret.expose()));
        let url = format!("{}/cgi-bin/gettoken?corpid={id}&corpsecret={secret}", self.api);
        Some(Request::get(url))
    }

    fn read_login(&self, reply: &Reply<'_>) -> Result<Access, Fault> {
        read_login(reply, "errcode", "errmsg", "access_token", "expires_in")
    }

    fn parcel(&self, message: &Message, to: &str, how: How<'_>) -> Result<Parcel, Fault> {
        let to = if to.is_empty() { &self.to_user } else { to };
        let token = sign::percent(how.token);
        let url = format!("{}/cgi-bin/message/send?access_token={token}", self.api);
        let mut body = json!({
            "touser": to, "agentid": self.agent_id,
            "enable_duplicate_check": 1, "duplicate_check_interval": 3600,
        });
        let hears = message.buttons.iter().any(|button| button.action.is_some());
        let (kind, content) = match (how.is_plain, hears) {
            (true, _) => {
                // In plain texts WeCom reads links, which what hosts say must not become.
                let text = message.plain_with_links(LIMITS.text_bytes_max - 200).replace('<', "‹");
                ("text", json!({ "content": cut(&text, LIMITS.text_bytes_max) }))
            }
            (false, false) => {
                ("markdown", json!({ "content": cut(&markdown::wecom(message), 4_000) }))
            }
            (false, true) => ("template_card", card(message)),
        };
        body["msgtype"] = json!(kind);
        body[kind] = content;
        Ok(Parcel::Http(vec![Request::json(url, &body)]))
    }

    fn redraw(&self, message: &Message, place: &str, token: &str) -> Option<Request> {
        let is_code = (1..=CODE_BYTES_MAX).contains(&place.len())
            && place.bytes().all(|byte| byte.is_ascii_graphic());
        let token = sign::percent(token);
        let url = format!("{}/cgi-bin/message/update_template_card?access_token={token}", self.api);
        let mut card = card(message);
        let fields = card.as_object_mut()?;
        fields.remove("task_id");
        let is_pressable =
            fields["button_list"].as_array().is_some_and(|buttons| !buttons.is_empty());
        if !is_pressable {
            fields.remove("button_list");
            fields.insert("card_type".to_owned(), json!("text_notice"));
        }
        let body = json!({
            "atall": 1, "agentid": self.agent_id, "response_code": place, "template_card": card,
        });
        is_code.then(|| Request::json(url, &body))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        let answer = CLASSES.numbered(reply, "errcode", "errmsg");
        let body = reply.json();
        let invalid = body["invaliduser"].as_str().unwrap_or("");
        match answer {
            // It says 0 even if it knows none of the recipients.
            Answer::Sent { .. } if !invalid.is_empty() => Answer::Refused {
                fault: Fault::new("invaliduser", invalid),
                whose: Whose::Recipient,
            },
            Answer::Sent { .. } => Answer::Sent { id: body["msgid"].as_str().map(str::to_owned) },
            other => other,
        }
    }
}

fn card(message: &Message) -> Value {
    let buttons: Vec<Value> = message
        .buttons
        .iter()
        .filter_map(|button| {
            let key = button.action.as_ref()?;
            Some(json!({ "text": button.label, "style": 2, "key": key }))
        })
        .take(BUTTONS_MAX)
        .collect();
    let facts: Vec<Value> = message
        .facts
        .iter()
        .take(6)
        .map(|(name, value)| json!({ "keyname": cut(name, 30), "value": cut(value, 120) }))
        .collect();
    let open = message.buttons.iter().find(|button| button.action.is_none());
    let mut card = json!({
        "card_type": "button_interaction",
        "main_title": { "title": cut(&message.headline(), 120), "desc": cut(&message.text, 180) },
        "horizontal_content_list": facts,
        "task_id": &sign::hex(sign::sha256(message.key.as_bytes()))[..32],
        "button_list": buttons,
    });
    if let Some(open) = open {
        card["card_action"] = json!({ "type": 1, "url": open.url });
    }
    card
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::{body, how, read, request};
    use crate::message::tests::message;

    fn app() -> WeComApp {
        WeComApp {
            api: wecom(),
            corp_id: "ww123".to_owned(),
            corp_secret: "hunter2".into(),
            agent_id: 7,
            to_user: "ann|bob".to_owned(),
        }
    }

    #[test]
    fn a_card_carries_handles_and_a_task_of_its_own() {
        let sent = body(&app(), &message(), "ann", how());
        assert_eq!((&sent["touser"], &sent["msgtype"]), (&json!("ann"), &json!("template_card")));
        let card = &sent["template_card"];
        assert_eq!(card["button_list"][0]["key"], "AbCdEfGhIjKl1");
        assert_eq!(card["card_action"]["url"], "http://alarm.example/alerts");
        let other = Message { key: "k2".to_owned(), ..message() };
        assert_ne!(body(&app(), &other, "ann", how())["template_card"]["task_id"], card["task_id"]);
        assert!(request(&app(), &message(), "", how()).url.ends_with("access_token=tok"));
    }

    #[test]
    fn what_a_host_says_becomes_no_link_in_plain_text() {
        let lure =
            Message { text: "<a href=\"http://evil.example\">log in</a>".repeat(200), ..message() };
        let sent = body(&app(), &lure, "ann", How { is_plain: true, ..how() });
        let text = sent["text"]["content"].as_str().unwrap();
        assert!(!text.contains('<') && text.contains("‹a href"), "{text}");
        assert!(text.len() <= LIMITS.text_bytes_max, "{}", text.len());
    }

    #[test]
    fn a_recipient_the_platform_does_not_know_is_not_sent_to() {
        let answer = read(&app(), 200, r#"{"errcode":0,"invaliduser":"ann"}"#);
        assert!(matches!(answer, Answer::Refused { whose: Whose::Recipient, .. }));
        let sent = read(&app(), 200, r#"{"errcode":0,"invaliduser":"","msgid":"m1"}"#);
        assert_eq!(sent, Answer::Sent { id: Some("m1".to_owned()) });
    }

    #[test]
    fn its_codes_mean_what_the_platform_says() {
        for code in [40014, 42001] {
            let answer = read(&app(), 200, &format!("{{\"errcode\":{code}}}"));
            assert!(matches!(answer, Answer::Login { .. }), "{code}");
        }
        for code in [-1, 45009, 45033] {
            let answer = read(&app(), 200, &format!("{{\"errcode\":{code}}}"));
            assert!(matches!(answer, Answer::Later { .. }), "{code}");
        }
        for (code, whose) in [(60020, Whose::Bot), (301_002, Whose::Bot), (81013, Whose::Recipient)]
        {
            let answer = read(&app(), 200, &format!("{{\"errcode\":{code}}}"));
            assert!(matches!(answer, Answer::Refused { whose: of, .. } if of == whose), "{code}");
        }
    }
}
