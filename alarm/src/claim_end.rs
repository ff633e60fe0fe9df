//! What the end of a claim brings: what still fires is told again, what was put off is told, the steps of an
//! escalation count anew, and who took it is reminded.

use std::collections::HashSet;
use std::time::Duration;

use db::alerts::{AlertStatus, StoredAlert, Told};
use db::claims::{ClaimAct, ClaimKind, ClaimRow};
use model::{Fingerprint, Timestamp};

use crate::app::Common;
use crate::claims::KEPT_FOR;
use crate::dispatch::{Dispatcher, Message};
use crate::notify::office::Office;
use crate::notify::reminder::Reminder;
use crate::pipeline::Reason;
use crate::reminder::{self, LATE_MAX, Name, Times};
use crate::upkeep::offer_held_back;

const INTERVAL: Duration = Duration::from_secs(5);
/// By then another instance's change of a claim is known here.
const LEARNED_WITHIN: Duration = Duration::from_secs(10);
/// For so long a step that has come is offered again: an offer may meet a dispatcher that is behind the time.
const STEP_OFFERED_FOR: Duration = Duration::from_secs(120);
/// Steps of one alert that are looked through for a reminder that was said already.
const STEPS_MAX: u32 = 100;

/// A claim that ended: the alert, the kind and the end.
type Ended = (Fingerprint, ClaimKind, Timestamp);

/// The task that looks after ends of claims, on the instance that dispatches.
#[derive(Debug)]
pub(crate) struct ClaimEnds {
    pub(crate) common: Common,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) office: Office,
    /// When the round before this one was; `None` before the first.
    pub(crate) looked_at: Option<Timestamp>,
    /// Since when it is for this instance to look: what falls due before the first round is not missed.
    pub(crate) looks_since: Timestamp,
    /// Ends that were offered of late.
    pub(crate) offered: HashSet<Ended>,
    /// Whether what was put off is to be offered still.
    owes_snoozed: bool,
    /// Reminders that need not be looked at again.
    pub(crate) said: HashSet<Name>,
}

impl ClaimEnds {
    /// Ready for its first round.
    pub(crate) fn new(common: Common, dispatcher: Dispatcher, office: Office) -> Self {
        let (offered, said) = (HashSet::new(), HashSet::new());
        let looks_since = common.clock.now();
        let (looked_at, owes_snoozed) = (None, false);
        Self { common, dispatcher, office, looked_at, looks_since, offered, owes_snoozed, said }
    }

    /// Works for as long as the process runs.
    pub(crate) async fn run(mut self) {
        loop {
            let now = self.common.clock.now();
            if self.dispatcher.leads(now) {
                let offered = self.offer(now).await;
                self.report("offer what was claimed", offered);
                let reminded = self.remind(now).await;
                self.report("remind who took alerts", reminded);
            } else {
                (self.looked_at, self.looks_since) = (None, now);
                self.said.clear();
            }
            self.common.clock.sleep(INTERVAL).await;
        }
    }

    fn report(&self, what: &'static str, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.common.metrics.store_failures.inc();
            tracing::error!(error = format!("{error:#}"), "cannot {what}; trying again later");
        }
    }

    /// Offers the receivers what was claimed and is no more.
    async fn offer(&mut self, now: Timestamp) -> anyhow::Result<()> {
        let claims = self.common.claims.known();
        let since = self.looked_at.unwrap_or(self.looks_since).minus(LEARNED_WITHIN);
        let is_new = |claim: &&ClaimRow| !self.offered.contains(&ended_of(claim));
        let ended: Vec<&ClaimRow> = claims.ended(since, now).filter(is_new).collect();
        let earlier: Vec<&ClaimRow> = match self.looked_at {
            Some(_) => Vec::new(),
            // What ended while nobody looked.
            None => claims.ended(now.minus(KEPT_FOR), since).collect(),
        };
        let first = ended.iter().chain(&earlier).map(|claim| claim.until).min();
        if let Some(first) = first {
            let given_back: HashSet<Ended> =
                self.common.db.claims().taken_back_since(first).await?.into_iter().collect();
            let is_run_out = |claim: &&&ClaimRow| !given_back.contains(&ended_of(claim));
            let mut burning: Vec<Fingerprint> =
                ended.iter().filter(is_run_out).map(|claim| claim.fingerprint).collect();
            let earlier: Vec<&ClaimRow> = earlier.iter().filter(is_run_out).copied().collect();
            burning.extend(self.unheard(&earlier).await?);
            // Who took it did not end it in time: everybody hears of it again.
            self.tell(burning, true).await;
            let back = ended.iter().filter(|claim| given_back.contains(&ended_of(claim)));
            self.tell(back.map(|claim| claim.fingerprint).collect(), false).await;
            self.owes_snoozed = true;
        }
        self.offered.extend(ended.into_iter().map(ended_of));
        self.offered.retain(|(.., until)| *until >= since);
        self.escalate(since.minus(STEP_OFFERED_FOR), now).await;
        self.looked_at = Some(now);
        // Last, and noted before: a store that fails here must not have the above said again in every round.
        if self.owes_snoozed {
            offer_held_back(&self.common, &self.dispatcher, Reason::Snoozed).await?;
            self.owes_snoozed = false;
        }
        Ok(())
    }

    /// Of claims that ran out, those of which nobody has heard since.
    async fn unheard(&self, ended: &[&ClaimRow]) -> anyhow::Result<Vec<Fingerprint>> {
        if ended.is_empty() {
            return Ok(Vec::new());
        }
        let fingerprints: Vec<Fingerprint> = ended.iter().map(|claim| claim.fingerprint).collect();
        let told = self.common.db.alerts().told(&fingerprints).await?;
        Ok(unheard(ended, &told))
    }

    /// A step of an escalation comes so long after the end of a claim as it would after the start of the alert. It was
    /// looked at before and refused, so it is offered when its time has come.
    async fn escalate(&self, since: Timestamp, now: Timestamp) {
        let claims = self.common.claims.known();
        let mut due = Vec::new();
        for after in self.common.plans.borrow().escalates_after() {
            let ended = claims.ended(since.minus(after), now.minus(after));
            let acks = ended.filter(|claim| claim.kind == ClaimKind::Acknowledged);
            due.extend(acks.map(|claim| claim.fingerprint));
        }
        self.tell(due, false).await;
    }

    async fn tell(&self, fingerprints: Vec<Fingerprint>, is_repeat: bool) {
        if !fingerprints.is_empty() {
            self.dispatcher.tell(Message::Offer { fingerprints, is_repeat }).await;
        }
    }

    /// Reminds who took alerts that still fire.
    async fn remind(&mut self, now: Timestamp) -> anyhow::Result<()> {
        self.said.retain(|(_, until, _)| now.since(*until) <= LATE_MAX);
        let config = &self.common.config;
        let times =
            Times { before: config.ack_reminder_before, at_end: config.ack_reminder_at_end };
        let claims = self.common.claims.known();
        let mut due = reminder::due(&claims, times, now);
        due.retain(|name, _| !self.said.contains(name));
        let mut reminded = Ok(());
        for (name, claims) in due {
            match self.remind_of(&name, &claims, now).await {
                Ok(true) => drop(self.said.insert(name)),
                Ok(false) => {}
                // The others are not to wait for this one.
                Err(error) => reminded = Err(error),
            }
        }
        reminded
    }

    /// Says one reminder; answers whether it need not be looked at again.
    async fn remind_of(
        &self,
        name: &Name,
        claims: &[&ClaimRow],
        now: Timestamp,
    ) -> anyhow::Result<bool> {
        let fingerprints: Vec<Fingerprint> = claims.iter().map(|claim| claim.fingerprint).collect();
        let found = self.common.db.alerts().load(&fingerprints).await?;
        let (mut burning, mut taken) = (Vec::new(), Vec::new());
        for stored in found.into_iter().filter(|stored| !self.is_held(stored, now)) {
            let fingerprint = stored.alert.fingerprint();
            let of_it = |claim: &&&ClaimRow| {
                claim.fingerprint == fingerprint && reminder::still_burns(&stored, claim)
            };
            let Some(claim) = claims.iter().find(of_it) else { continue };
            taken.push(ClaimRow::clone(claim));
            burning.push(stored);
        }
        // What is held back now may be free before the time is over.
        let Some(first) = taken.first() else { return Ok(false) };
        let table = self.common.db.claims();
        let steps = table.steps(first.fingerprint, STEPS_MAX).await?;
        if reminder::is_settled(first, name.2, &steps) {
            return Ok(true);
        }
        let note = first.note.to_owned();
        let is_reached =
            self.office.remind(Reminder { name, note, alerts: burning, at: now }).await?;
        let act = if is_reached { ClaimAct::Reminded } else { ClaimAct::Unreached };
        table.note(&taken, (act, "", now)).await?;
        self.office.metrics.reminded(act);
        let (owner, alerts) = (&name.0, taken.len());
        tracing::info!(
            owner,
            alerts,
            reminder = name.2.as_str(),
            result = act.as_str(),
            "reminded"
        );
        Ok(true)
    }

    /// Whether nobody is told of it now, and so neither is who took it.
    fn is_held(&self, stored: &StoredAlert, now: Timestamp) -> bool {
        let labels = &stored.alert.labels;
        self.common.silences.known().iter().any(|silence| silence.holds(labels, now))
            || self.common.maintenance.known().holding(labels, now).is_some()
            || self.common.claims.known().is_snoozed(stored, now)
    }
}

fn ended_of(claim: &ClaimRow) -> Ended {
    (claim.fingerprint, claim.kind, claim.until)
}

/// Of claims that ran out, those whose alerts were told before and of which nobody has heard since.
fn unheard(ended: &[&ClaimRow], told: &[Told]) -> Vec<Fingerprint> {
    let is_unheard = |claim: &&&ClaimRow| {
        let of_it = told.iter().filter(|told| told.fingerprint == claim.fingerprint);
        let last = of_it.filter_map(|told| told.sent.as_ref()).max_by_key(|sent| sent.at);
        last.is_some_and(|sent| {
            let is_of_this = sent.starts_at <= claim.made_at;
            sent.status == AlertStatus::Firing && is_of_this && sent.at <= claim.until
        })
    };
    let acks = ended.iter().filter(|claim| claim.kind == ClaimKind::Acknowledged);
    acks.filter(is_unheard).map(|claim| claim.fingerprint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::tests::claim;
    use crate::pipeline::tests::candidate;

    #[test]
    fn what_ran_out_while_nobody_looked_is_told_again_unless_somebody_heard_of_it_since() {
        let of = |told: Option<(AlertStatus, i64, i64)>, kind| {
            let candidate = candidate(AlertStatus::Firing, 100, told);
            let claim = claim(&candidate.alert, kind, 500);
            let told: Vec<Told> = candidate.told.into_iter().collect();
            unheard(&[&claim], &told).len()
        };
        let firing = |at| Some((AlertStatus::Firing, 100, at));
        assert_eq!(of(firing(200), ClaimKind::Acknowledged), 1);
        assert_eq!(of(firing(501), ClaimKind::Acknowledged), 0, "told since");
        assert_eq!(of(None, ClaimKind::Acknowledged), 0, "never told: that is news anyway");
        assert_eq!(of(Some((AlertStatus::Resolved, 100, 200)), ClaimKind::Acknowledged), 0);
        assert_eq!(of(Some((AlertStatus::Firing, 101, 200)), ClaimKind::Acknowledged), 0);
        assert_eq!(
            of(firing(200), ClaimKind::Snoozed),
            0,
            "what was put off is looked for by itself"
        );
    }
}
