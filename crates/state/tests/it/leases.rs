//! Leases. Three of the cases are the faults of Open-Falcon's lock in hbs: SETNX with a timestamp
//! as value, a take-over that compared an end with another lease time and did not write the key, a
//! release that deleted whosever key it was. The fourth, EXPIRE as a second step, is in `redis.rs`.

use std::time::Duration;

use futures_util::future::join_all;
use state::{Lease, State};

use crate::world::World;

const MINUTE: Duration = Duration::from_secs(60);
const TTL: Duration = Duration::from_secs(600);

impl World {
    pub(crate) async fn take(&self, owner: &str) -> Option<Lease> {
        self.state.take_lease("group", owner, TTL, self.now).await.unwrap()
    }

    /// Many processes ask for the lease at once; those that got it.
    async fn rush(&self) -> Vec<(String, Lease)> {
        let asking: Vec<(String, State)> =
            (0..16).map(|n| (format!("judge-{n}"), self.other_process())).collect();
        let answers = join_all(asking.iter().map(|(owner, state)| async move {
            state.take_lease("group", owner, TTL, self.now).await.unwrap()
        }));
        let answers = answers.await;
        let owners = asking.into_iter().map(|(owner, _)| owner);
        owners.zip(answers).filter_map(|(owner, lease)| Some((owner, lease?))).collect()
    }
}

pub(crate) async fn only_one_owner_holds_a_lease_until_it_ends(world: &mut World) {
    let first = world.take("a").await.expect("the lease is free");
    assert_eq!(first.until, world.now.plus(TTL));
    world.pass(9 * MINUTE).await;
    assert_eq!(world.take("b").await, None);
    world.pass(MINUTE).await;
    let second = world.take("b").await.expect("the lease is over");
    assert!(second.fencing > first.fencing);
    assert_eq!(world.take("a").await, None);
}

pub(crate) async fn a_renewal_keeps_the_fencing_number_and_a_lapse_does_not(world: &mut World) {
    let first = world.take("a").await.expect("free");
    for _ in 0..3 {
        world.pass(9 * MINUTE).await;
        let renewed = world.take("a").await.expect("renewed");
        assert_eq!(renewed, Lease { fencing: first.fencing, until: world.now.plus(TTL) });
    }
    world.pass(10 * MINUTE).await;
    let after_lapse = world.take("a").await.expect("over");
    assert!(after_lapse.fencing > first.fencing);
}

pub(crate) async fn a_released_lease_is_free_at_once_and_only_its_owner_releases_it(
    world: &mut World,
) {
    let first = world.take("a").await.expect("free");
    assert!(!world.state.release_lease("group", "b").await.unwrap());
    assert_eq!(world.take("b").await, None);
    assert!(world.state.release_lease("group", "a").await.unwrap());
    let second = world.take("b").await.expect("released");
    assert!(second.fencing > first.fencing);
}

pub(crate) async fn of_many_who_ask_at_once_one_gets_the_lease(world: &mut World) {
    assert_eq!(world.rush().await.len(), 1);
    assert!(world.take("late").await.is_none());
}

/// Fault of the original: the value was an end already, and another lease time was added: 110
/// seconds instead of 55.
pub(crate) async fn a_dead_holders_lease_is_free_after_one_lease_time_and_not_after_two(
    world: &mut World,
) {
    world.take("dead").await.expect("free");
    world.pass(TTL).await;
    assert!(world.take("heir").await.is_some());
}

/// Fault of the original: a take-over did not write the key, so everybody who looked took over.
pub(crate) async fn of_many_who_take_over_from_a_dead_holder_one_wins(world: &mut World) {
    let dead = world.take("dead").await.expect("free");
    for round in 0..5 {
        world.pass(TTL).await;
        let winners = world.rush().await;
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        assert!(winners[0].1.fencing > dead.fencing + round);
    }
}

/// Fault of the original: a release deleted the key without looking whose it was.
pub(crate) async fn who_lost_its_lease_cannot_release_that_of_its_successor(world: &mut World) {
    world.take("slow").await.expect("free");
    world.pass(TTL).await;
    let heir = world.take("heir").await.expect("over");
    assert!(!world.state.release_lease("group", "slow").await.unwrap());
    assert_eq!(world.take("third").await, None, "the heir still holds it");
    assert_eq!(world.take("heir").await.map(|lease| lease.fencing), Some(heir.fencing));
}

pub(crate) async fn leases_with_odd_names_are_apart(world: &mut World) {
    for name in ["", "a", "a ", "A", "a:fencing", "{a}", "}{", "磁盘 'x\" -- \n"] {
        let lease = world
            .state
            .take_lease(name, &format!("owner of {name}"), TTL, world.now)
            .await
            .unwrap();
        assert!(lease.is_some(), "{name:?}");
    }
}

pub(crate) async fn names_are_reserved_one_by_one_until_they_end_or_are_released(
    world: &mut World,
) {
    let names = |all: &[&str]| -> Vec<String> { all.iter().map(|n| (*n).to_owned()).collect() };
    let reserve = async |world: &World, owner: &str, all: &[&str]| {
        world.state.reserve("ops", &names(all), owner, TTL, world.now).await.unwrap()
    };
    assert!(reserve(world, "a", &[]).await.is_empty());
    assert_eq!(reserve(world, "a", &["1", "2"]).await, [true, true]);
    assert_eq!(reserve(world, "b", &["2", "3", "1"]).await, [false, true, false]);
    assert_eq!(reserve(world, "a", &["2", "3"]).await, [true, false], "one's own is renewed");
    let elsewhere = world.state.reserve("dba", &names(&["1"]), "b", TTL, world.now).await.unwrap();
    assert_eq!(elsewhere, [true], "another place");
    world.state.release("ops", &names(&["1", "3", "4"]), "a").await.unwrap();
    assert_eq!(reserve(world, "c", &["1", "2", "3"]).await, [true, false, false]);
    world.pass(TTL).await;
    assert_eq!(reserve(world, "c", &["2", "3"]).await, [true, true], "they are over");
    world.state.release("ops", &[], "c").await.unwrap();
}
