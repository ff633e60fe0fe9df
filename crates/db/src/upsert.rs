//! Storing many rows by their key: those that are new are inserted, the others updated.

use std::collections::BTreeMap;

use crate::statement::{Statement, Value};
use crate::transaction::Transaction;

// SQLite binds at most 32,766 values a statement.
const ROWS_MAX: usize = 1000;
/// Rows of one statement where many statements of the same form are expected. Rows may be large: an alert of
/// the longest texts has some 2 MB, in practice one kilobyte.
const SIZES: [usize; 4] = [128, 32, 8, 1];
// MariaDB takes messages of 16 MiB, MySQL of 64.
const BYTES_MAX: usize = 4 << 20;

/// A table with one key, and what happens to a row whose key is there.
#[derive(Debug)]
pub(crate) struct Upsert {
    /// The table.
    pub(crate) table: &'static str,
    /// Its key.
    pub(crate) key: &'static str,
    /// The columns that a known row gets anew, behind the key in every row.
    pub(crate) updated: &'static [&'static str],
    /// The columns that a known row keeps, behind the updated ones.
    pub(crate) kept: &'static [&'static str],
}

impl Upsert {
    /// Stores the rows, in the order of their keys, so that two who store the same rows never wait
    /// for each other in a ring. Of rows with the same key the last counts. Without `updated`
    /// columns known rows stay as they are.
    pub(crate) async fn store(
        &self,
        transaction: &mut Transaction,
        rows: impl Iterator<Item = (String, Vec<Value>)>,
    ) -> Result<(), sqlx::Error> {
        let rows: BTreeMap<String, Vec<Value>> = rows.collect();
        for chunk in chunks(rows) {
            self.store_chunk(transaction, chunk).await?;
        }
        Ok(())
    }

    async fn store_chunk(
        &self,
        transaction: &mut Transaction,
        mut rows: BTreeMap<String, Vec<Value>>,
    ) -> Result<(), sqlx::Error> {
        let mut query = Statement::new(format!(
            "SELECT {} FROM {} WHERE {} IN ",
            self.key, self.table, self.key
        ));
        query.push_list(rows.keys().map(String::as_str));
        let mut known = Vec::new();
        for record in transaction.records(query).await? {
            known.extend(rows.remove_entry(&record.text(self.key)?));
        }
        if !rows.is_empty() {
            transaction.execute(self.insert(rows)).await?;
        }
        if self.updated.is_empty() {
            return Ok(());
        }
        known.sort_unstable_by(|(key, _), (other, _)| key.cmp(other));
        for (key, values) in known {
            transaction.execute(self.update(key, values)).await?;
        }
        Ok(())
    }

    fn insert(&self, rows: BTreeMap<String, Vec<Value>>) -> Statement {
        let columns = [&[self.key], self.updated, self.kept].concat().join(", ");
        let mut statement =
            Statement::new(format!("INSERT INTO {} ({columns}) VALUES ", self.table));
        for (n, (key, values)) in rows.into_iter().enumerate() {
            statement.push(if n == 0 { "(" } else { ", (" }).push_bind(key);
            for value in values {
                statement.push(", ").push_bind(value);
            }
            statement.push(")");
        }
        statement
    }

    fn update(&self, key: String, values: Vec<Value>) -> Statement {
        let mut statement = Statement::new(format!("UPDATE {} SET ", self.table));
        for (n, (column, value)) in self.updated.iter().zip(values).enumerate() {
            statement
                .push(if n == 0 { "" } else { ", " })
                .push(column)
                .push(" = ")
                .push_bind(value);
        }
        statement.push(" WHERE ").push(self.key).push(" = ").push_bind(key);
        statement
    }
}

/// Stores rows by `verb` INTO `table`, where `REPLACE` takes the place of those with the same key: much cheaper
/// than an [`Upsert`], for rows that are written whole. Give the rows in the order of their keys.
pub(crate) async fn insert_rows(
    transaction: &mut Transaction,
    verb: &str,
    table: &str,
    columns: &str,
    rows: Vec<Vec<Value>>,
) -> Result<(), sqlx::Error> {
    let mut rows = rows.into_iter();
    while rows.len() > 0 {
        let bytes = |size: &usize| -> usize {
            rows.as_slice().iter().take(*size).flatten().map(Value::bytes).sum()
        };
        let fits = |size: &usize| *size <= rows.len() && bytes(size) <= BYTES_MAX;
        let count = SIZES.into_iter().find(fits).unwrap_or(1);
        let mut statement = Statement::new(format!("{verb} INTO {table} ({columns}) VALUES "));
        for (n, row) in rows.by_ref().take(count).enumerate() {
            statement.push(if n == 0 { "(" } else { ", (" });
            for (m, value) in row.into_iter().enumerate() {
                statement.push(if m == 0 { "" } else { ", " }).push_bind(value);
            }
            statement.push(")");
        }
        transaction.execute(statement).await?;
    }
    Ok(())
}

/// Parts of a few sizes only: a prepared statement is kept for every size, and one of many rows is large.
pub(crate) fn sized_chunks<T>(items: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let count = SIZES.into_iter().find(|size| *size <= rest.len())?;
        let (chunk, others) = rest.split_at(count);
        rest = others;
        Some(chunk)
    })
}

fn chunks(rows: BTreeMap<String, Vec<Value>>) -> Vec<BTreeMap<String, Vec<Value>>> {
    let mut chunks: Vec<BTreeMap<String, Vec<Value>>> = Vec::new();
    let mut bytes = 0;
    for (key, values) in rows {
        let row_bytes = key.len() + values.iter().map(Value::bytes).sum::<usize>();
        bytes += row_bytes;
        match chunks.last_mut().filter(|chunk| chunk.len() < ROWS_MAX && bytes <= BYTES_MAX) {
            Some(chunk) => {
                chunk.insert(key, values);
            }
            None => {
                bytes = row_bytes;
                chunks.push(BTreeMap::from([(key, values)]));
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_one_of_a_few_sizes_and_leave_nothing_out() {
        for count in [0, 1, 7, 8, 200, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let parts: Vec<&[usize]> = sized_chunks(&items).collect();
            assert!(parts.iter().all(|part| SIZES.contains(&part.len())));
            assert_eq!(parts.concat(), items);
        }
    }

    #[test]
    fn a_statement_is_bounded_in_rows_and_in_bytes() {
        let sizes = |count: usize, bytes: usize| -> Vec<usize> {
            let rows =
                (0..count).map(|n| (format!("{n:06}"), vec![Value::Text("x".repeat(bytes))]));
            chunks(rows.collect()).iter().map(BTreeMap::len).collect()
        };
        assert_eq!(sizes(0, 1), [0; 0]);
        assert_eq!(sizes(2001, 1), [1000, 1000, 1]);
        assert_eq!(sizes(9, 1 << 20), [3, 3, 3]);
        assert_eq!(sizes(2, 5 << 20), [1, 1]);
    }
}
