//! The agent as a process: commands and exit codes.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output};

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
    assert!(output.status.success() && lines.starts_with(r#"load_1min{endpoint="h"} "#), "{output:?}");
    assert_eq!(lines.lines().count(), 3);
}

#[test]
fn every_collector_of_this_host_passes_the_check() {
    let output = agent(&["check", "--endpoint", "h"]);
    let table = text(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(table.contains("filesystem") && table.contains("configuration  ok"), "{table}");
}

#[test]
fn a_group_that_does_not_exist_is_told_with_those_that_do() {
    let output = agent(&["collect", "gpu"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("there is no group \"gpu\"; there are cpu, percore"), "{output:?}");
}

#[test]
fn a_configuration_with_faults_ends_with_2_and_names_them_all() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    fs::write(&file, "endpont = \"x\"\n[transfer]\naddresses = [\"nowhere\"]\n").unwrap();
    let output = agent(&["--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains("agent.toml") && told.contains("endpont") && told.contains("nowhere"), "{told}");
}

#[test]
fn a_busy_port_and_an_unusable_folder_end_with_3_and_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let busy = agent(&["--listen", &address, "--data-dir", dir.path().to_str().unwrap(), "--endpoint", "h"]);
    assert_eq!(busy.status.code(), Some(3), "{busy:?}");
    assert!(text(&busy.stderr).contains(&address), "{busy:?}");

    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let unusable =
        agent(&["--listen", "127.0.0.1:0", "--data-dir", file.to_str().unwrap(), "--endpoint", "h"]);
    assert_eq!(unusable.status.code(), Some(3), "{unusable:?}");
    assert!(text(&unusable.stderr).contains("--data-dir"), "{unusable:?}");
}

#[test]
fn the_version_is_printed() {
    let output = agent(&["version"]);
    assert_eq!(text(&output.stdout), format!("saker-agent {}\n", env!("CARGO_PKG_VERSION")));
}
