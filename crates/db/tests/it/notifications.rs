//! Who was told what.

use db::Db;
use db::alerts::{AlertStatus, Delivery, DeliveryResult, Sent, StoredAlert, Told};
use model::{Fingerprint, Timestamp};

use crate::alerts::stored;

pub(crate) fn told(fingerprint: Fingerprint, result: DeliveryResult, at: i64) -> Told {
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

pub(crate) fn delivery(told: &Told) -> Delivery {
    Delivery {
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
        db.alerts()
            .record(std::slice::from_ref(&entry), std::slice::from_ref(&attempt))
            .await
            .unwrap();
    }
    let read = db.alerts().told(&[Fingerprint(7), Fingerprint(8)]).await.unwrap();
    assert_eq!(read[0].detail.chars().count(), 180);
    assert_eq!((read.len(), read[0].sent), (1, entry.sent));
    assert_eq!(db.alerts().deliveries_of(Fingerprint(7), 9).await.unwrap(), [attempt]);

    let failed = told(Fingerprint(7), DeliveryResult::Failed, 60);
    db.alerts().record(std::slice::from_ref(&failed), &[]).await.unwrap();
    assert_eq!(db.alerts().told(&[Fingerprint(7)]).await.unwrap()[0].sent, None);
    assert_eq!(db.alerts().failed_since(Timestamp(60)).await.unwrap(), 1);
    assert_eq!(db.alerts().failed_since(Timestamp(61)).await.unwrap(), 0);
}

pub(crate) async fn an_end_that_somebody_waits_for_is_found(db: &Db) {
    let over = stored("over", AlertStatus::Resolved, 0, 1);
    let known = stored("known", AlertStatus::Resolved, 0, 1);
    let firing = stored("firing", AlertStatus::Firing, 0, 1);
    let all = [over.clone(), known.clone(), firing.clone()];
    db.alerts().store(&all, &[], true).await.unwrap();
    let entry = |alert: &StoredAlert, status| Told {
        sent: Some(Sent { status, starts_at: Timestamp(1), at: Timestamp(2) }),
        ..told(alert.alert.fingerprint(), DeliveryResult::Sent, 2)
    };
    let entries = [
        entry(&over, AlertStatus::Firing),
        entry(&known, AlertStatus::Resolved),
        entry(&firing, AlertStatus::Firing),
    ];
    db.alerts().record(&entries, &[]).await.unwrap();
    assert_eq!(db.alerts().untold_ends(9).await.unwrap(), [over.alert.fingerprint()]);
    let ids = [over.alert.fingerprint(), firing.alert.fingerprint()];
    assert_eq!(db.alerts().told_by("ops", &ids).await.unwrap().len(), 2);
    assert!(db.alerts().told_by("other", &ids).await.unwrap().is_empty());
}

pub(crate) async fn what_was_held_back_is_found_page_by_page(db: &Db) {
    let mut held: Vec<_> =
        (0..3).map(|n| stored(&format!("a{n}"), AlertStatus::Firing, n, 1)).collect();
    let over = stored("over", AlertStatus::Resolved, 0, 1);
    let elsewhere = stored("elsewhere", AlertStatus::Firing, 0, 1);
    held.sort_by_key(|alert| alert.alert.fingerprint().to_string());
    db.alerts()
        .store(&[&held[..], &[over.clone(), elsewhere.clone()]].concat(), &[], false)
        .await
        .unwrap();
    for alert in held.iter().chain([&over, &elsewhere]) {
        let detail = if *alert == elsewhere { "not_routed" } else { "silenced" };
        let entry = Told {
            detail: detail.to_owned(),
            ..told(alert.alert.fingerprint(), DeliveryResult::Skipped, 7)
        };
        db.alerts().record(&[entry], &[]).await.unwrap();
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
