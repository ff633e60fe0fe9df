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
use futures_util::future::join_all;
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

/// What a batch of items is.
#[derive(Debug, Default)]
struct Sorted {
    news: Vec<Accepted>,
    good: Vec<Vec<u8>>,
    bad: Vec<Vec<u8>>,
}

impl FalconEvents {
    /// Takes events for as long as the process runs.
    pub(crate) async fn run(self) {
        // Whether somebody may have left events under way, by list.
        let mut may_be_left = vec![true; self.inboxes.len()];
        loop {
            let pause = if !self.dispatcher.leads(self.common.clock.now()) {
                may_be_left.fill(true);
                PAUSE
            } else {
                match self.round(&mut may_be_left).await {
                    Ok(0) => LOOK_INTERVAL,
                    Ok(_) => continue,
                    Err(error) => {
                        may_be_left.fill(true);
                        self.common.metrics.store_failures.inc();
                        let error = format!("{error:#}");
                        tracing::error!(error, "cannot take events of Open-Falcon; trying again");
                        PAUSE
                    }
                }
            };
            self.common.clock.sleep(pause).await;
        }
    }

    /// Takes in some of the lists; answers how many.
    async fn round(&self, may_be_left: &mut [bool]) -> anyhow::Result<usize> {
        let mut taken = 0;
        for (inbox, may_be_left) in self.inboxes.iter().zip(may_be_left) {
            if *may_be_left {
                let items = inbox.unsettled().await?;
                *may_be_left = !items.is_empty();
                taken += self.take_in(inbox, items).await?;
            }
        }
        let lengths = join_all(self.inboxes.iter().map(Inbox::length)).await;
        let waiting: Vec<usize> = lengths.into_iter().collect::<Result<_, _>>()?;
        for (inbox, places) in self.inboxes.iter().zip(places(&waiting)) {
            if places > 0 {
                taken += self.take_in(inbox, inbox.take(places).await?).await?;
            }
        }
        Ok(taken)
    }

    /// Takes items of a list in; answers how many they were.
    async fn take_in(&self, inbox: &Inbox, items: Vec<Vec<u8>>) -> anyhow::Result<usize> {
        let count = items.len();
        let Sorted { news, mut good, bad } = self.sort(inbox, items, self.common.clock.now());
        let metrics = &self.common.metrics;
        if !news.is_empty() {
            let faults = self.intake.take(news).await?;
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
            inbox.settle(&good, Settled::Done).await?;
            metrics.falcon_events("accepted", good.len() as u64);
            inbox.settle(&refused, Settled::Refused).await?;
            metrics.falcon_events("refused", refused.len() as u64);
        }
        if !bad.is_empty() {
            inbox.settle(&bad, Settled::PutAside).await?;
            metrics.falcon_events("bad", bad.len() as u64);
        }
        Ok(count)
    }

    fn sort(&self, inbox: &Inbox, items: Vec<Vec<u8>>, now: Timestamp) -> Sorted {
        let mut sorted = Sorted::default();
        for item in items {
            match self.read(&item, now) {
                Ok(news) => {
                    sorted.news.push(news);
                    sorted.good.push(item);
                }
                Err(fault) => {
                    let list = inbox.name();
                    tracing::warn!(list, fault, "put an event of Open-Falcon aside, to {list}:bad");
                    sorted.bad.push(item);
                }
            }
        }
        sorted
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
