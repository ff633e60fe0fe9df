//! Times in which a host or a group is worked on.

use model::{ENDPOINT, Labels, Timestamp};

use crate::audit::AuditEntry;
use crate::groups::changed;
use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::in_transaction;
use crate::{Db, DbError};

/// What is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MaintenanceOf {
    /// A host.
    Host,
    /// A group and the groups below it.
    Group,
}

impl MaintenanceOf {
    /// The word in the store and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Group => "group",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Host, Self::Group].into_iter().find(|of| of.as_str() == word)
    }
}

/// A maintenance window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceRow {
    /// Its identity, at most 64 characters.
    pub id: String,
    /// Whether `target` is a host or a group.
    pub of: MaintenanceOf,
    /// The host or the group.
    pub target: String,
    /// Its first moment.
    pub starts_at: Timestamp,
    /// The moment it is over.
    pub ends_at: Timestamp,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl MaintenanceRow {
    /// Whether the window is open and the host in it: its own, or one of a group it is in or of a group above that.
    pub fn covers(&self, host: &str, groups: &[String], now: Timestamp) -> bool {
        let is_open = self.starts_at <= now && now < self.ends_at;
        is_open
            && match self.of {
                MaintenanceOf::Host => self.target == host,
                MaintenanceOf::Group => {
                    groups.iter().any(|group| is_or_is_below(group, &self.target))
                }
            }
    }
}

/// The host that an alert is about: its label `endpoint`, or `instance` without the port.
pub fn host_of(labels: &Labels) -> Option<&str> {
    if let Some(host) = labels.get(ENDPOINT) {
        return Some(host);
    }
    let instance = labels.get("instance")?;
    // `[::1]:9100` has its colons inside of brackets, and a bare IPv6 address has several.
    if let Some(rest) = instance.strip_prefix('[') {
        return rest.split(']').next();
    }
    match instance.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => {
            Some(host)
        }
        _ => Some(instance),
    }
}

/// The window that holds an alert back, the one that ends last; `None` when its host is not worked on, or when it names
/// none. `groups_of` says which groups a host is in.
pub fn window_of<'w>(
    windows: &'w [MaintenanceRow],
    labels: &Labels,
    groups_of: impl Fn(&str) -> Vec<String>,
    now: Timestamp,
) -> Option<&'w MaintenanceRow> {
    if windows.is_empty() {
        return None;
    }
    let host = host_of(labels)?;
    let groups = groups_of(host);
    let holding = windows.iter().filter(|window| window.covers(host, &groups, now));
    holding.max_by_key(|window| window.ends_at)
}

fn is_or_is_below(group: &str, above: &str) -> bool {
    group.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Queries over maintenance windows.
#[derive(Debug)]
pub struct Maintenances<'a> {
    pub(crate) db: &'a Db,
}

impl Maintenances<'_> {
    /// The windows that end after a moment, by their start.
    pub async fn ending_after(&self, moment: Timestamp) -> Result<Vec<MaintenanceRow>, DbError> {
        let query = Statement::new(
            "SELECT id, kind, target, starts_at, ends_at, reason, created_by, created_at \
             FROM maintenance WHERE ends_at > ? ORDER BY starts_at, id",
        );
        self.db.records("list maintenance", query.bind(moment.millis()), read_window).await
    }

    /// The windows that are open at a moment, by their start.
    pub async fn open_at(&self, now: Timestamp) -> Result<Vec<MaintenanceRow>, DbError> {
        let query = Statement::new(
            "SELECT id, kind, target, starts_at, ends_at, reason, created_by, created_at \
             FROM maintenance WHERE ends_at > ? AND starts_at <= ? ORDER BY starts_at, id",
        );
        let query = query.bind(now.millis()).bind(now.millis());
        self.db.records("list open maintenance", query, read_window).await
    }

    /// Stores a new window.
    pub async fn add(&self, window: &MaintenanceRow, entry: &AuditEntry) -> Result<(), DbError> {
        in_transaction!(self.db, "store a maintenance window", tx => {
            let insert = Statement::new(
                "INSERT INTO maintenance \
                 (id, kind, target, starts_at, ends_at, reason, created_by, created_at) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            );
            let insert = insert
                .bind(window.id.as_str())
                .bind(window.of.as_str())
                .bind(window.target.as_str())
                .bind(window.starts_at.millis())
                .bind(window.ends_at.millis())
                .bind(window.reason.as_str())
                .bind(window.created_by.as_str())
                .bind(window.created_at.millis());
            tx.execute(insert).await?;
            changed(tx, entry).await
        })
    }

    /// Ends a window now; `false` when there is none that is not over.
    pub async fn end(&self, id: &str, now: Timestamp, entry: &AuditEntry) -> Result<bool, DbError> {
        in_transaction!(self.db, "end a maintenance window", tx => {
            let update = Statement::new("UPDATE maintenance SET ends_at = ? WHERE id = ? AND ends_at > ?");
            let update = update.bind(now.millis()).bind(id).bind(now.millis());
            if tx.execute(update).await? == 0 {
                return Ok(false);
            }
            changed(tx, entry).await?;
            Ok(true)
        })
    }

    /// Removes the windows that were over before a moment.
    pub async fn forget_before(&self, moment: Timestamp) -> Result<u64, DbError> {
        let delete = Statement::new("DELETE FROM maintenance WHERE ends_at < ?");
        self.db.execute("forget maintenance", delete.bind(moment.millis())).await
    }
}

fn read_window(row: &Record) -> Result<MaintenanceRow, sqlx::Error> {
    Ok(MaintenanceRow {
        id: row.text("id")?,
        of: row.word("kind", MaintenanceOf::parse)?,
        target: row.text("target")?,
        starts_at: row.timestamp("starts_at")?,
        ends_at: row.timestamp("ends_at")?,
        reason: row.text("reason")?,
        created_by: row.text("created_by")?,
        created_at: row.timestamp("created_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(of: MaintenanceOf, target: &str, span: std::ops::Range<i64>) -> MaintenanceRow {
        MaintenanceRow {
            id: format!("{target} until {}", span.end),
            of,
            target: target.to_owned(),
            starts_at: Timestamp::from_seconds(span.start),
            ends_at: Timestamp::from_seconds(span.end),
            reason: String::new(),
            created_by: String::new(),
            created_at: Timestamp(0),
        }
    }

    fn held(windows: &[MaintenanceRow], label: (&str, &str), now: i64) -> Option<String> {
        let labels = Labels::from_pairs([("alertname", "Down"), label]);
        let groups = |host: &str| match host {
            "web-1" => vec!["corp.pay.web".to_owned()],
            _ => vec![],
        };
        let now = Timestamp::from_seconds(now);
        window_of(windows, &labels, groups, now).map(|window| window.id.clone())
    }

    #[test]
    fn the_host_of_an_alert_is_its_endpoint_or_its_instance() {
        for (label, value, host) in [
            ("endpoint", "web-1:80", Some("web-1:80")),
            ("instance", "web-1:9100", Some("web-1")),
            ("instance", "web-1", Some("web-1")),
            ("instance", "[::1]:9100", Some("::1")),
            ("instance", "fe80::1", Some("fe80::1")),
            ("instance", "http://x/y", Some("http://x/y")),
            ("job", "x", None),
        ] {
            assert_eq!(host_of(&Labels::from_pairs([(label, value)])), host, "{value}");
        }
    }

    #[test]
    fn a_window_of_a_host_holds_its_alerts_from_its_first_moment_until_its_end() {
        let windows = [window(MaintenanceOf::Host, "web-1", 10..20)];
        let at = |now| held(&windows, ("endpoint", "web-1"), now).is_some();
        assert_eq!([9, 10, 19, 20].map(at), [false, true, true, false]);
        assert_eq!(held(&windows, ("endpoint", "web-2"), 15), None);
        assert_eq!(held(&windows, ("job", "web-1"), 15), None);
        assert!(held(&windows, ("instance", "web-1:9100"), 15).is_some());
    }

    #[test]
    fn a_window_of_a_group_holds_those_of_the_groups_below_it() {
        for (group, is_held) in [
            ("corp", true),
            ("corp.pay", true),
            ("corp.pay.web", true),
            ("corp.pa", false),
            ("corp.pay.web.eu", false),
        ] {
            let windows = [window(MaintenanceOf::Group, group, 10..20)];
            assert_eq!(held(&windows, ("endpoint", "web-1"), 15).is_some(), is_held, "{group}");
        }
    }

    #[test]
    fn of_several_windows_the_one_that_ends_last_is_named() {
        let windows = [
            window(MaintenanceOf::Host, "web-1", 10..30),
            window(MaintenanceOf::Group, "corp", 10..40),
            window(MaintenanceOf::Host, "web-1", 50..90),
        ];
        let found = held(&windows, ("endpoint", "web-1"), 15);
        assert_eq!(found.as_deref(), Some("corp until 40"));
        assert_eq!(held(&[], ("endpoint", "web-1"), 15), None);
    }
}
