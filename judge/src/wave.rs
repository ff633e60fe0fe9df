//! A look at what arrived, for the rules of all groups together: the questions are asked once, and then only those
//! rules are visited for which there is something, or was. A thousand hosts that send every ten seconds concern
//! every rule; of ten thousand rules a few dozen have anything to say.

use std::sync::Arc;
use std::time::Duration;

use model::Labels;
use tokio::time::Instant;

use crate::answer::Part;
use crate::arrival::{Hosts, Wave};
use crate::eval::{Evaluator, is_of_hosts};
use crate::group::{GroupRun, RuleState};
use crate::question::{Listener, Moment};
use crate::rules::RuleGroup;

/// What a wave asked about.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) wave: Arc<Wave>,
    /// How long it took to ask.
    pub(crate) took: Duration,
    parts: Vec<AnsweredPart>,
}

#[derive(Debug)]
struct AnsweredPart {
    number: usize,
    wish: crate::pass::Wish,
    /// `None` when it is better asked rule by rule.
    part: Option<Part>,
}

/// A group with those of its rules that have something to look at.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) run: GroupRun,
    pub(crate) rules: Vec<(usize, Part)>,
}

/// What a rule is to do about what arrived.
#[derive(Debug)]
pub(crate) enum Concern {
    /// Nothing: it had no alert, and the condition does not hold.
    None,
    /// To look at this.
    Part(Part),
    /// To ask by itself.
    Alone,
}

impl Answered {
    /// Hands over every rule that listens to a part of what was asked, with the number and the answer of the part.
    pub(crate) fn each_rule(&self, mut hear: impl FnMut(&Listener, usize, Option<&Part>)) {
        for one in &self.parts {
            let hear = |listener: &Listener| hear(listener, one.number, one.part.as_ref());
            one.wish.question.each_listener(&one.wish.key, hear);
        }
    }
}

/// What a rule is to do, as its group stands now.
pub(crate) fn concern(
    run: &GroupRun,
    listener: &Listener,
    part: Option<&Part>,
    wave: &Wave,
) -> Concern {
    let is_current = Arc::ptr_eq(&run.group, &listener.group);
    let (Some(part), true) = (part, listener.is_plain && is_current) else {
        return Concern::Alone;
    };
    let rule = &run.group.rules[listener.rule];
    let is_quiet =
        !part.has_any(listener.threshold) && !has_alerts(&run.rules[listener.rule], part, wave);
    if is_quiet || !rule.extras.active_times.contain(wave.at) {
        return Concern::None;
    }
    Concern::Part(part.against(listener.threshold))
}

/// Whether the part may change an alert that the rule has.
fn has_alerts(state: &RuleState, part: &Part, wave: &Wave) -> bool {
    let is_seen = |labels: &Labels| !part.is_narrow || wave.hosts.contain(labels);
    state.alerts.keys().any(is_seen)
}

/// Whether others may look for a rule: it asks nothing else, nothing of another time, and each of its alerts
/// belongs to one host and shows it.
pub(crate) fn is_plain(group: &RuleGroup, rule: usize, asks_more: bool) -> bool {
    !asks_more && group.query_offset.is_zero() && is_of_hosts(group, &group.rules[rule])
}

impl Evaluator {
    /// Asks what rules want to know of these parts, each question once.
    pub(crate) async fn ask(&self, wave: Arc<Wave>, parts: &[usize]) -> Answered {
        let begun = Instant::now();
        let moment = Moment { at: wave.at, wave: Some(&wave) };
        let timeout = self.query_timeout;
        let answered = self.passes.ask(&self.reader, parts, moment, timeout).await;
        let part = |(number, wish, part)| AnsweredPart { number, wish, part };
        let parts = answered.into_iter().map(part).collect();
        Answered { wave, took: begun.elapsed(), parts }
    }

    /// Lets rules of a group look at their parts; answers whether something happened that must be stored.
    pub(crate) async fn visit(
        &self,
        run: &mut GroupRun,
        rules: Vec<(usize, Part)>,
        wave: &Wave,
    ) -> bool {
        let group = Arc::clone(&run.group);
        let mut is_changed = false;
        for (rule, part) in rules {
            let state = &mut run.rules[rule];
            let hosts = if part.is_narrow { &wave.hosts } else { &Hosts::All };
            is_changed |=
                self.look_at_part(&group, &group.rules[rule], state, part, hosts, wave.at).await;
        }
        run.is_dirty |= is_changed;
        is_changed
    }
}
