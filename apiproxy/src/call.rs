//! One question to one data centre: of its replicas the first that answers well is heard, and a second one is asked when
//! the first fails or is slower than usual.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use daemon::Clock;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;
use wire::prom_api::ErrorKind;

use crate::error::ApiError;
use crate::metrics::{Again, Metrics};
use crate::site::{DataCentre, Failure, Site};

/// A data centre that is asked.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) site: &'a Arc<Site>,
    pub(crate) clock: &'a Clock,
    pub(crate) metrics: &'a Metrics,
}

/// What a replica said.
struct Said<T> {
    by: Arc<Site>,
    answer: Result<T, Failure>,
}

/// The times of a call.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// When a second replica is asked whatever the share of such requests.
    half: Instant,
    /// When the answer must be there.
    until: Instant,
    /// Whether the question has less time than the data centre is given.
    is_short: bool,
}

/// What happens next in a race.
enum Turn<T> {
    Said(Said<T>),
    Slow,
}

impl Call<'_> {
    /// The answer, within the time that the question has left and that the data centre is given.
    pub(crate) async fn answer<T, F, Fut>(&self, question: &F, left: Duration) -> Result<T, Failure>
    where
        F: Fn(Arc<Site>, Duration) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let DataCentre { name, timeout, .. } = &self.site.centre;
        let begun = Instant::now();
        let limit = left.min(*timeout);
        let times =
            Times { half: begun + limit / 2, until: begun + limit, is_short: left < *timeout };
        let mut replicas = self.site.all();
        let Some(first) = replicas.by_ref().find(|site| self.may_ask(site)) else {
            self.metrics.site_skipped(name);
            let why = self.site.breaker().why().unwrap_or("it failed").to_owned();
            return Err(unavailable(format!("it is left alone for a while: {why}")));
        };
        self.site.hedging().asked();
        let answer = self.race(question, first, replicas, times).await;
        let took = begun.elapsed();
        self.metrics.site_asked(name, answer.is_ok(), took.as_secs_f64());
        if answer.is_ok() {
            self.site.hedging().answered(took);
        }
        answer
    }

    fn may_ask(&self, site: &Site) -> bool {
        site.breaker().ask(self.clock.now()).is_ok()
    }

    /// Asks the first, and another one when it fails or is slow. Whoever has not answered by the end is dropped, which
    /// cancels the question there.
    async fn race<'s, T, F, Fut>(
        &self,
        question: &F,
        first: &'s Arc<Site>,
        mut others: impl Iterator<Item = &'s Arc<Site>>,
        times: Times,
    ) -> Result<T, Failure>
    where
        F: Fn(Arc<Site>, Duration) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let slow = self.site.hedging().slow_after().map(|after| Instant::now() + after);
        let mut wake = slow.filter(|at| *at < times.half).unwrap_or(times.half);
        let mut may_wake = !self.site.has_no_replicas();
        let mut running = FuturesUnordered::new();
        running.push(self.attempt(question, first, times));
        let mut asked = vec![first];
        loop {
            let turn = tokio::select! {
                Some(said) = running.next() => Turn::Said(said),
                () = tokio::time::sleep_until(wake), if may_wake => Turn::Slow,
            };
            let why = match turn {
                Turn::Said(Said { by, answer: Err(Failure::Site(error)) }) => {
                    asked.retain(|site| !Arc::ptr_eq(site, &by));
                    let next = others.find(|site| self.may_ask(site));
                    if next.is_none() && running.is_empty() {
                        return Err(Failure::Site(error));
                    }
                    next.map(|next| (next, Again::Instead))
                }
                Turn::Said(said) => {
                    self.end(&said.by, first, &asked, times);
                    return said.answer;
                }
                Turn::Slow => {
                    let is_half = Instant::now() >= times.half;
                    (wake, may_wake) = (times.half, !is_half);
                    let why = if is_half { Again::Instead } else { Again::Hedge };
                    let may = is_half || self.site.hedging().take();
                    let next = if may { others.find(|site| self.may_ask(site)) } else { None };
                    next.map(|next| (next, why))
                }
            };
            if let Some((next, why)) = why {
                self.metrics.site_asked_again(&self.site.centre.name, why);
                running.push(self.attempt(question, next, times));
                asked.push(next);
                may_wake = false;
            }
        }
    }

    /// A replica has answered well: one that had half of the time and has not is as good as away.
    fn end(&self, winner: &Arc<Site>, first: &Arc<Site>, asked: &[&Arc<Site>], times: Times) {
        if Arc::ptr_eq(winner, first) {
            return;
        }
        self.metrics.site_asked_again(&self.site.centre.name, Again::Won);
        let is_running = asked.iter().any(|site| Arc::ptr_eq(site, first));
        if is_running && Instant::now() >= times.half {
            first.breaker().failed("another replica was faster by far", self.clock.now());
        }
    }

    /// Asks one replica.
    async fn attempt<T, F, Fut>(&self, question: &F, site: &Arc<Site>, times: Times) -> Said<T>
    where
        F: Fn(Arc<Site>, Duration) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let begun = Instant::now();
        let limit = times.until.saturating_duration_since(begun);
        let answer = tokio::time::timeout(limit, question(Arc::clone(site), limit)).await;
        let answer = answer.unwrap_or_else(|_| {
            let seconds = limit.as_secs_f64();
            Err(unavailable(format!("it did not answer within {seconds:.1} s")))
        });
        match &answer {
            Err(Failure::Site(error)) => {
                let (datacenter, why) = (&site.centre.name, &error.message);
                tracing::warn!(datacenter, why, "a data centre did not answer");
                // A question may take long by itself, or its client wait for too short a time. Neither says that the
                // data centre is away, so it is not kept from the others for it.
                let is_late = error.kind == ErrorKind::Timeout || begun.elapsed() >= limit;
                let is_alive = times.is_short || site.has_answered_since(begun);
                if !(is_late && is_alive) {
                    site.breaker().failed(why, self.clock.now());
                }
            }
            Ok(_) | Err(Failure::Question(_)) => site.note_answer(),
        }
        Said { by: Arc::clone(site), answer }
    }
}

fn unavailable(message: String) -> Failure {
    Failure::Site(ApiError { kind: ErrorKind::Unavailable, message })
}
