//! Hosts as their heartbeats describe them.

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
        let query = Statement::new(
            "SELECT name, ip, agent_version, plugin_version, facts, first_seen_at, seen_at \
             FROM host ORDER BY name",
        );
        self.db.records("list hosts", query, read_host).await
    }

    /// Forgets a host; `false` when it was not known.
    pub async fn remove(&self, name: &str) -> Result<bool, DbError> {
        let statement = Statement::new("DELETE FROM host WHERE name = ?").bind(name);
        Ok(self.db.execute("remove a host", statement).await? > 0)
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
