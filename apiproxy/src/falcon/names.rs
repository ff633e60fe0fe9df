//! Original names and numbers of what there is. Pure.
//!
//! The original's API passes ids of its database around. Ours are made from the name, so that they are the same
//! in every data centre and after every restart.

use std::collections::HashMap;

use model::{ENDPOINT, Labels, Metadata, MetricKind, PatternScope, compile_pattern};
use regex::Regex;
use wire::falcon_json::{self, CounterType};

/// Seconds between two samples of a metric that does not say.
const STEP_DEFAULT: i64 = 60;

/// What the original knew of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) counter_type: CounterType,
    pub(crate) step: i64,
}

/// All metrics that have metadata, by the name of their series.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<String, Metric>);

impl Names {
    /// From the metadata of a store.
    pub(crate) fn new(metadata: Vec<(String, Metadata)>) -> Self {
        let metric = |(name, about): (String, Metadata)| {
            let known = falcon_json::original(&about.help).map(|original| Metric {
                name: original.metric.to_owned(),
                counter_type: original.counter_type,
                step: original.step.max(1),
            });
            let counter_type = match about.kind {
                MetricKind::Counter => CounterType::Counter,
                _ => CounterType::Gauge,
            };
            let unknown = || Metric { name: name.clone(), counter_type, step: STEP_DEFAULT };
            (name.clone(), known.unwrap_or_else(unknown))
        };
        Self(metadata.into_iter().map(metric).collect())
    }

    /// The metric of a series, by the name of the series.
    pub(crate) fn metric(&self, name: &str) -> Metric {
        self.0.get(name).cloned().unwrap_or_else(|| Metric {
            name: name.to_owned(),
            counter_type: CounterType::Gauge,
            step: STEP_DEFAULT,
        })
    }

    /// `metric/k=v,k2=v2`, as the original calls a series.
    pub(crate) fn counter(&self, series: &Labels) -> String {
        falcon_json::counter_name(&self.metric(series.metric_name()).name, series)
    }
}

/// The number of an endpoint or group, made from its name: 52 bits, which every client can hold.
pub(crate) fn number_of(name: &str) -> u64 {
    Labels::from_pairs([(ENDPOINT, name)]).hash() >> 12
}

/// Regular expressions divided by spaces, all of which a text must hold; one behind `!` it must not.
#[derive(Debug)]
pub(crate) struct Words(Vec<(Regex, bool)>);

impl Words {
    /// The error is a sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let word = |word: &str| {
            let (pattern, is_wanted) = word.strip_prefix('!').map_or((word, true), |p| (p, false));
            let regex = compile_pattern(pattern, PatternScope::Part);
            regex.map(|regex| (regex, is_wanted)).map_err(|error| format!("{word}: {error}"))
        };
        text.split_whitespace().map(word).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a text has all that is wanted and nothing that is not.
    pub(crate) fn match_text(&self, text: &str) -> bool {
        self.0.iter().all(|(regex, is_wanted)| regex.is_match(text) == *is_wanted)
    }
}

/// A page of a list: `limit` items, pages from 1 on.
pub(crate) fn page<T>(list: impl Iterator<Item = T>, limit: usize, page: usize) -> Vec<T> {
    list.skip(limit.saturating_mul(page.saturating_sub(1))).take(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_the_name_that_it_was_given() {
        let help = "Open-Falcon metric df.bytes.used, GAUGE, step 30 s.".to_owned();
        let about = Metadata { kind: MetricKind::Gauge, help, unit: String::new() };
        let names = Names::new(vec![("df_bytes_used".to_owned(), about)]);
        let pairs = [("__name__", "df_bytes_used"), ("endpoint", "a"), ("mount", "/")];
        assert_eq!(names.counter(&Labels::from_pairs(pairs)), "df.bytes.used/mount=/");
        assert_eq!(names.metric("df_bytes_used").step, 30);
        assert_eq!(names.metric("up").name, "up");
    }

    #[test]
    fn all_words_must_be_there_but_those_behind_an_exclamation_mark() {
        let words = Words::parse("^cpu !idle").expect("they are patterns");
        assert!(words.match_text("cpu.busy"));
        assert!(!words.match_text("cpu.idle") && !words.match_text("a.cpu.busy"));
        assert!(Words::parse("a(").is_err());
    }

    #[test]
    fn an_endpoint_has_a_number_that_javascript_can_hold() {
        assert!(number_of("db-07") < 1 << 53);
        assert_ne!(number_of("db-07"), number_of("db-08"));
    }

    #[test]
    fn pages_are_counted_from_one() {
        assert_eq!(page(0..5, 2, 1), [0, 1]);
        assert_eq!(page(0..5, 2, 3), [4]);
        assert_eq!(page(0..5, 2, 0), [0, 1]);
        assert!(page(0..5, 2, 9).is_empty());
    }
}
