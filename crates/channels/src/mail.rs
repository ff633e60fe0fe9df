//! Mail. All mails about one alert are a thread: the first has an id made of the thread's name, the later ones
//! refer to it.

use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Fault, Reply, Whose};
use crate::channel::{Channel, How, Limits, Mail as Letter, Parcel};
use crate::markdown::{html, html_facts};
use crate::message::{Kind, Message, cut};
use crate::secret::Secret;
use crate::sign;

const LIMITS: Limits =
    Limits { per_minute: 120, per_second: 0, reserved_per_minute: 30, text_bytes_max: 200_000 };

/// How the connection to the relay is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailTls {
    /// Begins in the clear and must become TLS.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// None: for a relay on this host.
    None,
}

/// A relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// Its name, as in its certificate.
    pub host: String,
    /// Its port; 0 for the usual one.
    #[serde(default)]
    pub port: u16,
    /// Protection of the connection.
    #[serde(default)]
    pub tls: MailTls,
    /// A file with the certificate of the authority that vouches for the relay, if it is none of the public ones.
    #[serde(default)]
    pub authority_file: String,
    /// Empty for no login.
    #[serde(default)]
    pub user: String,
    /// With `user`.
    #[serde(default)]
    pub password: Secret,
    /// As in `Saker <saker@example.com>`.
    pub from: String,
    /// Who gets what is not for one person.
    #[serde(default)]
    pub to: Vec<String>,
}

impl Channel for Mail {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn parcel(&self, message: &Message, to: &str, how: How<'_>) -> Result<Parcel, Fault> {
        let from = mailbox(&self.from)?;
        let to: Vec<Mailbox> = if to.is_empty() {
            self.to.iter().map(|to| mailbox(to)).collect::<Result<_, _>>()?
        } else {
            vec![mailbox(to)?]
        };
        let thread = id(&message.thread, &from);
        let date = UNIX_EPOCH + how.now.since(Timestamp(0));
        let mut letter = lettre::Message::builder()
            .from(from.clone())
            .date(date)
            .subject(cut(&message.headline(), 200).replace(['\r', '\n'], " "))
            .message_id(Some(id(&message.key, &from)))
            .references(thread.clone())
            .in_reply_to(thread)
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .raw_header(header("X-Saker-Key", &sign::hex(sign::sha256(message.key.as_bytes()))));
        for to in &to {
            letter = letter.to(to.clone());
        }
        let text = message.plain_with_links(LIMITS.text_bytes_max);
        let letter = if how.is_plain {
            letter.header(ContentType::TEXT_PLAIN).body(text)
        } else {
            let parts = MultiPart::alternative()
                .singlepart(SinglePart::plain(text))
                .singlepart(SinglePart::html(page(message)));
            letter.multipart(parts)
        };
        let letter = letter.map_err(|cause| Fault::new("mail", &cause.to_string()))?;
        let to = to.iter().map(|to| to.email.to_string()).collect();
        Ok(Parcel::Mail(Letter { from: from.email.to_string(), to, text: letter.formatted() }))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        let fault = Fault::new(reply.status.to_string(), &String::from_utf8_lossy(reply.body));
        match reply.status {
            200..=299 => Answer::Sent { id: None },
            // The relay does not know the recipient.
            550 | 551 | 553 => Answer::Refused { fault, whose: Whose::Recipient },
            552 | 554 => Answer::Refused { fault, whose: Whose::Message },
            500..=599 => Answer::Refused { fault, whose: Whose::Bot },
            _ => Answer::Later { fault, wait: Some(Duration::from_secs(60)) },
        }
    }
}

fn mailbox(text: &str) -> Result<Mailbox, Fault> {
    text.parse().map_err(|_| Fault::new("address", "not a mail address"))
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// The id of a mail. It is a hash, so that nothing of the alert can break out of the header.
fn id(name: &str, from: &Mailbox) -> String {
    let hash = sign::hex(sign::sha256(name.as_bytes()));
    format!("<{}@{}>", &hash[..32], from.email.domain())
}

fn page(message: &Message) -> String {
    if let Some(own) = message.own.as_ref().filter(|own| !own.html.is_empty()) {
        return own.html.to_owned();
    }
    let colour = match message.kind {
        Kind::Firing => "#b3261e",
        Kind::Resolved => "#1e6b3a",
        Kind::Digest | Kind::Reminder => "#8a5a00",
        Kind::Test => "#1d4f91",
    };
    let links: String = message
        .buttons
        .iter()
        .filter(|button| button.url.starts_with("http"))
        .map(|button| {
            format!("<a href=\"{}\">{}</a> &nbsp; ", html(&button.url), html(&button.label))
        })
        .collect();
    format!(
        "<!doctype html><html lang=\"{}\"><meta charset=\"utf-8\"><body style=\"font-family:sans-serif\">\
         <h2 style=\"color:{colour}\">{}</h2><p>{}</p><p style=\"white-space:pre-wrap\">{}</p><p>{links}</p>",
        message.language.tag(),
        html(&message.headline()),
        html_facts(message, "<br>"),
        html(&message.text),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::channel::tests::{how, read};
    use crate::message::tests::message;

    fn relay() -> Mail {
        Mail {
            host: "mail.example".to_owned(),
            port: 0,
            tls: MailTls::Starttls,
            authority_file: String::new(),
            user: String::new(),
            password: Secret::default(),
            from: "Saker <saker@example.com>".to_owned(),
            to: vec!["ops@example.com".to_owned()],
        }
    }

    fn letter(message: &Message, to: &str) -> (Letter, String) {
        let Ok(Parcel::Mail(letter)) = relay().parcel(message, to, how()) else {
            panic!("no mail")
        };
        let text = String::from_utf8(letter.text.clone()).unwrap();
        (letter, text)
    }

    fn line<'a>(text: &'a str, name: &str) -> &'a str {
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn all_mails_about_one_alert_refer_to_one_id() {
        let (letter_one, one) = letter(&message(), "");
        let (_, other) = letter(&Message { key: "k2".to_owned(), ..message() }, "");
        assert_eq!(line(&one, "References: "), line(&other, "References: "));
        assert_eq!(line(&one, "In-Reply-To: "), line(&other, "References: "));
        assert_ne!(line(&one, "Message-ID: "), line(&other, "Message-ID: "));
        assert_eq!(line(&one, "Auto-Submitted: "), "auto-generated");
        assert_eq!(line(&one, "Date: "), "Tue, 14 Nov 2023 22:13:20 +0000");
        assert_eq!(letter_one.to, ["ops@example.com"]);
    }

    #[test]
    fn a_person_gets_a_mail_of_its_own_and_a_bad_address_is_refused() {
        assert_eq!(letter(&message(), "ann@example.com").0.to, ["ann@example.com"]);
        assert!(relay().parcel(&message(), "ann@x\r\nBcc: eve@y", how()).is_err());
    }

    #[test]
    fn the_page_shows_the_text_of_a_host_as_text() {
        let page = page(&message());
        assert!(page.contains("&lt;b&gt;/data"), "{page}");
        assert!(page.contains("<a href=\"http://alarm.example/m/x\">"), "{page}");
    }

    #[test]
    fn its_codes_mean_what_the_protocol_says() {
        assert_eq!(read(&relay(), 250, ""), Answer::Sent { id: None });
        for code in [421, 451, 0] {
            assert!(matches!(read(&relay(), code, ""), Answer::Later { .. }), "{code}");
        }
        assert!(matches!(read(&relay(), 550, ""), Answer::Refused { whose: Whose::Recipient, .. }));
        assert!(matches!(read(&relay(), 535, ""), Answer::Refused { whose: Whose::Bot, .. }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_of_a_host_adds_a_header(title: String, key: String, thread: String) {
            let title = format!("{title}\r\nBcc: eve@example.com");
            let (_, text) = letter(&Message { title, key, thread, ..message() }, "");
            let head = text.split("\r\n\r\n").next().unwrap();
            prop_assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{}", head);
        }
    }
}
