//! Carries alerts from the outboxes to the alarms: one outbox and one sender an alarm, so that one that is
//! away does not hold up the others.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use daemon::{Clock, Context};
use model::{Fingerprint, Labels, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::alarm::{Alarm, Outcome};
use crate::lateness::Lateness;
use crate::metrics::Metrics;
use crate::outbox::{Limits, OWN_GROUP, Outbox};
use crate::pace::backoff;
use crate::shard::Shard;
use crate::told::Told;

/// The outboxes of all alarms.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    recipients: Arc<Vec<Recipient>>,
    external: Labels,
    metrics: Metrics,
    shard: Arc<Shard>,
}

/// What goes to one alarm.
#[derive(Debug)]
struct Recipient {
    alarm: Alarm,
    limits: Limits,
    outbox: Mutex<Outbox>,
    wake: Notify,
    lateness: Mutex<Lateness>,
}

/// Alerts of a group with news that some alarm has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Undelivered<'a>(Vec<(&'a Alarm, HashSet<Fingerprint>)>);

impl Undelivered<'_> {
    /// Whether an alert, external labels included, is one of them.
    pub(crate) fn contains(&self, labels: &Labels) -> bool {
        let waits = |(alarm, waiting): &(&Alarm, HashSet<Fingerprint>)| {
            alarm.fingerprint(labels).is_some_and(|fingerprint| waiting.contains(&fingerprint))
        };
        self.0.iter().any(waits)
    }
}

impl Delivery {
    /// An empty outbox for every alarm.
    pub(crate) fn new(
        alarms: Vec<Alarm>,
        limits: Limits,
        external: Labels,
        metrics: Metrics,
        shard: Arc<Shard>,
    ) -> Self {
        let recipient = |alarm: Alarm| Recipient {
            alarm,
            limits,
            outbox: Mutex::new(Outbox::new(limits)),
            wake: Notify::new(),
            lateness: Mutex::new(Lateness::InTime),
        };
        Self {
            recipients: Arc::new(alarms.into_iter().map(recipient).collect()),
            external,
            metrics,
            shard,
        }
    }

    /// Starts a sender for every alarm.
    pub(crate) fn start(&self, context: &Context) {
        for at in 0..self.recipients.len() {
            let (delivery, clock, http) =
                (self.clone(), context.clock.clone(), context.http.clone());
            context.spawn("alert sender", async move { delivery.send(at, &clock, &http).await });
        }
    }

    /// Takes everything a group has to say, for all alarms.
    pub(crate) fn publish(&self, group: &Arc<str>, told: &[Arc<Told>], now: Timestamp) {
        for recipient in self.recipients.iter() {
            self.put(recipient, group, told, now);
        }
        self.watch_lateness(now);
    }

    fn put(&self, recipient: &Recipient, group: &Arc<str>, told: &[Arc<Told>], now: Timestamp) {
        let (told, dropped) = recipient.alarm.of_interest(told);
        self.metrics.relabel_dropped(&recipient.alarm.url, dropped);
        let mut outbox = recipient.outbox();
        let without_room = outbox.publish(group, &told, now);
        if without_room > 0 {
            self.metrics.dropped(&recipient.alarm.url, without_room);
            tracing::warn!(
                alarm = recipient.alarm.url,
                alerts = without_room,
                "the outbox is full (outbox_alerts_max)"
            );
        }
        self.show(recipient, &outbox, now);
        drop(outbox);
        recipient.wake.notify_one();
    }

    fn show(&self, recipient: &Recipient, outbox: &Outbox, now: Timestamp) {
        self.metrics.outbox(&recipient.alarm.url, outbox.len(), outbox.oldest_transition_age(now));
        self.metrics.overdue(&recipient.alarm.url, outbox.oldest_overdue(now));
    }

    /// Raises an alert, to all alarms and before all others, while news for one of them waits longer than half
    /// the lease that a firing alert is sent with.
    fn watch_lateness(&self, now: Timestamp) {
        let mut told = Vec::new();
        let mut is_changed = false;
        for recipient in self.recipients.iter() {
            let overdue = recipient.outbox().oldest_overdue(now);
            let mut lateness = recipient.lateness.lock().unwrap_or_else(PoisonError::into_inner);
            let next = lateness.next(overdue > recipient.limits.resend_delay * 2, now);
            is_changed |= next != *lateness || matches!(next, Lateness::Late(_));
            *lateness = next;
            let about = (recipient.alarm.url.as_str(), self.shard.member());
            told.extend(next.told(about, &self.external, recipient.limits.resend_delay));
        }
        if !is_changed {
            return;
        }
        let group: Arc<str> = Arc::from(OWN_GROUP);
        for recipient in self.recipients.iter() {
            self.put(recipient, &group, &told, now);
        }
    }

    /// Drops what a group said: another judge speaks for it.
    pub(crate) fn forget(&self, group: &Arc<str>) {
        for recipient in self.recipients.iter() {
            recipient.outbox().forget(group);
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
    pub(crate) fn undelivered(&self, group: &str) -> Undelivered<'_> {
        let waiting = |recipient: &'_ Recipient| {
            recipient.outbox().undelivered(group).collect::<HashSet<_>>()
        };
        let of_all = self.recipients.iter().map(|recipient| (&recipient.alarm, waiting(recipient)));
        Undelivered(of_all.filter(|(_, waiting)| !waiting.is_empty()).collect())
    }

    async fn send(&self, at: usize, clock: &Clock, http: &reqwest::Client) {
        let recipient = &self.recipients[at];
        let url = recipient.alarm.url.as_str();
        let mut failures = 0;
        loop {
            self.make_sure().await;
            let now = clock.now();
            let batch = recipient.outbox().batch(now);
            if batch.is_empty() {
                recipient.wait_for_work(clock).await;
                continue;
            }
            let begun = Instant::now();
            let outcome = recipient.alarm.post(http, &batch).await;
            self.metrics.aliases.posted(url, begun.elapsed());
            match outcome {
                Outcome::Taken => {
                    failures = 0;
                    self.metrics.delivered(url, batch.len());
                    recipient.outbox().delivered(&batch, clock.now());
                    // What is late is noticed here as well, when no rule has anything to say.
                    self.watch_lateness(clock.now());
                }
                Outcome::Refused(reason) => {
                    self.metrics.delivery_failed(url);
                    let given_up = recipient.outbox().refused(&batch, clock.now());
                    self.metrics.dropped(url, given_up);
                    let (alerts, example) = (batch.len(), &batch[0].1.labels);
                    tracing::error!(alarm = url, alerts, %example, reason, "the alarm refuses alerts");
                }
                Outcome::Away(reason) => {
                    failures += 1;
                    self.metrics.delivery_failed(url);
                    recipient.outbox().away(clock.now());
                    self.watch_lateness(clock.now());
                    tracing::warn!(
                        alarm = url,
                        failures,
                        reason,
                        "alerts cannot be sent; they wait"
                    );
                    clock.sleep(backoff(failures)).await;
                }
            }
            self.show(recipient, &recipient.outbox(), clock.now());
        }
    }
}

impl Recipient {
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
}
