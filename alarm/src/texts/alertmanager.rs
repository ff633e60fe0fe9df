//! The texts in the integrations of Alertmanager's file, as far as our channels have such a thing.

use std::sync::Arc;

use serde_json::{Map, Value};
use template::{Library, Template};

use super::{Entry, Markup, Texts};
use crate::amconfig::{Integration, Kind};

/// The file of the definitions that are there without any file.
pub(crate) const DEFAULTS: &str = "defaults.tmpl";

/// What is used of the keys of an integration; the others are warned of.
struct Form {
    kind: Kind,
    /// Addresses and secrets, which are taken as they are.
    plain: &'static str,
    /// Templates.
    texts: &'static str,
}

const FORMS: [Form; 6] = [
    Form {
        kind: Kind::Email,
        plain: "to from smarthost auth_username auth_password auth_password_file require_tls tls_config \
                force_implicit_tls",
        texts: "headers html text",
    },
    Form {
        kind: Kind::PagerDuty,
        plain: "routing_key routing_key_file url",
        texts: "description details",
    },
    Form {
        kind: Kind::Slack,
        plain: "api_url api_url_file app_token app_token_file app_url channel timeout",
        texts: "title pretext text",
    },
    Form {
        kind: Kind::Telegram,
        plain: "api_url bot_token bot_token_file chat_id chat_id_file parse_mode",
        texts: "message",
    },
    Form { kind: Kind::Webhook, plain: "url url_file timeout", texts: "" },
    Form {
        kind: Kind::Wechat,
        plain: "api_secret api_secret_file corp_id api_url to_user agent_id message_type",
        texts: "message",
    },
];

/// The keys of an integration that nothing is done with, sorted. Of the headers of a mail only the subject counts.
pub(crate) fn unused_keys(integration: &Integration) -> Vec<String> {
    let Some(form) = FORMS.iter().find(|form| form.kind == integration.kind) else {
        return Vec::new();
    };
    let is_used = |key: &str| {
        form.plain.split_whitespace().chain(form.texts.split(' ')).any(|known| known == key)
    };
    let mut unused: Vec<String> =
        integration.settings.keys().filter(|key| !is_used(key)).cloned().collect();
    let headers = integration.settings.get("headers").and_then(Value::as_object);
    let others = headers.into_iter().flat_map(Map::keys).filter(|name| !is_subject(name));
    unused.extend(others.map(|name| format!("headers.{name}")));
    let mode = integration.settings.get("parse_mode").and_then(Value::as_str);
    if let Some(mode) = mode.filter(|mode| !matches!(*mode, "" | "HTML")) {
        unused.push(format!("parse_mode {mode:?} (the message goes as plain text)"));
    }
    unused.sort();
    unused
}

fn is_subject(header: &str) -> bool {
    header.eq_ignore_ascii_case("subject")
}

/// The templates of an integration, of a receiver with this key. Fails with all faults.
pub(crate) fn texts_of(
    key: &str,
    integration: &Integration,
    library: &Arc<Library>,
) -> Result<Texts, String> {
    let Some(form) = FORMS.iter().find(|form| form.kind == integration.kind) else {
        return Ok(Texts::default());
    };
    for name in form.plain.split_whitespace() {
        let text = integration.settings.get(name).and_then(Value::as_str);
        if text.is_some_and(|text| text.contains("{{")) {
            return Err(format!(
                "{name} cannot be a template here; write what it is, or a receiver for each"
            ));
        }
    }
    let mut reader = Reader { key, settings: &integration.settings, library, faults: Vec::new() };
    let mut entry = reader.entry(integration.kind);
    if entry.text.is_none() && integration.kind != Kind::Slack {
        entry.is_untitled = false;
    }
    if !reader.faults.is_empty() {
        return Err(reader.faults.join("; "));
    }
    let has_some = entry.title.is_some()
        || entry.text.is_some()
        || entry.html.is_some()
        || !entry.facts.is_empty();
    Ok(Texts { entries: if has_some { vec![entry] } else { Vec::new() } })
}

struct Reader<'a> {
    key: &'a str,
    settings: &'a Map<String, Value>,
    library: &'a Arc<Library>,
    faults: Vec<String>,
}

impl Reader<'_> {
    fn entry(&mut self, kind: Kind) -> Entry {
        let mut entry = Entry {
            kind: String::new(),
            language: None,
            markup: Markup::Channel,
            is_untitled: false,
            title: None,
            text: None,
            html: None,
            facts: Vec::new(),
        };
        match kind {
            Kind::Slack => {
                entry.title = self.text("title", &["slack.default.title", "__subject"]);
                let pretext = self.setting("pretext").filter(|text| !text.is_empty());
                let text = self.setting("text").or_else(|| self.defined(&["slack.default.text"]));
                let text = match (pretext, text) {
                    (Some(pretext), Some(text)) => Some(format!("{pretext}\n{text}")),
                    (pretext, text) => pretext.or(text),
                };
                entry.text = text.and_then(|text| self.parse("text", &text));
            }
            Kind::Email => {
                let headers = self.settings.get("headers").and_then(Value::as_object);
                let subject = headers.and_then(|headers| {
                    let found = headers.iter().find(|(name, _)| is_subject(name));
                    found.and_then(|(_, text)| text.as_str()).map(str::to_owned)
                });
                let names = ["email.default.subject", "__subject"];
                let subject = subject.or_else(|| self.defined(&names));
                entry.title = subject.and_then(|text| self.parse("headers.Subject", &text));
                entry.text = self.text("text", &[]);
                entry.html = self.text("html", &["email.default.html"]);
            }
            Kind::PagerDuty => {
                let names = ["pagerduty.default.description", "__subject"];
                entry.title = self.text("description", &names);
                let details = self.settings.get("details").and_then(Value::as_object);
                for (name, text) in details.into_iter().flatten() {
                    let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
                    let parsed = self.parse(&format!("details.{name}"), &text);
                    entry.facts.extend(parsed.map(|template| (name.to_owned(), template)));
                }
            }
            Kind::Telegram => {
                let names = ["telegram.default.message", "__text_alert_list"];
                entry.text = self.message(&names);
                entry.is_untitled = true;
                let mode = self.setting("parse_mode");
                if !matches!(mode.as_deref(), None | Some("HTML")) {
                    entry.markup = Markup::Plain;
                }
            }
            Kind::Wechat => {
                let names = ["wechat.default.message", "__subject", "__text_alert_list"];
                entry.text = self.message(&names);
                entry.is_untitled = true;
                if self.setting("message_type").as_deref() != Some("markdown") {
                    entry.markup = Markup::Plain;
                }
            }
            _ => {}
        }
        entry
    }

    fn setting(&self, field: &str) -> Option<String> {
        self.settings.get(field).and_then(Value::as_str).map(str::to_owned)
    }

    /// The template of a field; without one a call of the first definition, if files give one of these.
    fn text(&mut self, field: &str, names: &[&str]) -> Option<Template> {
        let text = self.setting(field).or_else(|| self.defined(names))?;
        self.parse(field, &text)
    }

    fn message(&mut self, names: &[&str]) -> Option<Template> {
        self.text("message", names)
    }

    fn defined(&self, names: &[&str]) -> Option<String> {
        let is_own =
            |name: &&str| self.library.origin(name).is_some_and(|origin| origin != DEFAULTS);
        let first = names.first().filter(|_| names.iter().any(is_own))?;
        Some(format!("{{{{ template {first:?} . }}}}"))
    }

    fn parse(&mut self, field: &str, text: &str) -> Option<Template> {
        let name = format!("{}.{field}", self.key);
        match Template::parse(self.library, &name, text, "") {
            Ok(template) => Some(template),
            Err(faults) => {
                self.faults.extend(faults.iter().map(ToString::to_string));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use channels::Language;
    use model::{Labels, Timestamp};
    use serde_json::json;
    use wire::alert::WebhookMessage;

    use super::*;
    use crate::texts::{Occasion, Written};

    const FILE: &str = "{{ define \"slack.default.text\" }}own {{ .Receiver }}{{ end }}";

    fn texts(kind: Kind, settings: Value, files: &str) -> Result<Texts, String> {
        let mut library = template::alertmanager::library();
        library.add("own.tmpl", files).expect("valid");
        let settings = settings.as_object().unwrap().to_owned();
        let integration = Integration { kind, send_resolved: true, settings };
        texts_of("ops", &integration, &Arc::new(library))
    }

    fn written(kind: Kind, settings: Value, files: &str) -> Option<Written> {
        let texts = texts(kind, settings, files).expect("valid");
        let by = Labels::from_pairs([("alertname", "Disk")]);
        let group = WebhookMessage::new("ops", "{}", by, "http://alarm", &[], Timestamp(0));
        let occasion = Occasion { recipient: "", language: Language::English, at: Timestamp(0) };
        let word = match kind {
            Kind::Email => "mail",
            Kind::Telegram => "telegram",
            _ => "slack",
        };
        texts.write([word].into_iter(), &group, occasion).pop()
    }

    #[test]
    fn titles_and_texts_are_those_of_the_file() {
        let slack =
            json!({ "title": "{{ .Receiver }}!", "text": "*{{ .Status }}*", "pretext": "<!here>" });
        let slack = written(Kind::Slack, slack, "").unwrap();
        assert_eq!(slack.title.as_deref(), Some("ops!"));
        assert_eq!(slack.text.as_deref(), Some("<!here>\n*resolved*"));
        let mail = json!({ "headers": { "subject": "S {{ .Status }}", "X-Y": "z" }, "html": "<p>{{ .Receiver }}</p>" });
        let mail = written(Kind::Email, mail, "").unwrap();
        assert_eq!(
            (mail.title.as_deref(), mail.own.html.as_str()),
            (Some("S resolved"), "<p>ops</p>")
        );
        let pager = json!({ "description": "D", "details": { "who": "{{ .Receiver }}", "n": 3 } });
        let pager = written(Kind::PagerDuty, pager, "").unwrap();
        let facts = [("n", "3"), ("who", "ops")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(pager.facts.as_deref(), Some(&facts[..]));
        let chat =
            written(Kind::Telegram, json!({ "message": "<b>{{ .Receiver }}</b>" }), "").unwrap();
        assert_eq!(
            (chat.title.as_deref(), chat.own.is_marked_up),
            (Some(""), true),
            "the text is all"
        );
        let plain = json!({ "message": "a_b", "parse_mode": "MarkdownV2" });
        assert!(!written(Kind::Telegram, plain, "").unwrap().own.is_marked_up);
    }

    #[test]
    fn definitions_of_files_take_the_place_of_the_built_in_words_and_nothing_else_does() {
        assert_eq!(written(Kind::Slack, json!({}), ""), None);
        let slack = written(Kind::Slack, json!({}), FILE).unwrap();
        assert_eq!((slack.title, slack.text.as_deref()), (None, Some("own ops")));
        let subject = "{{ define \"__subject\" }}S{{ end }}";
        assert_eq!(written(Kind::Slack, json!({}), subject).unwrap().title.as_deref(), Some("S"));
        assert_eq!(written(Kind::Email, json!({}), subject).unwrap().title.as_deref(), Some("S"));
        assert_eq!(written(Kind::Telegram, json!({}), FILE), None);
    }

    #[test]
    fn what_is_not_used_is_named_and_what_cannot_be_a_template_is_a_fault() {
        let settings =
            json!({ "api_url": "http://x/", "color": "red", "fields": [], "title": "x" });
        let settings = settings.as_object().unwrap().to_owned();
        let slack = Integration { kind: Kind::Slack, send_resolved: true, settings };
        assert_eq!(unused_keys(&slack), ["color", "fields"]);
        let settings = json!({ "headers": { "Subject": "x", "To": "y" }, "hello": "z" });
        let settings = settings.as_object().unwrap().to_owned();
        let mail = Integration { kind: Kind::Email, send_resolved: true, settings };
        assert_eq!(unused_keys(&mail), ["headers.To", "hello"]);
        let channel = json!({ "channel": "#{{ .GroupLabels.team }}" });
        assert!(
            texts(Kind::Slack, channel, "").unwrap_err().contains("channel cannot be a template")
        );
        let faulty = texts(Kind::Slack, json!({ "title": "{{ .x | nope }}" }), "").unwrap_err();
        assert_eq!(faulty, "ops.title:1:9: there is no function \"nope\"");
    }
}
