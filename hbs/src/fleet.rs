//! Every host that hbs knows, in memory. Pure: the time comes in, what must be stored goes out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use db::HostRow;
use model::Timestamp;
use serde_json::json;
use wire::heartbeat::HeartbeatRequest;

/// A host's row is written again after this time even if only its last sight changed, so that a restart of hbs does
/// not take hosts for silent that were heard minutes ago.
const SIGHT_STORED_EVERY: Duration = Duration::from_secs(60);

/// What became of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// From a host that was not known.
    New,
    /// From a known host that says something new of itself.
    Changed,
    /// From a known host.
    Same,
    /// Refused: there are as many hosts as hbs may hold.
    Full,
}

/// The hosts.
#[derive(Debug)]
pub(crate) struct Fleet {
    hosts: BTreeMap<String, Host>,
    to_store: BTreeSet<String>,
    hosts_max: usize,
    started_at: Timestamp,
}

#[derive(Debug)]
struct Host {
    row: HostRow,
    stored_at: Timestamp,
}

impl Fleet {
    /// The fleet as it was stored, at the start of hbs.
    pub(crate) fn new(stored: Vec<HostRow>, hosts_max: usize, started_at: Timestamp) -> Self {
        let known = stored.into_iter().map(|row| {
            let stored_at = Timestamp::from_millis(row.seen_at);
            (row.name.clone(), Host { row, stored_at })
        });
        Self { hosts: known.collect(), to_store: BTreeSet::new(), hosts_max, started_at }
    }

    /// Notes a heartbeat.
    pub(crate) fn hear(
        &mut self,
        heartbeat: &HeartbeatRequest,
        peer_ip: &str,
        now: Timestamp,
    ) -> Heard {
        let name = &heartbeat.host.0;
        let seen = seen_row(heartbeat, peer_ip, now);
        let Some(host) = self.hosts.get_mut(name) else {
            if self.hosts.len() >= self.hosts_max {
                return Heard::Full;
            }
            self.hosts.insert(name.to_owned(), Host { row: seen, stored_at: now });
            self.to_store.insert(name.to_owned());
            return Heard::New;
        };
        let row = HostRow { first_seen_at: host.row.first_seen_at, ..seen };
        let same = HostRow { seen_at: host.row.seen_at, ..row.clone() } == host.row;
        host.row = row;
        if !same || now.since(host.stored_at) >= SIGHT_STORED_EVERY {
            host.stored_at = now;
            self.to_store.insert(name.to_owned());
        }
        if same { Heard::Same } else { Heard::Changed }
    }

    /// Takes the rows that must be written now. Give them back with [`Fleet::store_again`] if that fails.
    pub(crate) fn take_to_store(&mut self) -> Vec<HostRow> {
        let names = std::mem::take(&mut self.to_store);
        names.iter().filter_map(|name| self.hosts.get(name)).map(|host| host.row.clone()).collect()
    }

    /// These rows could not be written; the next round takes them again, with what was heard since.
    pub(crate) fn store_again(&mut self, rows: Vec<HostRow>) {
        self.to_store.extend(rows.into_iter().map(|row| row.name));
    }

    /// Forgets a host; `false` when it is not known.
    pub(crate) fn forget(&mut self, name: &str) -> bool {
        self.to_store.remove(name);
        self.hosts.remove(name).is_some()
    }

    /// How long each host has been silent. During `grace` after the start of hbs, hosts that it has not heard itself
    /// are left out: it cannot know whether they or it was away.
    pub(crate) fn ages(&self, now: Timestamp, grace: Duration) -> Vec<(&str, Duration)> {
        let in_grace = now.since(self.started_at) < grace;
        let known = self
            .hosts
            .values()
            .filter(|host| !in_grace || host.row.seen_at >= self.started_at.millis());
        known
            .map(|host| {
                (host.row.name.as_str(), now.since(Timestamp::from_millis(host.row.seen_at)))
            })
            .collect()
    }

    /// All hosts, by name.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &HostRow> {
        self.hosts.values().map(|host| &host.row)
    }

    /// How many hosts are known.
    pub(crate) fn len(&self) -> usize {
        self.hosts.len()
    }
}

fn seen_row(heartbeat: &HeartbeatRequest, peer_ip: &str, now: Timestamp) -> HostRow {
    let facts = json!({
        "os": heartbeat.os,
        "kernel": heartbeat.kernel,
        "arch": heartbeat.arch,
        "boot_id": heartbeat.boot_id,
        "cpus": heartbeat.cpus,
        "memory_bytes": heartbeat.memory_bytes,
        "labels": heartbeat.labels,
    });
    let ip = if heartbeat.ip.is_empty() { peer_ip } else { &heartbeat.ip };
    HostRow {
        name: heartbeat.host.0.clone(),
        ip: ip.to_owned(),
        agent_version: heartbeat.agent_version.clone(),
        plugin_version: heartbeat.plugin_version.clone(),
        facts: facts.to_string(),
        first_seen_at: now.millis(),
        seen_at: now.millis(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(90);

    fn heartbeat(host: &str, version: &str) -> HeartbeatRequest {
        let body = json!({ "host": host, "agent_version": version });
        HeartbeatRequest::decode(body.to_string().as_bytes()).expect("a valid heartbeat")
    }

    fn fleet() -> Fleet {
        Fleet::new(Vec::new(), 2, Timestamp(0))
    }

    fn stored(fleet: &mut Fleet) -> Vec<(String, i64)> {
        fleet.take_to_store().into_iter().map(|row| (row.name, row.seen_at)).collect()
    }

    #[test]
    fn a_row_is_written_when_it_is_new_or_changed_and_once_a_minute() {
        let mut fleet = fleet();
        assert_eq!(fleet.hear(&heartbeat("a", "1"), "::1", Timestamp(0)), Heard::New);
        assert_eq!(stored(&mut fleet), [("a".to_owned(), 0)]);
        assert_eq!(fleet.hear(&heartbeat("a", "1"), "::1", Timestamp(30_000)), Heard::Same);
        assert!(stored(&mut fleet).is_empty());
        assert_eq!(fleet.hear(&heartbeat("a", "2"), "::1", Timestamp(31_000)), Heard::Changed);
        assert_eq!(stored(&mut fleet), [("a".to_owned(), 31_000)]);
        assert_eq!(fleet.hear(&heartbeat("a", "2"), "::1", Timestamp(91_000)), Heard::Same);
        assert_eq!(stored(&mut fleet), [("a".to_owned(), 91_000)]);
    }

    #[test]
    fn rows_that_could_not_be_written_are_taken_again_with_later_news() {
        let mut fleet = fleet();
        fleet.hear(&heartbeat("a", "1"), "::1", Timestamp(0));
        let rows = fleet.take_to_store();
        fleet.hear(&heartbeat("a", "1"), "::1", Timestamp(5_000));
        fleet.store_again(rows);
        assert_eq!(stored(&mut fleet), [("a".to_owned(), 5_000)]);
    }

    #[test]
    fn more_hosts_than_the_limit_are_refused_and_known_ones_go_on() {
        let mut fleet = fleet();
        fleet.hear(&heartbeat("a", "1"), "::1", Timestamp(0));
        fleet.hear(&heartbeat("b", "1"), "::1", Timestamp(0));
        assert_eq!(fleet.hear(&heartbeat("c", "1"), "::1", Timestamp(0)), Heard::Full);
        assert_eq!(fleet.hear(&heartbeat("a", "1"), "::1", Timestamp(1)), Heard::Same);
        assert!(fleet.forget("a") && !fleet.forget("a"));
        assert_eq!(fleet.hear(&heartbeat("c", "1"), "::1", Timestamp(2)), Heard::New);
    }

    #[test]
    fn a_restart_of_hbs_does_not_make_hosts_look_silent() {
        let mut before = fleet();
        before.hear(&heartbeat("a", "1"), "::1", Timestamp(0));
        before.hear(&heartbeat("b", "1"), "::1", Timestamp(0));
        let mut after = Fleet::new(before.take_to_store(), 2, Timestamp(600_000));
        after.hear(&heartbeat("a", "1"), "::1", Timestamp(610_000));
        let ages = |fleet: &Fleet, now| -> Vec<(String, u64)> {
            let ages = fleet.ages(Timestamp(now), GRACE);
            ages.into_iter().map(|(name, age)| (name.to_owned(), age.as_secs())).collect()
        };
        assert_eq!(ages(&after, 620_000), [("a".to_owned(), 10)]);
        assert_eq!(ages(&after, 690_000), [("a".to_owned(), 80), ("b".to_owned(), 690)]);
    }

    #[test]
    fn the_address_is_the_hosts_own_word_or_else_the_sockets() {
        let mut fleet = fleet();
        fleet.hear(&heartbeat("a", "1"), "192.0.2.7", Timestamp(0));
        assert_eq!(fleet.rows().next().map(|row| row.ip.as_str()), Some("192.0.2.7"));
    }
}
