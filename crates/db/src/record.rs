//! A row of an answer, from either database.

use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::mysql::MySqlRow;
use sqlx::sqlite::SqliteRow;

/// A row of an answer. Columns are read by name; one that is missing or of another type is an
/// error.
pub(crate) enum Record {
    Sqlite(SqliteRow),
    Mysql(MySqlRow),
}

impl Record {
    /// A text.
    pub(crate) fn text(&self, column: &str) -> Result<String, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Mysql(row) => row.try_get(column),
        }
    }

    /// Bytes.
    pub(crate) fn bytes(&self, column: &str) -> Result<Vec<u8>, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Mysql(row) => row.try_get(column),
        }
    }

    /// An integer, or `None` for NULL.
    pub(crate) fn integer_or_null(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Mysql(row) => row.try_get(column),
        }
    }

    /// An integer of any size.
    pub(crate) fn integer<T: TryFrom<i64>>(&self, column: &str) -> Result<T, sqlx::Error> {
        let number = self
            .integer_or_null(column)?
            .ok_or_else(|| decode_error(column, "it is NULL".to_owned()))?;
        T::try_from(number).map_err(|_| decode_error(column, format!("{number} is out of range")))
    }

    /// A flag, stored as 0 or 1.
    pub(crate) fn flag(&self, column: &str) -> Result<bool, sqlx::Error> {
        Ok(self.integer::<i64>(column)? != 0)
    }

    /// A moment, stored as milliseconds.
    pub(crate) fn timestamp(&self, column: &str) -> Result<model::Timestamp, sqlx::Error> {
        self.integer(column).map(model::Timestamp)
    }

    /// One of a few words. Another word means that a newer version wrote the row.
    pub(crate) fn word<T>(
        &self,
        column: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, sqlx::Error> {
        let text = self.text(column)?;
        parse(&text).ok_or_else(|| decode_error(column, format!("{text:?} is not a known value")))
    }

    /// A text that holds JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, sqlx::Error> {
        serde_json::from_str(&self.text(column)?)
            .map_err(|error| decode_error(column, error.to_string()))
    }
}

fn decode_error(column: &str, reason: String) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: reason.into() }
}
