//! Silences, as crate `alarm` keeps them.

use model::Timestamp;

use crate::audit::{self, AuditEntry};
use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::in_transaction;
use crate::upsert::Upsert;
use crate::{Db, DbError};

/// A silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilenceRow {
    /// Made by the application.
    pub id: String,
    /// The matchers as JSON.
    pub matchers: String,
    /// From when it holds.
    pub starts_at: Timestamp,
    /// Until when it holds.
    pub ends_at: Timestamp,
    /// Its latest change.
    pub updated_at: Timestamp,
    /// Who made it, at most 190 characters.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// How long after the last alert it held for was resolved it ends by itself, in milliseconds; 0: it does not.
    pub ends_after: i64,
}

/// Queries over silences.
#[derive(Debug)]
pub struct Silences<'a> {
    pub(crate) db: &'a Db,
}

const SILENCES: Upsert = Upsert {
    table: "silence",
    key: "id",
    updated: &[
        "matchers",
        "starts_at",
        "ends_at",
        "updated_at",
        "created_by",
        "comment",
        "ends_after",
    ],
    kept: &[],
};

impl Silences<'_> {
    /// Inserts silences or replaces them and writes an entry of the audit, all or none.
    pub async fn store(&self, silences: &[SilenceRow], entry: &AuditEntry) -> Result<(), DbError> {
        in_transaction!(self.db, "store silences", tx => {
            let rows = silences.iter().map(|silence| {
                let values = vec![
                    silence.matchers.as_str().into(),
                    silence.starts_at.0.into(),
                    silence.ends_at.0.into(),
                    silence.updated_at.0.into(),
                    silence.created_by.as_str().into(),
                    silence.comment.as_str().into(),
                    silence.ends_after.into(),
                ];
                (silence.id.clone(), values)
            });
            SILENCES.store(tx, rows).await?;
            audit::write(tx, entry).await
        })
    }

    /// All silences, by their end.
    pub async fn all(&self) -> Result<Vec<SilenceRow>, DbError> {
        let query = Statement::new("SELECT * FROM silence ORDER BY ends_at, id");
        self.db.records("list silences", query, read_silence).await
    }

    /// How many there are and when one was changed last: the same answer means that nothing is
    /// new, unless it was changed within the same millisecond.
    pub async fn stamp(&self) -> Result<(u64, i64), DbError> {
        let query = Statement::new(
            "SELECT COUNT(*) AS silences, COALESCE(MAX(updated_at), 0) AS latest FROM silence",
        );
        let read = |row: &Record| Ok((row.integer("silences")?, row.integer("latest")?));
        Ok(self.db.record("look for changed silences", query, read).await?.unwrap_or((0, 0)))
    }

    /// Forgets silences that ended before `before`; returns how many.
    pub async fn prune(&self, before: Timestamp) -> Result<u64, DbError> {
        let statement = Statement::new("DELETE FROM silence WHERE ends_at < ?").bind(before.0);
        self.db.execute("forget old silences", statement).await
    }
}

fn read_silence(row: &Record) -> Result<SilenceRow, sqlx::Error> {
    Ok(SilenceRow {
        id: row.text("id")?,
        matchers: row.text("matchers")?,
        starts_at: row.timestamp("starts_at")?,
        ends_at: row.timestamp("ends_at")?,
        updated_at: row.timestamp("updated_at")?,
        created_by: row.text("created_by")?,
        comment: row.text("comment")?,
        ends_after: row.integer("ends_after")?,
    })
}
