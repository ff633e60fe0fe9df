//! A message after somebody pressed one of its buttons: what holds now stands on it, and buttons that make no more
//! sense are gone.

use serde_json::{Value, json};

use crate::callback::CallbackSpec;
use crate::dingtalk_app;
use crate::feishu_bot::card;
use crate::handle::{self, Act};
use crate::message::{Button, Message};

/// What holds for what a message is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Name and value, to stand above all others.
    pub facts: Vec<(String, String)>,
    /// Whether the recipient is muted: then there is nothing to press but "unmute".
    pub is_muted: bool,
    /// Whether somebody took it.
    pub is_taken: bool,
    /// Whether it is put off.
    pub is_put_off: bool,
}

impl Held {
    /// Whether a button still does something.
    fn leaves(&self, button: &Button) -> bool {
        let act = button.action.as_deref().and_then(handle::parse).map(|(_, act)| act);
        match act {
            Some(Act::MuteHour | Act::MuteSixHours | Act::MuteDay) => !self.is_muted,
            Some(Act::Ack) => !self.is_taken,
            Some(Act::Snooze) => !self.is_put_off,
            Some(Act::Unmute) | None => true,
        }
    }
}

impl Message {
    /// The message with what holds now.
    #[must_use]
    pub fn redrawn(mut self, held: &Held) -> Self {
        self.buttons.retain(|button| held.leaves(button));
        self.facts.splice(0..0, held.facts.iter().cloned());
        self
    }
}

impl CallbackSpec {
    /// The fields of the answer to a press that draw the message anew, where the platform takes them there.
    pub fn redrawn(&self, message: &Message) -> Option<Value> {
        match self {
            Self::Feishu { .. } => {
                Some(json!({ "card": { "type": "raw", "data": card(message, true) } }))
            }
            Self::DingTalk { .. } => Some(json!({
                "cardUpdateOptions": { "updateCardDataByKey": true },
                "cardData": { "cardParamMap": dingtalk_app::redrawn(message) },
            })),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;
    use crate::channel::Channel;
    use crate::message::tests::message;
    use crate::slack::{Slack, whisper};
    use crate::telegram::Telegram;
    use crate::wecom_app::WeComApp;

    fn with_buttons() -> Message {
        let button = |act: Act| Button {
            label: format!("{act:?}"),
            url: String::new(),
            action: Some(handle::value("AbCdEfGhIjKl", act)),
        };
        let acts = Act::MUTES.into_iter().chain([Act::Ack, Act::Snooze]);
        let open = Button { label: "Open".to_owned(), url: "http://a.b/".to_owned(), action: None };
        let buttons = acts.map(button).chain([open]).collect();
        Message { buttons, ..message() }
    }

    fn muted() -> Held {
        let fact = ("Muted".to_owned(), "by ann until 15:00".to_owned());
        Held { facts: vec![fact], is_muted: true, ..Held::default() }
    }

    fn labels(message: &Message) -> Vec<&str> {
        message.buttons.iter().map(|button| button.label.as_str()).collect()
    }

    #[test]
    fn only_what_still_does_something_can_be_pressed() {
        let drawn = with_buttons().redrawn(&muted());
        assert_eq!(labels(&drawn), ["Unmute", "Ack", "Snooze", "Open"]);
        assert_eq!(drawn.facts[0].1, "by ann until 15:00");
        assert_eq!(drawn.facts.len(), with_buttons().facts.len() + 1);
        let taken = Held { is_taken: true, is_put_off: true, ..Held::default() };
        let drawn = with_buttons().redrawn(&taken);
        assert_eq!(labels(&drawn), ["MuteHour", "MuteSixHours", "MuteDay", "Unmute", "Open"]);
        assert_eq!(with_buttons().redrawn(&Held::default()), with_buttons());
    }

    #[test]
    fn feishu_and_dingtalk_take_the_new_card_in_the_answer() {
        let drawn = with_buttons().redrawn(&muted());
        let (encrypt_key, verification_token) = (Secret::default(), Secret::default());
        let feishu = CallbackSpec::Feishu { encrypt_key, verification_token };
        let card = feishu.redrawn(&drawn).unwrap();
        assert_eq!(card["card"]["type"], "raw");
        let elements = &card["card"]["data"]["elements"];
        assert!(elements[0].to_string().contains("until 15:00"), "{elements}");
        assert_eq!(elements[1]["actions"][0]["value"]["act"], "AbCdEfGhIjKlu");
        let dingtalk = CallbackSpec::DingTalk { app_secret: Secret::default() };
        let variables = &dingtalk.redrawn(&drawn).unwrap()["cardData"]["cardParamMap"];
        assert_eq!(
            (&variables["label_1"], &variables["label_3"]),
            (&json!("Unmute"), &json!("Snooze"))
        );
        assert_eq!((&variables["label_4"], &variables["action_6"]), (&json!(""), &json!("")));
        let telegram = CallbackSpec::Telegram { secret_token: Secret::default() };
        assert_eq!(telegram.redrawn(&drawn), None);
    }

    #[test]
    fn telegram_edits_the_message_that_was_pressed() {
        let api = "https://api.telegram.org".to_owned();
        let bot = Telegram { api, token: "1:x".into(), chat: String::new() };
        let drawn = with_buttons().redrawn(&muted());
        let request = bot.redraw(&drawn, "-100/7", "").unwrap();
        assert_eq!(request.url, "https://api.telegram.org/bot1:x/editMessageText");
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!((&body["chat_id"], &body["message_id"]), (&json!("-100"), &json!(7)));
        assert!(body["text"].as_str().unwrap().contains("until 15:00"));
        let first = &body["reply_markup"]["inline_keyboard"][0][0];
        assert_eq!(first["callback_data"], "AbCdEfGhIjKlu");
        for place in ["", "7", "-100/", "-100/x", "/7"] {
            assert!(bot.redraw(&drawn, place, "").is_none(), "{place}");
        }
    }

    #[test]
    fn wecom_replaces_the_card_with_the_code_of_the_press() {
        let app: WeComApp = serde_json::from_value(json!({
            "corp_id": "ww123", "corp_secret": "s", "agent_id": 7, "to_user": "ann|bob",
        }))
        .unwrap();
        let drawn = with_buttons().redrawn(&muted());
        let request = app.redraw(&drawn, "CODE-1", "tok").unwrap();
        let path = "/cgi-bin/message/update_template_card?access_token=tok";
        assert_eq!(request.url, format!("https://qyapi.weixin.qq.com{path}"));
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!((&body["response_code"], &body["atall"]), (&json!("CODE-1"), &json!(1)));
        let card = &body["template_card"];
        assert_eq!(card["card_type"], "button_interaction");
        assert_eq!(card["button_list"][0]["key"], "AbCdEfGhIjKlu");
        assert!(card["horizontal_content_list"].to_string().contains("until 15:00"));
        assert!(card["task_id"].is_null(), "it stays the task that it was");
        // A card with nothing left to press is one that only tells.
        let open = drawn.buttons.iter().filter(|button| button.action.is_none()).cloned().collect();
        let told = Message { buttons: open, ..drawn.clone() };
        let told = app.redraw(&told, "CODE-1", "tok").unwrap();
        let told: Value = serde_json::from_slice(&told.body).unwrap();
        let card = &told["template_card"];
        assert!(card["card_type"] == "text_notice" && card["button_list"].is_null(), "{card}");
        assert_eq!(card["card_action"]["url"], "http://a.b/");
        for place in ["", "a\nb", &"x".repeat(600)] {
            assert!(app.redraw(&drawn, place, "tok").is_none(), "{place}");
        }
    }

    #[test]
    fn slack_is_answered_at_slack_or_where_the_bot_posts_and_nowhere_else() {
        let url: Secret = "http://127.0.0.1:9/api/chat.postMessage".into();
        let bot = Slack { url, token: "xoxb-1".into(), channel: String::new() };
        let drawn = with_buttons().redrawn(&muted());
        for (place, is_answered) in [
            ("https://hooks.slack.com/actions/T1/2/x", true),
            ("http://127.0.0.1:9/answer", true),
            ("http://127.0.0.1:99/answer", false),
            ("http://127.0.0.1:9@evil.example/", false),
            ("https://hooks.slack.com.evil.example/", false),
            ("http://hooks.slack.com/", false),
            ("", false),
        ] {
            assert_eq!(bot.redraw(&drawn, place, "").is_some(), is_answered, "{place}");
        }
        let request = bot.redraw(&drawn, "https://hooks.slack.com/x", "").unwrap();
        assert_eq!(request.header("authorization"), None, "the address is the key");
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["replace_original"], true);
        let elements = &body["attachments"][0]["blocks"][1]["elements"];
        assert_eq!(elements[0]["value"], "AbCdEfGhIjKlu");
        assert!(whisper("http://127.0.0.1:9/answer", "x").is_none());
        assert!(whisper("https://hooks.slack.com/x", "too old").is_some());
    }
}
