//! A question that rules have in common, the parts of its answer, and who wants which.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{ENDPOINT, Labels, METRIC_NAME, MatchOp, Matcher, Timestamp};
use promql::{Expr, Params, Single, Threshold, VectorSelector, narrowed, splits_by};
use tokio::sync::watch;

use crate::answer::{Answer, Part, Places, Sorter};
use crate::arrival::Wave;
use crate::chart::{Chart, HostScope, Sweep};
use crate::rules::{GroupKey, RuleGroup};

/// A question that asks for more values of a label by name leaves the index with little to gain.
const VALUES_MAX: usize = 1024;
/// Answers of one question that are kept: those of groups with another interval or offset come in between.
const ANSWERS_KEPT: usize = 3;
/// When no more than one of so many parts is wanted, the others are left out.
const FEW_SHARE: usize = 2;
/// Between the values of a key. A value that holds it itself makes a key that no rule has.
pub(crate) const SEPARATOR: &str = "\0";

/// When and where to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment<'w> {
    /// The time of the query.
    pub(crate) at: Timestamp,
    /// What data arrived; `None` in a slot.
    pub(crate) wave: Option<&'w Arc<Wave>>,
}

impl Moment<'_> {
    /// Tells answers apart: those in a wave may be narrower than those in a slot of the same time.
    fn key(&self) -> (Timestamp, u64) {
        (self.at, self.wave.map_or(0, |wave| wave.number))
    }
}

/// What one rule shares with others: a question, its part of the answer, and what it compares it with.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) question: Arc<Question>,
    /// The values of the lifted labels.
    pub(crate) key: String,
    /// What elements are compared with.
    pub(crate) threshold: Option<Threshold>,
    /// The rule asks more than that, so it asks it by itself.
    pub(crate) asks_more: bool,
}

/// A rule that wants to know when data for a part of a question arrives.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) group: Arc<RuleGroup>,
    /// Its number in the group.
    pub(crate) rule: usize,
    /// What elements are compared with.
    pub(crate) threshold: Option<Threshold>,
    /// Others may look for it: it asks nothing else, and nothing of another time.
    pub(crate) is_plain: bool,
}

/// A question that rules have in common.
#[derive(Debug)]
pub(crate) struct Question {
    /// As it is written, with the lifted labels.
    pub(crate) text: String,
    /// What is asked.
    pub(crate) common: Expr,
    /// The lifted labels.
    pub(crate) labels: Vec<String>,
    /// Each element belongs to one host and depends on its series only.
    by_host: bool,
    /// How many questions have each of its selectors.
    pub(crate) selectors: Vec<(String, Arc<AtomicUsize>)>,
    asked: Mutex<Asked>,
    /// It can be answered series by series.
    is_single: AtomicBool,
    /// What is known of these series.
    chart: Mutex<Option<Arc<Chart>>>,
}

#[derive(Debug, Default)]
struct Asked {
    /// Who wants which part.
    wanted: HashMap<String, Wanted>,
    rules: usize,
    /// The expression for all parts and where each part goes; made anew when the parts change.
    prepared: Option<Prepared>,
    answers: Vec<((Timestamp, u64), Pending)>,
    rests_until: Option<Timestamp>,
}

/// What nobody wants any more.
#[derive(Debug)]
pub(crate) struct Left {
    /// The number of the part.
    pub(crate) part: Option<usize>,
    /// The whole question.
    pub(crate) is_all: bool,
}

/// A part and who wants it.
#[derive(Debug, Default)]
struct Wanted {
    number: usize,
    rules: usize,
    /// Those that want to know when data for it arrives.
    listeners: Vec<Listener>,
}

#[derive(Debug, Clone)]
struct Prepared {
    expr: Arc<Expr>,
    places: Places,
}

/// An answer that somebody is fetching; `Some(None)` when there is none.
pub(crate) type Pending = watch::Receiver<Option<Option<Arc<Answer>>>>;

/// A question that this evaluation is to answer.
#[derive(Debug)]
pub(crate) struct Claim {
    question: Arc<Question>,
    prepared: Prepared,
    /// The wave whose hosts alone are looked at.
    narrowed_to: Option<Arc<Wave>>,
    /// The parts to look at, by place; `None` for all.
    parts: Option<Vec<bool>>,
    answer: watch::Sender<Option<Option<Arc<Answer>>>>,
}

impl Claim {
    /// What to ask.
    pub(crate) fn expr(&self) -> Arc<Expr> {
        match self.narrowed_to.as_ref().and_then(|wave| wave.condition.as_ref()) {
            Some(condition) => {
                Arc::new(narrowed(&self.prepared.expr, std::slice::from_ref(condition)))
            }
            None => Arc::clone(&self.prepared.expr),
        }
    }

    /// The same, to be answered series by series if that is possible.
    pub(crate) fn sweep(&self, hosts: impl FnOnce(&Arc<Wave>) -> Arc<HostScope>) -> Option<Sweep> {
        self.question.is_single.load(Ordering::Relaxed).then(|| Sweep {
            question: Arc::clone(&self.question),
            expr: Arc::clone(&self.prepared.expr),
            places: Arc::clone(&self.prepared.places),
            hosts: self.narrowed_to.as_ref().map(hosts),
            parts: self.parts.clone(),
        })
    }

    /// What to do with the answer.
    pub(crate) fn sorter(&self) -> Sorter {
        let labels = self.question.labels.to_vec();
        Sorter { labels, places: Arc::clone(&self.prepared.places) }
    }

    /// Hands the answer to all who wait for it and to the caller. Without one the question rests.
    pub(crate) fn settle(
        self,
        answer: Option<Answer>,
        rests_until: Timestamp,
    ) -> Option<Arc<Answer>> {
        if answer.is_none() {
            self.question.asked().rests_until = Some(rests_until);
        }
        let answer = answer.map(Arc::new);
        // Nobody waits any more when this fails.
        drop(self.answer.send(Some(answer.clone())));
        answer
    }
}

impl Question {
    /// A question that no rule asks yet. `selectors` counts how many questions have each of them.
    pub(crate) fn new(
        text: String,
        common: Expr,
        labels: Vec<String>,
        selectors: Vec<(String, Arc<AtomicUsize>)>,
    ) -> Self {
        let by_host = splits_by(&common, ENDPOINT);
        let plan = promql::plan(&common, Params::instant(Timestamp::default()));
        let is_single = plan.is_ok_and(|plan| Single::of(&plan).is_some()).into();
        let (asked, chart) = Default::default();
        Self { text, common, labels, by_host, selectors, asked, is_single, chart }
    }

    /// What is known of the series that it reads.
    pub(crate) fn chart(&self) -> Option<Arc<Chart>> {
        self.chart.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what is known of the series that it reads.
    pub(crate) fn keep_chart(&self, chart: Arc<Chart>) {
        *self.chart.lock().unwrap_or_else(PoisonError::into_inner) = Some(chart);
    }

    /// From now on it is not answered series by series: several of them may make the same element.
    pub(crate) fn ask_as_a_whole(&self) {
        self.is_single.store(false, Ordering::Relaxed);
    }

    /// The metrics it reads, each once; none when a selector names no metric.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        fn name_of(selector: &VectorSelector) -> Option<&str> {
            let is_name = |m: &&Matcher| m.name == METRIC_NAME && m.op == MatchOp::Equal;
            selector.matchers.iter().find(is_name).map(|matcher| matcher.value.as_str())
        }
        self.common.selectors().into_iter().map(name_of).collect::<Option<_>>().unwrap_or_default()
    }

    /// Whether one of its selectors picks a series.
    pub(crate) fn reads(&self, series: &Labels) -> bool {
        let picks = |selector: &&VectorSelector| {
            selector.matchers.iter().all(|matcher| matcher.matches_labels(series))
        };
        self.common.selectors().iter().any(picks)
    }

    /// Notes a rule that asks; a listener wants to know when data for its part arrives. Answers whether
    /// the part is new and took the number.
    pub(crate) fn want(&self, key: &str, listener: Option<Listener>, number: usize) -> bool {
        let mut asked = self.asked();
        asked.rules += 1;
        if let Some(wanted) = asked.wanted.get_mut(key) {
            wanted.rules += 1;
            wanted.listeners.extend(listener);
            return false;
        }
        let wanted = Wanted { number, rules: 1, listeners: listener.into_iter().collect() };
        asked.wanted.insert(key.to_owned(), wanted);
        asked.prepared = None;
        true
    }

    /// The number of the part that a sample of a series concerns, if somebody listens for it.
    pub(crate) fn part_of(&self, series: &Labels, key: &mut String) -> Option<usize> {
        if !self.reads(series) {
            return None;
        }
        key_of(&self.labels, series, key);
        let asked = self.asked();
        let wanted = asked.wanted.get(key.as_str())?;
        (!wanted.listeners.is_empty()).then_some(wanted.number)
    }

    /// The rules that want to know when data for a part arrives.
    pub(crate) fn each_listener(&self, key: &str, mut hear: impl FnMut(&Listener)) {
        let asked = self.asked();
        asked.wanted.get(key).into_iter().flat_map(|one| &one.listeners).for_each(&mut hear);
    }

    /// Notes that a rule asks no more; answers what is no longer wanted by anybody.
    pub(crate) fn want_no_more(&self, key: &str, group: &GroupKey, rule: usize) -> Left {
        let mut asked = self.asked();
        asked.rules -= 1;
        let mut left = Left { part: None, is_all: asked.rules == 0 };
        if let Some(wanted) = asked.wanted.get_mut(key) {
            wanted.rules -= 1;
            wanted.listeners.retain(|one| one.group.key != *group || one.rule != rule);
            if wanted.rules == 0 {
                left.part = Some(wanted.number);
                asked.wanted.remove(key);
                asked.prepared = None;
            }
        }
        left
    }

    /// The answer for a moment, or a promise of it. Who asks first has to keep the promise: it is put into
    /// `mine`. `None` when the question is better asked rule by rule.
    pub(crate) fn pending(
        self: &Arc<Self>,
        moment: Moment<'_>,
        mine: &mut Vec<Claim>,
    ) -> Option<Pending> {
        let mut asked = self.asked();
        if !self.is_shared(&mut asked, moment.at) {
            return None;
        }
        if let Some((_, pending)) = asked.answers.iter().find(|(known, _)| *known == moment.key()) {
            return Some(pending.clone());
        }
        let prepared = self.prepared(&mut asked)?;
        let narrowed_to = self.narrowing(moment).map(Arc::clone);
        let (answer, pending) = watch::channel(None);
        if asked.answers.len() >= ANSWERS_KEPT {
            asked.answers.remove(0);
        }
        asked.answers.push((moment.key(), pending.clone()));
        let question = Arc::clone(self);
        mine.push(Claim { question, prepared, narrowed_to, parts: None, answer });
        Some(pending)
    }

    /// A question about these parts in a wave, about the others only as far as that costs little. `None` when it
    /// is better asked rule by rule.
    pub(crate) fn claim(self: &Arc<Self>, keys: &[&str], moment: Moment<'_>) -> Option<Claim> {
        let mut asked = self.asked();
        if !self.is_shared(&mut asked, moment.at) {
            return None;
        }
        let mut prepared = self.prepared(&mut asked)?;
        let narrowed_to = self.narrowing(moment).map(Arc::clone);
        let mut parts = None;
        if self.is_single.load(Ordering::Relaxed) {
            let mut is_wanted = vec![false; prepared.places.len()];
            let places = keys.iter().filter_map(|key| prepared.places.get(*key));
            places.for_each(|place| is_wanted[*place] = true);
            parts = Some(is_wanted);
        } else if narrowed_to.is_none() && keys.len() * FEW_SHARE <= asked.wanted.len() {
            let conditions = self.conditions(keys.iter().copied())?;
            prepared.expr = Arc::new(narrowed(&self.common, &conditions));
        }
        let (question, answer) = (Arc::clone(self), watch::channel(None).0);
        Some(Claim { question, prepared, narrowed_to, parts, answer })
    }

    /// Whether it is asked for several rules together.
    fn is_shared(&self, asked: &mut Asked, at: Timestamp) -> bool {
        let has_company = |uses: &Arc<AtomicUsize>| uses.load(Ordering::Relaxed) > 1;
        if asked.rules < 2 && !self.selectors.iter().any(|(_, uses)| has_company(uses)) {
            return false;
        }
        if asked.rests_until.is_some_and(|until| at < until) {
            return false;
        }
        asked.rests_until = None;
        true
    }

    /// What answers all parts. `None` when a condition cannot be built.
    fn prepared(&self, asked: &mut Asked) -> Option<Prepared> {
        if asked.prepared.is_none() {
            let keys = asked.wanted.keys();
            let conditions = self.conditions(keys.clone().map(String::as_str))?;
            let places = keys.enumerate().map(|(place, key)| (key.to_owned(), place)).collect();
            let expr = Arc::new(narrowed(&self.common, &conditions));
            asked.prepared = Some(Prepared { expr, places: Arc::new(places) });
        }
        asked.prepared.clone()
    }

    /// The conditions that leave only these parts. `None` when one cannot be built.
    fn conditions<'k>(&self, keys: impl Iterator<Item = &'k str> + Clone) -> Option<Vec<Matcher>> {
        let condition = |(place, label): (usize, &String)| {
            let values: BTreeSet<&str> =
                keys.clone().filter_map(|key| key.split(SEPARATOR).nth(place)).collect();
            one_of(label, &values)
        };
        self.labels.iter().enumerate().map(condition).collect()
    }

    /// The wave, if it looks at some hosts only.
    fn narrowing<'w>(&self, moment: Moment<'w>) -> Option<&'w Arc<Wave>> {
        moment.wave.filter(|wave| self.by_host && wave.condition.is_some())
    }

    /// Whether only the hosts of a wave are looked at.
    pub(crate) fn is_narrowed(&self, moment: Moment<'_>) -> bool {
        self.narrowing(moment).is_some()
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// The rule's part once it is there; `None` when the rule is better evaluated by itself.
    pub(crate) async fn part(&self, mut pending: Pending, moment: Moment<'_>) -> Option<Part> {
        let answer = pending.wait_for(Option::is_some).await.ok()?.clone()??;
        let part = answer.part(&self.key, self.question.is_narrowed(moment))?;
        Some(part.against(self.threshold))
    }
}

/// A condition that picks these values of a label and may, when they are many, pick others, too.
pub(crate) fn one_of(label: &str, values: &BTreeSet<&str>) -> Option<Matcher> {
    match values.first() {
        Some(value) if values.len() == 1 => Some(Matcher::equal(label, value)),
        _ if values.len() > VALUES_MAX => Matcher::new(label, MatchOp::NotEqual, "").ok(),
        _ => {
            let escaped: Vec<String> = values.iter().map(|value| literal(value)).collect();
            Matcher::new(label, MatchOp::Regex, &escaped.join("|")).ok()
        }
    }
}

/// A text as a pattern that matches it. What needs no escape gets none, so that an index can look it up.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for char in text.chars() {
        if r"\.+*?()|[]{}^$".contains(char) {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern
}

/// The key of the part that an element belongs to.
pub(crate) fn key_of(labels: &[String], element: &Labels, key: &mut String) {
    key.clear();
    for (place, label) in labels.iter().enumerate() {
        if place > 0 {
            key.push_str(SEPARATOR);
        }
        key.push_str(element.get(label).unwrap_or(""));
    }
}
