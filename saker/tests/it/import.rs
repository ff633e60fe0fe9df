//! A portal database in a real MariaDB becomes rules that judge evaluates.

use std::time::Duration;

use daemon::Clock;
use model::Sample;
use serde_json::Value;
use testkit::{MariaDb, Process, binary, eventually, get_json};

use crate::stack::{Stack, repository};

const PATIENCE: Duration = Duration::from_secs(60);
const SCHEMA: &str = include_str!("data/open_falcon_portal.sql");

/// Runs `saker ctl import open-falcon`; answers its exit code and output.
async fn import(args: &[&str]) -> (i32, String) {
    let args = ["ctl", "import", "open-falcon"].into_iter().chain(args.iter().copied());
    let mut saker = Process::start(&binary("saker"), args);
    let code = saker.wait(PATIENCE).await.code().unwrap_or(-1);
    (code, saker.output())
}

/// The JSON that ends the output, behind the lines that tell how far it is.
fn json(output: &str) -> Value {
    let line = output.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {output}"))
}

fn outcome<'v>(told: &'v Value, kind: &str, id: i64) -> &'v str {
    let origin = serde_json::json!({ "kind": kind, "id": id });
    let entries = told["report"]["entries"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["origin"] == origin);
    entry.unwrap_or_else(|| panic!("{kind} {id}: {told}"))["outcome"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_database_becomes_groups_and_rules_that_fire() {
    let Some(server) = MariaDb::start().await else { return };
    let (portal, graph) =
        (server.create_database("falcon_portal"), server.create_database("graph"));
    server.sql(SCHEMA);
    let mut stack = Stack::new(&repository().join("rules/host.yml")).await;
    stack.start_saker().await;
    let (out, export) = (stack.file("imported"), stack.file("portal.json"));
    let (out, export) = (out.to_str().unwrap(), export.to_str().unwrap());

    let from = ["--mysql", &portal, "--graph-mysql", &graph, "--time-zone", "+08:00"];
    let read = [&from[..], &["--export", export, "--out", out]].concat();
    let (code, output) = import(&read).await;
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("strategy: 6 rows") && output.contains("give --apply"), "{output}");

    let (hbs, judge) = (stack.hbs(), stack.judge());
    let apply = ["--file", export, "--apply", "--hbs", &hbs, "--judge", &judge, "--json"];
    let (code, output) = import(&apply).await;
    assert_eq!(code, 0, "{output}");
    let told = json(&output);
    assert_eq!(told["applied"]["host_groups"]["created"], 1, "{told}");
    assert_eq!(told["applied"]["members_added"], 2);
    assert_eq!(told["applied"]["rule_groups"]["created"], 3);
    assert_eq!(outcome(&told, "strategy", 1), "same");
    assert_eq!(outcome(&told, "strategy", 2), "differs", "a counter");
    assert_eq!(outcome(&told, "strategy", 4), "refused");
    assert_eq!(outcome(&told, "strategy", 5), "off");
    assert_eq!(told["report"]["faults"][0]["row"], "6", "{told}");

    let (_, output) = import(&apply).await;
    let again = json(&output)["applied"].take();
    assert_eq!(
        (&again["host_groups"]["unchanged"], &again["members_added"]),
        (&1.into(), &0.into())
    );
    assert_eq!(again["rule_groups"]["unchanged"], 3, "{again}");

    let group = format!("{judge}/api/v1/rule-groups/falcon-expressions-0");
    let edited = "rules: [{alert: Mine, expr: up == 0}]";
    assert!(
        stack.context.http.put(&group).body(edited).send().await.unwrap().status().is_success()
    );
    let (_, output) = import(&apply).await;
    let again = json(&output)["applied"].take();
    assert_eq!(
        (&again["rule_groups"]["changed"], again["left"].as_array().unwrap().len()),
        (&0.into(), 1)
    );
    let (_, output) = import(&[&apply[..], &["--overwrite"]].concat()).await;
    assert_eq!(json(&output)["applied"]["rule_groups"]["changed"], 1, "{output}");

    let group = get_json(&stack.context.http, &format!("{hbs}/api/v1/groups/corp.web")).await;
    let checks = group.unwrap()["spec"]["checks"].take();
    assert_eq!(checks, serde_json::json!([{ "check": "port_listen", "port": 80 }]));

    fires(&stack, &judge).await;
    is_recorded(&stack).await;
}

/// Trouble on one host of the group, and on one that is not in it.
async fn fires(stack: &Stack, judge: &str) {
    eventually("the rule of the template fires", PATIENCE, async || {
        let now = vec![Sample { timestamp: Clock::System.now(), value: 95.0 }];
        for host in ["web-1.bj", "other"] {
            assert!(stack.write("mem_memused_percent", &[("endpoint", host)], now.clone()).await);
        }
        let answer = get_json(&stack.context.http, &format!("{judge}/api/v1/alerts")).await?;
        let alerts = answer["data"]["alerts"].as_array()?;
        let of_import = |host: &str| {
            alerts.iter().find(|alert| {
                alert["labels"]["falcon_id"] == "s_1" && alert["labels"]["endpoint"] == host
            })
        };
        assert!(of_import("other").is_none(), "{alerts:?}");
        let alert = of_import("web-1.bj")?;
        assert_eq!(alert["labels"]["alertname"], "memory is short");
        assert_eq!(
            (&alert["labels"]["severity"], &alert["labels"]["teams"]),
            (&"P2".into(), &"ops".into())
        );
        assert_eq!(alert["annotations"]["description"], "memory is short");
        Some(())
    })
    .await;
}

/// The mean over the hosts of the group, of which one gives a value.
async fn is_recorded(stack: &Stack) {
    eventually("the aggregator has a value", PATIENCE, async || {
        let value = |result: &[Value]| result.first()?["value"][1].as_str().map(str::to_owned);
        let of = r#"{endpoint="corp.web"}"#;
        let mean = stack.query(&format!("mem_memused_percent_avg{of}")).await?;
        let used = stack.query(&format!("mem_memused_percent_avg_hosts_used{of}")).await?;
        let expected = stack.query(&format!("mem_memused_percent_avg_hosts_expected{of}")).await?;
        let found = (value(&mean)?, value(&used)?, value(&expected)?);
        (found == ("95".to_owned(), "1".to_owned(), "2".to_owned())).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_and_the_password_is_not() {
    for (args, code, told) in [
        (vec!["--mysql", "mysql://u:s3cret@127.0.0.1:1/p"], 1, "connect to the database"),
        (vec!["--mysql", "postgres://u:s3cret@h/p"], 1, "must begin with"),
        (vec!["--file", "/nowhere/portal.json"], 1, "read /nowhere/portal.json"),
        (vec!["--file", "/dev/null"], 1, "no JSON"),
        (vec!["--out", "x"], 2, "--mysql"),
    ] {
        let (found, output) = import(&args).await;
        assert!(output.contains(told) && !output.contains("s3cret"), "{args:?}: {output}");
        assert!(found == code || found != 0 && code == 1, "{args:?}: {found} {output}");
    }
}
