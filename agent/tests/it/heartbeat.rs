//! hbs hears of the host at once and then regularly.

use std::time::Duration;

use testkit::{eventually, get_text};

use crate::stand_in::PATIENCE;
use crate::tiers::{Agent, START};

#[tokio::test]
async fn the_first_heartbeat_comes_at_once_and_says_what_the_host_is() {
    let agent = Agent::start(|_| {}).await;
    let first =
        eventually("a heartbeat", PATIENCE, async || agent.neighbour.heartbeats().pop()).await;
    assert_eq!((first.host.0.as_str(), first.ip.as_str()), ("db-03", "127.0.0.1"));
    assert_eq!((first.os.as_str(), first.cpus), ("CentOS Linux 7 (Core)", 2));
    assert_eq!((first.agent_version.as_str(), first.sent_at), (env!("CARGO_PKG_VERSION"), START));
    let tick = async || {
        agent.ctx.clock.advance(Duration::from_secs(1));
        Some(agent.neighbour.heartbeats()).filter(|beats| beats.len() >= 2)
    };
    let beats = eventually("another heartbeat", PATIENCE, tick).await;
    // hbs asked for 45 s.
    assert!(beats[1].sent_at.since(beats[0].sent_at) >= Duration::from_secs(45), "{beats:?}");
    agent.ctx.stop().await;
}

#[tokio::test]
async fn the_agent_shows_its_metrics_and_that_it_is_ready() {
    let agent = Agent::start(|_| {}).await;
    let answered = async || {
        let text = get_text(&agent.ctx.http, &format!("{}/metrics", agent.url)).await?;
        text.contains("agent_heartbeats_total{outcome=\"answered\"} 1").then_some(text)
    };
    let text = eventually("the heartbeat in the metrics", PATIENCE, answered).await;
    assert!(text.contains("agent_collector_rounds_total{group=\"cpu\"} "), "{text}");
    assert_eq!(
        get_text(&agent.ctx.http, &format!("{}/-/ready", agent.url)).await.as_deref(),
        Some("ready\n")
    );
    agent.ctx.stop().await;
}

#[tokio::test]
async fn neighbours_that_are_away_are_named_until_they_are_back() {
    let agent = Agent::start(|config| {
        config.hbs.addresses = vec![format!("http://127.0.0.1:{}", testkit::free_port())];
    })
    .await;
    agent.neighbour.answer(503);
    let url = format!("{}/-/ready", agent.url);
    let ready = async || agent.ctx.http.get(&url).send().await.ok()?.text().await.ok();
    let both = async || {
        agent.ctx.clock.advance(Duration::from_secs(1));
        ready().await.filter(|text| text.contains("hbs: ") && text.contains("transfer: "))
    };
    eventually("both are named", PATIENCE, both).await;
    agent.neighbour.answer(204);
    let only_hbs = async || {
        agent.ctx.clock.advance(Duration::from_secs(1));
        ready().await.filter(|text| text.contains("hbs: ") && !text.contains("transfer: "))
    };
    eventually("transfer is back", PATIENCE, only_hbs).await;
    agent.ctx.stop().await;
}
