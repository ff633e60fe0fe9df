//! Debian's amtool drives alarm's API as it would drive Alertmanager's.

use std::path::Path;
use std::process::Command;

use testkit::program;

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
