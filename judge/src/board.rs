//! What the API shows: for every group how its last evaluation went. Written after each slot, read by
//! anybody.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use model::{Labels, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use crate::alert_state::{HeldAlert, Phase};
use crate::group::{GroupRun, Health, RuleState};
use crate::rules::{GroupKey, Rule, RuleGroup, RuleKind};

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Board(RwLock<BTreeMap<GroupKey, Arc<GroupView>>>);

/// A group.
#[derive(Debug)]
pub(crate) struct GroupView {
    pub(crate) group: Arc<RuleGroup>,
    pub(crate) rules: Vec<Arc<RuleView>>,
    pub(crate) last: Option<(Timestamp, Duration)>,
}

/// Evaluations that are remembered of each rule.
pub(crate) const EVALUATIONS_MAX: usize = 30;
/// Changes of alerts that are remembered of one evaluation; further ones are counted.
const CHANGES_MAX: usize = 20;

/// A rule. Its place in the list is that in the group.
#[derive(Debug)]
pub(crate) struct RuleView {
    /// Stays the same over restarts and changes of expression, times and annotations.
    pub(crate) id: Arc<str>,
    pub(crate) health: Health,
    pub(crate) last: Option<(Timestamp, Duration)>,
    /// Pending and firing alerts.
    pub(crate) alerts: Vec<(Labels, HeldAlert)>,
    /// The last evaluations.
    pub(crate) evaluations: Arc<Evaluations>,
}

/// The last evaluations of a rule. One list for all that is shown of it: to copy it at every evaluation of
/// ten thousand rules would cost more than most of them.
#[derive(Debug, Default)]
pub(crate) struct Evaluations(Mutex<VecDeque<Arc<Evaluation>>>);

/// One evaluation of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Evaluation {
    pub(crate) at: Timestamp,
    pub(crate) took: Duration,
    /// Series recorded, or alerts that are pending or firing.
    pub(crate) samples: usize,
    /// Why it failed.
    pub(crate) error: Option<String>,
    /// Alerts that it changed.
    pub(crate) changes: Vec<Change>,
    /// How many more it changed.
    pub(crate) more_changes: usize,
}

/// What an evaluation did to an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) labels: Labels,
    /// Words of the API: inactive, pending, firing.
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

impl Board {
    /// Shows a group as it stands.
    pub(crate) fn put(&self, run: &GroupRun) {
        let key = &run.group.key;
        let before = self.read().get(key).cloned();
        let rules = match &before {
            Some(before) if Arc::ptr_eq(&before.group, &run.group) => same_rules(run, before),
            before => other_rules(run, before.as_deref()),
        };
        let view = Arc::new(GroupView { group: Arc::clone(&run.group), rules, last: run.last });
        let mut board = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if run.is_removed {
            board.remove(key);
        } else if let Some(shown) = board.get_mut(key) {
            *shown = view;
        } else {
            board.insert(key.clone(), view);
        }
    }

    /// The rule with this identity, and its group.
    pub(crate) fn rule(&self, id: &str) -> Option<(Arc<GroupView>, usize)> {
        let board = self.read();
        board.values().find_map(|view| {
            let at = view.rules.iter().position(|rule| *rule.id == *id)?;
            Some((view.clone(), at))
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<GroupKey, Arc<GroupView>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// All groups, by file and name.
    pub(crate) fn groups(&self) -> Vec<Arc<GroupView>> {
        self.read().values().cloned().collect()
    }
}

/// The identities of a group's rules: sixteen hexadecimal digits from the group's file and name, the rule's kind,
/// name and labels, and which of several equal rules it is.
pub(crate) fn rule_ids(group: &RuleGroup) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let id = |rule: &Rule| {
        let identity = rule.identity();
        let count = seen.entry(identity.clone()).or_default();
        *count += 1;
        let text = format!("{};{identity};{count}", group.key);
        format!("{:016x}", xxh3_64(text.as_bytes()))
    };
    group.rules.iter().map(id).collect()
}

/// What is shown of the rules that were shown before: what did not change is shown on as it is.
fn same_rules(run: &GroupRun, before: &GroupView) -> Vec<Arc<RuleView>> {
    let view = |((rule, state), old): ((&Rule, &RuleState), &Arc<RuleView>)| {
        // Alerts come and go in evaluations only.
        if state.last.is_some() && state.last == old.last && state.health == old.health {
            return Arc::clone(old);
        }
        Arc::new(rule_view(Arc::clone(&old.id), rule, state, Some(old)))
    };
    run.group.rules.iter().zip(&run.rules).zip(&before.rules).map(view).collect()
}

/// What is shown of rules that may be others than before.
fn other_rules(run: &GroupRun, before: Option<&GroupView>) -> Vec<Arc<RuleView>> {
    let known = before.map_or(&[][..], |view| &view.rules);
    let known: HashMap<&str, &Arc<RuleView>> = known.iter().map(|old| (&*old.id, old)).collect();
    let view = |((rule, state), id): ((&Rule, &RuleState), String)| {
        let old = known.get(id.as_str()).map(|old| &***old);
        Arc::new(rule_view(id.into(), rule, state, old))
    };
    run.group.rules.iter().zip(&run.rules).zip(rule_ids(&run.group)).map(view).collect()
}

fn rule_view(id: Arc<str>, rule: &Rule, state: &RuleState, old: Option<&RuleView>) -> RuleView {
    let live =
        state.alerts.iter().filter(|(_, alert)| !matches!(alert.phase, Phase::Resolved { .. }));
    let alerts: Vec<(Labels, HeldAlert)> =
        live.map(|(labels, alert)| (labels.clone(), alert.clone())).collect();
    let evaluations = old.map(|old| Arc::clone(&old.evaluations)).unwrap_or_default();
    if let Some((at, took)) =
        state.last.filter(|last| old.is_none_or(|old| old.last != Some(*last)))
    {
        let (changes, more_changes) = changes(old.map_or(&[], |old| &old.alerts), &alerts);
        let is_recording = matches!(rule.kind, RuleKind::Recording);
        let samples = if is_recording { state.series.len() } else { alerts.len() };
        let error = match &state.health {
            Health::Failed(reason) => Some(reason.to_owned()),
            _ => None,
        };
        evaluations.push(Evaluation { at, took, samples, error, changes, more_changes });
    }
    RuleView { id, health: state.health.clone(), last: state.last, alerts, evaluations }
}

impl Evaluations {
    /// The latest last.
    pub(crate) fn list(&self) -> Vec<Arc<Evaluation>> {
        self.all().iter().cloned().collect()
    }

    fn push(&self, evaluation: Evaluation) {
        let mut all = self.all();
        if all.len() == EVALUATIONS_MAX {
            all.pop_front();
        }
        all.push_back(Arc::new(evaluation));
    }

    fn all(&self) -> MutexGuard<'_, VecDeque<Arc<Evaluation>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is different between two lists of alerts, both in order of their labels.
fn changes(old: &[(Labels, HeldAlert)], new: &[(Labels, HeldAlert)]) -> (Vec<Change>, usize) {
    if old.is_empty() && new.is_empty() {
        return (Vec::new(), 0);
    }
    let inactive = "inactive";
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut changes: Vec<Change> = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            // Mostly they are the same, which is seen at a glance.
            (Some((before, _)), Some((after, _))) if before == after => Ordering::Equal,
            (Some((before, _)), Some((after, _))) => before.cmp(after),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        let word = |alert: Option<&(Labels, HeldAlert)>| {
            alert.map_or(inactive, |(_, alert)| alert.phase.as_str())
        };
        let (from, to) = (word(before), word(after));
        if let Some((labels, _)) = before.or(after).filter(|_| from != to) {
            changes.push(Change { labels: labels.clone(), from, to });
        }
    }
    let more = changes.len().saturating_sub(CHANGES_MAX);
    changes.truncate(CHANGES_MAX);
    (changes, more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule_file::{Defaults, read_file};

    fn group(rules: &str) -> RuleGroup {
        let text = format!("groups: [{{name: g, rules: [{rules}]}}]");
        read_file("f", &text, &Defaults::default()).expect("valid").remove(0)
    }

    #[test]
    fn the_identity_of_a_rule_survives_changes_of_its_expression_and_place() {
        let before = rule_ids(&group("{alert: A, expr: up}, {alert: B, expr: up}"));
        let after = rule_ids(&group("{alert: B, expr: up > 1}, {alert: A, expr: up, for: 5m}"));
        assert_eq!([&before[0], &before[1]], [&after[1], &after[0]]);
        let twice = rule_ids(&group("{alert: A, expr: up}, {alert: A, expr: up}"));
        assert_eq!(twice[0], before[0]);
        assert_ne!(twice[0], twice[1]);
        assert!(before[0].len() == 16 && before[0].bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    fn alert(host: &str, phase: Phase) -> (Labels, HeldAlert) {
        let held = HeldAlert { phase, ..held() };
        (Labels::from_pairs([("endpoint", host)]), held)
    }

    fn held() -> HeldAlert {
        let document =
            r#"{"annotations": {}, "value": "1", "phase": {"pending": {"active_at": 0}}}"#;
        serde_json::from_str(document).expect("a stored alert")
    }

    #[test]
    fn evaluations_are_remembered_with_what_they_changed_and_bounded() {
        let pending = Phase::Pending { active_at: Timestamp(0) };
        let firing = Phase::Firing { active_at: Timestamp(0), fired_at: Timestamp(0) };
        let mut run = GroupRun::new(Arc::new(group("{alert: A, expr: up}")));
        let board = Board::default();
        for at in 0..EVALUATIONS_MAX as i64 + 5 {
            run.rules[0].last = Some((Timestamp(at), Duration::from_millis(1)));
            run.rules[0].health = Health::Ok;
            let phase = if at == 0 { pending } else { firing };
            run.rules[0].alerts = [alert("a", phase)].into();
            board.put(&run);
            board.put(&run);
        }
        run.rules[0].last = Some((Timestamp(1_000), Duration::from_millis(1)));
        run.rules[0].health = Health::Failed("away".to_owned());
        run.rules[0].alerts.clear();
        board.put(&run);
        let views = board.groups();
        let evaluations = views[0].rules[0].evaluations.list();
        assert_eq!(evaluations.len(), EVALUATIONS_MAX);
        let last = evaluations.last().expect("just evaluated");
        let expected = Change {
            labels: Labels::from_pairs([("endpoint", "a")]),
            from: "firing",
            to: "inactive",
        };
        assert_eq!((last.error.as_deref(), &last.changes[..]), (Some("away"), &[expected][..]));
        assert!(evaluations.iter().rev().skip(1).all(|evaluation| evaluation.changes.is_empty()));
        let id = &views[0].rules[0].id;
        assert_eq!(board.rule(id).map(|(_, at)| at), Some(0));
        assert!(board.rule("0").is_none());
    }

    #[test]
    fn the_changes_of_one_evaluation_are_bounded() {
        let firing = Phase::Firing { active_at: Timestamp(0), fired_at: Timestamp(0) };
        let many: Vec<_> = (0..30).map(|n| alert(&format!("h{n:02}"), firing)).collect();
        let (told, more) = changes(&[], &many);
        assert_eq!((told.len(), more), (CHANGES_MAX, 10));
    }
}
