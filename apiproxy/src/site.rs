//! The data centres, and how one question is put to many of them at once.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use daemon::Clock;
use futures_util::future::join_all;
use model::{Labels, Matcher, Metadata, Selection, Series, Timestamp};
use promql::Expr;
use storage::{Engine, QueryError, ReadError, Reader, RemoteError};
use tokio::time::Instant;

use crate::breaker::Breaker;
use crate::call::Call;
use crate::catalogue::{Catalogue, Current, SiteSet};
use crate::error::ApiError;
use crate::hbs::Hbs;
use crate::hedge::Hedging;
use crate::merge;
use crate::metrics::Metrics;

/// A data centre: a name and where its series are.
#[derive(Debug, Clone)]
pub struct DataCentre {
    /// Its name, in warnings and metrics.
    pub name: String,
    /// Its store.
    pub reader: Reader,
    /// Labels that its series get in answers; their own win.
    pub labels: BTreeMap<String, String>,
    /// How long it is waited for.
    pub timeout: Duration,
    /// Further stores that hold the same series, asked when the first is slow or away.
    pub replicas: Vec<Reader>,
}

/// What else belongs to a data centre.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    /// Its judge; empty for none.
    pub(crate) judge_url: String,
    /// Its hbs, each of which is followed.
    pub(crate) hbs: Vec<Hbs>,
    /// Whether it is the store of `[storage]`, asked because no data centre is named.
    pub(crate) is_plain: bool,
    /// What it was made from, when that was set by API rather than in the configuration.
    pub(crate) stored: Option<String>,
}

/// A data centre and what is known of its health.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) centre: DataCentre,
    pub(crate) about: About,
    breaker: Mutex<Breaker>,
    engine: OnceLock<Engine>,
    /// The same data centre by its other stores.
    replicas: Vec<Arc<Site>>,
    hedging: Mutex<Hedging>,
    answered: Mutex<Option<Instant>>,
}

impl Site {
    pub(crate) fn new(mut centre: DataCentre, about: About) -> Self {
        let readers = std::mem::take(&mut centre.replicas);
        let replica = |reader| {
            let centre = DataCentre { reader, ..centre.clone() };
            Arc::new(Self::new(centre, About::default()))
        };
        let replicas = readers.into_iter().map(replica).collect();
        let (breaker, engine) = (Mutex::default(), OnceLock::new());
        let (hedging, answered) = (Mutex::default(), Mutex::default());
        Self { centre, about, breaker, engine, replicas, hedging, answered }
    }

    /// Itself and its replicas, in the order in which they are asked.
    pub(crate) fn all(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> {
        std::iter::once(self).chain(&self.replicas)
    }

    /// The health of each replica, in a word.
    pub(crate) fn health_of_replicas(&self) -> Vec<&'static str> {
        self.replicas.iter().map(|one| one.breaker().word()).collect()
    }

    pub(crate) fn has_no_replicas(&self) -> bool {
        self.replicas.is_empty()
    }

    /// The time that it takes, and the second requests it may get.
    pub(crate) fn hedging(&self) -> MutexGuard<'_, Hedging> {
        self.hedging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It answered a question.
    pub(crate) fn note_answer(&self) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.breaker().answered();
    }

    /// Whether it answered any question later than this.
    pub(crate) fn has_answered_since(&self, begun: Instant) -> bool {
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.is_some_and(|at| at > begun)
    }

    pub(crate) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an expression means there what it means here. The store is asked once.
    pub(crate) async fn is_promql(&self) -> Result<bool, Failure> {
        let engine = match self.engine.get() {
            Some(engine) => *engine,
            None => {
                let engine = self.centre.reader.engine().await?;
                *self.engine.get_or_init(|| engine)
            }
        };
        Ok(engine == Engine::PromQl)
    }

    /// Whether the labels it adds agree with the conditions.
    fn agrees(&self, matchers: &[Matcher]) -> bool {
        let labels = &self.centre.labels;
        matchers.iter().all(|m| labels.get(&m.name).is_none_or(|value| m.matches(value)))
    }

    /// The conditions as its store knows them: without those on labels that it adds.
    pub(crate) fn own(&self, matchers: &[Matcher]) -> Vec<Matcher> {
        let is_own = |matcher: &&Matcher| !self.centre.labels.contains_key(&matcher.name);
        matchers.iter().filter(is_own).cloned().collect()
    }

    /// A selection as its store knows it.
    pub(crate) fn selection(&self, selection: &Selection) -> Selection {
        Selection { matchers: self.own(&selection.matchers), ..selection.clone() }
    }

    /// The selections that it can have series of; all of none means all.
    fn selections(&self, all: &[Selection]) -> Option<Vec<Selection>> {
        let agreed = all.iter().filter(|selection| self.agrees(&selection.matchers));
        let own: Vec<Selection> = agreed.map(|selection| self.selection(selection)).collect();
        (all.is_empty() || !own.is_empty()).then_some(own)
    }

    pub(crate) fn with_labels(&self, mut series: Vec<Series>) -> Vec<Series> {
        if !self.centre.labels.is_empty() {
            for one in &mut series {
                one.labels = merge::with_labels(one.labels.clone(), &self.centre.labels);
            }
        }
        series
    }
}

/// Why a data centre has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The data centre is at fault: the others' answers are given without it.
    Site(ApiError),
    /// The question is: no answer of others helps.
    Question(ApiError),
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        let is_question = match &error {
            QueryError::Plan(_) | QueryError::Evaluate(_) => true,
            QueryError::Remote(remote) => is_refusal(remote),
            _ => false,
        };
        let error = ApiError::from(error);
        if is_question { Self::Question(error) } else { Self::Site(error) }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let is_question = match &error {
            ReadError::TooManySamples { .. } => true,
            ReadError::Remote(remote) => is_refusal(remote),
            _ => false,
        };
        let error = ApiError::from(error);
        if is_question { Self::Question(error) } else { Self::Site(error) }
    }
}

/// Whether a store works and the question is at fault: it is wrong, in the words of the API, or its answer is too large.
fn is_refusal(error: &RemoteError) -> bool {
    match error {
        RemoteError::Refused { status: 400 | 422, kind, .. } => !kind.is_empty(),
        RemoteError::TooLarge { .. } => true,
        _ => false,
    }
}

/// All data centres. The list never changes: [`crate::centres::Centres`] makes another one.
#[derive(Debug)]
pub(crate) struct Sites {
    list: Vec<Arc<Site>>,
    catalogue: Current,
    clock: Clock,
    metrics: Metrics,
    number: u64,
}

/// How many lists of data centres there were in this process.
static LISTS: AtomicU64 = AtomicU64::new(0);

impl Sites {
    pub(crate) fn new(
        list: Vec<Arc<Site>>,
        catalogue: Catalogue,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        let number = LISTS.fetch_add(1, Ordering::Relaxed);
        Self { list, catalogue: Current::new(catalogue), clock, metrics, number }
    }

    /// A number that no other list of data centres has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// All of them, in the order of the configuration.
    pub(crate) fn list(&self) -> &[Arc<Site>] {
        &self.list
    }

    /// Whether no data centre is named, and the store of `[storage]` is asked alone.
    pub(crate) fn is_plain(&self) -> bool {
        self.list.iter().any(|site| site.about.is_plain)
    }

    /// Where hosts are.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.get()
    }

    /// Where hosts are, for who keeps it up.
    pub(crate) fn current(&self) -> &Current {
        &self.catalogue
    }

    /// A question to them, to be answered within a time.
    pub(crate) fn ask(self: &Arc<Self>, within: Duration) -> Ask {
        Ask { sites: Arc::clone(self), until: Instant::now() + within, missing: Mutex::default() }
    }

    /// Every one of them.
    pub(crate) fn all(&self) -> SiteSet {
        SiteSet::first(self.list.len())
    }
}

/// One question on its way to the data centres, and which of them did not answer.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) sites: Arc<Sites>,
    until: Instant,
    missing: Mutex<BTreeMap<String, String>>,
}

impl Ask {
    /// The data centres that did not answer, with the reason.
    pub(crate) fn missing(&self) -> BTreeMap<String, String> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that something of a data centre is missing.
    pub(crate) fn miss(&self, name: &str, why: &str) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.insert(name.to_owned(), why.to_owned());
    }

    /// A sentence for each of them.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let sentence = |(name, why): (String, String)| {
            format!("data centre {name} is missing from this answer: {why}")
        };
        self.missing().into_iter().map(sentence).collect()
    }

    /// How much time is left.
    pub(crate) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// The data centres that an expression concerns.
    pub(crate) fn places(&self, expr: &Expr) -> SiteSet {
        let catalogue = self.sites.catalogue();
        let selectors = expr.selectors();
        let places =
            selectors.iter().map(|selector| self.places_in(&catalogue, &selector.matchers));
        places.reduce(SiteSet::or).unwrap_or_default()
    }

    /// The data centre that an expression concerns, when there is only one and it adds no labels: then its answer
    /// is the answer.
    pub(crate) fn sole(&self, expr: &Expr) -> Option<SiteSet> {
        let places = self.places(expr);
        let is_plain = |at: usize| {
            let site = &self.sites.list[at];
            let is_same = site.engine.get() == Some(&Engine::PromQl) || self.sites.list.len() == 1;
            site.centre.labels.is_empty() && is_same
        };
        let of_all = (self.sites.list.len() == 1).then(|| self.sites.all());
        let sole = if places.len() == 1 { Some(places) } else { of_all };
        sole.filter(|sole| sole.iter().all(is_plain))
    }

    fn places_in(&self, catalogue: &Catalogue, matchers: &[Matcher]) -> SiteSet {
        let known = catalogue.places(matchers, self.sites.all());
        let agreed = known.iter().filter(|at| self.sites.list[*at].agrees(matchers));
        agreed.fold(SiteSet::default(), SiteSet::with)
    }

    /// Puts a question to several data centres at once; answers what those that answered said, in their order. It
    /// fails when the question is wrong, and when none of them answers.
    pub(crate) async fn each<T, F, Fut>(
        &self,
        asked: SiteSet,
        question: F,
    ) -> Result<Vec<(Arc<Site>, T)>, ApiError>
    where
        F: Fn(Arc<Site>, Duration) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let sites: Vec<Arc<Site>> =
            asked.iter().map(|at| Arc::clone(&self.sites.list[at])).collect();
        let answers = join_all(sites.iter().map(|site| self.one(site, &question))).await;
        let mut good = Vec::with_capacity(sites.len());
        let mut bad = Vec::new();
        for (site, answer) in sites.into_iter().zip(answers) {
            match answer {
                Ok(answer) => good.push((site, answer)),
                Err(Failure::Question(error)) => return Err(error),
                Err(Failure::Site(error)) => bad.push((site.centre.name.clone(), error)),
            }
        }
        if good.is_empty()
            && let Some((name, error)) = bad.pop()
        {
            let is_only = self.sites.list.len() == 1;
            let message = if is_only {
                error.message
            } else {
                format!("data centre {name}: {}", error.message)
            };
            return Err(ApiError { kind: error.kind, message });
        }
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.extend(bad.into_iter().map(|(name, error)| (name, error.message)));
        Ok(good)
    }

    async fn one<T, F, Fut>(&self, site: &Arc<Site>, question: &F) -> Result<T, Failure>
    where
        F: Fn(Arc<Site>, Duration) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        // A store that is asked by nobody else has no other to be spared for, nor to be given without it.
        if self.sites.list.len() == 1 && site.has_no_replicas() {
            return question(Arc::clone(site), self.left()).await;
        }
        let call = Call { site, clock: &self.sites.clock, metrics: &self.sites.metrics };
        call.answer(question, self.left()).await
    }

    /// As [`Reader::select_at_most`], of all data centres.
    pub(crate) async fn select_at_most(
        &self,
        selection: &Selection,
        samples_max: usize,
    ) -> Result<Vec<Series>, ApiError> {
        let places = self.places_in(&self.sites.catalogue(), &selection.matchers);
        let found = self
            .each(places, |site, _| async move {
                let own = site.selection(selection);
                let series = site.centre.reader.select_at_most(&own, samples_max).await?;
                Ok(site.with_labels(series))
            })
            .await?;
        Ok(merge::union(found.into_iter().map(|(_, series)| series)))
    }

    /// As [`Reader::series`].
    pub(crate) async fn series(
        &self,
        selections: &[Selection],
        limit: usize,
    ) -> Result<Vec<Labels>, ApiError> {
        let found = self
            .each(self.sites.all(), |site, _| async move {
                let Some(own) = site.selections(selections) else { return Ok(Vec::new()) };
                let labels = site.centre.reader.series(&own, limit).await?;
                let added = &site.centre.labels;
                Ok(labels.into_iter().map(|one| merge::with_labels(one, added)).collect())
            })
            .await?;
        Ok(merge::sorted(found.into_iter().map(|(_, labels)| labels), limit))
    }

    /// As [`Reader::label_names`].
    pub(crate) async fn label_names(
        &self,
        selections: &[Selection],
        (start, end): (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<String>, ApiError> {
        let found = self
            .each(self.sites.all(), |site, _| async move {
                let Some(own) = site.selections(selections) else { return Ok(Vec::new()) };
                let mut names = site.centre.reader.label_names(&own, start, end, limit).await?;
                if !names.is_empty() {
                    names.extend(site.centre.labels.keys().cloned());
                }
                Ok(names)
            })
            .await?;
        Ok(merge::sorted(found.into_iter().map(|(_, names)| names), limit))
    }

    /// As [`Reader::label_values`].
    pub(crate) async fn label_values(
        &self,
        name: &str,
        selections: &[Selection],
        (start, end): (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<String>, ApiError> {
        let found = self
            .each(self.sites.all(), |site, _| async move {
                let Some(own) = site.selections(selections) else { return Ok(Vec::new()) };
                let reader = &site.centre.reader;
                let mut values = reader.label_values(name, &own, start, end, limit).await?;
                if let Some(value) = site.centre.labels.get(name) {
                    let has_series = own.is_empty() || !reader.series(&own, 1).await?.is_empty();
                    values.extend(has_series.then(|| value.clone()));
                }
                Ok(values)
            })
            .await?;
        Ok(merge::sorted(found.into_iter().map(|(_, values)| values), limit))
    }

    /// As [`Reader::metadata`]; of a metric that several know, the first's.
    pub(crate) async fn metadata(
        &self,
        metric: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Metadata)>, ApiError> {
        let found = self
            .each(self.sites.all(), |site, _| async move {
                Ok(site.centre.reader.metadata(metric, limit).await?)
            })
            .await?;
        let mut all: BTreeMap<String, Metadata> = BTreeMap::new();
        for (name, about) in found.into_iter().flat_map(|(_, list)| list) {
            all.entry(name).or_insert(about);
        }
        let most = if limit == 0 { usize::MAX } else { limit };
        Ok(all.into_iter().take(most).collect())
    }
}
