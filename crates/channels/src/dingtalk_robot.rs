//! DingTalk's custom robot: a web address in a group. Buttons are links, as a robot hears no answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::{Answer, Class, Classes, Fault, Reply, Whose};
use crate::channel::{Channel, How, Limits, Parcel, Request};
use crate::markdown;
use crate::message::{Message, cut};
use crate::secret::Secret;
use crate::sign;

// 20 a minute, then the robot is shut out for ten minutes.
const LIMITS: Limits =
    Limits { per_minute: 18, per_second: 0, reserved_per_minute: 6, text_bytes_max: 18_000 };

const TITLE_BYTES_MAX: usize = 500;

pub(crate) const CLASSES: Classes = Classes {
    cool_down: Duration::from_secs(600),
    codes: &[
        ("130101", Class::Limited),
        ("-1", Class::Later),
        ("310000", Class::Refused(Whose::Bot)),
        ("300001", Class::Refused(Whose::Bot)),
        ("40035", Class::Refused(Whose::Message)),
        ("400*", Class::Refused(Whose::Message)),
    ],
};

/// A custom robot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DingTalkRobot {
    /// `https://oapi.dingtalk.com/robot/send?access_token=…`
    pub url: Secret,
    /// The robot's secret (`SEC…`) when it asks for signatures.
    #[serde(default)]
    pub secret: Secret,
}

impl Channel for DingTalkRobot {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn parcel(&self, message: &Message, _: &str, how: How<'_>) -> Result<Parcel, Fault> {
        let mut body = if how.is_plain {
            let text = message.plain_with_links(LIMITS.text_bytes_max);
            json!({ "msgtype": "text", "text": { "content": text + &calls(message) } })
        } else if !called(message).is_empty() {
            let text = cut(&markdown::dingtalk(message), LIMITS.text_bytes_max);
            let text = format!("{text}\n\n{}\n\n{}", links(message), calls(message));
            json!({ "msgtype": "markdown", "markdown": { "title": title(message), "text": text } })
        } else {
            let buttons: Vec<_> = message
                .buttons
                .iter()
                .filter(|button| !button.url.is_empty())
                .map(|button| json!({ "title": button.label, "actionURL": outside(&button.url) }))
                .collect();
            let text = cut(&markdown::dingtalk(message), LIMITS.text_bytes_max);
            let title = title(message);
            if buttons.is_empty() {
                json!({ "msgtype": "markdown", "markdown": { "title": title, "text": text } })
            } else {
                json!({ "msgtype": "actionCard", "actionCard": {
                    "title": title, "text": text, "btnOrientation": "1", "btns": buttons,
                } })
            }
        };
        if !called(message).is_empty() {
            let mobiles = message.mentioned("phone").into_iter().map(mobile);
            body["at"] = json!({
                "atUserIds": message.mentioned("dingtalk"), "atMobiles": mobiles.collect::<Vec<_>>(),
            });
        }
        Ok(Parcel::Http(vec![Request::json(self.address(how), &body)]))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        CLASSES.numbered(reply, "errcode", "errmsg")
    }
}

impl DingTalkRobot {
    // Built from the settings each time: what is appended to the last address grows without end.
    fn address(&self, how: How<'_>) -> String {
        let (url, secret) = (self.url.expose(), self.secret.expose());
        if secret.is_empty() {
            return url.to_owned();
        }
        let timestamp = how.now.millis();
        let sign = sign::percent(&sign::dingtalk(timestamp, secret));
        let joint = if url.contains('?') { '&' } else { '?' };
        format!("{url}{joint}timestamp={timestamp}&sign={sign}")
    }
}

/// What is shown of the message in a list of chats; it counts towards the size of the body.
fn title(message: &Message) -> String {
    cut(&message.headline(), TITLE_BYTES_MAX)
}

/// Ids and phone numbers of those who are called by name.
fn called(message: &Message) -> Vec<String> {
    let ids = message.mentioned("dingtalk").into_iter().map(str::to_owned);
    ids.chain(message.mentioned("phone").into_iter().map(mobile)).collect()
}

/// The platform calls only those who are in the text as well, and in cards nobody.
fn calls(message: &Message) -> String {
    called(message).iter().map(|id| format!(" @{id}")).collect()
}

/// A number as the platform knows it: without the country's code.
fn mobile(phone: &str) -> String {
    phone.strip_prefix("+86").unwrap_or(phone).replace('-', "")
}

fn links(message: &Message) -> String {
    let buttons = message.buttons.iter().filter(|button| !button.url.is_empty());
    let links = buttons.map(|button| format!("[{}]({})", button.label, outside(&button.url)));
    links.collect::<Vec<_>>().join(" | ")
}

/// Has the page opened by the system's browser and not in DingTalk's side bar.
fn outside(url: &str) -> String {
    format!("dingtalk://dingtalkclient/page/link?url={}&pc_slide=false", sign::percent(url))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::{body, how, request};
    use crate::message::tests::{mentioning, message};

    fn robot() -> DingTalkRobot {
        DingTalkRobot {
            url: "https://oapi.dingtalk.com/robot/send?access_token=t".into(),
            secret: "SECtest".into(),
        }
    }

    #[test]
    fn a_request_is_signed_for_its_moment() {
        let request = request(&robot(), &message(), "", how());
        assert!(request.url.starts_with("https://oapi.dingtalk.com/robot/send?access_token=t&"));
        assert!(request.url.contains(
            "&timestamp=1700000000000&sign=aZLLrriXgn05YbwaGR7knYsLeJADjr9NwLaNNKpxh4g%3D"
        ));
    }

    #[test]
    fn a_card_has_link_buttons_that_leave_dingtalk() {
        let card = body(&robot(), &message(), "", how());
        assert_eq!(card["msgtype"], "actionCard");
        let buttons = card["actionCard"]["btns"].as_array().unwrap();
        assert_eq!(buttons[0]["title"], "Mute 1 h");
        let url = buttons[0]["actionURL"].as_str().unwrap();
        assert!(url.contains("url=http%3A%2F%2Falarm.example%2Fm%2Fx&"), "{url}");
        assert!(card["actionCard"].get("singleTitle").is_none(), "it would disable the buttons");
    }

    #[test]
    fn people_are_called_by_id_or_number_and_keep_their_links() {
        let sent = body(&robot(), &mentioning("phone", "+86138-0013"), "", how());
        assert_eq!(sent["msgtype"], "markdown", "cards call nobody");
        assert_eq!(sent["at"]["atMobiles"], json!(["1380013"]));
        let text = sent["markdown"]["text"].as_str().unwrap();
        assert!(text.ends_with(" @1380013") && text.contains("[Mute 1 h](dingtalk://"), "{text}");
        let plain = How { is_plain: true, ..how() };
        let sent = body(&robot(), &mentioning("dingtalk", "u1"), "", plain);
        assert_eq!(sent["at"]["atUserIds"], json!(["u1"]));
        assert!(sent["text"]["content"].as_str().unwrap().ends_with(" @u1"));
    }

    #[test]
    fn texts_of_hosts_cannot_write_markdown() {
        let card = body(&robot(), &message(), "", how());
        let text = card["actionCard"]["text"].as_str().unwrap();
        assert!(text.contains(r"97 % \*of\*"), "{text}");
        assert!(!text.contains("<b>"), "{text}");
    }

    #[test]
    fn the_plain_form_has_the_links_in_its_text() {
        let plain = body(&robot(), &message(), "", How { is_plain: true, ..how() });
        let text = plain["text"]["content"].as_str().unwrap();
        assert!(text.starts_with("[Saker] P0 disk full") && text.contains("/m/x"), "{text}");
    }

    #[test]
    fn its_codes_mean_what_the_platform_says() {
        let read =
            |body: &str| robot().read(&Reply { status: 200, wait: None, body: body.as_bytes() });
        assert_eq!(read(r#"{"errcode":0,"errmsg":"ok"}"#), Answer::Sent { id: None });
        assert!(matches!(
            read(r#"{"errcode":130101,"errmsg":"send too fast"}"#),
            Answer::Limited { cool_down, .. } if cool_down == Duration::from_secs(600)
        ));
        assert!(matches!(read(r#"{"errcode":-1}"#), Answer::Later { .. }));
        for code in ["310000", "300001"] {
            let answer = read(&format!("{{\"errcode\":{code}}}"));
            assert!(matches!(answer, Answer::Refused { whose: Whose::Bot, .. }), "{code}");
        }
        let answer = read(r#"{"errcode":400102}"#);
        assert!(matches!(answer, Answer::Refused { whose: Whose::Message, .. }));
    }
}
