//! What all receivers share: settings, clock, counters, a bounded number of turns, and the corridor
//! behind.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Bytes;
use axum::http::StatusCode;
use daemon::{Clock, Context};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Semaphore, SemaphorePermit};
use wire::known::KnownLabels;

use crate::config::Config;
use crate::ingest::{Incoming, Ingest, Verdict};
use crate::metrics::{Metrics, RequestFault};
use crate::outlet::OutletError;
use crate::receive::Rejection;
use crate::tokens::TokenId;

/// The way in.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) ingest: Ingest,
    pub(crate) metrics: Metrics,
    /// The labels of series that came before.
    pub(crate) known: KnownLabels,
    turns: Semaphore,
    context: Context,
    is_store_away: AtomicBool,
}

/// What `/-/ready` calls the store.
const STORE: &str = "store";

impl Gate {
    pub(crate) fn new(config: Config, context: Context, ingest: Ingest, metrics: Metrics) -> Self {
        let turns = Semaphore::new(config.requests_in_flight_max.min(Semaphore::MAX_PERMITS));
        let clock = context.clock.clone();
        // Different in every process, and nobody outside can find it out.
        let seed = RandomState::new().hash_one(config.known_series_max);
        let known = KnownLabels::new(config.known_series_max, seed);
        let is_store_away = AtomicBool::new(false);
        Self { config, clock, ingest, metrics, known, turns, context, is_store_away }
    }

    /// Waits for a turn, without which nothing large is read into memory.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, Rejection> {
        let waited = tokio::time::timeout(self.config.request_wait, self.turns.acquire()).await;
        let Ok(Ok(permit)) = waited else {
            let text = format!(
                "transfer works on {} requests already (transfer.requests_in_flight_max); send again later",
                self.config.requests_in_flight_max
            );
            let fault = RequestFault::InFlight;
            return Err(Rejection { status: StatusCode::TOO_MANY_REQUESTS, text, fault });
        };
        Ok(Turn { _counted: Counted::one(&self.metrics.requests_in_flight), _permit: permit })
    }

    /// Puts a decoded request through the corridor.
    pub(crate) async fn take(&self, incoming: Incoming) -> Result<Verdict, Rejection> {
        self.note(self.ingest.take(incoming).await)
    }

    /// Puts a remote-write request through the corridor in its bytes; `None` when it has to be
    /// decoded.
    pub(crate) async fn take_encoded(
        &self,
        body: &Bytes,
        token: Option<TokenId>,
    ) -> Result<Option<Verdict>, Rejection> {
        let Some(ready) = self.ingest.prepare(body, token) else { return Ok(None) };
        self.note(self.ingest.dispatch(ready).await).map(Some)
    }

    fn note(&self, outcome: Result<Verdict, OutletError>) -> Result<Verdict, Rejection> {
        match outcome {
            Ok(verdict) => {
                if self.is_store_away.swap(false, Ordering::Relaxed) {
                    self.context.has(STORE);
                    tracing::info!("samples are taken again");
                }
                Ok(verdict)
            }
            Err(error) => {
                let rejection = Rejection::outlet(&error);
                self.context.lacks(STORE, rejection.text.as_str());
                // Once, and not for every request of an outage.
                if !self.is_store_away.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        reason = rejection.text,
                        "samples are refused; clients keep and repeat them"
                    );
                }
                Err(rejection)
            }
        }
    }

    /// Counts a request that is refused as a whole, and hands it back to be answered.
    pub(crate) fn refuse(&self, rejection: Rejection) -> Rejection {
        self.metrics.refused_request(rejection.fault);
        rejection
    }
}

/// The right to be worked on; counted for as long as it is held, also when the client goes away.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    _counted: Counted,
    _permit: SemaphorePermit<'a>,
}

/// Counts one thing in a gauge for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn one(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
