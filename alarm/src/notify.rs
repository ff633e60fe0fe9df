//! One task a receiver: takes tickets from its queue, asks the pipeline, sends, and records what came of it.

mod desk;
mod log;
pub(crate) mod messages;
pub(crate) mod office;
pub(crate) mod sender;
mod transport;
pub(crate) mod webhook;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use daemon::Stop;
use db::alerts::{DeliveryResult, StoredAlert, Told};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use model::{Fingerprint, Matcher, Timestamp};
use reqwest::Url;

use crate::app::Common;
use crate::config::ReceiverConfig;
use crate::notification::Notification;
use crate::pipeline::{self, Candidate, Reason, Round};
use crate::queue::{Queue, Ticket};
use crate::route::parse_matcher;
use crate::silences::Silences;
use log::{after_attempt, after_refusal, message_key};
use office::{Office, Team};
use webhook::Answer;

// Tickets that come back by themselves (retries) and those of other instances ring no bell here.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
// A ticket whose task died comes back after twice the timeout of an attempt and this.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
/// "Accepted", as HTTP has it: the message is in the store and on its way.
const QUEUED: u16 = 202;
const STORE_RETRY: Duration = Duration::from_secs(5);

/// How a receiver is told.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// A webhook, which is told as part of the attempt.
    Webhook(Url),
    /// Bots: the message is stored and sent by their sender.
    Bots(Arc<Team>),
}

/// A receiver as the settings describe it, ready for use.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    pub(crate) name: String,
    pub(crate) way: Way,
    pub(crate) send_resolved: bool,
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) timeout: Duration,
    pub(crate) retry_for: Duration,
    pub(crate) concurrency: usize,
}

impl Receiver {
    /// Fails on what `Config::validate` reports.
    pub(crate) fn from_config(config: &ReceiverConfig) -> anyhow::Result<Self> {
        let name = config.name.clone();
        let way = match config.bots.as_slice() {
            [] => Way::Webhook(
                Url::parse(&config.webhook_url.0)
                    .with_context(|| format!("webhook_url of receiver {name}"))?,
            ),
            _ => Way::Bots(Arc::new(Team::from_config(config)?)),
        };
        let matchers =
            config.matchers.iter().map(|text| parse_matcher(text)).collect::<Result<_, _>>();
        let matchers = matchers.with_context(|| format!("matchers of receiver {name}"))?;
        let ReceiverConfig { send_resolved, timeout, retry_for, concurrency, .. } = *config;
        Ok(Self { name, way, send_resolved, matchers, timeout, retry_for, concurrency })
    }

    /// Makes one attempt. What goes to bots is accepted once it is in the store; its sender does the rest.
    pub(crate) async fn send(
        &self,
        office: &Office,
        http: &reqwest::Client,
        notification: &Notification,
    ) -> Answer {
        match &self.way {
            Way::Webhook(url) => webhook::send(http, url, self.timeout, notification).await,
            Way::Bots(team) => match office.submit(team, notification).await {
                Ok(()) => Answer::Accepted { code: QUEUED },
                Err(error) => {
                    Answer::Temporary { code: 0, detail: format!("{error:#}"), retry_after: None }
                }
            },
        }
    }
}

/// The task of one receiver.
#[derive(Debug)]
pub(crate) struct Notifier {
    pub(crate) common: Common,
    pub(crate) receiver: Receiver,
    pub(crate) queue: Queue,
    pub(crate) http: reqwest::Client,
    pub(crate) external_url: String,
    pub(crate) repeat_interval: Duration,
    pub(crate) silences: Silences,
    pub(crate) office: Office,
}

/// All tickets at hand about one alert: one look at its state serves them all.
#[derive(Debug, PartialEq)]
struct Errand {
    fingerprint: Fingerprint,
    at: Timestamp,
    ids: Vec<String>,
}

/// Keeps two errands about one alert from running at once: the second must see what the first one told.
#[derive(Debug, Default)]
struct Desk {
    running: HashSet<Fingerprint>,
    held: Vec<Errand>,
}

impl Desk {
    /// Takes tickets; answers with the errands that can start now.
    fn admit(&mut self, tickets: Vec<(String, Ticket)>) -> Vec<Errand> {
        let mut ready: Vec<Errand> = Vec::new();
        for (id, ticket) in tickets {
            let Ticket { fingerprint, at } = ticket;
            let is_running = self.running.contains(&fingerprint);
            let waiting = if is_running { &mut self.held } else { &mut ready };
            match waiting.iter_mut().find(|errand| errand.fingerprint == fingerprint) {
                Some(errand) => errand.ids.push(id),
                None => waiting.push(Errand { fingerprint, at, ids: vec![id] }),
            }
        }
        self.running.extend(ready.iter().map(|errand| errand.fingerprint));
        ready
    }

    /// An errand is done; answers with the one that waited for it.
    fn finish(&mut self, fingerprint: Fingerprint) -> Option<Errand> {
        match self.held.iter().position(|errand| errand.fingerprint == fingerprint) {
            Some(position) => Some(self.held.swap_remove(position)),
            None => {
                self.running.remove(&fingerprint);
                None
            }
        }
    }
}

/// What a notifier waits for.
enum Step {
    /// Tickets came from the queue.
    Took(Vec<(String, Ticket)>),
    /// An errand about this alert is done.
    Done(Fingerprint),
}

impl Notifier {
    /// Works until the stop, then finishes what is under way.
    pub(crate) async fn run(self, stop: Stop) {
        let mut desk = Desk::default();
        // Taking tickets is one of the steps under way and not awaited by itself: while the loop waits
        // elsewhere, the errands stand still, and one of them may hold the very lock of the store that the
        // loop waits for.
        let mut under_way: FuturesUnordered<BoxFuture<'_, Step>> = FuturesUnordered::new();
        let (mut is_taking, mut may_take) = (false, true);
        let stop_requested = stop.clone().requested();
        tokio::pin!(stop_requested);
        loop {
            let errands = under_way.len() - usize::from(is_taking) + desk.held.len();
            let free = self.receiver.concurrency.saturating_sub(errands);
            if may_take && !is_taking && free > 0 && !stop.is_requested() {
                (is_taking, may_take) = (true, false);
                under_way.push(self.take(free).boxed());
            }
            tokio::select! {
                Some(step) = under_way.next() => {
                    let ready = match step {
                        Step::Took(tickets) => {
                            is_taking = false;
                            desk.admit(tickets)
                        }
                        Step::Done(fingerprint) => {
                            may_take = true;
                            desk.finish(fingerprint).into_iter().collect()
                        }
                    };
                    under_way.extend(ready.into_iter().map(|errand| self.run_errand(errand).boxed()));
                }
                () = self.queue.rung() => may_take = true,
                () = self.common.clock.sleep(POLL_INTERVAL) => may_take = true,
                () = &mut stop_requested, if under_way.is_empty() => return,
            }
        }
    }

    async fn take(&self, max: usize) -> Step {
        let lease = self.receiver.timeout * 2 + LEASE_MARGIN;
        let taken = self.queue.take(max, lease, self.common.clock.now()).await;
        Step::Took(taken.unwrap_or_else(|error| {
            self.store_failed("take tickets", &error);
            Vec::new()
        }))
    }

    async fn run_errand(&self, errand: Errand) -> Step {
        let again = match self.tell(&errand).await {
            Ok(again) => again,
            Err(error) => {
                self.store_failed("notify", &error);
                Some(self.common.clock.now().plus(STORE_RETRY))
            }
        };
        for id in &errand.ids {
            let settled = match again {
                Some(not_before) => self.queue.put_back(id, not_before).await,
                None => self.queue.done(id).await,
            };
            if let Err(error) = settled {
                // Its lease ends, and the notification log keeps the repeat from being sent.
                self.store_failed("settle a ticket", &error);
            }
        }
        Step::Done(errand.fingerprint)
    }

    /// Does what the state of the alert asks for; answers when to try again, if that makes sense.
    async fn tell(&self, errand: &Errand) -> anyhow::Result<Option<Timestamp>> {
        let Some(alert) = self.common.db.alerts().load(&[errand.fingerprint]).await?.pop() else {
            // Forgotten after the retention.
            return Ok(None);
        };
        let told = self.common.db.alerts().told(&[errand.fingerprint]).await?;
        let told = told.into_iter().find(|told| told.receiver == self.receiver.name);
        let now = self.common.clock.now();
        let silences = self.silences.known();
        let round = Round {
            receiver: &self.receiver,
            now,
            repeat_interval: self.repeat_interval,
            silences: &silences,
        };
        let mut outcome = pipeline::run(vec![Candidate { alert, told }], &round);
        for (candidate, reason) in outcome.dropped {
            self.hold_back(candidate, reason, now).await?;
        }
        match outcome.kept.pop() {
            Some(Candidate { alert, told }) => self.attempt(alert, told, errand).await,
            None => Ok(None),
        }
    }

    async fn hold_back(
        &self,
        candidate: Candidate,
        reason: Reason,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        self.common.metrics.suppressed(&self.receiver.name, reason);
        if let Some(told) = after_refusal(candidate, &self.receiver.name, reason, now) {
            self.common.db.alerts().record(&told, None).await?;
        }
        Ok(())
    }

    async fn attempt(
        &self,
        alert: StoredAlert,
        told: Option<Told>,
        errand: &Errand,
    ) -> anyhow::Result<Option<Timestamp>> {
        let began_at = self.common.clock.now();
        let stopwatch = tokio::time::Instant::now();
        let key = message_key(&alert, told.as_ref());
        let notification = self.notification(&alert, key, errand, began_at);
        let answer = self.receiver.send(&self.office, &self.http, &notification).await;
        let took = stopwatch.elapsed();
        let attempt = after_attempt(&alert, told, &self.receiver, &answer, began_at, took);
        self.common.db.alerts().record(&attempt.told, Some(&attempt.delivery)).await?;
        let result = attempt.told.result;
        self.common.metrics.attempted(&self.receiver.name, result, took.as_secs_f64());
        match result {
            DeliveryResult::Sent => {
                let delay = self.common.clock.now().since(errand.at);
                self.common.metrics.delivered_after(&self.receiver.name, delay.as_secs_f64());
            }
            DeliveryResult::Failed => self.log_given_up(&alert, &attempt.told, &answer),
            DeliveryResult::Retrying | DeliveryResult::Skipped => {}
        }
        Ok(attempt.again)
    }

    fn notification(
        &self,
        stored: &StoredAlert,
        key: String,
        errand: &Errand,
        at: Timestamp,
    ) -> Notification {
        let is_over = stored.status == db::alerts::AlertStatus::Resolved;
        // A firing alert whose lease has just run out must not be told as resolved.
        let ends_at = match is_over {
            true => stored.alert.ends_at,
            false => stored.alert.ends_at.max(at.plus(Duration::from_millis(1))),
        };
        let alert = model::Alert { ends_at, ..stored.alert.clone() };
        let status = match is_over {
            true => wire::alert::FiringStatus::Resolved,
            false => wire::alert::FiringStatus::Firing,
        };
        Notification {
            key,
            receiver: self.receiver.name.clone(),
            group_key: format!("{{}}:{{fingerprint=\"{}\"}}", alert.fingerprint()),
            group_labels: alert.labels.clone(),
            status,
            alerts: vec![alert],
            left_out: 0,
            external_url: self.external_url.clone(),
            priority: stored.priority,
            at,
            event_at: errand.at,
        }
    }

    fn log_given_up(&self, alert: &StoredAlert, told: &Told, answer: &Answer) {
        tracing::warn!(
            receiver.name = self.receiver.name,
            alert.fingerprint = %alert.alert.fingerprint(),
            attempts = told.attempts,
            http.code = answer.code(),
            "gave up a notification: {}",
            answer.detail()
        );
    }

    fn store_failed(&self, what: &'static str, error: &anyhow::Error) {
        self.common.metrics.store_failures.inc();
        tracing::error!(
            receiver.name = self.receiver.name,
            error = format!("{error:#}"),
            "cannot {what}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(id: &str, fingerprint: u64) -> (String, Ticket) {
        (id.to_owned(), Ticket { fingerprint: Fingerprint(fingerprint), at: Timestamp(1) })
    }

    #[test]
    fn two_errands_about_one_alert_never_run_at_once() {
        let mut desk = Desk::default();
        let ready = desk.admit(vec![ticket("a", 1), ticket("b", 2), ticket("c", 1)]);
        assert_eq!(ready.len(), 2);
        assert_eq!(ready[0].ids, ["a", "c"], "one look at the state serves both");
        assert!(desk.admit(vec![ticket("d", 1), ticket("e", 1)]).is_empty());
        assert_eq!(desk.finish(Fingerprint(2)), None);
        let held = desk.finish(Fingerprint(1)).expect("it waited");
        assert_eq!(held.ids, ["d", "e"]);
        assert!(desk.admit(vec![ticket("f", 1)]).is_empty(), "the held errand runs now");
        assert_eq!(
            desk.finish(Fingerprint(1)).map(|errand| errand.ids),
            Some(vec!["f".to_owned()])
        );
        assert_eq!(desk.finish(Fingerprint(1)), None);
        assert_eq!(desk.admit(vec![ticket("g", 1)]).len(), 1);
    }
}
