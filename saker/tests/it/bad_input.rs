//! Each fault gives one clear message and its exit code.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use daemon::Clock;
use model::Sample;
use tempfile::TempDir;
use testkit::{Process, binary};

use crate::stack::{Stack, host_rules};

const SOON: Duration = Duration::from_secs(20);

/// Runs saker until it ends; its exit code and what it printed.
async fn saker(args: &[&str]) -> (i32, String) {
    let mut process = Process::start(&binary("saker"), args);
    let status = process.wait(SOON).await;
    (status.code().unwrap_or(-1), process.output())
}

fn config(folder: &TempDir, text: &str) -> String {
    let path = folder.path().join("saker.toml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn unknown_keys_are_all_named_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(&folder, "data_dri = \"x\"\n[hbs]\nlisten = \"nowhere\"\nhosts_max = 0\n");
    let (code, text) = saker(&["standalone", "--config", &path]).await;
    assert_eq!(code, 2, "{text}");
    for part in [path.as_str(), "line 1: unknown field `data_dri`", "line 3: ", "hbs.hosts_max"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    assert_eq!(saker(&["check-config", "--config", &path]).await.0, 2);
}

#[tokio::test]
async fn a_busy_port_is_named_with_the_role_that_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let path = config(
        &folder,
        &format!("data_dir = {:?}\n[transfer]\nlisten = {address:?}\n", folder.path()),
    );
    let (code, text) = saker(&["transfer", "--config", &path]).await;
    assert_eq!(code, 3, "{text}");
    assert!(text.contains(&format!("transfer cannot listen on {address}")), "{text}");
}

#[tokio::test]
async fn an_unusable_data_directory_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let dir = file.path().join("data").display().to_string();
    let (code, text) = saker(&["standalone", "--data-dir", &dir]).await;
    assert_eq!(code, 3, "{text}");
    assert!(text.contains(&dir) && text.contains("--data-dir"), "{text}");
}

#[tokio::test]
async fn a_data_directory_in_use_is_told_once_with_the_process_that_has_it() {
    let mut stack = Stack::new(&host_rules()).await;
    stack.start_saker().await;
    let (holder, dir) = (stack.saker().pid(), stack.file("data").display().to_string());
    let (code, text) = saker(&["standalone", "--data-dir", &dir]).await;
    assert_eq!(code, 3, "{text}");
    assert_eq!(
        text.matches(&format!("in use by another process (id {holder})")).count(),
        1,
        "{text}"
    );

    let (code, text) = saker(&["ctl", "query", "up", "--url", &stack.alarm()]).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("give the address of an apiproxy with --url"), "{text}");
}

#[tokio::test]
async fn a_database_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("saker.db"), "no database at all, but a text that is long enough")
        .unwrap();
    let path = config(
        &folder,
        &format!(
            "data_dir = {:?}\n[hbs]\nlisten = \"127.0.0.1:0\"\nrpc_listen = \"127.0.0.1:0\"\n",
            folder.path()
        ),
    );
    let (code, text) = saker(&["hbs", "--config", &path]).await;
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("open the database"), "{text}");
}

#[tokio::test]
async fn a_rule_that_does_not_parse_is_named_with_its_position() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yml");
    let text =
        "groups:\n  - name: g\n    rules:\n      - alert: Broken\n        expr: sum(rate(x[5m)\n";
    fs::write(&rules, text).unwrap();
    let path = config(&folder, &format!("[judge]\nrule_files = [{:?}]\n", rules));
    let (code, text) = saker(&["check-config", "--config", &path]).await;
    assert_eq!(code, 2, "{text}");
    for part in ["rules.yml", "Broken", "1:"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

#[tokio::test]
async fn wrong_arguments_are_told_with_usage() {
    let (code, text) = saker(&["standalone", "--dta-dir", "x"]).await;
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("--data-dir"), "{text}");
}

#[tokio::test]
async fn a_corrupt_tail_of_the_log_is_cut_off_and_everything_before_it_is_kept() {
    let mut stack = Stack::new(&host_rules()).await;
    stack.start_saker().await;
    let now = Clock::System.now();
    let samples =
        (0..30).map(|n| Sample::new(now.millis() - 60_000 + n * 1000, n as f64)).collect();
    assert!(stack.write("kept", &[("endpoint", "e")], samples).await);
    stack.saker().kill();

    let folder = stack.file("data/samples/wal");
    let mut segments: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let newest = segments.last().expect("a segment was written");
    let mut bytes = fs::read(newest).unwrap();
    bytes.extend([0xAB; 777]);
    fs::write(newest, bytes).unwrap();

    stack.start_saker().await;
    let log = stack.saker().output();
    let name = newest.file_name().unwrap().to_str().unwrap();
    let warning = log
        .lines()
        .find(|line| line.contains("WARN") && line.contains(name))
        .unwrap_or_else(|| panic!("{log}"));
    assert!(warning.contains("777"), "the bytes lost are named: {warning}");
    let kept = stack.query("count_over_time(kept[5m])").await.expect("apiproxy answers");
    assert_eq!(kept[0]["value"][1], "30");
}
