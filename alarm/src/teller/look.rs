//! A look at the alerts of errands as they are now: what is there to be told?

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use db::alerts::{AlertStatus, StoredAlert, Told};
use model::{Fingerprint, Timestamp};
use wire::alert::FiringStatus;

use super::desk::{Errand, Ready, Settled};
use super::reason::reason_of;
use super::{LEASE_MARGIN, STORE_RETRY, Step, Teller};
use crate::notification::Notification;
use crate::notify::Receiver;
use crate::pipeline::{self, Candidate, Reason, Round};
use crate::plan::Plan;
use crate::queue::Ticket;
use crate::route_labels;
use crate::told::{Subject, after_refusal, message_key};

/// Another instance works on a ticket of the same group.
const GROUP_RETRY: Duration = Duration::from_secs(1);

/// What is stored of the alerts of errands.
#[derive(Debug)]
struct Known {
    found: HashMap<Fingerprint, Found>,
    told_often: HashSet<Fingerprint>,
}

/// An alert that was loaded, and how many errands of the look are about it.
#[derive(Debug)]
struct Found {
    candidate: Candidate,
    errands: usize,
}

impl Teller {
    /// Looks at the alerts of the errands as they are now: what is there to be told?
    pub(super) async fn look(&self, errands: Vec<Errand>, plan: Arc<Plan>) -> Step {
        let (mut ready, mut settled) = (Vec::new(), Vec::new());
        let looked_at = errands.iter().map(|errand| errand.ticket.alerts.len()).sum();
        let later = self.common.clock.now().plus(GROUP_RETRY);
        let mut mine = Vec::with_capacity(errands.len());
        match self.reserve(&errands, &plan).await {
            Ok(is_mine) => {
                for (errand, is_mine) in errands.into_iter().zip(is_mine) {
                    if is_mine {
                        mine.push(errand);
                    } else {
                        settled.push(Settled::of(errand, Some(later)));
                    }
                }
            }
            Err(error) => {
                self.store_failed("reserve groups", &error);
                settled.extend(errands.into_iter().map(|one| Settled::of(one, Some(later))));
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

    /// Which of the groups no other instance works on.
    async fn reserve(&self, errands: &[Errand], plan: &Plan) -> anyhow::Result<Vec<bool>> {
        if self.common.is_alone {
            return Ok(vec![true; errands.len()]);
        }
        let timeout = plan.integration(&self.key).map_or(Duration::ZERO, |one| one.timeout);
        let names: Vec<String> =
            errands.iter().map(|errand| reserved_name(errand.ticket.group)).collect();
        let now = self.common.clock.now();
        let (state, place) = (&self.common.state, self.place());
        Ok(state.reserve(&place, &names, &self.owner, timeout * 2 + LEASE_MARGIN, now).await?)
    }

    fn place(&self) -> String {
        format!("alarm.{}", self.key)
    }

    /// Others may work on these groups now.
    pub(super) async fn release(&self, groups: &[u64]) {
        if self.common.is_alone {
            return;
        }
        let names: Vec<String> = groups.iter().map(|group| reserved_name(*group)).collect();
        let released = self.common.state.release(&self.place(), &names, &self.owner).await;
        if let Err(error) = released {
            self.store_failed("release groups", &error);
        }
    }

    async fn load(&self, errands: &[Errand]) -> anyhow::Result<Known> {
        let fingerprints: Vec<Fingerprint> =
            errands.iter().flat_map(|errand| &errand.ticket.alerts).copied().collect();
        // What two groups ask for is loaded once: a second copy would find its log entry taken, and look untold.
        let asked: Vec<Fingerprint> =
            fingerprints.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let table = self.common.db.alerts();
        let alerts = table.load(&asked).await?;
        let told = table.told_by(&self.key, &asked).await?;
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
            escalates_after: Duration::from_millis(ticket.escalates_after_ms),
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
        let (mut notification, subjects) =
            compose(ticket, outcome.kept, &self.key, name, &self.common.config.external_url, now);
        route_labels::fill_in(&mut notification, &plan.library);
        Ok(Ready { errand, subjects, notification, noted })
    }

    fn note(&self, candidate: Candidate, reason: Reason, now: Timestamp) -> Option<Told> {
        self.common.metrics.suppressed(&self.key, reason, 1);
        after_refusal(candidate, &self.key, reason, now)
    }
}

fn reserved_name(group: u64) -> String {
    format!("{group:016x}")
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
    let reason = reason_of(&kept, ticket.left_out);
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
        reason,
        route_labels: ticket.route_labels.clone(),
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
    use super::*;
    use crate::pipeline::tests::candidate;
    use crate::teller::desk::tests::ticket;

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
        let some_fire = Ticket { left_out: 1, ..(*ticket(1, &[1])).clone() };
        let told = composed(&some_fire, AlertStatus::Resolved, 9_999);
        assert_eq!((told.status, told.resolved().count()), (FiringStatus::Firing, 1));
    }
}
