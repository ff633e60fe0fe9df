//! `kill -9` between any two steps of an upgrade: the host goes on, and ends on the new version.

use std::fs;

use crate::upgrade_host::{Host, NEW, agent};
use wire::heartbeat::UpgradePhase;

/// Where the processes are ended, in the order of an upgrade.
const POINTS: [&str; 12] = [
    "fetched",
    "verified",
    "staged",
    "installed",
    "pending",
    "launcher-before-state",
    "launcher-after-state",
    "before-local-ok",
    "after-local-ok",
    "before-commit",
    "marked",
    "after-commit",
];

async fn survives(point: &str) {
    let host = Host::start().await;
    fs::write(host.layout.base.join("crash-at"), point).unwrap();
    host.offer("good", &agent(NEW));
    let (_, report) = host.ended("good").await;
    assert_eq!(report.phase, UpgradePhase::Confirmed, "{point}: {report:?}\n{}", host.log());
    host.settles_on(NEW).await;
    assert!(!host.layout.base.join("crash-at").exists(), "{point} was never reached");
    assert!(host.starts() >= 2, "{point}");
    host.stop().await;
}

#[tokio::test]
async fn a_kill_while_the_files_are_fetched_and_installed_leaves_the_old_agent_which_tries_again() {
    for point in &POINTS[..4] {
        survives(point).await;
    }
}

#[tokio::test]
async fn a_kill_around_the_restart_does_not_stop_the_trial() {
    for point in &POINTS[4..7] {
        survives(point).await;
    }
}

#[tokio::test]
async fn a_kill_on_trial_does_not_stop_the_trial() {
    for point in &POINTS[7..] {
        survives(point).await;
    }
}
