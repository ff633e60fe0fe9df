//! From an offer to a release on trial, or to a reason why not. The faults of Open-Falcon's agent are named.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use daemon::{Clock, Context};
use launcher::layout::Layout;
use launcher::release::{Manifest, hex, signed_text};
use launcher::state::{Mark, State};
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair};
use saker_agent::config::Upgrade;
use saker_agent::upgrade::{Started, Upgrader};
use testkit::{Fault, FileServer};
use wire::heartbeat::{UpgradeKind, UpgradeOffer, UpgradePhase, UpgradeReport};

const AGENT: &str = "#!/bin/sh\n[ \"$1\" = version ] && echo saker-agent 7.1\nexit 0\n";
const CFG: &str = "[transfer]\n";

/// A host that waits for offers, and the server of its files.
struct Host {
    ctx: Context,
    server: FileServer,
    config: Upgrade,
    layout: Layout,
    started: Started,
    _dir: tempfile::TempDir,
}

impl Host {
    async fn new() -> Self {
        let ctx = Context::new("test", Clock::System).unwrap();
        let server = FileServer::start(&ctx).await;
        server.put("bin_7.1", AGENT);
        server.put("cfg_7.1", CFG);
        let dir = tempfile::tempdir().unwrap();
        let (base, keys) = (dir.path().join("agent"), dir.path().join("keys"));
        fs::create_dir(&base).unwrap();
        let config = Upgrade { dir: base.clone(), keys, ..Upgrade::default() };
        let layout = Layout { base, ..Layout::default() };
        let started = Started { release: Some(String::new()), config: None };
        Self { ctx, server, config, layout, started, _dir: dir }
    }

    fn offer(&self) -> UpgradeOffer {
        UpgradeOffer {
            rollout: "r-1".to_owned(),
            wgeturl: self.server.url(),
            version: "7.1".to_owned(),
            sha256: sha256(AGENT),
            lease_seconds: 60,
            ..UpgradeOffer::default()
        }
    }

    /// What hbs is told once the offer has come to its end on this process.
    async fn take(&self, offer: UpgradeOffer) -> UpgradeReport {
        let (upgrader, queue) =
            Upgrader::new(&self.config, "host", self.started.clone(), &self.ctx);
        upgrader.offer(offer);
        let run = upgrader.run(queue);
        let ended = async {
            loop {
                upgrader.changed().await;
                let report = upgrader.report().filter(|report| {
                    report.phase.is_end() || report.phase == UpgradePhase::Restarting
                });
                if let Some(report) = report {
                    return report;
                }
            }
        };
        tokio::select! {
            report = ended => report,
            () = run => upgrader.report().unwrap(),
        }
    }

    async fn check(&self, offer: UpgradeOffer, phase: UpgradePhase, reason: &str) {
        let report = self.take(offer).await;
        assert_eq!(report.phase, phase, "{report:?}");
        assert!(report.reason.contains(reason), "{report:?} has no {reason:?}");
        assert_eq!(report.rollout, "r-1");
        if phase != UpgradePhase::Restarting {
            assert_eq!(self.state().pending, None);
        }
    }

    fn state(&self) -> State {
        State::load(&self.layout).unwrap()
    }
}

fn sha256(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

#[tokio::test]
async fn a_newer_version_is_fetched_checked_and_put_on_trial() {
    let host = Host::new().await;
    let report = host.take(host.offer()).await;
    assert_eq!((report.phase, report.reason.as_str()), (UpgradePhase::Restarting, ""));
    let pending = host.state().pending.unwrap();
    assert_eq!((pending.release.as_str(), pending.bytes), ("7.1", AGENT.len() as u64));
    assert_eq!(fs::read(host.layout.binary("7.1")).unwrap(), AGENT.as_bytes());
    assert_eq!(fs::read_dir(host.layout.downloads()).unwrap().count(), 0);
}

/// open-falcon.md 5.2, fault 1.
#[tokio::test]
async fn a_network_error_leaves_the_running_agent_as_it_is() {
    let host = Host::new().await;
    let address = SocketAddr::from(([127, 0, 0, 1], testkit::free_port()));
    let offer = UpgradeOffer { wgeturl: format!("http://{address}"), ..host.offer() };
    host.check(offer, UpgradePhase::Failed, "bin_7.1").await;
    assert_eq!(host.state().active, None);
}

/// Fault 3.
#[tokio::test]
async fn an_agent_and_its_configuration_come_together_or_not_at_all() {
    let host = Host::new().await;
    let both =
        UpgradeOffer { kind: UpgradeKind::Both, cfg_sha256: sha256("another"), ..host.offer() };
    host.check(both.clone(), UpgradePhase::Failed, "SHA-256 of the configuration is").await;
    assert!(!host.layout.versions().exists());
    let right = UpgradeOffer { cfg_sha256: sha256(CFG), ..both };
    host.check(right, UpgradePhase::Restarting, "").await;
    assert_eq!(fs::read(host.layout.cfg("7.1~both")).unwrap(), CFG.as_bytes());
}

#[tokio::test]
async fn a_configuration_that_the_agent_does_not_like_is_not_installed() {
    let host = Host::new().await;
    host.server.put("bin_7.1", AGENT.replace("exit 0", "[ \"$1\" = version ] || exit 2"));
    let text = AGENT.replace("exit 0", "[ \"$1\" = version ] || exit 2");
    let offer = UpgradeOffer { sha256: sha256(&text), ..host.offer() };
    host.check(offer, UpgradePhase::Failed, "`check --preflight` ended with exit status: 2").await;
}

/// Fault 4.
#[tokio::test]
async fn a_second_try_on_the_same_day_does_not_overwrite_what_is_good() {
    let host = Host::new().await;
    host.take(host.offer()).await;
    State::update(&host.layout, |state| state.commit(1)).unwrap();
    let good = fs::read(host.layout.binary("7.1")).unwrap();
    let started = Started { release: Some("7.1".to_owned()), config: None };
    let host = Host { started, ..host };
    host.server.put("bin_7.2", "bad");
    for _ in 0..2 {
        let offer = UpgradeOffer { version: "7.2".to_owned(), ..host.offer() };
        host.check(offer, UpgradePhase::Failed, "SHA-256 of the agent is").await;
    }
    assert_eq!(fs::read(host.layout.binary("7.1")).unwrap(), good);
    assert_eq!(host.state().active.as_deref(), Some("7.1"));
}

/// Fault 6.
#[tokio::test]
async fn a_build_with_another_version_inside_and_an_old_task_change_nothing() {
    let host = Host::new().await;
    host.server.put("bin_7.2", AGENT);
    let offer = UpgradeOffer { version: "7.2".to_owned(), ..host.offer() };
    host.check(offer, UpgradePhase::Failed, "says that it is \"saker-agent 7.1\"").await;
    let old = UpgradeOffer { version: "0.0.1".to_owned(), ..host.offer() };
    host.check(old, UpgradePhase::Refused, "it is older than").await;
}

/// Fault 9.
#[tokio::test]
async fn a_host_that_opted_out_stays_what_it_is() {
    let mut host = Host::new().await;
    host.config.enabled = false;
    host.check(host.offer(), UpgradePhase::Refused, "upgrade.enabled").await;
    assert!(host.server.asked().is_empty());
    let (upgrader, _queue) = Upgrader::new(&host.config, "h", host.started.clone(), &host.ctx);
    assert!(!upgrader.is_upgradable());
}

/// Fault 10.
#[tokio::test]
async fn where_there_are_keys_only_what_they_signed_is_installed() {
    let host = Host::new().await;
    let pair = |seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let (ours, stranger) = (pair(1), pair(2));
    fs::write(&host.config.keys, STANDARD.encode(ours.public_key())).unwrap();
    host.check(host.offer(), UpgradePhase::Refused, "is not signed").await;
    let sign = |pair: &Ed25519KeyPair| {
        let text = signed_text("7.1", "", &sha256(AGENT));
        UpgradeOffer { signature: STANDARD.encode(pair.sign(text.as_bytes())), ..host.offer() }
    };
    host.check(sign(&stranger), UpgradePhase::Failed, "no key of the host has signed").await;
    host.check(sign(&ours), UpgradePhase::Restarting, "").await;
    let manifest = Manifest::read(&host.layout, "7.1").unwrap();
    assert!(!manifest.signature.is_empty());
    fs::write(&host.config.keys, "not a key").unwrap();
    State::update(&host.layout, |state| state.pending = None).unwrap();
    host.check(sign(&ours), UpgradePhase::Refused, "not an Ed25519 public key").await;
}

/// Fault 11.
#[tokio::test]
async fn another_architecture_a_hanging_server_and_a_bad_version_are_told_apart() {
    let mut host = Host::new().await;
    let offer = UpgradeOffer { arch: "sparc".to_owned(), ..host.offer() };
    host.check(offer, UpgradePhase::Refused, "it is for sparc").await;
    host.config.download_timeout = Duration::from_millis(200);
    host.server.fault(Fault::Hang);
    host.check(host.offer(), UpgradePhase::Failed, "bin_7.1").await;
    host.server.fault(Fault::None);
    let reason = "it ended 3 times".to_owned();
    State::update(&host.layout, |state| {
        state.bad.push(Mark { version: "7.1".to_owned(), md5: String::new(), reason });
    })
    .unwrap();
    host.check(host.offer(), UpgradePhase::Refused, "was tried here before").await;
}

#[tokio::test]
async fn an_agent_without_a_launcher_takes_no_offer() {
    let mut host = Host::new().await;
    host.started.release = None;
    host.check(host.offer(), UpgradePhase::Refused, "not started by saker-launcher").await;
}

#[tokio::test]
async fn the_release_to_go_back_to_need_not_be_fetched() {
    let mut host = Host::new().await;
    host.take(host.offer()).await;
    State::update(&host.layout, |state| {
        state.commit(1);
        state.previous = state.active.take();
    })
    .unwrap();
    let asked = host.server.asked().len();
    host.started.release = Some(String::new());
    host.check(host.offer(), UpgradePhase::Restarting, "").await;
    assert_eq!(host.server.asked().len(), asked);
    assert_eq!(host.state().pending.unwrap().release, "7.1");
}

#[tokio::test]
async fn a_damaged_state_takes_no_offer() {
    let host = Host::new().await;
    fs::write(host.layout.state(), "{").unwrap();
    let report = host.take(host.offer()).await;
    assert_eq!(report.phase, UpgradePhase::Refused);
    assert!(report.reason.contains("is damaged"), "{report:?}");
}
