//! Hosts as their heartbeats describe them.

use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool};

use crate::DbError;

/// A host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRow {
    /// The value of its label `endpoint`.
    pub name: String,
    /// Its address as it reaches hbs.
    pub ip: String,
    /// Version of its agent.
    pub agent_version: String,
    /// Version of its plugins.
    pub plugin_version: String,
    /// Operating system, kernel and so on, as JSON.
    pub facts: String,
    /// Its first heartbeat, in milliseconds since the epoch.
    pub first_seen_at: i64,
    /// Its latest recorded heartbeat, in milliseconds since the epoch.
    pub seen_at: i64,
}

/// Queries over hosts.
#[derive(Debug)]
pub struct Hosts<'a> {
    pub(crate) pool: &'a SqlitePool,
}

impl Hosts<'_> {
    /// Inserts the hosts or replaces what changed, in one transaction. `first_seen_at` of a known host stays.
    pub async fn record(&self, hosts: &[HostRow]) -> Result<(), DbError> {
        const OPERATION: &str = "record heartbeats";
        let mut transaction = self.pool.begin().await.map_err(DbError::during(OPERATION))?;
        // SQLite binds at most 32,766 values a statement.
        for chunk in hosts.chunks(1000) {
            let mut query = QueryBuilder::<Sqlite>::new(
                "INSERT INTO host (name, ip, agent_version, plugin_version, facts, first_seen_at, seen_at) ",
            );
            query.push_values(chunk, |mut row, host| {
                row.push_bind(&host.name).push_bind(&host.ip).push_bind(&host.agent_version);
                row.push_bind(&host.plugin_version).push_bind(&host.facts);
                row.push_bind(host.first_seen_at).push_bind(host.seen_at);
            });
            query.push(
                " ON CONFLICT (name) DO UPDATE SET ip = excluded.ip, agent_version = excluded.agent_version, \
                 plugin_version = excluded.plugin_version, facts = excluded.facts, seen_at = excluded.seen_at",
            );
            query.build().execute(&mut *transaction).await.map_err(DbError::during(OPERATION))?;
        }
        transaction.commit().await.map_err(DbError::during(OPERATION))
    }

    /// All hosts, by name.
    pub async fn all(&self) -> Result<Vec<HostRow>, DbError> {
        let rows = sqlx::query(
            "SELECT name, ip, agent_version, plugin_version, facts, first_seen_at, seen_at FROM host ORDER BY name",
        )
        .fetch_all(self.pool)
        .await
        .map_err(DbError::during("list hosts"))?;
        rows.iter().map(read_host).collect::<Result<_, _>>().map_err(DbError::during("list hosts"))
    }

    /// Forgets a host; `false` when it was not known.
    pub async fn remove(&self, name: &str) -> Result<bool, DbError> {
        let done = sqlx::query("DELETE FROM host WHERE name = ?").bind(name).execute(self.pool).await;
        Ok(done.map_err(DbError::during("remove a host"))?.rows_affected() > 0)
    }
}

fn read_host(row: &sqlx::sqlite::SqliteRow) -> Result<HostRow, sqlx::Error> {
    Ok(HostRow {
        name: row.try_get("name")?,
        ip: row.try_get("ip")?,
        agent_version: row.try_get("agent_version")?,
        plugin_version: row.try_get("plugin_version")?,
        facts: row.try_get("facts")?,
        first_seen_at: row.try_get("first_seen_at")?,
        seen_at: row.try_get("seen_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    fn host(name: &str, version: &str, seen_at: i64) -> HostRow {
        HostRow {
            name: name.to_owned(),
            ip: "10.0.0.1".to_owned(),
            agent_version: version.to_owned(),
            plugin_version: String::new(),
            facts: "{}".to_owned(),
            first_seen_at: seen_at,
            seen_at,
        }
    }

    #[tokio::test]
    async fn a_known_host_is_updated_and_keeps_its_first_sight() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("saker.db")).await.unwrap();
        db.hosts()
            .record(&[host("web-01", "1", 10), host("db'; DROP TABLE host; --", "1", 10)])
            .await
            .unwrap();
        db.hosts().record(&[host("web-01", "2", 20)]).await.unwrap();
        let hosts = db.hosts().all().await.unwrap();
        assert_eq!(hosts.len(), 2);
        assert_eq!(
            (hosts[1].first_seen_at, hosts[1].seen_at, hosts[1].agent_version.as_str()),
            (10, 20, "2")
        );
        assert!(db.hosts().remove("web-01").await.unwrap());
        assert!(!db.hosts().remove("web-01").await.unwrap());
    }

    #[tokio::test]
    async fn thousands_of_hosts_are_recorded_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("saker.db")).await.unwrap();
        let hosts: Vec<_> = (0..2500).map(|n| host(&format!("h{n:05}"), "1", 1)).collect();
        db.hosts().record(&hosts).await.unwrap();
        assert_eq!(db.hosts().all().await.unwrap(), hosts);
    }
}
