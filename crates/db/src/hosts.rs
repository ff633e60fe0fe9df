//! Hosts as their heartbeats describe them.

use model::Timestamp;

use crate::audit::AuditEntry;
use crate::groups::changed;
use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::in_transaction;
use crate::upsert::Upsert;
use crate::{Db, DbError};

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
    pub(crate) db: &'a Db,
}

const HOSTS: Upsert = Upsert {
    table: "host",
    key: "name",
    updated: &["ip", "agent_version", "plugin_version", "facts", "seen_at"],
    kept: &["first_seen_at"],
};

const COLUMNS: &str = "name, ip, agent_version, plugin_version, facts, first_seen_at, seen_at";
// The database looks through all of them for each of them.
const SIGHTS_PER_STATEMENT: usize = 200;

impl Hosts<'_> {
    /// Inserts the hosts or replaces what changed, in one transaction. `first_seen_at` of a known
    /// host stays.
    pub async fn record(&self, hosts: &[HostRow]) -> Result<(), DbError> {
        in_transaction!(self.db, "record heartbeats", tx => {
            let rows = hosts.iter().map(|host| {
                let values = vec![
                    host.ip.as_str().into(),
                    host.agent_version.as_str().into(),
                    host.plugin_version.as_str().into(),
                    host.facts.as_str().into(),
                    host.seen_at.into(),
                    host.first_seen_at.into(),
                ];
                (host.name.clone(), values)
            });
            HOSTS.store(tx, rows).await
        })
    }

    /// All hosts, by name.
    pub async fn all(&self) -> Result<Vec<HostRow>, DbError> {
        let query = Statement::new(format!("SELECT {COLUMNS} FROM host ORDER BY name"));
        self.db.records("list hosts", query, read_host).await
    }

    /// Notes when hosts were heard last of which nothing else has changed: (name, milliseconds since
    /// the epoch), in one statement for many hosts. Unknown hosts are left out.
    pub async fn record_sights(&self, sights: &[(String, i64)]) -> Result<(), DbError> {
        let mut sights: Vec<&(String, i64)> = sights.iter().collect();
        // In the order of the key, so that two who note the same hosts never wait in a ring.
        sights.sort_unstable();
        for chunk in sights.chunks(SIGHTS_PER_STATEMENT) {
            let mut update = Statement::new("UPDATE host SET seen_at = CASE name");
            for (name, seen_at) in chunk {
                update.push(" WHEN ").push_bind(name.as_str()).push(" THEN ").push_bind(*seen_at);
            }
            update.push(" ELSE seen_at END WHERE name IN ");
            update.push_list(chunk.iter().map(|(name, _)| name.as_str()));
            self.db.execute("record when hosts were heard", update).await?;
        }
        Ok(())
    }

    /// The hosts that were heard at or after a moment, by name.
    pub async fn seen_since(&self, moment: Timestamp) -> Result<Vec<HostRow>, DbError> {
        let query =
            Statement::new(format!("SELECT {COLUMNS} FROM host WHERE seen_at >= ? ORDER BY name"));
        self.db.records("list hosts heard lately", query.bind(moment.millis()), read_host).await
    }

    /// How many hosts there are.
    pub async fn count(&self) -> Result<usize, DbError> {
        let query = Statement::new("SELECT COUNT(*) AS hosts FROM host");
        Ok(self.db.record("count hosts", query, |row| row.integer("hosts")).await?.unwrap_or(0))
    }

    /// The names of all hosts.
    pub async fn names(&self) -> Result<Vec<String>, DbError> {
        let query = Statement::new("SELECT name FROM host ORDER BY name");
        self.db.records("list the names of hosts", query, |row| row.text("name")).await
    }

    /// Forgets a host and its memberships; `false` when it was not known.
    pub async fn remove(&self, name: &str, entry: &AuditEntry) -> Result<bool, DbError> {
        in_transaction!(self.db, "remove a host", tx => {
            let host = Statement::new("DELETE FROM host WHERE name = ?").bind(name);
            if tx.execute(host).await? == 0 {
                return Ok(false);
            }
            tx.execute(Statement::new("DELETE FROM group_member WHERE host = ?").bind(name)).await?;
            changed(tx, entry).await?;
            Ok(true)
        })
    }

    /// Forgets up to `max` hosts that were not heard since a moment; answers their names.
    pub async fn purge(
        &self,
        moment: Timestamp,
        max: u32,
        entry: &AuditEntry,
    ) -> Result<Vec<String>, DbError> {
        in_transaction!(self.db, "forget silent hosts", tx => {
            let query = Statement::new("SELECT name FROM host WHERE seen_at < ? ORDER BY name LIMIT ?");
            let rows = tx.records(query.bind(moment.millis()).bind(max)).await?;
            let names: Vec<String> = rows.iter().map(|row| row.text("name")).collect::<Result<_, _>>()?;
            if names.is_empty() {
                return Ok(names);
            }
            let names_of = |text: &str| {
                let mut statement = Statement::new(text);
                statement.push_list(names.iter().map(String::as_str));
                statement
            };
            let mut hosts = names_of("DELETE FROM host WHERE name IN ");
            hosts.push(" AND seen_at < ").push_bind(moment.millis());
            tx.execute(hosts).await?;
            tx.execute(names_of("DELETE FROM group_member WHERE host IN ")).await?;
            changed(tx, entry).await?;
            Ok(names)
        })
    }
}

fn read_host(row: &Record) -> Result<HostRow, sqlx::Error> {
    Ok(HostRow {
        name: row.text("name")?,
        ip: row.text("ip")?,
        agent_version: row.text("agent_version")?,
        plugin_version: row.text("plugin_version")?,
        facts: row.text("facts")?,
        first_seen_at: row.integer("first_seen_at")?,
        seen_at: row.integer("seen_at")?,
    })
}
