//! Telegram's bots, whose buttons call back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{Answer, Classes, Fault, Reply, Whose};
use crate::channel::{Channel, How, Limits, Parcel, Request};
use crate::markdown::{html, html_facts};
use crate::message::{Mention, Message, cut};
use crate::secret::Secret;

// 20 a minute for one group; 4096 characters of text.
const LIMITS: Limits =
    Limits { per_minute: 18, per_second: 1, reserved_per_minute: 6, text_bytes_max: 4_000 };
/// The longest value of a button in bytes.
pub(crate) const ACTION_BYTES_MAX: usize = 64;

const CLASSES: Classes = Classes { cool_down: Duration::from_secs(60), codes: &[] };

/// People who are called by name at most; each takes some hundred bytes of the text.
const CALLS_MAX: usize = 10;

/// A bot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telegram {
    /// Where the API is.
    #[serde(default = "telegram")]
    pub api: String,
    /// The bot's token.
    pub token: Secret,
    /// The chat that gets what is not for one person.
    #[serde(default)]
    pub chat: String,
}

fn telegram() -> String {
    "https://api.telegram.org".to_owned()
}

impl Channel for Telegram {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn parcel(&self, message: &Message, to: &str, how: How<'_>) -> Result<Parcel, Fault> {
        let to = if to.is_empty() { &self.chat } else { to };
        let body = content(message, to, how.is_plain);
        Ok(Parcel::Http(vec![Request::json(self.method("sendMessage"), &body)]))
    }

    fn redraw(&self, message: &Message, place: &str, _token: &str) -> Option<Request> {
        let (chat, id) = place.split_once('/').filter(|(chat, _)| !chat.is_empty())?;
        let mut body = content(message, chat, false);
        body["message_id"] = json!(id.parse::<i64>().ok()?);
        Some(Request::json(self.method("editMessageText"), &body))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        let body = reply.json();
        let text = body["description"].as_str().unwrap_or("");
        let (code, status) = (reply.status.to_string(), reply.status);
        if body["ok"] == true && status == 200 {
            let id = body["result"]["message_id"].as_i64().map(|id| id.to_string());
            return Answer::Sent { id };
        }
        if text.contains("message is not modified") {
            return Answer::Sent { id: None };
        }
        if let Some(chat) = body["parameters"]["migrate_to_chat_id"].as_i64() {
            return Answer::Moved { to: chat.to_string() };
        }
        let fault = Fault::new(code, text);
        match status {
            429 => {
                let asked = body["parameters"]["retry_after"].as_u64().map(Duration::from_secs);
                let cool_down = asked.or(reply.wait).unwrap_or(CLASSES.cool_down);
                Answer::Limited { fault, cool_down: cool_down.min(Duration::from_secs(900)) }
            }
            400 if text.contains("can't parse entities") => Answer::Plainer { fault },
            400 if text.contains("chat not found") => {
                Answer::Refused { fault, whose: Whose::Recipient }
            }
            403 => Answer::Refused { fault, whose: Whose::Recipient },
            _ => CLASSES.by_status(reply),
        }
    }
}

impl Telegram {
    fn method(&self, name: &str) -> String {
        format!("{}/bot{}/{name}", self.api, self.token.expose())
    }
}

fn content(message: &Message, chat: &str, is_plain: bool) -> Value {
    let mut body = json!({ "chat_id": chat, "link_preview_options": { "is_disabled": true } });
    if is_plain {
        body["text"] = json!(message.plain_with_links(LIMITS.text_bytes_max));
    } else {
        body["text"] = json!(rich(message));
        body["parse_mode"] = json!("HTML");
    }
    let rows: Vec<Value> = message.buttons.iter().filter_map(button).collect();
    if !rows.is_empty() {
        let rows: Vec<&[Value]> = rows.chunks(3).collect();
        body["reply_markup"] = json!({ "inline_keyboard": rows });
    }
    body
}

/// The text as HTML. It is cut before it is marked up, since half a tag is refused.
fn rich(message: &Message) -> String {
    let mut short = message.clone();
    let mut facts_max = 1_500;
    for (name, value) in &mut short.facts {
        *name = cut(name, facts_max.min(100));
        *value = cut(value, facts_max.min(400));
        facts_max = facts_max.saturating_sub(name.len() + value.len());
    }
    let head = match short.headline().as_str() {
        "" => String::new(),
        headline => format!("<b>{}</b>\n", html(&cut(headline, 300))),
    };
    let facts = html_facts(&short, "\n");
    let calls = calls(message);
    let used = head.len() + facts.len() + calls.len() + 10;
    let room = LIMITS.text_bytes_max.saturating_sub(used);
    let text = match &short.own {
        Some(own) if own.is_marked_up && short.text.len() <= room => short.text,
        Some(own) if own.is_marked_up => html(&cut(&bare(&short.text), room / 6)),
        _ => html(&cut(&short.text, room / 6)),
    };
    format!("{head}{facts}{text}{calls}")
}

/// A text without its tags, for one that is too long to go with them.
fn bare(marked_up: &str) -> String {
    let mut text = String::with_capacity(marked_up.len());
    for part in marked_up.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, behind)| behind));
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

/// Links to people, so that they are notified in a group.
fn calls(message: &Message) -> String {
    let call = |mention: &Mention| {
        let id = mention.id("telegram").filter(|id| id.chars().all(|c| c.is_ascii_digit()))?;
        Some(format!("\n<a href=\"tg://user?id={id}\">{}</a>", html(&cut(&mention.user, 64))))
    };
    message.mentions.iter().filter_map(call).take(CALLS_MAX).collect()
}

fn button(button: &crate::message::Button) -> Option<Value> {
    let text = &button.label;
    match &button.action {
        Some(action) if action.len() <= ACTION_BYTES_MAX => {
            Some(json!({ "text": text, "callback_data": action }))
        }
        // Telegram refuses links to addresses without a dot in the host.
        _ if button.url.contains('.') => Some(json!({ "text": text, "url": button.url })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::message::Own;

    use proptest::prelude::*;

    use super::*;
    use crate::channel::tests::{body, how, read, request};
    use crate::message::tests::{mentioning, message};

    fn bot() -> Telegram {
        Telegram { api: telegram(), token: "1:x".into(), chat: "-100".to_owned() }
    }

    #[test]
    fn people_are_called_by_their_number() {
        let text = rich(&mentioning("telegram", "77"));
        assert!(text.ends_with("\n<a href=\"tg://user?id=77\">ann</a>"), "{text}");
    }

    #[test]
    fn a_button_carries_its_handle_or_leads_to_a_page() {
        let sent = body(&bot(), &message(), "", how());
        let row = &sent["reply_markup"]["inline_keyboard"][0];
        assert_eq!(row[0]["callback_data"], "AbCdEfGhIjKl1");
        assert_eq!(row[1]["url"], "http://alarm.example/alerts");
        assert_eq!((&sent["chat_id"], &sent["parse_mode"]), (&json!("-100"), &json!("HTML")));
        let request = request(&bot(), &message(), "42", how());
        assert_eq!(request.url, "https://api.telegram.org/bot1:x/sendMessage");
        assert!(!format!("{:?}", bot()).contains("1:x"));
    }

    #[test]
    fn its_answers_mean_what_the_platform_says() {
        let sent = read(&bot(), 200, r#"{"ok":true,"result":{"message_id":5}}"#);
        assert_eq!(sent, Answer::Sent { id: Some("5".to_owned()) });
        let limited = r#"{"ok":false,"description":"Too Many","parameters":{"retry_after":7}}"#;
        assert!(matches!(
            read(&bot(), 429, limited),
            Answer::Limited { cool_down, .. } if cool_down == Duration::from_secs(7)
        ));
        let moved = r#"{"ok":false,"parameters":{"migrate_to_chat_id":-1009}}"#;
        assert_eq!(read(&bot(), 400, moved), Answer::Moved { to: "-1009".to_owned() });
        let parse = r#"{"ok":false,"description":"Bad Request: can't parse entities: x"}"#;
        assert!(matches!(read(&bot(), 400, parse), Answer::Plainer { .. }));
        let same = r#"{"ok":false,"description":"Bad Request: message is not modified"}"#;
        assert_eq!(read(&bot(), 400, same), Answer::Sent { id: None });
        let blocked = r#"{"ok":false,"description":"Forbidden: bot was blocked by the user"}"#;
        assert!(matches!(
            read(&bot(), 403, blocked),
            Answer::Refused { whose: Whose::Recipient, .. }
        ));
        assert!(matches!(read(&bot(), 401, "{}"), Answer::Refused { whose: Whose::Bot, .. }));
        assert!(matches!(read(&bot(), 502, ""), Answer::Later { .. }));
    }

    proptest! {
        #[test]
        fn a_text_is_short_enough_whatever_it_says(title: String, value in ".{0,2000}", text in ".{0,4000}") {
            let facts = vec![("a".to_owned(), value.clone()), ("b".to_owned(), value)];
            let long = Message { title, facts, text, ..message() };
            prop_assert!(rich(&long).chars().count() <= 8_192);
            let shown = rich(&long);
            prop_assert_eq!(shown.matches("<b>").count(), shown.matches("</b>").count());
        }
    }

    #[test]
    fn a_text_of_an_operator_keeps_its_tags_unless_it_is_too_long() {
        let own = |text: String| Message {
            title: String::new(),
            envelope: String::new(),
            facts: Vec::new(),
            text,
            own: Some(Own { is_marked_up: true, html: String::new() }),
            ..message()
        };
        assert_eq!(rich(&own("<i>full &amp; slow</i>".to_owned())), "<i>full &amp; slow</i>");
        let long = rich(&own(format!("<i>{}</i>", "x &lt; ".repeat(2_000))));
        assert!(long.len() <= LIMITS.text_bytes_max && !long.contains("<i>"), "{long}");
        assert!(long.starts_with("x &lt; x"), "{long}");
    }
}
