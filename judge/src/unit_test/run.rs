//! Runs one test: fills a store as time goes by, evaluates the groups, and looks at what fires.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{ALERT_NAME, Labels, Sample, Series, Timestamp, format_duration};
use promql::{Histogram, HistogramSample, HistogramSeries, Params, Value};
use storage::{Batch, Limits, Storage};

use super::compare::{self, Fired, Got};
use super::natives::Natives;
use super::series::{Item, read_labels, read_values};
use super::spec::{AlertTest, ExprTest, TestFile, TestGroup};
use crate::eval::{Alone, Evaluator};
use crate::group::{GroupRun, Health};
use crate::metrics::Metrics;
use crate::pass::Passes;
use crate::rules::{RuleGroup, RuleKind};
use crate::template::Surroundings;

/// A query of a test that takes longer fails.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(100);
/// Evaluations of one test; more are a mistake in a time.
const EVALUATIONS_MAX: u128 = 1_000_000;

/// Runs a test; answers what failed.
pub(crate) async fn run(
    test: &TestGroup,
    file: &TestFile,
    interval: Duration,
    groups: Vec<Arc<RuleGroup>>,
) -> Vec<String> {
    match Course::new(test, file, interval, groups) {
        Ok(mut course) => match course.evaluate().await {
            Ok(()) => {
                let mut failures = std::mem::take(&mut course.failures);
                for expected in &test.promql_expr_test {
                    failures.extend(course.expression(expected).await);
                }
                failures
            }
            Err(mut faults) => {
                let mut failures = std::mem::take(&mut course.failures);
                failures.append(&mut faults);
                failures
            }
        },
        Err(fault) => vec![fault],
    }
}

struct Course<'a> {
    test: &'a TestGroup,
    start: Timestamp,
    evaluation_interval: Duration,
    fuzzy: bool,
    storage: Storage,
    evaluator: Evaluator,
    runs: Vec<GroupRun>,
    /// Series with what of them is not in the store yet, in the order of time.
    waiting: Vec<(Labels, std::vec::IntoIter<Sample>)>,
    /// Native histograms.
    natives: Natives,
    failures: Vec<String>,
}

impl<'a> Course<'a> {
    fn new(
        test: &'a TestGroup,
        file: &TestFile,
        interval: Duration,
        groups: Vec<Arc<RuleGroup>>,
    ) -> Result<Self, String> {
        let start = match &test.start_timestamp {
            Some(text) => wire::prom_api::parse_time(text)
                .ok_or_else(|| format!("start_timestamp {text:?} is no moment"))?,
            None => Timestamp(0),
        };
        if file.evaluation_interval.is_zero() {
            return Err("evaluation_interval must be longer than nothing".to_owned());
        }
        if test.alert_rule_test.iter().any(|expected| expected.alertname.is_empty()) {
            return Err("an item of alert_rule_test has no alertname".to_owned());
        }
        // Retention and window are wide: a test may span years, and series come one after the other.
        let storage = Storage::memory(Limits {
            retention: Duration::from_secs(u64::from(u32::MAX)),
            ..Limits::default()
        });
        let surroundings = Surroundings {
            external_labels: Labels::from_pairs(&test.external_labels),
            external_url: test.external_url.clone(),
        };
        let metrics = Metrics::default();
        let (waiting, natives) = inputs(test, start, interval)?;
        Ok(Self {
            test,
            start,
            evaluation_interval: file.evaluation_interval,
            fuzzy: file.fuzzy_compare,
            evaluator: Evaluator {
                reader: storage.reader(),
                writer: storage.writer(),
                query_timeout: QUERY_TIMEOUT,
                rules_max: 1,
                settle_time: Duration::ZERO,
                surroundings,
                passes: Passes::off(),
                alone: Alone::default(),
                metrics,
            },
            storage,
            runs: groups.into_iter().map(GroupRun::new).collect(),
            waiting,
            natives,
            failures: Vec::new(),
        })
    }

    /// Evaluates all groups at every interval, and compares the alerts whose time has come. An evaluation that
    /// fails ends the test.
    async fn evaluate(&mut self) -> Result<(), Vec<String>> {
        let last = self.last();
        if last.as_millis() / self.evaluation_interval.as_millis().max(1) > EVALUATIONS_MAX {
            return Err(vec![format!(
                "more than {EVALUATIONS_MAX} evaluations until the last time"
            )]);
        }
        let mut expected: Vec<&AlertTest> = self.test.alert_rule_test.iter().collect();
        expected.sort_by_key(|expected| expected.eval_time);
        let mut expected = expected.into_iter().peekable();
        let mut passed = Duration::ZERO;
        while passed <= last {
            let now = self.start.plus(passed);
            self.fill(now).await.map_err(|fault| vec![fault])?;
            for run in &mut self.runs {
                let recording = self.natives.record(&run.group, &self.storage, now);
                recording.await.map_err(|fault| vec![fault])?;
                self.evaluator.evaluate(run, now).await;
            }
            let faults: Vec<String> =
                self.runs.iter().flat_map(|run| faults(run, passed)).collect();
            if !faults.is_empty() {
                return Err(faults);
            }
            passed += self.evaluation_interval;
            while let Some(test) = expected.next_if(|test| test.eval_time < passed) {
                let failure = self.alerts(test);
                self.failures.extend(failure);
            }
        }
        Ok(())
    }

    fn last(&self) -> Duration {
        let alerts = self.test.alert_rule_test.iter().map(|expected| expected.eval_time);
        let exprs = self.test.promql_expr_test.iter().map(|expected| expected.eval_time);
        alerts.chain(exprs).max().unwrap_or_default()
    }

    /// Stores the samples up to a moment.
    async fn fill(&mut self, now: Timestamp) -> Result<(), String> {
        self.natives.fill(&self.storage, now);
        let mut series = Vec::new();
        for (labels, samples) in &mut self.waiting {
            let due = samples.as_slice().partition_point(|sample| sample.timestamp <= now);
            if due > 0 {
                let samples = samples.by_ref().take(due).collect();
                series.push(Series { labels: labels.clone(), samples });
            }
        }
        if series.is_empty() {
            return Ok(());
        }
        let batch = Batch { series, metadata: Vec::new() };
        let outcome = self.storage.writer().write(batch).await;
        match outcome.map_err(|error| error.to_string())?.refused.first() {
            None => Ok(()),
            Some(refused) => Err(format!(
                "input_series: {} samples are refused ({}), such as {}",
                refused.count,
                refused.reason.as_str(),
                refused.example
            )),
        }
    }

    fn alerts(&self, test: &AlertTest) -> Option<String> {
        let expected = test.exp_alerts.iter().map(|alert| {
            let mut labels = alert.exp_labels.clone().unwrap_or_default();
            labels.insert(ALERT_NAME.to_owned(), test.alertname.clone());
            Fired { labels, annotations: alert.exp_annotations.clone().unwrap_or_default() }
        });
        let got = self.runs.iter().flat_map(|run| firing(run, &test.alertname));
        let difference = compare::alerts(expected.collect(), got.collect())?;
        let (name, time) = (&test.alertname, format_duration(test.eval_time));
        Some(format!("alertname: {name}, time: {time},{difference}"))
    }

    async fn expression(&self, test: &ExprTest) -> Option<String> {
        let which = format!("expr: {:?}, time: {}", test.expr, format_duration(test.eval_time));
        let difference = match (self.query(test).await, expected_samples(test)) {
            (Ok(got), Ok(expected)) => compare::samples(expected, got, self.fuzzy)?,
            (Err(fault), _) | (_, Err(fault)) => format!(" err: {fault}"),
        };
        Some(format!("{which},{difference}"))
    }

    async fn query(&self, test: &ExprTest) -> Result<Vec<(Labels, Got)>, String> {
        let expr = promql::parse(&test.expr).map_err(|error| error.to_string())?;
        let mut params = Params::instant(self.start.plus(test.eval_time));
        params.subquery_step = self.evaluation_interval;
        let output = storage::query(&self.evaluator.reader, &expr, params, QUERY_TIMEOUT).await;
        let output = output.map_err(|error| error.to_string())?;
        let mut got: Vec<(Labels, Got)> = match output.value {
            Value::Vector(vector) => {
                let float = |(labels, sample): (Labels, Sample)| (labels, Got::Float(sample.value));
                vector.into_iter().map(float).collect()
            }
            Value::Scalar(sample) => vec![(Labels::empty(), Got::Float(sample.value))],
            _ => return Err("rule result is not a vector or scalar".to_owned()),
        };
        for HistogramSeries { labels, samples } in output.histograms {
            let histogram = samples.into_iter().next_back().map(|sample| sample.histogram);
            got.extend(histogram.map(|histogram| (labels, Got::Native(histogram))));
        }
        Ok(got)
    }
}

fn expected_samples(test: &ExprTest) -> Result<Vec<(Labels, Got)>, String> {
    let sample = |expected: &super::spec::ExpectedSample| {
        let labels = read_labels(&expected.labels)
            .map_err(|why| format!("labels {:?}: {why}", expected.labels))?;
        if expected.histogram.is_empty() {
            return Ok((labels, Got::Float(expected.value)));
        }
        let histogram = Histogram::parse(&expected.histogram)
            .map_err(|why| format!("histogram {:?}: {why}", expected.histogram))?;
        Ok((labels, Got::Native(Arc::new(histogram))))
    };
    test.exp_samples.iter().map(sample).collect()
}

type Waiting = Vec<(Labels, std::vec::IntoIter<Sample>)>;

fn inputs(
    test: &TestGroup,
    start: Timestamp,
    interval: Duration,
) -> Result<(Waiting, Natives), String> {
    // A series that is there twice is the one described last.
    let mut inputs = BTreeMap::new();
    for input in &test.input_series {
        let fault = |why: String| format!("input_series {:?}: {why}", input.series);
        let labels = read_labels(&input.series).map_err(fault)?;
        let values = read_values(&input.values).map_err(fault)?;
        let mut timestamp = start;
        let (mut samples, mut natives) = (Vec::new(), Vec::new());
        for value in values {
            match value {
                Item::Gap => {}
                Item::Float(value) => samples.push(Sample { timestamp, value }),
                Item::Native(histogram) => natives.push(HistogramSample { timestamp, histogram }),
            }
            timestamp = timestamp.plus(interval);
        }
        inputs.insert(labels, (samples, natives));
    }
    let (mut waiting, mut natives) = (Waiting::new(), Natives::default());
    for (labels, (samples, histograms)) in inputs {
        natives.expect(&labels, histograms);
        waiting.push((labels, samples.into_iter()));
    }
    Ok((waiting, natives))
}

fn faults(run: &GroupRun, passed: Duration) -> Vec<String> {
    let rules = run.group.rules.iter().zip(&run.rules);
    let fault = |(rule, state): (&crate::rules::Rule, &crate::group::RuleState)| match &state.health
    {
        Health::Failed(reason) => {
            let (name, time) = (&rule.name, format_duration(passed));
            Some(format!("rule: {name}, time: {time}, err: {reason}"))
        }
        _ => None,
    };
    rules.filter_map(fault).collect()
}

fn firing(run: &GroupRun, name: &str) -> Vec<Fired> {
    let is_it = |rule: &crate::rules::Rule| {
        rule.name == name && matches!(rule.kind, RuleKind::Alerting { .. })
    };
    let rules = run.group.rules.iter().zip(&run.rules).filter(|(rule, _)| is_it(rule));
    let alerts = rules.flat_map(|(_, state)| &state.alerts);
    let firing = alerts.filter(|(_, alert)| alert.phase.as_str() == "firing");
    let fired = |(labels, alert): (&Labels, &crate::alert_state::HeldAlert)| {
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Fired { labels, annotations: alert.annotations.clone() }
    };
    firing.map(fired).collect()
}
