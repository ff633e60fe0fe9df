//! The agent as a process: commands and exit codes.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use saker_agent::catalogue::Group;
use testkit::eventually;

use crate::stand_in::{PATIENCE, StandIn};

fn agent(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_saker-agent")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn one_group_can_be_printed() {
    let output = agent(&["collect", "load", "--endpoint", "h"]);
    let lines = text(&output.stdout);
    assert!(
        output.status.success() && lines.starts_with(r#"load_1min{endpoint="h"} "#),
        "{output:?}"
    );
    assert_eq!(lines.lines().count(), 4);
}

#[test]
fn every_collector_of_this_host_passes_the_check() {
    let output = agent(&["check", "--endpoint", "h"]);
    let table = text(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(table.starts_with("configuration ok\n"), "{table}");
    for (metric, _) in Group::ALL.into_iter().flat_map(Group::metrics) {
        let of_metric = |line: &&str| line.split_whitespace().nth(1) == Some(metric.original);
        let row = table.lines().find(of_metric).unwrap_or_else(|| panic!("{}", metric.original));
        let columns: Vec<_> = row.split_whitespace().collect();
        let has_value = columns[3] != "0" && columns[4].parse::<f64>().is_ok();
        assert!(has_value || columns[4] == "-" && columns.len() > 5, "{row}");
    }
}

#[test]
fn a_group_that_does_not_exist_is_told_with_those_that_do() {
    let output = agent(&["collect", "gpu"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("there is no group \"gpu\"; there are cpu, percore"),
        "{output:?}"
    );
}

#[test]
fn a_configuration_with_faults_ends_with_2_and_names_them_all() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    fs::write(&file, "endpont = \"x\"\n[transfer]\naddresses = [\"nowhere\"]\n").unwrap();
    let output = agent(&["--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(
        told.contains("agent.toml") && told.contains("endpont") && told.contains("nowhere"),
        "{told}"
    );
}

#[test]
fn a_busy_port_and_an_unusable_folder_end_with_3_and_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let busy = agent(&[
        "--listen",
        &address,
        "--data-dir",
        dir.path().to_str().unwrap(),
        "--endpoint",
        "h",
    ]);
    assert_eq!(busy.status.code(), Some(3), "{busy:?}");
    assert!(text(&busy.stderr).contains(&address), "{busy:?}");

    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let unusable = agent(&[
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        file.to_str().unwrap(),
        "--endpoint",
        "h",
    ]);
    assert_eq!(unusable.status.code(), Some(3), "{unusable:?}");
    assert!(text(&unusable.stderr).contains("--data-dir"), "{unusable:?}");
}

#[test]
fn the_version_is_printed() {
    let output = agent(&["version"]);
    assert_eq!(text(&output.stdout), format!("saker-agent {}\n", env!("CARGO_PKG_VERSION")));
}

fn run(config: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saker-agent"));
    command.arg("--config").arg(config).stderr(Stdio::null()).spawn().unwrap()
}

fn bytes_below(folder: &Path) -> u64 {
    let Ok(files) = fs::read_dir(folder) else { return 0 };
    files.filter_map(|file| file.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum()
}

// A second is the shortest interval there is, so this takes a few of them.
#[tokio::test]
async fn an_agent_that_is_killed_while_transfer_is_away_loses_no_slot_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let transfer = StandIn::start().await;
    transfer.answer(503);
    let file = dir.path().join("agent.toml");
    let text = format!(
        r#"
        endpoint = "h"
        listen = "127.0.0.1:0"
        data_dir = "{}"
        transfer = {{ addresses = ["{}"], spread = "0s", backoff_max = "200ms" }}
        hbs = {{ addresses = [] }}
        groups = {{ load = {{ interval = "1s" }} }}
        "#,
        dir.path().display(),
        transfer.url
    );
    fs::write(&file, text).unwrap();
    let mut agent = run(&file);
    // A batch of three samples takes some hundred bytes: two slots and more are in the spool.
    let spool = dir.path().join("spool");
    eventually("slots in the spool", PATIENCE, async || (bytes_below(&spool) > 900).then_some(()))
        .await;
    agent.kill().unwrap();
    agent.wait().unwrap();
    let in_spool = bytes_below(&spool);
    transfer.answer(204);
    let mut agent = run(&file);
    eventually("an empty spool", PATIENCE, async || (bytes_below(&spool) == 0).then_some(())).await;
    agent.kill().unwrap();
    agent.wait().unwrap();

    let mut slots: Vec<i64> = Vec::new();
    for series in transfer.taken().iter().flat_map(|request| &request.series) {
        if series.labels.metric_name() == "load_1min" {
            slots.push(series.samples[0].timestamp.seconds());
        }
    }
    slots.sort_unstable();
    slots.dedup();
    // Every slot of the first agent is there: they follow each other without a gap.
    let before_gap = slots.windows(2).take_while(|pair| pair[1] == pair[0] + 1).count() + 1;
    assert!(before_gap >= 2, "{slots:?} of {in_spool} bytes");
}

#[tokio::test]
async fn a_signal_ends_the_agent_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    let text =
        format!("endpoint = 'h'\nlisten = '127.0.0.1:0'\ndata_dir = '{}'", dir.path().display());
    fs::write(&file, text).unwrap();
    let log = dir.path().join("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_saker-agent"));
    let mut agent =
        command.arg("--config").arg(&file).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let is_up = async || fs::read_to_string(&log).unwrap().contains("agent is up").then_some(());
    eventually("a start", PATIENCE, is_up).await;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(agent.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let ended = eventually("the end", PATIENCE, async || agent.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(0));
}
