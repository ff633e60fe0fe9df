//! Operators' templates at work: what they make of a message, and the record of those that fail.

use channels::message::cut;
use db::messages::AttemptRow;
use model::Timestamp;
use wire::alert::WebhookMessage;

use super::addressees::Addressee;
use super::office::{Office, Team};
use crate::texts::{Occasion, Written};

/// The word in a delivery record for a template that failed.
const TEMPLATE_FAILED: &str = "template_failed";
const FAULT_BYTES_MAX: usize = 400;

impl Office {
    /// What the team's templates make of a group for somebody.
    pub(super) fn written(
        &self,
        team: &Team,
        group: &WebhookMessage,
        to: &Addressee,
        at: Timestamp,
    ) -> Vec<Written> {
        let occasion = Occasion { recipient: &to.user, language: to.language, at };
        let kinds = team.bots.iter().map(|bot| bot.spec.kind());
        let written = team.texts.write(kinds, group, occasion);
        for failed in written.iter().filter(|written| !written.fault.is_empty()) {
            self.metrics.failed_template(&team.receiver);
            let kind = failed.kind.as_str();
            tracing::warn!(
                receiver.name = team.receiver,
                kind,
                "a template failed, the built-in words are sent: {}",
                failed.fault
            );
        }
        written
    }

    /// The delivery record shows that the built-in words were sent. The message itself is in the store: without this
    /// note it goes out all the same.
    pub(super) async fn note_failed_templates(&self, attempts: &[AttemptRow]) {
        if attempts.is_empty() {
            return;
        }
        if let Err(error) = self.common.db.messages().settle(&[], attempts).await {
            self.common.metrics.store_failures.inc();
            let error = daemon::error_chain(&error);
            tracing::error!(error, "cannot note that a template failed");
        }
    }
}

/// Records of templates that failed for a message.
pub(super) fn failed_templates(id: &str, written: &[Written], at: Timestamp) -> Vec<AttemptRow> {
    let failed = written.iter().filter(|written| !written.fault.is_empty());
    // Attempts of a message are told apart by their moments, and the first real one may be in this very millisecond.
    let attempt = |(position, written): (i64, &Written)| AttemptRow {
        message_id: id.to_owned(),
        channel: written.kind.to_owned(),
        bot: String::new(),
        account: String::new(),
        tried_at: Timestamp(at.0 - position),
        duration_ms: 0,
        result: TEMPLATE_FAILED.to_owned(),
        code: "template".to_owned(),
        detail: cut(&written.fault, FAULT_BYTES_MAX),
    };
    (1..).zip(failed).map(attempt).collect()
}
