//! Messages over two robots: limits, digests, outages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use db::messages::Stage;
use model::Timestamp;
use serde_json::json;
use testkit::eventually;

use crate::harness::{Alarm, PATIENCE, START};
use crate::robots::{Robots, Taken};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const TOKEN: &str = "[mutes]\ntoken = \"api-token\"\n";

struct World {
    alarm: Alarm,
    robots: Robots,
    _context: daemon::Context,
}

impl World {
    /// Alarm over two robots.
    async fn start() -> Self {
        let context = testkit::context_at(START);
        let robots = Robots::start(&context).await;
        let alarm = Alarm::start(&(TOKEN.to_owned() + &robots.settings(&["a", "b"]))).await;
        robots.go_by(&alarm.context.clock);
        Self { alarm, robots, _context: context }
    }

    async fn restart(self) -> Self {
        let settings = TOKEN.to_owned() + &self.robots.settings(&["a", "b"]);
        let alarm = self.alarm.restart(&settings, SECOND).await;
        self.robots.go_by(&alarm.context.clock);
        Self { alarm, ..self }
    }

    async fn fire(&self, names: &[(String, &str)]) {
        let alerts: Vec<_> = names
            .iter()
            .map(|(name, severity)| {
                json!({
                    "labels": { "alertname": name, "severity": severity, "endpoint": "web-03" },
                    "annotations": { "value": "97.2" },
                    "startsAt": self.alarm.moment(0), "endsAt": self.alarm.moment(36_000),
                })
            })
            .collect();
        assert_eq!(self.alarm.post(json!(alerts).to_string()).await.0, 200);
    }

    async fn in_stage(&self, stage: Stage) -> usize {
        self.alarm.db().messages().in_stage(stage, 100_000).await.unwrap().len()
    }

    /// Waits until so many messages are in a stage, while the clock stands still.
    async fn until(&self, stage: Stage, count: usize) {
        eventually(&format!("{count} are {}", stage.as_str()), PATIENCE, async || {
            (self.in_stage(stage).await == count).then_some(())
        })
        .await;
    }

    /// Lets time pass until so many messages are in a stage.
    async fn until_later(&self, stage: Stage, count: usize, step: Duration) {
        eventually(&format!("{count} are {}", stage.as_str()), PATIENCE * 3, async || {
            self.alarm.advance(step);
            (self.in_stage(stage).await == count).then_some(())
        })
        .await;
    }

    async fn all(&self) -> usize {
        let mut all = 0;
        for stage in Stage::ALL {
            all += self.in_stage(stage).await;
        }
        all
    }
}

fn numbered(from: usize, count: usize, severity: &str) -> Vec<(String, &str)> {
    (from..from + count).map(|number| (format!("{severity}-{number:04}"), severity)).collect()
}

fn first_with<'a>(taken: &'a [Taken], name: &str) -> Option<&'a Taken> {
    taken.iter().find(|taken| taken.text.contains(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_leaves_through_the_main_robot_and_is_recorded() {
    let world = World::start().await;
    world.fire(&numbered(0, 1, "P0")).await;
    world.until(Stage::Sent, 1).await;
    let taken = world.robots.taken();
    assert_eq!((taken.len(), taken[0].robot.as_str()), (1, "a"));
    assert!(taken[0].text.contains("[Saker] P0 P0-0000 · web-03"), "{}", taken[0].text);
    let case = world.alarm.case("P0-0000").await;
    let fingerprint = case["fingerprint"].as_str().unwrap();
    let path = format!("/api/v1/alerts/{fingerprint}/delivery");
    let delivery = world.alarm.get_json(&format!("{path}?user=ops")).await;
    assert!(delivery["why"].as_str().unwrap().starts_with("ops was told at"), "{delivery}");
    let attempt = &delivery["messages"][0]["attempts"][0];
    assert_eq!((&attempt["bot"], &attempt["result"]), (&json!("a"), &json!("sent")));
    let other = world.alarm.get_json(&format!("{path}?user=eve")).await;
    assert!(other["why"].as_str().unwrap().contains("no message about this alert"), "{other}");
    let metrics = world.alarm.get("/metrics").await;
    let line = "alarm_message_attempts_total{receiver=\"ops\",bot=\"a\",answer=\"sent\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_reaches_nobody_too_fast_loses_nothing_and_holds_up_nothing_urgent() {
    let world = World::start().await;
    let mut fired_at: HashMap<String, Timestamp> = HashMap::new();
    let mut posted = 0;
    for second in 0..60 {
        let mut names = numbered(posted, if second < 40 { 17 } else { 16 }, "P3");
        if second % 3 == 0 {
            names[0] = (format!("P0-{second:04}"), "P0");
            fired_at.insert(names[0].0.clone(), world.alarm.context.clock.now());
        }
        posted += names.len();
        world.fire(&names).await;
        eventually("all are messages", PATIENCE, async || {
            (world.all().await == posted).then_some(())
        })
        .await;
        world.alarm.advance(SECOND);
    }
    assert_eq!(posted, 1_000);
    world.until_later(Stage::Waiting, 0, SECOND).await;
    assert_eq!(world.robots.limited(), 0, "the platform never had to say that it was too much");
    assert_eq!((world.in_stage(Stage::Parked).await, world.in_stage(Stage::Failed).await), (0, 0));
    let (sent, digested) =
        (world.in_stage(Stage::Sent).await, world.in_stage(Stage::Digested).await);
    assert_eq!(sent + digested, posted, "nothing is lost");
    assert!(digested > 800, "{sent} sent, {digested} digested");
    let taken = world.robots.taken();
    for (name, at) in &fired_at {
        let told = first_with(&taken, name).unwrap_or_else(|| panic!("{name} was not told"));
        assert!(told.at.since(*at) <= Duration::from_secs(30), "{name}: {:?}", told.at.since(*at));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backup_robot_carries_while_the_main_one_is_away() {
    let world = World::start().await;
    world.robots.away(&["a"]);
    world.fire(&numbered(0, 3, "P1")).await;
    world.until(Stage::Sent, 3).await;
    assert!(world.robots.taken().iter().all(|taken| taken.robot == "b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_a_quarter_of_an_hour_parks_messages_and_loses_none() {
    let world = World::start().await;
    world.robots.away(&["a", "b"]);
    let began = world.alarm.context.clock.now();
    world.fire(&numbered(0, 5, "P1")).await;
    world.until_later(Stage::Parked, 5, SECOND).await;
    assert!(world.robots.taken().is_empty());
    let world = world.restart().await;
    assert_eq!(world.in_stage(Stage::Parked).await, 5, "the failed queue survives a restart");
    while world.alarm.context.clock.now().since(began) < 15 * MINUTE {
        world.alarm.advance(10 * SECOND);
        tokio::task::yield_now().await;
    }
    world.robots.away(&[]);
    world.until_later(Stage::Sent, 5, 10 * SECOND).await;
    let taken = world.robots.taken();
    assert_eq!(taken.len(), 5);
    assert!(taken.iter().all(|taken| !taken.links.is_empty()), "cards stay cards");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_finally_fails_and_can_be_sent_again() {
    let world = World::start().await;
    world.robots.away(&["a", "b"]);
    world.fire(&numbered(0, 1, "P1")).await;
    world.until_later(Stage::Failed, 1, 5 * SECOND).await;
    let failed = world.alarm.get_json("/api/v1/messages?stage=failed").await;
    assert_eq!(failed[0]["code"], "503");
    let id = failed[0]["id"].as_str().unwrap();
    let url = world.alarm.url(&format!("/api/v1/messages/{id}/send-again"));
    let again = |token: &'static str| {
        world
            .alarm
            .context
            .http
            .post(&url)
            .header("Authorization", format!("Bearer {token}"))
            .send()
    };
    assert_eq!(again("wrong").await.unwrap().status(), 401);
    world.robots.away(&[]);
    assert_eq!(again("api-token").await.unwrap().status(), 200);
    // The failure is an alert, which is a message as well: this one is found by its id.
    eventually("it is sent", PATIENCE, async || {
        world.alarm.advance(SECOND);
        let rows = world.alarm.db().messages().load(&[id.to_owned()]).await.unwrap();
        (rows[0].stage == Stage::Sent).then_some(())
    })
    .await;
    assert!(first_with(&world.robots.taken(), "P1-0000").is_some());
    assert_eq!(again("api-token").await.unwrap().status(), 409, "it was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_can_be_tested() {
    let world = World::start().await;
    let post = |name: &str, token: &'static str| {
        let url = world.alarm.url(&format!("/api/v1/receivers/{name}/test"));
        world.alarm.context.http.post(url).header("Authorization", format!("Bearer {token}")).send()
    };
    assert_eq!(post("ops", "wrong").await.unwrap().status(), 401);
    assert_eq!(post("nobody", "api-token").await.unwrap().status(), 404);
    assert_eq!(post("ops", "api-token").await.unwrap().status(), 202);
    world.until(Stage::Sent, 1).await;
    assert!(world.robots.taken()[0].text.contains("Nothing is wrong"));
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_ever_logged_or_shown() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_writer(move || writer.clone())
        .finish();
    // Another test of this process may have set one; then this one sees less and proves less.
    let _ = tracing::subscriber::set_global_default(subscriber);
    let world = World::start().await;
    world.robots.away(&["a", "b"]);
    world.fire(&numbered(0, 1, "P1")).await;
    world.until_later(Stage::Failed, 1, 5 * SECOND).await;
    let failed = world.alarm.get("/api/v1/messages?stage=failed").await;
    let metrics = world.alarm.get("/metrics").await;
    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("a message has finally failed"), "{logged}");
    for text in [logged, failed, metrics] {
        for secret in ["hunter2", "SECstand-in", "api-token"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_finally_failed_are_an_alert_until_they_are_sent() {
    let world = World::start().await;
    world.robots.away(&["a", "b"]);
    world.fire(&numbered(0, 1, "P1")).await;
    world.until_later(Stage::Failed, 1, 5 * SECOND).await;
    eventually("it is an alert", PATIENCE, async || {
        world.alarm.advance(5 * SECOND);
        let list = world.alarm.get_json("/alerts.json?q=SakerMessagesFailed").await;
        (list["total"] == 1).then_some(())
    })
    .await;
}
