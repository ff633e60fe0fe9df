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

/// What an expression has that is answered otherwise over another range. `limitk` and its like pick by the order of
/// series, which the range has a say in.
const OF_RANGE: [&str; 6] = ["start()", "end()", "range()", "limitk", "limit_ratio", "info("];
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
    /// The data centres that are asked. When a host moves, the question becomes another one.
    places: Vec<usize>,
}

impl Key {
    /// The key of a question to these data centres.
    pub(crate) fn new(expr: &Expr, params: &Params, places: Vec<usize>) -> Self {
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
        let series = self.series.iter().map(|one| {
            SERIES_BYTES + one.labels.byte_len() + one.samples.len() * SAMPLE_BYTES
        });
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
            return Some(Settled {
                from: params.start,
                to: Timestamp(to),
                last: Timestamp(last),
            });
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
        let mut whole =
            Output { value: Value::Matrix(Vec::new()), histograms: vec![], warnings: vec![], infos: vec![] };
        let mut lists = Vec::with_capacity(3);
        let has_news = found.as_ref().is_none_or(|found| {
            (found.from, found.to) != (settled.from, settled.to)
        });
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
            let infos = whole.infos.clone();
            let all = Extent { from: settled.from, to: settled.last, series, infos, made };
            if let Some(extent) = all.cut(settled.from, settled.to) {
                self.keep(key, extent, params);
            }
            whole.value = Value::Matrix(all.series);
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
