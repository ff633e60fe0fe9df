//! Who was told what, and every attempt to do so.

use model::{Fingerprint, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::{AlertStatus, Alerts, ROWS_PER_STATEMENT, row};
use crate::DbError;

const DETAIL_CHARS_MAX: usize = 180;

/// How an attempt to tell somebody ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryResult {
    /// The receiver accepted it.
    Sent,
    /// It did not, and it is tried again.
    Retrying,
    /// It did not, and it is given up.
    Failed,
    /// The pipeline decided not to tell; the detail names the reason.
    Skipped,
}

impl DeliveryResult {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sent, Self::Retrying, Self::Failed, Self::Skipped];

    /// The word in the store, in metrics and in the catalogues.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|result| result.as_str() == word)
    }
}

/// What a receiver was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// That it fires, or that it ended.
    pub status: AlertStatus,
    /// The start of the alert in that message.
    pub starts_at: Timestamp,
    /// When it was sent.
    pub at: Timestamp,
}

/// An entry of the notification log: an alert and a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Which alert.
    pub fingerprint: Fingerprint,
    /// Name of the receiver.
    pub receiver: String,
    /// The last message that was accepted; `None` when there was none.
    pub sent: Option<Sent>,
    /// How the latest attempt ended.
    pub result: DeliveryResult,
    /// When the latest attempt was.
    pub tried_at: Timestamp,
    /// Attempts for the current message so far.
    pub attempts: u32,
    /// HTTP status of the latest attempt; 0 when there was no answer.
    pub code: u16,
    /// What went wrong, or the reason for not telling; cut to 180 characters.
    pub detail: String,
}

/// One attempt to tell somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Made by the application; the same id is stored once.
    pub id: String,
    /// Which alert.
    pub fingerprint: Fingerprint,
    /// Name of the receiver.
    pub receiver: String,
    /// What was to be told.
    pub status: AlertStatus,
    /// When.
    pub at: Timestamp,
    /// How it ended.
    pub result: DeliveryResult,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// HTTP status; 0 when there was no answer.
    pub code: u16,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// What went wrong; cut to 180 characters.
    pub detail: String,
}

impl Alerts<'_> {
    /// The log entries of these alerts, by alert and receiver.
    pub async fn told(&self, fingerprints: &[Fingerprint]) -> Result<Vec<Told>, DbError> {
        const OPERATION: &str = "read the notification log";
        let mut entries = Vec::new();
        for chunk in fingerprints.chunks(ROWS_PER_STATEMENT) {
            let mut query =
                QueryBuilder::<Sqlite>::new("SELECT * FROM notification_log WHERE fingerprint IN ");
            row::push_list(&mut query, chunk.iter().map(Fingerprint::to_string));
            query.push(" ORDER BY fingerprint, receiver");
            let rows = query.build().fetch_all(self.pool).await.map_err(DbError::during(OPERATION))?;
            for row in &rows {
                entries.push(read_told(row).map_err(DbError::during(OPERATION))?);
            }
        }
        Ok(entries)
    }

    /// Replaces a log entry and adds the attempt that led to it, in one transaction.
    pub async fn record(&self, told: &Told, delivery: Option<&Delivery>) -> Result<(), DbError> {
        const OPERATION: &str = "record a notification";
        let mut transaction = self.pool.begin().await.map_err(DbError::during(OPERATION))?;
        let mut query = upsert_told(told);
        query.build().execute(&mut *transaction).await.map_err(DbError::during(OPERATION))?;
        if let Some(delivery) = delivery {
            let mut query = insert_delivery(delivery);
            query.build().execute(&mut *transaction).await.map_err(DbError::during(OPERATION))?;
        }
        transaction.commit().await.map_err(DbError::during(OPERATION))
    }

    /// Firing alerts that this receiver was last told of at `before` or earlier, or finally not reached for,
    /// the most urgent first: fingerprint, priority, time of the last attempt.
    pub async fn due_repeats(
        &self,
        receiver: &str,
        before: Timestamp,
        max: u32,
    ) -> Result<Vec<(Fingerprint, u8, Timestamp)>, DbError> {
        let query = sqlx::query(
            "SELECT alert.fingerprint, alert.priority, notification_log.tried_at AS last_at \
             FROM notification_log \
             JOIN alert ON alert.fingerprint = notification_log.fingerprint \
             WHERE receiver = ? AND result IN ('sent', 'failed') AND tried_at <= ? AND status = 'firing' \
             ORDER BY alert.priority, tried_at LIMIT ?",
        );
        let query = query.bind(receiver).bind(before.0).bind(max);
        self.tickets(query, "find due repeats").await
    }

    /// Firing alerts that this receiver knows nothing of and that no waiting event will tell it of: it was
    /// added to the settings after they began, or the settings it had then held them back. The most urgent
    /// first: fingerprint, priority, start.
    pub async fn untold(
        &self,
        receiver: &str,
        max: u32,
    ) -> Result<Vec<(Fingerprint, u8, Timestamp)>, DbError> {
        let query = sqlx::query(
            "SELECT fingerprint, priority, starts_at AS last_at FROM alert \
             WHERE status = 'firing' AND NOT EXISTS \
             (SELECT 1 FROM notification_log \
              WHERE notification_log.fingerprint = alert.fingerprint AND receiver = ? \
              AND (result <> 'skipped' OR sent_status <> '')) \
             AND NOT EXISTS \
             (SELECT 1 FROM event WHERE event.fingerprint = alert.fingerprint AND queued = 0) \
             ORDER BY priority, starts_at LIMIT ?",
        );
        self.tickets(query.bind(receiver).bind(max), "find alerts for a new receiver").await
    }

    /// The latest attempts for an alert, newest first.
    pub async fn deliveries_of(&self, fingerprint: Fingerprint, max: u32) -> Result<Vec<Delivery>, DbError> {
        const OPERATION: &str = "read the deliveries of an alert";
        let query = sqlx::query(
            "SELECT * FROM delivery WHERE fingerprint = ? \
             ORDER BY tried_at DESC, attempt DESC, receiver LIMIT ?",
        );
        let query = query.bind(fingerprint.to_string()).bind(max);
        let rows = query.fetch_all(self.pool).await.map_err(DbError::during(OPERATION))?;
        rows.iter().map(read_delivery).collect::<Result<_, _>>().map_err(DbError::during(OPERATION))
    }

    /// How many notifications were given up since `since` and have not been told by a later attempt.
    pub async fn failed_since(&self, since: Timestamp) -> Result<u64, DbError> {
        let query = sqlx::query(
            "SELECT COUNT(*) AS failed FROM notification_log WHERE result = 'failed' AND tried_at >= ?",
        );
        let row = query.bind(since.0).fetch_one(self.pool).await;
        Ok(row.map_err(DbError::during("count failed notifications"))?.get::<i64, _>("failed").unsigned_abs())
    }

    async fn tickets(
        &self,
        query: sqlx::query::Query<'_, Sqlite, sqlx::sqlite::SqliteArguments>,
        operation: &'static str,
    ) -> Result<Vec<(Fingerprint, u8, Timestamp)>, DbError> {
        let rows = query.fetch_all(self.pool).await.map_err(DbError::during(operation))?;
        let ticket = |row: &SqliteRow| -> Result<_, sqlx::Error> {
            let fingerprint = row::word(row, "fingerprint", Fingerprint::parse)?;
            Ok((fingerprint, row.try_get("priority")?, row::timestamp(row, "last_at")?))
        };
        rows.iter().map(ticket).collect::<Result<_, _>>().map_err(DbError::during(operation))
    }
}

fn upsert_told(told: &Told) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO notification_log (fingerprint, receiver, sent_status, sent_starts_at, sent_at, result, \
         tried_at, attempts, code, detail) ",
    );
    query.push_values([told], |mut row, told| {
        row.push_bind(told.fingerprint.to_string()).push_bind(told.receiver.as_str());
        row.push_bind(told.sent.map_or("", |sent| sent.status.as_str()));
        row.push_bind(told.sent.map_or(0, |sent| sent.starts_at.0));
        row.push_bind(told.sent.map_or(0, |sent| sent.at.0)).push_bind(told.result.as_str());
        row.push_bind(told.tried_at.0).push_bind(told.attempts).push_bind(told.code);
        row.push_bind(cut(&told.detail));
    });
    query.push(
        " ON CONFLICT (fingerprint, receiver) DO UPDATE SET sent_status = excluded.sent_status, \
         sent_starts_at = excluded.sent_starts_at, sent_at = excluded.sent_at, result = excluded.result, \
         tried_at = excluded.tried_at, attempts = excluded.attempts, code = excluded.code, \
         detail = excluded.detail",
    );
    query
}

fn insert_delivery(delivery: &Delivery) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO delivery (id, fingerprint, receiver, status, tried_at, result, attempt, code, \
         duration_ms, detail) ",
    );
    query.push_values([delivery], |mut row, delivery| {
        row.push_bind(delivery.id.as_str()).push_bind(delivery.fingerprint.to_string());
        row.push_bind(delivery.receiver.as_str()).push_bind(delivery.status.as_str());
        row.push_bind(delivery.at.0).push_bind(delivery.result.as_str()).push_bind(delivery.attempt);
        row.push_bind(delivery.code).push_bind(delivery.duration_ms).push_bind(cut(&delivery.detail));
    });
    query.push(" ON CONFLICT (id) DO NOTHING");
    query
}

fn cut(detail: &str) -> String {
    detail.chars().take(DETAIL_CHARS_MAX).collect()
}

fn read_told(row: &SqliteRow) -> Result<Told, sqlx::Error> {
    let status: String = row.try_get("sent_status")?;
    let sent = match AlertStatus::parse(&status) {
        None => None,
        Some(status) => Some(Sent {
            status,
            starts_at: row::timestamp(row, "sent_starts_at")?,
            at: row::timestamp(row, "sent_at")?,
        }),
    };
    Ok(Told {
        fingerprint: row::word(row, "fingerprint", Fingerprint::parse)?,
        receiver: row.try_get("receiver")?,
        sent,
        result: row::word(row, "result", DeliveryResult::parse)?,
        tried_at: row::timestamp(row, "tried_at")?,
        attempts: row.try_get("attempts")?,
        code: row.try_get("code")?,
        detail: row.try_get("detail")?,
    })
}

fn read_delivery(row: &SqliteRow) -> Result<Delivery, sqlx::Error> {
    Ok(Delivery {
        id: row.try_get("id")?,
        fingerprint: row::word(row, "fingerprint", Fingerprint::parse)?,
        receiver: row.try_get("receiver")?,
        status: row::word(row, "status", AlertStatus::parse)?,
        at: row::timestamp(row, "tried_at")?,
        result: row::word(row, "result", DeliveryResult::parse)?,
        attempt: row.try_get("attempt")?,
        code: row.try_get("code")?,
        duration_ms: row.try_get("duration_ms")?,
        detail: row.try_get("detail")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{database, stored};
    use super::super::{AlertEvent, EventKind};
    use super::*;

    fn told(fingerprint: Fingerprint, result: DeliveryResult, at: i64) -> Told {
        let sent = Sent { status: AlertStatus::Firing, starts_at: Timestamp(1), at: Timestamp(at) };
        Told {
            fingerprint,
            receiver: "ops".to_owned(),
            sent: (result == DeliveryResult::Sent).then_some(sent),
            result,
            tried_at: Timestamp(at),
            attempts: 3,
            code: 503,
            detail: "拒绝".repeat(200),
        }
    }

    fn delivery(told: &Told) -> Delivery {
        Delivery {
            id: format!("{}-{}", told.fingerprint, told.tried_at.0),
            fingerprint: told.fingerprint,
            receiver: told.receiver.clone(),
            status: AlertStatus::Firing,
            at: told.tried_at,
            result: told.result,
            attempt: told.attempts,
            code: told.code,
            duration_ms: 12,
            detail: "busy".to_owned(),
        }
    }

    #[tokio::test]
    async fn an_entry_reads_back_and_its_detail_is_cut() {
        let (db, _folder) = database().await;
        let entry = told(Fingerprint(7), DeliveryResult::Sent, 50);
        let attempt = delivery(&entry);
        for _ in 0..2 {
            db.alerts().record(&entry, Some(&attempt)).await.unwrap();
        }
        let read = db.alerts().told(&[Fingerprint(7), Fingerprint(8)]).await.unwrap();
        assert_eq!(read[0].detail.chars().count(), DETAIL_CHARS_MAX);
        assert_eq!((read.len(), read[0].sent), (1, entry.sent));
        assert_eq!(db.alerts().deliveries_of(Fingerprint(7), 9).await.unwrap(), [attempt]);

        let failed = told(Fingerprint(7), DeliveryResult::Failed, 60);
        db.alerts().record(&failed, None).await.unwrap();
        assert_eq!(db.alerts().told(&[Fingerprint(7)]).await.unwrap()[0].sent, None);
        assert_eq!(db.alerts().failed_since(Timestamp(60)).await.unwrap(), 1);
        assert_eq!(db.alerts().failed_since(Timestamp(61)).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn only_firing_alerts_are_repeated_and_only_when_due() {
        let (db, _folder) = database().await;
        let due = stored("due", AlertStatus::Firing, 3, 1);
        let over = stored("over", AlertStatus::Resolved, 0, 1);
        let early = stored("early", AlertStatus::Firing, 0, 1);
        let skipped = stored("skipped", AlertStatus::Firing, 0, 1);
        db.alerts().store(&[due.clone(), over.clone(), early.clone(), skipped.clone()], &[]).await.unwrap();
        for (alert, result, at) in [
            (&due, DeliveryResult::Failed, 10),
            (&over, DeliveryResult::Sent, 10),
            (&early, DeliveryResult::Sent, 11),
            (&skipped, DeliveryResult::Skipped, 10),
        ] {
            db.alerts().record(&told(alert.alert.fingerprint(), result, at), None).await.unwrap();
        }
        let repeats = db.alerts().due_repeats("ops", Timestamp(10), 9).await.unwrap();
        assert_eq!(repeats, [(due.alert.fingerprint(), 3, Timestamp(10))]);
        assert!(db.alerts().due_repeats("other", Timestamp(10), 9).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_receiver_is_offered_what_fires_and_it_knows_nothing_of() {
        let (db, _folder) = database().await;
        let known = stored("known", AlertStatus::Firing, 0, 1);
        let fresh = stored("fresh", AlertStatus::Firing, 2, 5);
        let over = stored("over", AlertStatus::Resolved, 0, 1);
        let held_back = stored("held back", AlertStatus::Firing, 3, 1);
        db.alerts().store(&[known.clone(), fresh.clone(), over, held_back.clone()], &[]).await.unwrap();
        for (alert, result) in [(&known, DeliveryResult::Retrying), (&held_back, DeliveryResult::Skipped)] {
            db.alerts().record(&told(alert.alert.fingerprint(), result, 1), None).await.unwrap();
        }
        let begun = stored("begun", AlertStatus::Firing, 0, 1);
        let event = AlertEvent::new(&begun, EventKind::Firing, Timestamp(1));
        db.alerts().store(&[begun], &[event]).await.unwrap();
        let offered = db.alerts().untold("ops", 9).await.unwrap();
        let expected =
            [(fresh.alert.fingerprint(), 2, Timestamp(5)), (held_back.alert.fingerprint(), 3, Timestamp(1))];
        assert_eq!(offered, expected);
    }
}
