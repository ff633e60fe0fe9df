//! Which data centres are asked for a host: learned from stores and hbs, on a clock that the test moves.

use serde_json::{Value, json};
use testkit::eventually;

use crate::world::{Hbs, SOON, World, context, write};

async fn told(world: &World, name: &str) -> Value {
    world.json(&format!("/api/v1/datacenters/{name}")).await["data"].take()
}

#[tokio::test]
async fn a_host_that_moved_is_right_within_ten_seconds() {
    let context = context();
    let (bj, sh) = (Hbs::start(&context).await, Hbs::start(&context).await);
    bj.beat("h1").await;
    sh.beat("h2").await;
    let world = World::start(context, &[("bj", &["h1"], &[&bj]), ("sh", &["h2"], &[&sh])]).await;
    assert_eq!(world.sum("load{endpoint=\"h1\"}").await, "1");
    assert_eq!(world.sum("load").await, "2");

    sh.beat("h1").await;
    world.ten_seconds_later();
    let now = world.context.clock.now();
    write(&world.stores[1], &["h1"], now).await;
    // One series of one host, whichever store its samples are in: the newest counts, and it counts once.
    eventually("it is found where it moved to", SOON, async || {
        let newest = world.sum("timestamp(load{endpoint=\"h1\"})").await;
        (newest == now.seconds().to_string()).then_some(())
    })
    .await;
    assert_eq!(world.sum("load").await, "2");
    assert_eq!(world.sum("load{endpoint=~\"h1.*\"}").await, "1", "by a pattern, too");
    assert_eq!(world.metrics().await.value("apiproxy_catalogue_shared_hosts", &[]), Some(1.0));
}

#[tokio::test]
async fn without_any_hbs_a_host_that_moved_is_right_within_ten_seconds_too() {
    let world = World::start(context(), &[("bj", &["h1"], &[]), ("sh", &["h2"], &[])]).await;
    let now = world.context.clock.now().plus(std::time::Duration::from_secs(10));
    write(&world.stores[1], &["h1"], now).await;
    world.ten_seconds_later();
    eventually("it is found where it moved to", SOON, async || {
        let newest = world.sum("timestamp(load{endpoint=\"h1\"})").await;
        (newest == now.seconds().to_string()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_hbs_told_last_is_kept_while_it_is_away_and_its_age_is_shown() {
    let context = context();
    let (bj, sh) = (Hbs::start(&context).await, Hbs::start(&context).await);
    bj.beat("h1").await;
    bj.beat("spare").await;
    let world = World::start(context, &[("bj", &["h1"], &[&bj]), ("sh", &["h2"], &[&sh])]).await;
    let before = told(&world, "bj").await;
    assert_eq!((&before["hosts"], &before["hostsHeard"]), (&json!(1), &json!(2)), "{before}");
    assert_eq!(before["setBy"], "config");
    let url = bj.url.clone();
    bj.stop().await;
    world.ten_seconds_later();
    let after = eventually("it is missed", SOON, async || {
        let told = told(&world, "bj").await;
        told["hbs"][0]["lastError"].is_string().then_some(told)
    })
    .await;
    assert_eq!(after["hostsHeard"], 2, "{after}");
    assert_eq!((&after["hbs"][0]["hosts"], &after["hbs"][0]["url"]), (&json!(2), &json!(url)));
    assert!(after["hbs"][0]["ageSeconds"].as_f64() >= Some(5.0), "{after}");
    let labels = [("datacenter", "bj"), ("source", url.as_str())];
    let age = world.metrics().await.value("apiproxy_catalogue_age_seconds", &labels);
    assert!(age >= Some(5.0), "{age:?}");
    assert_eq!(world.sum("load").await, "2", "the stores are asked as before");
}

#[tokio::test]
async fn a_host_of_no_data_centre_has_an_empty_answer_and_a_new_one_is_found_at_once() {
    let world = World::start(context(), &[("bj", &["h1"], &[]), ("sh", &["h2"], &[])]).await;
    assert_eq!(world.sum("load{endpoint=\"nobody\"}").await, "");
    assert_eq!(world.sum("load{endpoint=~\"nobody.*\"}").await, "");
    write(&world.stores[1], &["new"], world.context.clock.now()).await;
    assert_eq!(world.sum("load{endpoint=\"new\"}").await, "1");
    assert_eq!(world.sum("load{endpoint=~\"ne.+\"}").await, "1", "no known host matches");
}

#[tokio::test]
async fn a_host_in_two_data_centres_is_one() {
    let parts: [crate::world::Part<'_>; 2] = [("bj", &["h1", "both"], &[]), ("sh", &["both"], &[])];
    let world = World::start(context(), &parts).await;
    for (expression, sum) in [
        ("load", "2"),
        ("load{endpoint=\"both\"}", "1"),
        ("load{endpoint=~\"bo.*\"}", "1"),
        ("count by (endpoint) (load)", "2"),
    ] {
        assert_eq!(world.sum(expression).await, sum, "{expression}");
    }
    let hosts = world.json("/api/v1/graph/endpoint").await;
    assert_eq!(hosts.as_array().map(Vec::len), Some(2), "{hosts}");
}

#[tokio::test]
async fn pages_and_patterns_are_of_the_hosts_of_all_data_centres() {
    let parts: [crate::world::Part<'_>; 2] =
        [("bj", &["db-1", "db-3", "web-1"], &[]), ("sh", &["db-2", "db-3", "web-2"], &[])];
    let world = World::start(context(), &parts).await;
    let page = async |query: &str| -> Vec<String> {
        let hosts = world.json(&format!("/api/v1/graph/endpoint?{query}")).await;
        let hosts = hosts.as_array().expect("a list").iter();
        hosts.map(|host| host["endpoint"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(page("limit=2").await, ["db-1", "db-2"]);
    assert_eq!(page("limit=2&page=2").await, ["db-3", "web-1"]);
    assert_eq!(page("limit=2&page=3").await, ["web-2"]);
    assert!(page("limit=2&page=4").await.is_empty());
    assert_eq!(page("q=^db&limit=2&page=2").await, ["db-3"], "in both and once");
    assert_eq!(page("q=web%20[2-9]$").await, ["web-2"]);
    let find = world.json("/api/v1/grafana/metrics/find?query=db").await;
    assert_eq!(find.as_array().map(Vec::len), Some(3), "{find}");
    let last = world.request(reqwest::Method::POST, "/api/v1/graph/lastpoint");
    let last = last
        .body(r#"[{"endpoint":"web-2","counter":"load"},{"endpoint":"db-1","counter":"load"}]"#);
    let last: Value = last.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&last[0]["value"]["value"], &last[1]["value"]["value"]),
        (&json!(1.0), &json!(1.0))
    );
}
