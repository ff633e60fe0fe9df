//! Times in which a host or a group is worked on.

use model::Timestamp;

use crate::audit::AuditEntry;
use crate::groups::changed;
use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::in_transaction;
use crate::{Db, DbError};

/// What is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MaintenanceOf {
    /// A host.
    Host,
    /// A group and the groups below it.
    Group,
}

impl MaintenanceOf {
    /// The word in the store and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Group => "group",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Host, Self::Group].into_iter().find(|of| of.as_str() == word)
    }
}

/// A maintenance window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceRow {
    /// Its identity, at most 64 characters.
    pub id: String,
    /// Whether `target` is a host or a group.
    pub of: MaintenanceOf,
    /// The host or the group.
    pub target: String,
    /// Its first moment.
    pub starts_at: Timestamp,
    /// The moment it is over.
    pub ends_at: Timestamp,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Queries over maintenance windows.
#[derive(Debug)]
pub struct Maintenances<'a> {
    pub(crate) db: &'a Db,
}

impl Maintenances<'_> {
    /// The windows that end after a moment, by their start.
    pub async fn ending_after(&self, moment: Timestamp) -> Result<Vec<MaintenanceRow>, DbError> {
        let query = Statement::new(
            "SELECT id, kind, target, starts_at, ends_at, reason, created_by, created_at \
             FROM maintenance WHERE ends_at > ? ORDER BY starts_at, id",
        );
        self.db.records("list maintenance", query.bind(moment.millis()), read_window).await
    }

    /// Stores a new window.
    pub async fn add(&self, window: &MaintenanceRow, entry: &AuditEntry) -> Result<(), DbError> {
        in_transaction!(self.db, "store a maintenance window", tx => {
            let insert = Statement::new(
                "INSERT INTO maintenance \
                 (id, kind, target, starts_at, ends_at, reason, created_by, created_at) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            );
            let insert = insert
                .bind(window.id.as_str())
                .bind(window.of.as_str())
                .bind(window.target.as_str())
                .bind(window.starts_at.millis())
                .bind(window.ends_at.millis())
                .bind(window.reason.as_str())
                .bind(window.created_by.as_str())
                .bind(window.created_at.millis());
            tx.execute(insert).await?;
            changed(tx, entry).await
        })
    }

    /// Ends a window now; `false` when there is none that is not over.
    pub async fn end(&self, id: &str, now: Timestamp, entry: &AuditEntry) -> Result<bool, DbError> {
        in_transaction!(self.db, "end a maintenance window", tx => {
            let update = Statement::new("UPDATE maintenance SET ends_at = ? WHERE id = ? AND ends_at > ?");
            let update = update.bind(now.millis()).bind(id).bind(now.millis());
            if tx.execute(update).await? == 0 {
                return Ok(false);
            }
            changed(tx, entry).await?;
            Ok(true)
        })
    }

    /// Removes the windows that were over before a moment.
    pub async fn forget_before(&self, moment: Timestamp) -> Result<u64, DbError> {
        let delete = Statement::new("DELETE FROM maintenance WHERE ends_at < ?");
        self.db.execute("forget maintenance", delete.bind(moment.millis())).await
    }
}

fn read_window(row: &Record) -> Result<MaintenanceRow, sqlx::Error> {
    Ok(MaintenanceRow {
        id: row.text("id")?,
        of: row.word("kind", MaintenanceOf::parse)?,
        target: row.text("target")?,
        starts_at: row.timestamp("starts_at")?,
        ends_at: row.timestamp("ends_at")?,
        reason: row.text("reason")?,
        created_by: row.text("created_by")?,
        created_at: row.timestamp("created_at")?,
    })
}
