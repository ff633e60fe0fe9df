//! Rules of one shape over many groups are one pass over the data. What rules have in common (see
//! [`promql::Shape`]) is asked once a slot for all of them, and each rule takes its part and compares it
//! with its own number.
//!
//! A pass is an optimisation and never a source of errors: a rule whose part is not there, for whatever
//! reason, is evaluated by itself.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{ENDPOINT, Labels, Matcher, Timestamp};
use promql::{Expr, Output, Params, Shape};
use storage::{Arrivals, Arrived, Reader, Sight};

use crate::answer::{Answer, Part, Sorter};
use crate::arrival::{Hosts, Touched, Wave};
use crate::chart::{HostNumbers, Sweep};
use crate::metrics::Metrics;
use crate::question::{self, Claim, Listener, Moment, Pending, Question, Share};
use crate::rules::{GroupKey, Rule, RuleGroup, RuleKind};
use crate::wave::is_plain;

/// A question that could not be answered for all is asked rule by rule for this long.
const REST_TIME: Duration = Duration::from_secs(600);

/// Series that are remembered with what they concern, by their numbers in the store; those of higher numbers are
/// looked up anew.
const KNOWN_MAX: usize = 1_000_000;

/// The questions that rules of this judge have in common.
#[derive(Debug, Default)]
pub(crate) struct Passes {
    book: Mutex<Book>,
    metrics: Metrics,
    arrivals: Arrivals,
    hosts: Arc<HostNumbers>,
    is_off: bool,
}

#[derive(Debug, Default)]
struct Book {
    groups: HashMap<GroupKey, Arc<Enrolment>>,
    questions: HashMap<String, Arc<Question>>,
    /// The questions that read a metric.
    by_name: HashMap<String, Vec<Arc<Question>>>,
    /// The parts of all questions by number.
    parts: Vec<Option<Wish>>,
    /// Numbers of parts that nobody wants any more, to be given out again.
    vacant: Vec<usize>,
    /// Whether some group wants to be evaluated when data arrives.
    is_listening: bool,
    /// What [`Book::parts_of`] answered since rules came or went, by the number of the series.
    known: Vec<Option<Known>>,
    /// The batch of arrivals in which a part was last touched, by its number.
    touched: Vec<u64>,
    batches: u64,
    /// For every selector without its lifted conditions how many questions have it.
    selectors: HashMap<String, Arc<AtomicUsize>>,
}

/// A part of a question that rules want.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) question: Arc<Question>,
    pub(crate) key: Arc<str>,
}

/// The parts that samples of a series concern.
#[derive(Debug)]
struct Known {
    series: Labels,
    parts: Box<[usize]>,
}

/// What the rules of a group share with others.
#[derive(Debug)]
pub(crate) struct Enrolment {
    group: Arc<RuleGroup>,
    /// In the order of the rules.
    pub(crate) shares: Vec<Option<Share>>,
}

impl Enrolment {
    /// Whether a rule asks more than its query, or nothing that others may ask for it.
    pub(crate) fn asks_more(&self, rule: usize) -> bool {
        self.shares.get(rule).and_then(Option::as_ref).is_none_or(|share| share.asks_more)
    }
}

impl Passes {
    /// Without rules yet.
    pub(crate) fn new(metrics: Metrics, arrivals: Arrivals) -> Self {
        Self { metrics, arrivals, ..Self::default() }
    }

    /// Shares nothing: for groups that are evaluated one after another for the same moment, where each has to
    /// see what those before it have just written.
    pub(crate) fn off() -> Self {
        Self { is_off: true, ..Self::default() }
    }

    /// Notes the rules of a group that this judge evaluates; a group that is known already costs nothing.
    pub(crate) fn enrol(&self, group: &Arc<RuleGroup>) -> Arc<Enrolment> {
        let mut book = self.book();
        if let Some(known) = book.groups.get(&group.key) {
            if Arc::ptr_eq(&known.group, group) {
                return Arc::clone(known);
            }
            book.leave(&group.key);
        }
        let names = book.by_name.len();
        let share = |(number, rule)| book.share(group, number, rule);
        let shares = group.rules.iter().enumerate().map(share).collect();
        let enrolment = Arc::new(Enrolment { group: Arc::clone(group), shares });
        book.groups.insert(group.key.clone(), Arc::clone(&enrolment));
        book.known.clear();
        let listens = group.on_arrival || book.is_listening;
        if book.by_name.len() != names || listens != book.is_listening {
            book.is_listening = listens;
            let names = book.by_name.keys().filter(|_| listens).cloned();
            self.arrivals.watch(names.collect());
        }
        enrolment
    }

    /// What samples of these series concern.
    pub(crate) fn touched(&self, arrived: &Arrived) -> Touched {
        self.metrics.arrival_series.inc_by(arrived.series.len() as u64);
        self.metrics.arrival_series_beyond_limit.inc_by(arrived.beyond_limit);
        let mut book = self.book();
        let mut touched = Touched::default();
        if arrived.beyond_limit > 0 {
            touched.hosts = Hosts::All;
            touched.parts = (0..book.parts.len()).collect();
            return touched;
        }
        book.batches += 1;
        let mut before = None;
        for (number, series) in &arrived.series {
            if book.touch(*number, series, &mut touched.parts) {
                // Series of one host mostly come one after the other.
                let host = series.get(ENDPOINT);
                if before != Some(host) {
                    touched.hosts.add(series);
                }
                before = Some(host);
            }
        }
        touched
    }

    /// Forgets the rules of a group: it is no more, or another judge evaluates it.
    pub(crate) fn leave(&self, key: &GroupKey) {
        self.book().leave(key);
    }

    /// The parts of those rules of a group whose question others have, too. `None` is a rule to be
    /// evaluated by itself. What is not there yet is fetched, once for all groups.
    pub(crate) async fn parts(
        &self,
        reader: &Reader,
        enrolment: &Enrolment,
        rules: &[usize],
        moment: Moment<'_>,
        timeout: Duration,
    ) -> Vec<Option<Part>> {
        if self.is_off || !reader.is_here() {
            // What another program makes of the common question need not fall into the rules' own answers.
            return rules.iter().map(|_| None).collect();
        }
        let mut mine = Vec::new();
        let pending: Vec<Option<(&Share, Pending)>> = rules
            .iter()
            .map(|rule| {
                let share = enrolment.shares.get(*rule)?.as_ref()?;
                Some((share, share.question.pending(moment, &mut mine)?))
            })
            .collect();
        if !mine.is_empty() {
            drop(self.fetch(reader, mine, moment.at, timeout).await);
        }
        let mut parts = Vec::with_capacity(pending.len());
        for one in pending {
            parts.push(match one {
                Some((share, pending)) => share.part(pending, moment).await,
                None => None,
            });
        }
        let shared = parts.iter().flatten().count();
        self.metrics.pass_rules.inc_by(shared as u64);
        parts
    }

    /// The parts of these numbers that are still wanted, by number.
    pub(crate) fn wishes(&self, parts: &[usize]) -> Vec<(usize, Wish)> {
        let book = self.book();
        let wish = |part: &usize| Some((*part, book.parts.get(*part)?.as_ref()?.clone()));
        parts.iter().filter_map(wish).collect()
    }

    /// Asks about parts in a wave, each question once; `None` for those that are better asked rule by rule.
    pub(crate) async fn ask(
        &self,
        reader: &Reader,
        parts: &[usize],
        moment: Moment<'_>,
        timeout: Duration,
    ) -> Vec<(usize, Wish, Option<Part>)> {
        let mut wishes = self.wishes(parts);
        if self.is_off || !reader.is_here() {
            return wishes.into_iter().map(|(number, wish)| (number, wish, None)).collect();
        }
        let address = |wish: &Wish| Arc::as_ptr(&wish.question).addr();
        wishes.sort_by_key(|(number, wish)| (address(wish), *number));
        let of_questions = wishes.chunk_by(|(_, a), (_, b)| Arc::ptr_eq(&a.question, &b.question));
        let (mut mine, mut asked) = (Vec::new(), Vec::new());
        for wishes in of_questions {
            let Some((_, first)) = wishes.first() else { continue };
            let keys: Vec<&str> = wishes.iter().map(|(_, wish)| &*wish.key).collect();
            if let Some(claim) = first.question.claim(&keys, moment) {
                mine.push(claim);
                asked.push(address(first));
            }
        }
        let answers = match mine.is_empty() {
            true => Vec::new(),
            false => self.fetch(reader, mine, moment.at, timeout).await,
        };
        let answers: HashMap<usize, Arc<Answer>> =
            asked.into_iter().zip(answers).filter_map(|(of, answer)| Some((of, answer?))).collect();
        let with_part = |(number, wish): (usize, Wish)| {
            let answer = answers.get(&address(&wish));
            let is_narrow = wish.question.is_narrowed(moment);
            let part = answer.and_then(|answer| answer.part(&wish.key, is_narrow));
            (number, wish, part)
        };
        wishes.into_iter().map(with_part).collect()
    }

    /// Answers questions, hands the answers to all who wait for them, and to the caller in their order.
    pub(crate) async fn fetch(
        &self,
        reader: &Reader,
        mine: Vec<Claim>,
        at: Timestamp,
        timeout: Duration,
    ) -> Vec<Option<Arc<Answer>>> {
        self.metrics.passes.inc_by(mine.len() as u64);
        let sweeps = self.sweeps(&mine);
        let (single, whole): (Vec<usize>, Vec<usize>) =
            (0..mine.len()).partition(|at| sweeps[*at].is_some());
        let (swept, asked) = tokio::join!(
            self.sweep(reader, sweeps, at, timeout),
            ask_as_a_whole(reader, &mine, &whole, at, timeout),
        );
        let mut answers: Vec<Option<Answer>> = swept;
        answers.resize_with(mine.len(), || None);
        // Such as those of series that are partly in blocks.
        let left: Vec<usize> =
            single.into_iter().filter(|number| answers[*number].is_none()).collect();
        let again = ask_as_a_whole(reader, &mine, &left, at, timeout).await;
        let found = whole.into_iter().zip(asked).chain(left.into_iter().zip(again));
        found.for_each(|(number, answer)| answers[number] = answer);
        let settle = |(claim, answer): (Claim, Option<Answer>)| {
            if answer.is_none() {
                self.metrics.pass_failures.inc();
            }
            claim.settle(answer, at.plus(REST_TIME))
        };
        mine.into_iter().zip(answers).map(settle).collect()
    }

    /// Those of the questions that can be answered series by series.
    fn sweeps(&self, claims: &[Claim]) -> Vec<Option<Sweep>> {
        let mut scope = None;
        let mut hosts = |wave: &Arc<Wave>| {
            Arc::clone(scope.get_or_insert_with(|| Arc::new(self.hosts.scope(wave))))
        };
        claims.iter().map(|claim| claim.sweep(&mut hosts)).collect()
    }

    /// Answers those that are there; nothing at all when the time is over.
    async fn sweep(
        &self,
        reader: &Reader,
        sweeps: Vec<Option<Sweep>>,
        at: Timestamp,
        timeout: Duration,
    ) -> Vec<Option<Answer>> {
        if sweeps.iter().all(Option::is_none) {
            return Vec::new();
        }
        let hosts = Arc::clone(&self.hosts);
        let look = move |sight: &Sight<'_>| {
            let answer = |sweep: &Option<Sweep>| sweep.as_ref()?.answer(sight, at, &hosts);
            sweeps.iter().map(answer).collect()
        };
        storage::look_around(reader, timeout, look).await.unwrap_or_default()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers the questions of these numbers, as they stand there.
async fn ask_as_a_whole(
    reader: &Reader,
    claims: &[Claim],
    numbers: &[usize],
    at: Timestamp,
    timeout: Duration,
) -> Vec<Option<Answer>> {
    if numbers.is_empty() {
        return Vec::new();
    }
    let exprs = numbers.iter().map(|number| claims[*number].expr()).collect();
    let sorters: Vec<Sorter> = numbers.iter().map(|number| claims[*number].sorter()).collect();
    let sort = move |number: usize, output: Output| sorters.get(number)?.sort(output);
    let params = Params::instant(at);
    let answers = storage::query_together(reader, exprs, params, timeout, sort).await;
    let answers = answers.unwrap_or_else(|error| {
        tracing::debug!(reason = %error, "no pass; its rules are evaluated one by one");
        Vec::new()
    });
    let mut answers: Vec<Option<Answer>> =
        answers.into_iter().map(|answer| answer.ok().flatten()).collect();
    answers.resize_with(numbers.len(), || None);
    answers
}

impl Book {
    fn share(&mut self, group: &Arc<RuleGroup>, number: usize, rule: &Rule) -> Option<Share> {
        let Shape { common, labels, values, threshold } = Shape::of(&rule.query.expr)?;
        if values.iter().any(|value| value.contains(question::SEPARATOR)) {
            return None;
        }
        let text = format!("{common} by {}", labels.join(","));
        let key = values.join(question::SEPARATOR);
        let question = match self.questions.get(&text) {
            // Texts are made to be read, so what they stand for is compared as well.
            Some(known) if known.common == common && known.labels == labels => Arc::clone(known),
            Some(_) => return None,
            None => {
                let selectors = self.selectors(&common);
                let new = Arc::new(Question::new(text.to_owned(), common, labels, selectors));
                for name in new.names() {
                    self.by_name.entry(name.to_owned()).or_default().push(Arc::clone(&new));
                }
                self.questions.insert(text, Arc::clone(&new));
                new
            }
        };
        let asks_more = rule.asks_more();
        let listens = group.on_arrival && matches!(rule.kind, RuleKind::Alerting { .. });
        let listener = listens.then(|| Listener {
            group: Arc::clone(group),
            rule: number,
            threshold,
            is_plain: is_plain(group, number, asks_more),
        });
        let part = self.vacant.last().copied().unwrap_or(self.parts.len());
        if question.want(&key, listener, part) {
            let wish = Wish { question: Arc::clone(&question), key: Arc::from(key.as_str()) };
            match self.vacant.pop() {
                Some(part) => self.parts[part] = Some(wish),
                None => self.parts.push(Some(wish)),
            }
        }
        Some(Share { question, key, threshold, asks_more })
    }

    /// Adds the parts that a sample of a series concerns and somebody listens for, unless they were added in this
    /// batch before. Answers whether there are any.
    fn touch(&mut self, number: usize, series: &Labels, parts: &mut Vec<usize>) -> bool {
        let unknown;
        let concerned = if number < KNOWN_MAX {
            self.learn(number, series);
            self.known[number].as_ref().map_or(&[][..], |known| &known.parts)
        } else {
            unknown = self.parts_of(series);
            &unknown
        };
        self.touched.resize(self.parts.len(), 0);
        for part in concerned {
            if self.touched[*part] != self.batches {
                self.touched[*part] = self.batches;
                parts.push(*part);
            }
        }
        !concerned.is_empty()
    }

    /// Makes sure that it is known what the series that has this number now concerns.
    fn learn(&mut self, number: usize, series: &Labels) {
        if number >= self.known.len() {
            self.known.resize_with(number + 1, || None);
        }
        if self.known[number].as_ref().is_none_or(|known| known.series != *series) {
            let parts = self.parts_of(series);
            self.known[number] = Some(Known { series: series.clone(), parts });
        }
    }

    fn parts_of(&self, series: &Labels) -> Box<[usize]> {
        let mut key = String::new();
        let questions = self.by_name.get(series.metric_name()).into_iter().flatten();
        questions.filter_map(|question| question.part_of(series, &mut key)).collect()
    }

    fn selectors(&mut self, common: &Expr) -> Vec<(String, Arc<AtomicUsize>)> {
        let text = |matchers: &[Matcher]| {
            matchers.iter().map(|matcher| matcher.to_string()).collect::<Vec<_>>().join(",")
        };
        let texts: BTreeSet<String> =
            common.selectors().into_iter().map(|selector| text(&selector.matchers)).collect();
        let count = |text: String| {
            let uses = Arc::clone(self.selectors.entry(text.to_owned()).or_default());
            uses.fetch_add(1, Ordering::Relaxed);
            (text, uses)
        };
        texts.into_iter().map(count).collect()
    }

    fn leave(&mut self, key: &GroupKey) {
        let Some(enrolment) = self.groups.remove(key) else { return };
        self.known.clear();
        for (number, share) in enrolment.shares.iter().enumerate() {
            let Some(share) = share else { continue };
            let left = share.question.want_no_more(&share.key, key, number);
            if let Some(part) = left.part {
                self.parts[part] = None;
                self.vacant.push(part);
            }
            if left.is_all {
                self.questions.remove(&share.question.text);
                for name in share.question.names() {
                    if let Some(questions) = self.by_name.get_mut(name) {
                        questions.retain(|known| !Arc::ptr_eq(known, &share.question));
                    }
                }
                for (text, uses) in &share.question.selectors {
                    if uses.fetch_sub(1, Ordering::Relaxed) == 1 {
                        self.selectors.remove(text);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use model::{Sample, Series, stale_nan};
    use proptest::prelude::*;
    use storage::{Batch, Limits, Storage};

    use super::*;
    use crate::arrival::{Touched, Waiting};
    use crate::query;
    use crate::record::Written;
    use crate::rule_file::{Defaults, read_file};

    const TIMEOUT: Duration = Duration::from_secs(60);
    const AT: Timestamp = Timestamp(600_000);
    const GROUPS: [&str; 3] = ["g0", "g1", "g.2"];
    const HOSTS: [&str; 4] = ["h0", "h1", "h2", ""];

    /// `SEL` is a selector's conditions, `NUM` a number.
    const SHAPES: [&str; 22] = [
        "m0{SEL} > NUM",
        "NUM >= m0{SEL}",
        "m0{SEL} != NUM",
        "m1{SEL,mode=\"x\"} < NUM * 2",
        "{__name__=~\"m.\",SEL} > NUM",
        "m0{SEL} / m1{SEL} * 100 < NUM",
        "m0{SEL} - on (endpoint, group) group_left (mode) m1{SEL,mode=\"x\"} > NUM",
        "rate(m1{SEL}[2m]) > NUM",
        "delta(m0{SEL}[3m] offset 1m) < NUM",
        "min_over_time(m0{SEL}[1m]) > NUM",
        "max_over_time(rate(m1{SEL}[1m])[3m:30s]) > NUM",
        "sum by (group) (m0{SEL}) > NUM",
        "sum by (endpoint) (m0{SEL}) > NUM",
        "avg without (mode) (rate(m1{SEL}[2m])) > NUM",
        "quantile by (group, endpoint) (0.9, m1{SEL}) > NUM",
        "count(m0{SEL}) > NUM",
        "m0{SEL} > NUM and m1{SEL} < 50",
        "m0{SEL} unless on (group, endpoint) m1{SEL} > 50",
        "absent(m0{SEL})",
        "topk by (group) (1, m0{SEL})",
        "abs(timestamp(m0{SEL}) - time()) < NUM",
        "m0{SEL}",
    ];

    fn rule_expr(shape: usize, group: usize, host: Option<usize>, number: i32) -> String {
        let mut selector = format!("group=\"{}\"", GROUPS[group]);
        if let Some(host) = host.filter(|host| !HOSTS[*host].is_empty()) {
            selector.push_str(&format!(",endpoint=\"{}\"", HOSTS[host]));
        }
        SHAPES[shape].replace("SEL", &selector).replace("NUM", &number.to_string())
    }

    fn group_of(name: &str, exprs: &[String]) -> Arc<RuleGroup> {
        let rules: Vec<String> = exprs
            .iter()
            .enumerate()
            .map(|(number, expr)| format!("  - {{alert: R{number}, expr: '{expr}'}}\n"))
            .collect();
        let text = format!("groups:\n- name: {name}\n  rules:\n{}", rules.concat());
        let mut groups = read_file("f", &text, &Defaults::default()).expect("the rules are valid");
        Arc::new(groups.remove(0))
    }

    /// Bits, since NaN differs from itself.
    fn bits(vector: &[Written]) -> Vec<(Labels, u64)> {
        vector.iter().map(|(labels, value)| (labels.clone(), value.to_bits())).collect()
    }

    async fn stored(series: &[(usize, usize, usize, usize, Vec<u8>)]) -> Storage {
        let storage = Storage::memory(Limits::default());
        let mut all = Vec::new();
        for (metric, group, host, mode, values) in series {
            let labels = Labels::from_pairs([
                ("__name__", ["m0", "m1"][*metric]),
                ("group", GROUPS[*group]),
                ("endpoint", HOSTS[*host]),
                ("mode", ["x", "y"][*mode]),
            ]);
            let value = |value: u8| match value {
                100 => stale_nan(),
                101 => f64::NAN,
                value => f64::from(value),
            };
            let samples = values.iter().enumerate().filter(|(_, value)| **value < 102);
            let sample = |(n, v): (usize, &u8)| Sample::new(300_000 + n as i64 * 20_000, value(*v));
            all.push(Series { labels, samples: samples.map(sample).collect() });
        }
        let batch = Batch { series: all, metadata: Vec::new() };
        storage.writer().write(batch).await.expect("memory takes it");
        storage
    }

    /// Compares every part with what the rule's own query answers, at several times, before and after a series came;
    /// answers how many parts there were in slots and waves of groups.
    async fn compare(storage: &Storage, groups: &[Arc<RuleGroup>], host: usize) -> usize {
        let (reader, passes) = (storage.reader(), Passes::default());
        let enrolments: Vec<_> = groups.iter().map(|group| passes.enrol(group)).collect();
        let mut waiting = Waiting::default();
        let mut shared = 0;
        for round in 0..4 {
            let at = AT.plus(Duration::from_secs(15 * round));
            if round == 2 {
                let of =
                    |host| [("__name__", "m0"), ("group", "g0"), ("endpoint", host), ("a", "")];
                let series = [of("h1"), of("h2"), of("h9")].map(|pairs| Series {
                    labels: Labels::from_pairs(pairs).with("mode", "new"),
                    samples: vec![Sample::new(620_000, 77.0)],
                });
                let batch = Batch { series: series.to_vec(), metadata: Vec::new() };
                storage.writer().write(batch).await.expect("memory takes it");
            }
            let mut touched = Touched { parts: vec![0], ..Touched::default() };
            touched.hosts.add(&Labels::from_pairs([("endpoint", HOSTS[host])]));
            waiting.add(&touched, at);
            let (wave, _) = waiting.next_wave(at).expect("it is due");
            for (group, enrolment) in groups.iter().zip(&enrolments) {
                let rules: Vec<usize> = (0..group.rules.len()).collect();
                for wave in [None, Some(&wave)] {
                    let moment = Moment { at, wave };
                    let parts = passes.parts(&reader, enrolment, &rules, moment, TIMEOUT).await;
                    for (rule, part) in rules.iter().zip(parts) {
                        let Some(part) = part else { continue };
                        check(&reader, group, *rule, &part, at, host).await;
                        shared += 1;
                    }
                }
            }
            // Every other part in the first rounds, and all of them in the last.
            let parts: Vec<usize> =
                (0..passes.book().parts.len()).filter(|part| round == 3 || part % 2 == 0).collect();
            let moment = Moment { at, wave: Some(&wave) };
            for (_, wish, part) in passes.ask(&reader, &parts, moment, TIMEOUT).await {
                let Some(part) = part else { continue };
                let mut rules = Vec::new();
                wish.question.each_listener(&wish.key, |one| {
                    rules.push((Arc::clone(&one.group), one.rule, part.against(one.threshold)));
                });
                for (group, rule, part) in rules {
                    check(&reader, &group, rule, &part, at, host).await;
                }
            }
        }
        shared
    }

    /// Compares a part with what the rule's own query answers.
    async fn check(
        reader: &Reader,
        group: &RuleGroup,
        rule: usize,
        part: &Part,
        at: Timestamp,
        host: usize,
    ) {
        let query = &group.rules[rule].query;
        let alone = query::vector(reader, &query.expr, at, TIMEOUT).await;
        let mut alone = alone.expect("the part has an answer");
        if part.is_narrow {
            alone.retain(|(labels, _)| labels.get("endpoint").unwrap_or("") == HOSTS[host]);
        }
        assert_eq!(bits(&part.elements()), bits(&alone), "{}", query.text);
        assert_eq!(part.is_empty(), alone.is_empty(), "{}", query.text);
    }

    proptest! {
        #[test]
        fn a_part_is_what_the_rule_alone_would_get(
            series in prop::collection::vec(
                (0usize..2, 0usize..3, 0usize..4, 0usize..2, prop::collection::vec(0u8..110, 0..16)),
                0..40,
            ),
            shapes in prop::collection::vec(0usize..SHAPES.len(), 1..4),
            rules in prop::collection::vec(
                (0usize..3, 0usize..4, 0usize..3, prop::option::of(0usize..4), -5i32..110),
                2..16,
            ),
            host in 0usize..4,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.expect("a runtime").block_on(async {
                let exprs = |of: usize| -> Vec<String> {
                    let of = rules.iter().filter(|(group, ..)| *group == of);
                    of.map(|(_, shape, label, host, number)| {
                        rule_expr(shapes[*shape % shapes.len()], *label, *host, *number)
                    })
                    .collect()
                };
                let groups: Vec<_> = (0..3).map(|of| group_of(&format!("n{of}"), &exprs(of))).collect();
                compare(&stored(&series).await, &groups, host).await;
            });
        }
    }

    #[tokio::test]
    async fn rules_of_one_shape_share_a_question() {
        let storage = stored(&[(0, 0, 0, 0, vec![50; 16]), (0, 1, 1, 0, vec![90; 16])]).await;
        let exprs =
            |group: usize| vec![rule_expr(0, group, None, 40), rule_expr(0, group, None, 60)];
        let groups = [group_of("a", &exprs(0)), group_of("b", &exprs(1)), group_of("c", &exprs(2))];
        assert_eq!(compare(&storage, &groups, 0).await, 48, "six rules, in four slots and waves");
        let passes = Passes::default();
        for group in &groups {
            passes.enrol(group);
        }
        assert_eq!(passes.book().questions.len(), 1);
        for group in &groups {
            passes.leave(&group.key);
        }
        let book = passes.book();
        assert!(book.questions.is_empty() && book.selectors.is_empty() && book.groups.is_empty());
    }

    #[tokio::test]
    async fn a_question_that_fails_rests_and_its_rules_are_evaluated_alone() {
        // Two series that differ in their names only: without the name there are two of one kind.
        let storage = stored(&[
            (0, 0, 0, 0, vec![50; 16]),
            (1, 0, 0, 0, vec![50; 16]),
            (0, 1, 0, 0, vec![50; 16]),
        ])
        .await;
        let expr = |group: &str| format!("abs({{__name__=~\"m.\",group=\"{group}\"}}) > 1");
        let group = group_of("a", &[expr("g0"), expr("g1")]);
        let passes = Passes::default();
        let enrolment = passes.enrol(&group);
        for at in [AT, AT.plus(Duration::from_secs(15))] {
            let moment = Moment { at, wave: None };
            let parts = passes.parts(&storage.reader(), &enrolment, &[0, 1], moment, TIMEOUT).await;
            assert!(parts.iter().all(Option::is_none));
        }
        assert_eq!((passes.metrics.passes.get(), passes.metrics.pass_failures.get()), (1, 1));
        let alone = query::vector(&storage.reader(), &group.rules[1].query.expr, AT, TIMEOUT).await;
        assert_eq!(alone.expect("one group has no fault").len(), 1);
    }

    #[test]
    fn a_sample_concerns_the_rules_that_read_it() {
        let passes = Passes::default();
        let exprs = [
            "m0{group=\"g0\"} > 1",
            "m0{group=\"g1\"} > 1",
            "m1{mode!=\"x\"} > 1",
            "{group=\"g0\"} > 1",
        ];
        let group = group_of("a", &exprs.map(str::to_owned));
        passes.enrol(&group);
        let rules = |touched: &Touched| {
            let mut rules = BTreeSet::new();
            for (_, wish) in passes.wishes(&touched.parts) {
                wish.question.each_listener(&wish.key, |one| {
                    rules.insert(one.rule);
                });
            }
            rules.into_iter().collect::<Vec<usize>>()
        };
        for number in [3, 3, KNOWN_MAX] {
            let touched = |pairs: &[(&str, &str)]| {
                let series = vec![(number, Labels::from_pairs(pairs.iter().copied())); 2];
                rules(&passes.touched(&Arrived { series, beyond_limit: 0 }))
            };
            assert_eq!(touched(&[("__name__", "m0"), ("group", "g1")]), [1]);
            assert_eq!(touched(&[("__name__", "m0"), ("group", "g9")]), [0usize; 0]);
            assert_eq!(touched(&[("__name__", "m1"), ("mode", "x")]), [0usize; 0]);
            assert_eq!(touched(&[("__name__", "m1"), ("mode", "y")]), [2]);
        }
        let all = passes.touched(&Arrived { series: Vec::new(), beyond_limit: 1 });
        assert_eq!((rules(&all), all.hosts), (vec![0, 1, 2, 3], Hosts::All));
    }
}
