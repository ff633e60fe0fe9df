//! Slack: an app's token, whose buttons call back, or an incoming webhook.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{Answer, Class, Classes, Fault, Reply, Whose};
use crate::channel::{Channel, How, Limits, Parcel, Request};
use crate::markdown;
use crate::message::{Kind, Message, cut};
use crate::secret::Secret;

// About one a second for one channel; a block of text has at most 3000 characters.
const LIMITS: Limits =
    Limits { per_minute: 50, per_second: 1, reserved_per_minute: 12, text_bytes_max: 2_900 };

const CLASSES: Classes = Classes {
    cool_down: Duration::from_secs(30),
    codes: &[
        ("ok", Class::Ok),
        ("ratelimited", Class::Later),
        ("rate_limited", Class::Later),
        ("message_limit_exceeded", Class::Later),
        ("internal_error", Class::Later),
        ("fatal_error", Class::Later),
        ("channel_not_found", Class::Refused(Whose::Recipient)),
        ("is_archived", Class::Refused(Whose::Recipient)),
        ("not_in_channel", Class::Refused(Whose::Recipient)),
        ("invalid_auth", Class::Refused(Whose::Bot)),
        ("account_inactive", Class::Refused(Whose::Bot)),
        ("token_revoked", Class::Refused(Whose::Bot)),
        ("no_service", Class::Refused(Whose::Bot)),
        ("invalid_blocks", Class::Plainer),
        ("msg_too_long", Class::Refused(Whose::Message)),
    ],
};

/// A workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    /// `https://slack.com/api/chat.postMessage` with `token`, or the address of an incoming webhook.
    #[serde(default = "slack")]
    pub url: Secret,
    /// The app's token (`xoxb-…`).
    #[serde(default)]
    pub token: Secret,
    /// The channel that gets what is not for one person.
    #[serde(default)]
    pub channel: String,
}

fn slack() -> Secret {
    "https://slack.com/api/chat.postMessage".into()
}

impl Channel for Slack {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn parcel(&self, message: &Message, to: &str, how: How<'_>) -> Result<Parcel, Fault> {
        let to = if to.is_empty() { &self.channel } else { to };
        let mut body = self.content(message, how.is_plain);
        if !to.is_empty() {
            body["channel"] = json!(to);
        }
        let mut request = Request::json(self.url.expose(), &body);
        if !self.token.is_empty() {
            request = request.with("Authorization", format!("Bearer {}", self.token.expose()));
        }
        Ok(Parcel::Http(vec![request]))
    }

    fn redraw(&self, message: &Message, place: &str, _token: &str) -> Option<Request> {
        let is_own = origin(place).is_some_and(|of| origin(self.url.expose()) == Some(of));
        if !is_own && !is_slack(place) {
            return None;
        }
        let mut body = self.content(message, false);
        body["replace_original"] = json!(true);
        Some(Request::json(place, &body))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        let body = reply.json();
        match body["ok"].as_bool() {
            Some(true) => Answer::Sent { id: body["ts"].as_str().map(str::to_owned) },
            _ if reply.status == 429 => CLASSES.by_status(reply),
            Some(false) => {
                CLASSES.answer(body["error"].as_str().unwrap_or("unknown"), "", reply.wait)
            }
            // An incoming webhook answers with a bare word.
            None => {
                let word = String::from_utf8_lossy(reply.body);
                let word = word.trim();
                let is_word = !word.is_empty() && word.len() < 40 && !word.contains(['<', ' ']);
                let is_known = CLASSES.codes.iter().any(|(code, _)| *code == word);
                if is_word && is_known && (reply.status < 300) == (word == "ok") {
                    CLASSES.answer(word, "", reply.wait)
                } else {
                    CLASSES.by_status(reply)
                }
            }
        }
    }
}

impl Slack {
    fn content(&self, message: &Message, is_plain: bool) -> Value {
        let mut body = json!({
            "text": cut(&markdown::slack(&message.headline()), LIMITS.text_bytes_max),
            "unfurl_links": false, "unfurl_media": false,
        });
        if is_plain {
            let text = message.escaped_with_links(LIMITS.text_bytes_max, markdown::slack);
            body["text"] = json!(text);
        } else {
            let hears = !self.token.is_empty();
            body["attachments"] =
                json!([{ "color": colour(message), "blocks": blocks(message, hears) }]);
        }
        body
    }
}

/// Scheme and host of an address, up to the path.
fn origin(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.find('/')?;
    Some(&url[..scheme.len() + "://".len() + host])
}

/// The callback is signed, but what it says is an address all the same: it must be one of Slack's.
fn is_slack(place: &str) -> bool {
    place.starts_with("https://hooks.slack.com/")
}

/// Tells who pressed a button something that nobody else sees. Slack does not show what a callback is answered with.
pub fn whisper(place: &str, text: &str) -> Option<Request> {
    let text = markdown::slack(text);
    let body = json!({ "response_type": "ephemeral", "replace_original": false, "text": text });
    is_slack(place).then(|| Request::json(place, &body))
}

fn colour(message: &Message) -> &'static str {
    match message.kind {
        Kind::Firing => "#d64541",
        Kind::Resolved => "#2e8b57",
        Kind::Digest | Kind::Reminder => "#e08e0b",
        Kind::Test => "#3a6ea5",
    }
}

fn blocks(message: &Message, hears: bool) -> Value {
    let headline = message.headline();
    let mut lines: Vec<String> = Vec::new();
    lines.extend((!headline.is_empty()).then(|| format!("*{}*", markdown::slack(&headline))));
    for (name, value) in &message.facts {
        lines.push(format!("*{}*: {}", markdown::slack(name), markdown::slack(value)));
    }
    lines.extend((!message.text.is_empty()).then(|| message.text_in(markdown::slack)));
    let calls: String = message.mentioned("slack").iter().map(|id| format!("<@{id}> ")).collect();
    let text = cut(&lines.join("\n"), LIMITS.text_bytes_max.saturating_sub(calls.len() + 1));
    let text = if calls.is_empty() { text } else { format!("{text}\n{}", calls.trim_end()) };
    let mut blocks = vec![json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } })];
    let buttons: Vec<Value> = message
        .buttons
        .iter()
        .enumerate()
        .filter(|(_, button)| hears || !button.url.is_empty())
        .map(|(position, button)| {
            let mut shown = json!({
                "type": "button", "action_id": format!("saker-{position}"),
                "text": { "type": "plain_text", "text": cut(&button.label, 70) },
            });
            match &button.action {
                Some(action) if hears => shown["value"] = json!(action),
                _ => shown["url"] = json!(button.url),
            }
            shown
        })
        .collect();
    if !buttons.is_empty() {
        blocks.push(json!({ "type": "actions", "elements": buttons }));
    }
    Value::Array(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::{body, how, read, request};
    use crate::message::Button;
    use crate::message::tests::{mentioning, message};

    fn app() -> Slack {
        Slack { url: slack(), token: "xoxb-1".into(), channel: "#ops".to_owned() }
    }

    #[test]
    fn people_are_called_by_their_id() {
        let blocks = blocks(&mentioning("slack", "U1"), true);
        let text = blocks[0]["text"]["text"].as_str().unwrap();
        assert!(text.ends_with("\n<@U1>"), "{text}");
    }

    #[test]
    fn an_app_hears_presses_and_a_webhook_has_links() {
        let sent = body(&app(), &message(), "", how());
        assert_eq!((&sent["channel"], &sent["unfurl_links"]), (&json!("#ops"), &json!(false)));
        let button = &sent["attachments"][0]["blocks"][1]["elements"][0];
        assert_eq!(button["value"], "AbCdEfGhIjKl1");
        assert_eq!(
            request(&app(), &message(), "", how()).header("authorization"),
            Some("Bearer xoxb-1")
        );
        let hook = Slack { token: Secret::default(), ..app() };
        let button =
            &body(&hook, &message(), "", how())["attachments"][0]["blocks"][1]["elements"][0];
        assert_eq!(button["url"], "http://alarm.example/m/x");
    }

    #[test]
    fn the_text_of_a_host_cannot_call_the_channel() {
        let loud = Message { title: "<!channel> *x*".to_owned(), ..message() };
        let sent = body(&app(), &loud, "", how()).to_string();
        assert!(!sent.contains("<!channel>"), "{sent}");
        let link =
            Button { url: "http://alarm.example/m/a_b~c".to_owned(), ..loud.buttons[0].clone() };
        let linked = Message { buttons: vec![link], ..loud };
        let sent = body(&app(), &linked, "", How { is_plain: true, ..how() });
        let text = sent["text"].as_str().unwrap();
        assert!(!text.contains("<!channel>") && text.ends_with("/m/a_b~c"), "{text:?}");
    }

    #[test]
    fn nobody_may_ask_for_endless_patience() {
        let year = Some(Duration::from_secs(365 * 86_400));
        let answer = app().read(&Reply { status: 429, wait: year, body: b"" });
        assert!(
            matches!(answer, Answer::Limited { cool_down, .. } if cool_down.as_secs() == 900),
            "{answer:?}"
        );
    }

    #[test]
    fn its_words_mean_what_the_platform_says() {
        let sent = read(&app(), 200, r#"{"ok":true,"ts":"1.2"}"#);
        assert_eq!(sent, Answer::Sent { id: Some("1.2".to_owned()) });
        assert_eq!(read(&app(), 200, "ok"), Answer::Sent { id: None });
        assert!(matches!(read(&app(), 500, "ok"), Answer::Later { .. }));
        assert!(matches!(read(&app(), 429, ""), Answer::Limited { .. }));
        let fatal = read(&app(), 200, r#"{"ok":false,"error":"fatal_error"}"#);
        assert!(matches!(fatal, Answer::Later { .. }));
        let archived = read(&app(), 200, r#"{"ok":false,"error":"is_archived"}"#);
        assert!(matches!(archived, Answer::Refused { whose: Whose::Recipient, .. }));
        let revoked = read(&app(), 200, r#"{"ok":false,"error":"token_revoked"}"#);
        assert!(matches!(revoked, Answer::Refused { whose: Whose::Bot, .. }));
        assert!(matches!(
            read(&app(), 404, "no_service"),
            Answer::Refused { whose: Whose::Bot, .. }
        ));
        assert!(matches!(read(&app(), 400, "invalid_blocks"), Answer::Plainer { .. }));
    }
}
