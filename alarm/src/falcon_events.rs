//! Takes the events of Open-Falcon's judges from their Redis lists `event:p0` to `event:p6`: an event is an alert like
//! any other, and leaves Redis when it is durable here.
//!
//! Only the instance that dispatches takes them. What it left under way when it died is found by the next one, and an
//! event that both took in is one alert.
//!
//! The lists go by the rule of the queues ([`PLACES_PER_OLDEST`]): of the places of a round seven in eight are for the
//! most urgent events, and one in eight for those that would wait longest, the least urgent.

use std::time::Duration;

use anyhow::Context as _;
use channels::Secret;
use daemon::Faults;
use futures_util::future::try_join_all;
use model::{Timestamp, duration_text};
use serde::{Deserialize, Serialize};
use state::{Inbox, PLACES_PER_OLDEST, RedisConfig, Settled};
use wire::alert::{Accepted, PostableAlert};
use wire::falcon_event::{self, EventFault};

use crate::app::Common;
use crate::dispatch::Dispatcher;
use crate::intake::{Intake, Refused, check};

/// How often empty lists are looked at, as alarm of Open-Falcon does.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// After a fault, and while another instance dispatches.
const PAUSE: Duration = Duration::from_secs(1);
/// Events that a round takes of all lists.
const EVENTS_PER_ROUND: usize = 1000;
/// Of these, for the least urgent.
const FOR_THE_LEAST_URGENT: usize = EVENTS_PER_ROUND / PLACES_PER_OLDEST as usize;

/// `[alarm.falcon_events]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FalconEventsConfig {
    /// Whether events are taken.
    pub enabled: bool,
    /// The Redis that Open-Falcon's judges push to, as in `redis://:password@redis.example:6379/0`.
    pub redis_url: Secret,
    /// For how long a problem is believed that nobody has said to be over: judge repeats one at most `max_step` times
    /// and then says nothing. After that it is shown as stale.
    #[serde(with = "duration_text")]
    pub lease: Duration,
}

impl Default for FalconEventsConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            redis_url: Secret::default(),
            lease: Duration::from_secs(7 * 86_400),
        }
    }
}

impl FalconEventsConfig {
    pub(crate) fn validate(&self, faults: &mut Faults) {
        if self.lease < Duration::from_secs(1) {
            faults.add("alarm.falcon_events.lease", "must be at least 1s");
        }
        if let Some(fault) = self.redis_url.file_fault() {
            faults.add("alarm.falcon_events.redis_url", fault);
        }
        // One in a file is read at the start.
        let is_text = matches!(self.redis_url, Secret::Text(_));
        if self.enabled
            && is_text
            && let Err(error) = RedisConfig::new(self.redis_url.expose()).check()
        {
            faults.add("alarm.falcon_events.redis_url", error.to_string());
        }
    }

    /// The lists, the most urgent first; none when events are not taken.
    pub(crate) fn open(&self) -> anyhow::Result<Vec<Inbox>> {
        if !self.enabled {
            return Ok(Vec::new());
        }
        let mut url = self.redis_url.clone();
        url.read().context("read the file of alarm.falcon_events.redis_url")?;
        let names = (0..falcon_event::PRIORITIES).map(falcon_event::list_name);
        Inbox::open(&RedisConfig::new(url.expose()), names).context("open alarm.falcon_events")
    }
}

/// The task that takes them.
#[derive(Debug)]
pub(crate) struct FalconEvents {
    pub(crate) common: Common,
    pub(crate) intake: Intake,
    pub(crate) dispatcher: Dispatcher,
    /// The most urgent first.
    pub(crate) inboxes: Vec<Inbox>,
}

/// Items of a list that are under way.
#[derive(Debug)]
struct Batch<'a> {
    inbox: &'a Inbox,
    news: Vec<Accepted>,
    good: Vec<Vec<u8>>,
    bad: Vec<Vec<u8>>,
}

impl FalconEvents {
    /// Takes events for as long as the process runs.
    pub(crate) async fn run(self) {
        loop {
            let pause = if self.dispatcher.leads(self.common.clock.now()) {
                match self.drain().await {
                    Ok(()) => LOOK_INTERVAL,
                    Err(error) => {
                        self.common.metrics.store_failures.inc();
                        let error = format!("{error:#}");
                        tracing::error!(error, "cannot take events of Open-Falcon; trying again");
                        PAUSE
                    }
                }
            } else {
                PAUSE
            };
            self.common.clock.sleep(pause).await;
        }
    }

    /// Takes what is under way from before, and then from the lists, until this instance no longer dispatches. While
    /// one round is being stored the next one is taken and read.
    async fn drain(&self) -> anyhow::Result<()> {
        while self.take_in(self.left_behind().await?).await? > 0 {}
        let mut round = Vec::new();
        while self.dispatcher.leads(self.common.clock.now()) {
            let taken_in = self.take_in(std::mem::take(&mut round));
            let (taken_in, next) = tokio::join!(taken_in, self.next_round());
            // What was taken meanwhile is found under way again after a failure.
            taken_in?;
            round = next?;
            if round.is_empty() {
                self.common.clock.sleep(LOOK_INTERVAL).await;
            }
        }
        self.take_in(round).await.map(drop)
    }

    /// What somebody took and did not settle: a part of it, if it is much.
    async fn left_behind(&self) -> anyhow::Result<Vec<Batch<'_>>> {
        let now = self.common.clock.now();
        let left = try_join_all(self.inboxes.iter().map(Inbox::unsettled)).await?;
        let lists = self.inboxes.iter().zip(left).filter(|(_, items)| !items.is_empty());
        Ok(lists.map(|(inbox, items)| self.sort(inbox, items, now)).collect())
    }

    /// What is taken next of the lists, the most urgent first.
    async fn next_round(&self) -> anyhow::Result<Vec<Batch<'_>>> {
        let waiting = try_join_all(self.inboxes.iter().map(Inbox::length)).await?;
        let wanted = self.inboxes.iter().zip(places(&waiting)).filter(|(_, places)| *places > 0);
        let taken = wanted.map(|(inbox, places)| async move {
            let items = inbox.take(places).await?;
            anyhow::Ok(self.sort(inbox, items, self.common.clock.now()))
        });
        try_join_all(taken).await
    }

    /// Takes a round in; answers how many events it was.
    async fn take_in(&self, mut round: Vec<Batch<'_>>) -> anyhow::Result<usize> {
        let events = round.iter().map(|batch| batch.good.len() + batch.bad.len()).sum();
        let news: Vec<Accepted> = round.iter_mut().flat_map(|batch| batch.news.drain(..)).collect();
        let faults = if news.is_empty() { Vec::new() } else { self.intake.take(news).await? };
        let (mut faults, mut first) = (faults.into_iter().peekable(), 0);
        let mut settling = Vec::with_capacity(round.len());
        for batch in round {
            let end = first + batch.good.len();
            let of_batch = std::iter::from_fn(|| faults.next_if(|refused| refused.at < end));
            let of_batch = of_batch.map(|refused| Refused { at: refused.at - first, ..refused });
            settling.push(self.settle(batch, of_batch.collect()));
            first = end;
        }
        try_join_all(settling).await?;
        Ok(events)
    }

    /// Items whose news are stored leave the list of those under way.
    async fn settle(&self, batch: Batch<'_>, faults: Vec<Refused>) -> anyhow::Result<()> {
        let Batch { inbox, mut good, bad, .. } = batch;
        if let Some(Refused { text, .. }) = faults.first() {
            let (list, events) = (inbox.name(), faults.len());
            tracing::warn!(
                list,
                events,
                "put events of Open-Falcon aside, to {list}:refused: {text}"
            );
        }
        // From the back, so that the other positions stay.
        let refused: Vec<Vec<u8>> =
            faults.iter().rev().map(|refused| good.remove(refused.at)).collect();
        for (items, outcome, result) in [
            (good, Settled::Done, "accepted"),
            (refused, Settled::Refused, "refused"),
            (bad, Settled::PutAside, "bad"),
        ] {
            if !items.is_empty() {
                inbox.settle(&items, outcome).await?;
                self.common.metrics.falcon_events(result, items.len() as u64);
            }
        }
        Ok(())
    }

    fn sort<'a>(&self, inbox: &'a Inbox, items: Vec<Vec<u8>>, now: Timestamp) -> Batch<'a> {
        let (mut news, mut good, mut bad) = (Vec::new(), Vec::new(), Vec::new());
        for item in items {
            match self.read(&item, now) {
                Ok(accepted) => {
                    news.push(accepted);
                    good.push(item);
                }
                Err(fault) => {
                    let list = inbox.name();
                    tracing::warn!(list, fault, "put an event of Open-Falcon aside, to {list}:bad");
                    bad.push(item);
                }
            }
        }
        Batch { inbox, news, good, bad }
    }

    /// The limits are those of every alert.
    fn read(&self, item: &[u8], now: Timestamp) -> Result<Accepted, String> {
        let config = &self.common.config;
        let lease = config.falcon_events.lease;
        let event = falcon_event::decode(item).and_then(|event| event.accept(now, lease));
        let accepted = event.map_err(|fault: EventFault| fault.to_string())?;
        let alert = PostableAlert::from(accepted.alert);
        check(Ok(alert), now, lease, config).map_err(|(_, fault)| fault)
    }
}

/// How many events a round takes of each list, the most urgent list first, if so many are waiting there.
fn places(waiting: &[usize]) -> Vec<usize> {
    let mut places = vec![0; waiting.len()];
    let mut give = |list: usize, left: usize| {
        let more = left.min(waiting[list] - places[list]);
        places[list] += more;
        left - more
    };
    let lists = 0..waiting.len();
    let left = lists.clone().fold(EVENTS_PER_ROUND - FOR_THE_LEAST_URGENT, |left, n| give(n, left));
    lists.rev().fold(left + FOR_THE_LEAST_URGENT, |left, n| give(n, left));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(config: &FalconEventsConfig) -> Vec<String> {
        let mut faults = Faults::default();
        config.validate(&mut faults);
        faults.list().to_vec()
    }

    #[test]
    fn what_is_urgent_does_not_wait_for_a_backlog_and_what_is_not_gets_its_eighth() {
        assert_eq!(places(&[0, 0, 0, 0, 0, 0, 0]), [0; 7]);
        assert_eq!(places(&[3, 0, 0, 0, 0, 0, 9_000]), [3, 0, 0, 0, 0, 0, 997]);
        assert_eq!(places(&[9_000, 0, 5, 0, 0, 0, 9_000]), [875, 0, 0, 0, 0, 0, 125]);
        assert_eq!(places(&[9_000, 0, 500, 0, 0, 100, 20]), [875, 0, 5, 0, 0, 100, 20]);
        assert_eq!(places(&[9_000, 0, 0, 0, 0, 0, 0]), [1_000, 0, 0, 0, 0, 0, 0]);
        assert_eq!(places(&[0, 0, 0, 600, 600, 0, 0]), [0, 0, 0, 600, 400, 0, 0]);
    }

    #[test]
    fn it_is_off_unless_an_address_is_given() {
        let config = FalconEventsConfig::default();
        assert!(faults(&config).is_empty() && config.open().unwrap().is_empty());
        let config = FalconEventsConfig { enabled: true, ..config };
        assert!(faults(&config)[0].starts_with("alarm.falcon_events.redis_url"));
        let redis_url = Secret::from("redis://:s3cret@127.0.0.1:6379/0");
        let config = FalconEventsConfig { redis_url, lease: Duration::ZERO, ..config };
        assert_eq!(faults(&config).len(), 1);
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
