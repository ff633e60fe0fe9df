//! Tables behind the embedded shared state. The rules of leases and queues are told in crate
//! `state`.

use std::collections::HashSet;

use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::{Transaction, in_transaction};
use crate::upsert::{insert_rows, sized_chunks};
use crate::{Db, DbError};

// SQLite binds at most 32,766 values a statement.
const NAMES_PER_STATEMENT: usize = 1000;

/// A lease as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// Who holds it.
    pub owner: String,
    /// Grows with every change of holder.
    pub fencing: i64,
    /// When it ends, in milliseconds since the epoch.
    pub until: i64,
}

/// An event as it is stored in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Its identity within the queue.
    pub name: String,
    /// 0 goes first.
    pub priority: i64,
    /// How often it was handed out, this time included.
    pub attempts: i64,
    /// What was pushed.
    pub body: Vec<u8>,
}

/// Queries of the embedded shared state.
#[derive(Debug)]
pub struct StateTables<'a> {
    pub(crate) db: &'a Db,
}

impl StateTables<'_> {
    /// Takes or renews a lease: it succeeds when the lease is free, over, or already the owner's.
    /// The fencing number grows whenever the lease was over or changes hands. Returns the lease as
    /// it stands.
    pub async fn take_lease(
        &self,
        name: &str,
        owner: &str,
        now: i64,
        until: i64,
    ) -> Result<LeaseRow, DbError> {
        in_transaction!(self.db, "take a lease", tx => {
            // The number comes first: MySQL assigns from left to right and would compare with the
            // new owner.
            let update = Statement::new(
                "UPDATE state_lease SET fencing = fencing + \
                 CASE WHEN owner = ? AND until > ? THEN 0 ELSE 1 END, owner = ?, until = ? \
                 WHERE name = ? AND (owner = ? OR until <= ?)",
            );
            let update = update.bind(owner).bind(now).bind(owner).bind(until).bind(name).bind(owner).bind(now);
            let found = tx.execute(update).await?;
            let query =
                || Statement::new("SELECT owner, fencing, until FROM state_lease WHERE name = ?").bind(name);
            if let Some(row) = tx.record(query()).await? {
                return read_lease(&row);
            }
            debug_assert_eq!(found, 0, "a lease that was updated is there");
            let insert =
                Statement::new("INSERT INTO state_lease (name, owner, fencing, until) VALUES (?, ?, 1, ?)");
            tx.execute(insert.bind(name).bind(owner).bind(until)).await?;
            Ok(LeaseRow { owner: owner.to_owned(), fencing: 1, until })
        })
    }

    /// Ends a lease if it is still the owner's. The row stays, so that the fencing number never
    /// goes back.
    pub async fn release_lease(&self, name: &str, owner: &str) -> Result<bool, DbError> {
        let statement =
            Statement::new("UPDATE state_lease SET until = 0 WHERE name = ? AND owner = ?");
        Ok(self.db.execute("release a lease", statement.bind(name).bind(owner)).await? > 0)
    }

    /// Writes a document unless a later holder (a higher fencing number) wrote it; `false` then.
    pub async fn save_document(
        &self,
        kind: &str,
        name: &str,
        body: &[u8],
        fencing: i64,
    ) -> Result<bool, DbError> {
        let saved = self.save_documents(kind, &[(name, body, fencing)]).await?;
        Ok(saved.first().is_some_and(|is_saved| *is_saved))
    }

    /// Writes documents of one kind, given with name, body and fencing number, in one transaction. Answers
    /// for each whether it was written: `false` when a later holder wrote it.
    pub async fn save_documents(
        &self,
        kind: &str,
        documents: &[(&str, &[u8], i64)],
    ) -> Result<Vec<bool>, DbError> {
        // Whoever writes several at a time locks them in the same order.
        let mut order: Vec<usize> = (0..documents.len()).collect();
        order.sort_by_key(|at| documents[*at].0);
        in_transaction!(self.db, "save a document", tx => {
            let mut saved = vec![false; documents.len()];
            let mut left = &order[..];
            while let Some(count) = many_of(left.len(), tx.is_sqlite()) {
                let (many, rest) = left.split_at(count);
                let rows: Vec<_> = many.iter().map(|at| documents[*at]).collect();
                if save_many(tx, kind, &rows).await? {
                    many.iter().for_each(|at| saved[*at] = true);
                } else {
                    // Who has lost which is found out one by one; what was written already is written again.
                    for at in many {
                        let (name, body, fencing) = documents[*at];
                        saved[*at] = save_one(tx, kind, name, body, fencing).await?;
                    }
                }
                left = rest;
            }
            for at in left {
                let (name, body, fencing) = documents[*at];
                saved[*at] = save_one(tx, kind, name, body, fencing).await?;
            }
            Ok(saved)
        })
    }

    /// A document, if there is one.
    pub async fn load_document(&self, kind: &str, name: &str) -> Result<Option<Vec<u8>>, DbError> {
        let query = Statement::new("SELECT body FROM state_document WHERE kind = ? AND name = ?");
        self.db
            .record("load a document", query.bind(kind).bind(name), |row| row.bytes("body"))
            .await
    }

    /// All documents of a kind, by name.
    pub async fn documents(&self, kind: &str) -> Result<Vec<(String, Vec<u8>)>, DbError> {
        let query =
            Statement::new("SELECT name, body FROM state_document WHERE kind = ? ORDER BY name");
        let read = |row: &Record| Ok((row.text("name")?, row.bytes("body")?));
        self.db.records("load documents", query.bind(kind), read).await
    }

    /// Removes a document; it is no fault when there is none.
    pub async fn remove_document(&self, kind: &str, name: &str) -> Result<(), DbError> {
        let statement = Statement::new("DELETE FROM state_document WHERE kind = ? AND name = ?");
        self.db.execute("remove a document", statement.bind(kind).bind(name)).await?;
        Ok(())
    }

    /// Puts events on a queue. One with the same name that is still there is kept as it is.
    pub async fn push_events(
        &self,
        queue: &str,
        events: Vec<EventRow>,
        now: i64,
    ) -> Result<(), DbError> {
        let names: Vec<String> = events.iter().map(|event| event.name.clone()).collect();
        in_transaction!(self.db, "push events", tx => {
            let mut known = HashSet::new();
            for chunk in sized_chunks(&names) {
                let mut query = Statement::new("SELECT name FROM state_event WHERE queue = ? AND name IN ");
                query = query.bind(queue);
                query.push_list(chunk.iter().map(String::as_str));
                for record in tx.records(query).await? {
                    known.insert(record.text("name")?);
                }
            }
            let mut rows = Vec::new();
            for event in &events {
                if known.insert(event.name.clone()) {
                    rows.push(vec![
                        queue.into(), event.name.as_str().into(), event.priority.into(), now.into(),
                        0_i64.into(), 0_i64.into(), event.body.as_slice().into(),
                    ]);
                }
            }
            const COLUMNS: &str = "queue, name, priority, pushed_at, visible_at, attempts, body";
            insert_rows(tx, "INSERT", "state_event", COLUMNS, rows).await
        })
    }

    /// Takes up to `max` visible events and hides them until `hidden_until`: the `oldest` ones, and of the others the
    /// most important and then the oldest first. They come in the order of importance.
    pub async fn take_events(
        &self,
        queue: &str,
        (max, oldest): (usize, usize),
        now: i64,
        hidden_until: i64,
    ) -> Result<Vec<EventRow>, DbError> {
        in_transaction!(self.db, "take events", tx => {
            let mut events = visible_events(tx, queue, now, "pushed_at, name", oldest.min(max)).await?;
            let known: HashSet<String> = events.iter().map(|(event, _)| event.name.clone()).collect();
            let places = max - events.len();
            let urgent = visible_events(tx, queue, now, "priority, pushed_at, name", max).await?;
            let others = urgent.into_iter().filter(|(event, _)| !known.contains(&event.name));
            events.extend(others.take(places));
            events.sort_by_key(|(event, pushed_at)| (event.priority, *pushed_at));
            let events: Vec<EventRow> = events.into_iter().map(|(event, _)| event).collect();
            for chunk in events.chunks(NAMES_PER_STATEMENT) {
                let mut hide = Statement::new(
                    "UPDATE state_event SET visible_at = ?, attempts = attempts + 1 \
                     WHERE queue = ? AND name IN ",
                );
                hide = hide.bind(hidden_until).bind(queue);
                hide.push_list(chunk.iter().map(|event| event.name.as_str()));
                tx.execute(hide).await?;
            }
            Ok(events)
        })
    }

    /// Removes an event that is done; `false` when it was not there.
    pub async fn remove_event(&self, queue: &str, name: &str) -> Result<bool, DbError> {
        let statement = Statement::new("DELETE FROM state_event WHERE queue = ? AND name = ?");
        Ok(self.db.execute("acknowledge an event", statement.bind(queue).bind(name)).await? > 0)
    }

    /// Removes events that are done.
    pub async fn remove_events(&self, queue: &str, names: &[String]) -> Result<(), DbError> {
        in_transaction!(self.db, "acknowledge events", tx => {
            for chunk in sized_chunks(names) {
                let mut statement = Statement::new("DELETE FROM state_event WHERE queue = ? AND name IN ");
                statement = statement.bind(queue);
                statement.push_list(chunk.iter().map(String::as_str));
                tx.execute(statement).await?;
            }
            Ok(())
        })
    }

    /// Makes a taken event visible again from `visible_at` on.
    pub async fn return_event(
        &self,
        queue: &str,
        name: &str,
        visible_at: i64,
    ) -> Result<(), DbError> {
        let statement =
            Statement::new("UPDATE state_event SET visible_at = ? WHERE queue = ? AND name = ?");
        self.db
            .execute("return an event", statement.bind(visible_at).bind(queue).bind(name))
            .await?;
        Ok(())
    }

    /// How many events are on a queue, the taken ones included.
    pub async fn queue_length(&self, queue: &str) -> Result<i64, DbError> {
        let query = Statement::new("SELECT COUNT(*) AS length FROM state_event WHERE queue = ?")
            .bind(queue);
        Ok(self.db.record("count events", query, |row| row.integer("length")).await?.unwrap_or(0))
    }
}

/// How many of the documents that are left go in one statement: few different numbers, so that the statements stay
/// prepared. `None` for one by one. MySQL does not tell in such a statement which rows it left as they were.
fn many_of(left: usize, is_sqlite: bool) -> Option<usize> {
    [64, 16, 4].into_iter().find(|count| is_sqlite && *count <= left)
}

/// Writes documents of different names in one statement; answers whether all of them are written. Otherwise a later
/// holder wrote at least one of the others.
async fn save_many(
    tx: &mut Transaction,
    kind: &str,
    documents: &[(&str, &[u8], i64)],
) -> Result<bool, sqlx::Error> {
    let mut statement =
        Statement::new("INSERT INTO state_document (kind, name, fencing, body) VALUES ");
    for (at, (name, body, fencing)) in documents.iter().enumerate() {
        statement.push(if at == 0 { "(" } else { ", (" });
        statement.push_bind(kind).push(", ").push_bind(*name).push(", ");
        statement.push_bind(*fencing).push(", ").push_bind(*body).push(")");
    }
    statement.push(
        " ON CONFLICT (kind, name) DO UPDATE SET fencing = excluded.fencing, body = excluded.body \
         WHERE state_document.fencing <= excluded.fencing",
    );
    Ok(tx.execute(statement).await? == documents.len() as u64)
}

async fn save_one(
    tx: &mut Transaction,
    kind: &str,
    name: &str,
    body: &[u8],
    fencing: i64,
) -> Result<bool, sqlx::Error> {
    let update = Statement::new(
        "UPDATE state_document SET fencing = ?, body = ? WHERE kind = ? AND name = ? AND fencing <= ?",
    );
    let update = update.bind(fencing).bind(body).bind(kind).bind(name).bind(fencing);
    if tx.execute(update).await? > 0 {
        return Ok(true);
    }
    let query = Statement::new("SELECT fencing FROM state_document WHERE kind = ? AND name = ?");
    if tx.record(query.bind(kind).bind(name)).await?.is_some() {
        return Ok(false);
    }
    let insert = Statement::new(
        "INSERT INTO state_document (kind, name, fencing, body) VALUES (?, ?, ?, ?)",
    );
    tx.execute(insert.bind(kind).bind(name).bind(fencing).bind(body)).await?;
    Ok(true)
}

/// The first visible events in an order, each with the time it was pushed.
async fn visible_events(
    tx: &mut Transaction,
    queue: &str,
    now: i64,
    order: &'static str,
    max: usize,
) -> Result<Vec<(EventRow, i64)>, sqlx::Error> {
    if max == 0 {
        return Ok(Vec::new());
    }
    // On MySQL each taker locks the events it chose and passes over those of the others.
    let choose = Statement::new(format!(
        "SELECT name, priority, pushed_at, attempts + 1 AS attempts, body FROM state_event \
         WHERE queue = ? AND visible_at <= ? ORDER BY {order} LIMIT ? \
         /*!50000 FOR UPDATE SKIP LOCKED */"
    ));
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let records = tx.records(choose.bind(queue).bind(now).bind(max)).await?;
    records.iter().map(|row| Ok((read_event(row)?, row.integer("pushed_at")?))).collect()
}

fn read_lease(row: &Record) -> Result<LeaseRow, sqlx::Error> {
    Ok(LeaseRow {
        owner: row.text("owner")?,
        fencing: row.integer("fencing")?,
        until: row.integer("until")?,
    })
}

fn read_event(row: &Record) -> Result<EventRow, sqlx::Error> {
    Ok(EventRow {
        name: row.text("name")?,
        priority: row.integer("priority")?,
        attempts: row.integer("attempts")?,
        body: row.bytes("body")?,
    })
}
