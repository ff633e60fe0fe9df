//! A query over several data centres: as much as possible is computed where the series are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::{ENDPOINT, MatchOp, Matcher, Series};
use promql::{Distributed, Expr, Merge, Output, Params, Part, SITE_LABEL, Value};
use storage::{QueryError, RemoteError};

use crate::catalogue::SiteSet;
use crate::error::ApiError;
use crate::merge;
use crate::site::{Ask, Failure, Site};

/// Hosts with series in several data centres that are looked at apart. When there are more, nothing is computed at the
/// data centres.
const SHARED_MAX: usize = 500;

/// The hosts that several data centres have series of.
struct Shared {
    without: Matcher,
    only: Matcher,
}

impl Shared {
    fn new(hosts: &[Box<str>]) -> Result<Option<Self>, ApiError> {
        if hosts.is_empty() {
            return Ok(None);
        }
        let names: Vec<String> = hosts.iter().map(|host| regex::escape(host)).collect();
        let matcher = |op| {
            Matcher::new(ENDPOINT, op, &names.join("|")).map_err(|error| {
                ApiError::bad_data(format!("hosts of several data centres: {error}"))
            })
        };
        Ok(Some(Self { without: matcher(MatchOp::NotRegex)?, only: matcher(MatchOp::Regex)? }))
    }
}

/// What is said of a query beside its value.
#[derive(Debug, Default)]
struct Notes {
    warnings: BTreeSet<String>,
    infos: BTreeSet<String>,
}

impl Notes {
    fn take(&mut self, output: &mut Output) {
        self.warnings.extend(std::mem::take(&mut output.warnings));
        self.infos.extend(std::mem::take(&mut output.infos));
    }
}

/// The answer to an expression. One that concerns a single store is that store's own.
pub(crate) async fn answer(
    ask: &Arc<Ask>,
    expr: &Expr,
    params: &Params,
) -> Result<Output, ApiError> {
    let Some(place) = ask.sole(expr) else { return query(ask, expr, params).await };
    let found = ask
        .each(place, |site, left| async move {
            Ok(storage::query(&site.centre.reader, expr, params.clone(), left).await?)
        })
        .await?;
    match found.into_iter().next() {
        Some((_, output)) => Ok(output),
        None => query(ask, expr, params).await,
    }
}

/// Answers an expression from the data centres that it concerns.
pub(crate) async fn query(
    ask: &Arc<Ask>,
    expr: &Expr,
    params: &Params,
) -> Result<Output, ApiError> {
    let catalogue = ask.sites.catalogue();
    let shared = catalogue.shared();
    // Nobody knows what would be counted twice while a data centre has not told its hosts.
    let may_aggregate = catalogue.is_complete() && shared.len() <= SHARED_MAX;
    let distributed = promql::distribute(expr)
        .filter(|taken| may_aggregate || taken.parts.iter().all(|part| part.merge == Merge::Union));
    match distributed {
        Some(taken) => distributed_query(ask, &taken, params, Shared::new(shared)?.as_ref()).await,
        None => over_series(ask, expr, params).await,
    }
}

/// Asks for the parts at once and computes the rest.
async fn distributed_query(
    ask: &Arc<Ask>,
    taken: &Distributed,
    params: &Params,
    shared: Option<&Shared>,
) -> Result<Output, ApiError> {
    let parts = taken.parts.iter().map(|part| answer_to(ask, part, params, shared));
    let answers = futures_util::future::try_join_all(parts).await?;
    let mut notes = Notes::default();
    let mut series = Vec::new();
    for (mut outputs, list) in answers {
        outputs.iter_mut().for_each(|output| notes.take(output));
        series.push(list);
    }
    let rest = Params { lookback: Duration::from_millis(1), ..params.clone() };
    let plan =
        promql::plan(&taken.rest, rest).map_err(|error| ApiError::from(QueryError::Plan(error)))?;
    let inputs = plan.selections().iter().map(|selection| {
        promql::part_of(selection).and_then(|part| series.get(part).cloned()).unwrap_or_default()
    });
    let inputs = inputs.collect();
    let mut output =
        storage::evaluate_within(plan, inputs, ask.left()).await.map_err(ApiError::from)?;
    notes.take(&mut output);
    output.warnings = notes.warnings.into_iter().collect();
    output.infos = notes.infos.into_iter().collect();
    Ok(output)
}

/// What the data centres said, and the series that it comes to.
type Answers = (Vec<Output>, Vec<Series>);

/// The answer of all data centres to a part. Hosts that several of them have series of are left out there: a window
/// over the moment at which a host moved needs the samples of both, so these are fetched and looked at here.
async fn answer_to(
    ask: &Arc<Ask>,
    part: &Part,
    params: &Params,
    shared: Option<&Shared>,
) -> Result<Answers, ApiError> {
    let places = ask.places(&part.expr);
    let shared = shared.filter(|_| places.len() > 1);
    let mut found =
        asked(ask, &part.expr, params, places, shared.map(|shared| &shared.without)).await?;
    if let Some(shared) = shared {
        let with = |matchers: &[Matcher]| [matchers, std::slice::from_ref(&shared.only)].concat();
        let mut output =
            over_series(ask, &promql::with_matchers(&part.expr, &with), params).await?;
        let series = merge::series_of(take_value(&mut output), params.start);
        found.push((String::new(), output, series));
    }
    let (mut outputs, mut lists) = (Vec::new(), Vec::new());
    for (site, output, mut series) in found {
        if part.merge == Merge::Partial {
            series.iter_mut().for_each(|one| one.labels = one.labels.with(SITE_LABEL, &site));
        }
        outputs.push(output);
        lists.push(series);
    }
    Ok((outputs, merge::union(lists)))
}

fn take_value(output: &mut Output) -> Value {
    std::mem::replace(&mut output.value, Value::Vector(Vec::new()))
}

/// Asks data centres for an expression; their answers with the labels that they add.
async fn asked(
    ask: &Arc<Ask>,
    expr: &Expr,
    params: &Params,
    places: SiteSet,
    also: Option<&Matcher>,
) -> Result<Vec<(String, Output, Vec<Series>)>, ApiError> {
    let found = ask
        .each(places, |site, limit| async move {
            let own = promql::with_matchers(expr, &|matchers| {
                let mut own = site.own(matchers);
                own.extend(also.cloned());
                own
            });
            computed_at(&site, &own, params, limit).await
        })
        .await?;
    let with_series = found.into_iter().map(|(site, mut output)| {
        let series = site.with_labels(merge::series_of(take_value(&mut output), params.start));
        (site.centre.name.clone(), output, series)
    });
    Ok(with_series.collect())
}

/// The answer of one data centre. One that computes otherwise, or does not know the expression, gives its samples.
async fn computed_at(
    site: &Site,
    expr: &Expr,
    params: &Params,
    limit: Duration,
) -> Result<Output, Failure> {
    if site.is_promql().await? {
        match storage::query(&site.centre.reader, expr, params.clone(), limit).await {
            Err(QueryError::Remote(RemoteError::Refused { status: 400, .. })) => {}
            answer => return Ok(answer?),
        }
    }
    let plan = promql::plan(expr, params.clone()).map_err(QueryError::Plan)?;
    let mut inputs = Vec::with_capacity(plan.selections().len());
    for selection in plan.selections() {
        let samples_max = params.limits.samples_max;
        inputs.push(site.centre.reader.select_at_most(selection, samples_max).await?);
    }
    Ok(storage::evaluate_within(plan, inputs, limit).await?)
}

/// Evaluates the whole expression over the series of all data centres.
async fn over_series(ask: &Arc<Ask>, expr: &Expr, params: &Params) -> Result<Output, ApiError> {
    let plan = promql::plan(expr, params.clone())
        .map_err(|error| ApiError::from(QueryError::Plan(error)))?;
    let limit = params.limits.samples_max;
    let fetched = plan.selections().iter().map(|selection| ask.select_at_most(selection, limit));
    let inputs = futures_util::future::try_join_all(fetched).await?;
    storage::evaluate_within(plan, inputs, ask.left()).await.map_err(ApiError::from)
}
