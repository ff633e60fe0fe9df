//! A data centre with two addresses: when one is slow or away, the other one answers, and nothing is missing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use apiproxy::{Config, DataCentre, Deps};
use daemon::Context;
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::Value;
use storage::{RemoteConfig, Storage};
use testkit::eventually;

use crate::faults::store;
use crate::federation::hosts;
use crate::gate::{Gate, Way};
use crate::service::NOW;

const SOON: Duration = Duration::from_secs(30);

/// Two data centres; the first has a second address.
struct World {
    context: Context,
    addr: SocketAddr,
    first: Gate,
    second: Gate,
}

impl World {
    async fn new(timeout: Duration) -> Self {
        let context = testkit::context_at(NOW).for_role("apiproxy");
        let held = store(hosts(0..3)).await;
        let other = store(hosts(3..6)).await;
        let (first, second) = (Gate::to(held, &context).await, Gate::to(held, &context).await);
        let reader = |url: String| {
            let remote = RemoteConfig { timeout, ..RemoteConfig::new(url, "") };
            let storage = Storage::remote(&remote, context.http.clone());
            storage.expect("it is an address").reader()
        };
        let centre = |name: &str, url: String, replicas: Vec<String>| DataCentre {
            name: name.to_owned(),
            reader: reader(url),
            labels: BTreeMap::new(),
            timeout,
            replicas: replicas.into_iter().map(reader).collect(),
        };
        let centres = vec![
            centre("bj", first.url(), vec![second.url()]),
            centre("sh", format!("http://{other}"), vec![]),
        ];
        let config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        let deps = Deps { centres, ..Deps::default() };
        let addr = apiproxy::start(config, deps, &context).await.expect("port 0 is free");
        let world = Self { context, addr, first, second };
        eventually("the hosts are known", SOON, async || {
            let list = world.centres().await;
            list.iter().all(|one| one["hosts"] == 3).then_some(())
        })
        .await;
        world
    }

    async fn centres(&self) -> Vec<Value> {
        let url = format!("http://{}/api/v1/datacenters", self.addr);
        let told = testkit::get_json(&self.context.http, &url).await.expect("it answers");
        told["data"].as_array().expect("it is a list").clone()
    }

    /// The number of hosts that are counted, and who is missing.
    async fn count(&self) -> (String, String) {
        let url =
            format!("http://{}/api/v1/query?query=count(cpu)&time={}", self.addr, NOW.seconds());
        let answer = self.context.http.get(url).send().await.expect("it answers");
        assert_eq!(answer.status(), StatusCode::OK);
        let missing = answer.headers().get("x-saker-partial");
        let missing = missing.map_or("", |value| value.to_str().expect("it is a text")).to_owned();
        let body: Value = answer.json().await.expect("it is JSON");
        (body["data"]["result"][0]["value"][1].to_string(), missing)
    }

    async fn counts_all(&self) {
        assert_eq!(self.count().await, ("\"6\"".to_owned(), String::new()));
    }

    async fn second_requests(&self, result: &str) -> f64 {
        let url = format!("http://{}/metrics", self.addr);
        let page = testkit::get_text(&self.context.http, &url).await.expect("it answers");
        let page = wire::exposition::parse(&page, NOW);
        let labels = [("datacenter", "bj"), ("result", result)];
        page.value("apiproxy_datacenter_second_requests_total", &labels).unwrap_or(0.0)
    }
}

#[tokio::test]
async fn a_replica_answers_for_one_that_is_away() {
    let world = World::new(Duration::from_secs(20)).await;
    world.counts_all().await;
    assert_eq!(world.second.asked(), 0, "one is enough");
    world.first.set(Way::Closed);
    for _ in 0..5 {
        world.counts_all().await;
    }
    assert!(world.second_requests("instead").await >= 1.0);
    let told = &world.centres().await[0];
    assert_eq!((&told["health"], &told["replicas"][0]), (&"away".into(), &"ok".into()));
    world.second.set(Way::Closed);
    assert_eq!(world.count().await, ("\"3\"".to_owned(), "bj".to_owned()));
}

#[tokio::test]
async fn a_replica_is_asked_as_well_when_the_first_is_slower_than_usual_and_the_slower_is_cancelled()
 {
    let world = World::new(Duration::from_secs(40)).await;
    // What is usual: at most a second.
    world.first.set(Way::Late(Duration::from_secs(1)));
    join_all((0..20).map(|_| world.counts_all())).await;
    world.first.set(Way::Open);
    for _ in 0..80 {
        world.counts_all().await;
    }
    world.first.set(Way::Silent);
    world.counts_all().await;
    assert!(world.second_requests("hedge").await >= 1.0);
    assert!(world.second_requests("won").await >= 1.0);
    eventually("the first is no longer asked", SOON, async || {
        (world.first.given_up() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_that_hangs_is_waited_for_half_of_the_time_at_most() {
    let world = World::new(Duration::from_secs(10)).await;
    world.first.set(Way::Silent);
    for _ in 0..3 {
        world.counts_all().await;
    }
    assert_eq!(world.second_requests("instead").await, 3.0);
    assert_eq!(world.centres().await[0]["health"], "away", "it is not asked first any more");
    let before = world.first.asked();
    world.counts_all().await;
    assert_eq!(world.first.asked(), before);
}
