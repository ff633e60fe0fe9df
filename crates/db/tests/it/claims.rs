//! Who took which alert.

use db::Db;
use db::claims::{ClaimKind, ClaimRow};
use model::{Fingerprint, Timestamp};

pub(crate) async fn a_claim_takes_the_place_of_the_one_before_and_is_forgotten(db: &Db) {
    let claim = |kind, owner: &str, until| ClaimRow {
        fingerprint: Fingerprint(7),
        kind,
        owner: owner.to_owned(),
        note: "在看".to_owned(),
        made_at: Timestamp(1),
        until: Timestamp(until),
    };
    let empty = db.claims().stamp().await.unwrap();
    db.claims().store(&[claim(ClaimKind::Acknowledged, "ann", 50)]).await.unwrap();
    let first = db.claims().stamp().await.unwrap();
    db.claims().store(&[claim(ClaimKind::Acknowledged, "bob", 60)]).await.unwrap();
    assert_ne!(empty, first);
    assert_ne!(first, db.claims().stamp().await.unwrap());
    db.claims().store(&[claim(ClaimKind::Snoozed, "ann", 90)]).await.unwrap();
    let expected =
        [claim(ClaimKind::Acknowledged, "bob", 60), claim(ClaimKind::Snoozed, "ann", 90)];
    assert_eq!(db.claims().all().await.unwrap(), expected);
    assert_eq!(db.claims().prune(Timestamp(61)).await.unwrap(), 1);
    assert_eq!(db.claims().all().await.unwrap().len(), 1);
}
