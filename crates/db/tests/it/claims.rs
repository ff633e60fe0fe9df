//! Who took which alert.

use db::Db;
use db::claims::{ClaimAct, ClaimKind, ClaimRow};
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
    let made = |at| (ClaimAct::Made, "ann", Timestamp(at));
    db.claims().store(&[claim(ClaimKind::Acknowledged, "ann", 50)], made(1)).await.unwrap();
    let first = db.claims().stamp().await.unwrap();
    db.claims().store(&[claim(ClaimKind::Acknowledged, "bob", 60)], made(2)).await.unwrap();
    assert_ne!(empty, first);
    assert_ne!(first, db.claims().stamp().await.unwrap());
    db.claims().store(&[claim(ClaimKind::Snoozed, "ann", 90)], made(3)).await.unwrap();
    let expected =
        [claim(ClaimKind::Acknowledged, "bob", 60), claim(ClaimKind::Snoozed, "ann", 90)];
    assert_eq!(db.claims().all().await.unwrap(), expected);
    assert_eq!(db.claims().prune(Timestamp(61)).await.unwrap(), 1);
    assert_eq!(db.claims().all().await.unwrap().len(), 1);
    let back = (ClaimAct::TakenBack, "", Timestamp(4));
    db.claims().store(&[claim(ClaimKind::Snoozed, "ann", 3)], back).await.unwrap();
    let steps = db.claims().steps(Fingerprint(7), 3).await.unwrap();
    let told: Vec<_> =
        steps.iter().map(|step| (step.act, step.by.as_str(), step.claim.owner.as_str())).collect();
    let made = ClaimAct::Made;
    assert_eq!(
        told,
        [(ClaimAct::TakenBack, "", "ann"), (made, "ann", "ann"), (made, "ann", "bob")]
    );
    assert!(db.claims().steps(Fingerprint(8), 3).await.unwrap().is_empty());
    assert_eq!(db.claims().prune_steps(Timestamp(3)).await.unwrap(), 2);
    assert_eq!(db.claims().steps(Fingerprint(7), 9).await.unwrap().len(), 2);
}
