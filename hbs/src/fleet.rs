//! Every host that hbs knows, in memory. Pure: the time comes in, what must be stored goes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use db::HostRow;
use model::Timestamp;
use serde::Deserialize;
use serde_json::json;
use wire::heartbeat::HeartbeatRequest;

use crate::changes::Changes;

/// A host's sight is written again after this time even if nothing changed, so that a restart of hbs does not take
/// hosts for silent that were heard minutes ago.
const SIGHT_STORED_EVERY: Duration = Duration::from_secs(60);
/// A host that is heard after so long a silence came back: it may have lived elsewhere in the meantime.
const BACK_AFTER: Duration = Duration::from_secs(120);

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
    to_store: BTreeMap<String, Stale>,
    hosts_max: usize,
    changes: Changes,
}

/// A host.
#[derive(Debug)]
pub(crate) struct Host {
    /// As it is stored.
    pub(crate) row: HostRow,
    /// Its own labels, from the row's facts.
    pub(crate) labels: BTreeMap<String, String>,
    /// What it said last of the state that it was given.
    pub(crate) reported: Reported,
    /// How far its clock is ahead of ours, in milliseconds; nothing while it has not said.
    pub(crate) skew_millis: Option<i64>,
    /// When this hbs heard it, rather than another one.
    heard_here_at: Option<Timestamp>,
    stored_at: Timestamp,
    /// The hash of its desired state, by the mark of the snapshot that it was computed from.
    desired: Option<(u64, Arc<str>)>,
}

/// What a host says of the state that it was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    /// The hash of the state that it has applied.
    pub(crate) desired_hash: String,
    /// What it could not apply.
    pub(crate) desired_faults: Vec<String>,
}

/// What of a row must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stale {
    Sight,
    Row,
}

/// What must be written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Hosts that are new or say something new.
    pub(crate) rows: Vec<HostRow>,
    /// When the others were heard, in milliseconds since the epoch.
    pub(crate) sights: Vec<(String, i64)>,
}

/// When a host was heard, as hbs tell each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sight {
    /// The host.
    pub(crate) host: String,
    /// When.
    pub(crate) seen_at: Timestamp,
    /// How far its clock was ahead.
    pub(crate) skew_millis: Option<i64>,
}

impl Fleet {
    /// The fleet as it was stored, at the start of hbs.
    pub(crate) fn new(stored: Vec<HostRow>, hosts_max: usize) -> Self {
        let (hosts, to_store) = (BTreeMap::new(), BTreeMap::new());
        let mut fleet = Self { hosts, to_store, hosts_max, changes: Changes::default() };
        fleet.learn(stored);
        // Nobody has asked yet: all of them are the beginning, not changes.
        fleet.changes = Changes::default();
        fleet
    }

    /// Notes a heartbeat.
    pub(crate) fn hear(
        &mut self,
        heartbeat: &HeartbeatRequest,
        peer_ip: &str,
        now: Timestamp,
    ) -> Heard {
        let name = &heartbeat.host.0;
        let row = seen_row(heartbeat, peer_ip, now);
        let is_full = self.hosts.len() >= self.hosts_max;
        let known = self.hosts.get(name);
        if known.map_or(!is_full, |host| host.age(now) >= BACK_AFTER) {
            self.changes.note(name);
        }
        let heard = match self.hosts.get_mut(name) {
            None if is_full => return Heard::Full,
            None => {
                self.hosts.insert(name.to_owned(), Host::new(row));
                self.to_store.insert(name.to_owned(), Stale::Row);
                Heard::New
            }
            Some(host) if host.says_the_same(&row) => {
                host.row.seen_at = host.row.seen_at.max(row.seen_at);
                if now.since(host.stored_at) >= SIGHT_STORED_EVERY {
                    host.stored_at = now;
                    self.to_store.entry(name.to_owned()).or_insert(Stale::Sight);
                }
                Heard::Same
            }
            Some(host) => {
                host.row = HostRow { first_seen_at: host.row.first_seen_at, ..row };
                host.stored_at = now;
                self.to_store.insert(name.to_owned(), Stale::Row);
                Heard::Changed
            }
        };
        if let Some(host) = self.hosts.get_mut(name) {
            host.note(heartbeat, now);
        }
        heard
    }

    /// Takes over what others have stored: hosts that are new here, and later news of known ones.
    pub(crate) fn learn(&mut self, rows: Vec<HostRow>) {
        for row in rows {
            match self.hosts.get_mut(&row.name) {
                Some(host) if host.row.seen_at >= row.seen_at => {}
                // What is waiting to be written here goes before what was written before it.
                Some(host)
                    if !host.says_the_same(&row) && !self.to_store.contains_key(&row.name) =>
                {
                    *host = Host::new(row);
                }
                Some(host) => host.row.seen_at = row.seen_at,
                None => {
                    self.changes.note(&row.name);
                    self.hosts.insert(row.name.clone(), Host::new(row));
                }
            }
        }
    }

    /// Takes over when another hbs heard hosts that are known here.
    pub(crate) fn learn_sights(&mut self, sights: impl IntoIterator<Item = Sight>) {
        for sight in sights {
            if let Some(host) = self.hosts.get_mut(&sight.host)
                && sight.seen_at.millis() > host.row.seen_at
            {
                host.row.seen_at = sight.seen_at.millis();
                host.skew_millis = sight.skew_millis;
            }
        }
    }

    /// The hosts that this hbs itself heard since a moment.
    pub(crate) fn sights_since(&self, moment: Timestamp) -> Vec<Sight> {
        let heard = self.hosts.values().filter_map(|host| {
            let seen_at = host.heard_here_at.filter(|at| *at >= moment)?;
            let skew_millis = host.skew_millis;
            Some(Sight { host: host.row.name.clone(), seen_at, skew_millis })
        });
        heard.collect()
    }

    /// Takes what must be written now. Give it back with [`Fleet::store_again`] if that fails.
    pub(crate) fn take_to_store(&mut self) -> Batch {
        let mut batch = Batch::default();
        for (name, stale) in std::mem::take(&mut self.to_store) {
            match (self.hosts.get(&name), stale) {
                (Some(host), Stale::Row) => batch.rows.push(host.row.clone()),
                (Some(host), Stale::Sight) => batch.sights.push((name, host.row.seen_at)),
                (None, _) => {}
            }
        }
        batch
    }

    /// This could not be written; the next round takes it again, with what was heard since.
    pub(crate) fn store_again(&mut self, batch: Batch) {
        for row in batch.rows {
            self.to_store.insert(row.name, Stale::Row);
        }
        for (name, _) in batch.sights {
            self.to_store.entry(name).or_insert(Stale::Sight);
        }
    }

    /// Forgets a host; `false` when it is not known.
    pub(crate) fn forget(&mut self, name: &str) -> bool {
        self.to_store.remove(name);
        let was_known = self.hosts.remove(name).is_some();
        if was_known {
            self.changes.note(name);
        }
        was_known
    }

    /// Forgets the hosts that are not stored any more, because another hbs was told to forget them. Those that wait to
    /// be stored are not among them, nor those heard since `moment`, which may be on their way.
    pub(crate) fn forget_others(&mut self, stored: &BTreeSet<String>, moment: Timestamp) {
        let (waiting, changes) = (&self.to_store, &mut self.changes);
        self.hosts.retain(|name, host| {
            let stays = stored.contains(name)
                || waiting.contains_key(name)
                || host.row.seen_at >= moment.millis();
            if !stays {
                changes.note(name);
            }
            stays
        });
    }

    /// How long each host has been silent. During `grace` after `since`, the start of hbs or of its time as the one
    /// that writes this, hosts not heard since are left out: nobody knows whether they or hbs was away.
    pub(crate) fn ages(
        &self,
        now: Timestamp,
        since: Timestamp,
        grace: Duration,
    ) -> impl Iterator<Item = (&Host, Duration)> {
        let in_grace = now.since(since) < grace;
        let known = self.hosts.values();
        known
            .filter(move |host| !in_grace || host.row.seen_at >= since.millis())
            .map(move |host| (host, host.age(now)))
    }

    /// The hash of a host's desired state, if it was computed from this snapshot.
    pub(crate) fn desired_hash(&self, name: &str, mark: u64) -> Option<Arc<str>> {
        let (of, hash) = self.hosts.get(name)?.desired.as_ref()?;
        (*of == mark).then(|| Arc::clone(hash))
    }

    /// Keeps the hash of a host's desired state.
    pub(crate) fn keep_desired_hash(&mut self, name: &str, mark: u64, hash: &str) {
        if let Some(host) = self.hosts.get_mut(name) {
            host.desired = Some((mark, hash.into()));
        }
    }

    /// All hosts, by name.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// The hosts behind a name, by name.
    pub(crate) fn hosts_after(&self, name: &str) -> impl Iterator<Item = &Host> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = if name.is_empty() { Unbounded } else { Excluded(name) };
        self.hosts.range::<str, _>((after, Unbounded)).map(|(_, host)| host)
    }

    /// A host by its name.
    pub(crate) fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.get(name)
    }

    /// Which hosts came, came back or went.
    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// How many hosts are known.
    pub(crate) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// How many hosts wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.to_store.len()
    }
}

impl Host {
    fn new(row: HostRow) -> Self {
        #[derive(Default, Deserialize)]
        struct Facts {
            #[serde(default)]
            labels: BTreeMap<String, String>,
        }
        let facts: Facts = serde_json::from_str(&row.facts).unwrap_or_default();
        Self {
            stored_at: Timestamp(row.seen_at),
            row,
            labels: facts.labels,
            reported: Reported::default(),
            skew_millis: None,
            heard_here_at: None,
            desired: None,
        }
    }

    fn note(&mut self, heartbeat: &HeartbeatRequest, now: Timestamp) {
        self.heard_here_at = Some(now);
        if self.labels != heartbeat.labels {
            self.labels.clone_from(&heartbeat.labels);
            self.desired = None;
        }
        let sent = heartbeat.sent_at.millis();
        self.skew_millis = (sent != 0).then(|| sent.saturating_sub(now.millis()));
        self.reported.desired_hash.clone_from(&heartbeat.desired_hash);
        self.reported.desired_faults.clone_from(&heartbeat.desired_faults);
    }

    fn says_the_same(&self, row: &HostRow) -> bool {
        let said = |row: &HostRow| -> [usize; 4] {
            [row.ip.len(), row.agent_version.len(), row.plugin_version.len(), row.facts.len()]
        };
        said(&self.row) == said(row)
            && self.row.ip == row.ip
            && self.row.agent_version == row.agent_version
            && self.row.plugin_version == row.plugin_version
            && self.row.facts == row.facts
    }

    /// How long it has been silent.
    pub(crate) fn age(&self, now: Timestamp) -> Duration {
        now.since(Timestamp(self.row.seen_at))
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
        ip: cut(ip).to_owned(),
        agent_version: cut(&heartbeat.agent_version).to_owned(),
        plugin_version: cut(&heartbeat.plugin_version).to_owned(),
        facts: facts.to_string(),
        first_seen_at: now.millis(),
        seen_at: now.millis(),
    }
}

/// What fits the column: one host's nonsense must not keep its batch from being stored.
fn cut(text: &str) -> &str {
    const COLUMN_CHARS: usize = 64;
    text.char_indices().nth(COLUMN_CHARS).map_or(text, |(end, _)| &text[..end])
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
        Fleet::new(Vec::new(), 2)
    }

    fn hear(fleet: &mut Fleet, host: &str, version: &str, now: i64) -> Heard {
        fleet.hear(&heartbeat(host, version), "::1", Timestamp(now))
    }

    type Sights = Vec<(String, i64)>;

    /// Names and times of the rows, and of the sights, that are to be stored.
    fn stored(fleet: &mut Fleet) -> (Sights, Sights) {
        let batch = fleet.take_to_store();
        (batch.rows.into_iter().map(|row| (row.name, row.seen_at)).collect(), batch.sights)
    }

    fn ages(fleet: &Fleet, now: i64, since: i64) -> Vec<(String, u64)> {
        let ages = fleet.ages(Timestamp(now), Timestamp(since), GRACE);
        ages.map(|(host, age)| (host.row.name.clone(), age.as_secs())).collect()
    }

    #[test]
    fn a_row_is_written_when_it_is_new_or_changed_and_its_sight_once_a_minute() {
        let mut fleet = fleet();
        let a = |at: i64| vec![("a".to_owned(), at)];
        assert_eq!(hear(&mut fleet, "a", "1", 0), Heard::New);
        assert_eq!(stored(&mut fleet), (a(0), vec![]));
        assert_eq!(hear(&mut fleet, "a", "1", 30_000), Heard::Same);
        assert_eq!(stored(&mut fleet), (vec![], vec![]));
        assert_eq!(hear(&mut fleet, "a", "2", 31_000), Heard::Changed);
        assert_eq!(stored(&mut fleet), (a(31_000), vec![]));
        assert_eq!(hear(&mut fleet, "a", "2", 91_000), Heard::Same);
        assert_eq!(stored(&mut fleet), (vec![], a(91_000)));
    }

    #[test]
    fn what_could_not_be_written_is_taken_again_with_later_news() {
        let mut fleet = fleet();
        hear(&mut fleet, "a", "1", 0);
        let batch = fleet.take_to_store();
        hear(&mut fleet, "a", "1", 5_000);
        fleet.store_again(batch);
        assert_eq!(stored(&mut fleet).0, [("a".to_owned(), 5_000)]);
        hear(&mut fleet, "a", "1", 70_000);
        let sights = fleet.take_to_store();
        hear(&mut fleet, "a", "2", 71_000);
        fleet.store_again(sights);
        assert_eq!(stored(&mut fleet).0, [("a".to_owned(), 71_000)], "the row and not the sight");
    }

    #[test]
    fn more_hosts_than_the_limit_are_refused_and_known_ones_go_on() {
        let mut fleet = fleet();
        hear(&mut fleet, "a", "1", 0);
        hear(&mut fleet, "b", "1", 0);
        assert_eq!(hear(&mut fleet, "c", "1", 0), Heard::Full);
        assert_eq!(hear(&mut fleet, "a", "1", 1), Heard::Same);
        assert!(fleet.forget("a") && !fleet.forget("a"));
        assert_eq!(hear(&mut fleet, "c", "1", 2), Heard::New);
    }

    #[test]
    fn a_restart_of_hbs_does_not_make_hosts_look_silent() {
        let mut before = fleet();
        hear(&mut before, "a", "1", 0);
        hear(&mut before, "b", "1", 0);
        let mut after = Fleet::new(before.take_to_store().rows, 2);
        hear(&mut after, "a", "1", 610_000);
        assert_eq!(ages(&after, 620_000, 600_000), [("a".to_owned(), 10)]);
        let both = [("a".to_owned(), 80), ("b".to_owned(), 690)];
        assert_eq!(ages(&after, 690_000, 600_000), both);
    }

    #[test]
    fn what_another_hbs_heard_is_taken_over_when_it_is_newer() {
        let mut other = fleet();
        hear(&mut other, "a", "2", 50_000);
        hear(&mut other, "b", "1", 50_000);
        let rows = other.take_to_store().rows;
        let mut fleet = fleet();
        hear(&mut fleet, "a", "1", 10_000);
        fleet.take_to_store();
        fleet.learn(rows.clone());
        let versions: Vec<&str> =
            fleet.hosts().map(|host| host.row.agent_version.as_str()).collect();
        assert_eq!(versions, ["2", "1"]);
        hear(&mut fleet, "a", "3", 60_000);
        fleet.learn(rows);
        assert_eq!(fleet.host("a").expect("known").row.agent_version, "3", "older news are none");
        fleet.learn_sights(other.sights_since(Timestamp(50_000)));
        assert_eq!(ages(&fleet, 70_000, 0), [("a".to_owned(), 10), ("b".to_owned(), 20)]);
    }

    #[test]
    fn a_host_that_another_hbs_forgot_is_gone_unless_it_was_just_heard_or_waits_to_be_stored() {
        let mut fleet = Fleet::new(Vec::new(), 3);
        hear(&mut fleet, "old", "1", 0);
        hear(&mut fleet, "new", "1", 100_000);
        fleet.take_to_store();
        hear(&mut fleet, "waiting", "1", 0);
        fleet.forget_others(&BTreeSet::new(), Timestamp(40_000));
        let left: Vec<&str> = fleet.hosts().map(|host| host.row.name.as_str()).collect();
        assert_eq!(left, ["new", "waiting"]);
    }

    #[test]
    fn hosts_that_come_come_back_or_go_are_changes_and_those_that_go_on_are_none() {
        let stored = {
            let mut before = fleet();
            hear(&mut before, "old", "1", 0);
            before.take_to_store().rows
        };
        let mut fleet = Fleet::new(stored, 3);
        let mut revision = fleet.changes().revision();
        let mut changed = |fleet: &Fleet| -> Vec<String> {
            let since = fleet.changes().since(revision).expect("it is not long ago");
            let names = since.map(str::to_owned).collect();
            revision = fleet.changes().revision();
            names
        };
        hear(&mut fleet, "a", "1", 0);
        hear(&mut fleet, "a", "1", 30_000);
        hear(&mut fleet, "a", "2", 60_000);
        assert_eq!(changed(&fleet), ["a"]);
        hear(&mut fleet, "old", "1", 130_000);
        hear(&mut fleet, "b", "1", 130_000);
        assert_eq!(changed(&fleet), ["old", "b"]);
        hear(&mut fleet, "refused", "1", 130_000);
        fleet.forget("a");
        assert_eq!(changed(&fleet), ["a"]);
        fleet.take_to_store();
        fleet.forget_others(&BTreeSet::from(["b".to_owned()]), Timestamp(200_000));
        assert_eq!(changed(&fleet), ["old"]);
    }

    #[test]
    fn a_hash_is_kept_for_its_snapshot_until_the_labels_change() {
        let mut fleet = fleet();
        hear(&mut fleet, "a", "1", 0);
        fleet.keep_desired_hash("a", 7, "hash");
        assert_eq!(fleet.desired_hash("a", 7).as_deref(), Some("hash"));
        assert_eq!(fleet.desired_hash("a", 8), None);
        let labelled = HeartbeatRequest {
            labels: BTreeMap::from([("role".into(), "db".into())]),
            ..heartbeat("a", "1")
        };
        fleet.hear(&labelled, "::1", Timestamp(1));
        assert_eq!(fleet.desired_hash("a", 7), None);
    }

    #[test]
    fn the_address_is_the_hosts_own_word_or_else_the_sockets_and_fits_its_column() {
        let mut fleet = fleet();
        fleet.hear(&heartbeat("a", &"é".repeat(99)), "192.0.2.7", Timestamp(0));
        let row = &fleet.host("a").expect("heard").row;
        assert_eq!(row.ip, "192.0.2.7");
        assert_eq!(row.agent_version.chars().count(), 64);
    }
}
