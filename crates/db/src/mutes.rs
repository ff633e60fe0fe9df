//! Mutes of persons where the shared state is embedded, and what may happen once.

use model::Timestamp;

use crate::pool::is_duplicate;
use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::in_transaction;
use crate::upsert::Upsert;
use crate::{Db, DbError};

/// A mute as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MuteRow {
    /// At most 64 characters; the same for the same person and subject.
    pub id: String,
    /// Person and counter, joined by an underscore.
    pub joined: String,
    /// When it ends.
    pub ends_at: Timestamp,
    /// The rest, as the application writes it.
    pub body: String,
}

/// Queries over mutes and claims.
#[derive(Debug)]
pub struct Mutes<'a> {
    pub(crate) db: &'a Db,
}

const MUTES: Upsert =
    Upsert { table: "mute", key: "id", updated: &["joined", "ends_at", "body"], kept: &[] };

impl Mutes<'_> {
    /// Stores a mute; one with the same id is replaced.
    pub async fn store(&self, mute: &MuteRow) -> Result<(), DbError> {
        in_transaction!(self.db, "store a mute", tx => {
            let values =
                vec![mute.joined.as_str().into(), mute.ends_at.0.into(), mute.body.as_str().into()];
            MUTES.store(tx, std::iter::once((mute.id.clone(), values))).await
        })
    }

    /// Ends a mute; `false` when there was none.
    pub async fn remove(&self, id: &str) -> Result<bool, DbError> {
        let statement = Statement::new("DELETE FROM mute WHERE id = ?").bind(id);
        Ok(self.db.execute("end a mute", statement).await? > 0)
    }

    /// The mutes that have not ended at `now`.
    pub async fn live(&self, now: Timestamp) -> Result<Vec<MuteRow>, DbError> {
        let query = Statement::new("SELECT * FROM mute WHERE ends_at > ? ORDER BY id").bind(now.0);
        let read = |row: &Record| {
            Ok(MuteRow {
                id: row.text("id")?,
                joined: row.text("joined")?,
                ends_at: row.timestamp("ends_at")?,
                body: row.text("body")?,
            })
        };
        self.db.records("list mutes", query, read).await
    }

    /// Claims a name until a moment: `true` for exactly one of those who try.
    pub async fn claim(&self, name: &str, ends_at: Timestamp, body: &str) -> Result<bool, DbError> {
        let insert = Statement::new("INSERT INTO claim (name, ends_at, body) VALUES (?, ?, ?)");
        match self.db.execute("claim a name", insert.bind(name).bind(ends_at.0).bind(body)).await {
            Ok(_) => Ok(true),
            Err(DbError::Query { source, .. }) if is_duplicate(&source) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What was claimed under a name, unless that is over at `now`.
    pub async fn claimed(&self, name: &str, now: Timestamp) -> Result<Option<String>, DbError> {
        let query = Statement::new("SELECT body FROM claim WHERE name = ? AND ends_at > ?");
        self.db.record("read a claim", query.bind(name).bind(now.0), |row| row.text("body")).await
    }

    /// Gives a name back.
    pub async fn release(&self, name: &str) -> Result<(), DbError> {
        let statement = Statement::new("DELETE FROM claim WHERE name = ?").bind(name);
        self.db.execute("give a claim back", statement).await?;
        Ok(())
    }

    /// Forgets mutes and claims that ended before `before`.
    pub async fn prune(&self, before: Timestamp) -> Result<(), DbError> {
        for (operation, text) in [
            ("forget mutes", "DELETE FROM mute WHERE ends_at < ?"),
            ("forget claims", "DELETE FROM claim WHERE ends_at < ?"),
        ] {
            self.db.execute(operation, Statement::new(text).bind(before.0)).await?;
        }
        Ok(())
    }
}
