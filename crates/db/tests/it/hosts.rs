//! Hosts.

use std::collections::{BTreeMap, BTreeSet};

use db::{Db, HostRow};
use model::Timestamp;

use crate::groups::entry;

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

pub(crate) async fn a_known_host_is_updated_and_keeps_its_first_sight(db: &Db) {
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
    assert!(db.hosts().remove("web-01", &entry("1")).await.unwrap());
    assert!(!db.hosts().remove("web-01", &entry("2")).await.unwrap());
    assert_eq!(db.hosts().names().await.unwrap(), ["db'; DROP TABLE host; --"]);
    assert_eq!(db.audit().page("", "", 9).await.unwrap(), [entry("1")], "only what was done");
}

pub(crate) async fn thousands_of_hosts_are_recorded_at_once(db: &Db) {
    let hosts: Vec<_> = (0..2500).map(|n| host(&format!("h{n:05}"), "1", 1)).collect();
    db.hosts().record(&hosts).await.unwrap();
    assert_eq!(db.hosts().all().await.unwrap(), hosts);
}

pub(crate) async fn of_a_host_that_comes_twice_the_last_counts(db: &Db) {
    db.hosts().record(&[host("web-01", "1", 10), host("web-01", "2", 20)]).await.unwrap();
    assert_eq!(db.hosts().all().await.unwrap(), [host("web-01", "2", 20)]);
    assert_eq!(db.statistics(), db::Statistics::default(), "nothing was in the way");
}

pub(crate) async fn sights_are_recorded_without_the_rest_of_the_row(db: &Db) {
    let hosts: Vec<_> = (0..450).map(|n| host(&format!("h{n:03}"), "1", n)).collect();
    db.hosts().record(&hosts).await.unwrap();
    let mut sights: Vec<(String, i64)> = (0..450).map(|n| (format!("h{n:03}"), 1000 + n)).collect();
    sights.push(("unknown".to_owned(), 5));
    db.hosts().record_sights(&sights).await.unwrap();
    let stored = db.hosts().all().await.unwrap();
    assert_eq!(stored.len(), 450);
    assert!((0..).zip(&stored).all(|(n, row)| (row.first_seen_at, row.seen_at) == (n, 1000 + n)));
    assert_eq!(db.hosts().seen_since(Timestamp(1448)).await.unwrap(), stored[448..]);
    assert_eq!(db.hosts().count().await.unwrap(), 450);
}

pub(crate) async fn silent_hosts_are_purged_with_their_memberships(db: &Db) {
    db.hosts().record(&[host("old", "1", 10), host("new", "1", 20)]).await.unwrap();
    let both = BTreeSet::from(["old".to_owned(), "new".to_owned()]);
    db.groups().put("g", "{}", Timestamp(1), &entry("1")).await.unwrap();
    db.groups().change_members("g", &both, &BTreeSet::new(), &entry("2")).await.unwrap();
    let matching = BTreeMap::from([("old".to_owned(), BTreeSet::from(["g".to_owned()]))]);
    db.groups().set_matching(&matching).await.unwrap();
    assert_eq!(db.hosts().purge(Timestamp(20), 9, &entry("3")).await.unwrap(), ["old"]);
    assert_eq!(db.hosts().purge(Timestamp(20), 9, &entry("4")).await.unwrap(), [""; 0]);
    let left = db.groups().hosts("g", ("", ""), 9).await.unwrap();
    assert_eq!(left.iter().map(|row| row.host.as_str()).collect::<Vec<_>>(), ["new"]);
}
