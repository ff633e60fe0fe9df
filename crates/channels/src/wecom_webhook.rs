//! WeCom's group robot: a web address in a group. Buttons are links.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::{Answer, Class, Classes, Fault, Reply, Whose};
use crate::channel::{Channel, How, Limits, Parcel, Request};
use crate::markdown;
use crate::message::{Message, cut};
use crate::secret::Secret;

// 20 a minute for one address; Markdown has at most 4096 bytes, text 2048.
const LIMITS: Limits =
    Limits { per_minute: 18, per_second: 0, reserved_per_minute: 6, text_bytes_max: 4_000 };
const PLAIN_BYTES_MAX: usize = 2_000;

const CLASSES: Classes = Classes {
    cool_down: Duration::from_secs(60),
    codes: &[
        ("45009", Class::Limited),
        ("-1", Class::Later),
        ("45033", Class::Later),
        ("93000", Class::Refused(Whose::Bot)),
        ("40058", Class::Refused(Whose::Message)),
        ("45002", Class::Refused(Whose::Message)),
    ],
};

/// A group robot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeComWebhook {
    /// `https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=…`
    pub url: Secret,
}

impl Channel for WeComWebhook {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn parcel(&self, message: &Message, _: &str, how: How<'_>) -> Result<Parcel, Fault> {
        let body = if how.is_plain {
            let text = message.plain_with_links(PLAIN_BYTES_MAX);
            let calls = message.mentioned("wecom");
            json!({ "msgtype": "text", "text": { "content": text, "mentioned_list": calls } })
        } else {
            json!({ "msgtype": "markdown", "markdown": { "content": with_links(message) } })
        };
        Ok(Parcel::Http(vec![Request::json(self.url.expose(), &body)]))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        CLASSES.numbered(reply, "errcode", "errmsg")
    }
}

/// The text with the buttons as links behind it. Links are never cut; where they do not fit they are left out.
fn with_links(message: &Message) -> String {
    let links: Vec<String> = message
        .buttons
        .iter()
        .filter(|button| !button.url.is_empty())
        .map(|button| format!("[{}]({})", button.label, button.url))
        .collect();
    let calls: String = message.mentioned("wecom").iter().map(|id| format!("<@{id}> ")).collect();
    let links = format!("\n{calls}{}", links.join(" | "));
    let links = if links.len() < LIMITS.text_bytes_max / 2 { links } else { String::new() };
    cut(&markdown::wecom(message), LIMITS.text_bytes_max - links.len()) + &links
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::{body, how, read};
    use crate::message::tests::{mentioning, message};

    fn robot() -> WeComWebhook {
        WeComWebhook { url: "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k".into() }
    }

    #[test]
    fn people_are_called_by_their_id() {
        let sent = body(&robot(), &mentioning("wecom", "ann"), "", how());
        let text = sent["markdown"]["content"].as_str().unwrap();
        assert!(text.contains("\n<@ann> [Mute 1 h]") && !text.contains("<@all"), "{text}");
        let plain = How { is_plain: true, ..how() };
        let sent = body(&robot(), &mentioning("wecom", "ann"), "", plain);
        assert_eq!(sent["text"]["mentioned_list"], serde_json::json!(["ann"]));
    }

    #[test]
    fn a_message_keeps_its_links_however_long_it_is() {
        let long = Message { text: "长".repeat(5_000), ..message() };
        let sent = body(&robot(), &long, "", how());
        let text = sent["markdown"]["content"].as_str().unwrap();
        assert!(text.len() <= 4096, "{}", text.len());
        assert!(text.ends_with("[Open](http://alarm.example/alerts)"), "{text}");
        let plain = body(&robot(), &long, "", How { is_plain: true, ..how() });
        assert!(plain["text"]["content"].as_str().unwrap().len() <= 2048);
    }

    #[test]
    fn its_codes_mean_what_the_platform_says() {
        assert_eq!(read(&robot(), 200, r#"{"errcode":0}"#), Answer::Sent { id: None });
        assert!(matches!(read(&robot(), 200, r#"{"errcode":45009}"#), Answer::Limited { .. }));
        for code in [-1, 45033] {
            let answer = read(&robot(), 200, &format!("{{\"errcode\":{code}}}"));
            assert!(matches!(answer, Answer::Later { .. }), "{code}");
        }
        let gone = read(&robot(), 200, r#"{"errcode":93000}"#);
        assert!(matches!(gone, Answer::Refused { whose: Whose::Bot, .. }));
        let long = read(&robot(), 200, r#"{"errcode":45002}"#);
        assert!(matches!(long, Answer::Refused { whose: Whose::Message, .. }));
    }
}
