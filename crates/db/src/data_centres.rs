//! Data centres that were set by API, as crate `apiproxy` keeps them.

use model::Timestamp;

use crate::audit::{self, AuditEntry};
use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::in_transaction;
use crate::upsert::Upsert;
use crate::{Db, DbError};

/// A data centre. `Debug` shows no body, which holds secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct DataCentreRow {
    /// Its name, at most 190 characters.
    pub name: String,
    /// Where its store is and how it is asked, as JSON.
    pub body: String,
    /// Its latest change.
    pub updated_at: Timestamp,
}

/// Queries over data centres.
#[derive(Debug)]
pub struct DataCentres<'a> {
    pub(crate) db: &'a Db,
}

const DATA_CENTRES: Upsert =
    Upsert { table: "data_centre", key: "name", updated: &["body", "updated_at"], kept: &[] };

impl DataCentres<'_> {
    /// All of them, by name.
    pub async fn all(&self) -> Result<Vec<DataCentreRow>, DbError> {
        let query = Statement::new("SELECT name, body, updated_at FROM data_centre ORDER BY name");
        self.db.records("list data centres", query, read_row).await
    }

    /// Inserts one or replaces it.
    pub async fn put(&self, row: &DataCentreRow, entry: &AuditEntry) -> Result<(), DbError> {
        in_transaction!(self.db, "store a data centre", tx => {
            let values = vec![row.body.as_str().into(), row.updated_at.0.into()];
            DATA_CENTRES.store(tx, std::iter::once((row.name.clone(), values))).await?;
            audit::write(tx, entry).await
        })
    }

    /// Removes one; `false` when it is not known.
    pub async fn remove(&self, name: &str, entry: &AuditEntry) -> Result<bool, DbError> {
        in_transaction!(self.db, "remove a data centre", tx => {
            let delete = Statement::new("DELETE FROM data_centre WHERE name = ?").bind(name);
            if tx.execute(delete).await? == 0 {
                return Ok(false);
            }
            audit::write(tx, entry).await?;
            Ok(true)
        })
    }
}

fn read_row(row: &Record) -> Result<DataCentreRow, sqlx::Error> {
    Ok(DataCentreRow {
        name: row.text("name")?,
        body: row.text("body")?,
        updated_at: row.timestamp("updated_at")?,
    })
}

impl std::fmt::Debug for DataCentreRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataCentreRow").field("name", &self.name).finish_non_exhaustive()
    }
}
