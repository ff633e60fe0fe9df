//! The real engine over series that are given.

use std::time::Duration;

use model::{Labels, Sample, Series, Timestamp};
use promql::{Params, Value};

/// Series in memory.
#[derive(Debug, Default)]
pub(crate) struct Store {
    series: Vec<Series>,
}

impl Store {
    /// Adds a series of samples in seconds.
    pub(crate) fn add(&mut self, labels: &[(&str, &str)], samples: &[(i64, f64)]) {
        let sample = |(time, value): &(i64, f64)| Sample::new(time * 1000, *value);
        let samples = samples.iter().map(sample).collect();
        self.series.push(Series { labels: Labels::from_pairs(labels.iter().copied()), samples });
    }

    /// What an expression gives at every `step` seconds, by labels.
    pub(crate) fn ask(
        &self,
        text: &str,
        start: i64,
        end: i64,
        step: i64,
    ) -> Vec<(String, Vec<(i64, f64)>)> {
        let expr = promql::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let step = Duration::from_secs(step.unsigned_abs());
        let params =
            Params::range(Timestamp::from_seconds(start), Timestamp::from_seconds(end), step);
        let plan = promql::plan(&expr, params).unwrap();
        let inputs: Vec<Vec<Series>> =
            plan.selections().iter().map(|selection| self.select(selection)).collect();
        let output = promql::evaluate(&plan, &inputs, &|| false)
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        let Value::Matrix(series) = output.value else { panic!("a range query gives a matrix") };
        let point = |sample: &Sample| (sample.timestamp.seconds(), sample.value);
        series
            .iter()
            .map(|series| (series.labels.to_string(), series.samples.iter().map(point).collect()))
            .collect()
    }

    fn select(&self, selection: &model::Selection) -> Vec<Series> {
        let is_wanted = |series: &&Series| {
            selection
                .matchers
                .iter()
                .all(|matcher| matcher.matches(series.labels.get(&matcher.name).unwrap_or("")))
        };
        let inside = |s: &&Sample| selection.start <= s.timestamp && s.timestamp <= selection.end;
        let cut = |series: &Series| Series {
            labels: series.labels.clone(),
            samples: series.samples.iter().filter(inside).copied().collect(),
        };
        let cut = self.series.iter().filter(is_wanted).map(cut);
        cut.filter(|series| !series.samples.is_empty()).collect()
    }
}
