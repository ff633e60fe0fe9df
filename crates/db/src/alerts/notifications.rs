//! Who was told what, and every attempt to do so.

use std::collections::HashSet;

use model::{Fingerprint, Timestamp};

use super::packed::Packer;
use super::{AlertStatus, Alerts, Journal};
use crate::DbError;
use crate::record::Record;
use crate::statement::{Statement, Value};
use crate::transaction::{Transaction, in_transaction};
use crate::upsert::{insert_rows, sized_chunks};

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

/// One attempt to tell somebody. Alert, time, receiver and number make its identity: one that is stored twice is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
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

impl Delivery {
    fn id(&self) -> String {
        let Self { fingerprint, at, receiver, attempt, .. } = self;
        format!("{fingerprint}-{}-{receiver}-{attempt}", at.0)
    }
}

const DELIVERY_COLUMNS: &str =
    "id, fingerprint, receiver, status, tried_at, result, attempt, code, duration_ms, detail";
const TOLD_COLUMNS: &str = "fingerprint, receiver, sent_status, sent_starts_at, sent_at, result, \
    tried_at, attempts, code, detail";

impl Alerts<'_> {
    /// The log entries of these alerts, by alert and receiver.
    pub async fn told(&self, fingerprints: &[Fingerprint]) -> Result<Vec<Told>, DbError> {
        let Some(journal) = self.db.journal() else { return self.told_rows(fingerprints).await };
        let (waiting, in_table) = journal.told(fingerprints, None)?;
        Ok(newer(waiting, self.told_rows(&in_table).await?))
    }

    async fn told_rows(&self, fingerprints: &[Fingerprint]) -> Result<Vec<Told>, DbError> {
        let mut entries = Vec::new();
        for chunk in sized_chunks(fingerprints) {
            let mut query = Statement::new("SELECT * FROM notification_log WHERE fingerprint IN ");
            query.push_list(chunk.iter().map(Fingerprint::to_string));
            query.push(" ORDER BY fingerprint, receiver");
            entries.extend(self.db.records("read the notification log", query, read_told).await?);
        }
        Ok(entries)
    }

    /// The log entries of one receiver about these alerts.
    pub async fn told_by(
        &self,
        receiver: &str,
        fingerprints: &[Fingerprint],
    ) -> Result<Vec<Told>, DbError> {
        let Some(journal) = self.db.journal() else {
            return self.told_rows_by(receiver, fingerprints).await;
        };
        let (waiting, in_table) = journal.told(fingerprints, Some(receiver))?;
        Ok(newer(waiting, self.told_rows_by(receiver, &in_table).await?))
    }

    async fn told_rows_by(
        &self,
        receiver: &str,
        fingerprints: &[Fingerprint],
    ) -> Result<Vec<Told>, DbError> {
        let mut entries = Vec::new();
        for chunk in sized_chunks(fingerprints) {
            let query = "SELECT * FROM notification_log WHERE receiver = ? AND fingerprint IN ";
            let mut query = Statement::new(query).bind(receiver);
            query.push_list(chunk.iter().map(Fingerprint::to_string));
            entries.extend(self.db.records("read the notification log", query, read_told).await?);
        }
        Ok(entries)
    }

    /// Replaces log entries, each at most once, and adds the attempts that led to them, in one
    /// transaction.
    pub async fn record(&self, told: &[Told], deliveries: &[Delivery]) -> Result<(), DbError> {
        if let Some(journal) = self.db.journal() {
            let mut packer = Packer::new();
            told.iter().for_each(|told| packer.told(told));
            deliveries.iter().for_each(|delivery| packer.delivery(delivery));
            return journal.append(self.db, packer).await;
        }
        in_transaction!(self.db, "record notifications", tx => {
            put(tx, told, deliveries).await
        })
    }

    /// Alerts whose end somebody waits for: they ended, and a receiver knows only that they began.
    pub async fn untold_ends(&self, max: u32) -> Result<Vec<Fingerprint>, DbError> {
        self.settle().await?;
        let query = Statement::new(
            "SELECT DISTINCT alert.fingerprint FROM notification_log \
             JOIN alert ON alert.fingerprint = notification_log.fingerprint \
             WHERE sent_status = 'firing' AND status = 'resolved' ORDER BY alert.fingerprint LIMIT ?",
        );
        let read = |row: &Record| row.word("fingerprint", Fingerprint::parse);
        self.db.records("find ends that are not told", query.bind(max), read).await
    }

    /// Firing alerts that are not told to this receiver for `reason`, in the order of their
    /// fingerprints, those up to `after` left out: fingerprint, priority, when they were held back.
    pub async fn held_back(
        &self,
        receiver: &str,
        reason: &str,
        after: Fingerprint,
        max: u32,
    ) -> Result<Vec<(Fingerprint, u8, Timestamp)>, DbError> {
        self.settle().await?;
        let query = Statement::new(
            "SELECT alert.fingerprint, alert.priority, notification_log.tried_at AS last_at \
             FROM notification_log \
             JOIN alert ON alert.fingerprint = notification_log.fingerprint \
             WHERE receiver = ? AND detail = ? AND status = 'firing' \
             AND result IN ('sent', 'skipped') AND alert.fingerprint > ? \
             ORDER BY alert.fingerprint LIMIT ?",
        );
        let query = query.bind(receiver).bind(reason).bind(after.to_string()).bind(max);
        self.db.records("find what was held back", query, read_ticket).await
    }

    /// The latest attempts for an alert, newest first.
    pub async fn deliveries_of(
        &self,
        fingerprint: Fingerprint,
        max: u32,
    ) -> Result<Vec<Delivery>, DbError> {
        self.settle().await?;
        let query = Statement::new(
            "SELECT * FROM delivery WHERE fingerprint = ? \
             ORDER BY tried_at DESC, attempt DESC, receiver LIMIT ?",
        );
        let query = query.bind(fingerprint.to_string()).bind(max);
        self.db.records("read the deliveries of an alert", query, read_delivery).await
    }

    /// How often a receiver was told since `since` that an alert fires; what is older than the deliveries that are
    /// kept is not counted.
    pub async fn times_told(
        &self,
        receiver: &str,
        fingerprint: Fingerprint,
        since: Timestamp,
    ) -> Result<u32, DbError> {
        self.settle().await?;
        let query = Statement::new(
            "SELECT COUNT(*) AS times FROM delivery WHERE fingerprint = ? AND tried_at >= ? \
             AND receiver = ? AND status = 'firing' AND result = 'sent'",
        );
        let query = query.bind(fingerprint.to_string()).bind(since.0).bind(receiver);
        let count = self
            .db
            .record("count what was told", query, |row: &Record| row.integer("times"))
            .await?;
        Ok(count.unwrap_or(0))
    }

    /// How many notifications were given up since `since` and have not been told by a later
    /// attempt.
    pub async fn failed_since(&self, since: Timestamp) -> Result<u64, DbError> {
        let in_table = self.failed_rows_since(since).await?;
        if in_table == 0 && !self.db.journal().is_some_and(Journal::has_failed) {
            return Ok(0);
        }
        self.settle().await?;
        self.failed_rows_since(since).await
    }

    async fn failed_rows_since(&self, since: Timestamp) -> Result<u64, DbError> {
        let query = Statement::new(
            "SELECT COUNT(*) AS failed FROM notification_log WHERE result = 'failed' AND tried_at >= ?",
        );
        let read = |row: &Record| row.integer("failed");
        let count = self.db.record("count failed notifications", query.bind(since.0), read).await?;
        Ok(count.unwrap_or(0))
    }
}

/// Log entries of the journal go before those of the table; by alert and receiver.
fn newer(mut waiting: Vec<Told>, in_table: Vec<Told>) -> Vec<Told> {
    if !in_table.is_empty() {
        let known: HashSet<(Fingerprint, &str)> =
            waiting.iter().map(|told| (told.fingerprint, told.receiver.as_str())).collect();
        let is_latest = |told: &Told| !known.contains(&(told.fingerprint, told.receiver.as_str()));
        let rest: Vec<Told> = in_table.into_iter().filter(is_latest).collect();
        waiting.extend(rest);
    }
    waiting.sort_unstable_by(|one, other| {
        (one.fingerprint, &one.receiver).cmp(&(other.fingerprint, &other.receiver))
    });
    waiting
}

/// Replaces log entries and adds attempts, in the order of the keys.
pub(super) async fn put(
    tx: &mut Transaction,
    told: &[Told],
    deliveries: &[Delivery],
) -> Result<(), sqlx::Error> {
    let mut rows: Vec<&Told> = told.iter().collect();
    rows.sort_unstable_by_key(|told| (told.fingerprint, told.receiver.as_str()));
    let rows = rows.into_iter().map(told_values).collect();
    insert_rows(tx, "REPLACE", "notification_log", TOLD_COLUMNS, rows).await?;
    let mut rows: Vec<(String, &Delivery)> =
        deliveries.iter().map(|delivery| (delivery.id(), delivery)).collect();
    rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let rows = rows.into_iter().map(delivery_values).collect();
    insert_rows(tx, "REPLACE", "delivery", DELIVERY_COLUMNS, rows).await
}

fn told_values(told: &Told) -> Vec<Value> {
    vec![
        told.fingerprint.to_string().into(),
        told.receiver.as_str().into(),
        told.sent.map_or("", |sent| sent.status.as_str()).into(),
        told.sent.map_or(0, |sent| sent.starts_at.0).into(),
        told.sent.map_or(0, |sent| sent.at.0).into(),
        told.result.as_str().into(),
        told.tried_at.0.into(),
        told.attempts.into(),
        told.code.into(),
        cut(&told.detail).into(),
    ]
}

fn delivery_values((id, delivery): (String, &Delivery)) -> Vec<Value> {
    vec![
        id.into(),
        delivery.fingerprint.to_string().into(),
        delivery.receiver.as_str().into(),
        delivery.status.as_str().into(),
        delivery.at.0.into(),
        delivery.result.as_str().into(),
        delivery.attempt.into(),
        delivery.code.into(),
        delivery.duration_ms.into(),
        cut(&delivery.detail).into(),
    ]
}

pub(super) fn cut(detail: &str) -> &str {
    match detail.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => &detail[..end],
        None => detail,
    }
}

fn read_ticket(row: &Record) -> Result<(Fingerprint, u8, Timestamp), sqlx::Error> {
    let fingerprint = row.word("fingerprint", Fingerprint::parse)?;
    Ok((fingerprint, row.integer("priority")?, row.timestamp("last_at")?))
}

fn read_told(row: &Record) -> Result<Told, sqlx::Error> {
    let sent = match AlertStatus::parse(&row.text("sent_status")?) {
        None => None,
        Some(status) => Some(Sent {
            status,
            starts_at: row.timestamp("sent_starts_at")?,
            at: row.timestamp("sent_at")?,
        }),
    };
    Ok(Told {
        fingerprint: row.word("fingerprint", Fingerprint::parse)?,
        receiver: row.text("receiver")?,
        sent,
        result: row.word("result", DeliveryResult::parse)?,
        tried_at: row.timestamp("tried_at")?,
        attempts: row.integer("attempts")?,
        code: row.integer("code")?,
        detail: row.text("detail")?,
    })
}

fn read_delivery(row: &Record) -> Result<Delivery, sqlx::Error> {
    Ok(Delivery {
        fingerprint: row.word("fingerprint", Fingerprint::parse)?,
        receiver: row.text("receiver")?,
        status: row.word("status", AlertStatus::parse)?,
        at: row.timestamp("tried_at")?,
        result: row.word("result", DeliveryResult::parse)?,
        attempt: row.integer("attempt")?,
        code: row.integer("code")?,
        duration_ms: row.integer("duration_ms")?,
        detail: row.text("detail")?,
    })
}
