//! Steps of an escalation: whoever is on call, then the boss, while nobody takes the alert.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Webhook, eventually};

use crate::harness::{Alarm, PATIENCE, START, webhook};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Who hears of an alert at once, who is on call after a quarter of an hour, and the boss after forty minutes.
struct World {
    alarm: Option<Alarm>,
    ops: Webhook,
    duty: Webhook,
    boss: Webhook,
    settings: String,
    _contexts: [daemon::Context; 3],
    _folder: TempDir,
}

impl World {
    async fn start() -> Self {
        let ((ops, one), (duty, two), (boss, three)) =
            (webhook().await, webhook().await, webhook().await);
        duty.answer_body(json!({ "ok": true, "result": { "message_id": 1 } }));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alertmanager.yml");
        let text = format!(
            "route: {{receiver: ops, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 20h,\n\
             escalations: [{{after: 15m, receiver: duty}}, {{after: 40m, receiver: boss}}]}}\n\
             receivers: [{{name: ops, webhook_configs: [{{url: '{}'}}]}},\n\
             {{name: duty, telegram_configs: [{{bot_token: tg, chat_id: -100, api_url: '{}'}}]}},\n\
             {{name: boss, webhook_configs: [{{url: '{}'}}]}}]\n",
            ops.url(),
            duty.url(),
            boss.url()
        );
        std::fs::write(&path, text).unwrap();
        let settings = format!(
            "alertmanager_config = \"{}\"\n\
             users = [{{ name = \"ann\", addresses = {{ telegram = \"101\" }} }}, {{ name = \"bob\" }}]\n\
             [[teams]]\nname = \"dba\"\nmembers = [\"ann\", \"bob\"]\n\
             rotation = {{ every = \"week\", at = \"09:00\", starts = \"2025-10-06\", people = [\"ann\", \"bob\"] }}\n\
             [recipients]\nduty = [\"oncall:dba\"]\n",
            path.display()
        );
        let alarm = Some(Alarm::start(&settings).await);
        let world = Self {
            alarm,
            ops,
            duty,
            boss,
            settings,
            _contexts: [one, two, three],
            _folder: folder,
        };
        world.fire("Burning").await;
        world.until([1, 0, 0]).await;
        world
    }

    fn alarm(&self) -> &Alarm {
        self.alarm.as_ref().unwrap()
    }

    async fn restart(&mut self) {
        let alarm = self.alarm.take().unwrap();
        self.alarm = Some(alarm.restart(&self.settings, SECOND).await);
    }

    async fn fire(&self, name: &str) {
        let alert = json!([{
            "labels": { "alertname": name }, "startsAt": self.alarm().moment(0),
            "endsAt": self.alarm().moment(36_000),
        }]);
        assert_eq!(self.alarm().post(alert.to_string()).await, (200, String::new()));
    }

    /// How often each was told about the alert that burns.
    fn told(&self) -> [usize; 3] {
        [&self.ops, &self.duty, &self.boss].map(|of| {
            let bodies = of.bodies();
            bodies.iter().filter(|body| body.to_string().contains("Burning")).count()
        })
    }

    async fn until(&self, told: [usize; 3]) {
        eventually(&format!("they are told {told:?}"), PATIENCE, async || {
            self.alarm().advance(SECOND / 10);
            (self.told() == told).then_some(())
        })
        .await;
    }

    /// Moves on to a minute after the start and gives what could go out wrongly time to go out: another alert goes the
    /// whole way first.
    async fn at(&self, minute: u32) {
        let clock = &self.alarm().context.clock;
        let past = clock.now().since(START);
        self.alarm().advance((minute * MINUTE).checked_sub(past).unwrap());
        self.fire(&format!("Other{minute}")).await;
        eventually("another alert is told", PATIENCE, async || {
            self.alarm().advance(SECOND / 10);
            let name = format!("Other{minute}");
            self.ops.bodies().iter().any(|body| body.to_string().contains(&name)).then_some(())
        })
        .await;
        // By now the ends of claims were looked at.
        self.alarm().advance(6 * SECOND);
    }

    async fn ack(&self, method: reqwest::Method, duration: &str) {
        let listed = self.alarm().get_json("/api/v2/alerts?filter=alertname=Burning").await;
        let id = listed[0]["fingerprint"].as_str().unwrap().to_owned();
        let address = self.alarm().url(&format!("/api/v1/alerts/{id}/ack"));
        let body = json!({ "owner": "bob", "duration": duration });
        let request = self.alarm().context.http.request(method, address);
        assert_eq!(request.body(body.to_string()).send().await.unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_comes_in_its_time_over_restarts_and_nobody_is_called_twice() {
    let mut world = World::start().await;
    world.at(10).await;
    assert_eq!(world.told(), [1, 0, 0]);
    world.restart().await;
    world.at(16).await;
    world.until([1, 1, 0]).await;
    let body: Value = world.duty.bodies().remove(0);
    assert_eq!(body["chat_id"], "101", "who is on call, alone");
    world.restart().await;
    world.at(38).await;
    assert_eq!(world.told(), [1, 1, 0]);
    world.at(41).await;
    world.until([1, 1, 1]).await;
    world.restart().await;
    world.at(60).await;
    assert_eq!(world.told(), [1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_it_stops_the_steps_and_they_count_anew_from_the_end_of_their_time() {
    let mut world = World::start().await;
    world.at(5).await;
    world.ack(reqwest::Method::PUT, "30m").await;
    world.at(34).await;
    assert_eq!(world.told(), [1, 0, 0], "taken");
    world.at(36).await;
    world.until([2, 0, 0]).await;
    world.at(48).await;
    assert_eq!(world.told(), [2, 0, 0], "the next one has as much time as the first");
    world.restart().await;
    world.at(49).await;
    assert_eq!(world.told(), [2, 0, 0], "and a restart takes none of it");
    world.at(52).await;
    world.until([2, 1, 0]).await;
    world.at(73).await;
    assert_eq!(world.told(), [2, 1, 0]);
    world.at(77).await;
    world.until([2, 1, 1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_escalates_after_its_time_and_is_not_told_again_to_who_knows() {
    let world = World::start().await;
    world.at(5).await;
    world.ack(reqwest::Method::PUT, "10h").await;
    world.at(20).await;
    world.ack(reqwest::Method::DELETE, "").await;
    world.at(33).await;
    assert_eq!(world.told(), [1, 0, 0]);
    world.at(37).await;
    world.until([1, 1, 0]).await;
}
