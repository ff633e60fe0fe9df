//! Rule groups created by API.

use db::Db;
use model::Timestamp;

pub(crate) async fn a_group_is_created_changed_and_removed(db: &Db) {
    let groups = db.rule_groups();
    assert_eq!(groups.put("disk", "rules: []", Timestamp(10)).await.unwrap(), 1);
    assert_eq!(groups.put("disk", "rules: []", Timestamp(20)).await.unwrap(), 1, "nothing changed");
    assert_eq!(groups.put("disk", "interval: 1m", Timestamp(30)).await.unwrap(), 2);
    let group = groups.one("disk").await.unwrap().expect("just stored");
    assert_eq!((group.created_at, group.updated_at), (Timestamp(10), Timestamp(30)));
    assert_eq!(groups.all().await.unwrap(), [group]);
    assert!(groups.remove("disk").await.unwrap());
    assert!(!groups.remove("disk").await.unwrap());
    assert_eq!(groups.one("disk").await.unwrap(), None);
}

pub(crate) async fn names_and_bodies_are_data_and_never_sql(db: &Db) {
    let name = "'; DROP TABLE rule_group; --";
    db.rule_groups().put(name, "'\u{0}\"", Timestamp(1)).await.unwrap();
    assert_eq!(db.rule_groups().all().await.unwrap()[0].name, name);
}

pub(crate) async fn one_group_stored_by_many_at_once_has_a_version_for_each(db: &Db) {
    let bodies: Vec<String> = (0..8).map(|n| format!("rules: [{n}]")).collect();
    let storing =
        bodies.iter().map(|body| async { db.rule_groups().put("disk", body, Timestamp(1)).await });
    let stored = futures_util::future::join_all(storing).await;
    let mut versions: Vec<i64> = stored.into_iter().map(Result::unwrap).collect();
    versions.sort_unstable();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6, 7, 8]);
}
