//! kill -9 under load: what was acknowledged is there afterwards.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use daemon::Clock;
use model::{Sample, Timestamp};
use serde_json::Value;
use tempfile::TempDir;
use testkit::{eventually, get_json};

use crate::stack::Stack;

const KILLS: u64 = 10;
const SERIES: usize = 40;
const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_lose_no_acknowledged_sample_and_no_firing_alert() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = Stack::new(&always_firing(&folder)).await;
    stack.start_saker().await;
    let start = Clock::System.now().slot(Duration::from_secs(60)).minus(Duration::from_secs(1800));
    // `acknowledged[s]` samples of series s were answered with success; sample n has value n and is n seconds in.
    let mut acknowledged = vec![0_usize; SERIES];
    assert!(stack.write("crash_trigger", &[("endpoint", "e")], vec![now(1.0)]).await);
    let first = firing_since(&stack).await;

    for kill in 0..KILLS {
        let ingest = async {
            loop {
                for (series, count) in acknowledged.iter_mut().enumerate() {
                    let at = start.plus(Duration::from_secs(*count as u64));
                    let sample = Sample { timestamp: at, value: *count as f64 };
                    let name = format!("s{series}");
                    if stack.write("crash_value", &[("series", &name)], vec![sample]).await {
                        *count += 1;
                    }
                }
            }
        };
        // Another moment each time, so that the kills fall on different steps of the write.
        let _ = tokio::time::timeout(Duration::from_millis(300 + 37 * kill), ingest).await;
        assert!(stack.write("crash_trigger", &[("endpoint", "e")], vec![now(1.0)]).await);
        stack.saker().kill();
        stack.start_saker().await;
        check_samples(&stack, &acknowledged).await;
        assert_eq!(firing_since(&stack).await, first, "the alert is the same as before the kill");
    }
    assert!(
        acknowledged.iter().sum::<usize>() > SERIES * 10,
        "the load was real: {acknowledged:?}"
    );
    let told: Vec<Value> = stack.webhook.bodies();
    let resolved = told.iter().filter(|body| body["status"] == "resolved").count();
    assert_eq!(resolved, 0, "nobody was told that it is over");
}

async fn check_samples(stack: &Stack, acknowledged: &[usize]) {
    let result = stack.query("crash_value[1h]").await.expect("apiproxy answers");
    for (series, &count) in acknowledged.iter().enumerate() {
        let name = format!("s{series}");
        let found = result.iter().find(|found| found["metric"]["series"] == name.as_str());
        let values = found
            .and_then(|found| found["values"].as_array())
            .map(Vec::as_slice)
            .unwrap_or_default();
        // The one in flight at the kill may be there too.
        assert!(values.len() >= count, "{name}: {} of {count} acknowledged samples", values.len());
        for (n, value) in values.iter().enumerate() {
            assert_eq!(
                value[1].as_str().and_then(|text| text.parse().ok()),
                Some(n),
                "{name} sample {n}: {value}"
            );
        }
    }
}

/// When the alert began, as alarm tells it.
async fn firing_since(stack: &Stack) -> String {
    let url = format!("{}/api/v2/alerts?active=true", stack.alarm());
    let answer = eventually("the alert is firing", SOON, async || {
        let alerts = get_json(&stack.context.http, &url).await?;
        let alert = alerts
            .as_array()?
            .iter()
            .find(|alert| alert["labels"]["alertname"] == "CrashTest")?
            .clone();
        (alert["status"]["state"] == "active").then_some(alert)
    });
    answer.await["startsAt"].as_str().unwrap().to_owned()
}

fn now(value: f64) -> Sample {
    Sample { timestamp: Timestamp::from_millis(Clock::System.now().millis()), value }
}

fn always_firing(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("rules.yml");
    let rules = "groups:\n  - name: crash\n    interval: 1s\n    rules:\n      - alert: CrashTest\n        expr: crash_trigger > 0\n";
    fs::write(&path, rules).unwrap();
    path
}
