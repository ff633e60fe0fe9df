//! Several judges with the same rules.

use judge::Config;

use crate::world::{INTERVAL, Judge, LEASE_TIME, PATIENCE, World};

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
    // The second judge looks on meanwhile.
    for _ in 0..5 {
        world.clock.advance(LEASE_TIME / 5);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    world.step(&second, INTERVAL).await;
    world.push(&UP, 0.0).await;
    world.step(&second, INTERVAL).await;
    let heard = testkit::eventually("the second judge tells", PATIENCE, async || {
        world.heard().split_off(told_before).pop()
    })
    .await;
    assert_eq!(heard.identity(), fired.identity());
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

#[tokio::test]
async fn a_judge_that_was_overtaken_stores_and_tells_nothing() {
    let world = World::new().await;
    let config = world.config_with(DOWN);
    let group = format!("{};g", config.rule_files[0].display());
    let judge = world.judge_with(config).await;
    world.push(&UP, 1.0).await;
    world.step(&judge, INTERVAL).await;

    // Another judge took the group over while this one was paused, and has written since.
    let db = db::Db::open(&world.folder.path().join("saker.db"))
        .await
        .expect("the database can be shared");
    let state = state::State::embedded(db);
    state.save_document("rule_group", &group, b"{}", 1 << 60).await.expect("the number is higher");
    world.push(&UP, 0.0).await;
    world.clock.advance(INTERVAL);
    testkit::eventually("the judge notices", PATIENCE, async || {
        let group = judge.group(&world, "g").await?;
        (group["rules"][0]["health"] == "unknown").then_some(())
    })
    .await;
    assert_eq!(world.heard(), []);
    assert_eq!(
        state.load_document("rule_group", &group).await.expect("it can be read").as_deref(),
        Some(&b"{}"[..])
    );
}
