//! What all receivers share: settings, clock, counters, a bounded number of turns, and the corridor
//! behind.

use axum::http::StatusCode;
use daemon::Clock;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::Config;
use crate::ingest::{Incoming, Ingest, Verdict};
use crate::metrics::{Metrics, RequestFault};
use crate::receive::Rejection;

/// The way in.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) ingest: Ingest,
    pub(crate) metrics: Metrics,
    turns: Semaphore,
}

impl Gate {
    pub(crate) fn new(config: Config, clock: Clock, ingest: Ingest, metrics: Metrics) -> Self {
        let turns = Semaphore::new(config.requests_in_flight_max.min(Semaphore::MAX_PERMITS));
        Self { config, clock, ingest, metrics, turns }
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
        self.ingest.take(incoming).await.map_err(|error| Rejection::storage(&error))
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
