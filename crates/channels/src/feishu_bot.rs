//! The custom bot of Feishu and Lark: a web address in a group. Buttons are links.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{Answer, Class, Classes, Fault, Reply, Whose};
use crate::channel::{Channel, How, Limits, Parcel, Request};
use crate::markdown;
use crate::message::{Kind, Message, cut};
use crate::secret::Secret;
use crate::sign;

// 100 a minute and 5 a second; a body has at most 20 KB, in which a byte may become six.
const LIMITS: Limits =
    Limits { per_minute: 90, per_second: 4, reserved_per_minute: 20, text_bytes_max: 9_000 };

const CLASSES: Classes = Classes {
    cool_down: Duration::from_secs(60),
    codes: &[
        ("11232", Class::Limited),
        ("9499", Class::Refused(Whose::Message)),
        ("19001", Class::Refused(Whose::Bot)),
        ("19021", Class::Refused(Whose::Bot)),
        ("19022", Class::Refused(Whose::Bot)),
        ("19024", Class::Refused(Whose::Bot)),
    ],
};

/// A custom bot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeishuBot {
    /// `https://open.feishu.cn/open-apis/bot/v2/hook/…`, or that of Lark.
    pub url: Secret,
    /// Its secret when it asks for signatures.
    #[serde(default)]
    pub secret: Secret,
}

impl Channel for FeishuBot {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn parcel(&self, message: &Message, _: &str, how: How<'_>) -> Result<Parcel, Fault> {
        let mut body = if how.is_plain {
            let text = message.escaped_with_links(LIMITS.text_bytes_max, markdown::lark_plain);
            json!({ "msg_type": "text", "content": { "text": text } })
        } else {
            json!({ "msg_type": "interactive", "card": card(message, false) })
        };
        if !self.secret.is_empty() {
            let seconds = how.now.seconds();
            body["timestamp"] = json!(seconds.to_string());
            body["sign"] = json!(sign::feishu(seconds, self.secret.expose()));
        }
        Ok(Parcel::Http(vec![Request::json(self.url.expose(), &body)]))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        // The older form of success has other names.
        if reply.status == 200 && reply.json()["StatusCode"] == 0 {
            return Answer::Sent { id: None };
        }
        // The gateway says it too, with a code of its own.
        if reply.status == 429 {
            return CLASSES.by_status(reply);
        }
        CLASSES.numbered(reply, "code", "msg")
    }
}

/// The card, whose buttons call back where `hears` is true and are links elsewhere.
pub(crate) fn card(message: &Message, hears: bool) -> Value {
    let buttons: Vec<Value> = message
        .buttons
        .iter()
        .filter_map(|button| {
            let text = json!({ "tag": "plain_text", "content": button.label });
            let shown = json!({ "tag": "button", "type": "default", "text": text });
            match &button.action {
                Some(action) if hears => Some(with(shown, "value", json!({ "act": action }))),
                _ if button.url.is_empty() => None,
                _ => Some(with(shown, "url", json!(button.url))),
            }
        })
        .collect();
    let calls: String =
        message.mentioned("feishu").iter().map(|id| format!("<at id={id}></at> ")).collect();
    let text = cut(&markdown::lark(message), LIMITS.text_bytes_max);
    let text = if calls.is_empty() { text } else { format!("{text}\n{}", calls.trim_end()) };
    let mut elements = vec![json!({ "tag": "div", "text": { "tag": "lark_md", "content": text } })];
    if !buttons.is_empty() {
        elements.push(json!({ "tag": "action", "actions": buttons }));
    }
    let colour = match message.kind {
        Kind::Firing => "red",
        Kind::Resolved => "green",
        Kind::Digest | Kind::Reminder => "orange",
        Kind::Test => "blue",
    };
    let title = json!({ "tag": "plain_text", "content": cut(&message.headline(), 500) });
    json!({
        "config": { "wide_screen_mode": true, "update_multi": true },
        "header": { "template": colour, "title": title },
        "elements": elements,
    })
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::{body, how, read, request};
    use crate::message::tests::{mentioning, message};

    fn bot() -> FeishuBot {
        let url = "https://open.feishu.cn/open-apis/bot/v2/hook/x".into();
        FeishuBot { url, secret: "test".into() }
    }

    #[test]
    fn the_signature_goes_into_the_body_and_not_into_the_address() {
        let sent = body(&bot(), &message(), "", how());
        assert_eq!(sent["sign"], "eSJQnOl8XqPTMPHWz9e5IzeHS/tqoc68g2967ekIPmg=");
        assert_eq!(sent["timestamp"], "1700000000");
        let request = request(&bot(), &message(), "", how());
        assert_eq!(request.url, bot().url.expose());
    }

    #[test]
    fn a_card_has_links_where_nobody_hears_a_press() {
        let sent = body(&bot(), &message(), "", how());
        let actions = &sent["card"]["elements"][1]["actions"];
        assert_eq!(actions[0]["url"], "http://alarm.example/m/x");
        assert_eq!(actions[0].get("value"), None);
        assert_eq!(sent["card"]["header"]["template"], "red");
        let heard = card(&message(), true);
        assert_eq!(heard["elements"][1]["actions"][0]["value"]["act"], "AbCdEfGhIjKl1");
        assert_eq!(heard["elements"][1]["actions"][1]["url"], "http://alarm.example/alerts");
    }

    #[test]
    fn people_are_called_by_their_id_and_nobody_by_what_is_none() {
        let card = card(&mentioning("feishu", "ou_1"), false);
        let text = card["elements"][0]["text"]["content"].as_str().unwrap();
        assert!(text.ends_with("\n<at id=ou_1></at>"), "{text}");
    }

    #[test]
    fn a_card_stays_below_the_limit_of_the_platform() {
        let long = Message { text: "长\"".repeat(40_000), ..message() };
        assert!(request(&bot(), &long, "", how()).body.len() < 20_000);
    }

    #[test]
    fn its_codes_mean_what_the_platform_says() {
        assert_eq!(read(&bot(), 200, r#"{"code":0}"#), Answer::Sent { id: None });
        assert_eq!(read(&bot(), 200, r#"{"StatusCode":0}"#), Answer::Sent { id: None });
        assert!(matches!(read(&bot(), 200, r#"{"code":11232}"#), Answer::Limited { .. }));
        for code in [19001, 19021, 19022, 19024] {
            let answer = read(&bot(), 200, &format!("{{\"code\":{code},\"msg\":\"no\"}}"));
            assert!(matches!(answer, Answer::Refused { whose: Whose::Bot, .. }), "{code}");
        }
    }
}
