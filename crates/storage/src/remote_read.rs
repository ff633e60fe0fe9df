//! Reading a remote store. A whole expression is pushed down to it; what this process has just written and the store
//! may not show yet is joined with raw samples, and the expression evaluated here.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{Labels, Metadata, Selection, Series, Timestamp, is_label_name};
use promql::{Expr, Hint, Output, Params, Plan, Value};
use wire::prom_answer::{self, Found, QueryAnswer};

use crate::error::ReadError;
use crate::expression::{QueryError, evaluate_within};
use crate::looks;
use crate::query::at_most;
use crate::remote::{Remote, RemoteError};

const QUERY: &str = "query the store";

/// The language that a store evaluates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// That of Prometheus: the same expression gives the same answer as here.
    PromQl,
    /// That of VictoriaMetrics: windows and staleness differ, so that only its samples can be used where answers are to
    /// be those of Prometheus.
    MetricsQl,
}

impl Remote {
    /// Answers an expression.
    pub(crate) async fn query(
        &self,
        expr: &Expr,
        params: Params,
        timeout: Duration,
    ) -> Result<Output, QueryError> {
        let plan = promql::plan(expr, params.clone()).map_err(QueryError::Plan)?;
        let is_concerned = plan.selections().iter().any(|one| self.overlay.concerns(one));
        let answering = async {
            match is_concerned {
                true => self.evaluate_here(plan, &params, timeout).await,
                false => self.push_down(expr, &params, timeout).await,
            }
        };
        match tokio::time::timeout(timeout, answering).await {
            Ok(answered) => answered,
            Err(_) => Err(QueryError::TimedOut(timeout)),
        }
    }

    /// The store evaluates.
    async fn push_down(
        &self,
        expr: &Expr,
        params: &Params,
        timeout: Duration,
    ) -> Result<Output, QueryError> {
        let mut form = vec![
            ("query", expr.to_string()),
            ("timeout", seconds(timeout)),
            ("lookback_delta", seconds(params.lookback)),
        ];
        let path = if params.step.is_zero() {
            form.push(("time", moment(params.start)));
            "query"
        } else {
            form.push(("start", moment(params.start)));
            form.push(("end", moment(params.end)));
            form.push(("step", seconds(params.step)));
            "query_range"
        };
        let answer = self.ask_query(path, &form, timeout).await.map_err(QueryError::Remote)?;
        let limit = params.limits.samples_max;
        let value = match answer.found {
            Found::Vector(vector) => Value::Vector(vector),
            Found::Matrix(matrix) => Value::Matrix(matrix),
            Found::Scalar(sample) => Value::Scalar(sample),
            Found::Text(timestamp, text) => Value::String { timestamp, text },
        };
        if size_of(&value) > limit {
            return Err(QueryError::Evaluate(promql::EvalError::TooManySamples { limit }));
        }
        let mut warnings = answer.notes.warnings;
        if answer.histograms_skipped > 0 {
            let count = answer.histograms_skipped;
            warnings.push(format!("{count} native histograms of the remote store are left out"));
        }
        Ok(Output { value, histograms: Vec::new(), warnings, infos: answer.notes.infos })
    }

    /// This process evaluates, over what the store has and what was just written.
    async fn evaluate_here(
        &self,
        plan: Plan,
        params: &Params,
        timeout: Duration,
    ) -> Result<Output, QueryError> {
        let limit = params.limits.samples_max;
        let mut inputs = Vec::with_capacity(plan.selections().len());
        let mut left = limit;
        for (selection, hints) in plan.selections().iter().zip(plan.hints()) {
            let look = looks::only(selection, hints).filter(|_| !asks_for_times(hints));
            let stored = match look {
                // The store knows where series ended, raw samples do not say.
                Some(look) => {
                    self.newest(selection, Timestamp(look), params.lookback, timeout).await
                }
                None => self.raw(selection, timeout).await,
            };
            let joined = self.overlay.join(selection, stored.map_err(QueryError::Remote)?);
            let samples = joined.iter().map(|series| series.samples.len()).sum();
            left = left
                .checked_sub(samples)
                .ok_or(QueryError::Evaluate(promql::EvalError::TooManySamples { limit }))?;
            inputs.push(joined);
        }
        evaluate_within(plan, inputs, timeout).await
    }

    /// Raw samples of a selection, what was just written among them.
    pub(crate) async fn select(
        &self,
        selection: &Selection,
        samples_max: usize,
    ) -> Result<Vec<Series>, ReadError> {
        let stored = self.raw(selection, self.timeout).await.map_err(ReadError::Remote)?;
        let joined = self.overlay.join(selection, stored);
        let samples: usize = joined.iter().map(|series| series.samples.len()).sum();
        match samples <= samples_max {
            true => Ok(joined),
            false => Err(ReadError::TooManySamples { limit: samples_max }),
        }
    }

    /// Raw samples, by an instant query for a range: the one way that every engine has. Markers of ended series are
    /// not among them.
    async fn raw(
        &self,
        selection: &Selection,
        timeout: Duration,
    ) -> Result<Vec<Series>, RemoteError> {
        // A range leaves its first moment out.
        let span = selection.end.since(selection.start).as_millis() + 1;
        let query = format!("{}[{span}ms]", selector(selection));
        let form =
            [("query", query), ("time", moment(selection.end)), ("timeout", seconds(timeout))];
        let Found::Matrix(mut matrix) = self.ask_query("query", &form, timeout).await?.found else {
            return Ok(Vec::new());
        };
        for series in &mut matrix {
            let (start, end) = (selection.start, selection.end);
            series.samples.retain(|sample| start <= sample.timestamp && sample.timestamp <= end);
        }
        matrix.retain(|series| !series.samples.is_empty());
        Ok(matrix)
    }

    /// The newest sample of every series that had not ended, at the moment of the look.
    async fn newest(
        &self,
        selection: &Selection,
        look: Timestamp,
        lookback: Duration,
        timeout: Duration,
    ) -> Result<Vec<Series>, RemoteError> {
        let form = [
            ("query", selector(selection)),
            ("time", moment(look)),
            ("timeout", seconds(timeout)),
            ("lookback_delta", seconds(lookback)),
        ];
        let Found::Vector(vector) = self.ask_query("query", &form, timeout).await?.found else {
            return Ok(Vec::new());
        };
        let series = |(labels, sample)| Series { labels, samples: vec![sample] };
        Ok(vector.into_iter().map(series).collect())
    }

    pub(crate) async fn series(
        &self,
        selections: &[Selection],
        limit: usize,
    ) -> Result<Vec<Labels>, RemoteError> {
        const OPERATION: &str = "list series of the store";
        let start = selections.iter().map(|one| one.start).min();
        let end = selections.iter().map(|one| one.end).max();
        let form = scope(selections, start.zip(end), limit);
        let request = self.http.post(self.endpoint(&["series"])).form(&form);
        let body = self.ask(OPERATION, request, self.timeout).await?;
        let sets = prom_answer::read_label_sets(&body);
        let mut sets = sets.map_err(|error| self.unreadable(OPERATION, error))?;
        sets.sort_unstable();
        sets.dedup();
        sets.truncate(at_most(limit));
        Ok(sets)
    }

    pub(crate) async fn label_names(
        &self,
        selections: &[Selection],
        span: (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<String>, RemoteError> {
        let form = scope(selections, Some(span), limit);
        let request = self.http.post(self.endpoint(&["labels"])).form(&form);
        self.texts("list label names of the store", request, limit).await
    }

    pub(crate) async fn label_values(
        &self,
        name: &str,
        selections: &[Selection],
        span: (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<String>, RemoteError> {
        let name = path_name(name);
        let scope = scope(selections, Some(span), limit);
        let request = self.http.get(self.endpoint(&["label", &name, "values"])).query(&scope);
        self.texts("list label values of the store", request, limit).await
    }

    pub(crate) async fn metadata(
        &self,
        metric: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Metadata)>, RemoteError> {
        const OPERATION: &str = "read metadata of the store";
        let mut query = Vec::new();
        if let Some(metric) = metric {
            query.push(("metric", metric.to_owned()));
        }
        if limit > 0 {
            query.push(("limit", limit.to_string()));
        }
        let request = self.http.get(self.endpoint(&["metadata"])).query(&query);
        let body = self.ask(OPERATION, request, self.timeout).await?;
        let found = prom_answer::read_metadata(&body);
        let mut found = found.map_err(|error| self.unreadable(OPERATION, error))?;
        found.truncate(at_most(limit));
        Ok(found)
    }

    /// Its targets, as it tells them; nothing when it knows no such question.
    pub(crate) async fn targets(&self, state: &str) -> Result<Option<Vec<u8>>, RemoteError> {
        let request = self.http.get(self.endpoint(&["targets"])).query(&[("state", state)]);
        match self.ask("list the targets of the store", request, self.timeout).await {
            Ok(body) => Ok(Some(body)),
            Err(RemoteError::Refused { status: 404 | 405, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Which language it evaluates: only MetricsQL has `default`.
    pub(crate) async fn engine(&self) -> Result<Engine, RemoteError> {
        let form = [("query", "1 default 2".to_owned())];
        match self.ask_query("query", &form, self.timeout).await {
            Ok(_) => Ok(Engine::MetricsQl),
            Err(RemoteError::Refused { status: 400 | 422, .. }) => Ok(Engine::PromQl),
            Err(error) => Err(error),
        }
    }

    async fn texts(
        &self,
        operation: &'static str,
        request: reqwest::RequestBuilder,
        limit: usize,
    ) -> Result<Vec<String>, RemoteError> {
        let body = self.ask(operation, request, self.timeout).await?;
        let texts =
            prom_answer::read_texts(&body).map_err(|error| self.unreadable(operation, error))?;
        let sorted: BTreeSet<String> = texts.into_iter().collect();
        Ok(sorted.into_iter().take(at_most(limit)).collect())
    }

    async fn ask_query(
        &self,
        path: &str,
        form: &[(&str, String)],
        timeout: Duration,
    ) -> Result<QueryAnswer, RemoteError> {
        let request = self.http.post(self.endpoint(&[path])).form(form);
        let body = self.ask(QUERY, request, timeout).await?;
        prom_answer::read_query(&body).map_err(|error| self.unreadable(QUERY, error))
    }
}

/// `timestamp(x)` tells what a query for the newest value does not.
fn asks_for_times(hints: &[Hint]) -> bool {
    hints.iter().any(|hint| hint.function == Some("timestamp"))
}

fn size_of(value: &Value) -> usize {
    match value {
        Value::Vector(vector) => vector.len(),
        Value::Matrix(matrix) => matrix.iter().map(|series| series.samples.len()).sum(),
        Value::Scalar(_) | Value::String { .. } => 1,
    }
}

/// The parameters that say which series; without the ends of time, which not every engine understands.
fn scope(
    selections: &[Selection],
    span: Option<(Timestamp, Timestamp)>,
    limit: usize,
) -> Vec<(&'static str, String)> {
    let mut form: Vec<(&str, String)> =
        selections.iter().map(|one| ("match[]", selector(one))).collect();
    if let Some((start, end)) = span {
        form.extend((start > Timestamp::MIN).then(|| ("start", moment(start))));
        form.extend((end < Timestamp::MAX).then(|| ("end", moment(end))));
    }
    if limit > 0 {
        form.push(("limit", limit.to_string()));
    }
    form
}

/// The selector of a selection as PromQL.
fn selector(selection: &Selection) -> String {
    let mut text = String::from("{");
    for (at, matcher) in selection.matchers.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        match is_label_name(&matcher.name) {
            true => text.push_str(&matcher.name),
            false => put_quoted(&mut text, &matcher.name),
        }
        text.push_str(matcher.op.as_str());
        put_quoted(&mut text, &matcher.value);
    }
    text.push('}');
    text
}

fn put_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// A label name as a part of a path: one that is none of the old kind is escaped as Prometheus 3 does.
fn path_name(name: &str) -> String {
    if is_label_name(name) {
        return name.to_owned();
    }
    let mut out = String::from("U__");
    for c in name.chars() {
        match c {
            '_' => out.push_str("__"),
            c if c.is_ascii_alphanumeric() => out.push(c),
            c => out.push_str(&format!("_{:x}_", u32::from(c))),
        }
    }
    out
}

fn moment(at: Timestamp) -> String {
    at.to_string()
}

/// A span as every engine reads it: Prometheus takes no `1.5s`.
fn seconds(span: Duration) -> String {
    match span.as_millis().max(1) {
        millis if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use model::{MatchOp, Matcher};
    use proptest::prelude::*;

    use super::*;

    fn selection(matchers: &[(&str, MatchOp, &str)]) -> Selection {
        let matcher = |(name, op, value): &(&str, MatchOp, &str)| {
            Matcher::new(name, *op, value).expect("valid")
        };
        let matchers = matchers.iter().map(matcher).collect();
        Selection { matchers, start: Timestamp(0), end: Timestamp(1) }
    }

    #[test]
    fn selectors_are_written_so_that_they_read_back() {
        let one = selection(&[
            ("__name__", MatchOp::Equal, "up"),
            ("a.b", MatchOp::NotEqual, "x\"y\\z\n"),
            ("job", MatchOp::Regex, "a|b.*"),
        ]);
        let text = selector(&one);
        assert_eq!(text, "{__name__=\"up\",\"a.b\"!=\"x\\\"y\\\\z\\n\",job=~\"a|b.*\"}");
        assert!(promql::parse(&text).is_ok());
    }

    #[test]
    fn label_names_in_paths_are_escaped_when_they_must_be() {
        assert_eq!(
            (path_name("job").as_str(), path_name("http.温").as_str()),
            ("job", "U__http_2e__6e29_")
        );
        for name in ["http.status", "a_b.c", "温"] {
            assert_eq!(wire::prom_api::unescape_label_name(&path_name(name)), name);
        }
    }

    #[test]
    fn times_and_spans_are_written_as_every_engine_reads_them() {
        assert_eq!(moment(Timestamp(1_760_000_460_123)), "1760000460.123");
        assert_eq!(
            (
                seconds(Duration::from_secs(300)).as_str(),
                seconds(Duration::from_millis(1500)).as_str(),
                seconds(Duration::from_micros(7)).as_str()
            ),
            ("300s", "1500ms", "1ms")
        );
    }

    proptest! {
        #[test]
        fn any_matcher_reads_back(name in "\\PC{1,8}", value in "\\PC{1,8}|[a\n\"\\\\]{1,6}") {
            let one = selection(&[(&name, MatchOp::Equal, &value)]);
            let expr = promql::parse(&selector(&one)).expect("it is a selector");
            let plan = promql::plan(&expr, Params::instant(Timestamp(0))).expect("it is an instant vector");
            prop_assert_eq!(&plan.selections()[0].matchers[0].value, &value);
            prop_assert_eq!(&plan.selections()[0].matchers[0].name, &name);
        }
    }
}
