//! Alerts on the wire: the Alertmanager API v2 and version 4 of its webhook body.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Alert, Labels, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

/// Where alerts are posted, as a JSON list of [`PostableAlert`].
pub const PATH: &str = "/api/v2/alerts";
/// How long an alert without an end is believed when the receiver has no other setting.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(300);

/// What is wrong with one alert of a list.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AlertFault {
    /// No label with a value.
    #[error("an alert needs at least one label with a value")]
    NoLabels,
    /// A label or annotation without a name.
    #[error("a label or annotation has an empty name")]
    EmptyName,
    /// The end is before the start.
    #[error("endsAt {ends_at} is before startsAt {starts_at}")]
    EndsBeforeStart {
        /// The end, RFC 3339.
        ends_at: String,
        /// The start, RFC 3339.
        starts_at: String,
    },
    /// The item of the list is no alert.
    #[error("not an alert: {0}")]
    NotAnAlert(String),
}

/// An alert as a client posts it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostableAlert {
    /// Identity of the alert.
    #[serde(deserialize_with = "null_is_default", default)]
    pub labels: Labels,
    /// Texts for humans.
    #[serde(deserialize_with = "null_is_default", default)]
    pub annotations: BTreeMap<String, String>,
    /// When it began, RFC 3339; absent, null, empty and the year 1 mean: not said.
    #[serde(with = "moment", default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// When it ended or until when it holds, RFC 3339; absent, null, empty and the year 1 mean: not
    /// said.
    #[serde(with = "moment", default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// Where it can be looked at.
    #[serde(rename = "generatorURL", deserialize_with = "null_is_default", default)]
    pub generator_url: String,
}

/// An alert taken in.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The alert with both times filled in.
    pub alert: Alert,
    /// Whether its end is only our guess: the client did not say one.
    pub end_is_timeout: bool,
}

/// Reads a list of alerts, each one apart, so that a bad one does not cost the others. The error
/// says why the body is no list at all.
pub fn decode(body: &[u8]) -> Result<Vec<Result<PostableAlert, AlertFault>>, serde_json::Error> {
    // Alertmanager takes nothing for an empty list.
    if body.trim_ascii() == b"null" {
        return Ok(Vec::new());
    }
    // Most lists have no bad item, and then one pass is enough.
    if let Ok(text) = std::str::from_utf8(body)
        && let Ok(all) = serde_json::from_str::<Vec<PostableAlert>>(text)
    {
        return Ok(all.into_iter().map(Ok).collect());
    }
    let items: Vec<&serde_json::value::RawValue> = serde_json::from_slice(body)?;
    let read = |item: &serde_json::value::RawValue| {
        serde_json::from_str(item.get()).map_err(|error| AlertFault::NotAnAlert(error.to_string()))
    };
    Ok(items.into_iter().map(read).collect())
}

impl PostableAlert {
    /// Fills in the times that the client left out, as Alertmanager does: without a start it began
    /// at its end or now, without an end it holds for `resolve_timeout` from now.
    pub fn accept(self, now: Timestamp, resolve_timeout: Duration) -> Result<Accepted, AlertFault> {
        if self.labels.is_empty() {
            return Err(AlertFault::NoLabels);
        }
        let names = self.labels.iter().map(|(name, _)| name);
        if names.chain(self.annotations.keys().map(String::as_str)).any(str::is_empty) {
            return Err(AlertFault::EmptyName);
        }
        let end_is_timeout = self.ends_at.is_none();
        let starts_at = match (self.starts_at, self.ends_at) {
            (Some(start), _) => start,
            (None, Some(end)) => end.min(now),
            (None, None) => now,
        };
        // Our guess of the end counts from now, so a start far in the future is refused and not believed for years.
        let ends_at = self.ends_at.unwrap_or(now.plus(resolve_timeout));
        if ends_at < starts_at {
            let (ends_at, starts_at) = (ends_at.rfc3339(), starts_at.rfc3339());
            return Err(AlertFault::EndsBeforeStart { ends_at, starts_at });
        }
        let Self { labels, annotations, generator_url, .. } = self;
        let alert = Alert { labels, annotations, starts_at, ends_at, generator_url };
        Ok(Accepted { alert, end_is_timeout })
    }
}

impl From<Alert> for PostableAlert {
    fn from(alert: Alert) -> Self {
        Self {
            labels: alert.labels,
            annotations: alert.annotations,
            starts_at: Some(alert.starts_at),
            ends_at: Some(alert.ends_at),
            generator_url: alert.generator_url,
        }
    }
}

/// An alert as `GET /api/v2/alerts` lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GettableAlert {
    /// Identity of the alert.
    pub labels: Labels,
    /// Texts for humans.
    pub annotations: BTreeMap<String, String>,
    /// When it began.
    #[serde(with = "instant")]
    pub starts_at: Timestamp,
    /// When it ended or until when it holds.
    #[serde(with = "instant")]
    pub ends_at: Timestamp,
    /// When it was last posted.
    #[serde(with = "instant")]
    pub updated_at: Timestamp,
    /// Where it can be looked at.
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
    /// Hash of the labels, sixteen hexadecimal digits.
    pub fingerprint: String,
    /// Who is told, by name.
    pub receivers: Vec<Receiver>,
    /// What becomes of it.
    pub status: AlertStatus,
}

impl GettableAlert {
    /// From an alert, when it was last posted, who is told and what becomes of it.
    pub fn new(
        alert: Alert,
        updated_at: Timestamp,
        receivers: Vec<Receiver>,
        status: AlertStatus,
    ) -> Self {
        let fingerprint = alert.fingerprint().to_string();
        let Alert { labels, annotations, starts_at, ends_at, generator_url } = alert;
        Self {
            labels,
            annotations,
            starts_at,
            ends_at,
            updated_at,
            generator_url,
            fingerprint,
            receivers,
            status,
        }
    }

    /// The alert itself.
    pub fn into_alert(self) -> Alert {
        let Self { labels, annotations, starts_at, ends_at, generator_url, .. } = self;
        Alert { labels, annotations, starts_at, ends_at, generator_url }
    }
}

/// A receiver by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// Its name.
    pub name: String,
}

/// Alerts that are told together, as `GET /api/v2/alerts/groups` lists them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertGroup {
    /// The labels they are grouped by.
    pub labels: Labels,
    /// Who is told.
    pub receiver: Receiver,
    /// The alerts.
    pub alerts: Vec<GettableAlert>,
}

/// What becomes of an alert.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertStatus {
    /// In one word.
    pub state: AlertState,
    /// Identifiers of the silences that hold it back.
    pub silenced_by: Vec<String>,
    /// Fingerprints of the alerts that inhibit it.
    pub inhibited_by: Vec<String>,
    /// Names of the time intervals that mute it.
    pub muted_by: Vec<String>,
}

/// What becomes of an alert, in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// Not yet through the pipeline.
    #[default]
    Unprocessed,
    /// Somebody is told.
    Active,
    /// Silenced, inhibited or muted.
    Suppressed,
}

/// Whether something is still going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FiringStatus {
    /// At least one alert is firing.
    Firing,
    /// All are over.
    Resolved,
}

/// Why a message about a group is sent, in the words of Alertmanager since 0.32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotificationReason {
    /// The receiver hears of the group for the first time, or anew after all of it had ended.
    #[serde(rename = "first notification")]
    First,
    /// Alerts of which the receiver did not know joined others.
    #[serde(rename = "new alerts added")]
    Added,
    /// Alerts ended, and others go on.
    #[serde(rename = "some alerts resolved")]
    SomeResolved,
    /// Nothing in the group fires any more.
    #[serde(rename = "all alerts resolved")]
    AllResolved,
    /// Nothing is new: what goes on is told again.
    #[serde(rename = "repeat interval elapsed")]
    Repeated,
}

impl NotificationReason {
    /// The words in a body and for templates.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first notification",
            Self::Added => "new alerts added",
            Self::SomeResolved => "some alerts resolved",
            Self::AllResolved => "all alerts resolved",
            Self::Repeated => "repeat interval elapsed",
        }
    }
}

/// The body that a webhook receiver gets, version 4.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookMessage {
    /// `"4"`.
    pub version: String,
    /// Identity of the group; stable over its life.
    pub group_key: String,
    /// Alerts left out because there were too many.
    pub truncated_alerts: u64,
    /// Firing while one of the alerts is.
    pub status: FiringStatus,
    /// Name of the receiver.
    pub receiver: String,
    /// Why it is sent; not there in bodies of Alertmanager before 0.32.
    #[serde(rename = "notification_reason", default, skip_serializing_if = "Option::is_none")]
    pub notification_reason: Option<NotificationReason>,
    /// The labels that the group is grouped by.
    pub group_labels: Labels,
    /// Labels that all alerts have in common.
    pub common_labels: Labels,
    /// Annotations that all alerts have in common.
    pub common_annotations: BTreeMap<String, String>,
    /// Labels of the route that the alerts took; not there in bodies of Alertmanager before 0.32.
    #[serde(default)]
    pub route_labels: Labels,
    /// Address of the web view.
    #[serde(rename = "externalURL")]
    pub external_url: String,
    /// The alerts.
    pub alerts: Vec<WebhookAlert>,
}

/// One alert in a webhook body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookAlert {
    /// Whether it is over.
    pub status: FiringStatus,
    /// Identity of the alert.
    pub labels: Labels,
    /// Texts for humans.
    pub annotations: BTreeMap<String, String>,
    /// When it began.
    #[serde(with = "instant")]
    pub starts_at: Timestamp,
    /// When it ended; the year 1 while it fires.
    #[serde(with = "moment")]
    pub ends_at: Option<Timestamp>,
    /// Where it can be looked at.
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
    /// Hash of the labels, sixteen hexadecimal digits.
    pub fingerprint: String,
}

impl WebhookMessage {
    /// The message about a group of alerts as they stand at `now`. Status and what the alerts have
    /// in common follow from the alerts.
    pub fn new(
        receiver: &str,
        group_key: &str,
        group_labels: Labels,
        external_url: &str,
        alerts: &[Alert],
        now: Timestamp,
    ) -> Self {
        let alerts: Vec<WebhookAlert> =
            alerts.iter().map(|alert| WebhookAlert::new(alert, now)).collect();
        let firing = alerts.iter().any(|alert| alert.status == FiringStatus::Firing);
        let common_labels =
            Labels::from_pairs(common(alerts.iter().map(|alert| alert.labels.iter())));
        let annotations =
            alerts.iter().map(|a| a.annotations.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let common_annotations =
            common(annotations).into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        Self {
            version: "4".to_owned(),
            group_key: group_key.to_owned(),
            truncated_alerts: 0,
            status: if firing { FiringStatus::Firing } else { FiringStatus::Resolved },
            receiver: receiver.to_owned(),
            notification_reason: None,
            group_labels,
            common_labels,
            common_annotations,
            route_labels: Labels::empty(),
            external_url: external_url.to_owned(),
            alerts,
        }
    }
}

impl WebhookAlert {
    fn new(alert: &Alert, now: Timestamp) -> Self {
        let resolved = alert.is_resolved_at(now);
        Self {
            status: if resolved { FiringStatus::Resolved } else { FiringStatus::Firing },
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            starts_at: alert.starts_at,
            ends_at: resolved.then_some(alert.ends_at),
            generator_url: alert.generator_url.clone(),
            fingerprint: alert.fingerprint().to_string(),
        }
    }
}

/// The pairs that every list has.
fn common<'a, L: Iterator<Item = (&'a str, &'a str)>>(
    mut lists: impl Iterator<Item = L>,
) -> BTreeMap<&'a str, &'a str> {
    let mut shared: BTreeMap<&str, &str> = lists.next().into_iter().flatten().collect();
    for list in lists {
        let own: BTreeMap<&str, &str> = list.collect();
        shared.retain(|name, value| own.get(name) == Some(value));
    }
    shared
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A moment as RFC 3339.
pub(crate) mod instant {
    use model::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(
        at: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&at.rfc3339())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        read(&String::deserialize(deserializer)?)
    }

    pub(super) fn read<E: Error>(text: &str) -> Result<Timestamp, E> {
        Timestamp::parse_rfc3339(text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            E::custom(format!("{shown:?} is not an RFC 3339 time such as 2026-01-02T15:04:05Z"))
        })
    }
}

/// A moment as RFC 3339 that may be absent: Go programs write the year 1 for a time that was never
/// set.
pub(crate) mod moment {
    use model::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    const NEVER_SET: &str = "0001-01-01T00:00:00Z";
    const NEVER_SET_UNTIL: Timestamp = Timestamp(-62_135_510_400_000);

    pub(crate) fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::instant::serialize(at, serializer),
            None => serializer.serialize_str(NEVER_SET),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)?.filter(|text| !text.is_empty())
        else {
            return Ok(None);
        };
        let at = super::instant::read::<D::Error>(&text)?;
        // A day is added, since a zero time may come with any offset.
        Ok((at > NEVER_SET_UNTIL).then_some(at))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_760_000_460_000);

    fn alert(name: &str, starts_at: i64, ends_at: i64) -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", name), ("idc", "bj")]),
            annotations: BTreeMap::from([("summary".into(), "It hurts.".into())]),
            starts_at: Timestamp(starts_at),
            ends_at: Timestamp(ends_at),
            generator_url: "http://judge/".into(),
        }
    }

    fn accept(json: &str) -> Result<Accepted, AlertFault> {
        let alert: PostableAlert = serde_json::from_str(json).expect("it is an alert");
        alert.accept(NOW, RESOLVE_TIMEOUT)
    }

    #[test]
    fn an_alert_survives_the_way_over_the_wire() {
        let sent = alert("Down", 1_760_000_000_123, 1_760_000_700_000);
        let json = serde_json::to_string(&PostableAlert::from(sent.clone())).expect("it is plain");
        assert!(json.contains(r#""startsAt":"2025-10-09T08:53:20.123Z""#), "{json}");
        assert_eq!(accept(&json), Ok(Accepted { alert: sent, end_is_timeout: false }));
    }

    #[test]
    fn times_left_out_are_filled_in() {
        for times in
            ["", r#","startsAt":null,"endsAt":"""#, r#","startsAt":"0001-01-01T00:00:00Z""#]
        {
            let accepted =
                accept(&format!(r#"{{"labels":{{"a":"b"}}{times}}}"#)).expect("it is good");
            assert!(accepted.end_is_timeout, "{times}");
            assert_eq!(
                (accepted.alert.starts_at, accepted.alert.ends_at),
                (NOW, NOW.plus(RESOLVE_TIMEOUT))
            );
        }
        let ended = accept(r#"{"labels":{"a":"b"},"endsAt":"2025-10-09T08:00:00+00:00"}"#)
            .expect("it is good")
            .alert;
        assert_eq!(ended.starts_at, ended.ends_at);
        assert!(ended.is_resolved_at(NOW));
    }

    #[test]
    fn a_start_beyond_the_guessed_end_is_refused_and_not_believed_for_years() {
        let starts = |at: Timestamp| {
            accept(&format!(r#"{{"labels":{{"a":"b"}},"startsAt":"{}"}}"#, at.rfc3339()))
        };
        let soon = starts(NOW.plus(Duration::from_secs(60))).expect("clocks differ a little");
        assert_eq!(soon.alert.ends_at, NOW.plus(RESOLVE_TIMEOUT));
        let far = starts(NOW.plus(RESOLVE_TIMEOUT * 2));
        assert!(matches!(far, Err(AlertFault::EndsBeforeStart { .. })), "{far:?}");
    }

    #[test]
    fn bad_alerts_are_refused_with_the_reason() {
        assert_eq!(accept(r#"{"labels":{}}"#), Err(AlertFault::NoLabels));
        assert_eq!(accept(r#"{"labels":null,"annotations":null}"#), Err(AlertFault::NoLabels));
        assert_eq!(accept(r#"{"labels":{"a":""}}"#), Err(AlertFault::NoLabels));
        assert_eq!(accept(r#"{"labels":{"":"x"}}"#), Err(AlertFault::EmptyName));
        let reversed = accept(
            r#"{"labels":{"a":"b"},"startsAt":"2025-10-09T09:00:00Z","endsAt":"2025-10-09T08:00:00Z"}"#,
        );
        assert_eq!(
            reversed.expect_err("it is reversed").to_string(),
            "endsAt 2025-10-09T08:00:00.000Z is before startsAt 2025-10-09T09:00:00.000Z"
        );
    }

    #[test]
    fn a_bad_item_does_not_cost_the_others() {
        let items =
            decode(br#"[{"labels":{"a":"b"}},{"labels":5},{"labels":{},"startsAt":"x"},7]"#)
                .expect("a list");
        let good: Vec<bool> = items.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, false, false, false]);
        let fault = items[2].as_ref().expect_err("its time is bad").to_string();
        assert!(fault.contains(r#""x" is not an RFC 3339 time"#), "{fault}");
        assert!(decode(b"{}").is_err());
    }

    #[test]
    fn a_listed_alert_has_alertmanagers_fields() {
        let status = AlertStatus { state: AlertState::Active, ..AlertStatus::default() };
        let receivers = vec![Receiver { name: "sre".into() }];
        let listed = GettableAlert::new(alert("Down", 0, 60_000), Timestamp(1), receivers, status);
        let json = serde_json::to_value(&listed).expect("it is plain");
        assert_eq!(json["endsAt"], "1970-01-01T00:01:00.000Z");
        assert_eq!(json["fingerprint"].as_str().map(str::len), Some(16));
        assert_eq!(json["receivers"][0]["name"], "sre");
        assert_eq!(json["status"]["silencedBy"], serde_json::json!([]));
        assert_eq!(json["status"]["state"], "active");
        let back: GettableAlert = serde_json::from_value(json).expect("we wrote it");
        assert_eq!(back.into_alert(), alert("Down", 0, 60_000));
    }

    #[test]
    fn a_webhook_message_says_what_its_alerts_have_in_common() {
        let firing = alert("Down", 0, NOW.millis() + 1);
        let over = alert("Slow", 0, NOW.millis());
        let group = Labels::from_pairs([("idc", "bj")]);
        let message = WebhookMessage::new(
            "sre",
            "{}:{}",
            group.clone(),
            "http://x",
            &[firing, over.clone()],
            NOW,
        );
        assert_eq!(
            (message.status, message.common_labels.clone()),
            (FiringStatus::Firing, group.clone())
        );
        let json = serde_json::to_value(&message).expect("it is plain");
        assert_eq!(json["commonAnnotations"]["summary"], "It hurts.");
        assert_eq!(json["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
        assert_eq!(json["alerts"][1]["status"], "resolved");
        assert_eq!(serde_json::from_value::<WebhookMessage>(json).expect("we wrote it"), message);
        let all_over = WebhookMessage::new("sre", "{}:{}", group, "http://x", &[over], NOW);
        assert_eq!(all_over.status, FiringStatus::Resolved);
    }

    proptest! {
        #[test]
        fn no_body_makes_the_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..200), time in ".{0,30}") {
            let _ = decode(&body);
            let _ = decode(format!(r#"[{{"labels":{{"a":"b"}},"startsAt":{time:?}}}]"#).as_bytes());
        }
    }
}
