//! Answers to range queries that are kept: a dashboard that is looked at again asks for little that is new.
//!
//! An answer at a step is kept only when nothing that still arrives can change it: all that it reads must be older
//! than the fresh end. Only steps on multiples of the step are kept, so that windows that move along meet them again.
//! The answer at a step must not depend on the rest of the range, so whatever names the range is left out.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use model::{Series, Timestamp};
use promql::{Expr, Output, Params, Value};

use crate::config::Config;
use crate::error::ApiError;
use crate::merge;
use crate::metrics::{Cached, Metrics};

/// What an expression has that is answered otherwise over another range.
const OF_RANGE: [&str; 2] = ["start()", "end()"];
/// Steps of one question that are kept; longer ranges are hardly ever asked for.
const STEPS_MAX: u32 = 20_000;
/// Bytes that a series takes besides its labels and samples.
const SERIES_BYTES: usize = 64;
const SAMPLE_BYTES: usize = size_of::<model::Sample>();

/// What makes two questions the same, but for their times.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    expr: String,
    step: Duration,
    lookback: Duration,
    subquery_step: Duration,
    samples_max: usize,
    /// The data centres that are asked, by the number of their list and their positions in it. When a host moves, or
    /// a data centre is changed, the question becomes another one.
    places: (u64, Vec<usize>),
}

impl Key {
    /// The key of a question to these data centres.
    pub(crate) fn new(expr: &Expr, params: &Params, places: (u64, Vec<usize>)) -> Self {
        let Params { step, lookback, subquery_step, limits, .. } = params;
        let (step, lookback, subquery_step) = (*step, *lookback, *subquery_step);
        let samples_max = limits.samples_max;
        Self { expr: expr.to_string(), step, lookback, subquery_step, samples_max, places }
    }
}

/// The answers at some steps in a row.
#[derive(Debug, Clone, PartialEq)]
struct Extent {
    /// The first step.
    from: Timestamp,
    /// The last one.
    to: Timestamp,
    /// Sorted by labels.
    series: Vec<Series>,
    /// What is worth knowing of the answers; it may be said of fewer steps than were asked for.
    infos: Vec<String>,
    /// When the oldest of them was given.
    made: Timestamp,
}

impl Extent {
    /// The part within a span, if there is one. Both ends of the span are steps.
    fn cut(&self, from: Timestamp, to: Timestamp) -> Option<Self> {
        let (from, to) = (self.from.max(from), self.to.min(to));
        let within = |one: &Series| {
            let start = one.samples.partition_point(|sample| sample.timestamp < from);
            let end = one.samples.partition_point(|sample| sample.timestamp <= to);
            let samples = one.samples.get(start..end).filter(|samples| !samples.is_empty())?;
            Some(Series { labels: one.labels.clone(), samples: samples.to_vec() })
        };
        (from <= to).then(|| Self {
            from,
            to,
            series: self.series.iter().filter_map(within).collect(),
            infos: self.infos.clone(),
            made: self.made,
        })
    }

    /// This one, and what `other` has before and behind it. One that lies apart is no part of it.
    fn with(self, other: &Self, step: Duration) -> Self {
        let is_apart = other.to.plus(step) < self.from || self.to.plus(step) < other.from;
        if is_apart {
            return self;
        }
        let before = other.cut(other.from, self.from.minus(step));
        let behind = other.cut(self.to.plus(step), other.to);
        let mut whole = Self { made: self.made.min(other.made), ..self };
        for more in [before, behind].into_iter().flatten() {
            whole.from = whole.from.min(more.from);
            whole.to = whole.to.max(more.to);
            whole.series = merge::union([whole.series, more.series]);
            whole.infos = merge::sorted([whole.infos, more.infos], 0);
        }
        whole
    }

    /// Without its oldest steps when there are more than are ever asked for.
    fn bounded(self, step: Duration) -> Self {
        let from = self.to.minus(step.saturating_mul(STEPS_MAX));
        if from <= self.from { self } else { self.cut(from, self.to).unwrap_or(self) }
    }

    fn bytes(&self) -> usize {
        let series = self
            .series
            .iter()
            .map(|one| SERIES_BYTES + one.labels.byte_len() + one.samples.len() * SAMPLE_BYTES);
        let infos = self.infos.iter().map(String::len);
        series.sum::<usize>() + infos.sum::<usize>() + size_of::<Self>()
    }
}

/// What is kept, and which of it was used last.
#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<Arc<Key>, Entry>,
    by_use: BTreeMap<u64, Arc<Key>>,
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    extent: Extent,
    bytes: usize,
    used: u64,
}

impl Kept {
    /// The extent of a question, which counts as used now.
    fn used(&mut self, key: &Key) -> Option<&Extent> {
        let (key, entry) = self.entries.get_key_value(key)?;
        let (key, before) = (Arc::clone(key), entry.used);
        self.uses += 1;
        self.by_use.remove(&before);
        self.by_use.insert(self.uses, Arc::clone(&key));
        let entry = self.entries.get_mut(&key)?;
        entry.used = self.uses;
        Some(&entry.extent)
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    /// Keeps an extent in the place of the one before; answers how many others had to go for it.
    fn put(&mut self, key: Key, extent: Extent, bytes_max: usize) -> usize {
        self.remove(&key);
        let bytes = extent.bytes() + size_of::<Entry>() + size_of::<Key>() + key.expr.len();
        if bytes > bytes_max {
            return 0;
        }
        let mut gone = 0;
        while self.bytes + bytes > bytes_max
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes -= entry.bytes;
            }
            gone += 1;
        }
        self.uses += 1;
        self.bytes += bytes;
        let key = Arc::new(key);
        self.by_use.insert(self.uses, Arc::clone(&key));
        self.entries.insert(key, Entry { extent, bytes, used: self.uses });
        gone
    }
}

/// The steps of a range query whose answers can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The first step.
    from: Timestamp,
    /// The last step that can be kept.
    to: Timestamp,
    /// The last step of the question.
    last: Timestamp,
}

/// Which answers of a range query nothing can change that comes later than `fresh`; nothing when there are none.
fn settled(expr: &Expr, params: &Params, fresh: Timestamp) -> Option<Settled> {
    let (start, step) = (params.start.millis(), i64::try_from(params.step.as_millis()).ok()?);
    if step < 1 || start.rem_euclid(step) != 0 || fresh < params.start {
        return None;
    }
    let text = expr.to_string();
    if OF_RANGE.iter().any(|word| text.contains(word)) {
        return None;
    }
    let last = params.end.millis() - (params.end.millis() - start).rem_euclid(step);
    let mut to = last.min(fresh.millis() - fresh.millis().rem_euclid(step));
    // What looks ahead reaches beyond its step: so far is gone back once.
    for _ in 0..2 {
        if to < start {
            return None;
        }
        let times = Params { end: Timestamp(to), ..params.clone() };
        let plan = promql::plan(expr, times).ok()?;
        let beyond = plan.selections().iter().map(|one| one.end).max()?.since(fresh);
        if beyond.is_zero() {
            return Some(Settled { from: params.start, to: Timestamp(to), last: Timestamp(last) });
        }
        let beyond = i64::try_from(beyond.as_millis()).ok()?;
        to = to.checked_sub(beyond)?.div_euclid(step) * step;
    }
    None
}

/// Answers to range queries, in bounded memory: those that were not used for the longest time go first.
#[derive(Debug)]
pub(crate) struct RangeCache {
    kept: Mutex<Kept>,
    bytes_max: usize,
    fresh: Duration,
    age_max: Duration,
    metrics: Metrics,
}

impl RangeCache {
    /// An empty one.
    pub(crate) fn new(config: &Config, metrics: Metrics) -> Self {
        let (bytes_max, age_max) = (config.cache_bytes_max, config.cache_age_max);
        let kept = Mutex::default();
        Self { kept, bytes_max, fresh: config.cache_fresh, age_max, metrics }
    }

    /// Whether, and how much of, the answer to a question may be kept.
    pub(crate) fn settled(&self, expr: &Expr, params: &Params, now: Timestamp) -> Option<Settled> {
        if self.bytes_max == 0 || params.step.is_zero() {
            return None;
        }
        let found = settled(expr, params, now.minus(self.fresh));
        if found.is_none() {
            self.metrics.cache(Cached::Unfit);
        }
        found
    }

    /// Answers a range query: what is kept of it is taken from here, `ask` answers the rest, and what can be kept of
    /// that is kept if `is_whole` says that no data centre was missing.
    pub(crate) async fn answer<F, Fut>(
        &self,
        (key, settled): (Key, Settled),
        params: &Params,
        now: Timestamp,
        ask: F,
        is_whole: impl Fn() -> bool,
    ) -> Result<Output, ApiError>
    where
        F: Fn(Params) -> Fut,
        Fut: Future<Output = Result<Output, ApiError>>,
    {
        let found = self.find(&key, settled, now);
        let missing = match &found {
            Some(found) => vec![
                (settled.from, found.from.minus(params.step)),
                (found.to.plus(params.step), settled.last),
            ],
            None => vec![(settled.from, settled.last)],
        };
        let missing = missing.into_iter().filter(|(start, end)| start <= end);
        let asked = missing.map(|(start, end)| ask(Params { start, end, ..params.clone() }));
        let answers = try_join_all(asked).await?;
        self.metrics.cache(match (&found, answers.is_empty()) {
            (Some(_), true) => Cached::Hit,
            (Some(found), false) if found.to < settled.to || settled.from < found.from => {
                Cached::Part
            }
            // Only the fresh end was asked for, which is never kept.
            (Some(_), false) => Cached::Hit,
            (None, _) => Cached::Miss,
        });
        let mut made = now;
        let mut whole = Output {
            value: Value::Matrix(Vec::new()),
            histograms: vec![],
            warnings: vec![],
            infos: vec![],
        };
        let mut lists = Vec::with_capacity(3);
        let has_news =
            found.as_ref().is_none_or(|found| (found.from, found.to) != (settled.from, settled.to));
        if let Some(found) = found {
            made = found.made;
            lists.push(found.series);
            whole.infos = found.infos;
        }
        for answer in answers {
            let Value::Matrix(matrix) = answer.value else { continue };
            lists.push(matrix);
            whole.histograms.extend(answer.histograms);
            whole.warnings = merge::sorted([whole.warnings, answer.warnings], 0);
            whole.infos = merge::sorted([whole.infos, answer.infos], 0);
        }
        let series = merge::union(lists);
        // A warning may be of any one step, and histograms are not kept.
        let is_plain = whole.warnings.is_empty() && whole.histograms.is_empty();
        if has_news && is_plain && is_whole() {
            let (from, to, infos) = (settled.from, settled.last, whole.infos);
            let all = Extent { from, to, series, infos, made };
            if let Some(extent) = all.cut(settled.from, settled.to) {
                self.keep(key, extent, params);
            }
            (whole.value, whole.infos) = (Value::Matrix(all.series), all.infos);
        } else {
            whole.value = Value::Matrix(series);
        }
        Ok(whole)
    }

    /// What is kept of a question's answer and not too old.
    fn find(&self, key: &Key, settled: Settled, now: Timestamp) -> Option<Extent> {
        let mut kept = self.kept();
        let extent = kept.used(key)?;
        if now.since(extent.made) > self.age_max {
            kept.remove(key);
            self.metrics.cache_holds(kept.bytes);
            return None;
        }
        extent.cut(settled.from, settled.to)
    }

    fn keep(&self, key: Key, extent: Extent, params: &Params) {
        let mut kept = self.kept();
        let extent = match kept.entries.get(&key) {
            Some(entry) => extent.with(&entry.extent, params.step).bounded(params.step),
            None => extent,
        };
        let gone = kept.put(key, extent, self.bytes_max);
        self.metrics.cache_evicted(gone);
        self.metrics.cache_holds(kept.bytes);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::LazyLock;

    use futures_util::FutureExt;
    use model::{Labels, Sample};
    use proptest::prelude::*;

    use super::*;

    static METRICS: LazyLock<Metrics> =
        LazyLock::new(|| Metrics::register(&testkit::context_at(Timestamp(0))));

    const FRESH: i64 = 300;

    fn cache(change: impl FnOnce(&mut Config)) -> RangeCache {
        let fresh = Duration::from_secs(FRESH as u64);
        let mut config = Config { cache_fresh: fresh, ..Config::default() };
        change(&mut config);
        RangeCache::new(&config, METRICS.clone())
    }

    fn range(start: i64, end: i64, step: u64) -> Params {
        let (start, end) = (Timestamp::from_seconds(start), Timestamp::from_seconds(end));
        Params::range(start, end, Duration::from_secs(step))
    }

    fn parsed(text: &str) -> Expr {
        promql::parse(text).expect("it is PromQL")
    }

    /// The answer over these series, computed as a store would.
    fn computed(all: &[Series], expr: &Expr, params: Params) -> Output {
        let plan = promql::plan(expr, params).expect("it fits");
        let select = |selection: &model::Selection| {
            let within = |one: &Series| {
                let is_in = |sample: &&Sample| {
                    (selection.start..=selection.end).contains(&sample.timestamp)
                };
                let samples = one.samples.iter().filter(is_in).copied().collect();
                Series { labels: one.labels.clone(), samples }
            };
            let matched = all.iter().filter(|one| {
                let value = |name: &str| one.labels.get(name).unwrap_or("");
                selection.matchers.iter().all(|matcher| matcher.matches(value(&matcher.name)))
            });
            matched.map(within).filter(|one| !one.samples.is_empty()).collect::<Vec<_>>()
        };
        let inputs: Vec<_> = plan.selections().iter().map(select).collect();
        promql::evaluate(&plan, &inputs, &|| false).expect("it is good")
    }

    /// A question to a cache over these series; the spans that had to be computed, in seconds.
    fn asked(
        cache: &RangeCache,
        all: &[Series],
        text: &str,
        params: &Params,
        now: i64,
    ) -> (Output, Vec<(i64, i64)>) {
        let (expr, now) = (parsed(text), Timestamp::from_seconds(now));
        let spans = RefCell::new(Vec::new());
        let compute = |times: Params| {
            spans.borrow_mut().push((times.start.seconds(), times.end.seconds()));
            std::future::ready(Ok(computed(all, &expr, times)))
        };
        let output = match cache.settled(&expr, params, now) {
            Some(settled) => {
                let key = Key::new(&expr, params, (0, vec![0]));
                let answer = cache.answer((key, settled), params, now, compute, || true);
                answer.now_or_never().expect("nothing waits").expect("it is good")
            }
            None => computed(all, &expr, params.clone()),
        };
        (output, spans.into_inner())
    }

    fn series(name: &str, at: i64, times: impl Iterator<Item = i64>) -> Series {
        let host = format!("h{at}");
        let labels = [("__name__", name), ("endpoint", &host), ("g", ["a", "b"][at as usize % 2])];
        let value = |time: i64| ((time / 10 * 7 + at * 31) % 101) as f64;
        Series {
            labels: Labels::from_pairs(labels),
            samples: times.map(|time| Sample::new(time * 1_000, value(time))).collect(),
        }
    }

    fn two_hosts(until: i64) -> Vec<Series> {
        (0..2).map(|at| series("x", at, (0..=until).step_by(10))).collect()
    }

    fn keeps(text: &str, end: i64, now: i64) -> Option<i64> {
        let params = range(600, end, 60);
        let found = cache(|_| {}).settled(&parsed(text), &params, Timestamp::from_seconds(now));
        found.map(|settled| settled.to.seconds())
    }

    #[test]
    fn a_second_look_computes_the_fresh_end_alone() {
        let (cache, all) = (cache(|_| {}), two_hosts(3_000));
        let first = asked(&cache, &all, "sum(x)", &range(600, 3_000, 60), 3_000);
        assert_eq!(first.1, [(600, 3_000)]);
        let second = asked(&cache, &all, "sum(x)", &range(600, 3_000, 60), 3_000);
        assert_eq!((second.1, &second.0), (vec![(2_760, 3_000)], &first.0));
        let wider = asked(&cache, &all, "sum(x)", &range(300, 2_000, 60), 3_000);
        assert_eq!(wider.1, [(300, 540)], "what is before");
        let within = asked(&cache, &all, "sum(x)", &range(1_200, 1_805, 60), 3_000);
        assert_eq!(within.1, []);
        assert_eq!(within.0, computed(&all, &parsed("sum(x)"), range(1_200, 1_805, 60)));
    }

    #[test]
    fn only_what_nothing_can_change_is_kept() {
        assert_eq!(keeps("x", 3_000, 3_000), Some(2_700));
        assert_eq!(keeps("x", 2_000, 3_000), Some(1_980));
        assert_eq!(keeps("x", 3_000, 10_000), Some(3_000));
        assert_eq!(keeps("rate(x[5m] offset 10m)", 3_000, 3_000), Some(3_000 - FRESH));
        assert_eq!(keeps("x offset -90s", 3_000, 3_000), Some(2_580));
        assert_eq!(keeps("max_over_time(x[5m:1m] offset -10m)", 3_000, 3_000), Some(2_100));
        assert_eq!(keeps("x @ 2500", 3_000, 3_000), Some(2_700));
        assert_eq!(keeps("x - x @ 2900", 3_000, 3_000), None, "it reads the fresh end");
        assert_eq!(keeps("x", 3_000, 700), None, "all of it is fresh");
        for text in ["x @ end()", "max_over_time((x - x @ start())[5m:])", "time()"] {
            assert_eq!(keeps(text, 3_000, 10_000), None, "{text}");
        }
    }

    #[test]
    fn steps_off_the_multiples_are_not_kept() {
        let params = range(601, 3_000, 60);
        let found = cache(|_| {}).settled(&parsed("x"), &params, Timestamp::from_seconds(9_000));
        assert_eq!(found, None);
        let instant = Params::instant(Timestamp::from_seconds(600));
        let found = cache(|_| {}).settled(&parsed("x"), &instant, Timestamp::from_seconds(9_000));
        assert_eq!(found, None);
    }

    #[test]
    fn without_memory_nothing_is_kept() {
        let cache = cache(|config| config.cache_bytes_max = 0);
        let now = Timestamp::from_seconds(9_000);
        assert_eq!(cache.settled(&parsed("x"), &range(600, 3_000, 60), now), None);
    }

    #[test]
    fn an_answer_without_a_data_centre_is_not_kept() {
        let (cache, all) = (cache(|_| {}), two_hosts(3_000));
        let (expr, params) = (parsed("x"), range(600, 1_200, 60));
        let now = Timestamp::from_seconds(3_000);
        let settled = cache.settled(&expr, &params, now).expect("it is old");
        let compute = |times| std::future::ready(Ok(computed(&all, &expr, times)));
        let key = Key::new(&expr, &params, (0, vec![0]));
        let answer = cache.answer((key, settled), &params, now, compute, || false);
        assert!(answer.now_or_never().expect("nothing waits").is_ok());
        assert_eq!(asked(&cache, &all, "x", &params, 3_000).1, [(600, 1_200)]);
        assert_eq!(asked(&cache, &all, "x", &params, 3_000).1, []);
    }

    #[test]
    fn other_limits_and_other_data_centres_are_other_questions() {
        let (expr, params) = (parsed("x"), range(600, 1_200, 60));
        let key = Key::new(&expr, &params, (0, vec![0]));
        assert_ne!(key, Key::new(&expr, &params, (0, vec![0, 1])));
        assert_ne!(key, Key::new(&expr, &params, (1, vec![0])));
        let mut other = params.clone();
        other.limits.samples_max = 7;
        assert_ne!(key, Key::new(&expr, &other, (0, vec![0])));
        let other = Params { lookback: Duration::from_secs(60), ..params.clone() };
        assert_ne!(key, Key::new(&expr, &other, (0, vec![0])));
        assert_eq!(key, Key::new(&expr, &range(0, 60, 60), (0, vec![0])));
    }

    #[test]
    fn an_old_answer_is_computed_anew() {
        let (cache, all) = (cache(|_| {}), two_hosts(3_000));
        let params = range(600, 1_200, 60);
        asked(&cache, &all, "x", &params, 3_000);
        assert_eq!(asked(&cache, &all, "x", &params, 3_600).1, []);
        assert_eq!(asked(&cache, &all, "x", &params, 3_601).1, [(600, 1_200)]);
    }

    #[test]
    fn memory_is_bounded_and_what_was_not_used_goes_first() {
        let all = two_hosts(3_000);
        let cache = cache(|config| config.cache_bytes_max = 6_000);
        let ask = |offset: i64| {
            let text = format!("x offset {offset}s");
            asked(&cache, &all, &text, &range(600, 2_400, 60), 9_000).1.len()
        };
        assert_eq!([ask(1), ask(2), ask(3), ask(1), ask(2)], [1, 1, 1, 0, 0]);
        (4..20).for_each(|offset| assert_eq!((ask(1), ask(offset)), (0, 1), "one is in use"));
        assert_eq!(ask(2), 1, "two had to go");
        let kept = cache.kept();
        assert_eq!(kept.bytes, kept.entries.values().map(|entry| entry.bytes).sum::<usize>());
        assert!(kept.bytes <= 6_000 && kept.by_use.len() == kept.entries.len());
    }

    #[test]
    fn an_answer_larger_than_all_memory_is_given_and_not_kept() {
        let (cache, all) = (cache(|config| config.cache_bytes_max = 100), two_hosts(3_000));
        for _ in 0..2 {
            let (output, spans) = asked(&cache, &all, "x", &range(600, 1_200, 60), 9_000);
            assert_eq!(spans, [(600, 1_200)]);
            assert_eq!(output, computed(&all, &parsed("x"), range(600, 1_200, 60)));
        }
        assert_eq!(cache.kept().bytes, 0);
    }

    #[test]
    fn a_question_that_grows_for_ever_does_not() {
        let step = Duration::from_secs(1);
        let extent = Extent {
            from: Timestamp(0),
            to: Timestamp::from_seconds(i64::from(STEPS_MAX) + 7),
            series: two_hosts(100),
            infos: vec![],
            made: Timestamp(0),
        };
        let bounded = extent.bounded(step);
        assert_eq!((bounded.from, bounded.series[0].samples.len()), (Timestamp(7_000), 10));
    }

    const ASKED: [&str; 16] = [
        "x",
        "x > 50 or y",
        "sum by (g) (x)",
        "topk(1, x + x / 1000)",
        "rate(x[1m])",
        "sum_over_time(x[2m])",
        "x offset 2m",
        "x offset -90s",
        "max_over_time(x[2m:20s])",
        "max_over_time(sum(x)[2m:20s] offset -1m)",
        "x @ 10100",
        "x - on (endpoint) x @ end()",
        "x - on (endpoint) x @ start()",
        "absent(y{g=\"b\"})",
        "count(y) + time()",
        "quantile(0.5, x)",
    ];

    #[derive(Debug, Clone)]
    enum Event {
        /// Time goes on; some hosts' samples come late.
        Later {
            seconds: i64,
            late: u8,
        },
        /// What is late comes now, if the window still takes it.
        Arrive,
        Asked {
            expr: usize,
            back: i64,
            span: i64,
            step: u64,
            is_aligned: bool,
        },
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let asked = (0..ASKED.len(), 0..3_000i64, 0..2_000i64, 0..3usize, 0..5u8).prop_map(
            |(expr, back, span, step, aligned)| Event::Asked {
                expr,
                back,
                span,
                step: [20, 30, 60][step],
                is_aligned: aligned > 0,
            },
        );
        let later = (1..400i64, 0..16u8).prop_map(|(seconds, late)| Event::Later { seconds, late });
        prop::collection::vec(prop_oneof![6 => asked, 2 => later, 1 => Just(Event::Arrive)], 1..40)
    }

    /// Four series of two names that get their samples bit by bit.
    struct World {
        all: Vec<Series>,
        late: Vec<(usize, Sample)>,
        now: i64,
    }

    impl World {
        fn later(&mut self, seconds: i64, late: u8) {
            for time in (self.now + 1..=self.now + seconds).filter(|time| time % 10 == 0) {
                for at in 0..4 {
                    let sample = series("x", at, std::iter::once(time)).samples[0];
                    match late >> at & 1 == 1 {
                        true => self.late.push((at as usize, sample)),
                        false => self.all[at as usize].samples.push(sample),
                    }
                }
            }
            self.now += seconds;
        }

        fn arrive(&mut self) {
            let oldest = Timestamp::from_seconds(self.now - FRESH);
            for (at, sample) in std::mem::take(&mut self.late) {
                let samples = &mut self.all[at].samples;
                if sample.timestamp > oldest {
                    let place = samples.partition_point(|one| one.timestamp < sample.timestamp);
                    samples.insert(place, sample);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_never_changes_an_answer(events in events(), bytes_max in 0..3usize) {
            let bytes_max = [4_000, 20_000, 1 << 20][bytes_max];
            let cache = cache(|config| config.cache_bytes_max = bytes_max);
            let at = |name: &str, at| series(name, at, std::iter::empty());
            let all = vec![at("x", 0), at("x", 1), at("y", 2), at("y", 3)];
            let mut world = World { all, late: Vec::new(), now: 9_000 };
            world.later(1_500, 0);
            for event in events {
                match event {
                    Event::Later { seconds, late } => world.later(seconds, late),
                    Event::Arrive => world.arrive(),
                    Event::Asked { expr, back, span, step, is_aligned } => {
                        let start = world.now - back;
                        let start = if is_aligned { start - start % step as i64 } else { start };
                        let (text, params) = (ASKED[expr], range(start, start + span, step));
                        let (kept, _) = asked(&cache, &world.all, text, &params, world.now);
                        let computed = computed(&world.all, &parsed(text), params);
                        prop_assert_eq!(kept.value, computed.value, "{}", text);
                        prop_assert_eq!(kept.warnings, computed.warnings, "{}", text);
                        // What is said of a step before the first one is still said.
                        prop_assert!(computed.infos.iter().all(|info| kept.infos.contains(info)));
                    }
                }
            }
            prop_assert!(cache.kept().bytes <= bytes_max);
        }
    }
}
