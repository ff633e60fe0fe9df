//! What becomes of the samples of a series, for somebody who misses them. Nothing is kept until
//! somebody asks; from then on, for five minutes, matching series pass the corridor one by one, so
//! that the outcome of each is known.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{ENDPOINT, Labels, METRIC_NAME, Sample, Timestamp, canonical_name};
use serde::Serialize;

use crate::ingest::{Incoming, Original, Originals, Verdict};
use crate::reason::Refusals;

/// How long samples are watched after somebody asked.
pub(crate) const INTEREST: Duration = Duration::from_secs(300);
/// Questions at a time.
pub(crate) const WATCHES_MAX: usize = 16;
/// Series kept for a question; the oldest go first.
const PASSED_MAX: usize = 100;
/// Series of one request that go one by one; further ones go with the others, unseen.
const SERIES_PER_REQUEST_MAX: usize = 100;
/// Samples of one series of one request that are shown.
const SAMPLES_MAX: usize = 10;

/// Which series somebody asks for; at least one of the two is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Question {
    pub(crate) endpoint: Option<String>,
    /// As it was sent or as it is stored.
    pub(crate) metric: Option<String>,
}

impl Question {
    fn matches(&self, labels: &Labels) -> bool {
        let is = |wanted: &Option<String>, label: &str, map: fn(&str) -> String| match wanted {
            Some(wanted) => {
                labels.get(label).is_some_and(|value| value == wanted || value == map(wanted))
            }
            None => true,
        };
        is(&self.endpoint, ENDPOINT, str::to_owned) && is(&self.metric, METRIC_NAME, canonical_name)
    }
}

/// A series of one request, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Passed {
    received: String,
    protocol: &'static str,
    /// As the client named it.
    series: String,
    /// As relabelling names it, when that is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    relabelled: Option<String>,
    /// Moment and value of each.
    samples: Vec<(String, String)>,
    /// `stored` or `handed on`, or how many samples were refused for which reason.
    outcome: String,
    /// The destinations it was handed on to; none where the store of this process is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    destinations: Vec<String>,
}

/// What is known about a question.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Answer {
    #[serde(flatten)]
    question: Question,
    watched_until: String,
    /// The oldest first.
    passed: Vec<Passed>,
}

/// The questions of the last five minutes, bounded.
#[derive(Debug)]
pub(crate) struct Trace {
    watches: Mutex<Vec<Watch>>,
    /// Until when there is any, so that the corridor need not look when nobody asks.
    until: AtomicI64,
}

#[derive(Debug)]
struct Watch {
    question: Question,
    until: Timestamp,
    passed: VecDeque<Passed>,
}

impl Default for Trace {
    fn default() -> Self {
        Self { watches: Mutex::default(), until: AtomicI64::new(i64::MIN) }
    }
}

impl Trace {
    /// What is known, and from now on watched for; `None` when too much is watched already.
    pub(crate) fn ask(&self, question: Question, now: Timestamp) -> Option<Answer> {
        let until = now.plus(INTEREST);
        let mut watches = self.watches();
        watches.retain(|watch| watch.until > now);
        let is_full = watches.len() >= WATCHES_MAX;
        let known = watches.iter_mut().find(|watch| watch.question == question);
        let passed = match known {
            Some(watch) => {
                watch.until = until;
                watch.passed.iter().cloned().collect()
            }
            None if is_full => return None,
            None => {
                watches.push(Watch { question: question.clone(), until, passed: VecDeque::new() });
                Vec::new()
            }
        };
        self.until.fetch_max(until.millis(), Ordering::Relaxed);
        Some(Answer { question, watched_until: until.rfc3339(), passed })
    }

    /// Whether somebody asks for anything.
    pub(crate) fn is_watching(&self, now: Timestamp) -> bool {
        self.until.load(Ordering::Relaxed) > now.millis()
    }

    /// Takes the series that somebody asks for out of a request, each as a request of its own.
    pub(crate) fn pick(&self, incoming: &mut Incoming, now: Timestamp) -> Vec<Incoming> {
        if !self.is_watching(now) {
            return Vec::new();
        }
        let watches = self.watches();
        let wanted = |labels: &Labels| {
            watches.iter().any(|watch| watch.until > now && watch.question.matches(labels))
        };
        let mut picked = Vec::new();
        let originals = incoming.originals.take();
        let mut of_series = Vec::new();
        for (at, series) in std::mem::take(&mut incoming.series).into_iter().enumerate() {
            let original = originals.as_ref().and_then(|all| all.of_series.get(at));
            if picked.len() < SERIES_PER_REQUEST_MAX && wanted(&series.labels) {
                let own =
                    originals.as_ref().zip(original).and_then(|(all, at)| all.metrics.get(*at));
                picked.push(Incoming {
                    series: vec![series],
                    originals: own.map(one_original),
                    token: incoming.token,
                    ..Incoming::new(incoming.protocol)
                });
                continue;
            }
            of_series.extend(original);
            incoming.series.push(series);
        }
        incoming.originals = originals.map(|all| Originals { of_series, ..all });
        picked
    }

    /// Notes what became of a series that was picked.
    pub(crate) fn note(&self, labels: &Labels, passed: &Passed, now: Timestamp) {
        for watch in self.watches().iter_mut() {
            if watch.until > now && watch.question.matches(labels) {
                if watch.passed.len() >= PASSED_MAX {
                    watch.passed.pop_front();
                }
                watch.passed.push_back(passed.clone());
            }
        }
    }

    fn watches(&self) -> MutexGuard<'_, Vec<Watch>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn one_original(original: &Original) -> Originals {
    Originals { metrics: vec![original.clone()], of_series: vec![0] }
}

impl Passed {
    /// Before it is known what becomes of it; `relabelled` is `None` when a rule drops it.
    pub(crate) fn new(
        protocol: &'static str,
        labels: &Labels,
        samples: &[Sample],
        relabelled: Option<&Labels>,
        now: Timestamp,
    ) -> Self {
        let text = |sample: &Sample| (sample.timestamp.rfc3339(), sample.value.to_string());
        Self {
            received: now.rfc3339(),
            protocol,
            series: labels.to_string(),
            relabelled: relabelled.filter(|other| *other != labels).map(Labels::to_string),
            samples: samples.iter().take(SAMPLES_MAX).map(text).collect(),
            outcome: String::new(),
            destinations: Vec::new(),
        }
    }

    /// With what became of it.
    pub(crate) fn with_outcome(self, verdict: &Verdict, destinations: Vec<String>) -> Self {
        let mut parts: Vec<String> = reasons(&verdict.refusals);
        let word = if destinations.is_empty() { "stored" } else { "handed on" };
        let is_all = parts.is_empty();
        if verdict.stored > 0 {
            let first = if is_all { word.to_owned() } else { format!("{} {word}", verdict.stored) };
            parts.insert(0, first);
        }
        Self { outcome: parts.join(", "), destinations, ..self }
    }

    /// When the way out did not take the request.
    pub(crate) fn with_error(self, error: &str) -> Self {
        Self { outcome: format!("not taken: {error}"), ..self }
    }
}

fn reasons(refusals: &Refusals) -> Vec<String> {
    refusals.by_reason().map(|(reason, samples)| format!("{samples} {}", reason.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use model::Series;

    use super::*;
    use crate::metrics::Protocol;

    const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);

    fn question(endpoint: &str, metric: &str) -> Question {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Question { endpoint: some(endpoint), metric: some(metric) }
    }

    fn labels(endpoint: &str, name: &str) -> Labels {
        Labels::from_pairs([("endpoint", endpoint), ("__name__", name)])
    }

    fn incoming() -> Incoming {
        let mut incoming = Incoming::new(Protocol::Falcon);
        let series =
            |name| Series { labels: labels("a", name), samples: vec![Sample::new(1, 1.0)] };
        incoming.series = vec![series("x"), series("cpu_idle"), series("y")];
        let original = |name: &str| Original {
            name: name.to_owned(),
            canonical: canonical_name(name),
            metadata: model::Metadata::default(),
        };
        let metrics = vec![original("x"), original("y"), original("cpu.idle")];
        incoming.originals = Some(Originals { metrics, of_series: vec![0, 2, 1] });
        incoming
    }

    #[test]
    fn a_question_matches_the_name_as_sent_or_as_stored() {
        let idle = labels("a", "cpu_idle");
        for (endpoint, metric) in
            [("a", "cpu.idle"), ("a", "cpu_idle"), ("", "cpu-idle"), ("a", "")]
        {
            assert!(question(endpoint, metric).matches(&idle), "{endpoint} {metric}");
        }
        assert!(!question("b", "cpu.idle").matches(&idle) && !question("a", "cpu").matches(&idle));
    }

    #[test]
    fn what_is_asked_for_is_picked_with_its_original_and_only_for_a_while() {
        let trace = Trace::default();
        assert!(trace.pick(&mut incoming(), NOW).is_empty(), "nobody asks");
        assert!(trace.ask(question("a", "cpu.idle"), NOW).is_some());
        let mut rest = incoming();
        let picked = trace.pick(&mut rest, NOW);
        assert_eq!(picked.len(), 1);
        let originals = picked[0].originals.as_ref().expect("it has a name of its own");
        assert_eq!(
            (originals.metrics[0].name.as_str(), originals.of_series.as_slice()),
            ("cpu.idle", &[0][..])
        );
        let names: Vec<&str> = rest.series.iter().map(|one| one.labels.metric_name()).collect();
        assert_eq!(
            (names, rest.originals.expect("they too").of_series),
            (vec!["x", "y"], vec![0, 1])
        );
        assert!(trace.pick(&mut incoming(), NOW.plus(INTEREST)).is_empty(), "the interest is over");
    }

    #[test]
    fn questions_and_what_is_kept_for_them_are_bounded() {
        let trace = Trace::default();
        for at in 0..WATCHES_MAX {
            assert!(trace.ask(question(&format!("h{at}"), ""), NOW).is_some());
        }
        assert!(trace.ask(question("more", ""), NOW).is_none());
        let of_host = labels("h0", "x");
        for value in 0..150 {
            let sample = [Sample::new(0, f64::from(value))];
            let passed = Passed::new("line", &of_host, &sample, Some(&of_host), NOW);
            trace.note(&of_host, &passed, NOW);
        }
        let answer = trace.ask(question("h0", ""), NOW).expect("it is known");
        assert_eq!((answer.passed.len(), answer.passed[0].samples[0].1.as_str()), (100, "50"));
        assert!(
            trace.ask(question("more", ""), NOW.plus(INTEREST)).is_some(),
            "the others are over"
        );
    }
}
