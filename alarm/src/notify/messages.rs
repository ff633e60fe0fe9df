//! Metrics of messages to recipients.

use channels::Answer;
use db::claims::ClaimAct;
use db::messages::Stage;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::gather::{GATHERED, QUIET_HOURS, Wait};
use super::office::Team;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AnswerLabels {
    receiver: String,
    bot: String,
    answer: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StageLabels {
    receiver: String,
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PlatformLabel {
    platform: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReceiverLabel {
    receiver: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    reason: &'static str,
}

/// What became of a message that was to be drawn anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redraw {
    /// The platform has the new one.
    Drawn,
    /// The platform refused it, or did not answer.
    Failed,
    /// Too many waited.
    Dropped,
}

impl Redraw {
    const ALL: [Self; 3] = [Self::Drawn, Self::Failed, Self::Dropped];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Drawn => "drawn",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// The metrics; clones count into the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    attempts: Family<AnswerLabels, Counter>,
    finished: Family<StageLabels, Counter>,
    open: Family<StageLabels, Gauge>,
    refused_callbacks: Family<PlatformLabel, Counter>,
    failed_templates: Family<ReceiverLabel, Counter>,
    reminders: Family<ResultLabel, Counter>,
    redraws: Family<ResultLabel, Counter>,
    held: Family<ReasonLabel, Counter>,
    /// Mutes that hold.
    pub(crate) mutes: Gauge,
    /// Calls that nobody took.
    pub(crate) unanswered_calls: Counter,
    /// Mute links that were refused.
    pub(crate) refused_links: Counter,
    /// Recipients of receivers that the directory does not have, and gaps in rotations.
    pub(crate) amiss_recipients: Counter,
}

const OPEN: [Stage; 3] = [Stage::Waiting, Stage::Parked, Stage::Failed];
const FINISHED: [Stage; 4] = [Stage::Sent, Stage::Digested, Stage::Muted, Stage::Failed];

impl Metrics {
    /// Registers all metrics.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "alarm_message_attempts",
            "Attempts to send messages to recipients, by what the answer meant",
            metrics.attempts.clone(),
        );
        registry.register(
            "alarm_messages_finished",
            "Messages to recipients that came to an end",
            metrics.finished.clone(),
        );
        registry.register(
            "alarm_messages_open",
            "Messages to recipients: waiting, parked on the failed queue, finally failed",
            metrics.open.clone(),
        );
        registry.register(
            "alarm_refused_callbacks",
            "Presses of buttons that were not accepted",
            metrics.refused_callbacks.clone(),
        );
        registry.register(
            "alarm_failed_templates",
            "Operators' templates that failed for a message, which went out in the built-in words",
            metrics.failed_templates.clone(),
        );
        registry.register(
            "alarm_ack_reminders",
            "Reminders to people whose ack ends while the alert fires, and those that nothing reaches",
            metrics.reminders.clone(),
        );
        registry.register(
            "alarm_redrawn_messages",
            "Messages that were to be drawn anew after a press and that take a request of their own",
            metrics.redraws.clone(),
        );
        for act in [ClaimAct::Reminded, ClaimAct::Unreached] {
            drop(metrics.reminders.get_or_create(&ResultLabel { result: act.as_str() }));
        }
        registry.register(
            "alarm_held_messages",
            "Messages that wait for others of low priority, or for the end of somebody's quiet hours",
            metrics.held.clone(),
        );
        for reason in [GATHERED, QUIET_HOURS] {
            drop(metrics.held.get_or_create(&ReasonLabel { reason }));
        }
        for redraw in Redraw::ALL {
            drop(metrics.redraws.get_or_create(&ResultLabel { result: redraw.as_str() }));
        }
        registry.register("alarm_mutes", "Mutes of persons that hold", metrics.mutes.clone());
        registry.register(
            "alarm_unanswered_calls",
            "Calls of which the platform said that nobody took them",
            metrics.unanswered_calls.clone(),
        );
        registry.register(
            "alarm_refused_mute_links",
            "Mute links, and links to take alerts, that were not accepted",
            metrics.refused_links.clone(),
        );
        registry.register(
            "alarm_amiss_recipients",
            "Recipients that the directory does not have, and teams with nobody on call, by message",
            metrics.amiss_recipients.clone(),
        );
        metrics
    }

    /// Has the metrics of a receiver there before anything happens.
    pub(crate) fn touch(&self, team: &Team) {
        for stage in FINISHED {
            drop(self.finished.get_or_create(&stage_labels(&team.receiver, stage)));
        }
        for stage in OPEN {
            drop(self.open.get_or_create(&stage_labels(&team.receiver, stage)));
        }
        if !team.texts.is_empty() {
            let receiver = team.receiver.to_owned();
            drop(self.failed_templates.get_or_create(&ReceiverLabel { receiver }));
        }
    }

    pub(crate) fn failed_template(&self, receiver: &str) {
        let receiver = receiver.to_owned();
        self.failed_templates.get_or_create(&ReceiverLabel { receiver }).inc();
    }

    pub(crate) fn attempted(&self, receiver: &str, bot: &str, answer: &Answer) {
        let (receiver, bot) = (receiver.to_owned(), bot.to_owned());
        self.attempts.get_or_create(&AnswerLabels { receiver, bot, answer: answer.word() }).inc();
    }

    pub(crate) fn reminded(&self, act: ClaimAct) {
        self.reminders.get_or_create(&ResultLabel { result: act.as_str() }).inc();
    }

    /// A message waits; `None` for one that need not any more.
    pub(super) fn held(&self, wait: Option<&Wait>) {
        if let Some(wait) = wait {
            self.held.get_or_create(&ReasonLabel { reason: wait.code }).inc();
        }
    }

    pub(crate) fn redrawn(&self, redraw: Redraw) {
        self.redraws.get_or_create(&ResultLabel { result: redraw.as_str() }).inc();
    }

    pub(crate) fn finished(&self, receiver: &str, stage: Stage) {
        self.finished.get_or_create(&stage_labels(receiver, stage)).inc();
    }

    pub(crate) fn refused_callback(&self, platform: &'static str) {
        self.refused_callbacks.get_or_create(&PlatformLabel { platform }).inc();
    }

    /// Shows how many messages of the receivers are open.
    pub(crate) fn show_open(&self, receivers: &[String], counts: &[(String, Stage, u64)]) {
        for receiver in receivers {
            for stage in OPEN {
                let count = counts.iter().find(|(of, at, _)| of == receiver && *at == stage);
                let count =
                    count.map_or(0, |(.., count)| i64::try_from(*count).unwrap_or(i64::MAX));
                self.open.get_or_create(&stage_labels(receiver, stage)).set(count);
            }
        }
    }
}

fn stage_labels(receiver: &str, stage: Stage) -> StageLabels {
    StageLabels { receiver: receiver.to_owned(), stage: stage.as_str() }
}
