//! `/api/v1/targets`: what stores scrape, and the hosts that hbs hears, as one list in Prometheus' shape. Saker's hosts
//! push, so theirs say when they were heard last.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::future::join_all;
use model::{ENDPOINT, Timestamp, format_duration};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wire::host_feed::FeedHost;
use wire::prom_api::{self, Notes};

use crate::error::ApiError;
use crate::hbs::Heard;
use crate::params::Params;
use crate::site::{Ask, Failure, Site};

/// The pool, and label `job`, of the hosts that hbs hears.
const POOL: &str = "saker-agent";
const JOB: &str = "job";

/// A target; fields of other versions of Prometheus are left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Target {
    discovered_labels: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    scrape_pool: String,
    scrape_url: String,
    global_url: String,
    last_error: String,
    last_scrape: String,
    last_scrape_duration: f64,
    health: String,
    scrape_interval: String,
    scrape_timeout: String,
}

/// Targets as the API tells them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Targets {
    active_targets: Vec<Target>,
    dropped_targets: Vec<Value>,
    dropped_target_counts: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    data: Targets,
}

/// Which targets are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    active: bool,
    dropped: bool,
}

impl Wanted {
    fn read(params: &Params) -> Self {
        // As in Prometheus, another word means all of them.
        match params.get("state").map(str::to_ascii_lowercase).as_deref() {
            Some("active") => Self { active: true, dropped: false },
            Some("dropped") => Self { active: false, dropped: true },
            _ => Self { active: true, dropped: true },
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self { active: true, dropped: false } => "active",
            Self { active: false, dropped: true } => "dropped",
            _ => "any",
        }
    }
}

/// The targets of all data centres.
pub(crate) async fn targets(ask: &Ask, params: &Params) -> Result<String, ApiError> {
    let wanted = Wanted::read(params);
    let heard = async {
        let sites = ask.sites.list().iter().filter(|_| wanted.active);
        join_all(sites.map(|site| heard_at(ask, site))).await
    };
    let (told, heard) = tokio::join!(told_by_stores(ask, wanted), heard);
    let mut all = Targets::default();
    let mut lists = Vec::new();
    let is_heard = heard.iter().any(Option::is_some);
    match told {
        // What hbs hear is an answer though no store gives one.
        Err(error) if is_heard => ask.miss("", &error.message),
        told => {
            for (site, told) in told? {
                all.dropped_targets.extend(told.dropped_targets);
                add_counts(&mut all.dropped_target_counts, told.dropped_target_counts);
                lists.push((site.centre.labels.clone(), told.active_targets));
            }
        }
    }
    for (site, heard) in ask.sites.list().iter().zip(heard) {
        let interval = heard.as_ref().map_or(Duration::ZERO, |heard| heard.heartbeat_interval);
        let hosts = heard.unwrap_or_default().hosts.into_iter();
        lists.push((
            site.centre.labels.clone(),
            hosts.map(|host| target_of(host, interval)).collect(),
        ));
    }
    all.active_targets = merged(lists, params.get("scrapePool"));
    if !wanted.dropped {
        all.dropped_targets.clear();
    }
    let notes = Notes { warnings: ask.warnings(), infos: Vec::new() };
    Ok(prom_api::success(|out| prom_api::put_json(out, &all), &notes))
}

async fn told_by_stores(
    ask: &Ask,
    wanted: Wanted,
) -> Result<Vec<(std::sync::Arc<Site>, Targets)>, ApiError> {
    ask.each(ask.sites.all(), |site, _| async move {
        let Some(body) = site.centre.reader.targets(wanted.word()).await? else {
            return Ok(Targets::default());
        };
        let told: Told = serde_json::from_slice(&body).map_err(|error| {
            Failure::Site(ApiError::unavailable(format!(
                "its list of targets cannot be read: {error}"
            )))
        })?;
        Ok(told.data)
    })
    .await
}

/// What the hbs of a data centre hear; those that share their hosts tell the same. Nothing when none answers.
async fn heard_at(ask: &Ask, site: &Site) -> Option<Heard> {
    let answers = join_all(site.about.hbs.iter().map(|hbs| hbs.hosts())).await;
    let (mut all, mut interval) = (HashMap::new(), None);
    let mut why = String::new();
    for answer in answers {
        match answer {
            Ok(heard) => {
                interval = Some(heard.heartbeat_interval);
                for host in heard.hosts {
                    let known = all.entry(host.name.clone()).or_insert_with(FeedHost::default);
                    if known.name.is_empty() || known.seen_at < host.seen_at {
                        *known = host;
                    }
                }
            }
            Err(error) => why = format!("hbs: {error:#}"),
        }
    }
    if interval.is_none() && !why.is_empty() {
        ask.miss(&site.centre.name, &why);
    }
    interval
        .map(|heartbeat_interval| Heard { hosts: all.into_values().collect(), heartbeat_interval })
}

/// A host as a target.
fn target_of(host: FeedHost, interval: Duration) -> Target {
    let FeedHost { name, ip, seen_at, silent } = host;
    let labels = [(ENDPOINT.to_owned(), name), (JOB.to_owned(), POOL.to_owned())];
    Target {
        discovered_labels: BTreeMap::from([("__address__".to_owned(), ip)]),
        labels: BTreeMap::from(labels),
        scrape_pool: POOL.to_owned(),
        last_error: if silent {
            "no heartbeat for hbs.silent_after".to_owned()
        } else {
            String::new()
        },
        last_scrape: seen_at.rfc3339(),
        health: if silent { "down" } else { "up" }.to_owned(),
        scrape_interval: format_duration(interval),
        scrape_timeout: format_duration(interval),
        ..Target::default()
    }
}

/// All of a pool, or of all, with the labels of their data centres, sorted. Of one that several tell of, the one that
/// was seen last.
fn merged(lists: Vec<(BTreeMap<String, String>, Vec<Target>)>, pool: Option<&str>) -> Vec<Target> {
    let mut all: Vec<Target> = Vec::new();
    for (added, list) in lists {
        for mut target in list {
            if pool.is_some_and(|pool| pool != target.scrape_pool) {
                continue;
            }
            for (name, value) in &added {
                target.labels.entry(name.clone()).or_insert_with(|| value.clone());
            }
            all.push(target);
        }
    }
    fn key(target: &Target) -> (&str, &BTreeMap<String, String>, &str) {
        (&target.scrape_pool, &target.labels, &target.scrape_url)
    }
    let seen = |target: &Target| Timestamp::parse_rfc3339(&target.last_scrape);
    all.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| seen(b).cmp(&seen(a))));
    all.dedup_by(|later, first| key(later) == key(first));
    all
}

fn add_counts(all: &mut Map<String, Value>, told: Map<String, Value>) {
    for (pool, count) in told {
        let known = all.get(&pool).and_then(Value::as_u64).unwrap_or(0);
        all.insert(pool, known.saturating_add(count.as_u64().unwrap_or(0)).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, seen: i64, silent: bool) -> Target {
        let seen_at = Timestamp::from_seconds(seen);
        let host = FeedHost { name: name.to_owned(), ip: "10.0.0.1".to_owned(), seen_at, silent };
        target_of(host, Duration::from_secs(30))
    }

    #[test]
    fn a_host_is_a_target_that_was_scraped_when_it_was_heard() {
        let text = concat!(
            r#"{"discoveredLabels":{"__address__":"10.0.0.1"},"labels":{"endpoint":"a","job":"saker-agent"},"#,
            r#""scrapePool":"saker-agent","scrapeUrl":"","globalUrl":"","lastError":"","#,
            r#""lastScrape":"2025-10-09T09:01:00.000Z","lastScrapeDuration":0.0,"health":"up","#,
            r#""scrapeInterval":"30s","scrapeTimeout":"30s"}"#
        );
        let target = host("a", 1_760_000_460, false);
        assert_eq!(serde_json::to_string(&target).expect("it has a form"), text);
        let silent = host("a", 1_760_000_460, true);
        assert_eq!((silent.health.as_str(), silent.last_error.is_empty()), ("down", false));
    }

    #[test]
    fn targets_are_sorted_labelled_and_each_once_as_it_was_seen_last() {
        let labels = |dc: &str| BTreeMap::from([("dc".to_owned(), dc.to_owned())]);
        let lists = vec![
            (labels("sh"), vec![host("b", 5, false), host("a", 5, true), host("a", 9, false)]),
            (labels("bj"), vec![host("c", 5, false)]),
            (labels("bj"), vec![Target { scrape_pool: "node".to_owned(), ..Target::default() }]),
        ];
        let of = |pool: Option<&str>| -> Vec<String> {
            let all = merged(lists.clone(), pool);
            all.iter()
                .map(|one| {
                    format!("{}/{:?}/{}", one.scrape_pool, one.labels.get(ENDPOINT), one.health)
                })
                .collect()
        };
        let hosts = [
            r#"saker-agent/Some("c")/up"#,
            r#"saker-agent/Some("a")/up"#,
            r#"saker-agent/Some("b")/up"#,
        ];
        assert_eq!(of(Some(POOL)), hosts, "by data centre, then by host");
        assert_eq!(of(None).len(), 4);
    }
}
