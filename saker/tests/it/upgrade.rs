//! An agent upgrades itself, with real files, real processes and every kind of bad release.

use std::fs;
use std::time::Duration;

use testkit::Fault;
use wire::heartbeat::UpgradePhase::{self, Confirmed, Failed, RolledBack};

use crate::upgrade_host::{Host, NEW, OLD, Settings, agent, script};

async fn check(host: &Host, rollout: &str, phase: UpgradePhase, reason: &str) {
    let (_, report) = host.ended(rollout).await;
    let log = host.log();
    assert_eq!(report.phase, phase, "{report:?}\n{log}");
    assert!(report.reason.contains(reason), "{report:?} has no {reason:?}\n{log}");
    host.settles_on(if phase == Confirmed { NEW } else { OLD }).await;
}

#[tokio::test]
async fn a_host_changes_to_a_new_version_and_says_so_at_every_step() {
    let host = Host::start().await;
    host.offer("good", &agent(NEW));
    check(&host, "good", Confirmed, "").await;
    let phases = host.phases("good");
    let expected = [UpgradePhase::Restarting, UpgradePhase::Probation, Confirmed];
    let in_order: Vec<_> = phases.iter().filter(|phase| expected.contains(phase)).collect();
    assert_eq!(in_order, expected.iter().collect::<Vec<_>>(), "{phases:?}");
    let state = host.state();
    assert_eq!((state.active.as_deref(), state.previous), (Some(NEW), None));
    // One start of each version: the new one needed no second try.
    assert_eq!(host.starts(), 2, "{}", host.log());
    assert_eq!(state.history[0].boots, 1);
    host.stop().await;
}

#[tokio::test]
async fn a_corrupted_download_is_not_installed() {
    let host = Host::start().await;
    host.files.fault(Fault::Flip);
    host.offer("flipped", &agent(NEW));
    check(&host, "flipped", Failed, "SHA-256 of the agent is").await;
    assert_eq!(host.starts(), 1, "{}", host.log());
    host.stop().await;
}

/// open-falcon.md 5.2, fault 5.
#[tokio::test]
async fn a_release_that_crashes_at_start_is_rolled_back_after_three_starts() {
    let host = Host::start().await;
    host.offer("crash", &script("exit 1"));
    check(&host, "crash", RolledBack, "it ended 3 times before its checks had passed").await;
    assert_eq!(host.starts(), 1 + 3 + 1, "{}", host.log());
    // The same file under another rollout is not tried again; a mended one is.
    host.offer("again", &script("exit 1"));
    check(&host, "again", UpgradePhase::Refused, "was tried here before").await;
    host.stop().await;
}

#[tokio::test]
async fn a_release_that_hangs_at_start_is_rolled_back() {
    let host =
        Host::with(Settings { start_timeout: Duration::from_secs(4), ..Settings::default() }).await;
    host.offer("hang", &script("exec /bin/sleep 600"));
    check(&host, "hang", RolledBack, "it ended 3 times").await;
    host.stop().await;
}

#[tokio::test]
async fn a_release_that_never_reaches_hbs_is_rolled_back_and_not_called_bad() {
    let host =
        Host::with(Settings { upgrade: "contact_timeout = \"3s\"\n", ..Settings::default() }).await;
    let real = host.file("deaf-agent");
    crate::upgrade_host::write_program(&real, &agent(NEW));
    let run = format!("exec {} \"$@\" --hbs http://127.0.0.1:1", real.display());
    host.offer("deaf", &script(&run));
    check(&host, "deaf", RolledBack, "no hbs answered it in time").await;
    let state = host.state();
    assert_eq!((state.bad.len(), state.unproven[0].version.as_str()), (0, NEW));
    host.stop().await;
}

#[tokio::test]
async fn a_release_that_hbs_answers_with_errors_is_kept() {
    let host = Host::start().await;
    let slow = agent(NEW);
    host.offer("busy", &slow);
    host.heard("the restart", |request| {
        request.upgrade.as_ref().is_some_and(|report| report.phase == UpgradePhase::Restarting)
    })
    .await;
    host.hbs_answers(Some(503));
    testkit::eventually("the commit", Duration::from_secs(60), async || {
        (host.state().active.as_deref() == Some(NEW)).then_some(())
    })
    .await;
    host.hbs_answers(None);
    check(&host, "busy", Confirmed, "").await;
    host.stop().await;
}

#[tokio::test]
async fn damage_on_the_disk_is_seen_at_the_next_start() {
    let host = Host::start().await;
    fs::write(host.file("hold"), "").unwrap();
    let mut bytes = agent(NEW);
    host.offer("rot", &bytes);
    let trial = async || host.state().pending;
    let pending = testkit::eventually("the trial", Duration::from_secs(60), trial).await;
    bytes[100] ^= 1;
    fs::write(host.layout.binary(&pending.release), &bytes).unwrap();
    fs::remove_file(host.file("hold")).unwrap();
    check(&host, "rot", RolledBack, "is damaged: its SHA-256 is").await;
    host.stop().await;
}

/// Fault 9, as the operator of one host sees it.
#[tokio::test]
async fn a_host_whose_configuration_says_no_is_left_alone() {
    let host = Host::with(Settings { upgrade: "enabled = false\n", ..Settings::default() }).await;
    host.offer("unwanted", &agent(NEW));
    check(&host, "unwanted", UpgradePhase::Refused, "upgrade.enabled").await;
    assert!(host.files.asked().is_empty());
    host.stop().await;
}

#[tokio::test]
async fn a_configuration_is_brought_over_the_hosts_own_or_not_at_all() {
    let host = Host::start().await;
    for (rollout, text, told) in [
        ("misspelt", "[lables]\nidc = \"bj\"\n", "unknown field `lables`"),
        ("greedy", "[upgrade]\nenabled = true\n", "may only be set in the host's own"),
    ] {
        host.offer_cfg(rollout, text);
        check(&host, rollout, Failed, told).await;
    }
    host.offer_cfg("labels", "[labels]\nidc = \"bj\"\n");
    let (version, report) = host.ended("labels").await;
    assert_eq!((version.as_str(), report.phase), (OLD, Confirmed), "{report:?}\n{}", host.log());
    let request =
        host.heard("the label", |request| request.labels.get("idc").is_some_and(|idc| idc == "bj"));
    assert_eq!(request.await.agent_version, OLD);
    // An agent that comes later keeps the configuration.
    host.offer("binary", &agent(NEW));
    check(&host, "binary", Confirmed, "").await;
    assert!(host.layout.cfg(NEW).exists());
    host.stop().await;
}
