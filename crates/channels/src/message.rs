//! A message before it takes the form of a channel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::alert::WebhookMessage;

use crate::words::Language;

/// What a message says, which also is its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Something fires.
    Firing,
    /// It is over.
    Resolved,
    /// Many messages in one.
    Digest,
    /// Who took something hears that it ends.
    Reminder,
    /// A test of the receiver.
    Test,
}

/// How urgent a message is. Urgent ones have a share of each bot to themselves, and phones are for them alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// P0 and P9.
    Urgent,
    /// All others.
    Normal,
}

/// A button. Where the platform calls us back it carries `action`, elsewhere it is a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    /// What is written on it.
    pub label: String,
    /// Where it leads.
    pub url: String,
    /// What comes back when it is pressed: a handle and a letter, at most 64 bytes. `None` for plain links.
    pub action: Option<String>,
}

/// A person whom a message in a chat calls by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mention {
    /// Name of the person.
    pub user: String,
    /// The person's addresses by family, as in [`crate::FAMILIES`].
    pub addresses: BTreeMap<String, String>,
}

impl Mention {
    /// The person's id on a platform. One with other characters than ids have is none, as it stands in markup, and
    /// so is the word that calls everybody.
    pub(crate) fn id(&self, family: &str) -> Option<&str> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@+$".contains(c);
        let id = self.addresses.get(family)?;
        let is_everybody = matches!(id.as_str(), "all" | "@all");
        (!id.is_empty() && !is_everybody && id.chars().all(is_plain)).then_some(id)
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The same for every attempt to tell the same thing, another for everything else.
    pub key: String,
    /// The same for all messages about one alert or group: mails become a thread, incidents are found again.
    pub thread: String,
    /// What it says.
    pub kind: Kind,
    /// How urgent it is.
    pub urgency: Urgency,
    /// In which language it is written.
    pub language: Language,
    /// The word that every message begins with, for bots that let only messages with a keyword pass.
    pub envelope: String,
    /// What it is about, in one line.
    pub title: String,
    /// Name and value, one a line.
    pub facts: Vec<(String, String)>,
    /// What else there is to say; may be empty.
    pub text: String,
    /// What can be done about it.
    pub buttons: Vec<Button>,
    /// Who is called by name where the message goes to a chat.
    #[serde(default)]
    pub mentions: Vec<Mention>,
    /// The alerts, as Alertmanager's webhook has them.
    pub group: WebhookMessage,
    /// What an operator's template makes of it, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Own>,
}

/// How a text of an operator's template is to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// Whether [`Message::text`] is in the markup of the channel already, what comes from alerts escaped.
    #[serde(default)]
    pub is_marked_up: bool,
    /// The page of a mail; empty for the usual one.
    #[serde(default)]
    pub html: String,
}

impl Message {
    /// The text in the markup of a channel.
    pub(crate) fn text_in(&self, escape: fn(&str) -> String) -> String {
        match &self.own {
            Some(own) if own.is_marked_up => self.text.to_owned(),
            _ => escape(&self.text),
        }
    }

    /// Envelope and title.
    pub fn headline(&self) -> String {
        if self.envelope.is_empty() {
            self.title.clone()
        } else if self.title.is_empty() {
            self.envelope.to_owned()
        } else {
            format!("{} {}", self.envelope, self.title)
        }
    }

    /// The ids of those who are mentioned, on a platform.
    pub fn mentioned(&self, family: &str) -> Vec<&str> {
        self.mentions.iter().filter_map(|mention| mention.id(family)).collect()
    }

    /// All of it but the buttons, as plain text.
    pub fn plain(&self) -> String {
        let headline = self.headline();
        let mut lines: Vec<String> = Vec::new();
        lines.extend((!headline.is_empty()).then_some(headline));
        lines.extend(self.facts.iter().map(|(name, value)| format!("{name}: {value}")));
        lines.extend((!self.text.is_empty()).then(|| self.text.clone()));
        lines.join("\n")
    }

    /// All of it as plain text, the buttons as links, cut to a limit without cutting a link in two.
    pub fn plain_with_links(&self, bytes_max: usize) -> String {
        self.escaped_with_links(bytes_max, str::to_owned)
    }

    /// As [`Message::plain_with_links`], for platforms that read markup even in plain texts: what comes from hosts is
    /// escaped, and the links stay as they are.
    pub(crate) fn escaped_with_links(
        &self,
        bytes_max: usize,
        escape: fn(&str) -> String,
    ) -> String {
        let text = escape(&self.plain());
        let links: String = self
            .buttons
            .iter()
            .filter(|button| !button.url.is_empty())
            .map(|button| format!("\n{}: {}", button.label, button.url))
            .collect();
        if links.len() >= bytes_max {
            return cut(&text, bytes_max);
        }
        cut(&text, bytes_max - links.len()) + &links
    }
}

/// The text, cut to a number of bytes at the border of a character, with a mark that it was cut.
pub fn cut(text: &str, bytes_max: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = &text[..end];
    if bytes_max < MARK.len() { String::new() } else { format!("{kept}{MARK}") }
}

#[cfg(test)]
pub(crate) mod tests {
    use model::{Alert, Labels, Timestamp};
    use proptest::prelude::*;

    use super::*;

    pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

    /// A message about a full disk, with a link, a mute button and texts that try to break out.
    pub(crate) fn message() -> Message {
        let labels = [("alertname", "disk full"), ("endpoint", "web-03"), ("severity", "P0")];
        let alert = Alert {
            labels: Labels::from_pairs(labels),
            annotations: [("summary".to_owned(), "97 % *of* <b>/data</b>".to_owned())].into(),
            starts_at: Timestamp(1_699_999_000_000),
            ends_at: Timestamp(1_700_000_300_000),
            generator_url: "http://judge.example/q".to_owned(),
        };
        let group_labels = Labels::from_pairs([("alertname", "disk full")]);
        let web = "http://alarm.example";
        let group = WebhookMessage::new("ops", "{}:{a}", group_labels, web, &[alert], NOW);
        Message {
            key: "k1".to_owned(),
            thread: "t1".to_owned(),
            kind: Kind::Firing,
            urgency: Urgency::Urgent,
            language: Language::English,
            envelope: "[Saker]".to_owned(),
            title: "P0 disk full · web-03".to_owned(),
            facts: vec![("Summary".to_owned(), "97 % *of* <b>/data</b>".to_owned())],
            text: String::new(),
            buttons: vec![
                Button {
                    label: "Mute 1 h".to_owned(),
                    url: "http://alarm.example/m/x".to_owned(),
                    action: Some("AbCdEfGhIjKl1".to_owned()),
                },
                Button {
                    label: "Open".to_owned(),
                    url: "http://alarm.example/alerts".to_owned(),
                    action: None,
                },
            ],
            mentions: Vec::new(),
            group,
            own: None,
        }
    }

    /// [`message`] to a chat, which calls two people by name: one by an id that is none.
    pub(crate) fn mentioning(family: &str, id: &str) -> Message {
        let mention = |user: &str, id: &str| Mention {
            user: user.to_owned(),
            addresses: [(family.to_owned(), id.to_owned())].into(),
        };
        Message {
            mentions: vec![mention("ann", id), mention("eve", "all> <at id=all")],
            ..message()
        }
    }

    #[test]
    fn every_message_begins_with_the_envelope() {
        assert!(message().plain().starts_with("[Saker] P0 disk full"));
        let bare = Message { envelope: String::new(), ..message() };
        assert!(bare.plain().starts_with("P0 disk full"));
    }

    #[test]
    fn a_text_is_cut_and_its_links_are_not() {
        let long = Message { text: "x".repeat(1000), ..message() };
        let text = long.plain_with_links(300);
        assert!(text.len() <= 300, "{text}");
        assert!(text.ends_with("Open: http://alarm.example/alerts"), "{text}");
        assert!(text.contains('…'), "{text}");
    }

    proptest! {
        #[test]
        fn what_is_cut_is_short_enough(text: String, max in 0usize..64) {
            let short = cut(&text, max);
            prop_assert!(short.len() <= max);
            prop_assert!(text.len() > max || short == text);
        }
    }
}
