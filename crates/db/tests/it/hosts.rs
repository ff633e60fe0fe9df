//! Hosts.

use db::{Db, HostRow};

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
    assert!(db.hosts().remove("web-01").await.unwrap());
    assert!(!db.hosts().remove("web-01").await.unwrap());
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
