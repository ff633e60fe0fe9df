//! Between rows and types.

use model::{Alert, Fingerprint, Labels, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Encode, QueryBuilder, Row, Sqlite, Type};

use super::{AlertEvent, AlertStatus, EventKind, StoredAlert};

/// Appends `(?, ?, …)`. An empty list matches nothing, which SQLite and MySQL only say as `(NULL)`.
pub(super) fn push_list<'a, T>(query: &mut QueryBuilder<Sqlite>, values: impl Iterator<Item = T>)
where
    T: 'a + Encode<'a, Sqlite> + Type<Sqlite>,
{
    query.push("(NULL");
    for value in values {
        query.push(", ").push_bind(value);
    }
    query.push(")");
}

pub(super) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("maps of text to text are always valid JSON")
}

pub(super) fn alert(row: &SqliteRow) -> Result<StoredAlert, sqlx::Error> {
    let alert = Alert {
        labels: from_json::<Labels>(row, "labels")?,
        annotations: from_json(row, "annotations")?,
        starts_at: timestamp(row, "starts_at")?,
        ends_at: timestamp(row, "ends_at")?,
        generator_url: row.try_get("generator_url")?,
    };
    Ok(StoredAlert {
        alert,
        status: word(row, "status", AlertStatus::parse)?,
        priority: row.try_get("priority")?,
        updated_at: timestamp(row, "updated_at")?,
        ends_by_timeout: row.try_get("ends_by_timeout")?,
    })
}

pub(super) fn event(row: &SqliteRow) -> Result<AlertEvent, sqlx::Error> {
    Ok(AlertEvent {
        id: row.try_get("id")?,
        fingerprint: word(row, "fingerprint", Fingerprint::parse)?,
        kind: word(row, "kind", EventKind::parse)?,
        priority: row.try_get("priority")?,
        at: timestamp(row, "happened_at")?,
        value: row.try_get("value")?,
    })
}

pub(super) fn timestamp(row: &SqliteRow, column: &str) -> Result<Timestamp, sqlx::Error> {
    row.try_get(column).map(Timestamp)
}

/// A column that holds one of a few words. Another word means that a newer version wrote the row.
pub(super) fn word<T>(
    row: &SqliteRow,
    column: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, sqlx::Error> {
    let text: String = row.try_get(column)?;
    parse(&text).ok_or_else(|| decode_error(column, format!("{text:?} is not a known value")))
}

fn from_json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, sqlx::Error> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| decode_error(column, error.to_string()))
}

fn decode_error(column: &str, reason: String) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: reason.into() }
}
