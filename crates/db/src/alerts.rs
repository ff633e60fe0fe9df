//! Alerts, their history, and what became of their notifications.
//!
//! The rules (when an alert merges, fires, ends, is told) are crate `alarm`'s; here is only how it
//! is kept.

mod hold;
mod journal;
mod notifications;
mod packed;
mod search;

use model::{Alert, Fingerprint, Timestamp};
use serde::Serialize;

use self::packed::Packer;
use crate::record::Record;
use crate::statement::{Statement, Value};
use crate::transaction::{Transaction, in_transaction};
use crate::upsert::{insert_rows, sized_chunks};
use crate::{Db, DbError};

pub(crate) use hold::Hold;
pub(crate) use journal::Journal;
pub use notifications::{Delivery, DeliveryResult, Sent, Told};
pub use search::{AlertCount, AlertSearch};

// SQLite binds at most 32,766 values a statement.
const ROWS_PER_STATEMENT: usize = 1000;
// Enough to find an alert by what people remember of it, bounded against hostile annotations.
const SEARCH_TEXT_CHARS_MAX: usize = 4000;
const VALUE_CHARS_MAX: usize = 64;

/// What is known about an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlertStatus {
    /// A sender says so, and its lease has not run out.
    Firing,
    /// It was firing when the lease ran out in silence. Nobody knows whether it still does.
    Stale,
    /// A sender said that it ended.
    Resolved,
}

impl AlertStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Firing, Self::Stale, Self::Resolved];

    /// The word in the store, in addresses and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Stale => "stale",
            Self::Resolved => "resolved",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// The current state of an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredAlert {
    /// Labels, texts, start and end.
    pub alert: Alert,
    /// What is known about it.
    pub status: AlertStatus,
    /// How urgent it is, 0 first: sort key here, priority on the queues.
    pub priority: u8,
    /// The latest news.
    pub updated_at: Timestamp,
    /// Whether the end was made up because the sender gave none.
    pub ends_by_timeout: bool,
}

impl StoredAlert {
    /// The value that the rule saw, as its annotation `value` says; cut to 64 characters.
    pub fn value(&self) -> String {
        self.alert
            .annotations
            .get("value")
            .map_or("", String::as_str)
            .chars()
            .take(VALUE_CHARS_MAX)
            .collect()
    }
}

/// What happened to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// It began to fire.
    Firing,
    /// It was stale, and there is news: it still fires.
    Renewed,
    /// Its lease ran out in silence.
    Stale,
    /// A sender said that it ended.
    Resolved,
}

impl EventKind {
    pub(crate) const ALL: [Self; 4] = [Self::Firing, Self::Renewed, Self::Stale, Self::Resolved];

    /// The word in the store and in the catalogues.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Renewed => "renewed",
            Self::Stale => "stale",
            Self::Resolved => "resolved",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// An entry of the history. Alert, start, kind and time make its identity: one that is stored twice is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertEvent {
    /// Which alert.
    pub fingerprint: Fingerprint,
    /// When the alert began.
    pub starts_at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// Priority of the alert.
    pub priority: u8,
    /// When.
    pub at: Timestamp,
    /// The value the rule saw, as text; may be empty.
    pub value: String,
}

impl AlertEvent {
    /// The event that something of this kind happened to the alert at `at`.
    pub fn new(stored: &StoredAlert, kind: EventKind, at: Timestamp) -> Self {
        let (fingerprint, starts_at) = (stored.alert.fingerprint(), stored.alert.starts_at);
        Self { fingerprint, starts_at, kind, priority: stored.priority, at, value: stored.value() }
    }

    fn id(&self) -> String {
        let Self { fingerprint, starts_at, kind, at, .. } = self;
        format!("{fingerprint}-{}-{}-{}", starts_at.0, kind.as_str(), at.0)
    }

    /// The start in an [`AlertEvent::id`].
    fn start_in(id: &str) -> Option<Timestamp> {
        // Behind the fingerprint and a hyphen; it may be negative.
        let rest = id.get(17..)?;
        let length = 1 + rest.get(1..)?.find('-')?;
        rest[..length].parse().ok().map(Timestamp)
    }
}

/// Queries over alerts.
#[derive(Debug)]
pub struct Alerts<'a> {
    pub(crate) db: &'a Db,
}

const ALERT_COLUMNS: &str = "fingerprint, status, priority, starts_at, ends_at, ends_by_timeout, \
    updated_at, annotations, generator_url, search_text, labels";
/// Those that [`read_alert`] reads: the text for searches is the largest of all, and nobody wants to see it.
const ALERT_READ_COLUMNS: &str = "status, priority, starts_at, ends_at, ends_by_timeout, \
    updated_at, annotations, generator_url, labels";
const EVENT_COLUMNS: &str = "id, fingerprint, kind, priority, happened_at, value, queued";

impl Alerts<'_> {
    /// Stores the state of alerts, each at most once, and what happened to them in one transaction.
    /// Events that are not `handed_over` wait for [`Alerts::unqueued_events`].
    pub async fn store(
        &self,
        alerts: &[StoredAlert],
        events: &[AlertEvent],
        handed_over: bool,
    ) -> Result<(), DbError> {
        if let Some(journal) = self.db.journal() {
            let mut packer = Packer::new();
            alerts.iter().for_each(|stored| packer.alert(stored.alert.fingerprint(), stored));
            events.iter().for_each(|event| packer.event(event, handed_over));
            return journal.append(self.db, packer).await;
        }
        in_transaction!(self.db, "store alerts", tx => {
            put_alerts(tx, alerts).await?;
            put_events(tx, events.iter().map(|event| (event, handed_over))).await
        })
    }

    /// The alerts with these fingerprints, in any order; unknown ones are left out.
    pub async fn load(&self, fingerprints: &[Fingerprint]) -> Result<Vec<StoredAlert>, DbError> {
        let Some(journal) = self.db.journal() else { return self.load_rows(fingerprints).await };
        let (mut alerts, in_table) = journal.alerts(fingerprints)?;
        alerts.extend(self.load_rows(&in_table).await?);
        Ok(alerts)
    }

    async fn load_rows(&self, fingerprints: &[Fingerprint]) -> Result<Vec<StoredAlert>, DbError> {
        let mut alerts = Vec::with_capacity(fingerprints.len());
        for chunk in sized_chunks(fingerprints) {
            let select = format!("SELECT {ALERT_READ_COLUMNS} FROM alert WHERE fingerprint IN ");
            let mut query = Statement::new(select);
            query.push_list(chunk.iter().map(Fingerprint::to_string));
            alerts.extend(self.db.records("load alerts", query, read_alert).await?);
        }
        Ok(alerts)
    }

    /// How many alerts are stored.
    pub async fn count_all(&self) -> Result<u64, DbError> {
        if let Some(journal) = self.db.journal() {
            return Ok(journal.count_all());
        }
        let query = Statement::new("SELECT COUNT(*) AS alerts FROM alert");
        let count = self.db.record("count alerts", query, |row| row.integer("alerts")).await?;
        Ok(count.unwrap_or(0))
    }

    /// Firing alerts whose lease is over at `now`, the longest overdue first.
    pub async fn overdue(&self, now: Timestamp, max: u32) -> Result<Vec<StoredAlert>, DbError> {
        if let Some(journal) = self.db.journal() {
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            return self.load(&journal.overdue(now, max)).await;
        }
        let query = Statement::new(format!(
            "SELECT {ALERT_READ_COLUMNS} FROM alert \
             WHERE status = 'firing' AND ends_at <= ? ORDER BY ends_at LIMIT ?",
        ));
        self.db.records("find overdue alerts", query.bind(now.0).bind(max), read_alert).await
    }

    /// Events that are not yet on the queues, the most urgent and then the oldest first.
    pub async fn unqueued_events(&self, max: u32) -> Result<Vec<AlertEvent>, DbError> {
        self.settle().await?;
        let query = Statement::new(
            "SELECT * FROM event WHERE queued = 0 ORDER BY priority, happened_at, id LIMIT ?",
        );
        self.db.records("find new events", query.bind(max), read_event).await
    }

    /// Notes that events are on the queues.
    pub async fn mark_queued(&self, events: &[AlertEvent]) -> Result<(), DbError> {
        self.settle().await?;
        for chunk in events.chunks(ROWS_PER_STATEMENT) {
            let mut statement = Statement::new("UPDATE event SET queued = 1 WHERE id IN ");
            statement.push_list(chunk.iter().map(AlertEvent::id));
            self.db.execute("mark events as queued", statement).await?;
        }
        Ok(())
    }

    /// The latest events of an alert, newest first.
    pub async fn events_of(
        &self,
        fingerprint: Fingerprint,
        max: u32,
    ) -> Result<Vec<AlertEvent>, DbError> {
        self.settle().await?;
        let query = Statement::new(
            "SELECT * FROM event WHERE fingerprint = ? ORDER BY happened_at DESC, id LIMIT ?",
        );
        let query = query.bind(fingerprint.to_string()).bind(max);
        self.db.records("read the history of an alert", query, read_event).await
    }

    /// The latest news of any alert.
    pub async fn last_update(&self) -> Result<Option<Timestamp>, DbError> {
        if let Some(journal) = self.db.journal() {
            return Ok(journal.last_update());
        }
        let query = Statement::new("SELECT MAX(updated_at) AS latest FROM alert");
        let read = |row: &Record| row.integer_or_null("latest");
        let latest = self.db.record("find the latest news", query, read).await?;
        Ok(latest.flatten().map(Timestamp))
    }

    /// Forgets what is older than `before`: alerts that no longer fire, history, deliveries. Firing
    /// alerts stay. Returns how many rows went.
    pub async fn prune(&self, before: Timestamp) -> Result<u64, DbError> {
        match self.db.journal() {
            Some(journal) => journal.while_settled(self.db, self.prune_rows(before)).await,
            None => self.prune_rows(before).await,
        }
    }

    async fn prune_rows(&self, before: Timestamp) -> Result<u64, DbError> {
        let mut removed = 0;
        for statement in [
            "DELETE FROM alert WHERE status = 'resolved' AND updated_at < ?",
            "DELETE FROM alert WHERE status = 'stale' AND updated_at < ?",
            "DELETE FROM event WHERE happened_at < ? AND queued = 1",
            "DELETE FROM delivery WHERE tried_at < ?",
            "DELETE FROM notification_log WHERE tried_at < ? \
             AND fingerprint NOT IN (SELECT fingerprint FROM alert)",
        ] {
            let statement = Statement::new(statement).bind(before.0);
            removed += self.db.execute("forget old alerts", statement).await?;
        }
        Ok(removed)
    }
}

/// Replaces alerts, each at most once, in the order of the keys, so that two who store the same rows never wait for
/// each other in a ring.
async fn put_alerts(tx: &mut Transaction, alerts: &[StoredAlert]) -> Result<(), sqlx::Error> {
    let mut rows: Vec<(Fingerprint, &StoredAlert)> =
        alerts.iter().map(|stored| (stored.alert.fingerprint(), stored)).collect();
    rows.sort_unstable_by_key(|(fingerprint, _)| *fingerprint);
    let rows = rows.into_iter().map(alert_values).collect();
    insert_rows(tx, "REPLACE", "alert", ALERT_COLUMNS, rows).await
}

/// Replaces events, in the order of the keys; the flags say which are on the queues.
async fn put_events(
    tx: &mut Transaction,
    events: impl Iterator<Item = (&AlertEvent, bool)>,
) -> Result<(), sqlx::Error> {
    let mut rows: Vec<(String, &AlertEvent, bool)> =
        events.map(|(event, is_queued)| (event.id(), event, is_queued)).collect();
    rows.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
    let rows = rows.into_iter().map(event_values).collect();
    insert_rows(tx, "REPLACE", "event", EVENT_COLUMNS, rows).await
}

fn alert_values((fingerprint, stored): (Fingerprint, &StoredAlert)) -> Vec<Value> {
    let alert = &stored.alert;
    vec![
        fingerprint.to_string().into(),
        stored.status.as_str().into(),
        stored.priority.into(),
        alert.starts_at.0.into(),
        alert.ends_at.0.into(),
        stored.ends_by_timeout.into(),
        stored.updated_at.0.into(),
        to_json(&alert.annotations).into(),
        alert.generator_url.as_str().into(),
        search_text(alert, fingerprint).into(),
        to_json(&alert.labels).into(),
    ]
}

fn event_values((id, event, is_queued): (String, &AlertEvent, bool)) -> Vec<Value> {
    vec![
        id.into(),
        event.fingerprint.to_string().into(),
        event.kind.as_str().into(),
        event.priority.into(),
        event.at.0.into(),
        event.value.as_str().into(),
        is_queued.into(),
    ]
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("maps of text to text are always valid JSON")
}

fn read_alert(row: &Record) -> Result<StoredAlert, sqlx::Error> {
    let alert = Alert {
        labels: row.json("labels")?,
        annotations: row.json("annotations")?,
        starts_at: row.timestamp("starts_at")?,
        ends_at: row.timestamp("ends_at")?,
        generator_url: row.text("generator_url")?,
    };
    Ok(StoredAlert {
        alert,
        status: row.word("status", AlertStatus::parse)?,
        priority: row.integer("priority")?,
        updated_at: row.timestamp("updated_at")?,
        ends_by_timeout: row.flag("ends_by_timeout")?,
    })
}

fn read_event(row: &Record) -> Result<AlertEvent, sqlx::Error> {
    Ok(AlertEvent {
        fingerprint: row.word("fingerprint", Fingerprint::parse)?,
        starts_at: row.word("id", AlertEvent::start_in)?,
        kind: row.word("kind", EventKind::parse)?,
        priority: row.integer("priority")?,
        at: row.timestamp("happened_at")?,
        value: row.text("value")?,
    })
}

/// What the search box looks through: fingerprint, labels and texts, in small letters.
fn search_text(alert: &Alert, fingerprint: Fingerprint) -> String {
    let mut text = fingerprint.to_string();
    let labels = alert.labels.iter();
    let texts = alert.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in labels.chain(texts) {
        text.extend(["\n", name, "=", value]);
    }
    if text.is_ascii() {
        text.truncate(SEARCH_TEXT_CHARS_MAX);
        text.make_ascii_lowercase();
        return text;
    }
    text.chars().flat_map(char::to_lowercase).take(SEARCH_TEXT_CHARS_MAX).collect()
}
