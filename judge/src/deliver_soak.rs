//! The backlog that once told a whole company of false ends (`reference/alerting.md` 1.10): fifty thousand live
//! alerts and an alarm that takes a hundred in ten seconds, for an hour. The outbox and the sender are the real
//! ones, the alarm is reached over HTTP, only the clock is moved by hand.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use daemon::Clock;
use model::{Labels, Timestamp};
use tokio::sync::watch;
use wire::alert::PostableAlert;

use crate::alarm::{Alarm, AlarmConfig};
use crate::deliver::Delivery;
use crate::metrics::Metrics;
use crate::outbox::Limits;
use crate::rules::RuleSet;
use crate::shard::Shard;
use crate::told::{News, Told};

const ALERTS: usize = 50_000;
const PER_REQUEST: usize = 100;
const PERIOD: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);
/// How often the rule is evaluated.
const INTERVAL: Duration = Duration::from_secs(120);
const START: Timestamp = Timestamp::from_seconds(1_767_225_600);
/// Every ten minutes so many end, and fire again six minutes later.
const FLAPPING: usize = 100;

/// The alarm: takes a request every ten seconds and remembers until when each alert holds.
#[derive(Debug)]
struct Sink {
    clock: Clock,
    free_at: Mutex<Timestamp>,
    heard: Mutex<HashMap<String, Timestamp>>,
    /// Alerts that the rule says have ended.
    ended: Mutex<HashSet<String>>,
    own: Mutex<Vec<(Timestamp, PostableAlert)>>,
    taken: watch::Sender<usize>,
}

async fn take(State(sink): State<Arc<Sink>>, Json(alerts): Json<Vec<PostableAlert>>) -> StatusCode {
    let free_at = *sink.free_at.lock().unwrap();
    sink.clock.sleep_until(free_at).await;
    let now = sink.clock.now();
    *sink.free_at.lock().unwrap() = now.plus(PERIOD);
    assert!(alerts.len() <= PER_REQUEST, "{}", alerts.len());
    for alert in alerts {
        match alert.labels.get("n") {
            Some(n) => {
                let ends_at = alert.ends_at.expect("judge says until when an alert holds");
                let is_over = sink.ended.lock().unwrap().contains(n);
                assert!(is_over || ends_at > now, "{n} fires, and its end {ends_at} is told");
                sink.heard.lock().unwrap().insert(n.to_owned(), ends_at);
            }
            None => sink.own.lock().unwrap().push((now, alert)),
        }
    }
    sink.taken.send_modify(|taken| *taken += 1);
    StatusCode::OK
}

fn told(n: usize, starts_at: Timestamp, news: News) -> Arc<Told> {
    Arc::new(Told {
        labels: Labels::from_pairs([("alertname", "Down"), ("n", &n.to_string())]),
        annotations: BTreeMap::new(),
        generator_url: Arc::from(""),
        starts_at,
        news,
        interval: INTERVAL,
    })
}

/// What the rule says in a minute: all fire, but now and then some have ended.
fn say(all: &mut [Arc<Told>], minute: u32, now: Timestamp) {
    for (n, told_before) in all.iter_mut().enumerate().take(FLAPPING) {
        *told_before = match minute % 5 {
            4 => told(n, told_before.starts_at, News::Resolved(now)),
            0 => told(n, now, News::Firing),
            _ => continue,
        };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_end_leaves_while_the_rule_fires_however_slow_the_alarm_is() {
    let context = testkit::context_at(START);
    let clock = context.clock.clone();
    let sink = Arc::new(Sink {
        clock: clock.clone(),
        free_at: Mutex::new(START),
        heard: Mutex::default(),
        ended: Mutex::default(),
        own: Mutex::default(),
        taken: watch::Sender::new(0),
    });
    let routes = Router::new().route(wire::alert::PATH, post(take)).with_state(sink.clone());
    let address: SocketAddr =
        context.listen(([127, 0, 0, 1], 0).into(), routes).await.expect("a free port");
    let url = format!("http://{address}");
    let limits = Limits { resend_delay: MINUTE, alerts_max: 200_000, batch_max: PER_REQUEST };
    let metrics = Metrics::register(&context, &[&url], limits.alerts_max);
    let (shard, _folder) = shard(&clock).await;
    let alarm = Alarm::open(AlarmConfig::at(&url), &[]).expect("there is no secret to read");
    let delivery = Delivery::new(vec![alarm], limits, Labels::empty(), metrics, shard);

    let mut all: Vec<_> = (0..ALERTS).map(|n| told(n, START, News::Firing)).collect();
    let group: Arc<str> = Arc::from("rules.yml;g");
    delivery.publish(&group, &all, START);
    delivery.start(&context);
    let mut taken = sink.taken.subscribe();
    for minute in (0..60).step_by(2) {
        for _ in 0..12 {
            let before = *taken.borrow_and_update();
            clock.advance(PERIOD);
            let waiting = taken.wait_for(|taken| *taken > before);
            drop(tokio::time::timeout(MINUTE, waiting).await.expect("it takes a request").unwrap());
        }
        let now = clock.now();
        say(&mut all, minute, now);
        let over = all.iter().filter(|told| told.news != News::Firing);
        *sink.ended.lock().unwrap() =
            over.filter_map(|told| told.labels.get("n").map(str::to_owned)).collect();
        delivery.publish(&group, &all, now);
        check_leases(&sink, minute, now);
        let length = metric(&context, &url, "judge_notifications_queue_length").await;
        assert!(length <= ALERTS as f64 + 1.0, "the live alerts and judge's own: {length}");
    }
    assert!(*taken.borrow() >= 360, "{}", *taken.borrow());
    assert!(
        sink.heard.lock().unwrap().len() > 25_000,
        "most of the hour went to what was not told yet"
    );
    check_own(&sink);
    let age = metric(&context, &url, "judge_notifications_oldest_transition_seconds").await;
    assert!(age > 3_000.0, "{age}");
}

/// The part of a judge that is alone.
async fn shard(clock: &Clock) -> (Arc<Shard>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let db = db::Db::open(&folder.path().join("saker.db")).await.unwrap();
    let rules = watch::Sender::new(Arc::new(RuleSet::new()));
    // Longer than the test, or each step of the clock would look like a pause of the whole process.
    let lease = MINUTE * 60 * 24;
    let state = state::State::embedded(db);
    let shard = Shard::new(state, clock.clone(), "judge-1".to_owned(), lease, rules.subscribe());
    (Arc::new(shard), folder)
}

/// What `/metrics` says of the alarm.
async fn metric(context: &daemon::Context, url: &str, name: &str) -> f64 {
    let text = testkit::get_text(&context.http, &format!("{url}/metrics")).await.expect("metrics");
    let line = text.lines().find(|line| line.starts_with(name)).expect("the metric is there");
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

/// Whatever the alarm has heard of an alert that always fires holds still.
fn check_leases(sink: &Sink, minute: u32, now: Timestamp) {
    for (n, ends_at) in sink.heard.lock().unwrap().iter() {
        let flaps = n.parse::<usize>().is_ok_and(|n| n < FLAPPING);
        assert!(flaps || *ends_at > now, "minute {minute}: {n} ended {}", ends_at.rfc3339());
    }
}

/// The alarm was told early that it is late, before most of the backlog.
fn check_own(sink: &Sink) {
    let own = sink.own.lock().unwrap();
    let (at, first) = own.first().expect("judge says that its news is late");
    assert_eq!(first.labels.get("alertname"), Some("JudgeNotificationsLate"), "{first:?}");
    assert!(at.since(START) <= MINUTE * 4, "{}", at.rfc3339());
    assert!(own.iter().all(|(at, alert)| alert.ends_at.is_some_and(|end| end > *at)), "{own:?}");
}
