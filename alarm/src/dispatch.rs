//! The one place where groups are told apart and their timers run: one instance of alarm holds the lease on it,
//! the others take alerts in and send messages.
//!
//! Nothing is kept here that is not in the store. Whoever takes the lease over builds the groups from the alerts
//! and the notification log and goes on; a ticket that was pushed by both is one ticket, and what it would tell
//! twice the log knows to be told.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use db::alerts::{AlertSearch, AlertStatus, StoredAlert, Told};
use model::{Fingerprint, FingerprintSet, Timestamp};
use tokio::sync::mpsc;

use crate::app::Common;
use crate::group::{Due, Flush, Groups, Held, News};
use crate::pipeline::{Candidate, Reason};
use crate::plan::Plan;
use crate::queue::{NewTicket, SET_BACK, Ticket};
use crate::route::group_key;
use crate::told::after_refusal;

const LEASE: &str = "alarm.dispatch";
const LEASE_TIME: Duration = Duration::from_secs(15);
/// How often the lease is renewed and the news of other instances are looked for.
const ROUND_INTERVAL: Duration = Duration::from_secs(1);
/// With less left the lease counts as lost: a task that stood still in between must not act on it.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
const EVENTS_PER_ROUND: u32 = 5_000;
const UNTOLD_ENDS_MAX: u32 = 1_000_000;
/// Batches of news that wait here; intake waits when there are more, so that what is urgent finds few before it.
const BATCHES_WAITING_MAX: usize = 8;

/// What the dispatcher is told by the other parts of this process.
#[derive(Debug)]
pub(crate) enum Message {
    /// Something happened to these alerts.
    News(Vec<(Fingerprint, News)>),
    /// What held these alerts back may be over. `is_repeat`: those who know of them are told again.
    Offer { fingerprints: Vec<Fingerprint>, is_repeat: bool },
}

/// Whether this instance dispatches, and the way to its dispatcher; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Dispatcher {
    messages: mpsc::Sender<Message>,
    /// Until when this instance may think so, in milliseconds.
    leads_until: Arc<AtomicI64>,
}

impl Dispatcher {
    /// Whether this instance dispatches at `now`.
    pub(crate) fn leads(&self, now: Timestamp) -> bool {
        now.0 < self.leads_until.load(Ordering::Acquire)
    }

    /// Hands a message over; waits while too many are there.
    pub(crate) async fn tell(&self, message: Message) {
        // Only a stopping process has no dispatcher, and the next one finds all of it in the store.
        let _ = self.messages.send(message).await;
    }
}

/// The task behind a [`Dispatcher`].
#[derive(Debug)]
pub(crate) struct Dispatch {
    pub(crate) common: Common,
    pub(crate) owner: String,
    pub(crate) messages: mpsc::Receiver<Message>,
    pub(crate) dispatcher: Dispatcher,
}

/// A way to the dispatcher and what it reads from.
pub(crate) fn open(is_alone: bool) -> (Dispatcher, mpsc::Receiver<Message>) {
    let (sender, messages) = mpsc::channel(BATCHES_WAITING_MAX);
    // What nobody shares is ours from the first moment, so that no news are left for somebody else.
    let leads_until = if is_alone { i64::MAX } else { 0 };
    (Dispatcher { messages: sender, leads_until: Arc::new(AtomicI64::new(leads_until)) }, messages)
}

impl Dispatch {
    /// Dispatches whenever it holds the lease, as long as the process runs.
    pub(crate) async fn run(mut self) {
        loop {
            match self.lead().await {
                // The lease is somebody else's, or the settings are new.
                Ok(()) => {}
                Err(error) => {
                    self.common.metrics.store_failures.inc();
                    tracing::error!(error = format!("{error:#}"), "cannot dispatch; trying again");
                    self.common.clock.sleep(ROUND_INTERVAL).await;
                }
            }
        }
    }

    /// Takes or renews the lease; answers whether it is ours.
    async fn take_lease(&self) -> anyhow::Result<bool> {
        let now = self.common.clock.now();
        if self.common.is_alone {
            return Ok(true);
        }
        let until = match self.common.state.take_lease(LEASE, &self.owner, LEASE_TIME, now).await? {
            Some(lease) => lease.until.minus(LEASE_MARGIN).0,
            None => 0,
        };
        self.dispatcher.leads_until.store(until, Ordering::Release);
        Ok(until > now.0)
    }

    async fn lead(&mut self) -> anyhow::Result<()> {
        if !self.take_lease().await? {
            // What happens here meanwhile is in the store.
            while self.messages.try_recv().is_ok() {}
            self.common.clock.sleep(ROUND_INTERVAL).await;
            return Ok(());
        }
        let plan = self.common.plans.borrow_and_update().clone();
        let mut groups = self.rebuild(plan.clone()).await?;
        tracing::debug!(groups = groups.len(), "dispatching");
        let mut next_round = self.common.clock.now();
        let mut latest = next_round;
        loop {
            let now = self.common.clock.now();
            if now.plus(SET_BACK) < latest {
                // No timer would ring before the old time comes again.
                tracing::warn!("the clock was set back: the timers of groups are set anew");
                return Ok(());
            }
            latest = now;
            if now >= next_round {
                next_round = now.plus(ROUND_INTERVAL);
                if !self.common.is_alone {
                    if !self.take_lease().await? {
                        tracing::warn!("another instance dispatches now");
                        return Ok(());
                    }
                    self.take_news_of_others(&mut groups).await?;
                }
                self.note_overflow(groups.take_overflowed());
                self.common.metrics.groups.set(i64::try_from(groups.len()).unwrap_or(i64::MAX));
            }
            // What could not be pushed or noted is found in the store again.
            self.carry_out(groups.due(now), &plan, now).await?;
            let next = groups.next_due().map_or(next_round, |due| due.min(next_round));
            tokio::select! {
                message = self.messages.recv() => match message {
                    Some(message) => self.hear(message, &mut groups),
                    None => return Ok(()),
                },
                changed = self.common.plans.changed() => {
                    if changed.is_ok() {
                        return Ok(());
                    }
                }
                () = self.common.clock.sleep_until(next) => {}
            }
        }
    }

    fn note_overflow(&self, alerts: u64) {
        if alerts > 0 {
            self.common.metrics.overflowed.inc_by(alerts);
            tracing::warn!(alerts, "there are alarm.groups_max groups: new ones share one a way");
        }
    }

    /// Takes in a message and all that wait behind it, so that a storm is one flush and not many.
    fn hear(&mut self, first: Message, groups: &mut Groups) {
        let now = self.common.clock.now();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::News(all) => {
                    for (fingerprint, news) in all {
                        groups.observe(fingerprint, news);
                    }
                }
                Message::Offer { fingerprints, is_repeat } => {
                    for fingerprint in fingerprints {
                        groups.offer(fingerprint, is_repeat, now);
                    }
                }
            }
            next = self.messages.try_recv().ok();
        }
    }

    async fn rebuild(&self, plan: Arc<Plan>) -> anyhow::Result<Groups> {
        let table = self.common.db.alerts();
        let unresolved = AlertSearch {
            statuses: vec![AlertStatus::Firing, AlertStatus::Stale],
            ..AlertSearch::default()
        };
        let mut alerts = table.search(&unresolved, 0, u32::MAX).await?;
        let ended = table.untold_ends(UNTOLD_ENDS_MAX).await?;
        alerts.extend(table.load(&ended).await?);
        let fingerprints: Vec<Fingerprint> =
            alerts.iter().map(|stored| stored.alert.fingerprint()).collect();
        let told = table.told(&fingerprints).await?;
        // Looked at after the log: what was told in between is offered once more, and not forgotten.
        let here: HashMap<&str, FingerprintSet> = plan
            .integrations
            .iter()
            .filter_map(|one| Some((one.name.as_str(), self.common.queues.of(&one.name).alerts()?)))
            .collect();
        // On shared queues tickets outlive the process that made them.
        let has_ticket =
            |key: &str, alert| here.get(key).is_none_or(|alerts| alerts.contains(&alert));
        let now = self.common.clock.now();
        Ok(Groups::rebuild(Arc::clone(&plan), &alerts, &told, has_ticket, now))
    }

    /// What other instances took in, in the order of urgency.
    async fn take_news_of_others(&self, groups: &mut Groups) -> anyhow::Result<()> {
        let table = self.common.db.alerts();
        let events = table.unqueued_events(EVENTS_PER_ROUND).await?;
        if events.is_empty() {
            return Ok(());
        }
        let arrived: HashMap<Fingerprint, Timestamp> =
            events.iter().map(|event| (event.fingerprint, event.at)).collect();
        let fingerprints: Vec<Fingerprint> = arrived.keys().copied().collect();
        for stored in table.load(&fingerprints).await? {
            let fingerprint = stored.alert.fingerprint();
            let at = arrived.get(&fingerprint).copied().unwrap_or_default();
            groups.observe(fingerprint, News::of(&stored, at));
        }
        Ok(table.mark_queued(&events).await?)
    }

    async fn carry_out(&self, due: Due, plan: &Plan, now: Timestamp) -> anyhow::Result<()> {
        let mut of_queue: HashMap<&str, Vec<NewTicket>> = HashMap::new();
        for flush in due.flushes {
            let leaf = &plan.tree.leaves()[flush.leaf];
            let (id, priority, ticket) = ticket_of(flush, plan, now);
            for integration in plan.integrations_of(&leaf.receiver) {
                let tickets = of_queue.entry(integration.name.as_str()).or_default();
                tickets.push((id.clone(), priority, Arc::clone(&ticket)));
            }
        }
        for (key, tickets) in of_queue {
            self.common.queues.of(key).push(tickets, now).await?;
        }
        self.note_held(due.held, plan, now).await
    }

    /// Writes down what is held back and why.
    async fn note_held(&self, held: Vec<Held>, plan: &Plan, now: Timestamp) -> anyhow::Result<()> {
        if held.is_empty() {
            return Ok(());
        }
        let table = self.common.db.alerts();
        let fingerprints: Vec<Fingerprint> = held.iter().map(|held| held.fingerprint).collect();
        let alerts: HashMap<Fingerprint, StoredAlert> = table
            .load(&fingerprints)
            .await?
            .into_iter()
            .map(|stored| (stored.alert.fingerprint(), stored))
            .collect();
        let mut told: HashMap<(Fingerprint, String), Told> = table
            .told(&fingerprints)
            .await?
            .into_iter()
            .map(|told| ((told.fingerprint, told.receiver.clone()), told))
            .collect();
        let (mut seen, mut noted) = (HashSet::new(), Vec::new());
        for Held { leaf, fingerprint, reason } in held {
            let Some(alert) = alerts.get(&fingerprint) else { continue };
            for integration in plan.integrations_of(&plan.tree.leaves()[leaf].receiver) {
                let key = &integration.name;
                self.common.metrics.suppressed(key, reason, 1);
                let place = (fingerprint, key.clone());
                let told = told.remove(&place);
                // A second way to the same receiver must not make it forgotten what that was told.
                if seen.insert(place) {
                    let candidate = Candidate { alert: alert.clone(), told };
                    noted.extend(held_entry(candidate, key, reason, now));
                }
            }
        }
        Ok(table.record(&noted, &[]).await?)
    }
}

/// An alert that ended, and whose receiver never heard of it, is no news to be held back.
fn held_entry(candidate: Candidate, key: &str, reason: Reason, now: Timestamp) -> Option<Told> {
    let is_over = candidate.alert.status != AlertStatus::Firing;
    let reason = if is_over && candidate.told.is_none() { Reason::EndedUntold } else { reason };
    after_refusal(candidate, key, reason, now)
}

fn ticket_of(flush: Flush, plan: &Plan, now: Timestamp) -> NewTicket {
    let leaf = &plan.tree.leaves()[flush.leaf];
    let Flush { labels, alerts, left_out, is_repeat, priority, event_at, mark, .. } = flush;
    let group_key = group_key(leaf, &labels);
    let group = model::Labels::from_pairs([("group", &group_key)]).hash();
    let repeat_interval = millis(flush.repeat_interval);
    let ticket = Ticket {
        group,
        group_key,
        labels,
        route_labels: leaf.options.labels.clone(),
        alerts,
        left_out,
        is_repeat,
        is_escalation: leaf.escalates_after.is_some(),
        escalates_after_ms: millis(leaf.escalates_after.unwrap_or_default()),
        repeat_interval_ms: repeat_interval,
        at: now,
        event_at,
    };
    (format!("{group:016x}-{mark:016x}"), priority, Arc::new(ticket))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
