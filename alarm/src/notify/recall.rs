//! Calls that nobody took: the phone rings again, and then another bot tries.

use channels::Fault;
use channels::next::Plan;
use db::alerts::AlertStatus;
use db::messages::{AttemptRow, Stage};
use model::{Fingerprint, Timestamp};

use super::desk::{Item, phone_of};
use super::office::Office;

/// The result of a call in the delivery record.
const UNANSWERED: &str = "unanswered";

impl Office {
    /// Takes note of a call that nobody took, as the platform says; `id` is that of the message. What ended or was
    /// taken meanwhile rings nobody any more.
    pub(crate) async fn rang_in_vain(&self, id: &str, status: &str) -> anyhow::Result<()> {
        let (messages, now) = (self.common.db.messages(), self.common.clock.now());
        let Some(row) = messages.load(&[id.to_owned()]).await?.pop() else { return Ok(()) };
        let receiver = row.receiver.to_owned();
        let (Some(team), true) = (self.team(&receiver), row.stage == Stage::Sent) else {
            return Ok(());
        };
        let attempts = messages.attempts(&[row.id.to_owned()]).await?;
        let Some(sent) = attempts.into_iter().rev().find(|attempt| attempt.result == "sent") else {
            return Ok(());
        };
        let Some(bot) = team.bots.iter().position(|bot| bot.name == sent.bot) else {
            return Ok(());
        };
        let Some(mut item) = Item::read(row) else { return Ok(()) };
        // Who did not hear it has not been called.
        let phone = phone_of(&item.row.recipient);
        self.with_windows(|windows| {
            windows.entry(phone).or_default().calls.take_back(sent.tried_at);
        });
        let (fault, took) = (Fault::new("unanswered", status), sent.duration_ms);
        let (code, detail) = (fault.code.to_owned(), fault.text);
        let (result, tried_at) = (UNANSWERED.to_owned(), now);
        let attempt = AttemptRow { result, code, detail, tried_at, duration_ms: took, ..sent };
        let mut rows = Vec::new();
        if self.still_matters(&item, now).await? {
            let step = item.progress.unanswered(bot, team.bots.len(), &Plan::default(), now);
            item.apply(&step, false, now);
            (item.row.code, item.row.detail) = (fault.code, attempt.detail.to_owned());
            rows.push(item.row);
        }
        messages.settle(&rows, &[attempt]).await?;
        self.metrics.unanswered_calls.inc();
        self.ring(&receiver);
        Ok(())
    }

    /// Whether something of it fires and nobody took it.
    async fn still_matters(&self, item: &Item, now: Timestamp) -> Result<bool, db::DbError> {
        let alerts = &item.body.message.group.alerts;
        let fingerprints: Vec<Fingerprint> =
            alerts.iter().map(|alert| Fingerprint(alert.labels.hash())).collect();
        let stored = self.common.db.alerts().load(&fingerprints).await?;
        let claims = self.common.claims.known();
        Ok(stored.iter().any(|stored| {
            stored.status == AlertStatus::Firing
                && !claims.is_acknowledged(stored, now)
                && !claims.is_snoozed(stored, now)
        }))
    }
}
