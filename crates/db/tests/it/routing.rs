//! Routes, receivers and the like that were set by API.

use db::{Db, RoutingChange, Trail};
use model::Timestamp;

fn change(kind: &'static str, name: &str, body: Option<&str>, at: i64) -> RoutingChange {
    let target = format!("{kind}/{name}");
    let entry = Trail::new().entry(("ann", "127.0.0.1"), "routing.put", &target, Timestamp(at));
    RoutingChange { kind, name: name.to_owned(), body: body.map(str::to_owned), entry }
}

pub(crate) async fn all_changes_are_made_or_none(db: &Db) {
    let routing = db.routing();
    let empty = routing.stamp().await.unwrap();
    assert_eq!(routing.all().await.unwrap(), (0, Vec::new()));
    let both =
        [change("route", "db", Some("{}"), 5), change("receiver", "dba", Some("{\"名\":1}"), 5)];
    assert_eq!(routing.change(0, &both).await.unwrap(), Some(1));
    assert_ne!(routing.stamp().await.unwrap(), empty);
    let late = [change("route", "db", None, 6), change("route", "web", Some("{}"), 6)];
    assert_eq!(routing.change(0, &late).await.unwrap(), None, "somebody was sooner");
    let (revision, rows) = routing.all().await.unwrap();
    let known: Vec<_> = rows.iter().map(|row| (row.kind.as_str(), row.name.as_str())).collect();
    assert_eq!((revision, known), (1, vec![("receiver", "dba"), ("route", "db")]));
    assert_eq!((rows[0].body.as_str(), rows[0].version), ("{\"名\":1}", 1));
    assert_eq!((rows[0].changed_at, rows[0].changed_by.as_str()), (Timestamp(5), "ann"));
    assert_eq!(routing.change(1, &late).await.unwrap(), Some(2));
    let (_, rows) = routing.all().await.unwrap();
    assert_eq!((rows.len(), rows[1].name.as_str(), rows[1].version), (2, "web", 2));
    let audit = db.audit().page("", "route/db", 10).await.unwrap();
    assert_eq!(audit.len(), 2, "what is refused leaves no entry");
    assert!(!format!("{rows:?} {late:?}").contains("{}"), "bodies hold secrets");
}

pub(crate) async fn of_changes_made_at_once_from_one_revision_one_is_made(db: &Db) {
    let (revision, _) = db.routing().all().await.unwrap();
    let tries = (0..8).map(|n| async move {
        let name = format!("r{n}");
        db.routing().change(revision, &[change("route", &name, Some("{}"), n)]).await.unwrap()
    });
    let made = futures_util::future::join_all(tries).await;
    assert_eq!(made.iter().flatten().count(), 1, "{made:?}");
    assert_eq!(db.routing().all().await.unwrap().0, revision + 1);
}
