//! Scraping: what exporters on this host show is taken as samples, with the labels and the series about the
//! scrape itself that Prometheus adds.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use model::{
    ENDPOINT, Labels, METRIC_NAME, Metadata, MetricKind, Relabel, Sample, Series, Timestamp,
    stale_nan,
};
use reqwest::Client;
use reqwest::header::ACCEPT;
use tokio::time::Instant;
use wire::exposition;

use crate::identity::{Host, Output};
use crate::plan::Target;
use crate::relabel::Lite;

const ACCEPTED: &str = "text/plain;version=0.0.4;q=1,*/*;q=0.1";
const UP: &str = "up";
const DURATION: &str = "scrape_duration_seconds";
const SCRAPED: &str = "scrape_samples_scraped";
const KEPT: &str = "scrape_samples_post_metric_relabeling";

/// What was there in the last scrape.
#[derive(Debug, Default)]
struct Last {
    series: HashSet<Labels>,
    is_failing: bool,
}

/// A target and what it showed the last time.
#[derive(Debug)]
pub struct Scrape {
    target: Target,
    relabel: Relabel<Lite>,
    last: Mutex<Last>,
}

/// What a page amounts to.
#[derive(Debug, Default)]
struct Page {
    series: Vec<Series>,
    metadata: BTreeMap<String, Metadata>,
    scraped: usize,
}

impl Scrape {
    /// A target that has not been scraped yet. Rules that cannot be read were refused before.
    pub fn new(target: Target) -> Self {
        let relabel = Relabel::new(&target.relabel).unwrap_or_default();
        Self { target, relabel, last: Mutex::default() }
    }

    /// What is scraped.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Takes over the series that another scrape of the same name showed: those that are gone get their end
    /// marked with the next scrape.
    pub fn continue_from(&self, other: &Self) {
        let before = std::mem::take(&mut other.lock().series);
        self.lock().series.extend(before);
    }

    /// Scrapes once for `slot`. The output always says how it went; `Err` is why it failed.
    pub async fn run(
        &self,
        slot: Timestamp,
        host: &Host,
        http: &Client,
        bytes_max: usize,
    ) -> (Output, Result<(), &'static str>) {
        let begin = Instant::now();
        let outcome = match self.fetch(http, bytes_max).await {
            Ok(text) => self.read(&text, slot, host),
            Err(error) => Err(error),
        };
        let took = begin.elapsed();
        self.log(outcome.as_ref().err());
        let result = outcome.as_ref().map(|_| ()).map_err(|_| "failed");
        let page = outcome.unwrap_or_default();
        let mut output = Output { series: self.ends(&page.series, slot), metadata: page.metadata };
        output.series.extend(self.about(
            page.scraped,
            page.series.len(),
            took,
            result.is_ok(),
            slot,
            host,
        ));
        output.series.extend(page.series);
        output.metadata.extend(about_metadata());
        (output, result)
    }

    /// The ends of all series, when the target is scraped no more.
    pub fn farewell(&self, at: Timestamp, host: &Host) -> Vec<Series> {
        let mut series = self.ends(&[], at);
        for mut one in self.about(0, 0, Duration::ZERO, false, at, host) {
            one.samples = vec![Sample { timestamp: at, value: stale_nan() }];
            series.push(one);
        }
        series
    }

    async fn fetch(&self, http: &Client, bytes_max: usize) -> anyhow::Result<String> {
        let request = http.get(self.target.url.clone()).timeout(self.target.timeout);
        let answer = request.header(ACCEPT, ACCEPTED).send().await;
        let mut answer = answer.map_err(reqwest::Error::without_url)?;
        ensure!(answer.status().is_success(), "it answered {}", answer.status());
        let mut page = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            page.extend_from_slice(&piece);
            ensure!(page.len() <= bytes_max, "the page has more than {bytes_max} bytes");
        }
        String::from_utf8(page).context("the page is no text")
    }

    fn read(&self, text: &str, slot: Timestamp, host: &Host) -> anyhow::Result<Page> {
        let parsed = exposition::parse(text, slot);
        // As in Prometheus, a page with a bad line is no page: half of a histogram is worse than none.
        if let Some(fault) = parsed.refused.first() {
            anyhow::bail!("{fault}");
        }
        let own = self.own_labels(host);
        let scraped = parsed.series.len();
        let mut seen = HashSet::new();
        let mut series = Vec::with_capacity(scraped);
        for one in parsed.series {
            let Some(labels) = self.relabel.apply(&with_own(&one.labels, &own)) else { continue };
            if labels.metric_name().is_empty() || !seen.insert(labels.clone()) {
                continue;
            }
            series.push(Series { labels, samples: one.samples });
            let most = self.target.samples_max;
            ensure!(series.len() <= most, "the page has more than {most} samples (samples_max)");
        }
        Ok(Page { series, metadata: parsed.metadata, scraped })
    }

    // The labels that say where a sample is from; what says more goes first, and the host always.
    fn own_labels(&self, host: &Host) -> BTreeMap<String, String> {
        let mut own = host.labels.clone();
        let port = self.target.url.port_or_known_default().unwrap_or_default();
        let address = self.target.url.host_str().unwrap_or_default();
        own.insert("job".to_owned(), self.target.name.clone());
        own.insert("instance".to_owned(), format!("{address}:{port}"));
        own.extend(self.target.labels.clone());
        own.insert(ENDPOINT.to_owned(), host.endpoint.clone());
        own
    }

    // Ends of the series that were there and are no more. A series with times of its own has no place among
    // the slots, and so no end.
    fn ends(&self, now: &[Series], slot: Timestamp) -> Vec<Series> {
        let is_of_slot = |one: &&Series| one.samples.first().is_some_and(|s| s.timestamp == slot);
        let now: HashSet<Labels> =
            now.iter().filter(is_of_slot).map(|one| one.labels.clone()).collect();
        let mut last = self.lock();
        let gone = last.series.difference(&now).cloned();
        let end = |labels| Series {
            labels,
            samples: vec![Sample { timestamp: slot, value: stale_nan() }],
        };
        let ends = gone.map(end).collect();
        last.series = now;
        ends
    }

    fn about(
        &self,
        scraped: usize,
        kept: usize,
        took: Duration,
        is_up: bool,
        slot: Timestamp,
        host: &Host,
    ) -> Vec<Series> {
        let own = self.own_labels(host);
        let values = [
            (UP, if is_up { 1.0 } else { 0.0 }),
            (DURATION, took.as_secs_f64()),
            (SCRAPED, scraped as f64),
            (KEPT, kept as f64),
        ];
        values
            .into_iter()
            .map(|(name, value)| {
                let labels = with_own(&Labels::from_pairs([(METRIC_NAME, name)]), &own);
                Series { labels, samples: vec![Sample { timestamp: slot, value }] }
            })
            .collect()
    }

    // An outage is logged when it begins and when it ends.
    fn log(&self, error: Option<&anyhow::Error>) {
        let was_failing = std::mem::replace(&mut self.lock().is_failing, error.is_some());
        let job = &self.target.name;
        match error {
            Some(error) if !was_failing => tracing::warn!(job, "a scrape fails: {error:#}"),
            None if was_failing => tracing::info!(job, "a scrape works again"),
            _ => {}
        }
    }

    // Every change leaves the state whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// A scraped label in the way of ours is kept as `exported_…`.
fn with_own(scraped: &Labels, own: &BTreeMap<String, String>) -> Labels {
    let mut labels = scraped.edit();
    for (name, value) in own {
        if let Some(hidden) = scraped.get(name) {
            labels.set(&format!("exported_{name}"), hidden);
        }
        labels.set(name, value);
    }
    labels.build()
}

fn about_metadata() -> impl Iterator<Item = (String, Metadata)> {
    [
        (UP, "Whether the last scrape succeeded.", ""),
        (DURATION, "How long the last scrape took.", "seconds"),
        (SCRAPED, "Samples on the page.", ""),
        (KEPT, "Samples that relabelling left.", ""),
    ]
    .into_iter()
    .map(|(name, help, unit)| {
        let (help, unit) = (help.to_owned(), unit.to_owned());
        (name.to_owned(), Metadata { kind: MetricKind::Gauge, help, unit })
    })
}

#[cfg(test)]
mod tests {
    use model::{Action, RelabelRule, is_stale};

    use super::*;

    fn scrape(samples_max: usize) -> Scrape {
        let drop = RelabelRule {
            action: Action::Drop,
            source_labels: vec![METRIC_NAME.to_owned()],
            regex: "go_.*".to_owned(),
            ..RelabelRule::default()
        };
        Scrape::new(Target {
            name: "node".to_owned(),
            url: "http://127.0.0.1:9100/metrics".parse().unwrap(),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            labels: BTreeMap::from([("team".to_owned(), "db".to_owned())]),
            relabel: vec![drop],
            samples_max,
        })
    }

    fn host() -> Host {
        Host { endpoint: "h".to_owned(), labels: BTreeMap::new() }
    }

    fn at(slot: i64) -> Timestamp {
        Timestamp::from_seconds(slot)
    }

    fn names(series: &[Series]) -> Vec<String> {
        let only = ["endpoint", "instance", "job", "team"];
        let mut names: Vec<_> =
            series.iter().map(|one| one.labels.without(&only).to_string()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_page_gets_the_labels_of_its_target() {
        let scrape = scrape(10);
        let page = scrape.read("go_x 1\na{job=\"x\"} 2\na{job=\"x\"} 3\nb 4 5\n", at(1), &host());
        let page = page.unwrap();
        assert_eq!(page.scraped, 4);
        assert_eq!(
            page.series[0].labels.to_string(),
            r#"a{endpoint="h", exported_job="x", instance="127.0.0.1:9100", job="node", team="db"}"#
        );
        assert_eq!(page.series.len(), 2, "the same series twice is taken once");
    }

    #[test]
    fn a_page_that_is_too_large_or_broken_is_no_page() {
        let told = |text| scrape(1).read(text, at(1), &host()).unwrap_err().to_string();
        assert_eq!(told("a 1\nb 1\n"), "the page has more than 1 samples (samples_max)");
        assert!(told("a 1\nb\n").starts_with("line 2: "));
        assert!(scrape(1).read("a 1\ngo_b 1\n", at(1), &host()).is_ok());
    }

    #[test]
    fn series_that_vanish_get_an_end_and_only_once() {
        let scrape = scrape(10);
        let page = |text: &str, slot| scrape.read(text, at(slot), &host()).unwrap().series;
        assert!(scrape.ends(&page("a 1\nb 1\nc 1 500\n", 1), at(1)).is_empty());
        let ends = scrape.ends(&page("a 1\n", 2), at(2));
        assert_eq!(names(&ends), ["b"]);
        assert!(is_stale(ends[0].samples[0].value) && ends[0].samples[0].timestamp == at(2));
        assert_eq!(names(&scrape.ends(&[], at(3))), ["a"]);
        assert!(scrape.ends(&[], at(4)).is_empty());
    }

    #[test]
    fn a_target_that_goes_takes_its_series_along() {
        let old = scrape(10);
        old.ends(&old.read("a 1\n", at(1), &host()).unwrap().series, at(1));
        let new = scrape(10);
        new.continue_from(&old);
        let told = names(&new.farewell(at(2), &host()));
        assert_eq!(told, ["a", DURATION, KEPT, SCRAPED, UP]);
        assert_eq!(old.farewell(at(2), &host()).len(), 4);
    }
}
