//! Debian's amtool drives alarm's API as it would drive Alertmanager's.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::{Process, binary, eventually, free_port, get_text, program};

use crate::stack::{Stack, host_rules};

/// What amtool prints; fails the test when it ends with an error.
fn amtool(program: &Path, alarm: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(["--alertmanager.url", alarm])
        .args(args)
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    let fault = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "amtool {args:?}: {fault}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn amtool_adds_queries_silences_and_expires() {
    let Some(program) = program("amtool") else { return };
    let mut stack = Stack::new(&host_rules()).await;
    stack.start_saker().await;
    let alarm = stack.alarm();
    let run = |args: &[&str]| amtool(&program, &alarm, args);

    run(&["alert", "add", "DiskFull", "endpoint=web-03", "severity=critical"]);
    run(&["alert", "add", "LoadHigh", "endpoint=web-04"]);
    let found = run(&["alert", "query", "-o", "json", "endpoint=web-03"]);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found[0]["labels"]["alertname"], "DiskFull");

    let add =
        ["silence", "add", "--author=ann", "--duration=1h", "--comment=works", "endpoint=~web-.*"];
    let id = run(&add).trim().to_owned();
    let silences = run(&["silence", "query", "-o", "json"]);
    let silences: serde_json::Value = serde_json::from_str(&silences).unwrap();
    assert_eq!(
        (&silences[0]["id"], &silences[0]["createdBy"]),
        (&id.clone().into(), &"ann".into())
    );
    let active = run(&["alert", "query", "-o", "simple"]);
    assert!(!active.contains("DiskFull") && !active.contains("LoadHigh"), "{active}");
    let silenced = run(&["alert", "query", "--silenced", "-o", "simple"]);
    assert!(silenced.contains("DiskFull") && silenced.contains("LoadHigh"), "{silenced}");

    let updated = run(&["silence", "update", "--duration=2h", &id]);
    assert!(updated.contains(&id), "the same silence goes on: {updated}");
    run(&["silence", "expire", &id]);
    assert_eq!(run(&["silence", "query", "-q"]).trim(), "");
    assert!(run(&["silence", "query", "-q", "--expired"]).contains(&id));
    assert!(run(&["alert", "query", "-o", "simple"]).contains("DiskFull"));
}

const ROUTES: &str = "
route:
  receiver: default
  group_by: [alertname]
  routes:
    - matchers: [team=\"db\"]
      receiver: db
      continue: true
    - matchers: [severity=~\"critical|page\"]
      receiver: pages
receivers: [{name: default}, {name: db}, {name: pages}]
";

#[tokio::test]
async fn amtool_shows_and_tests_the_routes_that_alarm_reads_from_a_file() {
    let Some(program) = program("amtool") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alertmanager.yml");
    std::fs::write(&path, ROUTES).unwrap();
    let file = path.to_str().unwrap();
    let checked = Command::new(binary("saker"))
        .args(["ctl", "alarm", "check-config", file])
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(String::from_utf8_lossy(&checked.stdout).contains("3 receivers"));

    let theirs = Command::new(&program).args(["check-config", file]).output().unwrap();
    assert!(theirs.status.success(), "{}", String::from_utf8_lossy(&theirs.stderr));
    assert!(String::from_utf8_lossy(&theirs.stdout).contains("3 receivers"));

    let port = free_port();
    let config = folder.path().join("saker.toml");
    let data = folder.path().join("data");
    let settings = format!(
        "data_dir = {data:?}\n[alarm]\nlisten = \"127.0.0.1:{port}\"\nalertmanager_config = {file:?}\n"
    );
    std::fs::write(&config, settings).unwrap();
    let args = ["alarm".as_ref(), "--config".as_ref(), config.as_os_str()];
    let mut saker = Process::start(&binary("saker"), args);
    let alarm = format!("http://127.0.0.1:{port}");
    let http = daemon::http_client().unwrap();
    eventually("alarm is ready", Duration::from_secs(30), async || {
        assert!(saker.is_running(), "saker ended: {}", saker.output());
        get_text(&http, &format!("{alarm}/-/ready")).await
    })
    .await;
    let run = |args: &[&str]| amtool(&program, &alarm, args);
    run(&["alert", "add", "DiskFull", "team=db", "severity=critical"]);
    let routed = run(&["config", "routes", "test", "team=db", "severity=critical"]);
    assert_eq!(routed.trim(), "db,pages");
    assert_eq!(run(&["config", "routes", "test", "team=web"]).trim(), "default");
    for (labels, expected) in
        [(&["team=db", "severity=critical"][..], "db,pages"), (&["team=web"], "default")]
    {
        let mut args = vec!["ctl", "alarm", "route-test", "--json", "--url", alarm.as_str()];
        args.extend(labels);
        let tested = Command::new(binary("saker")).args(args).output().unwrap();
        assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
        let preview: serde_json::Value = serde_json::from_slice(&tested.stdout).unwrap();
        let ways = preview["ways"].as_array().unwrap().iter();
        let names: Vec<&str> = ways.map(|way| way["receiver"].as_str().unwrap()).collect();
        assert_eq!(names.join(","), expected, "as amtool says");
    }
    assert!(run(&["config", "routes", "show"]).contains("pages"));
    // What alarm says that it goes by is a file that Alertmanager would take too.
    let shown = folder.path().join("shown.yml");
    std::fs::write(&shown, run(&["config", "show"])).unwrap();
    let checked = run(&["check-config", shown.to_str().unwrap()]);
    assert!(checked.contains("SUCCESS") && checked.contains("3 receivers"), "{checked}");
    let of_pages = run(&["alert", "query", "--receiver=pages", "-o", "simple"]);
    assert!(of_pages.contains("DiskFull"), "{of_pages}");
}
