//! One task an integration: takes tickets from its queue, asks the pipeline, sends, and records what came of it.
//! What the store is asked and told goes in batches, whatever was ready at the time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use daemon::Stop;
use db::alerts::{AlertStatus, Delivery, DeliveryResult, StoredAlert, Told};
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use model::{Fingerprint, Timestamp};

use crate::app::Common;
use crate::notification::Notification;
use crate::notify::office::Office;
use crate::notify::{Answer, Receiver};
use crate::pipeline::{self, Candidate, Reason, Round};
use crate::plan::Plan;
use crate::queue::{Queue, Ticket};
use crate::told::{Subject, after_attempt, after_refusal, message_key};
use wire::alert::FiringStatus;

// Tickets that come back by themselves (retries) and those of other instances ring no bell here.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
// A ticket whose task died comes back after twice the timeout of an attempt and this.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
const STORE_RETRY: Duration = Duration::from_secs(5);
/// Another instance works on a ticket of the same group.
const GROUP_RETRY: Duration = Duration::from_secs(1);
/// Tickets under way for every message that may be sent at once. More make larger batches, and an urgent ticket
/// wait for more of the others.
const TICKETS_PER_SENDER: usize = 16;
/// Alerts that one look has in memory, unless one errand alone brings more.
const ALERTS_PER_LOOK: usize = 1_000;
/// While messages are on their way, outcomes are gathered for so long and then written down together. Who is killed
/// meanwhile tells them again.
const GATHER_FOR: Duration = Duration::from_millis(5);

/// The task of one integration.
#[derive(Debug)]
pub(crate) struct Teller {
    pub(crate) common: Common,
    /// Its key.
    pub(crate) key: String,
    pub(crate) queue: Queue,
    /// The name that groups are leased under.
    pub(crate) owner: String,
    pub(crate) http: reqwest::Client,
    pub(crate) office: Office,
}

/// All tickets at hand about one group: one look at its alerts serves them all.
#[derive(Debug, Clone, PartialEq)]
struct Errand {
    ticket: Ticket,
    ids: Vec<String>,
}

/// Keeps two errands about one group from running at once: the second must see what the first one told.
#[derive(Debug, Default)]
struct Desk {
    running: HashSet<u64>,
    held: Vec<Errand>,
    /// To be looked at.
    begin: VecDeque<Errand>,
    /// Alerts that are being looked at.
    looking: usize,
    /// Looked at and to be sent.
    ready: VecDeque<Ready>,
    sending: usize,
    /// To be written down.
    settled: Vec<Settled>,
    /// Whether outcomes are being gathered or written down.
    is_recording: bool,
}

/// An alert that was loaded, and how many errands of the look are about it.
#[derive(Debug)]
struct Found {
    candidate: Candidate,
    errands: usize,
}

impl Desk {
    /// The errands to look at next, if not enough alerts wait to be sent.
    fn next_look(&mut self) -> Vec<Errand> {
        let waiting: usize = self.ready.iter().map(|ready| ready.subjects.len()).sum();
        if waiting + self.looking >= ALERTS_PER_LOOK {
            return Vec::new();
        }
        let mut errands = Vec::new();
        let mut alerts = 0;
        while alerts < ALERTS_PER_LOOK
            && let Some(errand) = self.begin.pop_front()
        {
            alerts += errand.ticket.alerts.len();
            errands.push(errand);
        }
        self.looking += alerts;
        errands
    }

    /// Takes tickets; answers with the errands that can start now.
    fn admit(&mut self, tickets: Vec<(String, Ticket)>) -> Vec<Errand> {
        let mut ready: Vec<Errand> = Vec::new();
        for (id, ticket) in tickets {
            let is_running = self.running.contains(&ticket.group);
            let waiting = if is_running { &mut self.held } else { &mut ready };
            match waiting.iter_mut().find(|errand| errand.ticket.group == ticket.group) {
                Some(errand) => {
                    errand.ids.push(id);
                    merge(&mut errand.ticket, ticket);
                }
                None => waiting.push(Errand { ticket, ids: vec![id] }),
            }
        }
        self.running.extend(ready.iter().map(|errand| errand.ticket.group));
        ready
    }

    /// Errands about these groups are done; answers with those that waited for them.
    fn finish(&mut self, groups: &[u64]) -> Vec<Errand> {
        let mut next = Vec::new();
        for group in groups {
            match self.held.iter().position(|errand| errand.ticket.group == *group) {
                Some(position) => next.push(self.held.swap_remove(position)),
                None => {
                    self.running.remove(group);
                }
            }
        }
        next
    }

    fn errands(&self) -> usize {
        self.running.len() + self.held.len()
    }
}

/// The later ticket adds its alerts.
fn merge(ticket: &mut Ticket, later: Ticket) {
    let known: HashSet<Fingerprint> = ticket.alerts.iter().copied().collect();
    ticket.alerts.extend(later.alerts.into_iter().filter(|alert| !known.contains(alert)));
    ticket.left_out = later.left_out;
    ticket.is_repeat |= later.is_repeat;
    ticket.at = ticket.at.max(later.at);
    ticket.event_at = ticket.event_at.min(later.event_at);
}

/// What is stored of the alerts of errands.
#[derive(Debug)]
struct Known {
    found: HashMap<Fingerprint, Found>,
    told_often: HashSet<Fingerprint>,
}

/// A message that can leave.
#[derive(Debug)]
struct Ready {
    errand: Errand,
    /// Whom it is about, and what was told about them before.
    subjects: Vec<(Subject, Option<Told>)>,
    notification: Notification,
    /// What the pipeline noted on the way.
    noted: Vec<Told>,
}

/// What came of an errand.
#[derive(Debug)]
struct Settled {
    group: u64,
    ids: Vec<String>,
    again: Option<Timestamp>,
    told: Vec<Told>,
    deliveries: Vec<Delivery>,
}

impl Settled {
    fn of(errand: Errand, again: Option<Timestamp>) -> Self {
        let (told, deliveries) = (Vec::new(), Vec::new());
        Self { group: errand.ticket.group, ids: errand.ids, again, told, deliveries }
    }
}

/// What a teller waits for.
enum Step {
    /// Tickets came from the queue.
    Took(Vec<(String, Ticket)>),
    /// Errands about so many alerts were looked at.
    Looked(Vec<Ready>, Vec<Settled>, usize),
    /// A message was sent, or not.
    Sent(Settled),
    /// Outcomes were gathered for a while.
    Gathered,
    /// The outcome of errands about these groups is written down.
    Recorded(Vec<u64>),
}

impl Teller {
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
            let plan = self.common.plans.borrow().clone();
            let receiver = plan.integration(&self.key);
            let concurrency = receiver.map_or(1, |receiver| receiver.concurrency);
            let free = (concurrency * TICKETS_PER_SENDER).saturating_sub(desk.errands());
            if receiver.is_some() && may_take && !is_taking && free > 0 && !stop.is_requested() {
                (is_taking, may_take) = (true, false);
                under_way.push(self.take(free, plan.clone()).boxed());
            }
            while desk.sending < concurrency
                && let Some(ready) = desk.ready.pop_front()
            {
                desk.sending += 1;
                under_way.push(self.send(ready, plan.clone()).boxed());
            }
            let begin = desk.next_look();
            if !begin.is_empty() {
                under_way.push(self.look(begin, plan.clone()).boxed());
            }
            if !desk.is_recording && !desk.settled.is_empty() {
                desk.is_recording = true;
                let pause = if desk.sending > 0 { GATHER_FOR } else { Duration::ZERO };
                under_way.push(tokio::time::sleep(pause).map(|()| Step::Gathered).boxed());
            }
            tokio::select! {
                Some(step) = under_way.next() => {
                    if matches!(step, Step::Gathered) {
                        under_way.push(self.record(std::mem::take(&mut desk.settled)).boxed());
                    }
                    self.follow(step, &mut desk, &mut is_taking, &mut may_take);
                }
                () = self.queue.rung() => may_take = true,
                () = self.common.clock.sleep(POLL_INTERVAL) => may_take = true,
                () = &mut stop_requested, if under_way.is_empty() => return,
            }
        }
    }

    /// Notes what a step brought.
    fn follow(&self, step: Step, desk: &mut Desk, is_taking: &mut bool, may_take: &mut bool) {
        match step {
            Step::Took(tickets) => {
                *is_taking = false;
                // A full hand may not have been all there was.
                *may_take |= !tickets.is_empty();
                let begin = desk.admit(tickets);
                desk.begin.extend(begin);
            }
            Step::Looked(ready, settled, alerts) => {
                desk.looking -= alerts;
                desk.ready.extend(ready);
                desk.settled.extend(settled);
            }
            Step::Sent(settled) => {
                desk.sending -= 1;
                desk.settled.push(settled);
            }
            Step::Gathered => {}
            Step::Recorded(groups) => {
                desk.is_recording = false;
                *may_take = true;
                let begin = desk.finish(&groups);
                desk.begin.extend(begin);
            }
        }
    }

    async fn take(&self, max: usize, plan: Arc<Plan>) -> Step {
        let timeout = plan.integration(&self.key).map_or(Duration::ZERO, |one| one.timeout);
        let lease = timeout * 2 + LEASE_MARGIN;
        let taken = self.queue.take(max, lease, self.common.clock.now()).await;
        Step::Took(taken.unwrap_or_else(|error| {
            self.store_failed("take tickets", &error);
            Vec::new()
        }))
    }

    /// Looks at the alerts of the errands as they are now: what is there to be told?
    async fn look(&self, errands: Vec<Errand>, plan: Arc<Plan>) -> Step {
        let (mut ready, mut settled) = (Vec::new(), Vec::new());
        let looked_at = errands.iter().map(|errand| errand.ticket.alerts.len()).sum();
        let later = self.common.clock.now().plus(GROUP_RETRY);
        let mut mine = Vec::with_capacity(errands.len());
        let leases = join_all(errands.iter().map(|errand| self.lease(errand, &plan))).await;
        for (errand, lease) in errands.into_iter().zip(leases) {
            match lease {
                Ok(true) => mine.push(errand),
                Ok(false) => settled.push(Settled::of(errand, Some(later))),
                Err(error) => {
                    self.store_failed("lease a group", &error);
                    settled.push(Settled::of(errand, Some(later)));
                }
            }
        }
        let Some(receiver) = plan.integration(&self.key) else {
            // The receiver has just left the settings.
            settled.extend(mine.into_iter().map(|errand| Settled::of(errand, None)));
            return Step::Looked(ready, settled, looked_at);
        };
        match self.load(&mine).await {
            Ok(mut known) => {
                for errand in mine {
                    match self.judge(errand, receiver, &plan, &mut known) {
                        Ok(message) => ready.push(message),
                        Err(nothing) => settled.push(nothing),
                    }
                }
            }
            Err(error) => {
                self.store_failed("look at alerts", &error);
                let again = self.common.clock.now().plus(STORE_RETRY);
                settled.extend(mine.into_iter().map(|errand| Settled::of(errand, Some(again))));
            }
        }
        Step::Looked(ready, settled, looked_at)
    }

    /// Whether no other instance works on this group.
    async fn lease(&self, errand: &Errand, plan: &Plan) -> anyhow::Result<bool> {
        if !self.common.state.is_shared() {
            return Ok(true);
        }
        let timeout = plan.integration(&self.key).map_or(Duration::ZERO, |one| one.timeout);
        let name = self.lease_name(errand.ticket.group);
        let now = self.common.clock.now();
        let lease = self
            .common
            .state
            .take_lease(&name, &self.owner, timeout * 2 + LEASE_MARGIN, now)
            .await?;
        Ok(lease.is_some())
    }

    fn lease_name(&self, group: u64) -> String {
        format!("alarm.{}.{group:016x}", self.key)
    }

    async fn load(&self, errands: &[Errand]) -> anyhow::Result<Known> {
        let fingerprints: Vec<Fingerprint> =
            errands.iter().flat_map(|errand| &errand.ticket.alerts).copied().collect();
        let table = self.common.db.alerts();
        let alerts = table.load(&fingerprints).await?;
        let told = table.told_by(&self.key, &fingerprints).await?;
        let told_often = self.told_often(&alerts, &told).await?;
        let mut told: HashMap<Fingerprint, Told> =
            told.into_iter().map(|told| (told.fingerprint, told)).collect();
        let mut found = HashMap::with_capacity(alerts.len());
        for alert in alerts {
            let fingerprint = alert.alert.fingerprint();
            let candidate = Candidate { alert, told: told.remove(&fingerprint) };
            found.insert(fingerprint, Found { candidate, errands: 0 });
        }
        for fingerprint in fingerprints {
            if let Some(found) = found.get_mut(&fingerprint) {
                found.errands += 1;
            }
        }
        Ok(Known { found, told_often })
    }

    /// Those of the alerts that the receiver was told of as often as their rules allow. Few rules have such a limit,
    /// and only what was told before is counted.
    async fn told_often(
        &self,
        alerts: &[StoredAlert],
        told: &[Told],
    ) -> anyhow::Result<HashSet<Fingerprint>> {
        let sent = told.iter().filter(|told| told.sent.is_some());
        let sent: HashSet<Fingerprint> = sent.map(|told| told.fingerprint).collect();
        let mut told_often = HashSet::new();
        for stored in alerts.iter().filter(|stored| stored.status == AlertStatus::Firing) {
            let fingerprint = stored.alert.fingerprint();
            let Some(most) = pipeline::notifications_max(stored) else { continue };
            if !sent.contains(&fingerprint) {
                continue;
            }
            let (table, since) = (self.common.db.alerts(), stored.alert.starts_at);
            if table.times_told(&self.key, fingerprint, since).await? >= most {
                told_often.insert(fingerprint);
            }
        }
        Ok(told_often)
    }

    /// What an errand has to tell, or what is noted because it has nothing to tell.
    fn judge(
        &self,
        errand: Errand,
        receiver: &Receiver,
        plan: &Plan,
        known: &mut Known,
    ) -> Result<Ready, Settled> {
        let now = self.common.clock.now();
        let (silences, claims) = (self.common.silences.known(), self.common.claims.known());
        let maintenance = self.common.maintenance.known();
        let ticket = &errand.ticket;
        let round = Round {
            receiver,
            now,
            repeat_interval: Duration::from_millis(ticket.repeat_interval_ms),
            repeats_before: ticket.is_repeat.then_some(ticket.at),
            is_escalation: ticket.is_escalation,
            silences: &silences,
            claims: &claims,
            maintenance: &maintenance,
            told_often: &known.told_often,
        };
        let mut candidates = Vec::with_capacity(ticket.alerts.len());
        for fingerprint in &ticket.alerts {
            match known.found.get_mut(fingerprint) {
                // Another errand needs it too.
                Some(one) if one.errands > 1 => {
                    one.errands -= 1;
                    candidates.push(one.candidate.clone());
                }
                _ => candidates.extend(known.found.remove(fingerprint).map(|one| one.candidate)),
            }
        }
        let outcome = pipeline::run(candidates, &round);
        let noted: Vec<Told> = outcome
            .dropped
            .into_iter()
            .filter_map(|(candidate, reason)| self.note(candidate, reason, now))
            .collect();
        if outcome.kept.is_empty() {
            return Err(Settled { told: noted, ..Settled::of(errand, None) });
        }
        let name = plan.receiver_of(&self.key).unwrap_or(&self.key);
        let (notification, subjects) =
            compose(ticket, outcome.kept, &self.key, name, &self.common.config.external_url, now);
        Ok(Ready { errand, subjects, notification, noted })
    }

    fn note(&self, candidate: Candidate, reason: Reason, now: Timestamp) -> Option<Told> {
        self.common.metrics.suppressed(&self.key, reason, 1);
        after_refusal(candidate, &self.key, reason, now)
    }

    async fn send(&self, ready: Ready, plan: Arc<Plan>) -> Step {
        let Ready { errand, subjects, notification, noted } = ready;
        let Some(receiver) = plan.integration(&self.key) else {
            return Step::Sent(Settled::of(errand, None));
        };
        tracing::debug!(
            receiver.name = self.key,
            group.key = notification.group_key,
            firing = notification.firing().count(),
            resolved = notification.resolved().count(),
            common.labels = %notification.common_labels(),
            common.annotations = notification.common_annotations().len(),
            "sending"
        );
        let began_at = self.common.clock.now();
        let stopwatch = tokio::time::Instant::now();
        let answer = receiver.send(&self.office, &self.http, &notification).await;
        let took = stopwatch.elapsed();
        let mut settled = Settled { told: noted, ..Settled::of(errand, None) };
        let mut results = HashSet::new();
        for (subject, told) in subjects {
            let attempt = after_attempt(subject, told, receiver, &answer, began_at, took);
            settled.again = settled.again.into_iter().chain(attempt.again).min();
            results.insert(attempt.told.result);
            if attempt.told.result == DeliveryResult::Failed {
                self.log_given_up(&attempt.told, &answer);
            }
            settled.told.push(attempt.told);
            settled.deliveries.push(attempt.delivery);
        }
        for result in results {
            self.common.metrics.attempted(&self.key, result, took.as_secs_f64());
        }
        if matches!(answer, Answer::Accepted { .. }) {
            let delay = self.common.clock.now().since(notification.event_at);
            self.common.metrics.delivered_after(&self.key, delay.as_secs_f64());
            self.common.metrics.told_alerts(&self.key, settled.deliveries.len() as u64);
        }
        Step::Sent(settled)
    }

    /// Writes down what came of errands, then lets their tickets go.
    async fn record(&self, mut settled: Vec<Settled>) -> Step {
        let groups: Vec<u64> = settled.iter().map(|one| one.group).collect();
        let (mut told, mut deliveries) = (Vec::new(), Vec::new());
        for one in &mut settled {
            told.append(&mut one.told);
            deliveries.append(&mut one.deliveries);
        }
        let is_noted = if told.is_empty() && deliveries.is_empty() {
            true
        } else {
            let recorded = self.common.db.alerts().record(&told, &deliveries).await;
            recorded.inspect_err(|error| self.store_failed("note notifications", &error)).is_ok()
        };
        let retry = self.common.clock.now().plus(STORE_RETRY);
        let mut done = Vec::new();
        for Settled { ids, again, .. } in settled {
            let again = again.or((!is_noted).then_some(retry));
            let Some(not_before) = again else {
                done.extend(ids);
                continue;
            };
            for id in ids {
                if let Err(error) = self.queue.put_back(&id, not_before).await {
                    // Its lease ends, and the notification log keeps the repeat from being sent.
                    self.store_failed("put a ticket back", &error);
                }
            }
        }
        if !done.is_empty()
            && let Err(error) = self.queue.done(&done).await
        {
            self.store_failed("settle tickets", &error);
        }
        self.release(&groups).await;
        Step::Recorded(groups)
    }

    async fn release(&self, groups: &[u64]) {
        if !self.common.state.is_shared() {
            return;
        }
        join_all(groups.iter().map(|group| self.release_one(*group))).await;
    }

    async fn release_one(&self, group: u64) {
        let name = self.lease_name(group);
        if let Err(error) = self.common.state.release_lease(&name, &self.owner).await {
            self.store_failed("release a group", &error);
        }
    }

    fn log_given_up(&self, told: &Told, answer: &Answer) {
        tracing::warn!(
            receiver.name = self.key,
            alert.fingerprint = %told.fingerprint,
            attempts = told.attempts,
            http.code = answer.code(),
            "gave up a notification: {}",
            answer.detail()
        );
    }

    fn store_failed(&self, what: &'static str, error: &dyn std::fmt::Display) {
        self.common.metrics.store_failures.inc();
        tracing::error!(receiver.name = self.key, error = format!("{error:#}"), "cannot {what}");
    }
}

fn compose(
    ticket: &Ticket,
    kept: Vec<Candidate>,
    key: &str,
    receiver: &str,
    external_url: &str,
    now: Timestamp,
) -> (Notification, Vec<(Subject, Option<Told>)>) {
    let message_key = message_key(ticket.group, key, &kept);
    let priority = kept.iter().map(|candidate| candidate.alert.priority).min().unwrap_or(u8::MAX);
    let mut subjects = Vec::with_capacity(kept.len());
    let mut alerts = Vec::with_capacity(kept.len());
    for Candidate { alert: stored, told } in kept {
        subjects.push((Subject::of(&stored), told));
        let mut alert = stored.alert;
        if stored.status != AlertStatus::Resolved {
            // A firing alert whose lease has just run out must not be told as resolved.
            alert.ends_at = alert.ends_at.max(now.plus(Duration::from_millis(1)));
        }
        alerts.push(alert);
    }
    let fires = ticket.left_out > 0 || alerts.iter().any(|alert| !alert.is_resolved_at(now));
    let notification = Notification {
        key: message_key,
        receiver: receiver.to_owned(),
        group_key: ticket.group_key.clone(),
        group_labels: ticket.labels.clone(),
        status: if fires { FiringStatus::Firing } else { FiringStatus::Resolved },
        alerts,
        left_out: ticket.left_out,
        external_url: external_url.to_owned(),
        priority,
        at: now,
        event_at: ticket.event_at,
    };
    (notification, subjects)
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;
    use crate::pipeline::tests::candidate;

    fn ticket(group: u64, alerts: &[u64]) -> Ticket {
        Ticket {
            group,
            group_key: String::new(),
            labels: Labels::empty(),
            alerts: alerts.iter().map(|alert| Fingerprint(*alert)).collect(),
            left_out: 0,
            is_repeat: false,
            is_escalation: false,
            repeat_interval_ms: 1,
            at: Timestamp(1),
            event_at: Timestamp(1),
        }
    }

    fn named(id: &str, group: u64, alerts: &[u64]) -> (String, Ticket) {
        (id.to_owned(), ticket(group, alerts))
    }

    #[test]
    fn two_errands_about_one_group_never_run_at_once() {
        let mut desk = Desk::default();
        let ready =
            desk.admit(vec![named("a", 1, &[1, 2]), named("b", 2, &[3]), named("c", 1, &[2, 4])]);
        assert_eq!(ready.len(), 2);
        assert_eq!(ready[0].ids, ["a", "c"], "one look at the state serves both");
        assert_eq!(ready[0].ticket.alerts, [1, 2, 4].map(Fingerprint));
        assert!(desk.admit(vec![named("d", 1, &[5]), named("e", 1, &[6])]).is_empty());
        assert!(desk.finish(&[2]).is_empty());
        let held = desk.finish(&[1]);
        assert_eq!(held[0].ids, ["d", "e"]);
        assert!(desk.admit(vec![named("f", 1, &[7])]).is_empty(), "the held errand runs now");
        assert_eq!(desk.finish(&[1])[0].ids, ["f"]);
        assert!(desk.finish(&[1]).is_empty());
        assert_eq!(desk.admit(vec![named("g", 1, &[8])]).len(), 1);
    }

    #[test]
    fn no_more_alerts_are_in_memory_than_can_be_sent_soon() {
        let mut desk = Desk::default();
        let many: Vec<u64> = (0..600).collect();
        let numbers = ["a", "b", "c"].into_iter().zip(1..);
        let tickets = numbers.map(|(id, group)| named(id, group, &many)).collect();
        let begin = desk.admit(tickets);
        desk.begin.extend(begin);
        assert_eq!(desk.next_look().len(), 2, "the second fills it");
        assert!(desk.next_look().is_empty());
        desk.looking -= 600;
        assert_eq!(desk.next_look().len(), 1);
    }

    fn composed(ticket: &Ticket, status: AlertStatus, now: i64) -> Notification {
        let kept = vec![candidate(status, 10, None)];
        compose(ticket, kept, "ops", "ops", "http://x", Timestamp(now)).0
    }

    #[test]
    fn a_firing_alert_is_told_as_firing_even_when_its_lease_has_just_run_out() {
        let told = composed(&ticket(1, &[1]), AlertStatus::Firing, 100_000);
        assert_eq!((told.status, told.firing().count()), (FiringStatus::Firing, 1));
    }

    #[test]
    fn a_group_is_resolved_when_nothing_in_it_fires() {
        let told = composed(&ticket(1, &[1]), AlertStatus::Resolved, 9_999);
        assert_eq!((told.status, told.resolved().count()), (FiringStatus::Resolved, 1));
        let some_fire = Ticket { left_out: 1, ..ticket(1, &[1]) };
        let told = composed(&some_fire, AlertStatus::Resolved, 9_999);
        assert_eq!((told.status, told.resolved().count()), (FiringStatus::Firing, 1));
    }
}
