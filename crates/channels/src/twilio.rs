//! Twilio: calls and text messages.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Class, Classes, Fault, Reply, Whose};
use crate::channel::{Channel, How, Limits, Parcel, Request};
use crate::handle;
use crate::markdown::html;
use crate::message::{Kind, Message};
use crate::secret::Secret;
use crate::sign;
use crate::spoken::{short, spoken};
use crate::words::Language;

const LIMITS: Limits =
    Limits { per_minute: 50, per_second: 1, reserved_per_minute: 50, text_bytes_max: 1_200 };

const CLASSES: Classes = Classes {
    cool_down: Duration::from_secs(30),
    codes: &[
        ("20429", Class::Later),
        ("30410", Class::Later),
        ("20003", Class::Refused(Whose::Bot)),
        ("21211", Class::Refused(Whose::Recipient)),
        ("21214", Class::Refused(Whose::Recipient)),
        ("21215", Class::Refused(Whose::Recipient)),
        ("21610", Class::Refused(Whose::Recipient)),
        ("30004", Class::Refused(Whose::Recipient)),
        ("30006", Class::Refused(Whose::Recipient)),
        // It does not like our address for key presses: without it the call still goes out.
        ("21609", Class::Plainer),
    ],
};

/// Whether a phone rings or shows a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhoneUse {
    /// It rings and the text is spoken.
    Call,
    /// A text message.
    Sms,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Twilio {
    /// Where the API is.
    #[serde(default = "twilio")]
    pub api: String,
    /// Call or text.
    pub way: PhoneUse,
    /// The account (`AC…`).
    pub account: String,
    /// Its token.
    pub auth_token: Secret,
    /// Our number.
    pub from: String,
    /// Whose phone it is for what is not for one person.
    #[serde(default)]
    pub to: String,
    /// Where a pressed key is reported to; empty for calls that only speak.
    #[serde(default)]
    pub keys_url: String,
}

fn twilio() -> String {
    "https://api.twilio.com".to_owned()
}

impl Channel for Twilio {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn parcel(&self, message: &Message, to: &str, how: How<'_>) -> Result<Parcel, Fault> {
        let to = if to.is_empty() { &self.to } else { to };
        let account = format!("{}/2010-04-01/Accounts/{}", self.api, self.account);
        let request = match self.way {
            PhoneUse::Sms => {
                let text = short(message, LIMITS.text_bytes_max);
                let fields = [("To", to), ("From", self.from.as_str()), ("Body", text.as_str())];
                Request::form(format!("{account}/Messages.json"), &fields)
            }
            PhoneUse::Call => {
                let twiml = self.twiml(message, how.is_plain);
                let status = format!("{}message={}", self.joined(), sign::percent(&message.key));
                let mut fields =
                    vec![("To", to), ("From", self.from.as_str()), ("Twiml", twiml.as_str())];
                // Of many messages in one none would be called again for.
                if self.hears() && !how.is_plain && message.kind != Kind::Digest {
                    fields.push(("StatusCallback", status.as_str()));
                }
                Request::form(format!("{account}/Calls.json"), &fields)
            }
        };
        let login = sign::base64(format!("{}:{}", self.account, self.auth_token.expose()));
        Ok(Parcel::Http(vec![request.with("Authorization", format!("Basic {login}"))]))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        let body = reply.json();
        match (reply.status, body["sid"].as_str(), body["code"].as_i64()) {
            (200..=299, Some(sid), _) => Answer::Sent { id: Some(sid.to_owned()) },
            (_, _, Some(code)) => {
                let text = body["message"].as_str().unwrap_or("");
                CLASSES.answer(code.to_string(), text, reply.wait)
            }
            _ => CLASSES.by_status(reply),
        }
    }
}

impl Twilio {
    /// Whether pressed keys are reported to us.
    pub(crate) fn hears(&self) -> bool {
        self.way == PhoneUse::Call && !self.keys_url.is_empty()
    }

    /// The address for reports, up to where a field is added.
    fn joined(&self) -> String {
        let joint = if self.keys_url.contains('?') { '&' } else { '?' };
        format!("{}{joint}", self.keys_url)
    }

    /// The call's program is sent along: a page of a third party would read the alert.
    fn twiml(&self, message: &Message, is_plain: bool) -> String {
        let (language, keys) = match message.language {
            Language::English => ("en-US", "Press 1 to acknowledge, 3 to mute for one hour."),
            Language::Chinese => ("zh-CN", "按 1 确认,按 3 屏蔽一小时。"),
        };
        let say = |text: &str| format!("<Say language=\"{language}\">{}</Say>", html(text));
        let text = say(&spoken(message));
        // Without a handle nobody would know what a key is about.
        let handle = message.buttons.iter().find_map(|button| handle_of(button.action.as_ref()?));
        let Some(handle) = handle.filter(|_| !is_plain && self.hears()) else {
            return format!("<Response>{text}{text}</Response>");
        };
        let url = html(&format!("{}handle={handle}", self.joined()));
        format!(
            "<Response><Gather numDigits=\"1\" action=\"{url}\">{text}{}{text}</Gather></Response>",
            say(keys)
        )
    }
}

fn handle_of(action: &str) -> Option<&str> {
    handle::parse(action).map(|(handle, _)| handle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::{how, read, request};
    use crate::message::tests::message;

    fn account(way: PhoneUse) -> Twilio {
        Twilio {
            api: twilio(),
            way,
            account: "AC1".to_owned(),
            auth_token: "tok".into(),
            from: "+1555".to_owned(),
            to: "+1777".to_owned(),
            keys_url: "https://alarm.example/hooks/twilio".to_owned(),
        }
    }

    fn field(request: &Request, name: &str) -> String {
        let mut fields = form_urlencoded::parse(&request.body);
        fields.find(|(known, _)| known == name).map(|(_, value)| value.into_owned()).unwrap()
    }

    #[test]
    fn a_call_speaks_and_asks_for_a_key() {
        let mut told = message();
        told.buttons[0].action = Some("AbCdEfGhIjKla".to_owned());
        let call = request(&account(PhoneUse::Call), &told, "", how());
        assert!(call.url.ends_with("/Accounts/AC1/Calls.json"));
        assert_eq!(call.header("authorization"), Some("Basic QUMxOnRvaw=="));
        let twiml = field(&call, "Twiml");
        assert!(twiml.contains("<Gather") && twiml.contains("disk full"), "{twiml}");
        let url = "action=\"https://alarm.example/hooks/twilio?handle=AbCdEfGhIjKl\"";
        assert!(twiml.contains(url), "{twiml}");
        let mute = Message { buttons: Vec::new(), ..message() };
        let call = request(&account(PhoneUse::Call), &mute, "", how());
        assert!(!field(&call, "Twiml").contains("Gather"), "nobody would know what a key is about");
        assert!(!twiml.contains("<b>"), "{twiml}");
        let plain = How { is_plain: true, ..how() };
        let call = request(&account(PhoneUse::Call), &told, "", plain);
        assert!(!field(&call, "Twiml").contains("Gather"));
    }

    #[test]
    fn a_text_goes_to_the_person() {
        let text = request(&account(PhoneUse::Sms), &message(), "+86138", how());
        assert_eq!(field(&text, "To"), "+86138");
        assert!(field(&text, "Body").starts_with("[Saker] P0 disk full"));
    }

    #[test]
    fn its_codes_mean_what_the_platform_says() {
        let channel = account(PhoneUse::Call);
        let sent = read(&channel, 201, r#"{"sid":"CA1","status":"queued"}"#);
        assert_eq!(sent, Answer::Sent { id: Some("CA1".to_owned()) });
        let code =
            |code: u32| read(&channel, 400, &format!("{{\"code\":{code},\"message\":\"x\"}}"));
        assert!(matches!(code(20429), Answer::Later { .. }));
        assert!(matches!(code(20003), Answer::Refused { whose: Whose::Bot, .. }));
        for number in [21211, 21610, 30006] {
            let answer = code(number);
            assert!(matches!(answer, Answer::Refused { whose: Whose::Recipient, .. }), "{number}");
        }
        assert!(matches!(code(21609), Answer::Plainer { .. }));
    }
}
