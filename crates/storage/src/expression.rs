//! Answers a PromQL expression: plan it, fetch what the plan names, evaluate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::{Selection, Series};
use promql::{EvalError, Expr, Output, Params, Plan, PlanError, SeriesSet};
use thiserror::Error;
use tokio::time::Instant;

use crate::query::Stop;
use crate::reading::Store;
use crate::remote::RemoteError;
use crate::storage::{Place, Reader};

// A query within all of these is answered on the thread that asks. Others wait for that thread meanwhile, so what it
// does must end soon: the time is looked at between series, the rest bounds what is done in between.
const AT_ONCE_SERIES_MAX: usize = 256;
const AT_ONCE_SAMPLES_MAX: usize = 2_048;
const AT_ONCE_STEPS_MAX: u128 = 128;
const AT_ONCE_TIME_MAX: Duration = Duration::from_micros(200);

/// Why an expression has no answer.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The expression does not fit the times or limits asked for.
    #[error(transparent)]
    Plan(PlanError),
    /// The evaluation failed.
    #[error(transparent)]
    Evaluate(EvalError),
    /// A block is damaged. It has been set aside, and the next query goes on without its samples.
    #[error("{0}; the block has been set aside, the next query is answered without it")]
    Damaged(String),
    /// A remote store did not answer.
    #[error(transparent)]
    Remote(RemoteError),
    /// The time allowed was over.
    #[error("query timed out in query execution after {} s: narrow its selectors or its range", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The task that evaluated was cancelled or panicked.
    #[error("the evaluation was interrupted")]
    Interrupted,
}

/// Answers an expression from the store. The work is done apart from the async threads; it ends early when `timeout`
/// is over, and when the returned future is dropped because nobody waits for it any more.
pub async fn query(
    reader: &Reader,
    expr: &Expr,
    params: Params,
    timeout: Duration,
) -> Result<Output, QueryError> {
    query_then(reader, expr, params, timeout, |output| output).await
}

/// As [`query`], and goes on with the output on the same thread: writing a large answer takes long as well, and every
/// change of threads costs as much as a small query.
pub async fn query_then<T: Send + 'static>(
    reader: &Reader,
    expr: &Expr,
    params: Params,
    timeout: Duration,
    then: impl FnOnce(Output) -> T + Send + 'static,
) -> Result<T, QueryError> {
    if timeout.is_zero() {
        // A timer would take a millisecond to notice, which is enough for some answers and not for others.
        return Err(QueryError::TimedOut(timeout));
    }
    let here = match reader.place() {
        Place::Here(here) => here,
        Place::Remote(remote) => return remote.query(expr, params, timeout).await.map(then),
    };
    if let Some(output) = answer_at_once(here.store(), expr, &params) {
        return Ok(then(output));
    }
    let limit = params.limits.samples_max;
    let plan = promql::plan(expr, params).map_err(QueryError::Plan)?;
    let abandoned = SetOnDrop(Arc::default());
    let seen = Arc::clone(&abandoned.0);
    let answering = here
        .ask(move |store| answer(store, &plan, limit, &|| seen.load(Ordering::Relaxed)).map(then));
    match tokio::time::timeout(timeout, answering).await {
        Ok(answered) => answered.map_err(|_| QueryError::Interrupted)?,
        Err(_) => Err(QueryError::TimedOut(timeout)),
    }
}

/// Answers a small query on the thread that asks, which costs half of what two changes of threads do. `None` when it
/// turns out not to be small: then nothing is lost but [`AT_ONCE_TIME_MAX`].
fn answer_at_once(store: &Store, expr: &Expr, params: &Params) -> Option<Output> {
    let steps = params.end.since(params.start).as_millis() / params.step.as_millis().max(1);
    if !params.step.is_zero() && steps > AT_ONCE_STEPS_MAX {
        return None;
    }
    let mut small = params.clone();
    let limit = AT_ONCE_SAMPLES_MAX.min(params.limits.samples_max);
    small.limits.samples_max = limit;
    let plan = promql::plan(expr, small).ok()?;
    let is_small = |selection: &Selection| {
        store.is_recent(selection) && store.head.is_narrow(selection, AT_ONCE_SERIES_MAX)
    };
    if !plan.selections().iter().all(is_small) {
        return None;
    }
    let begun = Instant::now();
    // Whatever went wrong is told by the one who has all the limits and all the time.
    answer(store, &plan, limit, &|| begun.elapsed() > AT_ONCE_TIME_MAX).ok()
}

/// Fetches what the plan names and evaluates it.
fn answer(
    store: &Store,
    plan: &Plan,
    limit: usize,
    cancelled: &dyn Fn() -> bool,
) -> Result<Output, QueryError> {
    let mut inputs: Vec<Vec<Series>> = Vec::with_capacity(plan.selections().len());
    let mut left = limit;
    for (selection, hints) in plan.selections().iter().zip(plan.hints()) {
        let input =
            store.select(selection, hints, left, cancelled).map_err(|stop| refusal(stop, limit))?;
        left = left.saturating_sub(input.iter().map(|series| series.samples.len()).sum());
        inputs.push(input);
    }
    if store.natives.is_empty() {
        return promql::evaluate(plan, &inputs, cancelled).map_err(QueryError::Evaluate);
    }
    let with_natives = |(selection, floats): (&Selection, Vec<Series>)| {
        let histograms = store.natives.select(selection);
        SeriesSet { floats, histograms, starts: Vec::new() }
    };
    let inputs: Vec<SeriesSet> = plan.selections().iter().zip(inputs).map(with_natives).collect();
    promql::evaluate_samples(plan, &inputs, cancelled).map_err(QueryError::Evaluate)
}

/// Evaluates a plan over series that were fetched already: apart from the async threads, within `limit`, and not on
/// when the returned future is dropped because nobody waits for it any more.
pub async fn evaluate_within(
    plan: Plan,
    inputs: Vec<Vec<Series>>,
    limit: Duration,
) -> Result<Output, QueryError> {
    let until = Instant::now() + limit;
    let abandoned = SetOnDrop(Arc::default());
    let seen = Arc::clone(&abandoned.0);
    let work = move || {
        let is_over = || seen.load(Ordering::Relaxed) || Instant::now() >= until;
        promql::evaluate(&plan, &inputs, &is_over)
    };
    let output = tokio::task::spawn_blocking(work).await;
    output.map_err(|_| QueryError::Interrupted)?.map_err(|error| match error {
        EvalError::Cancelled => QueryError::TimedOut(limit),
        other => QueryError::Evaluate(other),
    })
}

/// Why a selection was not read to its end, as the error of the query.
pub(crate) fn refusal(stop: Stop, limit: usize) -> QueryError {
    match stop {
        Stop::TooManySamples => QueryError::Evaluate(EvalError::TooManySamples { limit }),
        Stop::Cancelled => QueryError::Evaluate(EvalError::Cancelled),
        Stop::Damaged(text) => QueryError::Damaged(text),
    }
}

/// Tells an evaluation on another thread that nobody waits for it any more.
pub(crate) struct SetOnDrop(pub(crate) Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use model::{Labels, Sample, Timestamp};
    use promql::Value;

    use super::*;
    use crate::{Batch, Limits, Storage};

    const NOW: Timestamp = Timestamp(600_000);

    fn here(reader: &Reader) -> &crate::storage::Here {
        match reader.place() {
            Place::Here(here) => here,
            Place::Remote(_) => panic!("it is in memory"),
        }
    }

    async fn reader() -> Reader {
        let storage = Storage::memory(Limits::default());
        let series = ["a", "b"].map(|host| Series {
            labels: Labels::from_pairs([("__name__", "up"), ("endpoint", host)]),
            samples: (0..=60).map(|n| Sample::new(n * 10_000, 1.0)).collect(),
        });
        let batch = Batch { series: series.to_vec(), metadata: vec![] };
        storage.writer().write(batch).await.expect("memory takes it");
        storage.reader()
    }

    async fn ask(text: &str, params: Params, timeout: Duration) -> Result<Output, QueryError> {
        let expr = promql::parse(text).expect("it is PromQL");
        query(&reader().await, &expr, params, timeout).await
    }

    #[tokio::test]
    async fn an_expression_is_answered_from_the_store() {
        let answer = ask("sum(up)", Params::instant(NOW), Duration::from_secs(60))
            .await
            .expect("it is good");
        assert_eq!(answer.value, Value::Vector(vec![(Labels::empty(), Sample::new(600_000, 2.0))]));
        let range = Params::range(Timestamp(0), NOW, Duration::from_secs(60));
        let answer = ask("count_over_time(up[1m]) > 5", range, Duration::from_secs(60))
            .await
            .expect("it is good");
        let Value::Matrix(matrix) = answer.value else { panic!("a range query gives a matrix") };
        assert_eq!((matrix.len(), matrix[0].samples.len()), (2, 10));
    }

    #[tokio::test]
    async fn native_histograms_of_a_store_in_memory_are_seen() {
        let storage = Storage::memory(Limits::default());
        let histogram = |count| promql::Histogram { count, ..promql::Histogram::default() };
        let sample = |minute: i64| promql::HistogramSample {
            timestamp: Timestamp(minute * 60_000),
            histogram: Arc::new(histogram(minute as f64)),
        };
        let labels = Labels::from_pairs([("__name__", "latency"), ("endpoint", "a")]);
        let put = |range: std::ops::Range<i64>| {
            let samples = range.map(sample).collect();
            storage
                .put_histograms(vec![promql::HistogramSeries { labels: labels.clone(), samples }])
        };
        assert!(put(0..5) && put(5..11));
        let ask = async |text: &str| {
            let expr = promql::parse(text).expect("it is PromQL");
            let reader = storage.reader();
            let output = query(&reader, &expr, Params::instant(NOW), Duration::from_secs(60)).await;
            output.expect("it is good")
        };
        let Value::Vector(counts) = ask("histogram_count(latency offset 5m)").await.value else {
            panic!("an instant vector")
        };
        assert_eq!(counts[0].1.value, 5.0);
        let ten = ask("latency").await;
        assert_eq!((ten.value, ten.histograms.len()), (Value::Vector(Vec::new()), 1));
        assert!(ask("latency{endpoint=\"b\"}").await.histograms.is_empty());
    }

    #[tokio::test]
    async fn a_query_that_does_not_fit_its_limits_says_so() {
        let mut params = Params::instant(NOW);
        params.limits.samples_max = 10;
        let error = ask("sum_over_time(up[10m])", params, Duration::from_secs(60))
            .await
            .expect_err("121 samples");
        assert!(
            matches!(error, QueryError::Evaluate(EvalError::TooManySamples { limit: 10 })),
            "{error}"
        );
    }

    #[tokio::test]
    async fn the_samples_of_all_selections_count_together() {
        let mut params = Params::instant(NOW);
        params.limits.samples_max = 140;
        let one =
            ask("sum(count_over_time(up[10m]))", params.clone(), Duration::from_secs(60)).await;
        assert!(one.is_ok(), "{one:?}");
        let two = "sum(count_over_time(up[5m])) + sum(count_over_time(up[6m] offset 3m)) + count(up offset 9m)";
        let error = ask(two, params, Duration::from_secs(60)).await.expect_err("146 samples");
        assert!(
            matches!(error, QueryError::Evaluate(EvalError::TooManySamples { limit: 140 })),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_query_without_time_left_times_out() {
        let error =
            ask("up", Params::instant(NOW), Duration::ZERO).await.expect_err("there was no time");
        assert!(matches!(error, QueryError::TimedOut(_)), "{error}");
        assert!(
            error.to_string().starts_with("query timed out in query execution after 0 s"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn what_follows_sees_the_output_and_is_left_out_after_an_error() {
        let ask = async |text: &str| {
            let expr = promql::parse(text).expect("it is PromQL");
            let params = Params::instant(NOW);
            query_then(&reader().await, &expr, params, Duration::from_secs(60), |output| {
                output.value
            })
            .await
        };
        let sum = Value::Vector(vec![(Labels::empty(), Sample::new(600_000, 2.0))]);
        assert_eq!(ask("sum(up)").await.expect("it is good"), sum);
        assert!(ask("up + on () up").await.is_err());
    }

    #[tokio::test]
    async fn a_query_that_nobody_waits_for_reads_no_further() {
        let reader = reader().await;
        let expr = promql::parse("up").expect("it is PromQL");
        let plan = promql::plan(&expr, Params::instant(NOW)).expect("it fits");
        let answered = here(&reader)
            .ask(move |store| answer(store, &plan, 1_000, &|| true))
            .await
            .expect("it ran");
        assert!(
            matches!(answered, Err(QueryError::Evaluate(EvalError::Cancelled))),
            "{answered:?}"
        );
    }

    #[tokio::test]
    async fn an_evaluation_over_fetched_series_keeps_its_time() {
        let evaluated = async |limit| {
            let expr = promql::parse("sum(up)").expect("it is PromQL");
            let plan = promql::plan(&expr, Params::instant(NOW)).expect("it fits");
            let series = reader().await.select(&plan.selections()[0]).await.expect("it is there");
            evaluate_within(plan, vec![series], limit).await
        };
        let sum = Value::Vector(vec![(Labels::empty(), Sample::new(600_000, 2.0))]);
        assert_eq!(evaluated(Duration::from_secs(60)).await.expect("it is good").value, sum);
        let late = evaluated(Duration::ZERO).await;
        assert!(matches!(late, Err(QueryError::TimedOut(_))), "{late:?}");
    }

    #[tokio::test]
    async fn only_what_is_small_is_answered_at_once() {
        let reader = reader().await;
        let at_once = |text: &str, params: &Params| {
            let expr = promql::parse(text).expect("it is PromQL");
            answer_at_once(here(&reader).store(), &expr, params)
        };
        let instant = Params::instant(NOW);
        assert!(at_once("no_such_metric", &instant).is_some());
        for large in ["{__name__=~\"u.*\"}", "max_over_time(up[1h:1s])", "up + on () up"] {
            assert!(at_once(large, &instant).is_none(), "{large}");
        }
        let range = Params::range(Timestamp(0), NOW, Duration::from_secs(1));
        assert!(at_once("no_such_metric", &range).is_none());
        let mut limited = instant;
        limited.limits.samples_max = 10;
        assert!(at_once("sum_over_time(up[10m])", &limited).is_none());
    }

    #[test]
    fn dropping_the_guard_tells_the_evaluation() {
        let guard = SetOnDrop(Arc::default());
        let seen = Arc::clone(&guard.0);
        assert!(!seen.load(Ordering::Relaxed));
        drop(guard);
        assert!(seen.load(Ordering::Relaxed));
    }
}
