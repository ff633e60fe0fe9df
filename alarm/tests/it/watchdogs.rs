//! The dead-man's switch: what must keep coming and does not is an alert, and outside somebody hears that all is
//! well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use testkit::eventually;

use crate::harness::{Alarm, PATIENCE, receiver, webhook};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_watchdog_that_does_not_come_is_told_until_it_comes_and_pings_stop_meanwhile() {
    let (webhook, context) = webhook().await;
    let pings = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pings);
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { "ok" }
    };
    let outside = Router::new().route("/ping", get(count));
    let outside = context.listen(([127, 0, 0, 1], 0).into(), outside).await.unwrap();
    let settings = format!(
        "{}[dead_man]\nping_url = \"http://{outside}/ping\"\nping_interval = \"30s\"\n\
         [[dead_man.watchdogs]]\nname = \"west\"\nmatchers = ['alertname=\"Watchdog\"', 'endpoint=\"web-03\"']\n\
         missing_for = \"5m\"\n",
        receiver("ops", &webhook)
    );
    let alarm = Alarm::start(&settings).await;
    let seen = async |name: &str, status: &str| {
        eventually(&format!("{name} is {status}"), PATIENCE, async || {
            alarm.advance(5 * SECOND);
            webhook.bodies().into_iter().find(|body| {
                let alert = &body["alerts"][0];
                alert["labels"]["alertname"] == name && alert["status"] == status
            })
        })
        .await
    };
    eventually("it says outside that all is well", PATIENCE, async || {
        alarm.fire("Watchdog", "info").await;
        alarm.advance(5 * SECOND);
        (pings.load(Ordering::Relaxed) >= 2).then_some(())
    })
    .await;
    seen("Watchdog", "firing").await;
    // It comes no more.
    let body = seen("SakerWatchdogMissing", "firing").await;
    let alert = &body["alerts"][0];
    assert_eq!(
        (&alert["labels"]["watchdog"], &alert["labels"]["severity"]),
        (&"west".into(), &"critical".into())
    );
    assert!(alert["annotations"]["summary"].as_str().unwrap().contains("5m"), "{alert}");
    assert!(alarm.get("/metrics").await.contains("alarm_watchdogs_missing 1"));
    let silent = pings.load(Ordering::Relaxed);
    for _ in 0..20 {
        alarm.advance(5 * SECOND);
        tokio::task::yield_now().await;
    }
    assert_eq!(pings.load(Ordering::Relaxed), silent, "nobody outside hears that all is well");
    eventually("its end is told", PATIENCE, async || {
        // It keeps coming, however long this takes.
        alarm.fire("Watchdog", "info").await;
        alarm.advance(5 * SECOND);
        webhook.bodies().into_iter().find(|body| {
            let alert = &body["alerts"][0];
            alert["labels"]["alertname"] == "SakerWatchdogMissing" && alert["status"] == "resolved"
        })
    })
    .await;
    eventually("it says again that all is well", PATIENCE, async || {
        alarm.fire("Watchdog", "info").await;
        alarm.advance(5 * SECOND);
        (pings.load(Ordering::Relaxed) > silent).then_some(())
    })
    .await;
    let metrics = alarm.get("/metrics").await;
    assert!(metrics.contains("alarm_watchdogs_missing 0"), "{metrics}");
    assert!(metrics.contains("alarm_pings_total{result=\"failed\"} 0"), "{metrics}");
}
