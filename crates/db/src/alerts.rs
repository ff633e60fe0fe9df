//! Alerts, their history, and what became of their notifications.
//!
//! The rules (when an alert merges, fires, ends, is told) are crate `alarm`'s; here is only how it is kept.

mod notifications;
mod row;
mod search;

use model::{Alert, Fingerprint, Timestamp};
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool};

use crate::DbError;

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
    /// The word in the store, in addresses and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Stale => "stale",
            Self::Resolved => "resolved",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Firing, Self::Stale, Self::Resolved].into_iter().find(|status| status.as_str() == word)
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
        self.alert.annotations.get("value").map_or("", String::as_str).chars().take(VALUE_CHARS_MAX).collect()
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
    /// The word in the store and in the catalogues.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Renewed => "renewed",
            Self::Stale => "stale",
            Self::Resolved => "resolved",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Firing, Self::Renewed, Self::Stale, Self::Resolved]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// An entry of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertEvent {
    /// Fingerprint, start, kind and time: an event that is stored twice is one event.
    pub id: String,
    /// Which alert.
    pub fingerprint: Fingerprint,
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
        let fingerprint = stored.alert.fingerprint();
        let id = format!("{fingerprint}-{}-{}-{}", stored.alert.starts_at.0, kind.as_str(), at.0);
        Self { id, fingerprint, kind, priority: stored.priority, at, value: stored.value() }
    }
}

/// Queries over alerts.
#[derive(Debug)]
pub struct Alerts<'a> {
    pub(crate) pool: &'a SqlitePool,
}

impl Alerts<'_> {
    /// Stores the state of alerts and what happened to them in one transaction. The events wait for
    /// [`Alerts::unqueued_events`].
    pub async fn store(&self, alerts: &[StoredAlert], events: &[AlertEvent]) -> Result<(), DbError> {
        const OPERATION: &str = "store alerts";
        let mut transaction = self.pool.begin().await.map_err(DbError::during(OPERATION))?;
        for chunk in alerts.chunks(ROWS_PER_STATEMENT) {
            let mut query = upsert(chunk);
            query.build().execute(&mut *transaction).await.map_err(DbError::during(OPERATION))?;
        }
        for chunk in events.chunks(ROWS_PER_STATEMENT) {
            let mut query = insert_events(chunk);
            query.build().execute(&mut *transaction).await.map_err(DbError::during(OPERATION))?;
        }
        transaction.commit().await.map_err(DbError::during(OPERATION))
    }

    /// The alerts with these fingerprints, in any order; unknown ones are left out.
    pub async fn load(&self, fingerprints: &[Fingerprint]) -> Result<Vec<StoredAlert>, DbError> {
        let mut alerts = Vec::with_capacity(fingerprints.len());
        for chunk in fingerprints.chunks(ROWS_PER_STATEMENT) {
            let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM alert WHERE fingerprint IN ");
            row::push_list(&mut query, chunk.iter().map(Fingerprint::to_string));
            alerts.extend(self.alerts_of(query, "load alerts").await?);
        }
        Ok(alerts)
    }

    /// How many alerts are stored.
    pub async fn count_all(&self) -> Result<u64, DbError> {
        let query = sqlx::query("SELECT COUNT(*) AS alerts FROM alert");
        let row = query.fetch_one(self.pool).await.map_err(DbError::during("count alerts"))?;
        Ok(row.get::<i64, _>("alerts").unsigned_abs())
    }

    /// Firing alerts whose lease is over at `now`, the longest overdue first.
    pub async fn overdue(&self, now: Timestamp, max: u32) -> Result<Vec<StoredAlert>, DbError> {
        let mut query =
            QueryBuilder::<Sqlite>::new("SELECT * FROM alert WHERE status = 'firing' AND ends_at <= ");
        query.push_bind(now.0).push(" ORDER BY ends_at LIMIT ").push_bind(max);
        self.alerts_of(query, "find overdue alerts").await
    }

    /// Events that are not yet on the queues, the most urgent and then the oldest first.
    pub async fn unqueued_events(&self, max: u32) -> Result<Vec<AlertEvent>, DbError> {
        let query =
            sqlx::query("SELECT * FROM event WHERE queued = 0 ORDER BY priority, happened_at, id LIMIT ?")
                .bind(max);
        let rows = query.fetch_all(self.pool).await.map_err(DbError::during("find new events"))?;
        rows.iter().map(row::event).collect::<Result<_, _>>().map_err(DbError::during("find new events"))
    }

    /// Notes that events are on the queues.
    pub async fn mark_queued(&self, events: &[AlertEvent]) -> Result<(), DbError> {
        for chunk in events.chunks(ROWS_PER_STATEMENT) {
            let mut query = QueryBuilder::<Sqlite>::new("UPDATE event SET queued = 1 WHERE id IN ");
            row::push_list(&mut query, chunk.iter().map(|event| event.id.as_str()));
            query.build().execute(self.pool).await.map_err(DbError::during("mark events as queued"))?;
        }
        Ok(())
    }

    /// The latest events of an alert, newest first.
    pub async fn events_of(&self, fingerprint: Fingerprint, max: u32) -> Result<Vec<AlertEvent>, DbError> {
        let query =
            sqlx::query("SELECT * FROM event WHERE fingerprint = ? ORDER BY happened_at DESC, id LIMIT ?")
                .bind(fingerprint.to_string())
                .bind(max);
        let rows =
            query.fetch_all(self.pool).await.map_err(DbError::during("read the history of an alert"))?;
        let events = rows.iter().map(row::event).collect::<Result<_, _>>();
        events.map_err(DbError::during("read the history of an alert"))
    }

    /// The latest news of any alert.
    pub async fn last_update(&self) -> Result<Option<Timestamp>, DbError> {
        let query = sqlx::query("SELECT MAX(updated_at) AS latest FROM alert");
        let row = query.fetch_one(self.pool).await.map_err(DbError::during("find the latest news"))?;
        Ok(row.get::<Option<i64>, _>("latest").map(Timestamp))
    }

    /// Forgets what is older than `before`: alerts that no longer fire, history, deliveries. Firing alerts
    /// stay. Returns how many rows went.
    pub async fn prune(&self, before: Timestamp) -> Result<u64, DbError> {
        const OPERATION: &str = "forget old alerts";
        let mut removed = 0;
        for statement in [
            "DELETE FROM alert WHERE status = 'resolved' AND updated_at < ?1",
            "DELETE FROM alert WHERE status = 'stale' AND updated_at < ?1",
            "DELETE FROM event WHERE happened_at < ?1 AND queued = 1",
            "DELETE FROM delivery WHERE tried_at < ?1",
            "DELETE FROM notification_log WHERE tried_at < ?1 \
             AND fingerprint NOT IN (SELECT fingerprint FROM alert)",
        ] {
            let done = sqlx::query(statement).bind(before.0).execute(self.pool).await;
            removed += done.map_err(DbError::during(OPERATION))?.rows_affected();
        }
        Ok(removed)
    }

    async fn alerts_of(
        &self,
        mut query: QueryBuilder<Sqlite>,
        operation: &'static str,
    ) -> Result<Vec<StoredAlert>, DbError> {
        let rows = query.build().fetch_all(self.pool).await.map_err(DbError::during(operation))?;
        rows.iter().map(row::alert).collect::<Result<_, _>>().map_err(DbError::during(operation))
    }
}

fn upsert(alerts: &[StoredAlert]) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO alert (fingerprint, status, priority, starts_at, ends_at, ends_by_timeout, updated_at, \
         labels, annotations, generator_url, search_text) ",
    );
    query.push_values(alerts, |mut row, stored| {
        let alert = &stored.alert;
        row.push_bind(alert.fingerprint().to_string()).push_bind(stored.status.as_str());
        row.push_bind(stored.priority).push_bind(alert.starts_at.0).push_bind(alert.ends_at.0);
        row.push_bind(stored.ends_by_timeout).push_bind(stored.updated_at.0);
        row.push_bind(row::to_json(&alert.labels)).push_bind(row::to_json(&alert.annotations));
        row.push_bind(alert.generator_url.as_str()).push_bind(search_text(alert));
    });
    query.push(
        " ON CONFLICT (fingerprint) DO UPDATE SET status = excluded.status, priority = excluded.priority, \
         starts_at = excluded.starts_at, ends_at = excluded.ends_at, \
         ends_by_timeout = excluded.ends_by_timeout, \
         updated_at = excluded.updated_at, annotations = excluded.annotations, \
         generator_url = excluded.generator_url, search_text = excluded.search_text",
    );
    query
}

fn insert_events(events: &[AlertEvent]) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO event (id, fingerprint, kind, priority, happened_at, value, queued) ",
    );
    query.push_values(events, |mut row, event| {
        row.push_bind(event.id.as_str()).push_bind(event.fingerprint.to_string());
        row.push_bind(event.kind.as_str()).push_bind(event.priority).push_bind(event.at.0);
        row.push_bind(event.value.as_str()).push_bind(false);
    });
    query.push(" ON CONFLICT (id) DO NOTHING");
    query
}

/// What the search box looks through: fingerprint, labels and texts, in small letters.
fn search_text(alert: &Alert) -> String {
    let mut text = alert.fingerprint().to_string();
    let labels = alert.labels.iter();
    let texts = alert.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in labels.chain(texts) {
        text.extend(["\n", name, "=", value]);
    }
    text.chars().flat_map(char::to_lowercase).take(SEARCH_TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::Labels;

    use super::*;
    use crate::Db;

    pub(super) async fn database() -> (Db, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Db::open(&folder.path().join("saker.db")).await.unwrap(), folder)
    }

    pub(super) fn stored(name: &str, status: AlertStatus, priority: u8, starts: i64) -> StoredAlert {
        let alert = Alert {
            labels: Labels::from_pairs([("alertname", name), ("endpoint", "web-03")]),
            annotations: BTreeMap::from([("value".to_owned(), "97.2".to_owned())]),
            starts_at: Timestamp(starts),
            ends_at: Timestamp(starts + 100),
            generator_url: "http://judge/".to_owned(),
        };
        StoredAlert { alert, status, priority, updated_at: Timestamp(starts), ends_by_timeout: false }
    }

    #[tokio::test]
    async fn an_alert_reads_back_as_it_was_stored_and_is_replaced_by_its_fingerprint() {
        let (db, _folder) = database().await;
        let mut alert = stored("磁盘满 '; DROP TABLE alert; --", AlertStatus::Firing, 0, 5);
        db.alerts().store(std::slice::from_ref(&alert), &[]).await.unwrap();
        let fingerprint = alert.alert.fingerprint();
        assert_eq!(db.alerts().load(&[fingerprint, Fingerprint(1)]).await.unwrap(), [alert.clone()]);

        alert.status = AlertStatus::Resolved;
        alert.alert.ends_at = Timestamp(70);
        db.alerts().store(std::slice::from_ref(&alert), &[]).await.unwrap();
        assert_eq!(db.alerts().load(&[fingerprint]).await.unwrap(), [alert]);
        assert_eq!(db.alerts().count_all().await.unwrap(), 1);
    }

    #[tokio::test]
    async fn thousands_are_stored_at_once() {
        let (db, _folder) = database().await;
        let alerts: Vec<_> = (0..2500).map(|n| stored(&format!("a{n}"), AlertStatus::Firing, 1, n)).collect();
        let events: Vec<_> =
            alerts.iter().map(|alert| AlertEvent::new(alert, EventKind::Firing, Timestamp(9))).collect();
        db.alerts().store(&alerts, &events).await.unwrap();
        let fingerprints: Vec<_> = alerts.iter().map(|stored| stored.alert.fingerprint()).collect();
        assert_eq!(db.alerts().load(&fingerprints).await.unwrap().len(), 2500);
        assert_eq!(db.alerts().unqueued_events(5000).await.unwrap().len(), 2500);
    }

    #[tokio::test]
    async fn an_event_waits_until_it_is_queued_and_is_kept_once() {
        let (db, _folder) = database().await;
        let alert = stored("a", AlertStatus::Firing, 2, 5);
        let event = AlertEvent::new(&alert, EventKind::Firing, Timestamp(7));
        for _ in 0..2 {
            db.alerts().store(&[], std::slice::from_ref(&event)).await.unwrap();
        }
        assert_eq!(db.alerts().unqueued_events(10).await.unwrap(), std::slice::from_ref(&event));
        db.alerts().mark_queued(std::slice::from_ref(&event)).await.unwrap();
        assert!(db.alerts().unqueued_events(10).await.unwrap().is_empty());
        assert_eq!(db.alerts().events_of(event.fingerprint, 10).await.unwrap(), [event]);
    }

    #[tokio::test]
    async fn only_firing_alerts_can_be_overdue() {
        let (db, _folder) = database().await;
        let due = stored("due", AlertStatus::Firing, 0, 0);
        let alerts = [
            due.clone(),
            stored("later", AlertStatus::Firing, 0, 1),
            stored("stale", AlertStatus::Stale, 0, 0),
            stored("over", AlertStatus::Resolved, 0, 0),
        ];
        db.alerts().store(&alerts, &[]).await.unwrap();
        assert_eq!(db.alerts().overdue(Timestamp(100), 10).await.unwrap(), [due]);
        assert_eq!(db.alerts().last_update().await.unwrap(), Some(Timestamp(1)));
    }

    #[tokio::test]
    async fn what_still_fires_is_never_forgotten() {
        let (db, _folder) = database().await;
        let firing = stored("fires", AlertStatus::Firing, 0, 0);
        let over = stored("over", AlertStatus::Resolved, 0, 0);
        let event = AlertEvent::new(&over, EventKind::Resolved, Timestamp(0));
        db.alerts().store(&[firing.clone(), over], std::slice::from_ref(&event)).await.unwrap();
        assert_eq!(db.alerts().prune(Timestamp(10)).await.unwrap(), 1, "the event is not queued yet");
        db.alerts().mark_queued(&[event]).await.unwrap();
        assert_eq!(db.alerts().prune(Timestamp(10)).await.unwrap(), 1);
        assert_eq!(db.alerts().load(&[firing.alert.fingerprint()]).await.unwrap(), [firing]);
    }
}
