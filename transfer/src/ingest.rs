//! The one corridor: whatever the format, every sample passes here, and every sample that does not
//! get through has a named reason.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use daemon::Clock;
use model::{Labels, METRIC_NAME, Metadata, Relabel, Series, Timestamp};
use storage::{Batch, Refusal, WriteOutcome};
use wire::known::Known;

use crate::config::Config;
use crate::endpoints::{Endpoints, Limits};
use crate::express::Passport;
use crate::metrics::{Metrics, Protocol};
use crate::names::OriginalNames;
use crate::outlet::{Outlet, OutletError};
use crate::reason::{Reason, Refusals};
use crate::tokens::{TokenId, Tokens};
use crate::trace::{Passed, Trace};

/// Help and unit are cut here: they are for humans, and metadata stays in memory.
const METADATA_TEXT_BYTES_MAX: usize = 1024;
/// An example of a refused series is cut here.
const EXAMPLE_CHARS_MAX: usize = 200;

/// A decoded request.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) protocol: Protocol,
    /// The token it came with.
    pub(crate) token: Option<TokenId>,
    /// The samples that could be decoded.
    pub(crate) series: Vec<Series>,
    /// Metadata by canonical name.
    pub(crate) metadata: Vec<(String, Metadata)>,
    /// Where the series got their names from, for a protocol that has names of its own.
    pub(crate) originals: Option<Originals>,
    /// The samples that could not.
    pub(crate) refusals: Refusals,
}

impl Incoming {
    /// Without anything in it yet.
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            token: None,
            series: Vec::new(),
            metadata: Vec::new(),
            originals: None,
            refusals: Refusals::default(),
        }
    }

    /// Whether there is nothing to take and nothing to count.
    pub(crate) fn is_empty(&self) -> bool {
        self.series.is_empty() && self.metadata.is_empty() && self.refusals.is_empty()
    }

    /// Samples that could be decoded.
    pub(crate) fn samples(&self) -> usize {
        samples_of(&self.series)
    }
}

/// The original names behind canonical ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Originals {
    /// The distinct ones.
    pub(crate) metrics: Vec<Original>,
    /// For every series the position of its original in `metrics`.
    pub(crate) of_series: Vec<usize>,
}

/// An original name and what it says of the metric.
#[derive(Debug, Clone)]
pub(crate) struct Original {
    pub(crate) name: String,
    pub(crate) canonical: String,
    pub(crate) metadata: Metadata,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Samples received.
    pub(crate) received: usize,
    /// Samples that the store, or the queues of their destinations, have now.
    pub(crate) stored: usize,
    /// The others.
    pub(crate) refusals: Refusals,
}

impl Verdict {
    fn add(&mut self, other: Self) {
        self.received += other.received;
        self.stored += other.stored;
        self.refusals.merge(other.refusals);
    }
}

/// The corridor.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) outlet: Outlet,
    names: Mutex<OriginalNames>,
    pub(crate) relabel: Relabel,
    endpoints: Mutex<Endpoints>,
    pub(crate) tokens: Tokens,
    pub(crate) trace: Trace,
    /// What is known of series that are handed on in their bytes.
    pub(crate) passports: Known<Passport>,
    pub(crate) metrics: Metrics,
}

impl Ingest {
    pub(crate) fn new(
        config: Config,
        clock: Clock,
        outlet: Outlet,
        names: OriginalNames,
        relabel: Relabel,
        tokens: Tokens,
        metrics: Metrics,
    ) -> Self {
        metrics.falcon_names.set(i64::try_from(names.len()).unwrap_or(i64::MAX));
        let endpoints = Mutex::new(Endpoints::new(Limits::from(&config)));
        let (names, trace) = (Mutex::new(names), Trace::default());
        // Different in every process, and nobody outside can find it out.
        let seed = RandomState::new().hash_one(config.known_series_max);
        let passports = Known::new(config.known_series_max, seed);
        Self { config, clock, outlet, names, relabel, endpoints, tokens, trace, passports, metrics }
    }

    /// Takes a request. The samples of the verdict are stored when this returns; after an error
    /// none is, or it is not known, and sending all again is harmless.
    pub(crate) async fn take(&self, mut incoming: Incoming) -> Result<Verdict, OutletError> {
        let traced = self.trace.pick(&mut incoming, self.clock.now());
        let mut verdict = self.pass(incoming).await?;
        for one in traced {
            verdict.add(self.pass_traced(one).await?);
        }
        Ok(verdict)
    }

    /// Passes a series that somebody asks for.
    async fn pass_traced(&self, incoming: Incoming) -> Result<Verdict, OutletError> {
        let Some(Series { labels, samples }) = incoming.series.first().cloned() else {
            return self.pass(incoming).await;
        };
        let now = self.clock.now();
        let relabelled = self.relabel.apply(&labels);
        let protocol = incoming.protocol.as_str();
        let passed = Passed::new(protocol, &labels, &samples, relabelled.as_ref(), now);
        let outcome = self.pass(incoming).await;
        let passed = match &outcome {
            Ok(verdict) => {
                let leaving = relabelled.as_ref().filter(|_| verdict.stored > 0);
                let destinations = leaving.map(|labels| {
                    self.outlet.destinations_of(labels, |name| self.original_of(name))
                });
                passed.with_outcome(verdict, destinations.unwrap_or_default())
            }
            Err(error) => passed.with_error(&daemon::error_chain(error)),
        };
        self.trace.note(&labels, &passed, now);
        outcome
    }

    async fn pass(&self, incoming: Incoming) -> Result<Verdict, OutletError> {
        let Incoming { protocol, token, series, metadata, originals, refusals } = incoming;
        let mut verdict =
            Verdict { received: samples_of(&series) + refusals.samples(), stored: 0, refusals };
        self.note_received(protocol, token, verdict.received);

        let mut metadata: Vec<_> =
            metadata.into_iter().filter_map(|one| self.bounded_metadata(one)).collect();
        let series = match &originals {
            Some(originals) => {
                self.claim_names(series, originals, &mut metadata, &mut verdict.refusals)
            }
            None => series,
        };
        let series = self.relabelled(series, &mut verdict.refusals);
        let series = self.admitted(series, protocol, token, &mut verdict.refusals);
        let series = self.within_limits(series, &mut verdict.refusals);
        if !(series.is_empty() && metadata.is_empty()) {
            let offered = samples_of(&series);
            let written_at = tokio::time::Instant::now();
            let batch = Batch { series, metadata };
            let original = |name: &str| self.original_of(name);
            let outcome = self.outlet.write(batch, self.clock.now(), original).await?;
            self.metrics.write_seconds.observe(written_at.elapsed().as_secs_f64());
            verdict.stored = offered - self.note_refused(outcome, &mut verdict.refusals);
        }
        if let Some(originals) = originals {
            self.names_are_stored(&originals);
        }
        self.metrics.done(verdict.stored, &verdict.refusals);
        if !verdict.refusals.is_empty() {
            // Every refusal is counted; the text is for whoever looks for the sender.
            tracing::debug!(protocol = protocol.as_str(), refused = %verdict.refusals, "samples refused");
        }
        Ok(verdict)
    }

    fn relabelled(&self, series: Vec<Series>, refusals: &mut Refusals) -> Vec<Series> {
        if self.relabel.is_empty() {
            return series;
        }
        let mut kept = Vec::with_capacity(series.len());
        for one in series {
            let reason = match self.relabel.apply(&one.labels) {
                Some(labels) if !labels.metric_name().is_empty() => {
                    kept.push(Series { labels, ..one });
                    continue;
                }
                Some(_) => Reason::RelabelNameless,
                None => Reason::RelabelDropped,
            };
            refusals.add(reason, one.samples.len(), || describe(&one.labels));
        }
        kept
    }

    /// Counts what came.
    pub(crate) fn note_received(&self, protocol: Protocol, token: Option<TokenId>, samples: usize) {
        self.metrics.received(protocol, samples);
        if let Some(token) = token {
            self.metrics.received_with(self.tokens.name(token), samples);
        }
    }

    /// Counts what each endpoint sends, and keeps what it and its token may send.
    fn admitted(
        &self,
        mut series: Vec<Series>,
        protocol: Protocol,
        token: Option<TokenId>,
        refusals: &mut Refusals,
    ) -> Vec<Series> {
        let now = self.clock.now();
        let mut endpoints = self.endpoints();
        let mut hint = None;
        series.retain(|one| {
            let samples = one.samples.len();
            let by_token = token.map_or(Ok(()), |token| {
                self.tokens.admit(token, || one.labels.hash(), samples, now)
            });
            let admitted = by_token
                .and_then(|()| endpoints.admit(&one.labels, samples, protocol, now, &mut hint));
            if let Err(reason) = admitted {
                refusals.add(reason, one.samples.len(), || describe(&one.labels));
            }
            admitted.is_ok()
        });
        self.metrics.endpoints.set(i64::try_from(endpoints.len()).unwrap_or(i64::MAX));
        series
    }

    /// What each endpoint sends.
    pub(crate) fn endpoints(&self) -> MutexGuard<'_, Endpoints> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn within_limits(&self, series: Vec<Series>, refusals: &mut Refusals) -> Vec<Series> {
        let latest = self.clock.now().plus(self.config.future_max);
        let mut kept = Vec::with_capacity(series.len());
        for mut one in series {
            if let Err(reason) = check_labels(&one.labels, &self.config) {
                refusals.add(reason, one.samples.len(), || describe(&one.labels));
                continue;
            }
            let early = cut_future(&mut one, latest);
            if early > 0 {
                refusals.add(Reason::TooFarInFuture, early, || describe(&one.labels));
            }
            if !one.samples.is_empty() {
                kept.push(one);
            }
        }
        kept
    }

    /// Keeps the series whose original owns the canonical name, and adds metadata that the store
    /// lacks.
    fn claim_names(
        &self,
        series: Vec<Series>,
        originals: &Originals,
        metadata: &mut Vec<(String, Metadata)>,
        refusals: &mut Refusals,
    ) -> Vec<Series> {
        let mut names = self.names();
        let claim = |one: &Original| {
            let lacking = names.claim(&one.canonical, &one.name)?;
            if lacking {
                metadata.push((one.canonical.to_owned(), one.metadata.clone()));
            }
            Ok(())
        };
        let claims: Vec<Result<(), Reason>> = originals.metrics.iter().map(claim).collect();
        self.metrics.falcon_names.set(i64::try_from(names.len()).unwrap_or(i64::MAX));
        drop(names);
        let mut kept = Vec::with_capacity(series.len());
        for (one, original) in series.into_iter().zip(&originals.of_series) {
            match claims[*original] {
                Ok(()) => kept.push(one),
                Err(reason) => {
                    refusals.add(reason, one.samples.len(), || {
                        originals.metrics[*original].name.to_owned()
                    });
                }
            }
        }
        kept
    }

    fn names_are_stored(&self, originals: &Originals) {
        let mut names = self.names();
        for one in &originals.metrics {
            names.stored(&one.canonical, &one.name);
        }
    }

    /// Notes what the store refused and returns how many samples that are.
    fn note_refused(&self, outcome: WriteOutcome, refusals: &mut Refusals) -> usize {
        let mut samples = 0;
        for refused in outcome.refused {
            if refused.reason == Refusal::MetadataLimit {
                self.metrics.refused_metadata.inc_by(refused.count as u64);
                continue;
            }
            samples += refused.count;
            refusals
                .add(Reason::Storage(refused.reason), refused.count, || describe(&refused.example));
        }
        samples
    }

    fn bounded_metadata(
        &self,
        (name, mut about): (String, Metadata),
    ) -> Option<(String, Metadata)> {
        for text in [&mut about.help, &mut about.unit] {
            text.truncate(text.floor_char_boundary(METADATA_TEXT_BYTES_MAX));
        }
        (name.len() <= self.config.label_value_bytes_max).then_some((name, about))
    }

    /// The name that Open-Falcon's clients have for a metric.
    pub(crate) fn original_of(&self, canonical: &str) -> Option<String> {
        self.names().original(canonical).map(str::to_owned)
    }

    fn names(&self) -> MutexGuard<'_, OriginalNames> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn check_labels(labels: &Labels, config: &Config) -> Result<(), Reason> {
    // No part is longer than the whole, and a label takes four bytes at least: most sets need not be
    // looked through.
    let bytes = labels.byte_len();
    let longest_allowed = config.label_name_bytes_max.min(config.label_value_bytes_max);
    if bytes <= longest_allowed && bytes / 4 <= config.labels_per_series_max {
        return Ok(());
    }
    let mut count = 0;
    for (name, value) in labels.iter() {
        count += 1;
        if count > config.labels_per_series_max {
            return Err(Reason::TooManyLabels);
        }
        if name.len() > config.label_name_bytes_max {
            return Err(Reason::LabelNameTooLong);
        }
        if value.len() > config.label_value_bytes_max {
            return Err(Reason::LabelValueTooLong);
        }
    }
    Ok(())
}

/// Removes the samples after `latest` and returns how many there were; samples ascend in time.
fn cut_future(series: &mut Series, latest: Timestamp) -> usize {
    let kept = series.samples.partition_point(|sample| sample.timestamp <= latest);
    let cut = series.samples.len() - kept;
    series.samples.truncate(kept);
    cut
}

fn samples_of(series: &[Series]) -> usize {
    series.iter().map(|one| one.samples.len()).sum()
}

fn describe(labels: &Labels) -> String {
    let name = labels.get(METRIC_NAME).unwrap_or("");
    let text = if name.len() > EXAMPLE_CHARS_MAX { name.to_owned() } else { labels.to_string() };
    text.chars().take(EXAMPLE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use model::Sample;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_760_000_000);

    fn series(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
        let samples = samples.iter().map(|(at, value)| Sample::new(*at, *value)).collect();
        Series { labels: Labels::from_pairs(pairs.iter().copied()), samples }
    }

    fn reason_for(pairs: &[(&str, &str)]) -> Option<Reason> {
        let config = Config {
            labels_per_series_max: 3,
            label_name_bytes_max: 8,
            label_value_bytes_max: 5,
            ..Config::default()
        };
        check_labels(&Labels::from_pairs(pairs.iter().copied()), &config).err()
    }

    fn ingest(storage: &storage::Storage) -> Ingest {
        let context =
            daemon::Context::new("transfer", Clock::manual(NOW)).expect("a client can be built");
        let metrics = Metrics::register(&context);
        let names = OriginalNames::restore(&[], 10);
        Ingest::new(
            Config::default(),
            context.clock.clone(),
            Outlet::Store(storage.writer()),
            names,
            Relabel::default(),
            Tokens::load(&Config::default(), NOW).expect("there are none"),
            metrics,
        )
    }

    fn incoming(series: Vec<Series>) -> Incoming {
        Incoming { series, ..Incoming::new(Protocol::RemoteWrite) }
    }

    #[test]
    fn label_limits_are_told_apart() {
        assert_eq!(reason_for(&[("__name__", "x"), ("a", "1"), ("b", "12345")]), None);
        assert_eq!(
            reason_for(&[("__name__", "x"), ("a", "1"), ("b", "2"), ("c", "3")]),
            Some(Reason::TooManyLabels)
        );
        assert_eq!(reason_for(&[("__name__x", "x")]), Some(Reason::LabelNameTooLong));
        assert_eq!(reason_for(&[("a", "123456")]), Some(Reason::LabelValueTooLong));
    }

    #[test]
    fn samples_of_the_far_future_are_cut() {
        let mut one =
            series(&[("__name__", "x")], &[(1, 1.0), (5, 1.0), (6, 1.0), (i64::MAX, 1.0)]);
        assert_eq!(cut_future(&mut one, Timestamp(5)), 2);
        assert_eq!(one.samples.len(), 2);
    }

    #[tokio::test]
    async fn every_sample_is_stored_or_refused() {
        let storage = storage::Storage::memory(storage::Limits::default());
        let ingest = ingest(&storage);
        let now = NOW.millis();
        let sent = vec![
            series(&[("__name__", "a")], &[(now, 1.0), (now + 600_000, 2.0), (now + 600_001, 3.0)]),
            series(&[("__name__", "b"), ("c", &"x".repeat(3000))], &[(now, 1.0)]),
        ];
        let verdict = ingest.take(incoming(sent.clone())).await.expect("memory takes it");
        assert_eq!((verdict.received, verdict.stored, verdict.refusals.samples()), (4, 2, 2));
        let again = ingest.take(incoming(sent)).await.expect("memory takes it");
        assert_eq!((again.stored, again.refusals.samples()), (2, 2), "a repetition is a success");
        let changed = vec![series(&[("__name__", "a")], &[(now, 9.0)])];
        let verdict = ingest.take(incoming(changed)).await.expect("memory takes it");
        assert_eq!(verdict.refusals.to_string(), "1 duplicate (such as a)");
    }

    #[tokio::test]
    async fn long_help_is_cut_and_not_refused() {
        let storage = storage::Storage::memory(storage::Limits::default());
        let about = Metadata { help: "主".repeat(1000), ..Metadata::default() };
        let request = Incoming { metadata: vec![("a".into(), about)], ..incoming(vec![]) };
        ingest(&storage).take(request).await.expect("memory takes it");
        let stored = storage.reader().metadata(Some("a"), 0).await.expect("memory answers");
        assert_eq!(stored[0].1.help.len(), 1023);
    }
}
