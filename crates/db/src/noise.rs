//! What noise statistics count: what happened to alerts, who took them, and what was kept from people by mutes.

use model::{Fingerprint, Timestamp};

use crate::alerts::EventKind;
use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::in_transaction;
use crate::upsert::insert_rows;
use crate::{Db, DbError};

/// Something happened to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoiseEvent {
    /// Which alert.
    pub fingerprint: Fingerprint,
    /// What.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
}

/// Somebody took an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckRow {
    /// Which alert.
    pub fingerprint: Fingerprint,
    /// When it had begun.
    pub began_at: Timestamp,
    /// When it was taken.
    pub made_at: Timestamp,
}

/// Queries for noise statistics.
#[derive(Debug)]
pub struct Noise<'a> {
    pub(crate) db: &'a Db,
}

impl Noise<'_> {
    /// Notes that somebody took alerts.
    pub async fn add_acks(&self, acks: &[AckRow]) -> Result<(), DbError> {
        in_transaction!(self.db, "note who took alerts", tx => {
            let row = |ack: &AckRow| {
                let id = format!("{}-{}", ack.fingerprint, ack.made_at.0);
                vec![
                    id.into(),
                    ack.fingerprint.to_string().into(),
                    ack.began_at.0.into(),
                    ack.made_at.0.into(),
                ]
            };
            let columns = "id, fingerprint, began_at, made_at";
            insert_rows(tx, "REPLACE", "ack_log", columns, acks.iter().map(row).collect()).await
        })
    }

    /// Who took which alerts at `from` or later, the oldest first, at most `max`.
    pub async fn acks(&self, from: Timestamp, max: u32) -> Result<Vec<AckRow>, DbError> {
        let query = Statement::new(
            "SELECT fingerprint, began_at, made_at FROM ack_log WHERE made_at >= ? \
             ORDER BY made_at, id LIMIT ?",
        );
        let read = |row: &Record| {
            Ok(AckRow {
                fingerprint: row.word("fingerprint", Fingerprint::parse)?,
                began_at: row.timestamp("began_at")?,
                made_at: row.timestamp("made_at")?,
            })
        };
        self.db.records("list who took alerts", query.bind(from.0).bind(max), read).await
    }

    /// What happened at `from` or later, the latest first, at most `max`.
    pub async fn events(&self, from: Timestamp, max: u32) -> Result<Vec<NoiseEvent>, DbError> {
        // What lies in the journal of alerts is not in the table yet.
        self.db.alerts().settle().await?;
        let query = Statement::new(
            "SELECT fingerprint, kind, happened_at FROM event WHERE happened_at >= ? \
             ORDER BY happened_at DESC LIMIT ?",
        );
        let read = |row: &Record| {
            Ok(NoiseEvent {
                fingerprint: row.word("fingerprint", Fingerprint::parse)?,
                kind: row.word("kind", EventKind::parse)?,
                at: row.timestamp("happened_at")?,
            })
        };
        self.db.records("list what happened", query.bind(from.0).bind(max), read).await
    }

    /// How many messages about each alert were kept from somebody by a mute at `from` or later; of at most `max`
    /// alerts.
    pub async fn muted(
        &self,
        from: Timestamp,
        max: u32,
    ) -> Result<Vec<(Fingerprint, u64)>, DbError> {
        let query = Statement::new(
            "SELECT a.fingerprint AS fingerprint, COUNT(*) AS messages FROM message m \
             JOIN message_alert a ON a.message_id = m.id \
             WHERE m.stage = 'muted' AND m.done_at >= ? GROUP BY a.fingerprint LIMIT ?",
        );
        let read = |row: &Record| {
            Ok((row.word("fingerprint", Fingerprint::parse)?, row.integer("messages")?))
        };
        self.db.records("count muted messages", query.bind(from.0).bind(max), read).await
    }

    /// Forgets who took what before a moment; returns how many.
    pub async fn prune(&self, before: Timestamp) -> Result<u64, DbError> {
        let statement = Statement::new("DELETE FROM ack_log WHERE made_at < ?");
        self.db.execute("forget who took alerts", statement.bind(before.0)).await
    }
}
