//! The short way through the corridor: a remote-write request whose series are all handed on to
//! other machines stays in its bytes. What the corridor decides from the labels of a series is
//! remembered by those bytes; whatever is not plain goes the long way, [`Ingest::take`], before
//! anything of it is counted here.

use std::sync::Arc;

use axum::body::Bytes;
use model::{ENDPOINT, Timestamp};
use wire::remote_write::raw::{self, RawPart, RawParts, RawSeries};
use wire::remote_write::{join, pack, unpack};

use crate::endpoints::EndpointKey;
use crate::ingest::{Ingest, Verdict, check_labels};
use crate::metrics::Protocol;
use crate::outlet::{OutletError, Parcel, Routed};
use crate::reason::{Reason, Refusals};
use crate::receive::remote_write::limits;
use crate::route::DestinationSet;
use crate::tokens::TokenId;

/// What the corridor says to a series, whatever its samples.
#[derive(Debug, Clone)]
pub(crate) enum Passport {
    /// It may pass.
    Pass(Pass),
    /// A rule of `[[transfer.relabel]]` drops it.
    Dropped,
}

/// How a series passes.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    endpoint: Option<EndpointKey>,
    /// Stands for the series in the limits of endpoints and tokens.
    series: u64,
    to: DestinationSet,
    /// Its labels, encoded, where they are not to stay as they came.
    labels: Option<Arc<[u8]>>,
}

/// A request that has been checked and is to be queued.
#[derive(Debug)]
pub(crate) struct Ready {
    parcels: Vec<Parcel>,
    verdict: Verdict,
    at: Timestamp,
}

/// The parts of a request.
#[derive(Debug, Default)]
struct Parts<'a> {
    series: Vec<RawSeries<'a>>,
    /// How each of them passes; `None` for those that do not.
    passes: Vec<Option<Pass>>,
    metadata: Vec<&'a [u8]>,
    samples: usize,
    refusals: Refusals,
}

impl<'a> Parts<'a> {
    /// The series that pass.
    fn passing(&self) -> impl Iterator<Item = (&RawSeries<'a>, &Pass)> {
        let both = self.series.iter().zip(&self.passes);
        both.filter_map(|(series, pass)| Some((series, pass.as_ref()?)))
    }
}

/// The request has to be decoded.
struct NotPlain;

impl Ingest {
    /// Checks a request in its bytes and sorts it by destination; `None` when it has to be decoded,
    /// and then nothing was counted.
    pub(crate) fn prepare(&self, body: &Bytes, token: Option<TokenId>) -> Option<Ready> {
        let now = self.clock.now();
        let routed = self.outlet.as_remote().filter(|_| !self.trace.is_watching(now))?;
        let mut message = Vec::new();
        unpack(body, limits(&self.config), &mut message).ok()?;
        let mut parts = self.parts(&message, routed, now).ok()?;
        self.note_received(Protocol::RemoteWrite, token, parts.samples);
        self.admit_parts(&mut parts, token, now);
        let parcels = parcels(&parts, body, routed);
        let stored = parts.samples - parts.refusals.samples();
        let verdict = Verdict { received: parts.samples, stored, refusals: parts.refusals };
        Some(Ready { parcels, verdict, at: now })
    }

    /// Queues what is ready.
    pub(crate) async fn dispatch(&self, ready: Ready) -> Result<Verdict, OutletError> {
        let Ready { parcels, verdict, at } = ready;
        if let Some(routed) = self.outlet.as_remote().filter(|_| !parcels.is_empty()) {
            let begun = tokio::time::Instant::now();
            routed.queue(parcels, at).await?;
            self.metrics.write_seconds.observe(begun.elapsed().as_secs_f64());
        }
        self.metrics.done(verdict.stored, &verdict.refusals);
        Ok(verdict)
    }

    fn parts<'a>(
        &self,
        message: &'a [u8],
        routed: &Routed,
        now: Timestamp,
    ) -> Result<Parts<'a>, NotPlain> {
        let latest = now.plus(self.config.future_max).millis();
        let mut parts = Parts::default();
        for part in RawParts::of(message) {
            let series = match part.map_err(|_| NotPlain)? {
                RawPart::Series(series) => series,
                RawPart::Metadata(field) => {
                    parts.metadata.push(field);
                    continue;
                }
            };
            parts.samples += series.samples;
            let is_within =
                series.newest <= latest && parts.samples <= self.config.samples_per_request_max;
            if !series.is_plain || !is_within {
                return Err(NotPlain);
            }
            parts.series.push(series);
        }
        let known = self.passports.find_all(parts.series.iter().map(|series| series.labels));
        parts.passes.reserve(known.len());
        for (series, known) in parts.series.iter().zip(known) {
            let passport = match known {
                Some(passport) => passport,
                None => {
                    let read = || self.passport(series.labels, routed);
                    self.passports.find(series.labels, read)?
                }
            };
            parts.passes.push(match passport {
                Passport::Pass(pass) => Some(pass),
                Passport::Dropped => {
                    let example = || raw::describe(series.labels);
                    parts.refusals.add(Reason::RelabelDropped, series.samples, example);
                    None
                }
            });
        }
        Ok(parts)
    }

    fn passport(&self, encoded: &[u8], routed: &Routed) -> Result<Passport, NotPlain> {
        let sent = raw::read_labels(encoded).map_err(|_| NotPlain)?;
        let labels = match self.relabel.apply(&sent) {
            Some(labels) if labels.metric_name().is_empty() => return Err(NotPlain),
            Some(labels) => labels,
            None => return Ok(Passport::Dropped),
        };
        check_labels(&labels, &self.config).map_err(|_| NotPlain)?;
        let again = raw::encode_labels(&labels);
        Ok(Passport::Pass(Pass {
            endpoint: labels.get(ENDPOINT).map(|name| self.endpoints().key(name)),
            series: labels.hash(),
            to: routed.route(&labels, |name| self.original_of(name)),
            labels: (again != encoded).then(|| again.into()),
        }))
    }

    /// Counts what each endpoint and the token send, and keeps what they may send.
    fn admit_parts(&self, parts: &mut Parts<'_>, token: Option<TokenId>, now: Timestamp) {
        let token = token.filter(|token| self.tokens.is_limited(*token));
        let mut endpoints = self.endpoints();
        let refusals = &mut parts.refusals;
        let mut hint = None;
        for (series, slot) in parts.series.iter().zip(&mut parts.passes) {
            let Some(pass) = slot else { continue };
            let samples = series.samples;
            let by_token = token
                .map_or(Ok(()), |token| self.tokens.admit(token, || pass.series, samples, now));
            let admitted = by_token.and_then(|()| {
                let Some(key) = pass.endpoint else { return Ok(()) };
                let who = (key, || endpoint_of(series, pass));
                let protocol = Protocol::RemoteWrite;
                endpoints.admit_known(who, (pass.series, samples), protocol, now, &mut hint)
            });
            if let Err(reason) = admitted {
                refusals.add(reason, samples, || raw::describe(series.labels));
                *slot = None;
            }
        }
        self.metrics.endpoints.set(i64::try_from(endpoints.len()).unwrap_or(i64::MAX));
    }
}

fn endpoint_of(series: &RawSeries<'_>, pass: &Pass) -> String {
    let labels = pass.labels.as_deref().unwrap_or(series.labels);
    raw::find_label(labels, ENDPOINT).unwrap_or("").to_owned()
}

/// What each destination gets. A request that goes to the same ones as a whole and unchanged is
/// handed on as the client packed it.
fn parcels(parts: &Parts<'_>, body: &Bytes, routed: &Routed) -> Vec<Parcel> {
    let to_all = |set: DestinationSet, body: &Bytes, samples: usize| {
        let parcel = |to| Parcel { to, body: body.clone(), samples };
        set.iter().map(parcel).collect()
    };
    let Some((_, first)) = parts.passing().next() else {
        let is_metadata = parts.series.is_empty() && !parts.metadata.is_empty();
        let all = if is_metadata { routed.all() } else { DestinationSet::default() };
        return to_all(all, body, 0);
    };
    let is_same = |pass: &Pass| pass.to == first.to && pass.labels.is_none();
    if parts.passes.iter().all(|pass| pass.as_ref().is_some_and(is_same)) {
        return to_all(first.to, body, parts.samples);
    }
    let shares = shares(parts);
    let metadata = pack(&parts.metadata.concat());
    let has_metadata = !parts.metadata.is_empty();
    let parcel = |to: usize| {
        let mine = || shares.iter().filter(|share| share.to.contains(to));
        let samples = mine().map(|share| share.samples).sum();
        let bodies = mine().map(|share| share.packed.as_slice());
        let bodies: Vec<&[u8]> =
            bodies.chain(has_metadata.then_some(metadata.as_slice())).collect();
        let body = join(&bodies)?;
        mine().next().is_some().then(|| Parcel { to, body: body.into(), samples })
    };
    (0..routed.len()).filter_map(parcel).collect()
}

/// The series that go to the same destinations.
struct Share {
    to: DestinationSet,
    packed: Vec<u8>,
    samples: usize,
}

fn shares(parts: &Parts<'_>) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    let mut last = 0;
    for (series, pass) in parts.passing() {
        if shares.get(last).is_none_or(|share| share.to != pass.to) {
            last = shares.iter().position(|share| share.to == pass.to).unwrap_or(shares.len());
        }
        if last == shares.len() {
            shares.push(Share { to: pass.to, packed: Vec::new(), samples: 0 });
        }
        let share = &mut shares[last];
        share.samples += series.samples;
        match &pass.labels {
            None => share.packed.extend_from_slice(series.field),
            Some(labels) => raw::put_series(&mut share.packed, labels, series.rest),
        }
    }
    shares.iter_mut().for_each(|share| share.packed = pack(&share.packed));
    shares
}
