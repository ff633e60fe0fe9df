//! The rules for hosts that come with Saker.

use serde_json::Value;
use testkit::eventually;

use crate::world::{INTERVAL, PATIENCE, World};

#[tokio::test]
async fn the_rules_that_come_with_saker_are_used_when_no_file_is_named() {
    let world = World::new().await;
    let config = judge::Config { host_rules: true, ..world.config() };
    let judge = world.judge_with(config).await;
    let demo =
        eventually("the rules are known", PATIENCE, async || judge.group(&world, "demo").await)
            .await;
    assert_eq!(demo["file"], judge::HOST_RULES_FILE);
    world.push(&[("__name__", "saker_demo"), ("endpoint", "web-1")], 1.0).await;
    world.clock.advance(std::time::Duration::from_secs(5));
    world
        .hears("the demonstration fires", |heard| heard.label("alertname") == Some("Demonstration"))
        .await;
}

#[tokio::test]
async fn the_rules_for_hosts_fire_on_the_metrics_of_the_agent() {
    let world = World::new().await;
    let judge = world.judge_with(judge::Config { host_rules: true, ..world.config() }).await;
    eventually("the rules are known", PATIENCE, async || judge.group(&world, "hosts").await).await;
    let disk = [("endpoint", "web-1"), ("mount", "/data"), ("fstype", "ext4")];
    // Half an hour in which everything is bad, a sample every half minute; only the disk fills slowly.
    for tick in 0..60 {
        for (name, value) in [
            ("agent_heartbeat_age_seconds", 500.0),
            ("load_5min", 20.0),
            ("host_cpucores", 4.0),
            ("mem_memavailable_percent", 4.0),
            ("sys_ntp_offset", -800.0),
            ("agent_clock_offset", 0.0),
        ] {
            world.push(&[("__name__", name), ("endpoint", "web-1")], value).await;
        }
        // A host without time servers is measured against hbs.
        world.push(&[("__name__", "agent_clock_offset"), ("endpoint", "web-2")], 900.0).await;
        for (name, value) in [
            ("df_bytes_used_percent", 95.5 + f64::from(tick) * 0.05),
            ("df_inodes_used_percent", 97.0),
            ("df_readonly", 1.0),
        ] {
            world.push(&[&disk[..], &[("__name__", name)]].concat(), value).await;
        }
        let now = world.clock.now();
        world.clock.advance(INTERVAL * 2);
        eventually("both groups are evaluated", PATIENCE, async || {
            let at =
                |group: &Value| model::Timestamp::parse_rfc3339(group["lastEvaluation"].as_str()?);
            let (hosts, disks) =
                (judge.group(&world, "hosts").await?, judge.group(&world, "file-systems").await?);
            // The first slot of the second group may be a minute away.
            let is_due = tick > 0;
            (at(&hosts)? > now && (!is_due || at(&disks)? > now.minus(INTERVAL * 2))).then_some(())
        })
        .await;
    }
    let alerts = judge.get(&world, "/api/v1/alerts").await.expect("the alerts");
    let alerts = alerts["alerts"].as_array().expect("a list");
    let mut firing: Vec<&str> = alerts
        .iter()
        .filter(|alert| alert["state"] == "firing")
        .filter_map(|alert| alert["labels"]["alertname"].as_str())
        .collect();
    firing.sort_unstable();
    let expected = [
        "ClockOff",
        "ClockOff",
        "DiskAlmostFull",
        "DiskFilling",
        "FileSystemReadOnly",
        "HostSilent",
        "InodesAlmostGone",
        "LoadHigh",
        "MemoryShort",
    ];
    assert_eq!(firing, expected);
    let value_of = |name: &str| {
        let of_name = alerts.iter().filter(|alert| alert["labels"]["alertname"] == name);
        of_name.filter_map(|alert| alert["annotations"]["value"].as_str()).collect::<Vec<_>>()
    };
    assert_eq!((value_of("HostSilent"), value_of("MemoryShort")), (vec!["8m 20s"], vec!["4.0 %"]));
    assert_eq!(value_of("ClockOff").len(), 2);
    let texts = alerts.iter().map(|alert| alert["annotations"].to_string()).collect::<String>();
    assert!(!texts.contains("error expanding") && !texts.contains("no value"), "{texts}");
}
