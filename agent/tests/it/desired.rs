//! What hbs wants is done without a restart, and is still done when hbs is away.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;

use saker_agent::catalogue::Group;
use saker_agent::config::{GroupSettings, Interval};
use saker_agent::plugin::verify::sha256_hex;
use std::time::Duration;
use testkit::free_port;
use wire::heartbeat::{Check, DesiredState, MetricsFormat, PluginBundle, PluginFile, PluginRun};

use crate::stand_in::StandIn;
use crate::tiers::Agent;

fn state(hash: &str) -> DesiredState {
    DesiredState {
        hash: hash.to_owned(),
        heartbeat_interval_seconds: 5,
        labels: BTreeMap::from([("env".to_owned(), "prod".to_owned())]),
        ..DesiredState::default()
    }
}

fn reported(agent: &Agent, hash: &str) -> Option<Vec<String>> {
    let last = agent.neighbour.heartbeats().pop()?;
    (last.desired_hash == hash).then_some(last.desired_faults)
}

#[tokio::test]
async fn labels_tiers_and_checks_are_applied_without_a_restart() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let agent = Agent::start(|config| {
        config.root = "/".into();
        config.endpoint = Some("h".into());
        let own =
            GroupSettings { enabled: None, interval: Some(Interval(Duration::from_secs(20))) };
        config.groups.insert(Group::Cpu, own);
    })
    .await;
    agent.advance_until("a first sample", |agent| agent.neighbour.value("load_1min")).await;
    let mut wanted = state("one");
    wanted.checks = vec![Check::PortListen { port }, Check::PortListen { port: free_port() }];
    wanted.tiers = BTreeMap::from([("load".to_owned(), 0), ("gpu".to_owned(), 10)]);
    agent.neighbour.desire(wanted);
    let faults = agent.advance_until("the hash", |agent| reported(agent, "one")).await;
    assert_eq!(faults, ["tier gpu: there is no such group of metrics"]);
    let open = format!(r#"net_port_listen{{env="prod", port="{port}"}}"#);
    let value = agent.advance_until("a check", |agent| agent.neighbour.value(&open)).await;
    assert_eq!(value, 1.0);
    agent
        .advance_until("labels on the groups", |agent| {
            agent.neighbour.value(r#"mem_memtotal{env="prod"}"#)
        })
        .await;
    assert_eq!(agent.neighbour.value(r#"load_1min{env="prod"}"#), None, "hbs switched it off");
    agent.stop().await;
}

#[tokio::test]
async fn the_last_state_is_kept_over_a_restart_without_hbs() {
    let agent = Agent::start(|_| {}).await;
    agent.neighbour.desire(state("kept"));
    agent.advance_until("the hash", |agent| reported(agent, "kept")).await;
    let data = agent.stop().await;
    let again = Agent::start_with(StandIn::start().await, data, |config| {
        config.hbs.addresses = vec![format!("http://127.0.0.1:{}", free_port())];
    })
    .await;
    let labelled = |agent: &Agent| agent.neighbour.value(r#"load_1min{env="prod"}"#);
    again.advance_until("the label of hbs", labelled).await;
    again.stop().await;
}

const SCRIPT: &str = "#!/bin/sh\necho \"[{\\\"metric\\\":\\\"from.hbs\\\",\\\"value\\\":7,\\\"counterType\\\":\\\"GAUGE\\\"}]\"\n";

fn with_plugin(hash: &str, script: &str) -> DesiredState {
    let file = PluginFile {
        path: "sys/10_x.sh".into(),
        sha256: sha256_hex(script.as_bytes()),
        bytes: script.len() as u64,
        executable: true,
    };
    let mut bundle = PluginBundle {
        name: "base".into(),
        digest: String::new(),
        signature: String::new(),
        files: vec![file],
    };
    bundle.digest = sha256_hex(bundle.manifest().as_bytes());
    let run = PluginRun {
        bundle: "base".into(),
        path: "sys/10_x.sh".into(),
        args: Vec::new(),
        interval_seconds: 10,
        timeout_seconds: 0,
        format: MetricsFormat::Detect,
    };
    DesiredState { bundles: vec![bundle], plugins: vec![run], ..state(hash) }
}

#[tokio::test]
async fn plugins_of_hbs_are_fetched_verified_run_and_replaced() {
    let agent = Agent::start(|config| config.plugins.from_hbs = true).await;
    agent.neighbour.desire(with_plugin("first", SCRIPT));
    let faults = agent
        .advance_until("a fault", |agent| reported(agent, "first").filter(|f| !f.is_empty()))
        .await;
    assert!(faults[0].starts_with("bundle base: sys/10_x.sh: get http://"), "{faults:?}");
    // Not what it says it is.
    let sha256 = sha256_hex(SCRIPT.as_bytes());
    agent.neighbour.offer_file(&sha256, &SCRIPT.replace('7', "8"));
    agent
        .advance_until("another fault", |agent| {
            reported(agent, "first").filter(|f| f.iter().any(|f| f.contains("another SHA-256")))
        })
        .await;
    agent.neighbour.offer_file(&sha256, SCRIPT);
    let value = |agent: &Agent| agent.neighbour.value(r#"from_hbs{env="prod"}"#);
    assert_eq!(agent.advance_until("what the plugin prints", value).await, 7.0);
    let newer = SCRIPT.replace('7', "9");
    agent.neighbour.offer_file(&sha256_hex(newer.as_bytes()), &newer);
    agent.neighbour.desire(with_plugin("second", &newer));
    agent.advance_until("the new one", |agent| value(agent).filter(|value| *value == 9.0)).await;
    let faults = agent.advance_until("the hash", |agent| reported(agent, "second")).await;
    assert!(faults.is_empty(), "{faults:?}");
    let data = agent.stop().await;
    let versions = fs::read_dir(data.path().join("plugins/base")).unwrap().count();
    assert!(versions <= 2, "{versions} versions are kept");
}
