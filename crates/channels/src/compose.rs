//! From alerts to a message: what is said in which language, before it takes the form of a channel.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use model::{Labels, Timestamp};
use wire::alert::{FiringStatus, WebhookAlert, WebhookMessage};

use crate::message::{Button, Kind, Mention, Message, Urgency, cut};
use crate::mute::Subject;
use crate::words::{Language, Word};

/// Alerts that a message lists one by one; the rest is counted.
const LISTED_MAX: usize = 10;
/// Characters of the name of a list.
const LIST_CHARS: usize = 16;
/// What was gathered is told in so many bytes at most; the link leads to all of it.
const GATHERED_BYTES_MAX: usize = 64 << 10;
const VALUE_BYTES_MAX: usize = 1_000;

/// What a message is made of besides the alerts.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// See [`Message::key`].
    pub key: &'a str,
    /// See [`Message::thread`].
    pub thread: &'a str,
    /// See [`Message::envelope`].
    pub envelope: &'a str,
    /// How urgent it is.
    pub urgency: Urgency,
    /// The language of the recipient.
    pub language: Language,
    /// The time zone of the recipient.
    pub zone: &'a TimeZone,
    /// Who is told, by name.
    pub recipient: &'a str,
}

/// What a group of alerts is about, for mutes: its endpoint and metric, if all of its alerts share them.
pub fn subject(group: &WebhookMessage) -> Option<Subject> {
    subject_of(&group.common_labels)
}

/// What an alert with these labels is about, for mutes.
pub fn subject_of(labels: &Labels) -> Option<Subject> {
    let metric = labels.get("metric").or(labels.get("alertname"))?.to_owned();
    let endpoint = labels.get("endpoint").or(labels.get("instance")).map(str::to_owned);
    Some(Subject { endpoint, metric })
}

/// The message about a group of alerts.
pub fn message(frame: Frame<'_>, group: WebhookMessage, buttons: Vec<Button>) -> Message {
    let language = frame.language;
    let is_over = group.status == FiringStatus::Resolved;
    let mut facts = match group.alerts.as_slice() {
        [alert] => facts_of(alert, frame),
        alerts => listed(alerts, &group, frame),
    };
    if let Some(subject) = subject(&group) {
        facts.push((language.word(Word::Counter).to_owned(), subject.counter()));
    }
    if !frame.recipient.is_empty() {
        facts.push((language.word(Word::Recipient).to_owned(), frame.recipient.to_owned()));
    }
    for (_, value) in &mut facts {
        *value = cut(value, VALUE_BYTES_MAX);
    }
    Message {
        key: frame.key.to_owned(),
        thread: frame.thread.to_owned(),
        kind: if is_over { Kind::Resolved } else { Kind::Firing },
        urgency: frame.urgency,
        language,
        envelope: frame.envelope.to_owned(),
        title: cut(&title(&group, language), 300),
        facts,
        text: String::new(),
        buttons,
        mentions: Vec::new(),
        group,
        own: None,
    }
}

/// A message that tests a receiver.
pub fn test(frame: Frame<'_>, receiver: &str, external_url: &str, now: Timestamp) -> Message {
    let labels = [("alertname", "SakerTest"), ("receiver", receiver), ("severity", "info")];
    let alert = model::Alert {
        labels: Labels::from_pairs(labels),
        annotations: BTreeMap::new(),
        starts_at: now,
        ends_at: now.plus(std::time::Duration::from_secs(300)),
        generator_url: String::new(),
    };
    let own = alert.labels.clone();
    let group = WebhookMessage::new(receiver, frame.thread, own, external_url, &[alert], now);
    let title = format!("{} {receiver}", frame.language.word(Word::Test));
    let text = frame.language.word(Word::TestText).to_owned();
    let facts = Vec::new();
    Message { kind: Kind::Test, title, text, facts, ..message(frame, group, Vec::new()) }
}

/// What somebody is reminded of.
#[derive(Debug, Clone, Copy)]
pub struct Claimed<'a> {
    /// When it ends or ended.
    pub until: Timestamp,
    /// Whether it is over.
    pub has_ended: bool,
    /// What the person wrote then; may be empty.
    pub note: &'a str,
}

/// The message to who took these alerts: that their time is over soon, or is over.
pub fn reminder(
    frame: Frame<'_>,
    group: WebhookMessage,
    claimed: Claimed<'_>,
    buttons: Vec<Button>,
) -> Message {
    let language = frame.language;
    let mut reminder = message(frame, group, buttons);
    let ends = language.your_time_ends(&moment(claimed.until, frame.zone), claimed.has_ended);
    let note = cut(claimed.note, VALUE_BYTES_MAX);
    let note = (!note.is_empty()).then(|| (language.word(Word::Note).to_owned(), note));
    let head = (language.word(Word::Reminder).to_owned(), ends);
    reminder.facts.splice(0..0, std::iter::once(head).chain(note));
    reminder.kind = Kind::Reminder;
    reminder.title =
        cut(&format!("⏰ {} · {}", language.word(Word::Reminder), reminder.title), 300);
    if !claimed.has_ended {
        reminder.text = language.word(Word::KeepIt).to_owned();
    }
    reminder
}

/// One message in place of many: counts by alert name, the first ones by name, a link to all of them. Urgent ones
/// are all named.
pub fn digest(messages: &[&Message], now: Timestamp) -> Option<Message> {
    let first = messages.first()?;
    let language = first.language;
    let firing = messages.iter().filter(|message| message.kind != Kind::Resolved).count();
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for message in messages {
        let name = message.group.common_labels.get("alertname").unwrap_or("?");
        *by_name.entry(name).or_default() += 1;
    }
    let mut counts: Vec<_> = by_name.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut facts: Vec<(String, String)> = counts
        .iter()
        .take(LISTED_MAX)
        .map(|(name, count)| ((*name).to_owned(), count.to_string()))
        .collect();
    if counts.len() > LISTED_MAX {
        let more: usize = counts[LISTED_MAX..].iter().map(|(_, count)| count).sum();
        facts.push(("…".to_owned(), more.to_string()));
    }
    let named = if first.urgency == Urgency::Urgent { messages.len() } else { LISTED_MAX };
    let mut lines: Vec<String> =
        messages.iter().take(named).map(|message| message.title.clone()).collect();
    if messages.len() > named {
        let more = u64::try_from(messages.len() - named).unwrap_or(u64::MAX);
        lines.push(language.and_more(more));
    }
    let keys: String = messages.iter().map(|message| message.key.as_str()).collect();
    let key = crate::sign::hex(crate::sign::sha256(keys.as_bytes()));
    let external_url = &first.group.external_url;
    let url = format!("{external_url}/alerts?list={}", list_of(&key));
    let button = Button { label: language.open().to_owned(), url, action: None };
    let counted = language.counted(firing, messages.len() - firing);
    let alerts: Vec<WebhookAlert> =
        messages.iter().flat_map(|message| message.group.alerts.iter().cloned()).collect();
    let mut group = WebhookMessage::new(
        &first.group.receiver,
        "digest",
        Labels::from_pairs(Vec::<(&str, &str)>::new()),
        external_url,
        &[],
        now,
    );
    group.alerts = alerts;
    group.status = if firing > 0 { FiringStatus::Firing } else { FiringStatus::Resolved };
    Some(Message {
        key,
        thread: format!("digest-{}", first.group.receiver),
        kind: Kind::Digest,
        urgency: first.urgency,
        language,
        envelope: first.envelope.clone(),
        title: format!("{} · {counted}", language.word(Word::Digest)),
        facts,
        text: lines.join("\n"),
        buttons: vec![button],
        mentions: all_mentions(messages),
        group,
        own: None,
    })
}

/// The name of the list of alerts that the link of a digest with this key leads to. It is short, as it stands in text
/// messages.
pub fn list_of(key: &str) -> &str {
    key.get(..LIST_CHARS).unwrap_or(key)
}

/// What was gathered for somebody of one priority, one kind and one name: how many, what, and one place for all. On a
/// channel with room for it (`is_roomy`) the messages follow as they are.
pub fn gathered(
    messages: &[&Message],
    priority: u8,
    is_roomy: bool,
    now: Timestamp,
) -> Option<Message> {
    let first = messages.first()?;
    let mut gathered = digest(messages, now)?;
    let alerts = &gathered.group.alerts;
    let name = first.group.common_labels.get("alertname");
    let name = name.or(first.group.group_labels.get("alertname")).unwrap_or("");
    let labels = alerts.first().map(|alert| &alert.labels);
    let place = labels.and_then(|labels| labels.get("endpoint").or(labels.get("instance")));
    // The words of Open-Falcon, which people have rules for.
    let kind = if first.kind == Kind::Resolved { "OK" } else { "PROBLEM" };
    let what = first.language.so_many(alerts.len(), name, place.unwrap_or(""));
    gathered.title = cut(&format!("[P{priority}][{kind}] {what}"), 300);
    gathered.facts.clear();
    gathered.text.clear();
    if is_roomy {
        let texts: Vec<String> = messages.iter().map(|message| message.plain()).collect();
        gathered.text = cut(&texts.join("\n\n"), GATHERED_BYTES_MAX);
    }
    Some(gathered)
}

/// The digest of what waited for the end of quiet hours.
pub fn after_quiet_hours(messages: &[&Message], now: Timestamp) -> Option<Message> {
    let mut digest = digest(messages, now)?;
    let words = digest.language.word(Word::QuietHours);
    digest.title = format!("{words} · {}", digest.title);
    Some(digest)
}

/// Everybody whom one of the messages mentions, once.
fn all_mentions(messages: &[&Message]) -> Vec<Mention> {
    let mut all: Vec<Mention> = Vec::new();
    for mention in messages.iter().flat_map(|message| &message.mentions) {
        if !all.iter().any(|known| known.user == mention.user) {
            all.push(mention.clone());
        }
    }
    all
}

fn title(group: &WebhookMessage, language: Language) -> String {
    let labels = &group.common_labels;
    let mut parts = Vec::new();
    if group.status == FiringStatus::Resolved {
        parts.push(format!("✓ {}", language.word(Word::Recovered)));
    }
    parts.extend(labels.get("severity").map(str::to_owned));
    parts.push(match labels.get("alertname").or(group.group_labels.get("alertname")) {
        Some(name) => name.to_owned(),
        None => named(&group.group_labels),
    });
    let head = parts.join(" ");
    let place = labels.get("endpoint").or(labels.get("instance"));
    match (place, group.alerts.len()) {
        (Some(place), 0 | 1) => format!("{head} · {place}"),
        (Some(place), count) => format!("{head} · {place} ×{count}"),
        (None, 0 | 1) => head,
        (None, count) => format!("{head} ×{count}"),
    }
}

fn facts_of(alert: &WebhookAlert, frame: Frame<'_>) -> Vec<(String, String)> {
    let language = frame.language;
    let mut facts = Vec::new();
    let mut add = |word, value: &str| {
        if !value.is_empty() {
            facts.push((language.word(word).to_owned(), value.to_owned()));
        }
    };
    let annotation = |name: &str| alert.annotations.get(name).map_or("", String::as_str);
    add(Word::Value, annotation("value"));
    add(Word::Summary, annotation("summary"));
    add(Word::Description, annotation("description"));
    add(Word::Since, &moment(alert.starts_at, frame.zone));
    if let Some(end) = alert.ends_at {
        add(Word::Until, &moment(end, frame.zone));
    }
    let text = |name| alert.labels.get(name).unwrap_or("");
    add(Word::Severity, text("severity"));
    add(Word::Endpoint, text("endpoint"));
    add(Word::Labels, &named(&alert.labels));
    add(Word::Runbook, annotation("runbook_url"));
    facts
}

fn listed(
    alerts: &[WebhookAlert],
    group: &WebhookMessage,
    frame: Frame<'_>,
) -> Vec<(String, String)> {
    let over = alerts.iter().filter(|alert| alert.status == FiringStatus::Resolved).count();
    let mut facts = vec![(
        frame.language.word(Word::Labels).to_owned(),
        format!(
            "{} · {}",
            named(&group.group_labels),
            frame.language.counted(alerts.len() - over, over)
        ),
    )];
    for alert in alerts.iter().take(LISTED_MAX) {
        let name = alert.labels.get("alertname").unwrap_or("?");
        let place = alert.labels.get("endpoint").or(alert.labels.get("instance")).unwrap_or("");
        let mark = if alert.status == FiringStatus::Resolved { "✓ " } else { "" };
        let summary = alert.annotations.get("summary").or(alert.annotations.get("value"));
        let since = moment(alert.starts_at, frame.zone);
        let value = summary.map_or(since.clone(), |text| format!("{} · {since}", cut(text, 200)));
        facts.push((format!("{mark}{name} {place}").trim().to_owned(), value));
    }
    let more = u64::try_from(alerts.len().saturating_sub(LISTED_MAX)).unwrap_or(u64::MAX);
    let more = more.saturating_add(group.truncated_alerts);
    if more > 0 {
        facts.push(("…".to_owned(), frame.language.and_more(more)));
    }
    facts
}

/// The labels that are not shown by themselves.
fn named(labels: &Labels) -> String {
    let rest = labels.iter().filter(|(name, _)| !matches!(*name, "severity" | "endpoint"));
    rest.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn moment(at: Timestamp, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(at.millis()) {
        Ok(at) => at.to_zoned(zone.clone()).strftime("%F %T %:z").to_string(),
        Err(_) => at.rfc3339(),
    }
}

#[cfg(test)]
mod tests {
    use model::Alert;

    use super::*;
    use crate::message::tests::NOW;

    fn alert(name: &str, endpoint: &str, is_over: bool) -> Alert {
        let labels = [("alertname", name), ("endpoint", endpoint), ("severity", "P2")];
        let annotations = [("summary", "full"), ("value", "97.2")];
        Alert {
            labels: Labels::from_pairs(labels),
            annotations: annotations.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
            starts_at: Timestamp(NOW.0 - 60_000),
            ends_at: Timestamp(if is_over { NOW.0 - 1 } else { NOW.0 + 60_000 }),
            generator_url: String::new(),
        }
    }

    fn group(alerts: &[Alert]) -> WebhookMessage {
        let labels = Labels::from_pairs([("alertname", "disk full")]);
        WebhookMessage::new("ops", "{}:{}", labels, "http://alarm.example", alerts, NOW)
    }

    fn told(language: Language, alerts: &[Alert]) -> Message {
        let frame = Frame {
            key: "k",
            thread: "t",
            envelope: "[Saker]",
            urgency: Urgency::Normal,
            language,
            zone: &TimeZone::UTC,
            recipient: "ann",
        };
        message(frame, group(alerts), Vec::new())
    }

    #[test]
    fn one_alert_is_told_with_recipient_endpoint_and_counter() {
        let text = told(Language::English, &[alert("disk full", "web-03", false)]).plain();
        for part in [
            "[Saker] P2 disk full · web-03",
            "Value: 97.2",
            "Since: 2023-11-14 22:12:20 +00:00",
            "Endpoint: web-03",
            "Counter: web-03_disk full",
            "To: ann",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn the_end_is_told_as_such_in_the_language_of_the_recipient() {
        let end = told(Language::Chinese, &[alert("disk full", "web-03", true)]);
        assert_eq!(end.kind, Kind::Resolved);
        assert!(end.plain().contains("✓ 已恢复 P2 disk full · web-03"), "{}", end.plain());
        assert!(end.plain().contains("恢复时间: 2023-11-14"), "{}", end.plain());
    }

    #[test]
    fn a_group_lists_its_first_alerts_and_counts_the_rest() {
        let alerts: Vec<Alert> =
            (0..14).map(|n| alert("disk full", &format!("web-{n:02}"), n == 0)).collect();
        let text = told(Language::English, &alerts).plain();
        assert!(text.contains("P2 disk full ×14"), "{text}");
        assert!(text.contains("14 alerts: 13 firing, 1 recovered"), "{text}");
        assert!(text.contains("✓ disk full web-00: full · 2023"), "{text}");
        assert!(text.contains("and 4 more") && !text.contains("web-10"), "{text}");
    }

    #[test]
    fn only_a_group_about_one_thing_can_be_muted_as_one() {
        let same = group(&[alert("a", "web-03", false)]);
        let known = Subject { endpoint: Some("web-03".to_owned()), metric: "a".to_owned() };
        assert_eq!(subject(&same), Some(known));
        let names = group(&[alert("a", "web-03", false), alert("b", "web-03", false)]);
        assert_eq!(subject(&names), None);
        let hosts = group(&[alert("a", "web-03", false), alert("a", "web-04", false)]);
        let everywhere = Subject { endpoint: None, metric: "a".to_owned() };
        assert_eq!(subject(&hosts), Some(everywhere));
    }

    #[test]
    fn a_digest_counts_by_name_and_leads_to_the_list() {
        let many: Vec<Message> = (0..30)
            .map(|n| told(Language::English, &[alert(&format!("rule {}", n % 3), "h", n == 7)]))
            .collect();
        let digest = digest(&many.iter().collect::<Vec<_>>(), NOW).unwrap();
        let text = digest.plain_with_links(4_000);
        assert!(text.contains("digest · 30 alerts: 29 firing, 1 recovered"), "{text}");
        assert!(text.contains("rule 1: 10") && text.contains("and 20 more"), "{text}");
        assert!(text.contains("Open: http://alarm.example/alerts"), "{text}");
        assert_eq!(digest.group.alerts.len(), 30);
        let urgent: Vec<Message> =
            many.into_iter().map(|m| Message { urgency: Urgency::Urgent, ..m }).collect();
        let named = super::digest(&urgent.iter().collect::<Vec<_>>(), NOW).unwrap();
        assert_eq!(named.text.lines().count(), 30, "urgent ones are all named");
        assert!(super::digest(&[], NOW).is_none());
    }

    #[test]
    fn what_was_gathered_is_one_line_and_a_link_and_by_mail_all_of_it() {
        let many: Vec<Message> = (0..12)
            .map(|n| told(Language::English, &[alert("disk full", &format!("web-{n:02}"), false)]))
            .collect();
        let many: Vec<&Message> = many.iter().collect();
        let short = gathered(&many, 3, false, NOW).unwrap();
        let list = list_of(&short.key).to_owned();
        assert_eq!(list.len(), 16);
        let expected = format!(
            "[Saker] [P3][PROBLEM] 12 disk full e.g. web-00\nOpen: http://alarm.example/alerts?list={list}"
        );
        assert_eq!(short.plain_with_links(4_000), expected);
        assert_eq!((short.kind, short.group.alerts.len()), (Kind::Digest, 12));
        let mail = gathered(&many, 3, true, NOW).unwrap();
        assert_eq!(mail.title, short.title);
        assert_eq!(mail.text.matches("Value: 97.2").count(), 12, "{}", mail.text);
        let over = told(Language::Chinese, &[alert("disk full", "web-01", true)]);
        let over = gathered(&[&over, &over], 4, false, NOW).unwrap();
        assert_eq!(over.title, "[P4][OK] 2 disk full 例如 web-01");
        assert_eq!(gathered(&[], 3, false, NOW), None);
        let quiet = after_quiet_hours(&many, NOW).unwrap();
        assert!(
            quiet.title.starts_with("after your quiet hours · digest · 12 alerts"),
            "{}",
            quiet.title
        );
    }

    #[test]
    fn a_reminder_says_when_the_time_ends_and_what_it_is_about() {
        let zone = TimeZone::UTC;
        let frame = |language| Frame {
            key: "k",
            thread: "t",
            envelope: "[Saker]",
            urgency: Urgency::Normal,
            language,
            zone: &zone,
            recipient: "ann",
        };
        let fires = || group(&[alert("disk full", "web-03", false)]);
        let claimed = Claimed { until: NOW, has_ended: false, note: "on it" };
        let soon = reminder(frame(Language::English), fires(), claimed, Vec::new());
        let text = soon.plain();
        for part in [
            "[Saker] ⏰ reminder · P2 disk full · web-03",
            "reminder: Your ack ends at 2023-11-14 22:13:20 +00:00",
            "Note: on it",
            "Ack it again to keep it",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert_eq!(soon.kind, Kind::Reminder);
        let claimed = Claimed { has_ended: true, note: "", ..claimed };
        let ended = reminder(frame(Language::Chinese), fires(), claimed, Vec::new()).plain();
        assert!(ended.contains("到期,告警仍在触发") && !ended.contains("备注"), "{ended}");
        let many = [soon.clone(), soon];
        let digest = digest(&many.iter().collect::<Vec<_>>(), NOW).unwrap();
        assert!(digest.title.contains("2 alerts: 2 firing, 0 recovered"), "{}", digest.title);
    }

    #[test]
    fn a_test_says_that_nothing_is_wrong() {
        let zone = TimeZone::UTC;
        let frame = Frame {
            key: "k",
            thread: "t",
            envelope: "",
            urgency: Urgency::Normal,
            language: Language::English,
            zone: &zone,
            recipient: "",
        };
        let test = test(frame, "ops", "http://alarm.example", NOW);
        assert!(test.plain().contains("Nothing is wrong"), "{}", test.plain());
        assert_eq!(test.kind, Kind::Test);
    }
}
