//! Operators' own texts: templates for title and text of messages, for all bots of a receiver or for a kind of channel
//! or a language. What has no template keeps the built-in words, and so does a message whose template fails.

mod alertmanager;
pub(crate) mod files;
pub(crate) mod preview;

use std::collections::BTreeSet;
use std::sync::Arc;

use channels::message::cut;
use channels::{Language, Message, Own, markdown};
use model::Timestamp;
use serde::{Deserialize, Serialize};
use template::alertmanager::{LIMITS, Reader, data, own};
use template::{Escape, Library, Template, Value};
use wire::alert::WebhookMessage;

pub(crate) use alertmanager::{DEFAULTS, texts_of, unused_keys};

/// A longer title is cut.
const TITLE_BYTES_MAX: usize = 300;
/// Kinds of channels that send no text of ours.
const TEXTLESS: [&str; 1] = ["webhook"];

/// One `[[alarm.receivers.texts]]`: templates for messages of a receiver. What is said for a kind and a language comes
/// before what is said for a kind, that before what is said for a language, and that before what is said for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextConfig {
    /// Only for bots of this kind, as `slack`; empty for all.
    pub kind: String,
    /// Only for readers of this language.
    pub language: Option<Language>,
    /// Template of the title.
    pub title: Option<String>,
    /// Template of the text, in the markup of the channel. It takes the place of the built-in facts.
    pub text: Option<String>,
    /// Template of the page of a mail.
    pub html: Option<String>,
}

/// How a text is put on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Markup {
    /// The text is in the channel's markup.
    Channel,
    /// The text is plain.
    Plain,
}

/// Templates for some messages.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    kind: String,
    language: Option<Language>,
    markup: Markup,
    /// The built-in title is left out, as the text says it all.
    is_untitled: bool,
    title: Option<Template>,
    text: Option<Template>,
    html: Option<Template>,
    /// Names and templates of facts.
    facts: Vec<(String, Template)>,
}

/// All templates of a receiver.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Texts {
    entries: Vec<Entry>,
}

/// What the templates for one kind of channel made of a message; it is stored with the message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// The kind of channel.
    pub(crate) kind: String,
    /// `None` for the built-in title.
    pub(crate) title: Option<String>,
    /// `None` for the built-in facts.
    pub(crate) text: Option<String>,
    /// `None` for the built-in facts.
    #[serde(default)]
    pub(crate) facts: Option<Vec<(String, String)>>,
    /// Markup and page.
    #[serde(default)]
    pub(crate) own: Own,
    /// Why the built-in words stand where a template should; empty when all went well.
    #[serde(default)]
    pub(crate) fault: String,
}

impl Written {
    /// Puts it in the place of the built-in words.
    pub(crate) fn apply(&self, message: &mut Message) {
        if let Some(title) = &self.title {
            message.title.clone_from(title);
        }
        if let Some(text) = &self.text {
            message.text.clone_from(text);
            message.facts.clear();
        }
        if let Some(facts) = &self.facts {
            message.facts.clone_from(facts);
        }
        message.own = Some(self.own.to_owned());
    }
}

/// About whom and when a text is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occasion<'a> {
    /// Name of the reader.
    pub(crate) recipient: &'a str,
    /// The reader's language.
    pub(crate) language: Language,
    /// The moment.
    pub(crate) at: Timestamp,
}

impl Texts {
    /// Reads the templates of a receiver; gives all faults. `receiver` is for their places.
    pub(crate) fn from_config(
        receiver: &str,
        configs: &[TextConfig],
        library: &Arc<Library>,
    ) -> Result<Self, Vec<String>> {
        let (mut entries, mut faults) = (Vec::new(), Vec::new());
        for (position, config) in configs.iter().enumerate() {
            let mut read = |field: &str, text: &Option<String>| {
                let name = format!("receivers.{receiver}.texts[{position}].{field}");
                let parsed = Template::parse(library, &name, text.as_deref()?, "");
                parsed.map_err(|found| faults.extend(found.iter().map(ToString::to_string))).ok()
            };
            let (title, text) = (read("title", &config.title), read("text", &config.text));
            let html = read("html", &config.html);
            if TEXTLESS.contains(&config.kind.as_str()) {
                let fault = "sends the alerts themselves and no text";
                faults.push(format!(
                    "receivers.{receiver}.texts[{position}]: {} {fault}",
                    config.kind
                ));
            }
            entries.push(Entry {
                kind: config.kind.to_owned(),
                language: config.language,
                markup: Markup::Channel,
                is_untitled: false,
                title,
                text,
                html,
                facts: Vec::new(),
            });
        }
        if faults.is_empty() { Ok(Self { entries }) } else { Err(faults) }
    }

    /// Whether all messages have the built-in words.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the templates make of a group of alerts, for each of these kinds of channels that has some.
    pub(crate) fn write<'a>(
        &self,
        kinds: impl Iterator<Item = &'a str>,
        group: &WebhookMessage,
        occasion: Occasion<'_>,
    ) -> Vec<Written> {
        if self.is_empty() {
            return Vec::new();
        }
        let reader = Reader { name: occasion.recipient, language: occasion.language.tag() };
        let data = data(group, reader);
        let kinds: BTreeSet<&str> = kinds.filter(|kind| !TEXTLESS.contains(kind)).collect();
        kinds.into_iter().filter_map(|kind| self.written(kind, &data, occasion)).collect()
    }

    fn written(&self, kind: &str, data: &Value, occasion: Occasion<'_>) -> Option<Written> {
        let mut fitting: Vec<&Entry> =
            self.entries.iter().filter(|entry| entry.fits(kind, occasion.language)).collect();
        // The most particular first; of equals the first.
        fitting.sort_by_key(|entry| (entry.kind.is_empty(), entry.language.is_none()));
        let first = fitting.first()?;
        let mut written = Written {
            kind: kind.to_owned(),
            title: first.is_untitled.then(String::new),
            ..Written::default()
        };
        let mut render = |template: &Template, escape: Option<Escape>| {
            let text = template.render(data, &own(occasion.at, data), &LIMITS, escape);
            text.map_err(|fault| written.fault = fault.to_string()).ok()
        };
        let title = fitting.iter().find_map(|entry| entry.title.as_ref());
        let title = title.and_then(|template| render(template, None));
        let text = fitting.iter().find_map(|entry| Some((entry, entry.text.as_ref()?)));
        let escape = |entry: &Entry| match entry.markup {
            Markup::Channel => markdown::escape_for(kind),
            Markup::Plain => None,
        };
        let marked_up = text.and_then(|(entry, _)| escape(entry)).is_some();
        let text = text.and_then(|(entry, template)| render(template, escape(entry)));
        let page = fitting.iter().find_map(|entry| entry.html.as_ref()).filter(|_| kind == "mail");
        let page = page.and_then(|template| render(template, Some(markdown::html)));
        let facts: Vec<_> = first
            .facts
            .iter()
            .filter_map(|(name, template)| Some((name.to_owned(), render(template, None)?)))
            .collect();
        if !written.fault.is_empty() && text.is_none() {
            // The built-in facts need their title.
            written.title = None;
        }
        if let Some(title) = title {
            let line = title.split_whitespace().collect::<Vec<_>>().join(" ");
            written.title = Some(cut(&line, TITLE_BYTES_MAX));
        }
        written.own =
            Own { is_marked_up: marked_up && text.is_some(), html: page.unwrap_or_default() };
        written.text = text.map(|text| text.trim().to_owned());
        written.facts = (!facts.is_empty()).then_some(facts);
        Some(written)
    }
}

impl Entry {
    fn fits(&self, kind: &str, language: Language) -> bool {
        (self.kind.is_empty() || self.kind == kind)
            && self.language.is_none_or(|wanted| wanted == language)
    }
}

#[cfg(test)]
mod tests {
    use model::{Alert, Labels};

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn group() -> WebhookMessage {
        let alert = Alert {
            labels: Labels::from_pairs([("alertname", "Disk"), ("endpoint", "<web> 1")]),
            annotations: [("summary".to_owned(), "full".to_owned())].into(),
            starts_at: Timestamp(NOW.0 - 60_000),
            ends_at: Timestamp(NOW.0 + 60_000),
            generator_url: String::new(),
        };
        let by = Labels::from_pairs([("alertname", "Disk")]);
        WebhookMessage::new("ops", "{}:{}", by, "http://alarm", &[alert], NOW)
    }

    fn written(settings: &str, kind: &str, language: Language) -> Vec<Written> {
        #[derive(Deserialize)]
        struct Settings {
            texts: Vec<TextConfig>,
        }
        let settings: Settings = toml::from_str(settings).expect("well formed");
        let library = Arc::new(template::alertmanager::library());
        let texts = Texts::from_config("ops", &settings.texts, &library).expect("valid");
        let occasion = Occasion { recipient: "ann", language, at: NOW };
        texts.write([kind].into_iter(), &group(), occasion)
    }

    const SETTINGS: &str = "
        [[texts]]
        title = 'all {{ .CommonLabels.alertname }}'
        [[texts]]
        language = 'zh-CN'
        title = '告警 {{ .CommonLabels.alertname }}'
        [[texts]]
        kind = 'telegram'
        text = '<b>{{ .CommonLabels.endpoint }}</b>'
        [[texts]]
        kind = 'mail'
        language = 'en'
        title = \"mail\\n{{ .Recipient }}\"
        html = '<p>{{ .CommonLabels.endpoint }}</p>'
    ";

    #[test]
    fn the_most_particular_template_counts_and_each_field_for_itself() {
        let title = |kind, language| written(SETTINGS, kind, language)[0].title.clone();
        assert_eq!(title("slack", Language::English).as_deref(), Some("all Disk"));
        assert_eq!(title("slack", Language::Chinese).as_deref(), Some("告警 Disk"));
        assert_eq!(title("telegram", Language::Chinese).as_deref(), Some("告警 Disk"));
        assert_eq!(title("mail", Language::English).as_deref(), Some("mail ann"), "one line");
        assert_eq!(title("mail", Language::Chinese).as_deref(), Some("告警 Disk"));
        let telegram = &written(SETTINGS, "telegram", Language::English)[0];
        assert_eq!(telegram.text.as_deref(), Some("<b>&lt;web&gt; 1</b>"));
        assert!(telegram.own.is_marked_up);
        let mail = &written(SETTINGS, "mail", Language::English)[0];
        assert_eq!(mail.own.html, "<p>&lt;web&gt; 1</p>");
        assert_eq!(mail.text, None, "the text keeps the built-in words");
        assert!(written(SETTINGS, "webhook", Language::English).is_empty());
    }

    #[test]
    fn a_template_that_fails_leaves_the_built_in_words_and_says_why() {
        let settings =
            "[[texts]]\ntitle = 'ok {{ .Status }}'\ntext = '''a\n {{ index .Alerts 7 }}'''\n";
        let written = &written(settings, "slack", Language::English)[0];
        assert_eq!((written.title.as_deref(), written.text.as_deref()), (Some("ok firing"), None));
        assert!(written.fault.contains("receivers.ops.texts[0].text:2:"), "{}", written.fault);
        assert!(written.fault.contains("index out of range: 7"), "{}", written.fault);
        assert!(!written.own.is_marked_up);
    }

    #[test]
    fn faulty_templates_are_all_told_at_once() {
        let config =
            |text: &str| TextConfig { text: Some(text.to_owned()), ..TextConfig::default() };
        let webhook = TextConfig { kind: "webhook".to_owned(), ..TextConfig::default() };
        let configs = [config("{{ if }}"), config("\n {{ toUper .Status }}"), webhook];
        let library = Arc::new(template::alertmanager::library());
        let faults = Texts::from_config("ops", &configs, &library).expect_err("three faults");
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(
            faults[1].starts_with("receivers.ops.texts[1].text:2:5: there is no function"),
            "{faults:?}"
        );
    }
}
