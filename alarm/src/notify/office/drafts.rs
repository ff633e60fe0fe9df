//! What a notification, or a test, becomes: a message to each addressee, in the store.

use std::sync::Arc;

use channels::compose;
use channels::mute::Subject;
use channels::next::Progress;
use channels::{Kind, Message, Urgency, sign};
use db::messages::{MessageRow, Stage};
use model::{Fingerprint, Timestamp};
use wire::alert::WebhookMessage;

use super::super::addressees::Addressee;
use super::super::buttons::About;
use super::super::desk::Body;
use super::super::gather::Clerk;
use super::super::own_words::failed_templates;
use super::{Office, Team};
use crate::notification::Notification;
use crate::texts::Written;

impl Office {
    /// Stores the messages that a notification becomes. When it answers they are in the store, and submitting the
    /// same notification again changes nothing.
    pub(crate) async fn submit(
        &self,
        team: &Arc<Team>,
        notification: &Notification,
    ) -> anyhow::Result<()> {
        let group = group(notification);
        let alerts: Vec<Fingerprint> =
            notification.alerts.iter().map(model::Alert::fingerprint).collect();
        let firing: Vec<Fingerprint> =
            notification.firing().map(model::Alert::fingerprint).collect();
        let thread = short_hash(&notification.group_key, &team.receiver);
        let subject = compose::subject(&group);
        // A phone rings for problems only.
        let is_end = group.status == wire::alert::FiringStatus::Resolved;
        if is_end && team.bots.iter().all(|bot| bot.spec.rings()) {
            return Ok(());
        }
        let about = About { thread: &thread, subject: subject.as_ref(), firing: &firing };
        let urgency = if notification.priority == 0 { Urgency::Urgent } else { Urgency::Normal };
        let (mut rows, mut attempts) = (Vec::new(), Vec::new());
        let to = self.addressees(team, Some((notification, &thread)), notification.at).await?;
        let directory = self.common.directory.known();
        let clerk = Clerk { directory: &directory, zone: &self.zone, now: notification.at };
        for to in to {
            let buttons = self.buttons(team, &to, about).await?;
            let key = short_hash(&notification.key, &format!("{}|{}", team.receiver, to.user));
            let frame = frame(team, &to, (&key, &thread), urgency);
            let written = self.written(team, &group, &to, notification.at);
            attempts.extend(failed_templates(&key, &written, notification.at));
            let message = compose::message(frame, group.clone(), buttons);
            let place = (notification.priority, notification.at);
            let address = to.address.to_owned();
            let mut row = row(team, to, (message, written), subject.clone(), place)?;
            let wait = clerk.new_message(&row, &address, &group.common_labels, team.merge_low_for);
            if let Some(wait) = wait {
                self.metrics.held(Some(&wait));
                wait.hold(&mut row);
            }
            rows.push(row);
        }
        self.common.db.messages().add(&rows, &alerts).await?;
        self.note_failed_templates(&attempts).await;
        self.employ(team).notify_one();
        Ok(())
    }

    /// Stores a test of a receiver; answers with the ids of the messages.
    pub(crate) async fn test(&self, team: &Arc<Team>) -> anyhow::Result<Vec<String>> {
        let now = self.common.clock.now();
        let (mut rows, mut attempts) = (Vec::new(), Vec::new());
        for to in self.addressees(team, None, now).await? {
            let key = short_hash(&uuid::Uuid::new_v4().to_string(), "test");
            let frame = frame(team, &to, (&key, &key), Urgency::Urgent);
            let message =
                compose::test(frame, &team.receiver, &self.common.config.external_url, now);
            let mut written = self.written(team, &message.group, &to, now);
            // Nobody shall take it for an alert.
            let word = message.title.as_str();
            for title in written.iter_mut().filter_map(|written| written.title.as_mut()) {
                *title = format!("{word} {title}").trim_end().to_owned();
            }
            attempts.extend(failed_templates(&key, &written, now));
            rows.push(row(team, to, (message, written), None, (0, now))?);
        }
        self.common.db.messages().add(&rows, &[]).await?;
        self.note_failed_templates(&attempts).await;
        self.employ(team).notify_one();
        Ok(rows.into_iter().map(|row| row.id).collect())
    }
}

/// A notification as webhooks and templates have it.
pub(crate) fn group(notification: &Notification) -> WebhookMessage {
    let mut group = WebhookMessage::new(
        &notification.receiver,
        &notification.group_key,
        notification.group_labels.clone(),
        &notification.external_url,
        &notification.alerts,
        notification.at,
    );
    group.truncated_alerts = notification.left_out;
    group.notification_reason = Some(notification.reason);
    group.route_labels = notification.route_labels.clone();
    // What is told counts here: a message with ends only is an end, also while others of the group fire.
    group
}

/// What a message to somebody is made of besides the alerts.
pub(in crate::notify) fn frame<'a>(
    team: &'a Team,
    to: &'a Addressee,
    (key, thread): (&'a str, &'a str),
    urgency: Urgency,
) -> compose::Frame<'a> {
    compose::Frame {
        key,
        thread,
        envelope: &team.envelope,
        urgency,
        language: to.language,
        zone: &to.zone,
        recipient: &to.user,
    }
}

pub(in crate::notify) fn row(
    team: &Team,
    to: Addressee,
    (mut message, written): (Message, Vec<Written>),
    subject: Option<Subject>,
    (priority, now): (u8, Timestamp),
) -> anyhow::Result<MessageRow> {
    let kind = serde_json::to_value(message.kind)?;
    let mut progress = Progress::default();
    if message.kind == Kind::Resolved {
        // It goes by the others.
        progress.gone = (0..team.bots.len()).filter(|at| team.bots[*at].spec.rings()).collect();
    }
    message.mentions = to.mentions;
    let (id, thread) = (message.key.clone(), message.thread.clone());
    let body = Body { message, address: to.address, addresses: to.addresses, subject, written };
    Ok(MessageRow {
        id,
        receiver: team.receiver.clone(),
        recipient: to.user,
        thread,
        kind: kind.as_str().unwrap_or("").to_owned(),
        urgency: priority,
        stage: Stage::Waiting,
        next_at: now,
        created_at: now,
        done_at: Timestamp(0),
        code: String::new(),
        detail: String::new(),
        progress: serde_json::to_string(&progress)?,
        body: serde_json::to_string(&body)?,
    })
}

pub(in crate::notify) fn short_hash(one: &str, other: &str) -> String {
    sign::hex(sign::sha256(format!("{}|{one}|{other}", one.len()).as_bytes()))
        .chars()
        .take(40)
        .collect()
}
