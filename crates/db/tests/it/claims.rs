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

pub(crate) async fn a_note_about_a_claim_leaves_the_claim_as_it_is(db: &Db) {
    let claim = ClaimRow {
        fingerprint: Fingerprint(9),
        kind: ClaimKind::Acknowledged,
        owner: "ann".to_owned(),
        note: String::new(),
        made_at: Timestamp(1),
        until: Timestamp(50),
    };
    db.claims()
        .store(std::slice::from_ref(&claim), (ClaimAct::Made, "ann", Timestamp(1)))
        .await
        .unwrap();
    let stamp = db.claims().stamp().await.unwrap();
    for act in [ClaimAct::Reminded, ClaimAct::Unreached] {
        let note = (act, "", Timestamp(40));
        db.claims().note(std::slice::from_ref(&claim), note).await.unwrap();
        db.claims().note(std::slice::from_ref(&claim), note).await.unwrap();
    }
    assert_eq!(db.claims().stamp().await.unwrap(), stamp);
    let acts: Vec<_> = db.claims().steps(Fingerprint(9), 9).await.unwrap();
    let acts: Vec<_> = acts.into_iter().map(|step| (step.act, step.at.0)).collect();
    let expected = [(ClaimAct::Unreached, 40), (ClaimAct::Reminded, 40), (ClaimAct::Made, 1)];
    assert_eq!(acts, expected, "noted twice it is one step");
}
