//! The dead-man's switch: silence is news. An alert that a sender always sends (a watchdog) and that has not come for
//! a while is an alert of its own; and while all is well an address outside is asked for, whose owner says so when
//! that stops.

use std::sync::Arc;
use std::time::Duration;

use channels::Secret;
use db::alerts::{AlertSearch, AlertStatus, StoredAlert};
use model::{Alert, Labels, MatchOp, Matcher, Timestamp};
use wire::alert::Accepted;

use crate::app::Common;
use crate::dead_man_config::DeadManConfig;
use crate::dispatch::Dispatcher;
use crate::intake::Intake;
use crate::matchers::{matchers_all, parse_matcher};

const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// News that stop coming end by themselves after this.
const LEASE: Duration = Duration::from_secs(300);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Alerts that one watchdog is looked for among.
const CANDIDATES_MAX: u32 = 10_000;

/// An alert that must keep coming.
#[derive(Debug, Clone, PartialEq)]
struct Watchdog {
    name: String,
    matchers: Vec<Matcher>,
    missing_for: Duration,
}

impl Watchdog {
    /// A text that every alert of it holds; the store narrows by it.
    fn text(&self) -> &str {
        let exact = self.matchers.iter().filter(|matcher| matcher.op == MatchOp::Equal);
        exact.map(|matcher| matcher.value.as_str()).max_by_key(|value| value.len()).unwrap_or("")
    }

    /// When one of these alerts that fire had its latest news.
    fn heard_at(&self, alerts: &[StoredAlert]) -> Option<Timestamp> {
        let is_it = |stored: &&StoredAlert| {
            stored.status == AlertStatus::Firing
                && matchers_all(&self.matchers, &stored.alert.labels)
        };
        alerts.iter().filter(is_it).map(|stored| stored.updated_at).max()
    }

    /// Since when it is missing; `None` while it is not. While alarm was away nobody could be heard.
    fn missing_since(
        &self,
        heard_at: Option<Timestamp>,
        started_at: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let heard_at = heard_at.map_or(started_at, |at| at.max(started_at));
        let due = heard_at.plus(self.missing_for);
        (due <= now).then_some(due)
    }

    /// The alert about it; over at once when it is not missing.
    fn alert(&self, since: Option<Timestamp>, external_url: &str, now: Timestamp) -> Alert {
        let labels = [
            ("alertname", "SakerWatchdogMissing"),
            ("severity", "critical"),
            ("watchdog", self.name.as_str()),
        ];
        let span = model::format_duration(self.missing_for);
        let annotations = [
            ("summary", format!("watchdog {} has not been heard of for {span}", self.name)),
            (
                "description",
                "What sends it, or the way from there to alarm, is broken: other alerts from there do \
                 not come either."
                    .to_owned(),
            ),
        ];
        Alert {
            labels: Labels::from_pairs(labels),
            annotations: annotations.map(|(name, text)| (name.to_owned(), text)).into(),
            starts_at: since.unwrap_or(now),
            ends_at: if since.is_some() { now.plus(LEASE) } else { now },
            generator_url: format!("{external_url}/alerts"),
        }
    }
}

/// The task that listens.
#[derive(Debug)]
pub(crate) struct DeadMan {
    common: Common,
    dispatcher: Dispatcher,
    intake: Intake,
    http: reqwest::Client,
    watchdogs: Vec<Watchdog>,
    ping_url: Secret,
    ping_interval: Duration,
}

impl DeadMan {
    /// Fails when a secret cannot be read; `None` without anything to do.
    pub(crate) fn open(
        config: &DeadManConfig,
        common: Common,
        dispatcher: Dispatcher,
        intake: Intake,
        http: reqwest::Client,
    ) -> anyhow::Result<Option<Self>> {
        let mut ping_url = config.ping_url.to_owned();
        ping_url.read()?;
        let mut watchdogs = Vec::new();
        for watchdog in &config.watchdogs {
            let matchers: Result<Vec<Matcher>, _> =
                watchdog.matchers.iter().map(|text| parse_matcher(text)).collect();
            let (name, missing_for) = (watchdog.name.to_owned(), watchdog.missing_for);
            watchdogs.push(Watchdog { name, matchers: matchers?, missing_for });
        }
        if watchdogs.is_empty() && ping_url.expose().is_empty() {
            return Ok(None);
        }
        let ping_interval = config.ping_interval;
        Ok(Some(Self { common, dispatcher, intake, http, watchdogs, ping_url, ping_interval }))
    }

    /// Listens as long as the process runs. Of several instances the one that dispatches does it.
    pub(crate) async fn run(self) {
        let started_at = self.common.clock.now();
        let mut ping_at = started_at;
        loop {
            let now = self.common.clock.now();
            if self.dispatcher.leads(now) {
                match self.look(started_at, now).await {
                    Ok(missing) => {
                        let missing_now = i64::try_from(missing).unwrap_or(i64::MAX);
                        self.common.metrics.watchdogs_missing.set(missing_now);
                        if missing == 0 && now >= ping_at {
                            ping_at = now.plus(self.ping_interval);
                            self.ping().await;
                        }
                    }
                    // Not healthy: the address outside is not asked for.
                    Err(error) => {
                        self.common.metrics.store_failures.inc();
                        tracing::error!(error = format!("{error:#}"), "cannot look for watchdogs");
                    }
                }
            }
            self.common.clock.sleep(LOOK_INTERVAL).await;
        }
    }

    /// Says what is missing and what is back; answers how many are missing.
    async fn look(&self, started_at: Timestamp, now: Timestamp) -> anyhow::Result<usize> {
        let table = self.common.db.alerts();
        let (mut news, mut missing) = (Vec::new(), 0);
        for watchdog in &self.watchdogs {
            let search = AlertSearch {
                statuses: vec![AlertStatus::Firing],
                text: watchdog.text().to_owned(),
                ..AlertSearch::default()
            };
            let alerts = table.search(&search, 0, CANDIDATES_MAX).await?;
            let since = watchdog.missing_since(watchdog.heard_at(&alerts), started_at, now);
            let alert = watchdog.alert(since, &self.common.config.external_url, now);
            let known = table.load(&[alert.fingerprint()]).await?;
            let is_told = known.iter().any(|known| known.status != AlertStatus::Resolved);
            missing += usize::from(since.is_some());
            if since.is_some() && !is_told {
                tracing::warn!(watchdog.name = watchdog.name, "a watchdog is missing");
            }
            if since.is_some() || is_told {
                news.push(Accepted { alert, end_is_timeout: false });
            }
        }
        // Asked without watchdogs too: a ping says that the store answers.
        if self.watchdogs.is_empty() {
            table.load(&[model::Fingerprint(0)]).await?;
        }
        if !news.is_empty() {
            self.intake.take(news).await?;
        }
        Ok(missing)
    }

    async fn ping(&self) {
        let url = self.ping_url.expose();
        if url.is_empty() {
            return;
        }
        let answer = self.http.get(url).timeout(PING_TIMEOUT).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        self.common.metrics.pinged(answer.is_ok());
        if let Err(error) = answer {
            // The address may hold a secret.
            let error = daemon::error_chain(&error.without_url());
            tracing::warn!(error, "alarm.dead_man.ping_url does not answer");
        }
    }
}

/// Starts it, if there is anything to listen for.
pub(crate) fn spawn(
    common: &Common,
    dispatcher: &Dispatcher,
    intake: &Intake,
    ctx: &daemon::Context,
) -> anyhow::Result<()> {
    let config = Arc::clone(&common.config);
    let (common, dispatcher, intake) = (common.clone(), dispatcher.clone(), intake.clone());
    let opened = DeadMan::open(&config.dead_man, common, dispatcher, intake, ctx.http.clone())?;
    if let Some(dead_man) = opened {
        ctx.spawn("dead man's switch", dead_man.run());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::tests::candidate;

    fn watchdog() -> Watchdog {
        let matchers =
            ["alertname=Watchdog", "cluster=~\"a|b\""].map(|text| parse_matcher(text).unwrap());
        let (name, missing_for) = ("a".to_owned(), Duration::from_millis(100));
        Watchdog { name, matchers: matchers.into(), missing_for }
    }

    fn stored(status: AlertStatus, cluster: &str, updated_at: i64) -> StoredAlert {
        let mut stored = candidate(status, 0, None).alert;
        stored.alert.labels = Labels::from_pairs([("alertname", "Watchdog"), ("cluster", cluster)]);
        StoredAlert { updated_at: Timestamp(updated_at), ..stored }
    }

    #[test]
    fn the_latest_news_of_any_alert_that_matches_and_fires_counts() {
        let alerts = [
            stored(AlertStatus::Firing, "a", 5),
            stored(AlertStatus::Firing, "b", 9),
            stored(AlertStatus::Firing, "c", 20),
            stored(AlertStatus::Resolved, "a", 30),
        ];
        assert_eq!(watchdog().heard_at(&alerts), Some(Timestamp(9)));
        assert_eq!(watchdog().heard_at(&[]), None);
        assert_eq!(watchdog().text(), "Watchdog");
    }

    #[test]
    fn it_is_missing_from_the_moment_its_time_is_up() {
        let missing = |heard: Option<i64>, now| {
            watchdog().missing_since(heard.map(Timestamp), Timestamp(1_000), Timestamp(now))
        };
        assert_eq!(missing(Some(1_050), 1_149), None);
        assert_eq!(missing(Some(1_050), 1_150), Some(Timestamp(1_150)));
        assert_eq!(missing(None, 1_099), None, "it has its time after a start too");
        assert_eq!(missing(Some(3), 1_099), None);
        assert_eq!(missing(None, 1_500), Some(Timestamp(1_100)));
    }

    #[test]
    fn the_alert_about_it_is_the_same_until_it_is_over() {
        let (now, since) = (Timestamp(5_000), Some(Timestamp(4_000)));
        let (firing, over) =
            (watchdog().alert(since, "http://x", now), watchdog().alert(None, "http://x", now));
        assert_eq!(firing.fingerprint(), over.fingerprint());
        assert_eq!((firing.starts_at, firing.is_resolved_at(now)), (Timestamp(4_000), false));
        assert!(over.is_resolved_at(now));
    }
}
