//! Mutes of persons at two instances of alarm on one Redis and one MariaDB: made by every way there is, they hold
//! at both within a second, survive kill -9, end on time, and keep quiet nobody else.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{MariaDb, Redis, eventually};
use tokio::time::Instant;

use crate::alarm_process::{Alarm, post};

const SOON: Duration = Duration::from_secs(60);
/// For tests that share a machine; the promise is a second, and the figures are printed.
const ON_A_BUSY_MACHINE: Duration = Duration::from_secs(10);
const MUTES: usize = 60;
/// Ways to mute.
const WAYS: usize = 5;
/// The shortest mute there is.
const SHORTEST_SECONDS: u64 = 60;
const POSTS: usize = 1_000;

/// Two instances, and what their receiver was told.
struct World {
    both: [Alarm; 2],
    told: PathBuf,
    _folder: TempDir,
    _stores: (Redis, MariaDb),
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_made_anywhere_holds_everywhere_survives_a_kill_and_ends_on_time() {
    let Some(mut world) = World::start().await else { return };
    let short = mute_shortly(&world).await;
    world.both[0].kill_and_start().await;
    // Its end comes meanwhile.
    let (mut late, ()) = tokio::join!(ends(&world, &short), mute_by_every_way(&world));
    report("a mute is over after its end", &mut late);

    mute(&world.both[0], "Solo", 3600).await;
    world.until(1, "web-03_Solo", true, Instant::now()).await;
    world.fire("Solo", 1).await;
    let bob = eventually("bob is told", SOON, async || {
        world.told("Solo").into_iter().find(|message| message["to"] == "bob@x")
    })
    .await;
    assert_eq!(bob["kind"], "firing");
    eventually("ann is left out", SOON, async || {
        let left_out = world.both[1].get("/api/v1/messages?stage=muted").await;
        (left_out[0]["recipient"] == "ann").then_some(())
    })
    .await;
    assert!(world.told("Solo").iter().all(|message| message["to"] != "ann@x"));
}

/// How long after their end short mutes, which lived through a kill, still held at any instance.
async fn ends(world: &World, short: &[(String, Instant)]) -> Vec<Duration> {
    let mut late = Vec::new();
    for (counter, due) in short {
        for instance in 0..2 {
            assert!(
                Instant::now() > *due || world.knows(instance, counter).await,
                "it survives the kill, and does not end early"
            );
        }
    }
    for (counter, due) in short {
        tokio::time::sleep_until(*due - Duration::from_millis(300)).await;
        let both = [0, 1].map(|instance| world.until(instance, counter, false, *due));
        late.extend(join_all(both).await);
    }
    late
}

async fn mute_by_every_way(world: &World) {
    let mut messages = Vec::new();
    for number in 0..MUTES.div_ceil(3 * WAYS) {
        messages.push(world.buttons_of(&format!("Alpha-{number}"), "ann").await);
    }
    let (mut held, mut gone) = (Vec::new(), Vec::new());
    for number in 0..MUTES {
        let (here, there) = (number % 2, 1 - number % 2);
        let (way, asked) = (Way::of(number, &messages), Instant::now());
        way.mute(&world.both[here]).await;
        held.push(world.until(there, way.counter(), true, asked).await);
        let asked = Instant::now();
        way.unmute(&world.both[there]).await;
        gone.push(world.until(here, way.counter(), false, asked).await);
    }
    report("a mute holds at the other instance", &mut held);
    report("an end of a mute holds at the other instance", &mut gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_posts_of_one_link_to_two_instances_exactly_one_mutes() {
    let Some(world) = World::start().await else { return };
    let link = world.buttons_of("Alpha", "ann").await[0].url.clone();
    for alarm in &world.both {
        for agent in ["Slackbot-LinkExpanding 1.0", "Mozilla/5.0", "facebookexternalhit/1.1"] {
            let page = alarm.http.get(alarm.address(&link)).header("User-Agent", agent);
            assert_eq!(page.send().await.unwrap().status(), 200);
        }
        let head = alarm.http.head(alarm.address(&link)).send().await.unwrap();
        assert_eq!(head.status(), 200);
    }
    assert!(!world.knows(0, "web-03_Alpha").await, "opening a link changes nothing");
    let (cookie, nonce) = open(&world.both[0], &link).await;
    let posts = (0..POSTS).map(|number| {
        press(&world.both[number % 2], &link, (&cookie, &nonce), "act=mute&seconds=3600")
    });
    let statuses = join_all(posts).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    world.until(1, "web-03_Alpha", true, Instant::now()).await;
    let made: usize = world.both.iter().map(mutes_made).sum();
    assert_eq!(made, 1, "of {POSTS} posts");
}

/// How often an instance says that it muted somebody.
fn mutes_made(alarm: &Alarm) -> usize {
    let is_mute = |line: &&str| line.contains(" muted ") && line.contains("ann via link");
    alarm.output().lines().filter(is_mute).count()
}

/// A way to mute ann and to let her hear again.
enum Way<'a> {
    /// `/api/v1/mutes`.
    Api(String),
    /// Open-Falcon's `/blockmonitor`.
    Legacy(String),
    /// The page behind a signed link.
    Link(&'a Button),
    /// The form on the page of the alert.
    Web(&'a Button),
    /// A press of a button that the platform reports.
    Card(&'a [Button], usize),
}

impl<'a> Way<'a> {
    fn of(number: usize, messages: &'a [Vec<Button>]) -> Self {
        let turn = number / WAYS;
        match number % WAYS {
            0 => Self::Api(format!("api-{number}")),
            1 => Self::Legacy(format!("legacy-{number}")),
            // Each link mutes once; each message has three of them and the one that unmutes.
            2 => Self::Link(&messages[turn / 3][turn % 3]),
            3 => Self::Web(&messages[turn % messages.len()][0]),
            _ => Self::Card(&messages[0], number),
        }
    }

    fn counter(&self) -> &str {
        match self {
            Self::Api(metric) | Self::Legacy(metric) => metric,
            Self::Link(button) | Self::Web(button) => &button.counter,
            Self::Card(buttons, _) => &buttons[0].counter,
        }
    }

    async fn mute(&self, alarm: &Alarm) {
        match self {
            Self::Api(metric) => {
                let wish = json!({ "user": "ann", "metric": metric, "seconds": 3600 });
                api(alarm, "POST", "/api/v1/mutes", wish).await;
            }
            Self::Legacy(counter) => {
                let wish = json!({ "user_name": "ann", "counter": counter, "time": 3600 });
                api(alarm, "POST", "/blockmonitor", wish).await;
            }
            Self::Link(button) => {
                let (cookie, nonce) = open(alarm, &button.url).await;
                let form = "act=mute&seconds=3600";
                assert_eq!(press(alarm, &button.url, (&cookie, &nonce), form).await, 200);
            }
            Self::Web(button) => submit(alarm, &button.alert, "act=mute&seconds=3600").await,
            Self::Card(buttons, number) => card(alarm, &buttons[0].action, *number, "m").await,
        }
    }

    async fn unmute(&self, alarm: &Alarm) {
        match self {
            Self::Api(metric) => {
                api(alarm, "DELETE", "/api/v1/mutes", json!({ "user": "ann", "metric": metric }))
                    .await;
            }
            Self::Legacy(counter) => {
                let wish = json!({ "user_name": "ann", "counter": counter });
                api(alarm, "DELETE", "/blockmonitor", wish).await;
            }
            Self::Link(button) => {
                let (cookie, nonce) = open(alarm, &button.url).await;
                assert_eq!(press(alarm, &button.url, (&cookie, &nonce), "act=unmute").await, 200);
            }
            Self::Web(button) => submit(alarm, &button.alert, "act=unmute").await,
            Self::Card(buttons, number) => card(alarm, &buttons[3].action, *number, "u").await,
        }
    }
}

/// A button of a message: the link, and what is written behind it for platforms that call back.
struct Button {
    url: String,
    action: String,
    counter: String,
    /// The page of the alert.
    alert: String,
}

impl World {
    async fn start() -> Option<Self> {
        let redis = Redis::start().await?;
        let mariadb = MariaDb::start().await?;
        let folder = tempfile::tempdir().unwrap();
        let told = folder.path().join("told");
        let stores = format!(
            "[db]\nurl = {:?}\n[state]\nredis_url = {:?}\n",
            mariadb.create_database("saker"),
            redis.url()
        );
        let start = async |name: &str| {
            let settings = format!("instance = {name:?}\n{}", settings(&told));
            Alarm::start(&folder.path().join(name), "info", &settings, &stores).await
        };
        let both = [start("one").await, start("two").await];
        Some(Self { both, told, _folder: folder, _stores: (redis, mariadb) })
    }

    async fn fire(&self, name: &str, instance: usize) {
        let labels = json!({ "alertname": name, "severity": "P0", "endpoint": "web-03" });
        let alarm = &self.both[instance];
        assert!(post(&alarm.http, &alarm.url, &json!([{ "labels": labels }])).await);
    }

    /// The messages about an alert, as the program of the receiver got them.
    fn told(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(&self.told).unwrap_or_default();
        let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let is_about = |message: &Value| message["message"]["commonLabels"]["alertname"] == name;
        messages.filter(is_about).collect()
    }

    /// Fires an alert, and the buttons of the message to a person: three lengths and the end.
    async fn buttons_of(&self, name: &str, user: &str) -> Vec<Button> {
        self.fire(name, 0).await;
        let message = eventually("the message is there", SOON, async || {
            let to = format!("{user}@x");
            self.told(name).into_iter().find(|message| message["to"] == to.as_str())
        })
        .await;
        let buttons = message["buttons"].as_array().unwrap();
        let fingerprint = message["message"]["alerts"][0]["fingerprint"].as_str().unwrap();
        let button = |button: &Value| {
            let url = button["url"].as_str().unwrap();
            Button {
                url: url[url.find("/m/").unwrap()..].to_owned(),
                action: button["action"].as_str().unwrap().to_owned(),
                counter: format!("web-03_{name}"),
                alert: format!("/alerts/{fingerprint}"),
            }
        };
        buttons[..4].iter().map(button).collect()
    }

    async fn knows(&self, instance: usize, counter: &str) -> bool {
        let alarm = &self.both[instance];
        let listed = api(alarm, "GET", "/api/v1/mutes", Value::Null).await;
        listed.as_array().unwrap().iter().any(|mute| mute["counter"] == counter)
    }

    /// How long after `since` an instance knew, or no longer knew, the mute.
    async fn until(&self, instance: usize, counter: &str, holds: bool, since: Instant) -> Duration {
        loop {
            let asked = Instant::now();
            if self.knows(instance, counter).await == holds {
                return asked.saturating_duration_since(since);
            }
            let waited = asked.saturating_duration_since(since);
            assert!(waited < ON_A_BUSY_MACHINE, "{counter} at {instance} after {waited:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A receiver whose first bot is a program that writes down what it is told; the second hears of pressed buttons.
fn settings(told: &Path) -> String {
    format!(
        "[alarm.mutes]\ntoken = \"api-token\"\n\
         link_keys = [{{ id = 1, key = \"a key of at least thirty-two bytes for links\" }}]\n\
         callbacks = [{{ kind = \"telegram\", secret_token = \"tg-token\" }}]\n\
         [alarm.mutes.accounts]\n\"telegram:1\" = \"ann\"\n\
         [[alarm.receivers]]\nname = \"ops\"\n\
         people = [{{ user = \"ann\", address = \"ann@x\" }}, {{ user = \"bob\", address = \"bob@x\" }}]\n\
         [[alarm.receivers.bots]]\nname = \"file\"\nkind = \"exec\"\nprogram = \"/bin/sh\"\n\
         arguments = [\"-c\", \"cat >> {}\"]\n\
         [[alarm.receivers.bots]]\nname = \"spare\"\nkind = \"telegram\"\ntoken = \"t\"\n\
         api = \"http://127.0.0.1:9\"\n",
        told.display()
    )
}

async fn api(alarm: &Alarm, method: &str, path: &str, body: Value) -> Value {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let request = alarm.http.request(method, alarm.address(path)).bearer_auth("api-token");
    let answer = request.body(body.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path} {body}");
    answer.json().await.unwrap()
}

async fn mute(alarm: &Alarm, metric: &str, seconds: u64) {
    let wish = json!({ "user": "ann", "endpoint": "web-03", "metric": metric, "seconds": seconds });
    api(alarm, "POST", "/api/v1/mutes", wish).await;
}

/// Mutes that are over in a minute, made at both, and when.
async fn mute_shortly(world: &World) -> Vec<(String, Instant)> {
    let mut made = Vec::new();
    for number in 0..6 {
        let metric = format!("short-{number}");
        mute(&world.both[number % 2], &metric, SHORTEST_SECONDS).await;
        let due = Instant::now() + Duration::from_secs(SHORTEST_SECONDS);
        made.push((format!("web-03_{metric}"), due));
    }
    made
}

/// Fills in the form on the page of an alert, for ann.
async fn submit(alarm: &Alarm, alert: &str, form: &str) {
    let address = alarm.address(&format!("{alert}?mute=1"));
    let page = alarm.http.get(address).send().await.unwrap().text().await.unwrap();
    let action = format!("{alert}/mutes");
    assert!(page.contains(&format!("method=\"post\" action=\"{action}\"")), "{page}");
    let request = alarm.http.post(alarm.address(&action)).header("Sec-Fetch-Site", "same-origin");
    let request = request.header("Content-Type", "application/x-www-form-urlencoded");
    let answer = request.body(format!("user=ann&token=&{form}")).send().await.unwrap();
    assert_eq!(answer.status(), 303, "it leads back to the page");
}

/// What a platform reports when ann presses a button.
async fn card(alarm: &Alarm, action: &str, number: usize, event: &str) {
    let update = json!({ "callback_query": {
        "id": format!("{event}{number}"), "from": { "id": 1 }, "data": action,
    } });
    let request = alarm.http.post(alarm.address("/hooks/telegram"));
    let request = request.header("X-Telegram-Bot-Api-Secret-Token", "tg-token").json(&update);
    assert_eq!(request.send().await.unwrap().status(), 200);
}

/// Opens the page behind a link: its cookie and the nonce of its form.
async fn open(alarm: &Alarm, link: &str) -> (String, String) {
    let page = alarm.http.get(alarm.address(link)).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let cookie = page.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let nonce = cookie.split_once('=').unwrap().1.to_owned();
    (cookie, nonce)
}

/// Presses a button of that page.
async fn press(alarm: &Alarm, link: &str, page: (&str, &str), form: &str) -> u16 {
    let (cookie, nonce) = page;
    let request = alarm.http.post(alarm.address(link)).header("Cookie", cookie);
    let request = request.header("Content-Type", "application/x-www-form-urlencoded");
    let request = request.body(format!("nonce={nonce}&{form}"));
    request.send().await.unwrap().status().as_u16()
}

fn report(what: &str, spans: &mut [Duration]) {
    spans.sort_unstable();
    let at = |share: f64| spans[((spans.len() - 1) as f64 * share).round() as usize];
    println!(
        "{what}: {} times, median {:?}, 95 % {:?}, most {:?}",
        spans.len(),
        at(0.5),
        at(0.95),
        at(1.0)
    );
}
