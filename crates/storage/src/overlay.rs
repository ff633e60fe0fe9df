//! What this process has just written to a remote store. Engines show a sample some time after they took it, and a
//! rule must see what the rules before it recorded in the same moment.

use std::collections::HashMap;
use std::time::Duration;

use model::{Labels, METRIC_NAME, MatchOp, Sample, Selection, Series, Timestamp};
use parking_lot::Mutex;

/// Samples of the last while.
#[derive(Debug)]
pub(crate) struct Overlay {
    span: Duration,
    samples_max: usize,
    recent: Mutex<Recent>,
}

#[derive(Debug)]
struct Recent {
    by_name: HashMap<String, HashMap<Labels, Vec<Sample>>>,
    samples: usize,
    newest: Timestamp,
    swept: Timestamp,
}

impl Overlay {
    /// Empty; samples stay until others are this much newer, and never more than so many. With a span of zero none do.
    pub(crate) fn new(span: Duration, samples_max: usize) -> Self {
        let (newest, swept) = (Timestamp::MIN, Timestamp::MIN);
        let recent = Recent { by_name: HashMap::new(), samples: 0, newest, swept };
        Self { span, samples_max, recent: Mutex::new(recent) }
    }

    /// Keeps what was written. Beyond the limit nothing more is kept until older samples have gone: then the store's
    /// own delay shows again.
    pub(crate) fn put(&self, series: Vec<Series>) {
        if self.span.is_zero() {
            return;
        }
        let mut recent = self.recent.lock();
        for one in &series {
            let last = one.samples.iter().map(|sample| sample.timestamp).max();
            recent.newest = recent.newest.max(last.unwrap_or(Timestamp::MIN));
        }
        if recent.newest.since(recent.swept) >= self.span / 4 {
            recent.sweep(self.span);
        }
        for one in series {
            if recent.samples + one.samples.len() > self.samples_max {
                return;
            }
            recent.samples += one.samples.len();
            let name = one.labels.metric_name().to_owned();
            let kept = recent.by_name.entry(name).or_default().entry(one.labels).or_default();
            kept.extend(one.samples);
            kept.sort_by_key(|sample| sample.timestamp);
        }
    }

    /// Whether something that was written falls into a selection.
    pub(crate) fn concerns(&self, selection: &Selection) -> bool {
        let recent = self.recent.lock();
        recent.within(selection).next().is_some()
    }

    /// The stored series with what was written: at the same moment what was written counts, and where only the newest
    /// sample matters it is the newest of both.
    pub(crate) fn join(&self, selection: &Selection, stored: Vec<Series>) -> Vec<Series> {
        let recent = self.recent.lock();
        let mut written: HashMap<&Labels, Vec<Sample>> = recent.within(selection).collect();
        if written.is_empty() {
            return stored;
        }
        let mut joined = Vec::with_capacity(stored.len() + written.len());
        for mut series in stored {
            if let Some(more) = written.remove(&series.labels) {
                series.samples = merged(&series.samples, &more);
            }
            joined.push(series);
        }
        let new =
            |(labels, samples): (&Labels, Vec<Sample>)| Series { labels: labels.clone(), samples };
        joined.extend(written.into_iter().map(new));
        joined
    }
}

impl Recent {
    fn within<'r>(
        &'r self,
        selection: &'r Selection,
    ) -> impl Iterator<Item = (&'r Labels, Vec<Sample>)> {
        let name = selection
            .matchers
            .iter()
            .find(|matcher| matcher.op == MatchOp::Equal && matcher.name == METRIC_NAME);
        let all = self
            .by_name
            .iter()
            .filter(move |(known, _)| name.is_none_or(|wanted| wanted.value == **known));
        let series = all.flat_map(|(_, series)| series);
        series.filter_map(move |(labels, samples)| {
            let matches =
                |matcher: &model::Matcher| matcher.matches(labels.get(&matcher.name).unwrap_or(""));
            if !selection.matchers.iter().all(matches) {
                return None;
            }
            let is_within = |sample: &&Sample| {
                selection.start <= sample.timestamp && sample.timestamp <= selection.end
            };
            let inside: Vec<Sample> = samples.iter().filter(is_within).copied().collect();
            (!inside.is_empty()).then_some((labels, inside))
        })
    }

    fn sweep(&mut self, span: Duration) {
        let oldest = self.newest.minus(span);
        for series in self.by_name.values_mut() {
            for samples in series.values_mut() {
                samples.retain(|sample| sample.timestamp >= oldest);
            }
            series.retain(|_, samples| !samples.is_empty());
        }
        self.by_name.retain(|_, series| !series.is_empty());
        self.samples = self.by_name.values().flat_map(HashMap::values).map(Vec::len).sum();
        self.swept = self.newest;
    }
}

/// Both in order of time; of two at one moment that of `written`.
fn merged(stored: &[Sample], written: &[Sample]) -> Vec<Sample> {
    let mut all: Vec<Sample> = written.iter().chain(stored).copied().collect();
    // The sort is stable, so what was written comes first among equals.
    all.sort_by_key(|sample| sample.timestamp);
    all.dedup_by_key(|sample| sample.timestamp);
    all
}

#[cfg(test)]
mod tests {
    use model::Matcher;

    use super::*;

    fn labels(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name), ("job", "a")])
    }

    fn series(name: &str, samples: &[(i64, f64)]) -> Series {
        let samples = samples.iter().map(|(at, value)| Sample::new(*at, *value)).collect();
        Series { labels: labels(name), samples }
    }

    fn selection(label: &str, value: &str, start: i64, end: i64) -> Selection {
        let matcher = Matcher::new(label, MatchOp::Equal, value).expect("it is valid");
        Selection { matchers: vec![matcher], start: Timestamp(start), end: Timestamp(end) }
    }

    fn overlay(samples_max: usize) -> Overlay {
        let overlay = Overlay::new(Duration::from_secs(10), samples_max);
        overlay.put(vec![series("a", &[(1_000, 1.0)]), series("b", &[(1_000, 2.0)])]);
        overlay
    }

    #[test]
    fn what_was_written_is_found_by_its_labels_and_time() {
        let overlay = overlay(100);
        assert!(overlay.concerns(&selection("__name__", "a", 0, 1_000)));
        assert!(overlay.concerns(&selection("job", "a", 1_000, 2_000)));
        assert!(!overlay.concerns(&selection("__name__", "a", 1_001, 2_000)));
        assert!(!overlay.concerns(&selection("__name__", "c", 0, 9_000)));
        assert!(!overlay.concerns(&selection("job", "b", 0, 9_000)));
    }

    #[test]
    fn it_is_joined_with_what_the_store_has() {
        let stored = vec![series("a", &[(500, 7.0), (1_000, 8.0)])];
        let joined = overlay(100).join(&selection("job", "a", 0, 1_000), stored);
        assert_eq!(
            joined,
            [series("a", &[(500, 7.0), (1_000, 1.0)]), series("b", &[(1_000, 2.0)])]
        );
    }

    #[test]
    fn old_samples_go_and_no_more_are_kept_than_may_be() {
        let overlay = overlay(3);
        overlay.put(vec![series("a", &[(2_000, 1.0)]), series("b", &[(2_000, 2.0)])]);
        assert!(!overlay.concerns(&selection("__name__", "b", 2_000, 2_000)), "there was no room");
        overlay.put(vec![series("b", &[(60_000, 3.0)])]);
        assert!(!overlay.concerns(&selection("job", "a", 0, 2_000)), "they are old");
        assert!(overlay.concerns(&selection("__name__", "b", 60_000, 60_000)));
    }
}
