//! The journal of alerts: nothing that was answered is lost, and everybody reads the latest.

use std::path::Path;
use std::time::Duration;

use db::Db;
use db::alerts::{AlertEvent, AlertSearch, AlertStatus, DeliveryResult, EventKind, StoredAlert};
use model::Timestamp;

use crate::alerts::stored;
use crate::notifications::{delivery, told};

async fn with_journal(folder: &Path) -> Db {
    let db = Db::open(&folder.join("saker.db")).await.unwrap();
    db.alerts().keep_journal().await.unwrap();
    db
}

/// Names and states in the table, as somebody sees them who knows of no journal.
async fn in_table(folder: &Path) -> Vec<(String, AlertStatus)> {
    let db = Db::open(&folder.join("saker.db")).await.unwrap();
    let found = db.alerts().search(&AlertSearch::default(), 0, 10_000).await.unwrap();
    let name = |stored: &StoredAlert| stored.alert.labels.get("alertname").unwrap().to_owned();
    let mut found: Vec<_> = found.iter().map(|stored| (name(stored), stored.status)).collect();
    found.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    found
}

async fn store(db: &Db, name: &str, status: AlertStatus, at: i64) -> StoredAlert {
    let alert = StoredAlert { updated_at: Timestamp(at), ..stored(name, status, 1, 5) };
    let event = AlertEvent::new(&alert, EventKind::Firing, Timestamp(at));
    db.alerts().store(std::slice::from_ref(&alert), &[event], true).await.unwrap();
    alert
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_after_an_end_without_warning() {
    let folder = tempfile::tempdir().unwrap();
    let db = with_journal(folder.path()).await;
    let alert = store(&db, "a", AlertStatus::Firing, 5).await;
    let ended = store(&db, "a", AlertStatus::Resolved, 6).await;
    let entry = told(alert.alert.fingerprint(), DeliveryResult::Sent, 7);
    let attempt = delivery(&entry);
    let alerts = db.alerts();
    alerts.record(std::slice::from_ref(&entry), std::slice::from_ref(&attempt)).await.unwrap();
    assert!(in_table(folder.path()).await.is_empty(), "it waits in the journal");
    // Nothing is written on the way out.
    db.close().await;

    let db = Db::open(&folder.path().join("saker.db")).await.unwrap();
    db.alerts().keep_journal().await.unwrap();
    assert_eq!(in_table(folder.path()).await, [("a".to_owned(), AlertStatus::Resolved)]);
    let fingerprint = alert.alert.fingerprint();
    assert_eq!(db.alerts().load(&[fingerprint]).await.unwrap(), [ended]);
    assert_eq!(db.alerts().events_of(fingerprint, 9).await.unwrap().len(), 2);
    assert_eq!(db.alerts().told_by("ops", &[fingerprint]).await.unwrap()[0].sent, entry.sent);
    assert_eq!(db.alerts().deliveries_of(fingerprint, 9).await.unwrap(), [attempt]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_counts_wherever_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let db = with_journal(folder.path()).await;
    let first = store(&db, "a", AlertStatus::Firing, 5).await;
    let fingerprint = first.alert.fingerprint();
    let entry = told(fingerprint, DeliveryResult::Retrying, 6);
    db.alerts().record(&[entry], &[]).await.unwrap();
    db.alerts().settle().await.unwrap();
    assert_eq!(db.alerts().load(&[fingerprint]).await.unwrap(), [first]);
    assert_eq!(db.alerts().told(&[fingerprint]).await.unwrap()[0].tried_at, Timestamp(6));

    let second = store(&db, "a", AlertStatus::Stale, 8).await;
    let entry = told(fingerprint, DeliveryResult::Sent, 9);
    db.alerts().record(&[entry], &[]).await.unwrap();
    assert_eq!(in_table(folder.path()).await[0].1, AlertStatus::Firing);
    assert_eq!(db.alerts().load(&[fingerprint]).await.unwrap(), [second]);
    let told = db.alerts().told(&[fingerprint]).await.unwrap();
    assert_eq!((told.len(), told[0].tried_at), (1, Timestamp(9)));
    assert_eq!(db.alerts().last_update().await.unwrap(), Some(Timestamp(8)));
    let counts = db.alerts().counts(&AlertSearch::default()).await.unwrap();
    assert_eq!((counts.len(), counts[0].status, counts[0].alerts), (1, AlertStatus::Stale, 1));
    assert_eq!(
        db.alerts().prune(Timestamp(100)).await.unwrap(),
        4,
        "the alert, its events and the log"
    );
    assert_eq!(db.alerts().count_all().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_written_by_the_minute() {
    let folder = tempfile::tempdir().unwrap();
    let db = with_journal(folder.path()).await;
    let minute = Duration::from_secs(60);
    store(&db, "a", AlertStatus::Firing, 5).await;
    db.alerts().settle_old(Timestamp(0)).await.unwrap();
    db.alerts().settle_old(Timestamp(0).plus(minute / 2)).await.unwrap();
    assert!(in_table(folder.path()).await.is_empty());
    db.alerts().settle_old(Timestamp(0).plus(minute)).await.unwrap();
    assert_eq!(in_table(folder.path()).await.len(), 1);
    store(&db, "b", AlertStatus::Firing, 5).await;
    db.alerts().settle_old(Timestamp(0).plus(minute)).await.unwrap();
    assert_eq!(in_table(folder.path()).await.len(), 1, "a new minute begins");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_write_and_settle_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let db = with_journal(folder.path()).await;
    let write = async |db: &Db, name: &str| {
        for n in 0..40 {
            let status = if n == 39 { AlertStatus::Resolved } else { AlertStatus::Firing };
            store(db, name, status, n).await;
            store(db, &format!("{name}-{n}"), AlertStatus::Firing, n).await;
        }
    };
    let settle = async || {
        for _ in 0..40 {
            db.alerts().settle().await.unwrap();
        }
    };
    tokio::join!(write(&db, "a"), write(&db, "b"), settle(), settle());
    assert_eq!(db.alerts().count_all().await.unwrap(), 82);
    db.close().await;
    let db = with_journal(folder.path()).await;
    let found = in_table(folder.path()).await;
    assert_eq!(found.len(), 82);
    assert_eq!(found[0], ("a".to_owned(), AlertStatus::Resolved));
    let a = stored("a", AlertStatus::Firing, 1, 5).alert.fingerprint();
    assert_eq!(db.alerts().events_of(a, 99).await.unwrap().len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_not_understood_stops_the_start_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saker.db");
    let db = Db::open(&path).await.unwrap();
    db.close().await;
    let raw = sqlx::SqlitePool::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    let insert = sqlx::query("INSERT INTO alert_journal VALUES (7, x'ff00')");
    insert.execute(&raw).await.unwrap();
    raw.close().await;
    let db = Db::open(&path).await.unwrap();
    let error = db.alerts().keep_journal().await.expect_err("it is of another version");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("entry 7"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_alerts_keeps_others_out_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let first = with_journal(folder.path()).await;
    assert!(first.alerts().keep_journal().await.unwrap(), "it has them already");
    let second = Db::open(&folder.path().join("saker.db")).await.unwrap();
    let text = second.alerts().keep_journal().await.expect_err("it is held").to_string();
    for named in ["saker.db-alarm.lock", "db.url", "state.redis_url"] {
        assert!(text.contains(named), "{text}");
    }
    store(&first, "a", AlertStatus::Firing, 5).await;
    first.close().await;
    assert!(second.alerts().keep_journal().await.unwrap());
    assert_eq!(in_table(folder.path()).await.len(), 1, "what the first one left is settled");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_comes_while_the_other_ends_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = with_journal(folder.path()).await;
    let second = Db::open(&folder.path().join("saker.db")).await.unwrap();
    let alerts = second.alerts();
    let end = async {
        tokio::task::yield_now().await;
        first.close().await;
    };
    let (came, ()) = tokio::join!(alerts.keep_journal(), end);
    came.unwrap();
}
