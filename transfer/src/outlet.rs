//! The way out of the corridor: the store of this process, or destinations by consistent hash, each
//! behind a queue.

use std::sync::Arc;

use axum::body::Bytes;
use model::{Labels, Metadata, Series, Timestamp};
use storage::{Batch, WriteError, WriteOutcome, Writer};
use thiserror::Error;
use wire::remote_write;

use crate::config::Config;
use crate::destination::Destination;
use crate::queue::{Entry, QueueError};
use crate::route::{DestinationSet, Router};

/// Why a batch was not taken. Sending it again is harmless.
#[derive(Debug, Error)]
pub(crate) enum OutletError {
    /// The store failed.
    #[error("the store does not take samples at the moment")]
    Store(#[source] WriteError),
    /// The queue of a destination failed, or is full.
    #[error("destination {destination} does not take samples at the moment")]
    Queue { destination: String, source: QueueError },
}

/// Where the samples of this process go.
#[derive(Debug)]
pub(crate) enum Outlet {
    /// Into its own store.
    Store(Writer),
    /// To destinations.
    Routed(Routed),
}

/// Destinations, and who gets what.
#[derive(Debug)]
pub(crate) struct Routed {
    router: Router,
    ends: Vec<End>,
}

#[derive(Debug)]
enum End {
    Local(String, Writer),
    Remote(Arc<Destination>),
}

/// What one destination gets of a request.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) to: usize,
    pub(crate) body: Bytes,
    pub(crate) samples: usize,
}

impl Outlet {
    /// The way out for a configuration. `destinations` has `None` where the store of this process
    /// is meant, whose `writer` is then given.
    pub(crate) fn new(
        config: &Config,
        writer: Option<Writer>,
        destinations: &[Option<Arc<Destination>>],
    ) -> anyhow::Result<Self> {
        let no_store = || anyhow::anyhow!("samples are to be stored, and there is no store");
        if config.destinations.is_empty() {
            return Ok(Self::Store(writer.ok_or_else(no_store)?));
        }
        let end =
            |(settings, remote): (&crate::config::Destination, &Option<Arc<Destination>>)| match (
                remote, &writer,
            ) {
                (Some(remote), _) => Ok(End::Remote(Arc::clone(remote))),
                (None, Some(writer)) => Ok(End::Local(settings.name.clone(), writer.clone())),
                (None, None) => Err(no_store()),
            };
        let ends: Vec<End> =
            config.way_out().zip(destinations).map(end).collect::<anyhow::Result<_>>()?;
        let weights: Vec<(&str, f64)> =
            config.destinations.iter().map(|one| (one.name.as_str(), one.weight)).collect();
        let (hash, by) = (config.hash, config.hash_by);
        let router = Router::new(hash, by, &weights, config.mirrors.len(), config.replication);
        Ok(Self::Routed(Routed { router, ends }))
    }

    /// Hands a batch on. Once this has returned, it survives the death of the process: it is in the
    /// store or in the queue of every destination it goes to. `original` knows the names that
    /// Open-Falcon's clients have for metrics.
    pub(crate) async fn write(
        &self,
        batch: Batch,
        now: Timestamp,
        original: impl Fn(&str) -> Option<String>,
    ) -> Result<WriteOutcome, OutletError> {
        match self {
            Self::Store(writer) => writer.write(batch).await.map_err(OutletError::Store),
            Self::Routed(routed) => routed.write(batch, now, original).await,
        }
    }

    /// The names of the destinations of a series; empty when the store of this process is all.
    pub(crate) fn destinations_of(
        &self,
        labels: &Labels,
        original: impl Fn(&str) -> Option<String>,
    ) -> Vec<String> {
        let Self::Routed(routed) = self else { return Vec::new() };
        let set = routed.router.route(labels, original);
        set.iter().filter_map(|at| routed.ends.get(at)).map(|end| end.name().to_owned()).collect()
    }

    /// The destinations, when all of them take requests as they are encoded.
    pub(crate) fn as_remote(&self) -> Option<&Routed> {
        match self {
            Self::Routed(routed) => routed.is_remote().then_some(routed),
            Self::Store(_) => None,
        }
    }
}

impl Routed {
    /// Where a series goes.
    pub(crate) fn route(
        &self,
        labels: &Labels,
        original: impl Fn(&str) -> Option<String>,
    ) -> DestinationSet {
        self.router.route(labels, original)
    }

    /// All destinations and mirrors.
    pub(crate) fn all(&self) -> DestinationSet {
        DestinationSet::first(self.ends.len())
    }

    /// How many destinations and mirrors there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn is_remote(&self) -> bool {
        self.ends.iter().all(|end| matches!(end, End::Remote(_)))
    }

    async fn write(
        &self,
        batch: Batch,
        now: Timestamp,
        original: impl Fn(&str) -> Option<String>,
    ) -> Result<WriteOutcome, OutletError> {
        let Batch { series, metadata } = batch;
        let offered = series.iter().map(|one| one.samples.len()).sum();
        let mut shares: Vec<Vec<Series>> = self.ends.iter().map(|_| Vec::new()).collect();
        for one in series {
            let set = self.route(&one.labels, &original);
            let mut places = set.iter().peekable();
            while let Some(at) = places.next() {
                if places.peek().is_none() {
                    shares[at].push(one);
                    break;
                }
                shares[at].push(one.clone());
            }
        }
        let mut parcels = Vec::new();
        let mut outcome = WriteOutcome { stored: offered, ..WriteOutcome::default() };
        for (to, (end, series)) in self.ends.iter().zip(shares).enumerate() {
            if series.is_empty() && metadata.is_empty() {
                continue;
            }
            match end {
                End::Local(_, writer) => {
                    let batch = Batch { series, metadata: metadata.clone() };
                    outcome.refused =
                        writer.write(batch).await.map_err(OutletError::Store)?.refused;
                }
                End::Remote(_) => parcels.push(parcel(to, &series, &metadata)),
            }
        }
        self.queue(parcels, now).await?;
        Ok(outcome)
    }

    /// Puts what each destination gets into its queue.
    pub(crate) async fn queue(
        &self,
        parcels: Vec<Parcel>,
        now: Timestamp,
    ) -> Result<(), OutletError> {
        let push = |parcel: Parcel| async move {
            let Some(End::Remote(destination)) = self.ends.get(parcel.to) else { return Ok(()) };
            let Parcel { body, samples, .. } = parcel;
            let pushed = destination.queue.push(Entry { body, samples, queued_at: now }).await;
            pushed.map_err(|source| OutletError::Queue {
                destination: destination.settings.name.clone(),
                source,
            })
        };
        // Each to its end, whatever becomes of the others: a queue that fails must not take samples
        // away from those that work.
        let pushed = futures_util::future::join_all(parcels.into_iter().map(push)).await;
        pushed.into_iter().collect()
    }
}

impl End {
    fn name(&self) -> &str {
        match self {
            Self::Local(name, _) => name,
            Self::Remote(destination) => &destination.settings.name,
        }
    }
}

fn parcel(to: usize, series: &[Series], metadata: &[(String, Metadata)]) -> Parcel {
    let samples = series.iter().map(|one| one.samples.len()).sum();
    Parcel { to, body: remote_write::encode(series, metadata).into(), samples }
}
