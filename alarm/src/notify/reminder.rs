//! The message to who took alerts, on a channel of their own.

use channels::compose;
use channels::{Kind, Urgency};
use db::alerts::StoredAlert;
use model::{Fingerprint, Labels, Timestamp};
use wire::alert::WebhookMessage;

use super::Way;
use super::addressees::Addressee;
use super::buttons::About;
use super::office::drafts::{frame, row, short_hash};
use super::office::{Office, Team};
use crate::reminder::{Name, Occasion};

/// Alerts that one reminder is linked to; it names ten and counts the rest.
const ALERTS_MAX: usize = 1_000;

/// What somebody is reminded of.
#[derive(Debug)]
pub(crate) struct Reminder<'a> {
    pub(crate) name: &'a Name,
    /// What they wrote when they took the alerts.
    pub(crate) note: String,
    /// Those that still fire.
    pub(crate) alerts: Vec<StoredAlert>,
    pub(crate) at: Timestamp,
}

impl Office {
    /// Stores the message; answers whether there is a way to the person. Doing so twice changes nothing.
    pub(crate) async fn remind(&self, mut reminder: Reminder<'_>) -> anyhow::Result<bool> {
        reminder.alerts.truncate(ALERTS_MAX);
        let Reminder { name: (owner, until, occasion), note, mut alerts, at } = reminder;
        let Some((team, to)) = self.way_to(owner, &alerts) else { return Ok(false) };
        // The lease of what fires may just have run out.
        for stored in &mut alerts {
            stored.alert.ends_at = stored.alert.ends_at.max(Timestamp(at.0 + 1));
        }
        let priority = alerts.iter().map(|stored| stored.priority).min().unwrap_or(u8::MAX);
        let urgency = if priority == 0 { Urgency::Urgent } else { Urgency::Normal };
        let fingerprints: Vec<Fingerprint> =
            alerts.iter().map(|stored| stored.alert.fingerprint()).collect();
        let alerts: Vec<model::Alert> = alerts.into_iter().map(|stored| stored.alert).collect();
        let name = format!("reminder|{owner}|{}|{}", until.0, occasion.as_str());
        let key = short_hash(&name, &format!("{}|{owner}", team.receiver));
        let thread = short_hash(&format!("reminder|{owner}|{}", until.0), &team.receiver);
        let url = &self.common.config.external_url;
        let group = WebhookMessage::new(&team.receiver, &name, Labels::empty(), url, &alerts, at);
        // A mute of what it is about holds here too.
        let subject = compose::subject(&group);
        let about = About { thread: &thread, subject: None, firing: &fingerprints };
        let buttons = self.buttons(&team, &to, about).await?;
        let has_ended = *occasion == Occasion::HasEnded;
        let claimed = compose::Claimed { until: *until, has_ended, note: &note };
        let frame = frame(&team, &to, (&key, &thread), urgency);
        let message = compose::reminder(frame, group, claimed, buttons);
        debug_assert_eq!(message.kind, Kind::Reminder, "no beginning of anything");
        let row = row(&team, to, (message, Vec::new()), subject, (priority, at))?;
        self.common.db.messages().add(&[row], &fingerprints).await?;
        self.employ(&team).notify_one();
        Ok(true)
    }

    /// The bots that reach a person alone: those that tell of the alerts come first, phones last.
    fn way_to(
        &self,
        user: &str,
        alerts: &[StoredAlert],
    ) -> Option<(std::sync::Arc<Team>, Addressee)> {
        let plan = self.common.plans.borrow().clone();
        let routed: Vec<&str> = alerts
            .iter()
            .flat_map(|stored| plan.tree.receivers_of(&stored.alert.labels))
            .flat_map(|receiver| plan.integrations_of(receiver))
            .map(|integration| integration.name.as_str())
            .collect();
        let ways = plan.integrations.iter().filter_map(|integration| {
            let Way::Bots(team) = &integration.way else { return None };
            let to = self.personally(team, user)?;
            let is_phone = team.bots.iter().all(|bot| bot.spec.family() == "phone");
            let is_stranger = !routed.contains(&integration.name.as_str());
            Some(((is_phone, is_stranger), team, to))
        });
        let (_, team, to) = ways.min_by_key(|(rank, ..)| *rank)?;
        Some((std::sync::Arc::clone(team), to))
    }

    /// The person, if a bot of the team reaches them alone.
    fn personally(&self, team: &Team, user: &str) -> Option<Addressee> {
        if let Some(person) = team.people.iter().find(|person| person.user == user) {
            return Some(self.named(person));
        }
        let directory = self.common.directory.known();
        let known = &directory.users.get(user)?.config.addresses;
        let reaches = |bot: &super::office::Bot| {
            bot.spec.reaches_persons() && known.contains_key(bot.spec.family())
        };
        let is_reached = team.bots.iter().any(reaches);
        is_reached.then(|| self.person(team, user.to_owned(), &directory))
    }
}
