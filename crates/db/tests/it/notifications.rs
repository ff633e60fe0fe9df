//! Who was told what.

use db::Db;
use db::alerts::{AlertEvent, AlertStatus, Delivery, DeliveryResult, EventKind, Sent, Told};
use model::{Fingerprint, Timestamp};

use crate::alerts::stored;

fn told(fingerprint: Fingerprint, result: DeliveryResult, at: i64) -> Told {
    let sent = Sent { status: AlertStatus::Firing, starts_at: Timestamp(1), at: Timestamp(at) };
    Told {
        fingerprint,
        receiver: "ops".to_owned(),
        sent: (result == DeliveryResult::Sent).then_some(sent),
        result,
        tried_at: Timestamp(at),
        attempts: 3,
        code: 503,
        detail: "拒绝".repeat(200),
    }
}

fn delivery(told: &Told) -> Delivery {
    Delivery {
        id: format!("{}-{}", told.fingerprint, told.tried_at.0),
        fingerprint: told.fingerprint,
        receiver: told.receiver.clone(),
        status: AlertStatus::Firing,
        at: told.tried_at,
        result: told.result,
        attempt: told.attempts,
        code: told.code,
        duration_ms: 12,
        detail: "busy".to_owned(),
    }
}

pub(crate) async fn an_entry_reads_back_and_its_detail_is_cut(db: &Db) {
    let entry = told(Fingerprint(7), DeliveryResult::Sent, 50);
    let attempt = delivery(&entry);
    for _ in 0..2 {
        db.alerts().record(&entry, Some(&attempt)).await.unwrap();
    }
    let read = db.alerts().told(&[Fingerprint(7), Fingerprint(8)]).await.unwrap();
    assert_eq!(read[0].detail.chars().count(), 180);
    assert_eq!((read.len(), read[0].sent), (1, entry.sent));
    assert_eq!(db.alerts().deliveries_of(Fingerprint(7), 9).await.unwrap(), [attempt]);

    let failed = told(Fingerprint(7), DeliveryResult::Failed, 60);
    db.alerts().record(&failed, None).await.unwrap();
    assert_eq!(db.alerts().told(&[Fingerprint(7)]).await.unwrap()[0].sent, None);
    assert_eq!(db.alerts().failed_since(Timestamp(60)).await.unwrap(), 1);
    assert_eq!(db.alerts().failed_since(Timestamp(61)).await.unwrap(), 0);
}

pub(crate) async fn only_firing_alerts_are_repeated_and_only_when_due(db: &Db) {
    let due = stored("due", AlertStatus::Firing, 3, 1);
    let over = stored("over", AlertStatus::Resolved, 0, 1);
    let early = stored("early", AlertStatus::Firing, 0, 1);
    let skipped = stored("skipped", AlertStatus::Firing, 0, 1);
    db.alerts()
        .store(&[due.clone(), over.clone(), early.clone(), skipped.clone()], &[])
        .await
        .unwrap();
    for (alert, result, at) in [
        (&due, DeliveryResult::Failed, 10),
        (&over, DeliveryResult::Sent, 10),
        (&early, DeliveryResult::Sent, 11),
        (&skipped, DeliveryResult::Skipped, 10),
    ] {
        db.alerts().record(&told(alert.alert.fingerprint(), result, at), None).await.unwrap();
    }
    let repeats = db.alerts().due_repeats("ops", Timestamp(10), 9).await.unwrap();
    assert_eq!(repeats, [(due.alert.fingerprint(), 3, Timestamp(10))]);
    assert!(db.alerts().due_repeats("other", Timestamp(10), 9).await.unwrap().is_empty());
}

pub(crate) async fn a_receiver_is_offered_what_fires_and_it_knows_nothing_of(db: &Db) {
    let known = stored("known", AlertStatus::Firing, 0, 1);
    let fresh = stored("fresh", AlertStatus::Firing, 2, 5);
    let over = stored("over", AlertStatus::Resolved, 0, 1);
    let held_back = stored("held back", AlertStatus::Firing, 3, 1);
    db.alerts().store(&[known.clone(), fresh.clone(), over, held_back.clone()], &[]).await.unwrap();
    for (alert, result) in
        [(&known, DeliveryResult::Retrying), (&held_back, DeliveryResult::Skipped)]
    {
        db.alerts().record(&told(alert.alert.fingerprint(), result, 1), None).await.unwrap();
    }
    let begun = stored("begun", AlertStatus::Firing, 0, 1);
    let event = AlertEvent::new(&begun, EventKind::Firing, Timestamp(1));
    db.alerts().store(&[begun], &[event]).await.unwrap();
    let offered = db.alerts().untold("ops", 9).await.unwrap();
    let expected = [
        (fresh.alert.fingerprint(), 2, Timestamp(5)),
        (held_back.alert.fingerprint(), 3, Timestamp(1)),
    ];
    assert_eq!(offered, expected);
}

pub(crate) async fn what_was_held_back_is_found_page_by_page(db: &Db) {
    let mut held: Vec<_> =
        (0..3).map(|n| stored(&format!("a{n}"), AlertStatus::Firing, n, 1)).collect();
    let over = stored("over", AlertStatus::Resolved, 0, 1);
    let elsewhere = stored("elsewhere", AlertStatus::Firing, 0, 1);
    held.sort_by_key(|alert| alert.alert.fingerprint().to_string());
    db.alerts()
        .store(&[&held[..], &[over.clone(), elsewhere.clone()]].concat(), &[])
        .await
        .unwrap();
    for alert in held.iter().chain([&over, &elsewhere]) {
        let detail = if *alert == elsewhere { "not_routed" } else { "silenced" };
        let entry = Told {
            detail: detail.to_owned(),
            ..told(alert.alert.fingerprint(), DeliveryResult::Skipped, 7)
        };
        db.alerts().record(&entry, None).await.unwrap();
    }
    let (mut found, mut after) = (Vec::new(), Fingerprint(0));
    while let Some(last) = db.alerts().held_back("ops", "silenced", after, 2).await.unwrap().last()
    {
        found.extend(db.alerts().held_back("ops", "silenced", after, 2).await.unwrap());
        after = last.0;
    }
    let expected: Vec<_> = held
        .iter()
        .map(|alert| (alert.alert.fingerprint(), alert.priority, Timestamp(7)))
        .collect();
    assert_eq!(found, expected);
}
