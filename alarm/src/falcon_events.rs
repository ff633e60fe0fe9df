//! Takes the events of Open-Falcon's judges from their Redis lists `event:p0` to `event:p6`: an event is an alert like
//! any other, and leaves Redis when it is durable here.
//!
//! Only the instance that dispatches takes them. What it left under way when it died is found by the next one, and an
//! event that both took in is one alert.

use std::time::Duration;

use anyhow::Context as _;
use channels::Secret;
use daemon::Faults;
use model::{Timestamp, duration_text};
use serde::{Deserialize, Serialize};
use state::{Inbox, RedisConfig, Settled};
use wire::alert::{Accepted, PostableAlert};
use wire::falcon_event::{self, EventFault};

use crate::app::Common;
use crate::dispatch::Dispatcher;
use crate::intake::{Intake, check};

/// How often empty lists are looked at, as alarm of Open-Falcon does.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// After a fault, and while another instance dispatches.
const PAUSE: Duration = Duration::from_secs(1);
/// Events of each list that a round takes while there are some in the lists before it: what is urgent goes first, and
/// the rest goes on.
const WEIGHTS: [usize; falcon_event::PRIORITIES as usize] = [1000, 512, 256, 128, 64, 32, 16];
/// Events of a list that a round takes when the lists before it are empty.
const EVENTS_PER_ROUND: usize = 1000;

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

    /// Takes in some of every list; answers how many.
    async fn round(&self, may_be_left: &mut [bool]) -> anyhow::Result<usize> {
        let mut taken = 0;
        for ((inbox, weight), may_be_left) in self.inboxes.iter().zip(WEIGHTS).zip(may_be_left) {
            let mut items = Vec::new();
            if *may_be_left {
                items = inbox.unsettled().await?;
                *may_be_left = !items.is_empty();
            }
            if items.is_empty() {
                items = inbox.take(if taken == 0 { EVENTS_PER_ROUND } else { weight }).await?;
            }
            if !items.is_empty() {
                taken += items.len();
                self.take_in(inbox, items).await?;
            }
        }
        Ok(taken)
    }

    async fn take_in(&self, inbox: &Inbox, items: Vec<Vec<u8>>) -> anyhow::Result<()> {
        let Sorted { news, good, bad } = self.sort(inbox, items, self.common.clock.now());
        let metrics = &self.common.metrics;
        if !news.is_empty() {
            for refused in self.intake.take(news).await? {
                tracing::warn!(list = inbox.name(), "an event of Open-Falcon: {refused}");
            }
            inbox.settle(&good, Settled::Done).await?;
            metrics.falcon_events("accepted", good.len() as u64);
        }
        if !bad.is_empty() {
            inbox.settle(&bad, Settled::PutAside).await?;
            metrics.falcon_events("bad", bad.len() as u64);
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(config: &FalconEventsConfig) -> Vec<String> {
        let mut faults = Faults::default();
        config.validate(&mut faults);
        faults.list().to_vec()
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
