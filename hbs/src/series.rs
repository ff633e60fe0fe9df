//! Makes series of what hbs knows of hosts: how long they have been silent, how far their clocks are
//! off, which agent they run, which groups they are in, and whether they are being worked on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::Context;
use model::{ENDPOINT, Labels, METRIC_NAME, Metadata, MetricKind, Sample, Series, Timestamp};
use wire::remote_write;

use crate::app::App;
use crate::fleet::{Fleet, Host};
use crate::share::Role;
use crate::snapshot::Snapshot;

/// Series in one request.
const SERIES_MAX: usize = 10_000;
/// An ended maintenance window is written as 0 for so long, so that queries need not wait for its last 1
/// to age.
const ENDED_TOLD: Duration = Duration::from_secs(300);

const AGE: &str = "agent_heartbeat_age_seconds";
const SKEW: &str = "agent_clock_skew_seconds";
const INFO: &str = "agent_info";
const MAINTENANCE: &str = "host_maintenance";
const GROUP: &str = "host_group";

/// Name, help and unit of each.
const CATALOGUE: [(&str, &str, &str); 5] = [
    (AGE, "Time since the last heartbeat of the host's agent", "seconds"),
    (SKEW, "How far the host's clock is ahead of that of hbs", "seconds"),
    (INFO, "1, with what the host's agent says of itself as labels", ""),
    (MAINTENANCE, "Whether the host is in a maintenance window, its own or one of its groups", ""),
    (GROUP, "1 for each group that the host is in, those above included", ""),
];

/// Writes the series to transfer at every slot of the age interval, for ever: the leader those of all
/// hosts, so that each series has one writer. A round that fails is counted and left out; the next one
/// carries the truth anyway.
pub(crate) async fn export(app: Arc<App>, context: Context) {
    loop {
        let interval = app.config.age_interval;
        let slot = context.clock.now().slot(interval).plus(interval);
        context.clock.sleep_until(slot).await;
        let Role::Leads { since, .. } = app.share.role() else { continue };
        let series = {
            let fleet = app.fleet();
            series_of(&fleet, &app.share.current(), slot, since, app.config.start_grace)
        };
        match send(&app.config.transfer_url, &context, &series).await {
            Ok(()) => context.has("transfer"),
            Err(error) => {
                app.metrics.age_export_failures.inc();
                tracing::warn!(
                    error = format!("{error:#}"),
                    "what hbs knows of the hosts was not taken in this round"
                );
                context.lacks("transfer", format!("{error:#}"));
            }
        }
    }
}

fn series_of(
    fleet: &Fleet,
    snapshot: &Snapshot,
    now: Timestamp,
    since: Timestamp,
    grace: Duration,
) -> Vec<Series> {
    let mut all = Vec::new();
    let mut add = |name: &str, host: &str, more: &[(&str, &str)], value: f64| {
        let labels = [(METRIC_NAME, name), (ENDPOINT, host)];
        all.push(Series {
            labels: Labels::from_pairs(labels.iter().chain(more).copied()),
            samples: vec![Sample { timestamp: now, value }],
        });
    };
    for (host, age) in fleet.ages(now, since, grace) {
        let name = host.row.name.as_str();
        add(AGE, name, &[], age.as_secs_f64());
        if let Some(skew) = host.skew_millis {
            add(SKEW, name, &[], skew as f64 / 1000.0);
        }
        let version = host.row.agent_version.as_str();
        let plugins = host.row.plugin_version.as_str();
        add(INFO, name, &[("version", version), ("plugin_version", plugins)], 1.0);
        for member in snapshot.memberships(name, &host.labels) {
            add(GROUP, name, &[("group", member.group.name.as_str())], 1.0);
        }
    }
    for (host, is_open) in in_maintenance(fleet, snapshot, now) {
        add(MAINTENANCE, &host.row.name, &[], f64::from(u8::from(is_open)));
    }
    all
}

/// The hosts in a window, and those of windows that ended a short while ago.
fn in_maintenance<'f>(
    fleet: &'f Fleet,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Vec<(&'f Host, bool)> {
    let told = now.minus(ENDED_TOLD);
    let windows = snapshot.maintenance();
    if !windows.iter().any(|window| window.starts_at <= now && window.ends_at > told) {
        return Vec::new();
    }
    let state_of = |host: &'f Host| {
        let window = |at: Timestamp| snapshot.window_of(&host.row.name, &host.labels, at).is_some();
        // A window that was open a while ago, or one that began since and ended already.
        let ended = || {
            let moments = windows.iter().map(|window| window.ends_at);
            let before = moments.filter(|end| *end > told && *end <= now);
            before.into_iter().any(|end| window(Timestamp(end.millis() - 1)))
        };
        let is_open = window(now);
        (is_open || ended()).then_some((host, is_open))
    };
    fleet.hosts().filter_map(state_of).collect()
}

async fn send(transfer_url: &str, context: &Context, series: &[Series]) -> anyhow::Result<()> {
    let url = format!("{}/api/v1/write", transfer_url.trim_end_matches('/'));
    let metadata: Vec<(String, Metadata)> = CATALOGUE
        .iter()
        .map(|(name, help, unit)| {
            let (help, unit) = ((*help).to_owned(), (*unit).to_owned());
            ((*name).to_owned(), Metadata { kind: MetricKind::Gauge, help, unit })
        })
        .collect();
    for chunk in series.chunks(SERIES_MAX) {
        let request = context
            .http
            .post(&url)
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0")
            .body(remote_write::encode(chunk, &metadata));
        let answer = request.send().await.with_context(|| format!("post to {url}"))?;
        let status = answer.status();
        if !status.is_success() {
            let text = answer.text().await.unwrap_or_default();
            anyhow::bail!("{url} answered {status}: {}", text.trim());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wire::heartbeat::HeartbeatRequest;

    use super::*;
    use crate::snapshot::{Group, Parts, Window};

    fn fleet() -> Fleet {
        let mut fleet = Fleet::new(Vec::new(), 9);
        for host in ["a", "b"] {
            let body = serde_json::json!({
                "host": host, "agent_version": "7.1", "sent_at": 2_000,
            });
            let heartbeat = HeartbeatRequest::decode(body.to_string().as_bytes()).expect("valid");
            fleet.hear(&heartbeat, "::1", Timestamp(1_500));
        }
        fleet
    }

    fn written(snapshot: &Snapshot, now: i64) -> BTreeMap<String, f64> {
        let all = series_of(&fleet(), snapshot, Timestamp(now), Timestamp(0), Duration::ZERO);
        all.iter().map(|series| (series.labels.to_string(), series.samples[0].value)).collect()
    }

    #[test]
    fn age_skew_and_version_are_written_for_each_host() {
        let all = written(&Snapshot::new(Parts::default()), 11_500);
        assert_eq!(all.len(), 6, "{all:?}");
        assert_eq!(all[r#"agent_heartbeat_age_seconds{endpoint="a"}"#], 10.0);
        assert_eq!(all[r#"agent_clock_skew_seconds{endpoint="b"}"#], 0.5);
        assert_eq!(all[r#"agent_info{endpoint="a", version="7.1"}"#], 1.0);
    }

    #[test]
    fn every_group_of_a_host_is_written_so_that_rules_can_follow_it() {
        let group = |name: &str, spec: serde_json::Value| Group {
            name: name.to_owned(),
            version: 1,
            updated_at: Timestamp(0),
            spec: serde_json::from_value(spec).expect("a group"),
        };
        let groups = vec![
            group("corp", serde_json::json!({})),
            group("corp.web", serde_json::json!({ "host_patterns": ["a"] })),
        ];
        let all = written(&Snapshot::new(Parts { groups, ..Parts::default() }), 11_500);
        let of_groups: Vec<&String> = all.keys().filter(|key| key.contains("host_group")).collect();
        assert_eq!(
            of_groups,
            [
                r#"host_group{endpoint="a", group="corp"}"#,
                r#"host_group{endpoint="a", group="corp.web"}"#
            ]
        );
    }

    #[test]
    fn maintenance_is_1_while_it_lasts_and_0_for_a_while_after() {
        let window = Window {
            id: "w".to_owned(),
            host: Some("a".to_owned()),
            group: None,
            starts_at: Timestamp(20_000),
            ends_at: Timestamp(30_000),
            reason: String::new(),
            created_by: String::new(),
        };
        let snapshot = Snapshot::new(Parts { maintenance: vec![window], ..Parts::default() });
        let of = |host: &str, now: i64| {
            written(&snapshot, now).get(&format!("host_maintenance{{endpoint={host:?}}}")).copied()
        };
        assert_eq!(
            (of("a", 19_000), of("a", 20_000), of("a", 29_999)),
            (None, Some(1.0), Some(1.0))
        );
        assert_eq!(
            (of("a", 30_000), of("a", 329_000), of("a", 331_000)),
            (Some(0.0), Some(0.0), None)
        );
        assert_eq!(of("b", 25_000), None);
    }
}
