//! The tables behind the embedded shared state. Their rules are told and tested in crate `state`;
//! here is what depends on the database.

use db::{Db, EventRow, LeaseRow};
use futures_util::future::join_all;

pub(crate) async fn of_many_who_take_a_lease_at_once_one_holds_it(db: &Db) {
    let owners: Vec<String> = (0..8).map(|n| format!("judge-{n}")).collect();
    for now in [0, 100, 200] {
        let taking = join_all(owners.iter().map(|owner| async {
            db.state().take_lease("lease", owner, now, now + 100).await.unwrap()
        }));
        let rows = taking.await;
        let fencing = now / 100 + 1;
        assert_eq!(rows[0], LeaseRow { fencing, until: now + 100, ..rows[0].clone() });
        assert!(rows.iter().all(|row| *row == rows[0]), "all see the same holder: {rows:?}");
    }
    let holder = db.state().take_lease("lease", "nobody", 250, 350).await.unwrap().owner;
    assert!(!db.state().release_lease("lease", "nobody").await.unwrap());
    assert!(db.state().release_lease("lease", &holder).await.unwrap());
    let next = db.state().take_lease("lease", "nobody", 250, 350).await.unwrap();
    assert_eq!(next, LeaseRow { owner: "nobody".to_owned(), fencing: 4, until: 350 });
}

pub(crate) async fn documents_that_are_written_together_are_judged_one_by_one(db: &Db) {
    assert!(db.state().save_document("together", "held", b"late", 9).await.unwrap());
    let documents: [(&str, &[u8], i64); 3] =
        [("new", b"1", 1), ("held", b"early", 2), ("a", b"3", 3)];
    let saved = db.state().save_documents("together", &documents).await.unwrap();
    assert_eq!(saved, [true, false, true]);
    let found = db.state().documents("together").await.unwrap();
    let expected: [(&str, &[u8]); 3] = [("a", b"3"), ("held", b"late"), ("new", b"1")];
    assert_eq!(found, expected.map(|(name, body)| (name.to_owned(), body.to_vec())));
    assert_eq!(db.state().save_documents("together", &[]).await.unwrap(), [false; 0]);
}

pub(crate) async fn a_document_is_written_by_the_latest_holder_only(db: &Db) {
    let body = [0, 255, 39, 200].repeat(60_000);
    assert!(db.state().save_document("kind", "Name", &body, 2).await.unwrap());
    assert!(
        db.state().save_document("kind", "name", b"another", 1).await.unwrap(),
        "letter case matters"
    );
    assert!(
        db.state().save_document("kind", "name ", b"third", 1).await.unwrap(),
        "and so do spaces"
    );
    assert!(!db.state().save_document("kind", "Name", b"late", 1).await.unwrap());
    assert_eq!(db.state().load_document("kind", "Name").await.unwrap(), Some(body.clone()));
    assert!(db.state().save_document("kind", "Name", b"new", 2).await.unwrap());
    assert!(
        db.state().save_document("kind", "Name", b"new", 2).await.unwrap(),
        "the same again is no refusal"
    );
    let names: Vec<String> =
        db.state().documents("kind").await.unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Name", "name", "name "]);
    db.state().remove_document("kind", "Name").await.unwrap();
    assert_eq!(db.state().load_document("kind", "Name").await.unwrap(), None);
}

pub(crate) async fn an_event_is_taken_by_one_of_many(db: &Db) {
    for n in 0..40 {
        push(db, n, n % 2, b"body").await;
        push(db, n, 0, b"again").await;
    }
    let first = db.state().take_events("queue", (2, 0), 50, 90).await.unwrap();
    let row = |name: &str| EventRow {
        name: name.to_owned(),
        priority: 0,
        attempts: 1,
        body: b"body".to_vec(),
    };
    assert_eq!(first, [row("00"), row("02")]);
    let taking =
        (0..8).map(|_| async { db.state().take_events("queue", (10, 0), 50, 90).await.unwrap() });
    let mut names: Vec<String> =
        join_all(taking).await.into_iter().flatten().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    let rest = db.state().take_events("queue", (99, 0), 50, 90).await.unwrap();
    assert_eq!(names.len() + rest.len(), 38, "each once: {names:?}");
    assert_eq!(db.state().queue_length("queue").await.unwrap(), 40);

    db.state().return_event("queue", "07", 60).await.unwrap();
    assert!(db.state().take_events("queue", (9, 0), 59, 90).await.unwrap().is_empty());
    assert_eq!(db.state().take_events("queue", (9, 0), 60, 90).await.unwrap()[0].attempts, 2);
    assert!(db.state().remove_event("queue", "07").await.unwrap());
    assert!(!db.state().remove_event("queue", "07").await.unwrap());
}

async fn push(db: &Db, n: i64, priority: i64, body: &[u8]) {
    let (name, body) = (format!("{n:02}"), body.to_vec());
    let row = db::EventRow { name, priority, attempts: 0, body };
    db.state().push_events("queue", vec![row], n).await.unwrap();
}

pub(crate) async fn many_events_are_put_and_removed_at_once_and_each_name_once(db: &Db) {
    let row = |n: i64| db::EventRow {
        name: format!("{n:04}"),
        priority: 0,
        attempts: 0,
        body: b"x".to_vec(),
    };
    db.state().push_events("q", (0..300).map(row).collect(), 1).await.unwrap();
    db.state().push_events("q", (200..500).chain(490..500).map(row).collect(), 2).await.unwrap();
    assert_eq!(db.state().queue_length("q").await.unwrap(), 500);
    let names: Vec<String> = (0..499).map(|n| format!("{n:04}")).collect();
    db.state().remove_events("q", &names).await.unwrap();
    assert_eq!(db.state().take_events("q", (9, 0), 3, 4).await.unwrap()[0].name, "0499");
}
