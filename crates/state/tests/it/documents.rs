//! Documents and the fencing of who writes them.

use std::time::Duration;

use state::StateError;

use crate::world::World;

pub(crate) async fn a_former_holder_cannot_overwrite_its_successor(world: &mut World) {
    let state = &world.state;
    state.save_document("rule_group", "disk", b"old", 1).await.unwrap();
    state.save_document("rule_group", "disk", b"new", 2).await.unwrap();
    let refused = state.save_document("rule_group", "disk", b"stale", 1).await;
    assert!(matches!(refused, Err(StateError::Fenced { fencing: 1, .. })), "{refused:?}");
    assert_eq!(
        state.load_document("rule_group", "disk").await.unwrap().as_deref(),
        Some(&b"new"[..])
    );
    state.save_document("rule_group", "disk", b"newer", 2).await.unwrap();
    assert_eq!(
        state.load_document("rule_group", "disk").await.unwrap().as_deref(),
        Some(&b"newer"[..])
    );
}

pub(crate) async fn of_documents_saved_together_a_later_holders_stays(world: &mut World) {
    let state = &world.state;
    state.save_document("together", "held", b"late", 9).await.unwrap();
    let documents: [(&str, &[u8], u64); 2] = [("new", b"1", 1), ("held", b"early", 2)];
    assert_eq!(state.save_documents("together", &documents).await.unwrap(), [true, false]);
    let found = state.documents("together").await.unwrap();
    let expected: [(&str, &[u8]); 2] = [("held", b"late"), ("new", b"1")];
    assert_eq!(found, expected.map(|(name, body)| (name.to_owned(), body.to_vec())));
}

pub(crate) async fn documents_of_a_kind_are_listed_until_removed(world: &mut World) {
    let state = &world.state;
    let body: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(2000);
    for (kind, key, body) in
        [("a", "2", &b"y"[..]), ("a", "1", &body), ("a", "3 磁盘", b""), ("b", "1", b"z")]
    {
        state.save_document(kind, key, body, 1).await.unwrap();
    }
    state.remove_document("a", "2").await.unwrap();
    state.remove_document("a", "2").await.unwrap();
    let documents = state.documents("a").await.unwrap();
    assert_eq!(documents, [("1".to_owned(), body), ("3 磁盘".to_owned(), Vec::new())]);
    assert_eq!(state.load_document("a", "2").await.unwrap(), None);
    assert!(state.documents("c").await.unwrap().is_empty());
}

pub(crate) async fn who_was_paused_past_its_lease_cannot_write(world: &mut World) {
    let paused = world.take("paused").await.expect("free");
    world.pass(Duration::from_secs(600)).await;
    let heir = world.take("heir").await.expect("over");
    world.state.save_document("kind", "key", b"of the heir", heir.fencing).await.unwrap();
    let refused = world.state.save_document("kind", "key", b"of the past", paused.fencing).await;
    assert!(matches!(refused, Err(StateError::Fenced { .. })), "{refused:?}");
    assert_eq!(
        world.state.load_document("kind", "key").await.unwrap().as_deref(),
        Some(&b"of the heir"[..])
    );
}
