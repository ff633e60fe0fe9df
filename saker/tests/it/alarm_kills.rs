//! kill -9 of alarm while a storm of alerts leaves through two robots that enforce DingTalk's limit, and through a
//! webhook: everything is told, and hardly anything twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use daemon::{Clock, Context};
use serde_json::{Value, json};
use testkit::eventually;
use tokio::time::Instant;

use crate::alarm_process::{Alarm, Platforms, Taken, post};

/// Long enough for a kill to fall between the arrival of a message and its answer.
const ANSWERS_AFTER: Duration = Duration::from_millis(120);
const SOON: Duration = Duration::from_secs(240);
/// Within which an urgent alert is with somebody, whatever else there is to tell.
const URGENT_WITHIN: Duration = Duration::from_secs(30);

/// Messages that a webhook is told at once, as it is set.
const TOLD_AT_ONCE: usize = 8;

/// A storm and what happens meanwhile.
struct Storm {
    alerts: usize,
    seconds: u64,
    batches: usize,
    kills: usize,
    /// P0 among the alerts.
    urgent: usize,
}

impl Storm {
    /// Alerts that are posted together.
    fn batch(&self) -> usize {
        self.alerts.div_ceil(self.batches)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_with_kills_in_the_midst_is_told_completely_and_hardly_anything_twice() {
    check(&Storm { alerts: 200, seconds: 12, batches: 8, kills: 6, urgent: 4 }).await;
}

/// Two minutes; run by hand. The same with a clock that is moved by hand runs always, in alarm.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; alarm's own test of the storm runs always"]
async fn a_thousand_alerts_in_a_minute_are_told_and_the_urgent_ones_soon() {
    check(&Storm { alerts: 1_000, seconds: 60, batches: 240, kills: 0, urgent: 20 }).await;
}

/// Three minutes; run by hand.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; the same with fewer kills runs always"]
async fn a_thousand_alerts_in_a_minute_and_twenty_kills() {
    check(&Storm { alerts: 1_000, seconds: 60, batches: 240, kills: 20, urgent: 20 }).await;
}

/// Numbers that look random and are the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

async fn check(storm: &Storm) {
    let seed = u64::try_from(Clock::System.now().millis()).unwrap();
    println!("seed {seed}");
    let context = Context::new("e2e", Clock::System).unwrap();
    let platforms = Platforms::start(&context, ANSWERS_AFTER).await;
    let folder = tempfile::tempdir().unwrap();
    let mut alarm = Alarm::start(folder.path(), "info", &settings(&platforms), "").await;
    let (url, http) = (alarm.url.clone(), alarm.http.clone());
    let began = Instant::now();
    let (posted, ()) = tokio::join!(
        post_all(&http, &url, storm),
        kill_at_random(&mut alarm, &platforms, storm, Random(seed)),
    );
    let stormed = began.elapsed();
    let names: BTreeSet<String> = (0..storm.alerts).map(|n| name(storm, n)).collect();
    eventually("the webhook has heard of everything", SOON, async || {
        (of_hook(&platforms).len() == names.len()).then_some(())
    })
    .await;
    let told = eventually("every message is told", SOON, async || {
        let open = alarm.get("/api/v1/messages?stage=waiting").await.as_array()?.len()
            + alarm.get("/api/v1/messages?stage=parked").await.as_array()?.len();
        if open > 0 {
            return None;
        }
        Some(delivered(&alarm, &names).await).filter(|told| told.messages == names.len())
    })
    .await;
    let settled = began.elapsed();

    let hook = of_hook(&platforms);
    assert_eq!(hook.keys().cloned().collect::<BTreeSet<_>>(), names);
    let repeats: usize = hook.values().map(|keys| keys.len() - 1).sum();
    for (name, keys) in &hook {
        assert!(keys.iter().all(|key| *key == keys[0]), "{name}: {keys:?}");
    }
    let robots: Vec<Taken> =
        platforms.taken().into_iter().filter(|taken| taken.at != "hook").collect();
    assert!(robots.len() >= told.attempts, "{} messages, {told:?}", robots.len());
    let twice = robots.len() - told.attempts;
    println!(
        "{} alerts in {:.1} s with {} kills: all told after {:.1} s in {} messages of robots, {} of them \
         twice; the webhook heard {repeats} of {} twice, by the same key; 130101: {}",
        storm.alerts,
        stormed.as_secs_f64(),
        storm.kills,
        settled.as_secs_f64(),
        robots.len(),
        twice,
        storm.alerts,
        platforms.limited(),
    );
    assert!(twice <= storm.kills, "{twice} messages were sent twice in {} kills", storm.kills);
    // A webhook is told one after the other while no more wait than it may be told at once.
    let is_trickle = storm.batch() <= TOLD_AT_ONCE;
    let all = twice + repeats;
    assert!(!is_trickle || all <= storm.kills, "{all} were told twice in {} kills", storm.kills);
    assert_eq!(platforms.limited(), 0, "a kill must not make the next process send too fast");
    println!("{}", log_of_sends(&robots, began));
    let latest = slowest_urgent(&robots, &posted);
    println!(
        "the slowest urgent alert was with a robot {:.1} s after alarm had it",
        latest.as_secs_f64()
    );
    assert!(latest <= URGENT_WITHIN, "an urgent alert took {latest:?}");
}

/// What the robots took: the second, the robot, and how many urgent alerts of how many.
fn log_of_sends(robots: &[Taken], began: Instant) -> String {
    let line = |taken: &Taken| {
        let text = taken.body.to_string();
        let (urgent, plain) = (text.matches("urgent-").count(), text.matches("plain-").count());
        let at = taken.when.saturating_duration_since(began).as_secs_f64();
        format!("{at:.1}{}:{urgent}/{}", taken.at, urgent + plain)
    };
    robots.iter().map(line).collect::<Vec<_>>().join(" ")
}

/// How long the slowest urgent alert took from its acknowledgement to a robot.
fn slowest_urgent(robots: &[Taken], posted: &BTreeMap<String, Instant>) -> Duration {
    let urgent = posted.iter().filter(|(name, _)| name.starts_with("urgent"));
    let took = urgent.map(|(name, at)| {
        let mut told = robots.iter().filter(|taken| taken.body.to_string().contains(name));
        let first = told.next().unwrap_or_else(|| panic!("{name} was not told"));
        first.when.saturating_duration_since(*at)
    });
    took.max().unwrap_or_default()
}

/// The robots are as they come, without a setting of how many messages are under way.
fn settings(platforms: &Platforms) -> String {
    let url = platforms.url();
    let mut text = format!(
        "[[alarm.receivers]]\nname = \"hook\"\nwebhook_url = \"{url}/hook\"\ntimeout = \"2s\"\n\
         [[alarm.receivers]]\nname = \"ops\"\ntimeout = \"10s\"\n"
    );
    for robot in ["a", "b"] {
        text.push_str(&format!(
            "[[alarm.receivers.bots]]\nname = \"{robot}\"\nkind = \"dingtalk_robot\"\n\
             url = \"{url}/robot/{robot}\"\n"
        ));
    }
    text
}

fn is_urgent(storm: &Storm, number: usize) -> bool {
    number.is_multiple_of(storm.alerts / storm.urgent)
}

fn name(storm: &Storm, number: usize) -> String {
    let kind = if is_urgent(storm, number) { "urgent" } else { "plain" };
    format!("{kind}-{number:04}")
}

/// Posts as Prometheus does: again until it is acknowledged; gives back when each alert was.
async fn post_all(http: &reqwest::Client, alarm: &str, storm: &Storm) -> BTreeMap<String, Instant> {
    let mut posted = BTreeMap::new();
    let pause = Duration::from_secs(storm.seconds).div_f64(storm.batches as f64);
    let numbers: Vec<usize> = (0..storm.alerts).collect();
    for batch in numbers.chunks(storm.batch()) {
        let severity = |n: usize| if is_urgent(storm, n) { "P0" } else { "P3" };
        let alert = |n: &usize| {
            json!({ "labels": {
                "alertname": name(storm, *n), "severity": severity(*n), "endpoint": "web-03",
            } })
        };
        let alerts: Vec<Value> = batch.iter().map(alert).collect();
        let alerts = json!(alerts);
        eventually("alerts are taken", SOON, async || {
            post(http, alarm, &alerts).await.then_some(())
        })
        .await;
        posted.extend(batch.iter().map(|n| (name(storm, *n), Instant::now())));
        tokio::time::sleep(pause).await;
    }
    posted
}

/// Every other kill falls between a message and its answer, the others fall anywhere.
async fn kill_at_random(
    alarm: &mut Alarm,
    platforms: &Platforms,
    storm: &Storm,
    mut random: Random,
) {
    let pause = storm.seconds * 1000 / u64::try_from(storm.kills.max(1)).unwrap();
    for kill in 0..storm.kills {
        let is_aimed = kill.is_multiple_of(2);
        if is_aimed && platforms.next_arrival(Duration::from_millis(pause)).await {
            tokio::time::sleep(Duration::from_millis(random.below(90))).await;
        } else {
            tokio::time::sleep(Duration::from_millis(random.below(pause))).await;
        }
        alarm.kill_and_start().await;
    }
}

/// What the webhook was told of each alert: the keys of the messages.
fn of_hook(platforms: &Platforms) -> HashMap<String, Vec<String>> {
    let mut told: HashMap<String, Vec<String>> = HashMap::new();
    for taken in platforms.taken().iter().filter(|taken| taken.at == "hook") {
        for alert in taken.body["alerts"].as_array().into_iter().flatten() {
            let name = alert["labels"]["alertname"].as_str().unwrap_or("").to_owned();
            told.entry(name).or_default().push(taken.key.clone());
        }
    }
    told
}

/// What alarm itself says was delivered through the robots.
#[derive(Debug)]
struct Delivered {
    /// Messages that a robot has, by themselves or in a digest.
    messages: usize,
    /// Attempts that a robot answered with success, each once.
    attempts: usize,
}

async fn delivered(alarm: &Alarm, names: &BTreeSet<String>) -> Delivered {
    let listed = alarm.get("/api/v2/alerts").await;
    let mut attempts: BTreeMap<(String, String), ()> = BTreeMap::new();
    let mut messages = 0;
    for alert in listed.as_array().unwrap() {
        if !names.contains(alert["labels"]["alertname"].as_str().unwrap_or("")) {
            continue;
        }
        let fingerprint = alert["fingerprint"].as_str().unwrap();
        let delivery = alarm.get(&format!("/api/v1/alerts/{fingerprint}/delivery")).await;
        let of_alert = delivery["messages"].as_array().unwrap();
        assert!(of_alert.len() <= 1, "an alert is one message: {delivery}");
        for message in of_alert {
            messages += usize::from(message["stage"] == "sent" || message["stage"] == "digested");
            let sent = message["attempts"].as_array().unwrap().iter();
            attempts.extend(
                sent.filter(|attempt| attempt["result"] == "sent")
                    .map(|attempt| ((attempt["at"].to_string(), attempt["bot"].to_string()), ())),
            );
        }
    }
    Delivered { messages, attempts: attempts.len() }
}
