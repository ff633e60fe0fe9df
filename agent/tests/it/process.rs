//! The agent as a process: commands and exit codes.

use std::collections::BTreeSet;
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

async fn spool_has_grown(folder: &Path, times: usize) {
    let mut sizes = BTreeSet::new();
    let what = format!("{times} slots in the spool");
    let grown = async || {
        sizes.insert(bytes_below(folder));
        (sizes.len() > times).then_some(())
    };
    eventually(&what, PATIENCE, grown).await;
}

// A second is the shortest interval there is, so this takes some of them.
#[tokio::test]
async fn an_agent_that_is_killed_again_and_again_while_transfer_is_away_loses_no_slot_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let transfer = StandIn::start().await;
    transfer.answer(503);
    let file = dir.path().join("agent.toml");
    let others = Group::ALL.into_iter().filter(|group| *group != Group::Load);
    let off: Vec<_> =
        others.map(|group| format!("{} = {{ enabled = false }}", group.as_str())).collect();
    let text = format!(
        r#"
        endpoint = "h"
        listen = "127.0.0.1:0"
        data_dir = "{}"
        transfer = {{ addresses = ["{}"], spread = "0s", backoff_max = "200ms" }}
        hbs = {{ addresses = [] }}
        groups = {{ load = {{ interval = "1s" }}, {} }}
        "#,
        dir.path().display(),
        transfer.url,
        off.join(", ")
    );
    fs::write(&file, text).unwrap();
    let spool = dir.path().join("spool");
    for _ in 0..2 {
        let mut agent = run(&file);
        spool_has_grown(&spool, 3).await;
        agent.kill().unwrap();
        agent.wait().unwrap();
    }
    transfer.answer(204);
    let mut agent = run(&file);
    eventually("an empty spool", PATIENCE, async || (bytes_below(&spool) == 0).then_some(())).await;
    agent.kill().unwrap();
    agent.wait().unwrap();

    let taken = transfer.taken();
    let series = taken.iter().flat_map(|request| &request.series);
    let series = series.filter(|series| series.labels.metric_name() == "load_1min");
    let slots: BTreeSet<i64> = series.map(|series| series.samples[0].timestamp.seconds()).collect();
    // Each agent wrote three slots at least. There is a gap where one was dead, and nowhere else.
    let gaps = slots.iter().zip(slots.iter().skip(1)).filter(|(one, next)| **next != **one + 1);
    assert!(slots.len() >= 6 && gaps.count() <= 2, "{slots:?}");
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
