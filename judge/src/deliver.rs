//! Carries alerts from the outboxes to the alarms: one outbox and one sender an alarm, so that one that is
//! away does not hold up the others.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon::{Clock, Context};
use model::{ALERT_NAME, Fingerprint, Labels, Timestamp};
use reqwest::StatusCode;
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::alert::PostableAlert;

use crate::alert_state::RESOLVED_RETENTION;
use crate::metrics::Metrics;
use crate::outbox::{Limits, News, OWN_GROUP, Outbox, Parcel, Told, backoff};
use crate::shard::Shard;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A refusal is quoted in the log up to here.
const ANSWER_CHARS_MAX: usize = 200;

/// The alert that judge raises about itself when an alarm takes news too slowly.
const LATE: &str = "JudgeNotificationsLate";

/// The outboxes of all alarms.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    alarms: Arc<Vec<Alarm>>,
    metrics: Metrics,
    shard: Arc<Shard>,
}

#[derive(Debug)]
struct Alarm {
    url: String,
    limits: Limits,
    outbox: Mutex<Outbox>,
    wake: Notify,
    lateness: Mutex<Lateness>,
}

/// Whether news for an alarm waits longer than half a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lateness {
    /// It does not.
    InTime,
    /// It does, since then.
    Late(Timestamp),
    /// It did, in between.
    Over(Timestamp, Timestamp),
}

/// What came of a request.
enum Outcome {
    Taken,
    /// The alarm says that the request itself is wrong.
    Refused(String),
    /// The alarm is away or overloaded.
    Away(String),
}

impl Delivery {
    /// An empty outbox for every alarm.
    pub(crate) fn new(
        urls: &[String],
        limits: Limits,
        metrics: Metrics,
        shard: Arc<Shard>,
    ) -> Self {
        let alarm = |url: &String| Alarm {
            url: url.trim_end_matches('/').to_owned(),
            limits,
            outbox: Mutex::new(Outbox::new(limits)),
            wake: Notify::new(),
            lateness: Mutex::new(Lateness::InTime),
        };
        Self { alarms: Arc::new(urls.iter().map(alarm).collect()), metrics, shard }
    }

    /// Starts a sender for every alarm.
    pub(crate) fn start(&self, context: &Context) {
        for at in 0..self.alarms.len() {
            let (delivery, clock, http) =
                (self.clone(), context.clock.clone(), context.http.clone());
            context.spawn("alert sender", async move { delivery.send(at, &clock, &http).await });
        }
    }

    /// Takes everything a group has to say, for all alarms.
    pub(crate) fn publish(&self, group: &Arc<str>, told: &[Arc<Told>], now: Timestamp) {
        for alarm in self.alarms.iter() {
            let mut outbox = alarm.outbox();
            let without_room = outbox.publish(group, told, now);
            if without_room > 0 {
                self.metrics.dropped(&alarm.url, without_room);
                tracing::warn!(
                    alarm = alarm.url,
                    alerts = without_room,
                    "the outbox is full (outbox_alerts_max)"
                );
            }
            self.show(alarm, &outbox, now);
            drop(outbox);
            alarm.wake.notify_one();
        }
        self.watch_lateness(now);
    }

    fn show(&self, alarm: &Alarm, outbox: &Outbox, now: Timestamp) {
        self.metrics.outbox(&alarm.url, outbox.len(), outbox.oldest_transition_age(now));
        self.metrics.overdue(&alarm.url, outbox.oldest_overdue(now));
    }

    /// Raises an alert, to all alarms and before all others, while news for one of them waits longer than half
    /// the lease that a firing alert is sent with.
    fn watch_lateness(&self, now: Timestamp) {
        let mut told = Vec::new();
        let mut is_changed = false;
        for alarm in self.alarms.iter() {
            let overdue = alarm.outbox().oldest_overdue(now);
            let mut lateness = alarm.lateness.lock().unwrap_or_else(PoisonError::into_inner);
            let next = lateness.next(overdue > alarm.limits.resend_delay * 2, now);
            is_changed |= next != *lateness || matches!(next, Lateness::Late(_));
            *lateness = next;
            told.extend(next.told(&alarm.url, self.shard.member(), alarm.limits.resend_delay));
        }
        if !is_changed {
            return;
        }
        let group: Arc<str> = Arc::from(OWN_GROUP);
        for alarm in self.alarms.iter() {
            alarm.outbox().publish(&group, &told, now);
            alarm.wake.notify_one();
        }
    }

    /// Drops what a group said: another judge speaks for it.
    pub(crate) fn forget(&self, group: &Arc<str>) {
        for alarm in self.alarms.iter() {
            alarm.outbox().forget(group);
        }
    }

    /// Drops what is waiting of groups that other judges speak for now.
    pub(crate) fn drop_departed(&self) {
        for key in self.shard.departures() {
            self.forget(&Arc::from(key.to_string()));
        }
    }

    /// Before something is sent: whoever was stopped for longer than its lease first looks which groups are still its
    /// own. While the shared state is away nobody can have taken them, and what was told goes on being told.
    async fn make_sure(&self) {
        if !self.shard.stands() {
            drop(self.shard.look().await);
        }
        self.drop_departed();
    }

    /// The alerts of a group with news that some alarm has not taken yet.
    pub(crate) fn undelivered(&self, group: &str) -> HashSet<Fingerprint> {
        self.alarms
            .iter()
            .flat_map(|alarm| alarm.outbox().undelivered(group).collect::<Vec<_>>())
            .collect()
    }

    async fn send(&self, at: usize, clock: &Clock, http: &reqwest::Client) {
        let alarm = &self.alarms[at];
        let mut failures = 0;
        loop {
            self.make_sure().await;
            let now = clock.now();
            let batch = alarm.outbox().batch(now);
            if batch.is_empty() {
                alarm.wait_for_work(clock).await;
                continue;
            }
            let begun = Instant::now();
            let outcome = alarm.post(http, &batch).await;
            self.metrics.aliases.posted(&alarm.url, begun.elapsed());
            match outcome {
                Outcome::Taken => {
                    failures = 0;
                    self.metrics.delivered(&alarm.url, batch.len());
                    alarm.outbox().delivered(&batch, clock.now());
                    // What is late is noticed here as well, when no rule has anything to say.
                    self.watch_lateness(clock.now());
                }
                Outcome::Refused(reason) => {
                    self.metrics.delivery_failed(&alarm.url);
                    let given_up = alarm.outbox().refused(&batch, clock.now());
                    self.metrics.dropped(&alarm.url, given_up);
                    let (alerts, example) = (batch.len(), &batch[0].1.labels);
                    tracing::error!(alarm = alarm.url, alerts, %example, reason, "the alarm refuses alerts");
                }
                Outcome::Away(reason) => {
                    failures += 1;
                    self.metrics.delivery_failed(&alarm.url);
                    alarm.outbox().away(clock.now());
                    self.watch_lateness(clock.now());
                    tracing::warn!(
                        alarm = alarm.url,
                        failures,
                        reason,
                        "alerts cannot be sent; they wait"
                    );
                    clock.sleep(backoff(failures)).await;
                }
            }
            self.show(alarm, &alarm.outbox(), clock.now());
        }
    }
}

impl Lateness {
    fn next(self, is_late: bool, now: Timestamp) -> Self {
        match (self, is_late) {
            (Self::Late(since), true) => Self::Late(since.min(now)),
            (Self::InTime | Self::Over(..), true) => Self::Late(now),
            (Self::Late(since), false) => Self::Over(since.min(now), now),
            (Self::Over(_, until), false) if now.since(until) > RESOLVED_RETENTION => Self::InTime,
            (unchanged, false) => unchanged,
        }
    }

    /// What is to be said of it.
    fn told(self, url: &str, instance: &str, interval: Duration) -> Option<Arc<Told>> {
        let (starts_at, news) = match self {
            Self::InTime => return None,
            Self::Late(since) => (since, News::Firing),
            Self::Over(since, until) => (since, News::Resolved(until)),
        };
        let labels =
            [(ALERT_NAME, LATE), ("alarm", url), ("instance", instance), ("severity", "critical")];
        let summary = format!(
            "{url} takes alerts too slowly, or not at all: news waits longer than half its lease"
        );
        Some(Arc::new(Told {
            labels: Labels::from_pairs(labels),
            annotations: BTreeMap::from([("summary".to_owned(), summary)]),
            generator_url: Arc::from(""),
            starts_at,
            news,
            interval,
        }))
    }
}

impl Alarm {
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_for_work(&self, clock: &Clock) {
        let due = self.outbox().next_due(clock.now());
        match due {
            Some(due) => tokio::select! {
                () = clock.sleep_until(due) => {}
                () = self.wake.notified() => {}
            },
            None => self.wake.notified().await,
        }
    }

    async fn post(&self, http: &reqwest::Client, batch: &[Parcel]) -> Outcome {
        let alerts: Vec<PostableAlert> =
            batch.iter().map(|(_, told, ends_at)| told.alert(*ends_at).into()).collect();
        let url = format!("{}{}", self.url, wire::alert::PATH);
        let answer = match http.post(url).timeout(REQUEST_TIMEOUT).json(&alerts).send().await {
            Ok(answer) => answer,
            Err(error) => return Outcome::Away(format!("{:#}", anyhow::Error::from(error))),
        };
        let status = answer.status();
        if status.is_success() {
            return Outcome::Taken;
        }
        let text = answer.text().await.unwrap_or_default();
        let reason =
            format!("{status}: {}", text.chars().take(ANSWER_CHARS_MAX).collect::<String>());
        let is_transient = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
        );
        if status.is_client_error() && !is_transient {
            Outcome::Refused(reason)
        } else {
            Outcome::Away(reason)
        }
    }
}
