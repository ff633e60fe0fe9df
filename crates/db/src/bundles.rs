//! Sets of plugin files.

use std::collections::BTreeSet;

use model::Timestamp;

use crate::audit::AuditEntry;
use crate::groups::changed;
use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::in_transaction;
use crate::{Db, DbError};

// SQLite binds at most 32,766 values a statement.
const ROWS_PER_STATEMENT: usize = 1000;

/// A file by the digest of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// SHA-256 in hex.
    pub sha256: String,
    /// Its bytes.
    pub body: Vec<u8>,
}

/// Queries over plugin bundles.
#[derive(Debug)]
pub struct Bundles<'a> {
    pub(crate) db: &'a Db,
}

impl Bundles<'_> {
    /// Names and descriptions (JSON) of all bundles, by name.
    pub async fn all(&self) -> Result<Vec<(String, String)>, DbError> {
        let query = Statement::new("SELECT name, body FROM plugin_bundle ORDER BY name");
        let read = |row: &Record| Ok((row.text("name")?, row.text("body")?));
        self.db.records("list plugin bundles", query, read).await
    }

    /// Creates or replaces a bundle with its files. A file that is there already is kept, and counts
    /// as stored now.
    pub async fn put(
        &self,
        name: &str,
        body: &str,
        files: &[FileRow],
        now: Timestamp,
        entry: &AuditEntry,
    ) -> Result<(), DbError> {
        in_transaction!(self.db, "store a plugin bundle", tx => {
            for file in files {
                let update = Statement::new("UPDATE plugin_file SET stored_at = ? WHERE sha256 = ?");
                if tx.execute(update.bind(now.millis()).bind(file.sha256.as_str())).await? > 0 {
                    continue;
                }
                let insert =
                    Statement::new("INSERT INTO plugin_file (sha256, body, stored_at) VALUES (?, ?, ?)");
                let insert = insert.bind(file.sha256.as_str()).bind(file.body.as_slice());
                tx.execute(insert.bind(now.millis())).await?;
            }
            let update =
                Statement::new("UPDATE plugin_bundle SET body = ?, updated_at = ? WHERE name = ?");
            if tx.execute(update.bind(body).bind(now.millis()).bind(name)).await? == 0 {
                let insert =
                    Statement::new("INSERT INTO plugin_bundle (name, body, updated_at) VALUES (?, ?, ?)");
                tx.execute(insert.bind(name).bind(body).bind(now.millis())).await?;
            }
            changed(tx, entry).await
        })
    }

    /// Removes a bundle; its files stay for [`Bundles::remove_files`]. `false` when there was none.
    pub async fn remove(&self, name: &str, entry: &AuditEntry) -> Result<bool, DbError> {
        in_transaction!(self.db, "remove a plugin bundle", tx => {
            let bundle = Statement::new("DELETE FROM plugin_bundle WHERE name = ?").bind(name);
            if tx.execute(bundle).await? == 0 {
                return Ok(false);
            }
            changed(tx, entry).await?;
            Ok(true)
        })
    }

    /// The bytes of a file, if there is one.
    pub async fn file(&self, sha256: &str) -> Result<Option<Vec<u8>>, DbError> {
        let query = Statement::new("SELECT body FROM plugin_file WHERE sha256 = ?").bind(sha256);
        self.db.record("read a plugin file", query, |row| row.bytes("body")).await
    }

    /// Digests of the files that were stored before a moment.
    pub async fn files_before(&self, moment: Timestamp) -> Result<Vec<String>, DbError> {
        let query = Statement::new("SELECT sha256 FROM plugin_file WHERE stored_at < ?");
        let query = query.bind(moment.millis());
        self.db.records("list plugin files", query, |row| row.text("sha256")).await
    }

    /// Removes files, except those stored since `moment`: a bundle may have come to use them.
    pub async fn remove_files(
        &self,
        files: &BTreeSet<String>,
        moment: Timestamp,
    ) -> Result<(), DbError> {
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        for chunk in files.chunks(ROWS_PER_STATEMENT) {
            let mut delete = Statement::new("DELETE FROM plugin_file WHERE stored_at < ?");
            delete = delete.bind(moment.millis());
            delete.push(" AND sha256 IN ").push_list(chunk.iter().copied());
            self.db.execute("remove plugin files", delete).await?;
        }
        Ok(())
    }
}
