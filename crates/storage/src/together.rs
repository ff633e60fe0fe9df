//! Answers many expressions for one moment: what several of them read is fetched once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{Matcher, Selection, Series};
use promql::{EvalError, Expr, Hint, Output, Params, Plan};
use tokio::time::Instant;

use crate::expression::{QueryError, SetOnDrop, refusal};
use crate::reading::Store;
use crate::remote::Remote;
use crate::storage::{Place, Reader};

/// Answers expressions for one set of times, in their order, on one thread that may take its time. A
/// selection that several of them name, or that lies within another one's, is read once. `then` gets
/// the number of an expression and its answer, on that same thread. The limits hold for each
/// expression. The error is for all: the time was over, or the work was interrupted; the others come
/// one by one in their places. A store behind the network is asked one expression after another.
pub async fn query_together<T: Send + 'static>(
    reader: &Reader,
    exprs: Vec<Arc<Expr>>,
    params: Params,
    timeout: Duration,
    then: impl Fn(usize, Output) -> T + Send + 'static,
) -> Result<Vec<Result<T, QueryError>>, QueryError> {
    let here = match reader.place() {
        Place::Here(here) => here,
        Place::Remote(remote) => return one_by_one(remote, exprs, params, timeout, then).await,
    };
    let abandoned = SetOnDrop(Arc::default());
    let seen = Arc::clone(&abandoned.0);
    let answering = here.ask(move |store| {
        let cancelled = || seen.load(Ordering::Relaxed);
        let plan = |expr: &Arc<Expr>| promql::plan(expr, params.clone());
        let plans: Vec<_> = exprs.iter().map(plan).collect();
        let mut fetched = Fetched::new(plans.iter().flatten(), params.limits.samples_max);
        let answer = |(number, plan): (usize, Result<Plan, _>)| {
            let output = fetched.answer(store, &plan.map_err(QueryError::Plan)?, &cancelled)?;
            Ok(then(number, output))
        };
        plans.into_iter().enumerate().map(answer).collect()
    });
    match tokio::time::timeout(timeout, answering).await {
        Ok(answered) => answered.map_err(|_| QueryError::Interrupted),
        Err(_) => Err(QueryError::TimedOut(timeout)),
    }
}

async fn one_by_one<T>(
    remote: &Remote,
    exprs: Vec<Arc<Expr>>,
    params: Params,
    timeout: Duration,
    then: impl Fn(usize, Output) -> T,
) -> Result<Vec<Result<T, QueryError>>, QueryError> {
    let begun = Instant::now();
    let mut answers = Vec::with_capacity(exprs.len());
    for (number, expr) in exprs.iter().enumerate() {
        let left = timeout.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(QueryError::TimedOut(timeout));
        }
        let answer = remote.query(expr, params.clone(), left).await;
        answers.push(answer.map(|output| then(number, output)));
    }
    Ok(answers)
}

/// The series of selections that several plans read.
struct Fetched {
    wanted: HashMap<Vec<Matcher>, Vec<Wanted>>,
    samples_max: usize,
}

/// A selection with all that is to be seen of it.
struct Wanted {
    selection: Selection,
    hints: Vec<Hint>,
    /// Plans that still want it.
    uses: usize,
    series: Option<Arc<Vec<Series>>>,
}

impl Fetched {
    fn new<'p>(plans: impl Iterator<Item = &'p Plan>, samples_max: usize) -> Self {
        let mut fetched = Self { wanted: HashMap::new(), samples_max };
        for plan in plans {
            for (selection, hints) in plan.selections().iter().zip(plan.hints()) {
                fetched.want(selection, hints);
            }
        }
        fetched
    }

    fn want(&mut self, selection: &Selection, hints: &[Hint]) {
        let same = self.wanted.entry(selection.matchers.to_vec()).or_default();
        for known in same.iter_mut() {
            if known.serves_or_grows(selection, hints) {
                known.uses += 1;
                let new = hints.iter().filter(|hint| !known.hints.contains(hint));
                let new: Vec<Hint> = new.cloned().collect();
                known.hints.extend(new);
                return;
            }
        }
        let (selection, hints) = (selection.clone(), hints.to_vec());
        same.push(Wanted { selection, hints, uses: 1, series: None });
    }

    fn answer(
        &mut self,
        store: &Store,
        plan: &Plan,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Output, QueryError> {
        let mut inputs = Vec::with_capacity(plan.selections().len());
        for (selection, hints) in plan.selections().iter().zip(plan.hints()) {
            inputs.push(self.series(store, selection, hints, cancelled)?);
        }
        let inputs: Vec<&[Series]> = inputs.iter().map(|series| series.as_slice()).collect();
        promql::evaluate_shared(plan, &inputs, cancelled).map_err(QueryError::Evaluate)
    }

    fn series(
        &mut self,
        store: &Store,
        selection: &Selection,
        hints: &[Hint],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Arc<Vec<Series>>, QueryError> {
        let limit = self.samples_max;
        let same = self.wanted.get_mut(&selection.matchers);
        let serves = |known: &&mut Wanted| known.serves(selection, hints);
        let known = same.and_then(|same| same.iter_mut().find(serves));
        let Some(known) = known else { return Err(QueryError::Evaluate(EvalError::Cancelled)) };
        known.uses = known.uses.saturating_sub(1);
        let series = match known.series.take() {
            Some(series) => series,
            None => {
                let read = store.select(&known.selection, &known.hints, limit, cancelled);
                Arc::new(read.map_err(|stop| refusal(stop, limit))?)
            }
        };
        if known.uses > 0 {
            known.series = Some(Arc::clone(&series));
        }
        Ok(series)
    }
}

impl Wanted {
    /// Whether what is wanted here answers a selection of the same matchers.
    fn serves(&self, selection: &Selection, hints: &[Hint]) -> bool {
        let covers = self.selection.start <= selection.start && selection.end <= self.selection.end;
        covers && hints.iter().all(|hint| self.hints.contains(hint))
    }

    /// As [`Self::serves`], after growing to it where that is cheaper than to read twice. What only
    /// the newest sample is wanted of is read without decoding, and therefore apart.
    fn serves_or_grows(&mut self, selection: &Selection, hints: &[Hint]) -> bool {
        let newest_only = |hints: &[Hint]| hints.iter().all(|hint| hint.newest_only);
        if newest_only(&self.hints) || newest_only(hints) {
            return self.selection == *selection && self.hints == hints;
        }
        let covers = self.selection.start <= selection.start && selection.end <= self.selection.end;
        let is_covered =
            selection.start <= self.selection.start && self.selection.end <= selection.end;
        if is_covered && !covers {
            (self.selection.start, self.selection.end) = (selection.start, selection.end);
        }
        covers || is_covered
    }
}

#[cfg(test)]
mod tests {
    use model::{Labels, Sample, Timestamp};
    use promql::Value;

    use super::*;
    use crate::{Batch, Limits, Storage};

    const NOW: Timestamp = Timestamp(600_000);

    async fn storage() -> Storage {
        let storage = Storage::memory(Limits::default());
        let series = ["a", "b"].map(|host| Series {
            labels: Labels::from_pairs([("__name__", "up"), ("endpoint", host)]),
            samples: (0..=60).map(|n| Sample::new(n * 10_000, n as f64)).collect(),
        });
        let batch = Batch { series: series.to_vec(), metadata: vec![] };
        storage.writer().write(batch).await.expect("memory takes it");
        storage
    }

    fn parsed(texts: &[&str]) -> Vec<Arc<Expr>> {
        texts.iter().map(|text| Arc::new(promql::parse(text).expect("it is PromQL"))).collect()
    }

    const TEXTS: [&str; 8] = [
        "up",
        "sum(up)",
        "rate(up[1m])",
        "avg_over_time(up[5m])",
        "max_over_time(up[2m] offset 1m)",
        "up + on () up",
        "up offset 3m",
        "max_over_time(up[3m:30s]) / up",
    ];

    #[tokio::test]
    async fn each_answer_is_the_one_it_gets_alone() {
        let reader = storage().await.reader();
        let (params, timeout) = (Params::instant(NOW), Duration::from_secs(60));
        let together =
            query_together(&reader, parsed(&TEXTS), params.clone(), timeout, |_, output| output)
                .await
                .expect("there is time");
        for (expr, answer) in parsed(&TEXTS).iter().zip(together) {
            let alone = crate::query(&reader, expr, params.clone(), timeout).await;
            assert_eq!(format!("{answer:?}"), format!("{alone:?}"), "{expr}");
        }
    }

    #[test]
    fn what_several_read_is_wanted_once() {
        let plan = |expr: &Arc<Expr>| promql::plan(expr, Params::instant(NOW)).expect("it fits");
        let spans = |texts: &[&str]| {
            let plans: Vec<Plan> = parsed(texts).iter().map(plan).collect();
            let fetched = Fetched::new(plans.iter(), 1000);
            let mut spans: Vec<(i64, usize)> = fetched
                .wanted
                .into_values()
                .flatten()
                .map(|one| (one.selection.end.millis() - one.selection.start.millis(), one.uses))
                .collect();
            spans.sort_unstable();
            spans
        };
        assert_eq!(spans(&["up > 5", "up < 3"]), [(299_999, 2)]);
        assert_eq!(spans(&["rate(up[1m])", "rate(up[5m])", "delta(up[2m])"]), [(299_999, 3)]);
        assert_eq!(spans(&["rate(up[1m])", "up"]), [(59_999, 1), (299_999, 1)]);
    }

    #[tokio::test]
    async fn one_that_fails_does_not_cost_the_others() {
        let reader = storage().await.reader();
        let mut params = Params::instant(NOW);
        params.limits.samples_max = 50;
        let exprs = parsed(&["up", "sum_over_time(up[10m])", "count(up)"]);
        let answers =
            query_together(&reader, exprs, params, Duration::from_secs(60), |_, output| {
                output.value
            })
            .await
            .expect("there is time");
        assert!(matches!(&answers[0], Ok(Value::Vector(vector)) if vector.len() == 2));
        assert!(matches!(
            answers[1],
            Err(QueryError::Evaluate(EvalError::TooManySamples { limit: 50 }))
        ));
        assert!(answers[2].is_ok());
    }
}
