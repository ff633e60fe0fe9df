//! Alerts and their history.

use std::collections::BTreeMap;

use db::Db;
use db::alerts::{AlertEvent, AlertStatus, EventKind, StoredAlert};
use model::{Alert, Fingerprint, Labels, Timestamp};

pub(crate) fn stored(name: &str, status: AlertStatus, priority: u8, starts: i64) -> StoredAlert {
    let alert = Alert {
        labels: Labels::from_pairs([("alertname", name), ("endpoint", "web-03")]),
        annotations: BTreeMap::from([("value".to_owned(), "97.2".to_owned())]),
        starts_at: Timestamp(starts),
        ends_at: Timestamp(starts + 100),
        generator_url: "http://judge/".to_owned(),
    };
    StoredAlert { alert, status, priority, updated_at: Timestamp(starts), ends_by_timeout: false }
}

pub(crate) async fn an_alert_reads_back_as_it_was_stored_and_is_replaced_by_its_fingerprint(
    db: &Db,
) {
    let mut alert = stored("磁盘满 '; DROP TABLE alert; --", AlertStatus::Firing, 0, 5);
    db.alerts().store(std::slice::from_ref(&alert), &[], false).await.unwrap();
    let fingerprint = alert.alert.fingerprint();
    assert_eq!(db.alerts().load(&[fingerprint, Fingerprint(1)]).await.unwrap(), [alert.clone()]);

    alert.status = AlertStatus::Resolved;
    alert.alert.ends_at = Timestamp(70);
    db.alerts().store(std::slice::from_ref(&alert), &[], false).await.unwrap();
    assert_eq!(db.alerts().load(&[fingerprint]).await.unwrap(), [alert]);
    assert_eq!(db.alerts().count_all().await.unwrap(), 1);
}

pub(crate) async fn thousands_are_stored_at_once(db: &Db) {
    let alerts: Vec<_> =
        (0..2500).map(|n| stored(&format!("a{n}"), AlertStatus::Firing, 1, n)).collect();
    let events: Vec<_> = alerts
        .iter()
        .map(|alert| AlertEvent::new(alert, EventKind::Firing, Timestamp(9)))
        .collect();
    db.alerts().store(&alerts, &events, false).await.unwrap();
    let fingerprints: Vec<_> = alerts.iter().map(|stored| stored.alert.fingerprint()).collect();
    assert_eq!(db.alerts().load(&fingerprints).await.unwrap().len(), 2500);
    assert_eq!(db.alerts().unqueued_events(5000).await.unwrap().len(), 2500);
}

pub(crate) async fn an_event_waits_until_it_is_queued_and_is_kept_once(db: &Db) {
    let alert = stored("a", AlertStatus::Firing, 2, 5);
    let event = AlertEvent::new(&alert, EventKind::Firing, Timestamp(7));
    for _ in 0..2 {
        db.alerts().store(&[], std::slice::from_ref(&event), false).await.unwrap();
    }
    assert_eq!(db.alerts().unqueued_events(10).await.unwrap(), std::slice::from_ref(&event));
    db.alerts().mark_queued(std::slice::from_ref(&event)).await.unwrap();
    assert!(db.alerts().unqueued_events(10).await.unwrap().is_empty());
    assert_eq!(db.alerts().events_of(event.fingerprint, 10).await.unwrap(), [event]);
}

pub(crate) async fn only_firing_alerts_can_be_overdue(db: &Db) {
    let due = stored("due", AlertStatus::Firing, 0, 0);
    let alerts = [
        due.clone(),
        stored("later", AlertStatus::Firing, 0, 1),
        stored("stale", AlertStatus::Stale, 0, 0),
        stored("over", AlertStatus::Resolved, 0, 0),
    ];
    db.alerts().store(&alerts, &[], false).await.unwrap();
    assert_eq!(db.alerts().overdue(Timestamp(100), 10).await.unwrap(), [due]);
    assert_eq!(db.alerts().last_update().await.unwrap(), Some(Timestamp(1)));
}

pub(crate) async fn what_still_fires_is_never_forgotten(db: &Db) {
    let firing = stored("fires", AlertStatus::Firing, 0, 0);
    let over = stored("over", AlertStatus::Resolved, 0, 0);
    let event = AlertEvent::new(&over, EventKind::Resolved, Timestamp(0));
    db.alerts().store(&[firing.clone(), over], std::slice::from_ref(&event), false).await.unwrap();
    assert_eq!(db.alerts().prune(Timestamp(10)).await.unwrap(), 1, "the event is not queued yet");
    db.alerts().mark_queued(&[event]).await.unwrap();
    assert_eq!(db.alerts().prune(Timestamp(10)).await.unwrap(), 1);
    assert_eq!(db.alerts().load(&[firing.alert.fingerprint()]).await.unwrap(), [firing]);
}

pub(crate) async fn the_longest_texts_that_are_taken_can_be_stored(db: &Db) {
    let mut alert = stored("long", AlertStatus::Firing, 0, 1);
    let pairs = (0..63).map(|n| (format!("label_{n}"), "磁".repeat(1365)));
    alert.alert.labels =
        Labels::from_pairs(pairs.chain([("alertname".to_owned(), "long".to_owned())]));
    let texts = (0..64).map(|n| (format!("text_{n}"), "😀".repeat(4096)));
    alert.alert.annotations = texts.collect();
    alert.alert.generator_url = format!("http://judge/?g0.expr={}", "x".repeat(16_000));
    db.alerts().store(std::slice::from_ref(&alert), &[], false).await.unwrap();
    assert_eq!(db.alerts().load(&[alert.alert.fingerprint()]).await.unwrap(), [alert]);
}
