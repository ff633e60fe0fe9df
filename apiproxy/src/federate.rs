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

/// Stands for a data centre where the answers for the hosts of several are told apart, and for series without a host.
/// No data centre can have such names.
const SHARED: &str = "";
const NAMELESS: &str = ",";

/// The hosts that several data centres have series of, as conditions.
struct Shared {
    /// All others; nothing when there are none.
    without: Option<Matcher>,
    /// All others, but not series without a host.
    named: Matcher,
    /// Them; nothing when there are none.
    only: Option<Matcher>,
}

impl Shared {
    fn new(hosts: &[Box<str>]) -> Result<Self, ApiError> {
        let names: Vec<String> = hosts.iter().map(|host| regex::escape(host)).collect();
        let pattern = names.join("|");
        let matcher = |op, pattern: &str| {
            Matcher::new(ENDPOINT, op, pattern).map_err(|error| {
                ApiError::bad_data(format!("hosts of several data centres: {error}"))
            })
        };
        let named = matcher(MatchOp::NotRegex, &format!("|{pattern}"))?;
        if hosts.is_empty() {
            return Ok(Self { without: None, named, only: None });
        }
        let without = Some(matcher(MatchOp::NotRegex, &pattern)?);
        Ok(Self { without, named, only: Some(matcher(MatchOp::Regex, &pattern)?) })
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
    // What is computed of a host's series may have none of their labels, nor then those that a data centre adds.
    let may_join = may_aggregate && ask.sites.list().iter().all(|one| one.centre.labels.is_empty());
    let distributed = promql::distribute(expr, may_join.then_some(ENDPOINT))
        .filter(|taken| may_aggregate || taken.parts.iter().all(|part| part.merge == Merge::Union));
    match distributed {
        Some(taken) => distributed_query(ask, &taken, params, &Shared::new(shared)?).await,
        None => over_series(ask, expr, params).await,
    }
}

/// Asks for the parts at once and computes the rest.
async fn distributed_query(
    ask: &Arc<Ask>,
    taken: &Distributed,
    params: &Params,
    shared: &Shared,
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
/// over the moment at which a host moved needs the samples of both, so these are fetched and looked at here. Series
/// without a host may be at several as well, so nothing is computed host by host of them.
async fn answer_to(
    ask: &Arc<Ask>,
    part: &Part,
    params: &Params,
    shared: &Shared,
) -> Result<Answers, ApiError> {
    let places = ask.places(&part.expr);
    let is_alone = places.len() <= 1;
    let without = if part.by_host { Some(&shared.named) } else { shared.without.as_ref() };
    let only = shared.only.as_ref().filter(|_| !is_alone);
    let is_nameless = part.by_host && !is_alone && may_be_nameless(&part.expr);
    let of_shared = async {
        let Some(only) = only else { return Ok(None) };
        let output = over_series(ask, &with_condition(&part.expr, only), params).await?;
        Ok::<_, ApiError>(Some(answered(SHARED, output, params)))
    };
    let of_nameless = async {
        if !is_nameless {
            return Ok(None);
        }
        let expr = with_condition(&part.expr, &Matcher::equal(ENDPOINT, ""));
        let output = Box::pin(nameless(ask, &expr, params)).await?;
        Ok::<_, ApiError>(Some(answered(NAMELESS, output, params)))
    };
    let (mut found, of_shared, of_nameless) = tokio::try_join!(
        asked(ask, &part.expr, params, places, without.filter(|_| !is_alone)),
        of_shared,
        of_nameless,
    )?;
    found.extend(of_shared.into_iter().chain(of_nameless));
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

/// The expression over series that satisfy one more condition.
fn with_condition(expr: &Expr, condition: &Matcher) -> Expr {
    let with = |matchers: &[Matcher]| [matchers, std::slice::from_ref(condition)].concat();
    promql::with_matchers(expr, &with)
}

/// Whether an expression can read series without a host.
fn may_be_nameless(expr: &Expr) -> bool {
    let is_of_hosts = |matcher: &Matcher| matcher.name == ENDPOINT && !matcher.matches("");
    !expr.selectors().iter().all(|selector| selector.matchers.iter().any(is_of_hosts))
}

/// The answer for series without a host.
async fn nameless(ask: &Arc<Ask>, expr: &Expr, params: &Params) -> Result<Output, ApiError> {
    match promql::distribute(expr, None) {
        Some(taken) => distributed_query(ask, &taken, params, &Shared::new(&[])?).await,
        None => over_series(ask, expr, params).await,
    }
}

/// An answer with its series apart, and whom it is from.
fn answered(from: &str, mut output: Output, params: &Params) -> (String, Output, Vec<Series>) {
    let series = merge::series_of(take_value(&mut output), params.start);
    (from.to_owned(), output, series)
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
