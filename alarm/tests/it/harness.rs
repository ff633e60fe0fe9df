//! A running alarm role.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use alarm::{Config, Deps};
use daemon::{Clock, Context};
use db::Db;
use model::Timestamp;
use serde_json::{Value, json};
use state::State;
use tempfile::TempDir;
use testkit::{Webhook, eventually};

/// Where the clock of every test starts: 2025-10-09T09:01:00Z.
pub(crate) const START: Timestamp = Timestamp(1_760_000_460_000);
const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Alarm {
    pub(crate) context: Context,
    pub(crate) address: SocketAddr,
    db: Db,
    folder: TempDir,
}

impl Alarm {
    /// Starts with settings written as the section `[alarm]` would be.
    pub(crate) async fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, settings, START).await
    }

    /// Starts with one receiver `ops` that is told everything.
    pub(crate) async fn telling(webhook: &Webhook) -> Self {
        Self::start(&receiver("ops", webhook)).await
    }

    async fn start_in(folder: TempDir, settings: &str, at: Timestamp) -> Self {
        let text = format!("listen = \"127.0.0.1:0\"\ntime_zone = \"Asia/Shanghai\"\n{settings}");
        let config: Config =
            toml::from_str(&text).expect("the settings of the test are well formed");
        let context = Context::new("alarm", Clock::manual(at)).unwrap();
        let db = open(folder.path()).await;
        let deps = Deps { db: db.clone(), state: State::embedded(db.clone()) };
        let address = alarm::start(config, deps, &context).await.unwrap();
        Self { context, address, db, folder }
    }

    /// Stops, waits `pause` and starts again on the same store.
    pub(crate) async fn restart(self, settings: &str, pause: Duration) -> Self {
        let at = self.context.clock.now().plus(pause);
        self.context.stop().await;
        self.db.close().await;
        Self::start_in(self.folder, settings, at).await
    }

    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn advance(&self, span: Duration) {
        self.context.clock.advance(span);
    }

    /// A moment `seconds` from the present one as RFC 3339.
    pub(crate) fn moment(&self, seconds: i64) -> String {
        Timestamp(self.context.clock.now().0 + seconds * 1000).rfc3339()
    }

    pub(crate) async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, String) {
        let request = self.context.http.post(self.url("/api/v2/alerts"));
        let answer =
            request.header("Content-Type", "application/json").body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Posts one alert that began a minute before the test and holds for an hour from now.
    pub(crate) async fn fire(&self, name: &str, severity: &str) {
        let alert = json!([{
            "labels": { "alertname": name, "severity": severity, "endpoint": "web-03" },
            "annotations": { "summary": format!("{name} hurts"), "value": "97.2" },
            "startsAt": START.minus(MINUTE).rfc3339(), "endsAt": self.moment(3600),
        }]);
        assert_eq!(self.post(alert.to_string()).await, (200, String::new()));
    }

    /// Posts the end of an alert that [`Alarm::fire`] began.
    pub(crate) async fn resolve(&self, name: &str, severity: &str) {
        let alert = json!([{
            "labels": { "alertname": name, "severity": severity, "endpoint": "web-03" },
            "annotations": { "summary": format!("{name} hurt") },
            "startsAt": START.minus(MINUTE).rfc3339(), "endsAt": self.moment(0),
        }]);
        assert_eq!(self.post(alert.to_string()).await, (200, String::new()));
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        let answer = self.context.http.get(self.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    }

    /// Sends a form as a browser does: what it is redirected to is the answer.
    pub(crate) async fn submit(&self, path: &str, cookie: &str, form: &str) -> (u16, String) {
        let request = self.context.http.post(self.url(path)).header("Cookie", cookie);
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let mut answer = request.body(form.to_owned()).send().await.unwrap();
        if answer.status() == 303 {
            let to = answer.headers()["location"].to_str().unwrap().to_owned();
            answer = self.context.http.get(self.url(&to)).send().await.unwrap();
        }
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(crate) async fn get_json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await).unwrap()
    }

    /// The page data of the only alert that the search text finds, events and deliveries included.
    pub(crate) async fn case(&self, text: &str) -> Value {
        let list = self.get_json(&format!("/alerts.json?state=all&q={text}")).await;
        assert_eq!(list["total"], 1, "{list}");
        let fingerprint = list["alerts"][0]["fingerprint"].as_str().unwrap();
        self.get_json(&format!("/alerts/{fingerprint}.json")).await
    }

    /// Waits until the only alert with the text looks as asked, while the clock stands still.
    pub(crate) async fn until_case(
        &self,
        what: &str,
        text: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually(what, PATIENCE, async || Some(self.case(text).await).filter(|case| is_so(case)))
            .await
    }

    /// Like [`Alarm::until_case`], while the clock goes on in steps.
    pub(crate) async fn until_later(
        &self,
        what: &str,
        text: &str,
        step: Duration,
        is_so: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually(what, PATIENCE, async || {
            self.advance(step);
            Some(self.case(text).await).filter(|case| is_so(case))
        })
        .await
    }
}

async fn open(folder: &Path) -> Db {
    Db::open(&folder.join("saker.db")).await.unwrap()
}

/// The settings of a receiver.
pub(crate) fn receiver(name: &str, webhook: &Webhook) -> String {
    format!("[[receivers]]\nname = \"{name}\"\nwebhook_url = \"{}\"\n", webhook.url())
}

/// A webhook that runs by itself, so that it outlives restarts of alarm.
pub(crate) async fn webhook() -> (Webhook, Context) {
    let context = testkit::context_at(START);
    (Webhook::start(&context).await, context)
}

/// Waits until the webhook has been asked `count` times, and returns the bodies.
pub(crate) async fn told(webhook: &Webhook, count: usize) -> Vec<Value> {
    let bodies = eventually("the webhook is told", PATIENCE, async || {
        Some(webhook.bodies()).filter(|bodies| bodies.len() >= count)
    })
    .await;
    assert_eq!(bodies.len(), count, "{bodies:?}");
    bodies
}

/// What the only receiver made of an alert.
pub(crate) fn result(case: &Value) -> &str {
    case["told"][0]["result"].as_str().unwrap_or("")
}
