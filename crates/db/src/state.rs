//! Tables behind the embedded shared state. The rules of leases and queues are told in crate `state`.

use sqlx::{Row, SqlitePool};

use crate::DbError;

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
    pub(crate) pool: &'a SqlitePool,
}

impl StateTables<'_> {
    /// Takes or renews a lease in one statement: it succeeds when the lease is free, over, or already the owner's.
    /// The fencing number grows whenever the lease was over or changes hands. Returns the lease as it stands.
    pub async fn take_lease(
        &self,
        name: &str,
        owner: &str,
        now: i64,
        until: i64,
    ) -> Result<LeaseRow, DbError> {
        const OPERATION: &str = "take a lease";
        sqlx::query(
            "INSERT INTO state_lease (name, owner, fencing, until) VALUES (?1, ?2, 1, ?4) \
             ON CONFLICT (name) DO UPDATE SET \
                fencing = fencing + CASE WHEN owner = ?2 AND until > ?3 THEN 0 ELSE 1 END, \
                owner = ?2, until = ?4 \
             WHERE owner = ?2 OR until <= ?3",
        )
        .bind(name)
        .bind(owner)
        .bind(now)
        .bind(until)
        .execute(self.pool)
        .await
        .map_err(DbError::during(OPERATION))?;
        let row = sqlx::query("SELECT owner, fencing, until FROM state_lease WHERE name = ?")
            .bind(name)
            .fetch_one(self.pool)
            .await
            .map_err(DbError::during(OPERATION))?;
        Ok(LeaseRow { owner: row.get("owner"), fencing: row.get("fencing"), until: row.get("until") })
    }

    /// Ends a lease if it is still the owner's. The row stays, so that the fencing number never goes back.
    pub async fn release_lease(&self, name: &str, owner: &str) -> Result<bool, DbError> {
        let query = sqlx::query("UPDATE state_lease SET until = 0 WHERE name = ? AND owner = ?")
            .bind(name)
            .bind(owner);
        let done = query.execute(self.pool).await.map_err(DbError::during("release a lease"))?;
        Ok(done.rows_affected() > 0)
    }

    /// Writes a document unless a later holder (a higher fencing number) wrote it; `false` then.
    pub async fn save_document(
        &self,
        kind: &str,
        name: &str,
        body: &[u8],
        fencing: i64,
    ) -> Result<bool, DbError> {
        let query = sqlx::query(
            "INSERT INTO state_document (kind, name, fencing, body) VALUES (?, ?, ?, ?) \
             ON CONFLICT (kind, name) DO UPDATE SET fencing = excluded.fencing, body = excluded.body \
             WHERE state_document.fencing <= excluded.fencing",
        );
        let query = query.bind(kind).bind(name).bind(fencing).bind(body);
        let done = query.execute(self.pool).await.map_err(DbError::during("save a document"))?;
        Ok(done.rows_affected() > 0)
    }

    /// A document, if there is one.
    pub async fn load_document(&self, kind: &str, name: &str) -> Result<Option<Vec<u8>>, DbError> {
        let query =
            sqlx::query("SELECT body FROM state_document WHERE kind = ? AND name = ?").bind(kind).bind(name);
        let row = query.fetch_optional(self.pool).await.map_err(DbError::during("load a document"))?;
        Ok(row.map(|row| row.get("body")))
    }

    /// All documents of a kind, by name.
    pub async fn documents(&self, kind: &str) -> Result<Vec<(String, Vec<u8>)>, DbError> {
        let query =
            sqlx::query("SELECT name, body FROM state_document WHERE kind = ? ORDER BY name").bind(kind);
        let rows = query.fetch_all(self.pool).await.map_err(DbError::during("load documents"))?;
        Ok(rows.iter().map(|row| (row.get("name"), row.get("body"))).collect())
    }

    /// Removes a document; it is no fault when there is none.
    pub async fn remove_document(&self, kind: &str, name: &str) -> Result<(), DbError> {
        let query =
            sqlx::query("DELETE FROM state_document WHERE kind = ? AND name = ?").bind(kind).bind(name);
        query.execute(self.pool).await.map_err(DbError::during("remove a document"))?;
        Ok(())
    }

    /// Puts an event on a queue. One with the same name that is still there is kept as it is.
    pub async fn push_event(
        &self,
        queue: &str,
        name: &str,
        priority: i64,
        body: &[u8],
        now: i64,
    ) -> Result<(), DbError> {
        let query = sqlx::query(
            "INSERT INTO state_event (queue, name, priority, pushed_at, visible_at, attempts, body) \
             VALUES (?, ?, ?, ?, 0, 0, ?) ON CONFLICT (queue, name) DO NOTHING",
        );
        let query = query.bind(queue).bind(name).bind(priority).bind(now).bind(body);
        query.execute(self.pool).await.map_err(DbError::during("push an event"))?;
        Ok(())
    }

    /// Takes up to `max` visible events, most important and then oldest first, and hides them until `hidden_until`.
    pub async fn take_events(
        &self,
        queue: &str,
        max: i64,
        now: i64,
        hidden_until: i64,
    ) -> Result<Vec<EventRow>, DbError> {
        let query = sqlx::query(
            "UPDATE state_event SET visible_at = ?4, attempts = attempts + 1 \
             WHERE queue = ?1 AND name IN (SELECT name FROM state_event WHERE queue = ?1 AND visible_at <= ?3 \
                ORDER BY priority, pushed_at, name LIMIT ?2) \
             RETURNING name, priority, pushed_at, attempts, body",
        );
        let query = query.bind(queue).bind(max).bind(now).bind(hidden_until);
        let mut rows = query.fetch_all(self.pool).await.map_err(DbError::during("take events"))?;
        rows.sort_by_key(|row| {
            (row.get::<i64, _>("priority"), row.get::<i64, _>("pushed_at"), row.get::<String, _>("name"))
        });
        Ok(rows.iter().map(read_event).collect())
    }

    /// Removes an event that is done; `false` when it was not there.
    pub async fn remove_event(&self, queue: &str, name: &str) -> Result<bool, DbError> {
        let query =
            sqlx::query("DELETE FROM state_event WHERE queue = ? AND name = ?").bind(queue).bind(name);
        let done = query.execute(self.pool).await.map_err(DbError::during("acknowledge an event"))?;
        Ok(done.rows_affected() > 0)
    }

    /// Makes a taken event visible again from `visible_at` on.
    pub async fn return_event(&self, queue: &str, name: &str, visible_at: i64) -> Result<(), DbError> {
        let query = sqlx::query("UPDATE state_event SET visible_at = ? WHERE queue = ? AND name = ?");
        let query = query.bind(visible_at).bind(queue).bind(name);
        query.execute(self.pool).await.map_err(DbError::during("return an event"))?;
        Ok(())
    }

    /// How many events are on a queue, the taken ones included.
    pub async fn queue_length(&self, queue: &str) -> Result<i64, DbError> {
        let query = sqlx::query("SELECT COUNT(*) AS length FROM state_event WHERE queue = ?").bind(queue);
        let row = query.fetch_one(self.pool).await.map_err(DbError::during("count events"))?;
        Ok(row.get("length"))
    }
}

fn read_event(row: &sqlx::sqlite::SqliteRow) -> EventRow {
    EventRow {
        name: row.get("name"),
        priority: row.get("priority"),
        attempts: row.get("attempts"),
        body: row.get("body"),
    }
}
