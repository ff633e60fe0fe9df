//! Takes alerts and answers when they are durable.
//!
//! One task owns the writing: it gathers what several requests brought meanwhile, merges it with the store in
//! order, and commits once for all of them. So two senders of one alert cannot overwrite each other's news,
//! and a storm of small requests does not cost a disk flush each.

use std::sync::Arc;
use std::time::Duration;

use db::DbError;
use db::alerts::{AlertEvent, AlertStatus, EventKind, StoredAlert};
use model::{Alert, Fingerprint, FingerprintMap, Timestamp};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use wire::alert::{Accepted, AlertFault, PostableAlert};

use crate::app::Common;
use crate::config::Config;
use crate::dispatch::{Dispatcher, Message};
use crate::group::News;
use crate::merge::{expire, merge};

/// Requests that wait for the writer; further ones get 503 at once.
const REQUESTS_WAITING_MAX: usize = 256;
/// The most alerts in one commit, unless one request alone brings more.
const ALERTS_PER_COMMIT: usize = 5_000;
const LEASE_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// The rest waits for the next check, so that a storm of silence does not hold up news.
const LEASES_PER_CHECK: u32 = 5_000;

/// Why an alert is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// It is no valid alert.
    Malformed,
    /// It has too many or too long labels or annotations.
    TooLarge,
    /// It is new, and the store is full.
    TooManyStored,
}

impl Refusal {
    pub(crate) const ALL: [Self; 3] = [Self::Malformed, Self::TooLarge, Self::TooManyStored];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::TooManyStored => "too_many_stored",
        }
    }
}

/// Why a whole request could not be taken.
#[derive(Debug, Error)]
pub(crate) enum IntakeError {
    /// The writer is behind.
    #[error("alarm is busy: {REQUESTS_WAITING_MAX} requests wait already; send again in a second")]
    Busy,
    /// The store failed, so nothing was acknowledged.
    #[error("alerts cannot be stored now; send again")]
    Store(#[source] Arc<DbError>),
}

/// An alert that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Its position in the request.
    pub(crate) at: usize,
    /// Which alert, and why.
    pub(crate) text: String,
}

type Answer = Result<Vec<Refused>, IntakeError>;

struct Request {
    news: Vec<Accepted>,
    answer: oneshot::Sender<Answer>,
}

/// The way in; clones lead to the same writer.
#[derive(Debug, Clone)]
pub(crate) struct Intake {
    requests: mpsc::Sender<Request>,
}

impl Intake {
    /// Stores news of alerts. When this returns they are on disk, but for those that were refused.
    pub(crate) async fn take(&self, news: Vec<Accepted>) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(Request { news, answer }).map_err(|_| IntakeError::Busy)?;
        answered.await.unwrap_or(Err(IntakeError::Busy))
    }
}

/// The writer behind an [`Intake`].
#[derive(Debug)]
pub(crate) struct Writer {
    requests: mpsc::Receiver<Request>,
    common: Common,
    alerts_max: u64,
    dispatcher: Dispatcher,
    /// How many alerts are stored, as far as this instance knows, and until when that is believed.
    stored: Option<(u64, Timestamp)>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({} alerts)", self.news.len())
    }
}

/// A way in and the writer behind it, which hands what happens to the dispatcher.
pub(crate) fn open(common: Common, alerts_max: u64, dispatcher: Dispatcher) -> (Intake, Writer) {
    let (sender, requests) = mpsc::channel(REQUESTS_WAITING_MAX);
    (Intake { requests: sender }, Writer { requests, common, alerts_max, dispatcher, stored: None })
}

impl Writer {
    /// Writes until every way in is gone, and ends leases in between. Leases are not ended for the first
    /// `lease_grace` after the start: nobody could renew them while we were away.
    pub(crate) async fn run(mut self, lease_grace: Duration) {
        let mut next_check = self.common.clock.now().plus(lease_grace);
        loop {
            tokio::select! {
                first = self.requests.recv() => match first {
                    Some(first) => self.write_with_waiting(first).await,
                    None => return,
                },
                () = self.common.clock.sleep_until(next_check) => {
                    self.end_leases().await;
                    next_check = self.common.clock.now().plus(LEASE_CHECK_INTERVAL);
                }
            }
        }
    }

    async fn write_with_waiting(&mut self, first: Request) {
        let mut alerts = first.news.len();
        let mut batch = vec![first];
        while alerts < ALERTS_PER_COMMIT
            && let Ok(next) = self.requests.try_recv()
        {
            alerts += next.news.len();
            batch.push(next);
        }
        self.write(batch).await;
    }

    /// Marks firing alerts without news as stale. Done by the writer, so that a renewal at the same moment is
    /// not lost.
    async fn end_leases(&mut self) {
        match self.store_overdue().await {
            Ok(0) => {}
            Ok(alerts) => {
                self.common.metrics.leases_expired.inc_by(alerts);
                tracing::warn!(
                    alerts,
                    "no news of firing alerts until their leases ran out: they are shown as stale"
                );
            }
            Err(error) => {
                self.common.metrics.store_failures.inc();
                let error = daemon::error_chain(&error);
                tracing::error!(error, "cannot look for leases that ran out; trying again");
            }
        }
    }

    async fn store_overdue(&self) -> Result<u64, DbError> {
        let now = self.common.clock.now();
        let overdue = self.common.db.alerts().overdue(now, LEASES_PER_CHECK).await?;
        if overdue.is_empty() {
            return Ok(0);
        }
        let alerts: Vec<StoredAlert> = overdue.into_iter().map(expire).collect();
        let events: Vec<AlertEvent> =
            alerts.iter().map(|stale| AlertEvent::new(stale, EventKind::Stale, now)).collect();
        let stored = self.keep(alerts, events).await?;
        let overdue = stored.alerts.len() as u64;
        self.tell(stored).await;
        Ok(overdue)
    }

    async fn write(&mut self, batch: Vec<Request>) {
        let (news, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|request| (request.news, request.answer)).unzip();
        match self.store(news).await {
            Ok((stored, refused)) => {
                self.count(&stored.alerts, refused.iter().map(Vec::len).sum());
                for (answer, refused) in answers.into_iter().zip(refused) {
                    // A client that went away does not need its answer.
                    let _ = answer.send(Ok(refused));
                }
                // What is left needs no client to wait for it.
                self.tell(stored).await;
            }
            Err(error) => {
                tracing::error!(
                    error = daemon::error_chain(&error),
                    "cannot store alerts; senders will repeat them"
                );
                self.common.metrics.store_failures.inc();
                let error = Arc::new(error);
                for answer in answers {
                    let _ = answer.send(Err(IntakeError::Store(error.clone())));
                }
            }
        }
    }

    /// Stores the news of several requests in one transaction; answers with the refusals of each.
    async fn store(
        &mut self,
        requests: Vec<Vec<Accepted>>,
    ) -> Result<(Stored, Vec<Vec<Refused>>), DbError> {
        let now = self.common.clock.now();
        let mut fingerprints: Vec<Fingerprint> =
            requests.iter().flatten().map(|news| news.alert.fingerprint()).collect();
        fingerprints.sort_unstable();
        fingerprints.dedup();
        let known = self.common.db.alerts().load(&fingerprints).await?;
        let new = (fingerprints.len() - known.len()) as u64;
        let room = if new == 0 { 0 } else { self.room(new, now).await? };
        let mut round =
            Round::new(known, usize::try_from(room).unwrap_or(usize::MAX), self.alerts_max, now);
        let refused: Vec<Vec<Refused>> =
            requests.into_iter().map(|news| round.merge_all(news)).collect();
        let (alerts, events) = round.changes();
        Ok((self.keep(alerts, events).await?, refused))
    }

    /// For how many new alerts there is room. Counting takes long in a large store, so the count is believed for
    /// some seconds, `new` ones added.
    async fn room(&mut self, new: u64, now: Timestamp) -> Result<u64, DbError> {
        let stored = match self.stored {
            Some((stored, until)) if now < until => stored,
            _ => self.common.db.alerts().count_all().await?,
        };
        let until = match self.stored {
            Some((_, until)) if now < until => until,
            _ => now.plus(LEASE_CHECK_INTERVAL),
        };
        let room = self.alerts_max.saturating_sub(stored);
        self.stored = Some((stored + new.min(room), until));
        Ok(room)
    }

    async fn keep(
        &self,
        alerts: Vec<StoredAlert>,
        events: Vec<AlertEvent>,
    ) -> Result<Stored, DbError> {
        // Who does not dispatch leaves the events in the store for the one who does.
        let hands_over = self.dispatcher.leads(self.common.clock.now());
        self.common.db.alerts().store(&alerts, &events, hands_over).await?;
        Ok(Stored { alerts, events, hands_over })
    }

    async fn tell(&self, stored: Stored) {
        if stored.hands_over && !stored.events.is_empty() {
            self.dispatcher.tell(Message::News(stored.news())).await;
        }
    }

    fn count(&self, alerts: &[StoredAlert], refused: usize) {
        for status in [AlertStatus::Firing, AlertStatus::Resolved] {
            let of_status = alerts.iter().filter(|alert| alert.status == status).count();
            self.common.metrics.received_alerts(status, of_status as u64);
        }
        self.common.metrics.refused_alerts(Refusal::TooManyStored, refused as u64);
        self.common.metrics.took_in_at(self.common.clock.now());
    }
}

/// What a commit stored.
struct Stored {
    alerts: Vec<StoredAlert>,
    events: Vec<AlertEvent>,
    /// Whether the dispatcher of this process is to be told.
    hands_over: bool,
}

impl Stored {
    /// The alerts that something happened to, each once.
    fn news(&self) -> Vec<(Fingerprint, News)> {
        let changed: FingerprintMap<Timestamp> =
            self.events.iter().map(|event| (event.fingerprint, event.at)).collect();
        let news = self.alerts.iter().filter_map(|stored| {
            let fingerprint = stored.alert.fingerprint();
            changed.get(&fingerprint).map(|at| (fingerprint, News::of(stored, *at)))
        });
        news.collect()
    }
}

/// Merges the news of one commit in memory. Pure.
struct Round {
    current: FingerprintMap<StoredAlert>,
    changed: Vec<Fingerprint>,
    events: Vec<AlertEvent>,
    room: usize,
    alerts_max: u64,
    now: Timestamp,
}

impl Round {
    fn new(known: Vec<StoredAlert>, room: usize, alerts_max: u64, now: Timestamp) -> Self {
        let current =
            known.into_iter().map(|stored| (stored.alert.fingerprint(), stored)).collect();
        Self { current, changed: Vec::new(), events: Vec::new(), room, alerts_max, now }
    }

    fn merge_all(&mut self, news: Vec<Accepted>) -> Vec<Refused> {
        let mut refused = Vec::new();
        for (at, news) in news.into_iter().enumerate() {
            let fingerprint = news.alert.fingerprint();
            let old = self.current.get(&fingerprint);
            if old.is_none() {
                if self.room == 0 {
                    let text = format!(
                        "alert {} is new and the store is full: alarm.alerts_max is {}",
                        news.alert.labels, self.alerts_max
                    );
                    refused.push(Refused { at, text });
                    continue;
                }
                self.room -= 1;
            }
            let merged = merge(old, news, self.now);
            if let Some(kind) = merged.transition {
                self.events.push(AlertEvent::new(&merged.stored, kind, self.now));
            }
            self.current.insert(fingerprint, merged.stored);
            self.changed.push(fingerprint);
        }
        refused
    }

    fn changes(mut self) -> (Vec<StoredAlert>, Vec<AlertEvent>) {
        let current = &mut self.current;
        // An alert that came twice is taken out of the map, and so stored, once: as it stands at the end.
        let alerts =
            self.changed.iter().filter_map(|fingerprint| current.remove(fingerprint)).collect();
        (alerts, self.events)
    }
}

/// Checks one posted alert against the limits and fills in what it leaves out.
pub(crate) fn check(
    posted: Result<PostableAlert, AlertFault>,
    now: Timestamp,
    resolve_timeout: Duration,
    config: &Config,
) -> Result<Accepted, (Refusal, String)> {
    let accepted = posted
        .and_then(|alert| alert.accept(now, resolve_timeout))
        .map_err(|fault| (Refusal::Malformed, fault.to_string()))?;
    match size_fault(&accepted.alert, config) {
        Some(fault) => Err((Refusal::TooLarge, fault)),
        None => Ok(accepted),
    }
}

fn size_fault(alert: &Alert, config: &Config) -> Option<String> {
    let name = alert.labels.get(model::ALERT_NAME).unwrap_or("without a name");
    let name: String = name.chars().take(100).collect();
    let most = config.labels_per_alert_max;
    for (count, what) in [(alert.labels.len(), "labels"), (alert.annotations.len(), "annotations")]
    {
        if count > most {
            return Some(format!(
                "alert {name:?}: {count} {what} are more than alarm.labels_per_alert_max = {most}"
            ));
        }
    }
    let value_max = config.label_value_bytes_max;
    let text_max = config.annotation_bytes_max;
    let too_long = |label: &str, value: &str, max: usize| label.len() > 1024 || value.len() > max;
    if let Some((label, _)) =
        alert.labels.iter().find(|(label, value)| too_long(label, value, value_max))
    {
        let label: String = label.chars().take(100).collect();
        return Some(format!(
            "alert {name:?}: label {label:?} is longer than alarm.label_value_bytes_max = {value_max}"
        ));
    }
    if let Some((text, _)) =
        alert.annotations.iter().find(|(text, value)| too_long(text, value, text_max))
    {
        let text: String = text.chars().take(100).collect();
        return Some(format!(
            "alert {name:?}: annotation {text:?} is longer than alarm.annotation_bytes_max = {text_max}"
        ));
    }
    (alert.generator_url.len() > text_max).then(|| {
        format!(
            "alert {name:?}: generatorURL is longer than alarm.annotation_bytes_max = {text_max}"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::Labels;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000);
    const TIMEOUT: Duration = Duration::from_secs(300);

    fn news(name: &str, ends: i64) -> Accepted {
        let alert = Alert {
            labels: Labels::from_pairs([("alertname", name)]),
            annotations: BTreeMap::new(),
            starts_at: Timestamp(500),
            ends_at: Timestamp(ends),
            generator_url: String::new(),
        };
        Accepted { alert, end_is_timeout: false }
    }

    fn posted(labels: &[(&str, &str)]) -> Result<PostableAlert, AlertFault> {
        Ok(PostableAlert {
            labels: Labels::from_pairs(labels.iter().copied()),
            ..PostableAlert::default()
        })
    }

    #[test]
    fn news_of_one_alert_in_one_commit_is_merged_in_order() {
        let mut round = Round::new(Vec::new(), 10, 10, NOW);
        assert!(
            round.merge_all(vec![news("a", 2_000), news("b", 2_000), news("a", 900)]).is_empty()
        );
        let (alerts, events) = round.changes();
        assert_eq!(alerts.len(), 2);
        let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::Firing, EventKind::Firing, EventKind::Resolved]);
        let a =
            alerts.iter().find(|stored| stored.alert.labels.get("alertname") == Some("a")).unwrap();
        assert_eq!(a.status, AlertStatus::Resolved);
    }

    #[test]
    fn a_full_store_refuses_new_alerts_and_goes_on_with_known_ones() {
        let known = merge(None, news("known", 2_000), NOW).stored;
        let mut round = Round::new(vec![known], 1, 2, NOW);
        let refused =
            round.merge_all(vec![news("known", 900), news("new", 2_000), news("newer", 2_000)]);
        assert_eq!((refused.len(), refused[0].at), (1, 2));
        let text = &refused[0].text;
        assert!(text.contains("newer") && text.contains("alarm.alerts_max is 2"), "{text}");
        assert_eq!(round.changes().0.len(), 2);
    }

    #[test]
    fn limits_are_named_in_the_refusal() {
        let config = Config {
            labels_per_alert_max: 2,
            label_value_bytes_max: 5,
            annotation_bytes_max: 4,
            ..Config::default()
        };
        let refusal =
            |posted| check(posted, NOW, TIMEOUT, &config).expect_err("it is over a limit");
        let (reason, fault) = refusal(posted(&[("alertname", "a"), ("b", "b"), ("c", "c")]));
        assert_eq!(reason, Refusal::TooLarge);
        assert!(fault.contains("3 labels are more than alarm.labels_per_alert_max = 2"), "{fault}");
        let (_, fault) = refusal(posted(&[("alertname", "toolong")]));
        assert!(fault.contains("alarm.label_value_bytes_max = 5"), "{fault}");
        let (_, fault) = refusal(posted(&[("alertname", "a")]).map(|alert| PostableAlert {
            annotations: BTreeMap::from([("summary".to_owned(), "12345".to_owned())]),
            ..alert
        }));
        assert!(
            fault.contains("\"summary\"") && fault.contains("alarm.annotation_bytes_max = 4"),
            "{fault}"
        );
        let (reason, _) = refusal(posted(&[]));
        assert_eq!(reason, Refusal::Malformed);
        assert!(check(posted(&[("alertname", "ok")]), NOW, TIMEOUT, &config).is_ok());
    }
}
