//! Rollouts over a running hbs: who is offered what and when. Faults of Open-Falcon's upgrade are
//! told by their number in open-falcon.md 5.2.

use std::time::Duration;

use hbs::Config;
use serde_json::{Value, json};
use state::{RedisConfig, State};
use testkit::{Redis, eventually};

use crate::rollout::{Hbs, MD5, SOON, task};

const HOSTS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A heartbeat of each host; the offers.
async fn beats(hbs: &Hbs, hosts: &[&str]) -> Vec<Value> {
    let mut offers = Vec::new();
    for host in hosts {
        offers.push(hbs.beat(host, "7.0", None).await);
    }
    offers
}

fn offered(offers: &[Value]) -> usize {
    offers.iter().filter(|offer| !offer.is_null()).count()
}

#[tokio::test]
async fn a_canary_goes_first_and_the_others_after_its_soak() {
    let hbs = Hbs::start(Config::default()).await;
    assert_eq!(offered(&beats(&hbs, &HOSTS).await), 0);
    // The fleet is counted from the database, which is written once a second.
    eventually("the hosts are stored", SOON, async || {
        hbs.get("/metrics").await.contains("hbs_hosts_stored_total 5").then_some(())
    })
    .await;
    hbs.roll_out(json!({ "soak": 600 })).await;
    let offers = beats(&hbs, &HOSTS).await;
    assert_eq!(offered(&offers), 1, "{offers:?}");
    let offer = &offers[0];
    assert_eq!((&offer["version"], &offer["type"]), (&json!("7.1"), &json!(0)));
    assert_eq!((&offer["lease_seconds"], &offer["rate_bytes"]), (&json!(180), &json!(0)));

    for phase in ["accepted", "downloading", "verifying", "restarting"] {
        assert!(hbs.say("a", "7.0", offer, phase).await.is_null());
        assert_eq!(hbs.status().await["counts"][phase], 1);
    }
    assert!(hbs.say("a", "7.1", offer, "probation").await.is_null());
    assert_eq!(offered(&beats(&hbs, &HOSTS[1..]).await), 0);
    hbs.say("a", "7.1", offer, "confirmed").await;
    let soaking = hbs.until("it soaks", |status| status["phase"] == "soaking").await;
    assert!(soaking["soak_ends_at"].is_string());
    assert_eq!(offered(&beats(&hbs, &HOSTS[1..]).await), 0);
    hbs.pass_until("the last wave is open", |status| status["phase"] == "running").await;
    assert!(hbs.context.clock.now().since(crate::hbs::NOW) >= Duration::from_secs(600));
    for host in &HOSTS[1..] {
        eventually("it is offered the version", SOON, async || {
            (!hbs.beat(host, "7.0", None).await.is_null()).then_some(())
        })
        .await;
    }
    for host in &HOSTS[1..] {
        hbs.say(host, "7.1", offer, "confirmed").await;
    }
    let done = hbs.pass_until("it is done", |status| status["phase"] == "done").await;
    assert_eq!((&done["counts"]["confirmed"], &done["in_flight"]), (&json!(5), &json!(0)));
    assert!(!hbs.beat("late", "7.0", None).await.is_null(), "who comes late is not left behind");
}

/// Fault 11: a failed host tried again every minute for ever, and all others with it.
#[tokio::test]
async fn a_canary_that_fails_halts_the_rollout_with_its_reason() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.roll_out(json!({})).await;
    let offer = hbs.beat("a", "7.0", None).await;
    hbs.say("a", "7.0", &offer, "failed").await;
    let halted = hbs.until("it halts", |status| status["phase"] == "halted").await;
    assert!(halted["why"].as_str().unwrap().starts_with("a canary: in wave 1"), "{halted}");
    assert_eq!(halted["last_errors"], json!([{ "reason": "md5 mismatch", "hosts": 1 }]));
    assert_eq!(halted["failed"][0]["host"], "a");
    assert_eq!(offered(&beats(&hbs, &HOSTS).await), 0, "a halted rollout offers nothing");

    let again = hbs.post(&task("7.1", json!({}))).await;
    assert_eq!(again.status(), 409);
    assert!(again.text().await.unwrap().contains("halted (a canary"));
    let forced = hbs.post(&task("7.1", json!({ "force": true }))).await;
    assert_eq!(forced.status(), 200);
    hbs.until("it goes on", |status| status["phase"] != "halted").await;
}

/// Fault 6: a file whose own version is another one than announced was fetched at every heartbeat.
#[tokio::test]
async fn a_host_whose_version_never_becomes_the_announced_one_is_offered_it_twice() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.roll_out(json!({ "canary": 0, "waves": [100], "max_fail": 9 })).await;
    let mut offers = 0;
    for _ in 0..30 {
        let offer = hbs.beat("a", "7.0-misbuilt", None).await;
        offers += offered(&[offer]);
        hbs.pass(Duration::from_secs(60)).await;
    }
    assert_eq!(offers, 2);
}

/// Fault 7: the task was lost at a restart.
#[tokio::test]
async fn a_rollout_survives_a_restart_of_hbs() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.roll_out(json!({})).await;
    let offer = hbs.beat("a", "7.0", None).await;
    let before = hbs.get("/agent/upgrade/nowargs").await;
    let hbs = hbs.restart().await;
    assert_eq!(hbs.get("/agent/upgrade/nowargs").await, before);
    hbs.until("the canary is known", |status| status["in_flight"] == 1).await;
    assert!(hbs.beat("b", "7.0", None).await.is_null());
    hbs.say("a", "7.1", &offer, "confirmed").await;
    hbs.until("it goes on", |status| status["phase"] == "soaking").await;
}

/// Fault 9: who opted out was upgraded all the same.
#[tokio::test]
async fn a_host_that_refuses_upgrades_is_offered_nothing() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.roll_out(json!({ "canary": 0, "waves": [100] })).await;
    let body = json!({ "host": "pinned", "agent_version": "7.0", "upgradable": false });
    let request = hbs.request("POST", "/v1/heartbeat").body(body.to_string());
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert!(answer["upgrade"].is_null());
    let offer = hbs.beat("a", "7.0", None).await;
    hbs.say("a", "7.0", &offer, "refused").await;
    hbs.context.clock.advance(Duration::from_secs(3600));
    assert!(hbs.say("a", "7.0", &offer, "refused").await.is_null(), "no is an answer");
    assert_ne!(hbs.status().await["phase"], "halted", "and no fault of the version");
}

/// Fault 10, as far as hbs can help: what proves a file is handed on with the offer.
#[tokio::test]
async fn digests_and_signatures_are_handed_on() {
    let hbs = Hbs::start(Config::default()).await;
    let sha = "ab".repeat(32);
    let more = json!({
        "binfile_sha256": sha, "signature": "c2ln", "arch": "x86_64", "bandwidth": 1_000_000_000,
    });
    hbs.roll_out(more).await;
    let offer = hbs.beat("a", "7.0", None).await;
    assert_eq!((&offer["sha256"], &offer["signature"]), (&json!(sha), &json!("c2ln")));
    assert_eq!((&offer["arch"], &offer["rate_bytes"]), (&json!("x86_64"), &json!(500_000)));
}

#[tokio::test]
async fn pausing_and_cancelling_stop_offers_and_not_hosts_that_are_underway() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.roll_out(json!({ "canary": 0, "waves": [100] })).await;
    let offer = hbs.beat("a", "7.0", None).await;
    let call = async |method: &str, path: &str| {
        hbs.request(method, path).send().await.unwrap().status().as_u16()
    };
    assert_eq!(call("POST", "/agent/upgrade/resume").await, 409, "it runs");
    assert_eq!(call("POST", "/agent/upgrade/pause").await, 200);
    assert!(hbs.beat("b", "7.0", None).await.is_null());
    assert_eq!(hbs.status().await["phase"], "paused");
    hbs.say("a", "7.1", &offer, "probation").await;
    assert_eq!(hbs.status().await["in_flight"], 1);
    assert_eq!(call("POST", "/agent/upgrade/resume").await, 200);
    assert!(!hbs.beat("b", "7.0", None).await.is_null());
    assert_eq!(call("DELETE", "/agent/upgrade").await, 200);
    assert!(hbs.beat("c", "7.0", None).await.is_null());
    hbs.say("a", "7.1", &offer, "confirmed").await;
    let status = hbs.status().await;
    assert_eq!((&status["phase"], &status["in_flight"]), (&json!("cancelled"), &json!(1)));
    assert_eq!(call("DELETE", "/agent/upgrade").await, 200, "again is no fault");
}

#[tokio::test]
async fn another_rollout_waits_for_the_end_of_the_first_or_for_force() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.roll_out(json!({})).await;
    let other = hbs.post(&task("7.2", json!({}))).await;
    assert_eq!(other.status(), 409);
    assert!(other.text().await.unwrap().contains("7.1 is not finished"));
    assert_eq!(hbs.post(&task("7.1", json!({}))).await.status(), 200, "the same again");
    assert_eq!(hbs.post(&task("7.2", json!({ "force": true }))).await.status(), 200);
    assert_eq!(hbs.status().await["task"]["version"], "7.2");
}

#[tokio::test]
async fn an_agent_of_open_falcon_is_told_in_its_words_and_judged_by_its_version() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.roll_out(json!({ "canary": 0, "waves": [100] })).await;
    let args = hbs.report_status("a", "6.0.1", false).await;
    let five = json!({
        "type": 0, "wgeturl": "http://192.0.2.9/falcon", "version": "7.1",
        "binfile_md5": MD5, "cfgfile_md5": "",
    });
    assert_eq!(args, five);
    assert!(hbs.report_status("a", "6.0.1", true).await.is_null(), "it works on it");
    assert_eq!(hbs.status().await["counts"]["accepted"], 1);
    assert!(hbs.report_status("a", "7.1", false).await.is_null());
    assert_eq!(hbs.status().await["counts"]["confirmed"], 1);
    assert!(hbs.report_status("b", "7.1", false).await.is_null(), "it had it before");
    assert_eq!(hbs.status().await["counts"]["confirmed"], 1);
}

#[tokio::test]
async fn a_host_that_is_underway_keeps_its_place_and_a_silent_one_does_not() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.roll_out(json!({ "canary": 0, "waves": [100] })).await;
    assert!(!hbs.report_status("busy", "6.0.1", false).await.is_null());
    assert!(!hbs.report_status("silent", "6.0.1", false).await.is_null());
    for _ in 0..5 {
        hbs.pass(Duration::from_secs(60)).await;
        assert!(hbs.report_status("busy", "6.0.1", true).await.is_null());
    }
    let counts = hbs.status().await["counts"].take();
    assert_eq!((&counts["accepted"], &counts["lost"]), (&json!(1), &json!(1)));
    hbs.pass(Duration::from_secs(200)).await;
    // Where hbs had no turn between two looks at the clock, its leases are longer.
    eventually("a second offer", SOON, async || {
        hbs.pass(Duration::from_secs(5)).await;
        (!hbs.report_status("silent", "6.0.1", false).await.is_null()).then_some(())
    })
    .await;
}

/// A group of hosts with these names.
async fn group(hbs: &Hbs, name: &str, pattern: &str) {
    let body = json!({ "host_patterns": [pattern] }).to_string();
    let path = format!("/api/v1/groups/{name}");
    let answer = hbs.request("PUT", &path).body(body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

#[tokio::test]
async fn of_a_group_a_tenth_is_upgraded_at_once_and_one_canary() {
    let hbs = Hbs::start(Config::default()).await;
    group(&hbs, "corp.web", "web-*").await;
    for n in 0..20 {
        hbs.beat(&format!("web-{n:02}"), "7.0", None).await;
    }
    eventually("the hosts are stored", SOON, async || {
        hbs.get("/metrics").await.contains("hbs_hosts_stored_total 20").then_some(())
    })
    .await;
    hbs.roll_out(json!({ "canary": 0, "waves": [100] })).await;
    let web = ["web-00", "web-01", "web-02"];
    let offers = beats(&hbs, &web).await;
    assert_eq!(offered(&offers), 2, "a tenth of twenty");
    hbs.say("web-00", "7.1", &offers[0], "confirmed").await;
    assert_eq!(offered(&beats(&hbs, &web[2..]).await), 1);
    assert!(!hbs.beat("db-01", "7.0", None).await.is_null(), "another group, or none");

    for host in ["web-01", "web-02"] {
        hbs.say(host, "7.1", &offers[1], "confirmed").await;
    }
    hbs.post(&task("7.2", json!({ "canary": 3, "force": true }))).await;
    hbs.until("the canaries are sought", |status| status["wave"] == 1).await;
    let offer = hbs.beat("web-05", "7.0", None).await;
    hbs.say("web-05", "7.2", &offer, "confirmed").await;
    assert!(hbs.beat("web-06", "7.0", None).await.is_null(), "no second canary of the group");
    assert!(!hbs.beat("db-02", "7.0", None).await.is_null());
}

#[tokio::test]
async fn a_rollout_for_a_group_reaches_that_group() {
    let hbs = Hbs::start(Config::default()).await;
    group(&hbs, "corp.pay", "pay-*").await;
    hbs.beat("pay-01", "7.0", None).await;
    hbs.roll_out(json!({ "canary": 0, "waves": [100], "groups": ["corp"] })).await;
    assert!(hbs.beat("web-01", "7.0", None).await.is_null());
    assert!(!hbs.beat("pay-01", "7.0", None).await.is_null());
}

#[tokio::test]
async fn who_changed_a_rollout_is_in_the_audit() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.roll_out(json!({ "reason": "new ss collector" })).await;
    for (method, path) in [
        ("POST", "/agent/upgrade/pause"),
        ("POST", "/agent/upgrade/resume"),
        ("DELETE", "/agent/upgrade"),
    ] {
        assert_eq!(hbs.request(method, path).send().await.unwrap().status(), 200);
    }
    let audit: Value = serde_json::from_str(&hbs.get("/api/v1/audit").await).unwrap();
    let entries = audit["entries"].as_array().unwrap();
    let (steps, entries): (Vec<&Value>, Vec<&Value>) =
        entries.iter().partition(|entry| entry["action"] == "upgrade.step");
    assert_eq!((steps.len(), &steps[0]["actor"]), (1, &json!("hbs")), "the wave was opened");
    let actions: Vec<&str> = entries.iter().map(|e| e["action"].as_str().unwrap()).collect();
    let expected = ["upgrade.cancel", "upgrade.resume", "upgrade.pause", "upgrade.start"];
    assert_eq!(actions, expected);
    assert_eq!((&entries[3]["target"], &entries[3]["peer"]), (&json!("7.1"), &json!("127.0.0.1")));
    assert!(entries[3]["detail"].to_string().contains("new ss collector"));
}

/// Faults 7 and 8: the task had to be posted to every hbs, and several passed the limit together.
#[tokio::test(flavor = "multi_thread")]
async fn several_hbs_share_a_rollout_and_its_limit() {
    let Some(server) = Redis::start().await else { return };
    let state = || State::redis(&RedisConfig::new(server.url())).unwrap();
    let one = Hbs::start_on(Config::default(), state()).await;
    let two = Hbs::start_on(Config::default(), state()).await;
    one.roll_out(json!({ "canary": 0, "waves": [100], "max_in_flight": 3 })).await;
    two.until("the other sees it", |status| status["phase"] == "running").await;
    let mut offers = Vec::new();
    for n in 0..10 {
        let hbs = if n % 2 == 0 { &one } else { &two };
        offers.push(hbs.beat(&format!("host-{n}"), "7.0", None).await);
    }
    assert_eq!(offered(&offers), 3);
    assert!(!offers[0].is_null() && !offers[1].is_null(), "both offer");
    two.say("host-0", "7.1", &offers[0], "confirmed").await;
    assert!(!one.beat("host-9", "7.0", None).await.is_null(), "the place is free for all");
    assert_eq!(two.request("DELETE", "/agent/upgrade").send().await.unwrap().status(), 200);
    two.say("host-1", "7.1", &offers[1], "confirmed").await;
    assert!(one.beat("host-8", "7.0", None).await.is_null(), "cancelled for all at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_nobody_is_offered_anything_and_heartbeats_are_answered() {
    let Some(mut server) = Redis::start_with(&["--appendfsync", "always"]).await else { return };
    let state = State::redis(&RedisConfig::new(server.url())).unwrap();
    let hbs = Hbs::start_on(Config::default(), state).await;
    hbs.roll_out(json!({ "canary": 0, "waves": [100], "max_in_flight": 2 })).await;
    let offer = hbs.beat("a", "7.0", None).await;
    assert!(!offer.is_null());
    server.kill();
    assert!(hbs.beat("b", "7.0", None).await.is_null());
    hbs.say("a", "7.1", &offer, "probation").await;
    let away = hbs.request("GET", "/agent/upgrade").send().await.unwrap();
    assert_eq!(away.status(), 503);
    assert!(hbs.get("/-/ready").await.contains("shared state"));
    server.start_again().await;
    hbs.until("it is back", |status| status["in_flight"] == 1).await;
    assert!(!hbs.beat("b", "7.0", None).await.is_null());
    assert!(hbs.beat("c", "7.0", None).await.is_null(), "the limit holds");
}
