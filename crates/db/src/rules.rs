//! Rule groups created by API.

use model::Timestamp;

use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::in_transaction;
use crate::{Db, DbError};

/// A rule group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleGroupRow {
    /// Its name, unique.
    pub name: String,
    /// The group as it was given: YAML or JSON in Prometheus' format.
    pub body: String,
    /// 1 for a new group, and one more with every change.
    pub version: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Queries over rule groups.
#[derive(Debug)]
pub struct RuleGroups<'a> {
    pub(crate) db: &'a Db,
}

const COLUMNS: &str = "name, body, version, created_at, updated_at";

impl RuleGroups<'_> {
    /// All groups, by name.
    pub async fn all(&self) -> Result<Vec<RuleGroupRow>, DbError> {
        let query = Statement::new(format!("SELECT {COLUMNS} FROM rule_group ORDER BY name"));
        self.db.records("list rule groups", query, read_group).await
    }

    /// One group, if there is one of this name.
    pub async fn one(&self, name: &str) -> Result<Option<RuleGroupRow>, DbError> {
        let query =
            Statement::new(format!("SELECT {COLUMNS} FROM rule_group WHERE name = ?")).bind(name);
        self.db.record("read a rule group", query, read_group).await
    }

    /// Creates or replaces a group; answers its version. The same body again is no change.
    pub async fn put(&self, name: &str, body: &str, now: Timestamp) -> Result<i64, DbError> {
        in_transaction!(self.db, "store a rule group", tx => {
            // The column `version` comes first: MySQL assigns from left to right and would compare
            // with the new body.
            let update = Statement::new(
                "UPDATE rule_group SET version = version + CASE WHEN body = ? THEN 0 ELSE 1 END, \
                 updated_at = CASE WHEN body = ? THEN updated_at ELSE ? END, body = ? WHERE name = ?",
            );
            let update = update.bind(body).bind(body).bind(now.millis()).bind(body).bind(name);
            if tx.execute(update).await? == 0 {
                let insert = Statement::new(
                    "INSERT INTO rule_group (name, body, version, created_at, updated_at) \
                     VALUES (?, ?, 1, ?, ?)",
                );
                tx.execute(insert.bind(name).bind(body).bind(now.millis()).bind(now.millis())).await?;
            }
            let version = Statement::new("SELECT version FROM rule_group WHERE name = ?").bind(name);
            tx.record(version).await?.ok_or(sqlx::Error::RowNotFound)?.integer("version")
        })
    }

    /// Removes a group; `false` when there was none.
    pub async fn remove(&self, name: &str) -> Result<bool, DbError> {
        let statement = Statement::new("DELETE FROM rule_group WHERE name = ?").bind(name);
        Ok(self.db.execute("remove a rule group", statement).await? > 0)
    }
}

fn read_group(row: &Record) -> Result<RuleGroupRow, sqlx::Error> {
    Ok(RuleGroupRow {
        name: row.text("name")?,
        body: row.text("body")?,
        version: row.integer("version")?,
        created_at: row.timestamp("created_at")?,
        updated_at: row.timestamp("updated_at")?,
    })
}
