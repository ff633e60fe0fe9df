//! What noise statistics count.

use db::Db;
use db::noise::AckRow;
use model::{Fingerprint, Timestamp};

pub(crate) async fn who_took_an_alert_is_kept_although_the_claim_is_replaced(db: &Db) {
    let ack = |alert, made| AckRow {
        fingerprint: Fingerprint(alert),
        began_at: Timestamp(1),
        made_at: Timestamp(made),
    };
    db.noise().add_acks(&[ack(7, 30), ack(7, 20), ack(8, 20)]).await.unwrap();
    db.noise().add_acks(&[ack(7, 20)]).await.unwrap();
    let found = db.noise().acks(Timestamp(20), 10).await.unwrap();
    assert_eq!(found, [ack(7, 20), ack(8, 20), ack(7, 30)]);
    assert_eq!(db.noise().acks(Timestamp(21), 10).await.unwrap().len(), 1);
    assert_eq!(db.noise().acks(Timestamp(0), 2).await.unwrap().len(), 2);
    assert_eq!(db.noise().events(Timestamp(0), 10).await.unwrap(), []);
    assert_eq!(db.noise().muted(Timestamp(0), 10).await.unwrap(), []);
    assert_eq!(db.noise().prune(Timestamp(21)).await.unwrap(), 2);
}
