//! An alert in the words of a page. Everything here ends in an escaped template: nothing is trusted, nothing
//! is HTML.

use daemon::page::{Page, Words, span_words};
use db::alerts::{AlertStatus, DeliveryResult, StoredAlert, Told};
use db::claims::ClaimKind;
use model::{ALERT_NAME, ENDPOINT, Timestamp};
use serde_json::{Value, json};

use crate::claims::Claims;
use crate::config::is_web_address;
use crate::pipeline::Reason;
use crate::severity::{SEVERITY, Severity};
use crate::silence::Silence;

/// Labels that a row shows beside the name; the page of the alert shows all.
const LABELS_SHOWN: usize = 4;
const LABEL_CHARS_MAX: usize = 48;
const SUMMARY_CHARS_MAX: usize = 280;

/// A severity as it is drawn: a shape, a word and a colour.
#[derive(Debug)]
pub(crate) struct SeverityView {
    /// Picks shape and colour.
    pub(crate) class: &'static str,
    /// `P0`, or the word of the language.
    pub(crate) word: String,
}

impl SeverityView {
    /// Of an alert.
    pub(crate) fn of(stored: &StoredAlert, words: Words) -> Self {
        let label = stored.alert.labels.get(SEVERITY).unwrap_or("");
        let severity = Severity::from_rank(stored.priority);
        let is_level = matches!(label.as_bytes(), [b'p' | b'P', b'0'..=b'9']);
        let word = if is_level {
            label.to_ascii_uppercase()
        } else {
            severity_word(severity, words).to_owned()
        };
        Self { class: severity.tone(), word }
    }
}

pub(crate) fn severity_word(severity: Severity, words: Words) -> &'static str {
    match severity {
        Severity::Critical => words.text("severity.critical"),
        Severity::Error => words.text("severity.error"),
        Severity::Warning => words.text("severity.warning"),
        Severity::Minor => words.text("severity.minor"),
        Severity::Info => words.text("severity.info"),
        Severity::Trivial => words.text("severity.trivial"),
        Severity::Debug => words.text("severity.debug"),
    }
}

pub(crate) fn status_word(status: AlertStatus, words: Words) -> &'static str {
    match status {
        AlertStatus::Firing => words.text("status.firing"),
        AlertStatus::Stale => words.text("status.stale"),
        AlertStatus::Resolved => words.text("status.resolved"),
    }
}

/// What became of the notification of one receiver.
#[derive(Debug)]
pub(crate) struct MarkView {
    /// Picks sign and colour: sent, retrying, failed, skipped, waiting.
    pub(crate) class: &'static str,
    /// One character.
    pub(crate) sign: &'static str,
    /// The sign in a word.
    pub(crate) word: &'static str,
    /// Name of the receiver.
    pub(crate) receiver: String,
    /// The whole story in a sentence.
    pub(crate) story: String,
    /// Whether the alert is none of this receiver's business, so that the list leaves it out.
    pub(crate) is_elsewhere: bool,
}

/// An alert with everything that a row or the head of its page shows.
#[derive(Debug)]
pub(crate) struct AlertView {
    pub(crate) fingerprint: String,
    pub(crate) severity: SeverityView,
    pub(crate) status: &'static str,
    pub(crate) status_word: &'static str,
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) summary: String,
    pub(crate) endpoint: String,
    pub(crate) value: String,
    pub(crate) runbook: Option<String>,
    pub(crate) since: String,
    pub(crate) since_machine: String,
    pub(crate) since_title: String,
    pub(crate) marks: Vec<MarkView>,
    /// Who is on it, and what holds it back now; only in lists.
    pub(crate) notes: Vec<String>,
    /// Whether a silence holds it, or somebody put it off.
    pub(crate) is_held: bool,
}

impl AlertView {
    /// `told` may hold entries of other alerts too.
    pub(crate) fn new(
        stored: &StoredAlert,
        told: &[Told],
        receivers: &[String],
        page: &Page,
    ) -> Self {
        let words = page.words;
        let alert = &stored.alert;
        let label = |name| alert.labels.get(name).unwrap_or("").to_owned();
        let others = alert
            .labels
            .iter()
            .filter(|(name, _)| ![ALERT_NAME, ENDPOINT, SEVERITY].contains(name));
        let labels = others.take(LABELS_SHOWN).map(|(name, value)| {
            (shortened(name, LABEL_CHARS_MAX), shortened(value, LABEL_CHARS_MAX))
        });
        let (moment, since) = match stored.status {
            AlertStatus::Resolved => {
                let span = span_words(page.now.since(alert.ends_at), words);
                (alert.ends_at, words.fill("alerts.ended", &[("span", &span)]))
            }
            _ => (alert.starts_at, span_words(page.now.since(alert.starts_at), words)),
        };
        Self {
            fingerprint: alert.fingerprint().to_string(),
            severity: SeverityView::of(stored, words),
            status: stored.status.as_str(),
            status_word: status_word(stored.status, words),
            name: name_of(stored),
            labels: labels.collect(),
            summary: shortened(
                text_of(stored, &["summary", "description", "message"]),
                SUMMARY_CHARS_MAX,
            ),
            endpoint: Some(label(ENDPOINT))
                .filter(|host| !host.is_empty())
                .unwrap_or_else(|| label("instance")),
            value: stored.value(),
            runbook: runbook_of(stored),
            since,
            since_machine: moment.rfc3339(),
            since_title: page.absolute(moment),
            marks: marks(stored, told, receivers, page),
            notes: Vec::new(),
            is_held: false,
        }
    }

    /// With who is on it and what holds it back now.
    pub(crate) fn noted(
        mut self,
        stored: &StoredAlert,
        claims: &Claims,
        silences: &[Silence],
        page: &Page,
    ) -> Self {
        if stored.status == AlertStatus::Resolved {
            return self;
        }
        for (kind, key) in
            [(ClaimKind::Acknowledged, "alerts.taken"), (ClaimKind::Snoozed, "alerts.put_off")]
        {
            let Some(claim) = claims.on(stored, kind, page.now) else { continue };
            self.is_held |= kind == ClaimKind::Snoozed;
            self.notes.push(page.fill(key, &[("owner", &claim.owner)]));
        }
        let holding = silences.iter().find(|one| one.holds(&stored.alert.labels, page.now));
        if let Some(silence) = holding {
            self.is_held = true;
            self.notes.push(page.fill("alerts.silenced", &[("author", &silence.created_by)]));
        }
        self
    }
}

/// The name of an alert, or its first label when it has none.
pub(crate) fn name_of(stored: &StoredAlert) -> String {
    let labels = &stored.alert.labels;
    let name = labels.get(ALERT_NAME).map(str::to_owned);
    name.or_else(|| labels.iter().next().map(|(label, value)| format!("{label}={value}")))
        .unwrap_or_default()
}

/// Where the runbook is, if it is an address that may be linked to.
fn runbook_of(stored: &StoredAlert) -> Option<String> {
    let text = text_of(stored, &["runbook_url", "runbook"]);
    is_web_address(text).then(|| text.to_owned())
}

fn text_of<'a>(stored: &'a StoredAlert, names: &[&str]) -> &'a str {
    let texts = &stored.alert.annotations;
    names.iter().find_map(|name| texts.get(*name)).map_or("", String::as_str)
}

fn shortened(text: &str, chars_max: usize) -> String {
    let mut short: String = text.chars().take(chars_max).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// One mark a receiver, in the order of the settings; receivers that are no longer there come last, if they
/// were told.
pub(crate) fn marks(
    stored: &StoredAlert,
    told: &[Told],
    receivers: &[String],
    page: &Page,
) -> Vec<MarkView> {
    let fingerprint = stored.alert.fingerprint();
    let entries: Vec<&Told> =
        told.iter().filter(|entry| entry.fingerprint == fingerprint).collect();
    let entry_of = |name: &String| entries.iter().find(|entry| entry.receiver == *name).copied();
    let current = receivers.iter().filter_map(|name| match entry_of(name) {
        Some(entry) => Some(mark(entry, page)),
        // Before the first entry of a firing alert its ticket is on the queue.
        None => (stored.status == AlertStatus::Firing).then(|| waiting(name, page.words)),
    });
    let former =
        entries.iter().filter(|entry| entry.sent.is_some() && !receivers.contains(&entry.receiver));
    current.chain(former.map(|entry| mark(entry, page))).collect()
}

fn waiting(receiver: &str, words: Words) -> MarkView {
    MarkView {
        class: "waiting",
        sign: "…",
        word: words.text("told.mark.waiting"),
        receiver: receiver.to_owned(),
        story: words.fill("told.waiting", &[("receiver", receiver)]),
        is_elsewhere: false,
    }
}

fn mark(told: &Told, page: &Page) -> MarkView {
    let words = page.words;
    let attempts = told.attempts.to_string();
    let (sign, word, story_key) = match told.result {
        DeliveryResult::Sent => ("✓", words.text("told.mark.sent"), "told.sent"),
        DeliveryResult::Retrying => ("↻", words.text("told.mark.retrying"), "told.retrying"),
        DeliveryResult::Failed => ("✗", words.text("told.mark.failed"), "told.failed"),
        DeliveryResult::Skipped => ("–", words.text("told.mark.skipped"), "told.skipped"),
    };
    let time = told.sent.map_or_else(String::new, |sent| page.absolute(sent.at));
    let reason = reason_words(&told.detail, words);
    let values = [
        ("receiver", told.receiver.as_str()),
        ("time", &time),
        ("attempts", &attempts),
        ("detail", &told.detail),
        ("reason", reason),
    ];
    MarkView {
        class: told.result.as_str(),
        sign,
        word,
        receiver: told.receiver.clone(),
        story: words.fill(story_key, &values),
        is_elsewhere: told.sent.is_none() && told.detail == Reason::NotRouted.as_str(),
    }
}

fn reason_words(reason: &str, words: Words) -> &str {
    match reason {
        "not_routed" => words.text("reason.not_routed"),
        "inhibited" => words.text("reason.inhibited"),
        "mute_time" => words.text("reason.mute_time"),
        "inactive_time" => words.text("reason.inactive_time"),
        "silenced" => words.text("reason.silenced"),
        "maintenance" => words.text("reason.maintenance"),
        "snoozed" => words.text("reason.snoozed"),
        "acknowledged" => words.text("reason.acknowledged"),
        "lease_expired" => words.text("reason.lease_expired"),
        "ended_untold" => words.text("reason.ended_untold"),
        "resolved_not_wanted" => words.text("reason.resolved_not_wanted"),
        "already_told" => words.text("reason.already_told"),
        "given_up" => words.text("reason.given_up"),
        "told_often" => words.text("reason.told_often"),
        _ => "",
    }
}

/// How long the news of a stale alert is overdue, in words; `None` for others.
pub(crate) fn silent_for(stored: &StoredAlert, page: &Page) -> Option<String> {
    (stored.status == AlertStatus::Stale).then(|| {
        let span = span_words(page.now.since(stored.updated_at), page.words);
        page.fill("status.stale.why", &[("span", &span)])
    })
}

/// The machine-readable twin of a row.
pub(crate) fn to_json(stored: &StoredAlert, told: &[Told]) -> Value {
    let fingerprint = stored.alert.fingerprint();
    let alert = &stored.alert;
    let entries = told.iter().filter(|entry| entry.fingerprint == fingerprint).map(|entry| {
        json!({
            "receiver": entry.receiver, "result": entry.result.as_str(), "code": entry.code,
            "detail": entry.detail, "attempts": entry.attempts, "triedAt": entry.tried_at.rfc3339(),
            "sentAt": entry.sent.map(|sent| sent.at.rfc3339()),
        })
    });
    json!({
        "fingerprint": fingerprint.to_string(), "status": stored.status.as_str(),
        "severity": Severity::from_rank(stored.priority).as_str(), "labels": alert.labels,
        "annotations": alert.annotations, "startsAt": alert.starts_at.rfc3339(),
        "endsAt": alert.ends_at.rfc3339(),
        "updatedAt": stored.updated_at.rfc3339(), "generatorURL": alert.generator_url,
        "told": entries.collect::<Vec<_>>(),
    })
}

/// A moment for a template: words, what machines read, and the whole truth.
#[derive(Debug)]
pub(crate) struct MomentView {
    pub(crate) words: String,
    pub(crate) machine: String,
    pub(crate) title: String,
}

impl MomentView {
    pub(crate) fn ago(moment: Timestamp, page: &Page) -> Self {
        Self { words: page.ago(moment), machine: moment.rfc3339(), title: page.absolute(moment) }
    }

    pub(crate) fn absolute(moment: Timestamp, page: &Page) -> Self {
        Self { words: page.absolute(moment), machine: moment.rfc3339(), title: page.ago(moment) }
    }
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;
    use crate::pipeline::Candidate;
    use crate::pipeline::tests::candidate;
    use crate::web::tests::page;
    use daemon::page::Language;

    fn stored(pairs: &[(&str, &str)], texts: &[(&str, &str)]) -> StoredAlert {
        let mut stored = candidate(AlertStatus::Firing, 1_760_000_400_000, None).alert;
        stored.alert.labels = Labels::from_pairs(pairs.iter().copied());
        let texts = texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        stored.alert.annotations = texts.collect();
        stored
    }

    fn view(stored: &StoredAlert, told: &[Told], receivers: &[&str]) -> AlertView {
        let receivers: Vec<String> = receivers.iter().map(|name| (*name).to_owned()).collect();
        AlertView::new(stored, told, &receivers, &page(Language::English, ""))
    }

    #[test]
    fn what_an_alert_lacks_is_made_up_for() {
        let alert = view(&stored(&[("instance", "db-07:9100"), ("job", "node")], &[]), &[], &[]);
        assert_eq!(
            (alert.name.as_str(), alert.endpoint.as_str()),
            ("instance=db-07:9100", "db-07:9100")
        );
        assert_eq!(
            (alert.since.as_str(), alert.summary.as_str(), alert.value.as_str()),
            ("1 min", "", "")
        );
        let alert = view(
            &stored(&[("alertname", "a")], &[("message", "m"), ("description", "d")]),
            &[],
            &[],
        );
        assert_eq!((alert.name.as_str(), alert.summary.as_str()), ("a", "d"));
    }

    #[test]
    fn only_web_addresses_become_links() {
        for (address, linked) in [
            ("https://runbooks.example/disk", true),
            ("http://10.0.0.1/x?y=z", true),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("//runbooks.example", false),
            ("/etc/passwd", false),
            ("", false),
        ] {
            let alert = stored(&[("alertname", "a")], &[("runbook_url", address)]);
            assert_eq!(runbook_of(&alert).is_some(), linked, "{address}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let alert =
            view(&stored(&[("alertname", "a")], &[("summary", &"磁".repeat(1000))]), &[], &[]);
        assert_eq!(alert.summary.chars().count(), SUMMARY_CHARS_MAX + 1);
        assert!(alert.summary.ends_with('…'));
    }

    #[test]
    fn every_receiver_has_a_mark_in_the_order_of_the_settings() {
        let Candidate { alert, told } =
            candidate(AlertStatus::Firing, 10, Some((AlertStatus::Firing, 10, 1_760_000_400_000)));
        let sent = told.unwrap();
        let elsewhere = Told {
            receiver: "dba".to_owned(),
            sent: None,
            result: DeliveryResult::Skipped,
            detail: "not_routed".to_owned(),
            ..sent.clone()
        };
        let former = Told { receiver: "gone".to_owned(), ..sent.clone() };
        let marks = view(&alert, &[elsewhere, former, sent], &["ops", "dba", "new"]).marks;
        let seen: Vec<_> = marks.iter().map(|mark| (mark.receiver.as_str(), mark.class)).collect();
        assert_eq!(
            seen,
            [("ops", "sent"), ("dba", "skipped"), ("new", "waiting"), ("gone", "sent")]
        );
        assert!(marks[1].is_elsewhere && !marks[0].is_elsewhere);
        assert_eq!(marks[0].story, "ops was told at 2025-10-09 17:00:00 +08:00");
        assert_eq!(marks[1].story, "dba is not told: no route leads this alert there");
    }

    #[test]
    fn a_stale_alert_says_that_nobody_knows() {
        let mut stale = stored(&[("alertname", "a")], &[]);
        stale.status = AlertStatus::Stale;
        stale.updated_at = Timestamp(1_760_000_460_000 - 600_000);
        let why = silent_for(&stale, &page(Language::English, "")).expect("it is stale");
        assert!(
            why.contains("silent 10 min ago") && why.contains("not reported as resolved"),
            "{why}"
        );
        assert_eq!(
            silent_for(&stored(&[("alertname", "a")], &[]), &page(Language::English, "")),
            None
        );
    }
}
