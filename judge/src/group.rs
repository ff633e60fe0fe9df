//! What judge holds of a group while it runs, and how that is stored.
//!
//! The alerts of all rules of a group are one document, saved in one step under the fencing number of the
//! lease before anything is sent. News that no alarm has taken yet needs no list of its own: after a restart
//! every firing and every remembered ended alert counts as not delivered, with its old times, and ended
//! alerts are remembered until delivered.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::{Labels, Timestamp};
use serde::{Deserialize, Serialize};

use crate::alert_state::{self, Alerts, HeldAlert};
use crate::config::Links;
use crate::continuity::{Continuity, SHORT_GAP};
use crate::no_data::Watched;
use crate::record::AlertNames;
use crate::rules::{Rule, RuleGroup, RuleKind};
use crate::shard::Leave;
use crate::told::{News, RENEWAL_MAX, Told};

const DOCUMENT_VERSION: u32 = 1;
/// While alerts are pending, the document is saved this often even when nothing changed, so that after a
/// restart it is known for how long nobody looked.
const SAVE_INTERVAL: Duration = SHORT_GAP;

const NEVER_SAVED: Saved = Saved { at: Timestamp::MIN, fencing: 0 };

/// A group and its state.
#[derive(Debug)]
pub(crate) struct GroupRun {
    /// Its rules.
    pub(crate) group: Arc<RuleGroup>,
    /// State of the rules, in their order.
    pub(crate) rules: Vec<RuleState>,
    /// Which rules may be evaluated at the same time, batch after batch.
    pub(crate) batches: Vec<Vec<usize>>,
    /// Ended alerts of rules that are no more, until their end is told and forgotten.
    pub(crate) ended: Alerts,
    /// Series of rules that are no more, to be marked stale.
    pub(crate) orphaned_series: BTreeSet<Labels>,
    /// Whether this judge speaks for the group.
    pub(crate) claim: Claim,
    /// The group is no more; it runs on until all ends are told.
    pub(crate) is_removed: bool,
    /// When it was last evaluated, and how long that took.
    pub(crate) last: Option<(Timestamp, Duration)>,
    /// Something happened that must be stored before it is told.
    pub(crate) is_dirty: bool,
    /// The outboxes may know something of the group.
    pub(crate) has_told: bool,
    /// Rules are equal but for what they ask, so that it matters which of them a state belongs to.
    has_twins: bool,
    saved: Saved,
}

/// Which document was saved last: when and under which lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    at: Timestamp,
    fencing: u64,
}

/// Whether this judge speaks for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It does not, or does not know yet.
    None,
    /// It does, and has loaded the group's state under this fencing number.
    Held(u64),
}

/// The state of a rule.
#[derive(Debug, Default)]
pub(crate) struct RuleState {
    pub(crate) alerts: Alerts,
    /// Series of the last successful evaluation.
    pub(crate) series: HashSet<Labels>,
    /// Names of the series of its alerts.
    pub(crate) names: AlertNames,
    pub(crate) continuity: Continuity,
    pub(crate) health: Health,
    /// What goes wrong in the running evaluation without stopping it; becomes the health.
    pub(crate) trouble: Option<String>,
    /// The series that the rule saw, if it is to tell when they are gone.
    pub(crate) watched: Watched,
    pub(crate) last: Option<(Timestamp, Duration)>,
}

/// How the last evaluation of a rule went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Health {
    /// There was none yet.
    #[default]
    Unknown,
    /// It succeeded.
    Ok,
    /// It failed for this reason.
    Failed(String),
}

/// What is stored of a group. Written from references and read into values.
#[derive(Serialize, Deserialize)]
struct Document<List> {
    version: u32,
    saved: Saved,
    rules: Vec<RuleDocument<List>>,
    ended: List,
}

#[derive(Serialize, Deserialize)]
struct RuleDocument<List> {
    identity: String,
    alerts: List,
    #[serde(default, skip_serializing_if = "Watched::is_empty")]
    watched: Watched,
}

/// A list and not a map, since keys of JSON objects are texts.
type StoredAlerts = Vec<(Labels, HeldAlert)>;

impl GroupRun {
    /// A group that was never evaluated.
    pub(crate) fn new(group: Arc<RuleGroup>) -> Self {
        let rules = group.rules.iter().map(|_| RuleState::default()).collect();
        Self {
            batches: group.batches(),
            has_twins: has_twins(&group),
            group,
            rules,
            ended: Alerts::new(),
            orphaned_series: BTreeSet::new(),
            claim: Claim::None,
            is_removed: false,
            last: None,
            saved: NEVER_SAVED,
            is_dirty: false,
            has_told: true,
        }
    }

    /// Forgets all state: another judge speaks for the group.
    pub(crate) fn lose(&mut self) {
        let is_removed = self.is_removed;
        *self = Self { is_removed, ..Self::new(self.group.clone()) };
    }

    /// Takes over the stored state under a new lease. `None` is a group that was never saved. A judge whose
    /// lease lapsed and that finds the document it saved itself goes on with what it has: nobody wrote in
    /// between. The error says why the document cannot be read; the group starts empty then.
    pub(crate) fn restore(
        &mut self,
        document: Option<&[u8]>,
        leave: Leave,
        now: Timestamp,
    ) -> Result<(), String> {
        let Leave { fencing, succeeded } = leave;
        // The shared state has lost its memory; this judge has not.
        let is_forgotten = document.is_none() && self.saved != NEVER_SAVED;
        let document = document.map(serde_json::from_slice::<Document<StoredAlerts>>).transpose();
        let stored = document.as_ref().map_or(None, |document| {
            Some(document.as_ref().map_or(NEVER_SAVED, |document| document.saved))
        });
        if self.claim != Claim::None && (is_forgotten || stored == Some(self.saved)) {
            self.claim = Claim::Held(fencing);
            self.is_dirty |= is_forgotten;
            return Ok(());
        }
        self.lose();
        self.claim = Claim::Held(fencing);
        let Some(document) = document.map_err(|error| error.to_string())? else { return Ok(()) };
        if document.version != DOCUMENT_VERSION {
            return Err(format!(
                "its version is {}, this judge reads {DOCUMENT_VERSION}",
                document.version
            ));
        }
        self.saved = document.saved;
        let mut stored = ByIdentity::default();
        for rule in document.rules {
            let alerts = rule.alerts.into_iter().collect();
            let watched = rule.watched;
            let state = RuleState { alerts, watched, ..RuleState::default() };
            stored.put(rule.identity, state);
        }
        self.take_over(stored, now);
        // Those that are not in the document, too: they had nothing to store.
        for state in &mut self.rules {
            state.continuity = Continuity::resumed(now, succeeded);
        }
        self.ended.extend(document.ended);
        // The document of a pending alert is at most this old while somebody looks.
        let gap = now.since(document.saved.at);
        if gap > SHORT_GAP + self.group.interval * 2 {
            self.rules.iter_mut().for_each(|rule| alert_state::skip_gap(&mut rule.alerts, gap));
        }
        Ok(())
    }

    /// The last slot in which every rule succeeded.
    pub(crate) fn last_success(&self) -> Option<Timestamp> {
        let last = |rule: &RuleState| rule.continuity.last();
        self.rules.iter().map(last).min().flatten()
    }

    /// Goes on with other rules. Rules of the same kind, name and labels keep their state; alerts of the
    /// others end.
    pub(crate) fn adopt(&mut self, group: Arc<RuleGroup>, now: Timestamp) {
        let mut stored = ByIdentity::default();
        for (rule, state) in self.group.rules.iter().zip(self.rules.drain(..)) {
            stored.put(rule.identity(), state);
        }
        self.batches = group.batches();
        self.has_twins = has_twins(&group);
        self.group = group;
        self.is_removed = false;
        self.take_over(stored, now);
        self.is_dirty = true;
    }

    /// Goes on without rules: the group is no more.
    pub(crate) fn retire(&mut self, now: Timestamp) {
        let empty = RuleGroup { rules: Vec::new(), ..self.group.as_ref().clone() };
        self.adopt(Arc::new(empty), now);
        self.is_removed = true;
    }

    /// Whether a removed group has nothing left to do.
    pub(crate) fn is_done(&self) -> bool {
        self.is_removed && self.ended.is_empty() && self.orphaned_series.is_empty()
    }

    /// Forgets alerts whose end is old and told.
    pub(crate) fn forget(&mut self, now: Timestamp, is_undelivered: impl Fn(&Labels) -> bool) {
        self.is_dirty |= alert_state::undo_future(&mut self.ended, now);
        let all = self.rules.iter_mut().map(|rule| &mut rule.alerts).chain([&mut self.ended]);
        for alerts in all {
            self.is_dirty |= alert_state::forget(alerts, now, &is_undelivered);
        }
    }

    /// The document to save now, if there is need.
    pub(crate) fn document(&self, now: Timestamp, fencing: u64) -> Option<Vec<u8>> {
        let is_pending =
            |rule: &RuleState| rule.alerts.values().any(|alert| alert.phase.fired_at().is_none());
        let is_old = now.since(self.saved.at) >= SAVE_INTERVAL;
        let is_needed = self.is_dirty || (is_old && self.rules.iter().any(is_pending));
        if !is_needed {
            return None;
        }
        fn list(alerts: &Alerts) -> Vec<(&Labels, &HeldAlert)> {
            alerts.iter().collect()
        }
        let rules = self.group.rules.iter().zip(&self.rules);
        // Most rules of most groups have nothing to store.
        let is_left_out = |state: &RuleState| {
            !self.has_twins && state.alerts.is_empty() && state.watched.is_empty()
        };
        let holds = |(rule, state): &(&Rule, &RuleState)| {
            matches!(rule.kind, RuleKind::Alerting { .. }) && !is_left_out(state)
        };
        let rules = rules.filter(holds).map(|(rule, state)| RuleDocument {
            identity: rule.identity(),
            alerts: list(&state.alerts),
            watched: state.watched.clone(),
        });
        let document = Document {
            version: DOCUMENT_VERSION,
            saved: Saved { at: now, fencing },
            rules: rules.collect(),
            ended: list(&self.ended),
        };
        Some(serde_json::to_vec(&document).expect("label sets and texts always have a JSON form"))
    }

    /// Notes that the document is stored.
    pub(crate) fn note_saved(&mut self, now: Timestamp, fencing: u64) {
        self.saved = Saved { at: now, fencing };
        self.is_dirty = false;
    }

    /// Everything the group has to say to the alarms, one word an alert. Rules that failed for an hour are
    /// left out: their news has become too old to be repeated. So is what fires by a rule that is not awake.
    pub(crate) fn told(&self, now: Timestamp, external: &Labels, links: &Links) -> Vec<Arc<Told>> {
        let mut all = HashMap::new();
        let nowhere: Arc<str> = Arc::from(links.base());
        self.tell(&self.ended, &nowhere, external, &mut all);
        for (rule, state) in self.group.rules.iter().zip(&self.rules) {
            if state.alerts.is_empty() {
                continue;
            }
            let link = Arc::from(links.of(rule));
            if !rule.extras.active_times.contain(now) {
                let ended = state.alerts.iter().filter(|(_, alert)| !alert.phase.is_firing());
                self.tell(ended, &link, external, &mut all);
            } else if now.since(state.continuity.last_known()) <= RENEWAL_MAX {
                self.tell(&state.alerts, &link, external, &mut all);
            }
        }
        all.into_values().map(Arc::new).collect()
    }

    fn tell<'a>(
        &self,
        alerts: impl IntoIterator<Item = (&'a Labels, &'a HeldAlert)>,
        link: &Arc<str>,
        external: &Labels,
        all: &mut HashMap<Labels, Told>,
    ) {
        for (labels, alert) in alerts {
            let Some(starts_at) = alert.phase.fired_at() else { continue };
            let news = match alert.phase {
                alert_state::Phase::Resolved { resolved_at, .. } => News::Resolved(resolved_at),
                _ => News::Firing,
            };
            let labels = with_external(labels, external);
            // Two rules may give the same alert. It fires as long as one of them says so.
            let is_better = |other: &Told| news == News::Firing && other.news != News::Firing;
            if all.get(&labels).is_none_or(is_better) {
                let told = Told {
                    labels: labels.clone(),
                    annotations: alert.annotations.clone(),
                    generator_url: link.clone(),
                    starts_at,
                    news,
                    interval: self.group.interval,
                };
                all.insert(labels, told);
            }
        }
    }

    fn take_over(&mut self, mut stored: ByIdentity, now: Timestamp) {
        self.rules = self.group.rules.iter().map(|rule| stored.take(&rule.identity())).collect();
        for state in stored.rest() {
            self.ended.extend(alert_state::retire(state.alerts, now));
            self.orphaned_series.extend(state.series);
        }
    }
}

/// The alert's identity as the alarms see it: its labels, and the external ones where it does not have them.
pub(crate) fn with_external(labels: &Labels, external: &Labels) -> Labels {
    if external.is_empty() {
        return labels.clone();
    }
    let mut builder = external.edit();
    for (name, value) in labels.iter() {
        builder.set(name, value);
    }
    builder.build()
}

/// Rule states by identity; of several equal rules the first gets the state of the first, and so on.
#[derive(Default)]
struct ByIdentity(HashMap<String, VecDeque<RuleState>>);

impl ByIdentity {
    fn put(&mut self, identity: String, state: RuleState) {
        self.0.entry(identity).or_default().push_back(state);
    }

    fn take(&mut self, identity: &str) -> RuleState {
        self.0.get_mut(identity).and_then(VecDeque::pop_front).unwrap_or_default()
    }

    fn rest(self) -> impl Iterator<Item = RuleState> {
        self.0.into_values().flatten()
    }
}

fn has_twins(group: &RuleGroup) -> bool {
    let mut seen = HashSet::new();
    !group.rules.iter().all(|rule| seen.insert(rule.identity()))
}

/// The alerts of a rule by what they are, for metrics.
pub(crate) fn count_by_state(rules: &[RuleState]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::from([("pending", 0), ("firing", 0)]);
    for alert in rules.iter().flat_map(|rule| rule.alerts.values()) {
        if let Some(count) = counts.get_mut(alert.phase.as_str()) {
            *count += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert_state::Phase;
    use crate::rule_file::{Defaults, read_group};

    fn group(rules: &str) -> Arc<RuleGroup> {
        let text = format!("{{interval: 1m, rules: [{rules}]}}");
        Arc::new(read_group("g", &text, &Defaults::default()).expect("the rules are valid"))
    }

    const A: &str = "{alert: A, expr: up == 0}";
    const B: &str = "{alert: B, expr: up == 0}";

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_seconds(60 * (1_000_000 + minutes))
    }

    fn labels(name: &str) -> Labels {
        Labels::from_pairs([("alertname", name)])
    }

    fn held(phase: Phase) -> HeldAlert {
        HeldAlert { annotations: BTreeMap::new(), value: 1.0, phase, seen_at: at(0) }
    }

    fn links() -> Links {
        Links::Rules(String::new())
    }

    fn leave(fencing: u64) -> Leave {
        Leave { fencing, succeeded: None }
    }

    fn firing() -> HeldAlert {
        held(Phase::Firing { active_at: at(-5), fired_at: at(-3) })
    }

    /// A run of the rules A and B, both with a firing alert.
    fn run() -> GroupRun {
        let mut run = GroupRun::new(group(&format!("{A}, {B}")));
        run.restore(None, leave(1), at(0)).expect("there is no document");
        for (state, name) in run.rules.iter_mut().zip(["A", "B"]) {
            state.alerts.insert(labels(name), firing());
            state.series.insert(Labels::from_pairs([("__name__", "ALERTS"), ("alertname", name)]));
        }
        run.is_dirty = true;
        run
    }

    fn restarted(run: &GroupRun, rules: &str, now: Timestamp) -> GroupRun {
        let document = run.document(at(0), 1).expect("the run is dirty");
        let mut next = GroupRun::new(group(rules));
        next.restore(Some(&document), leave(2), now).expect("the document was just written");
        next
    }

    fn news(run: &GroupRun) -> Vec<(String, News)> {
        let told = run.told(at(1), &Labels::empty(), &links());
        let mut news: Vec<_> =
            told.iter().map(|told| (told.labels.to_string(), told.news)).collect();
        news.sort_by(|a, b| a.0.cmp(&b.0));
        news
    }

    #[test]
    fn a_restart_finds_every_alert_with_its_start() {
        let next = restarted(&run(), &format!("{A}, {B}"), at(30));
        let told = next.told(at(30), &Labels::empty(), &links());
        assert_eq!(told.len(), 2);
        assert!(told.iter().all(|told| told.starts_at == at(-3) && told.news == News::Firing));
        assert_eq!(next.claim, Claim::Held(2));
    }

    #[test]
    fn a_judge_whose_lease_lapsed_goes_on_unless_another_one_wrote() {
        let mut run = run();
        let own = run.document(at(0), 1).expect("the run is dirty");
        run.note_saved(at(0), 1);
        run.restore(Some(&own), leave(2), at(1)).expect("readable");
        assert_eq!((run.rules[0].series.len(), run.claim), (1, Claim::Held(2)));
        run.is_dirty = true;
        let other = run.document(at(0), 3).expect("the run is dirty");
        run.restore(Some(&other), leave(4), at(1)).expect("readable");
        assert_eq!(
            (run.rules[0].series.len(), run.rules[0].alerts.len()),
            (0, 1),
            "it starts from the document"
        );
    }

    #[test]
    fn rules_that_changed_places_keep_their_alerts() {
        let next = restarted(&run(), &format!("{B}, {A}"), at(1));
        assert!(
            next.rules[0].alerts.contains_key(&labels("B"))
                && next.rules[1].alerts.contains_key(&labels("A"))
        );
    }

    #[test]
    fn of_equal_rules_each_keeps_its_own_alerts_and_rules_without_are_left_out_else() {
        let mut run = GroupRun::new(group(&format!("{A}, {A}")));
        run.restore(None, leave(1), at(0)).expect("there is no document");
        run.rules[1].alerts.insert(labels("A"), firing());
        run.is_dirty = true;
        let next = restarted(&run, &format!("{A}, {A}"), at(1));
        assert_eq!((next.rules[0].alerts.len(), next.rules[1].alerts.len()), (0, 1));
        let mut run = self::run();
        run.rules[0].alerts.clear();
        let document = String::from_utf8(run.document(at(0), 1).expect("dirty")).expect("JSON");
        assert_eq!(document.matches("identity").count(), 1);
        let next = restarted(&run, &format!("{A}, {B}"), at(30));
        assert_eq!((next.rules[0].alerts.len(), next.rules[1].alerts.len()), (0, 1));
        assert_eq!(next.rules[0].continuity, next.rules[1].continuity);
    }

    #[test]
    fn the_alerts_of_a_rule_that_is_no_more_end_and_its_series_become_stale() {
        let mut run = run();
        run.adopt(group(B), at(1));
        let expected = [
            ("{alertname=\"A\"}".to_owned(), News::Resolved(at(1))),
            ("{alertname=\"B\"}".to_owned(), News::Firing),
        ];
        assert_eq!(news(&run), expected);
        assert_eq!(run.orphaned_series.len(), 1);
        let restarted = restarted(&run, B, at(1));
        assert_eq!(news(&restarted), expected, "the end survives a restart");
    }

    #[test]
    fn a_removed_group_is_done_when_its_ends_are_told_and_old() {
        let mut run = run();
        run.retire(at(1));
        run.orphaned_series.clear();
        run.forget(at(20), |ended| *ended == labels("A"));
        assert!(!run.is_done());
        run.forget(at(21), |_| false);
        assert!(run.is_done());
    }

    #[test]
    fn a_document_is_written_only_when_there_is_need() {
        let mut run = run();
        assert!(run.document(at(1), 1).is_some());
        run.note_saved(at(1), 1);
        assert!(run.document(at(100), 1).is_none(), "firing alerts alone need no saving");
        run.rules[0].alerts.insert(labels("P"), held(Phase::Pending { active_at: at(100) }));
        assert!(run.document(at(100), 1).is_some(), "pending ones do, once a minute");
        run.note_saved(at(100), 1);
        assert!(run.document(at(100), 1).is_none());
    }

    #[test]
    fn a_pending_alert_waits_on_after_a_short_restart_and_longer_after_a_long_one() {
        for (now, active_at) in [(at(2), at(-5)), (at(60), at(55))] {
            let mut run = run();
            run.rules[0].alerts.insert(labels("P"), held(Phase::Pending { active_at: at(-5) }));
            let next = restarted(&run, &format!("{A}, {B}"), now);
            assert_eq!(next.rules[0].alerts[&labels("P")].phase, Phase::Pending { active_at });
        }
    }

    #[test]
    fn an_unreadable_document_is_told_and_the_group_starts_empty() {
        for bytes in
            [&b"{"[..], br#"{"version":9,"saved":{"at":0,"fencing":1},"rules":[],"ended":[]}"#]
        {
            let mut run = run();
            assert!(run.restore(Some(bytes), leave(3), at(0)).is_err());
            assert!(run.told(at(0), &Labels::empty(), &links()).is_empty());
        }
    }

    #[test]
    fn a_rule_that_failed_for_an_hour_is_repeated_no_more() {
        let mut run = run();
        run.rules[0].continuity.observe(at(0), Duration::from_secs(60), Duration::ZERO);
        assert_eq!(run.told(at(60), &Labels::empty(), &links()).len(), 2);
        assert_eq!(run.told(at(61), &Labels::empty(), &links()).len(), 1);
        let restarted = restarted(&run, &format!("{A}, {B}"), at(100));
        assert_eq!(restarted.told(at(160), &Labels::empty(), &links()).len(), 2);
        assert_eq!(
            restarted.told(at(161), &Labels::empty(), &links()).len(),
            0,
            "also when it never succeeds again"
        );
    }

    #[test]
    fn an_alert_that_one_rule_ended_and_another_fires_is_told_as_firing() {
        let mut run = run();
        run.ended
            .insert(labels("A"), held(Phase::Resolved { fired_at: at(-9), resolved_at: at(-8) }));
        run.rules[1]
            .alerts
            .insert(labels("A"), held(Phase::Resolved { fired_at: at(-9), resolved_at: at(-7) }));
        let expected = ["A", "B"].map(|name| (labels(name).to_string(), News::Firing));
        assert_eq!(news(&run), expected);
    }

    #[test]
    fn external_labels_fill_in_what_an_alert_lacks() {
        let external = Labels::from_pairs([("dc", "east"), ("alertname", "no")]);
        let expected = Labels::from_pairs([("dc", "east"), ("alertname", "A")]);
        assert_eq!(with_external(&labels("A"), &external), expected);
    }
}
