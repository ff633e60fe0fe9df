//! Open-Falcon's providers: a form with the recipients and the text. Which fields, the settings say; those of
//! the phone sender are `username` and `msg`, those of the SMS, mail and IM senders `tos` and `content`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Classes, Fault, Reply};
use crate::channel::{Channel, How, Limits, Parcel, Request};
use crate::message::Message;
use crate::secret::Secret;

const LIMITS: Limits = Limits::none(4_000);
const CLASSES: Classes = Classes { cool_down: Duration::from_secs(60), codes: &[] };

/// A provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LegacyForm {
    /// Where to post.
    pub url: Secret,
    /// The field of the recipients.
    #[serde(default = "tos")]
    pub to_field: String,
    /// The field of the text.
    #[serde(default = "content")]
    pub text_field: String,
    /// The field of the subject, if there is one.
    #[serde(default)]
    pub subject_field: String,
    /// Fields that are always the same, such as `app_id` and `sign`.
    #[serde(default)]
    pub fields: BTreeMap<String, Secret>,
    /// The field of the JSON answer that is 0 for "sent". Empty: any 2xx is "sent".
    #[serde(default)]
    pub ok_field: String,
    /// Who gets what is not for one person.
    #[serde(default)]
    pub to: String,
}

fn tos() -> String {
    "tos".to_owned()
}

fn content() -> String {
    "content".to_owned()
}

impl Channel for LegacyForm {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn parcel(&self, message: &Message, to: &str, _: How<'_>) -> Result<Parcel, Fault> {
        let to = if to.is_empty() { &self.to } else { to };
        let (text, subject) = (message.plain_with_links(LIMITS.text_bytes_max), message.headline());
        let mut fields = vec![(self.to_field.as_str(), to), (self.text_field.as_str(), &text)];
        if !self.subject_field.is_empty() {
            fields.push((self.subject_field.as_str(), &subject));
        }
        fields.extend(self.fields.iter().map(|(name, value)| (name.as_str(), value.expose())));
        Ok(Parcel::Http(vec![Request::form(self.url.expose(), &fields)]))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        if self.ok_field.is_empty() {
            return match reply.status {
                200..=299 => Answer::Sent { id: None },
                _ => CLASSES.by_status(reply),
            };
        }
        CLASSES.numbered(reply, &self.ok_field, "msg")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::{how, read, request};
    use crate::message::tests::message;

    fn phone() -> LegacyForm {
        let text = r#"
            url = "http://phone.example/call"
            to_field = "username"
            text_field = "msg"
            ok_field = "ret"
            fields = { app_id = "7", sign = "hunter2" }
        "#;
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_form_has_the_fields_of_the_settings() {
        let sent = request(&phone(), &message(), "ann", how());
        let fields: BTreeMap<_, _> = form_urlencoded::parse(&sent.body).into_owned().collect();
        assert_eq!((fields["username"].as_str(), fields["sign"].as_str()), ("ann", "hunter2"));
        assert!(fields["msg"].starts_with("[Saker] P0 disk full"));
        assert!(!format!("{:?}", phone()).contains("hunter2"));
    }

    #[test]
    fn the_field_of_the_answer_decides() {
        assert_eq!(read(&phone(), 200, r#"{"ret":0}"#), Answer::Sent { id: None });
        assert!(matches!(read(&phone(), 200, r#"{"ret":3}"#), Answer::Later { .. }));
        assert!(matches!(read(&phone(), 200, ""), Answer::Later { .. }));
        let sms = LegacyForm { ok_field: String::new(), ..phone() };
        assert_eq!(read(&sms, 204, ""), Answer::Sent { id: None });
        assert!(matches!(read(&sms, 500, ""), Answer::Later { .. }));
    }
}
