//! What the API answers to a backtest.

use model::{Labels, Timestamp};
use serde::Serialize;

use crate::backtest::{Replay, Span, Spell};
use crate::rules::RuleGroup;

/// What the API answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report<'a> {
    from: String,
    to: String,
    /// Seconds between two evaluations.
    interval: f64,
    steps: usize,
    failed_steps: usize,
    errors: Vec<ErrorShape<'a>>,
    /// How often an alert would have begun to fire.
    fired: usize,
    alerts: Vec<AlertShape<'a>>,
    /// Label sets and times left out, as there are too many.
    left_out: usize,
    /// What of the rule was not followed.
    notes: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct ErrorShape<'a> {
    at: String,
    error: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertShape<'a> {
    labels: &'a Labels,
    fired: usize,
    /// Seconds in all, up to the end of the backtest.
    firing_seconds: f64,
    times: Vec<SpellShape>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SpellShape {
    active_at: String,
    fired_at: Option<String>,
    ended_at: Option<String>,
}

impl<'a> Report<'a> {
    /// Of a replay over a span.
    pub(crate) fn new(replay: &'a Replay<'_>, span: &Span) -> Self {
        let alerts: Vec<AlertShape<'a>> =
            replay.spells.iter().map(|(labels, spells)| alert(labels, spells, span)).collect();
        Self {
            from: span.from.rfc3339(),
            to: span.to.rfc3339(),
            interval: span.interval.as_secs_f64(),
            steps: replay.steps,
            failed_steps: replay.failed,
            errors: replay
                .errors
                .iter()
                .map(|(at, error)| ErrorShape { at: at.rfc3339(), error })
                .collect(),
            fired: alerts.iter().map(|alert| alert.fired).sum(),
            alerts,
            left_out: replay.left_out,
            notes: notes(replay.group),
        }
    }
}

fn notes(group: &RuleGroup) -> Vec<&'static str> {
    let on_arrival = "only the slots are gone through: a judge also looks when data arrives, and may notice earlier";
    if group.on_arrival { vec![on_arrival] } else { Vec::new() }
}

fn alert<'a>(labels: &'a Labels, spells: &[Spell], span: &Span) -> AlertShape<'a> {
    let fired = spells.iter().filter_map(|spell| Some((spell.fired_at?, spell.ended_at)));
    let seconds = |(from, to): (Timestamp, Option<Timestamp>)| {
        to.unwrap_or(span.to).since(from).as_secs_f64()
    };
    let shape = |spell: &Spell| SpellShape {
        active_at: spell.active_at.rfc3339(),
        fired_at: spell.fired_at.map(Timestamp::rfc3339),
        ended_at: spell.ended_at.map(Timestamp::rfc3339),
    };
    AlertShape {
        labels,
        fired: fired.clone().count(),
        firing_seconds: fired.map(seconds).sum(),
        times: spells.iter().map(shape).collect(),
    }
}
