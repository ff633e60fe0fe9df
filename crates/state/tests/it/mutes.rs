//! Mutes of persons.

use std::time::Duration;

use model::Timestamp;

use crate::world::World;

/// The world's own time in front of a real one: Redis counts from its own clock.
fn at(world: &World) -> Timestamp {
    world.now
}

pub(crate) async fn a_mute_is_seen_by_all_until_it_is_ended(world: &mut World) {
    let now = at(world);
    world.state.mute("id1", "ann_web-03_cpu", "{\"x\":1}", 3600, now).await.unwrap();
    let other = world.other_process();
    let seen = other.mutes(now).await.unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].joined.as_str(), seen[0].body.as_str()), ("ann_web-03_cpu", "{\"x\":1}"));
    let left = seen[0].until.since(now);
    assert!(left > Duration::from_secs(3590) && left <= Duration::from_secs(3600), "{left:?}");
    other.unmute("id1", "ann_web-03_cpu").await.unwrap();
    assert!(world.state.mutes(now).await.unwrap().is_empty());
    other.unmute("id1", "ann_web-03_cpu").await.unwrap();
}

pub(crate) async fn mutes_whose_names_look_the_same_are_apart(world: &mut World) {
    let now = at(world);
    world.state.mute("one", "a_b_c", "{\"n\":1}", 3600, now).await.unwrap();
    world.state.mute("two", "a_b_c", "{\"n\":2}", 60, now).await.unwrap();
    let bodies = async || {
        let seen = world.state.mutes(now).await.unwrap();
        seen.into_iter()
            .map(|mute| (mute.body, mute.until.since(now).as_secs() > 100))
            .collect::<Vec<_>>()
    };
    let (one, two) = ("{\"n\":1}".to_owned(), "{\"n\":2}".to_owned());
    assert_eq!(bodies().await, [(one, true), (two.clone(), false)]);
    world.state.unmute("one", "a_b_c").await.unwrap();
    assert_eq!(bodies().await, [(two, false)]);
    world.state.unmute("two", "a_b_c").await.unwrap();
    assert!(bodies().await.is_empty());
}
