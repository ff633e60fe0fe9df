//! Several judges with the same rules.

use std::time::Duration;

use judge::Config;

use crate::world::{INTERVAL, Judge, World};

const DOWN: &str = "  - {alert: Down, expr: up == 0}\n";
const UP: [(&str, &str); 2] = [("__name__", "up"), ("endpoint", "web-1")];

async fn two_judges(world: &World) -> (Judge, Judge) {
    let first = world.judge_with(world.config_with(DOWN)).await;
    world.push(&UP, 0.0).await;
    world.step(&first, INTERVAL).await;
    world.hears("the first judge tells", |_| true).await;
    let second = Config { instance: "judge-2".to_owned(), ..world.config_with(DOWN) };
    (first, world.judge_with(second).await)
}

#[tokio::test]
async fn only_the_holder_of_the_lease_evaluates_a_group() {
    let world = World::new().await;
    let (first, second) = two_judges(&world).await;
    for _ in 0..4 {
        world.push(&UP, 0.0).await;
        world.step(&first, INTERVAL).await;
    }
    let group = second.group(&world, "g").await.expect("the group is shown");
    assert_eq!(group["lastEvaluation"], "0001-01-01T00:00:00Z", "{group}");
}

#[tokio::test]
async fn the_groups_of_a_killed_judge_are_taken_over_with_their_alerts() {
    let world = World::new().await;
    let (first, second) = two_judges(&world).await;
    let fired = world.heard().remove(0);
    first.kill();
    let told_before = world.heard().len();
    world.clock.advance(Duration::from_secs(16));
    world.step(&second, INTERVAL).await;
    world.push(&UP, 0.0).await;
    world.step(&second, INTERVAL).await;
    let heard = testkit::eventually("the second judge tells", Duration::from_secs(20), async || {
        world.heard().split_off(told_before).pop()
    })
    .await;
    assert_eq!((heard.labels, heard.starts_at), (fired.labels, fired.starts_at));
    assert!(!world.heard_of_an_end());
}

#[tokio::test]
async fn a_stopped_judge_gives_its_groups_away_at_once() {
    let world = World::new().await;
    let (first, second) = two_judges(&world).await;
    first.stop().await;
    world.push(&UP, 0.0).await;
    world.step(&second, INTERVAL).await;
}
