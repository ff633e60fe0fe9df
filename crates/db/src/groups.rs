//! Host groups: what they hold, and which hosts are in them.
//!
//! A group's members are rows, also those that its rules match, so that its host list is one range of
//! an index. Who matches is decided by crate `hbs`.

use std::collections::{BTreeMap, BTreeSet};

use model::Timestamp;

use crate::audit::{self, AuditEntry};
use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::{Transaction, in_transaction};
use crate::{Db, DbError};

// SQLite binds at most 32,766 values a statement.
const ROWS_PER_STATEMENT: usize = 1000;
const GENERATION: &str = "groups";

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// Its name with those of its parents, as `corp.pay.web`.
    pub name: String,
    /// What it holds, as JSON.
    pub body: String,
    /// 1 for a new group, and one more with every change.
    pub version: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// How a host came into a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberBy {
    /// Somebody put it there.
    Hand,
    /// A rule of the group matches it.
    Rule,
}

impl MemberBy {
    /// The word in the store and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hand => "hand",
            Self::Rule => "rule",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Hand, Self::Rule].into_iter().find(|by| by.as_str() == word)
    }
}

/// A host in a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberRow {
    /// The group that it is in itself.
    pub group: String,
    /// The host.
    pub host: String,
    /// How it came there.
    pub by: MemberBy,
}

/// Queries over groups.
#[derive(Debug)]
pub struct Groups<'a> {
    pub(crate) db: &'a Db,
}

impl Groups<'_> {
    /// A number that grows with every change of groups, members by hand, bundles and maintenance.
    pub async fn generation(&self) -> Result<i64, DbError> {
        let query = Statement::new("SELECT step FROM generation WHERE name = ?").bind(GENERATION);
        let step = self.db.record("look for changes", query, |row| row.integer("step")).await?;
        Ok(step.unwrap_or(0))
    }

    /// All groups, by name.
    pub async fn all(&self) -> Result<Vec<GroupRow>, DbError> {
        let query = Statement::new(
            "SELECT name, body, version, created_at, updated_at FROM host_group ORDER BY name",
        );
        self.db.records("list host groups", query, read_group).await
    }

    /// Creates or replaces a group; answers its version.
    pub async fn put(
        &self,
        name: &str,
        body: &str,
        now: Timestamp,
        entry: &AuditEntry,
    ) -> Result<i64, DbError> {
        in_transaction!(self.db, "store a host group", tx => {
            let update = Statement::new(
                "UPDATE host_group SET version = version + 1, updated_at = ?, body = ? WHERE name = ?",
            );
            if tx.execute(update.bind(now.millis()).bind(body).bind(name)).await? == 0 {
                let insert = Statement::new(
                    "INSERT INTO host_group (name, body, version, created_at, updated_at) \
                     VALUES (?, ?, 1, ?, ?)",
                );
                tx.execute(insert.bind(name).bind(body).bind(now.millis()).bind(now.millis())).await?;
            }
            changed(tx, entry).await?;
            let version = Statement::new("SELECT version FROM host_group WHERE name = ?").bind(name);
            tx.record(version).await?.ok_or(sqlx::Error::RowNotFound)?.integer("version")
        })
    }

    /// Removes a group and its memberships; `false` when there was none.
    pub async fn remove(&self, name: &str, entry: &AuditEntry) -> Result<bool, DbError> {
        in_transaction!(self.db, "remove a host group", tx => {
            let group = Statement::new("DELETE FROM host_group WHERE name = ?").bind(name);
            if tx.execute(group).await? == 0 {
                return Ok(false);
            }
            tx.execute(Statement::new("DELETE FROM group_member WHERE group_name = ?").bind(name)).await?;
            changed(tx, entry).await?;
            Ok(true)
        })
    }

    /// Puts hosts into a group by hand and takes others out.
    pub async fn change_members(
        &self,
        group: &str,
        add: &BTreeSet<String>,
        remove: &BTreeSet<String>,
        entry: &AuditEntry,
    ) -> Result<(), DbError> {
        in_transaction!(self.db, "change the members of a host group", tx => {
            delete(tx, group, MemberBy::Hand, remove).await?;
            insert(tx, group, MemberBy::Hand, add).await?;
            changed(tx, entry).await
        })
    }

    /// All members by hand, in order.
    pub async fn members_by_hand(&self) -> Result<Vec<MemberRow>, DbError> {
        let query = Statement::new(
            "SELECT group_name, host, how FROM group_member WHERE how = ? ORDER BY group_name, host",
        );
        let query = query.bind(MemberBy::Hand.as_str());
        self.db.records("list the members of host groups", query, read_member).await
    }

    /// Makes `hosts` those that the rules of a group match; tells how many came or went.
    pub async fn set_matched(
        &self,
        group: &str,
        hosts: &BTreeSet<String>,
    ) -> Result<usize, DbError> {
        in_transaction!(self.db, "store whom a host group matches", tx => {
            let query = Statement::new(
                "SELECT group_name, host, how FROM group_member WHERE group_name = ? AND how = ?",
            );
            let rows = tx.records(query.bind(group).bind(MemberBy::Rule.as_str())).await?;
            let stored: BTreeSet<String> =
                rows.iter().map(|row| row.text("host")).collect::<Result<_, _>>()?;
            let gone: BTreeSet<String> = stored.difference(hosts).cloned().collect();
            let new: BTreeSet<String> = hosts.difference(&stored).cloned().collect();
            delete(tx, group, MemberBy::Rule, &gone).await?;
            insert(tx, group, MemberBy::Rule, &new).await?;
            Ok(gone.len() + new.len())
        })
    }

    /// Makes the groups of each host those whose rules match it.
    pub async fn set_matching(
        &self,
        hosts: &BTreeMap<String, BTreeSet<String>>,
    ) -> Result<(), DbError> {
        in_transaction!(self.db, "store which host groups match hosts", tx => {
            let (mut new, mut gone) = (pairs(hosts), BTreeSet::new());
            let names: Vec<&str> = hosts.keys().map(String::as_str).collect();
            for chunk in names.chunks(ROWS_PER_STATEMENT) {
                let mut query = Statement::new("SELECT group_name, host FROM group_member WHERE how = ?")
                    .bind(MemberBy::Rule.as_str());
                query.push(" AND host IN ").push_list(chunk.iter().copied());
                for row in tx.records(query).await? {
                    let stored = (row.text("group_name")?, row.text("host")?);
                    if !new.remove(&stored) {
                        gone.insert(stored);
                    }
                }
            }
            for (group, hosts) in by_group(gone) {
                delete(tx, &group, MemberBy::Rule, &hosts).await?;
            }
            for (group, hosts) in by_group(new) {
                insert(tx, &group, MemberBy::Rule, &hosts).await?;
            }
            Ok(())
        })
    }

    /// The hosts of a group and of the groups below it, by group and host, after (`after_group`,
    /// `after_host`).
    pub async fn hosts(
        &self,
        group: &str,
        after: (&str, &str),
        max: u32,
    ) -> Result<Vec<MemberRow>, DbError> {
        // Two ranges of the key: the group, and the names that begin with it and a dot. A slash is
        // the letter after the dot.
        let mut query = Statement::new(
            "SELECT group_name, host, how FROM group_member WHERE \
             (group_name = ? OR (group_name > ? AND group_name < ?))",
        );
        query = query.bind(group).bind(format!("{group}.")).bind(format!("{group}/"));
        if after != ("", "") {
            let (group, host) = after;
            query.push(" AND (group_name > ").push_bind(group).push(" OR (group_name = ");
            query.push_bind(group).push(" AND host > ").push_bind(host).push("))");
        }
        query.push(" ORDER BY group_name, host, how LIMIT ").push_bind(max);
        self.db.records("list the hosts of a group", query, read_member).await
    }

    /// How many hosts are in each group itself.
    pub async fn host_counts(&self) -> Result<Vec<(String, i64)>, DbError> {
        let query = Statement::new(
            "SELECT group_name, COUNT(DISTINCT host) AS hosts FROM group_member \
             GROUP BY group_name ORDER BY group_name",
        );
        let read = |row: &Record| Ok((row.text("group_name")?, row.integer("hosts")?));
        self.db.records("count the hosts of groups", query, read).await
    }
}

/// Notes a change of what hbs hands out, and who made it.
pub(crate) async fn changed(tx: &mut Transaction, entry: &AuditEntry) -> Result<(), sqlx::Error> {
    let update = Statement::new("UPDATE generation SET step = step + 1 WHERE name = ?");
    if tx.execute(update.bind(GENERATION)).await? == 0 {
        let insert = Statement::new("INSERT INTO generation (name, step) VALUES (?, 1)");
        tx.execute(insert.bind(GENERATION)).await?;
    }
    audit::write(tx, entry).await
}

fn pairs(hosts: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<(String, String)> {
    let of_host = |(host, groups): (&String, &BTreeSet<String>)| {
        groups.iter().map(|group| (group.to_owned(), host.to_owned())).collect::<Vec<_>>()
    };
    hosts.iter().flat_map(of_host).collect()
}

fn by_group(pairs: BTreeSet<(String, String)>) -> BTreeMap<String, BTreeSet<String>> {
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (group, host) in pairs {
        groups.entry(group).or_default().insert(host);
    }
    groups
}

async fn insert(
    tx: &mut Transaction,
    group: &str,
    by: MemberBy,
    hosts: &BTreeSet<String>,
) -> Result<(), sqlx::Error> {
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    for chunk in hosts.chunks(ROWS_PER_STATEMENT) {
        let mut query =
            Statement::new("SELECT host FROM group_member WHERE group_name = ? AND how = ?")
                .bind(group)
                .bind(by.as_str());
        query.push(" AND host IN ").push_list(chunk.iter().copied());
        let rows = tx.records(query).await?;
        let known: BTreeSet<String> =
            rows.iter().map(|row| row.text("host")).collect::<Result<_, _>>()?;
        let mut insert = Statement::new("INSERT INTO group_member (group_name, host, how) VALUES ");
        let new: Vec<&&str> = chunk.iter().filter(|host| !known.contains(**host)).collect();
        if new.is_empty() {
            continue;
        }
        for (n, host) in new.into_iter().enumerate() {
            insert.push(if n == 0 { "(" } else { ", (" }).push_bind(group).push(", ");
            insert.push_bind(*host).push(", ").push_bind(by.as_str()).push(")");
        }
        tx.execute(insert).await?;
    }
    Ok(())
}

async fn delete(
    tx: &mut Transaction,
    group: &str,
    by: MemberBy,
    hosts: &BTreeSet<String>,
) -> Result<(), sqlx::Error> {
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    for chunk in hosts.chunks(ROWS_PER_STATEMENT) {
        let mut delete =
            Statement::new("DELETE FROM group_member WHERE group_name = ? AND how = ?")
                .bind(group)
                .bind(by.as_str());
        delete.push(" AND host IN ").push_list(chunk.iter().copied());
        tx.execute(delete).await?;
    }
    Ok(())
}

fn read_group(row: &Record) -> Result<GroupRow, sqlx::Error> {
    Ok(GroupRow {
        name: row.text("name")?,
        body: row.text("body")?,
        version: row.integer("version")?,
        created_at: row.timestamp("created_at")?,
        updated_at: row.timestamp("updated_at")?,
    })
}

fn read_member(row: &Record) -> Result<MemberRow, sqlx::Error> {
    Ok(MemberRow {
        group: row.text("group_name")?,
        host: row.text("host")?,
        by: row.word("how", MemberBy::parse)?,
    })
}
