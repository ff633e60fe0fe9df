//! A host with the launcher, two real agents, a stand-in for systemd that starts the launcher again and again, and
//! a stand-in for hbs that makes offers and remembers what it is told.

use std::fs;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use daemon::{Clock, Context, Stop};
use launcher::layout::Layout;
use launcher::release::sha256_of;
use launcher::state::State;
use testkit::{FileServer, binary, eventually, free_port};
use tokio::net::UnixDatagram;
use tokio::time::{Instant, sleep, sleep_until};
use wire::heartbeat::{HeartbeatRequest, UpgradeKind, UpgradeOffer, UpgradePhase, UpgradeReport};

/// The version that the package of the host has.
pub(crate) const OLD: &str = "7.0.0";
/// The version that is offered.
pub(crate) const NEW: &str = "7.1.0";

const PATIENCE: Duration = Duration::from_secs(90);
const RESTART_PAUSE: Duration = Duration::from_millis(50);
const WATCHDOG_USEC: &str = "4000000";
const WATCHDOG_PATIENCE: Duration = Duration::from_secs(15);

/// What the stand-in for hbs knows.
#[derive(Debug, Default)]
struct Hbs {
    offer: Option<UpgradeOffer>,
    status: Option<StatusCode>,
    heard: Vec<HeartbeatRequest>,
}

/// How a host differs from others.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Its name.
    pub(crate) endpoint: &'static str,
    /// How long its agent may take until it is ready.
    pub(crate) start_timeout: Duration,
    /// More of `[upgrade]`.
    pub(crate) upgrade: &'static str,
    /// A real hbs instead of the stand-in.
    pub(crate) hbs: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let start_timeout = Duration::from_secs(15);
        Self { endpoint: "host", start_timeout, upgrade: "", hbs: None }
    }
}

/// The host and its neighbours.
pub(crate) struct Host {
    pub(crate) files: FileServer,
    pub(crate) layout: Layout,
    starts: Arc<AtomicU32>,
    hbs: Arc<Mutex<Hbs>>,
    context: Context,
    dir: tempfile::TempDir,
}

impl Host {
    /// A host whose package has [`OLD`]; its agent is up when this returns.
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    /// [`Host::start`] for a host that differs. With a real hbs it returns at once.
    pub(crate) async fn with(settings: Settings) -> Self {
        let context = Context::new("e2e", Clock::System).unwrap();
        let files = FileServer::start(&context).await;
        let hbs = Arc::new(Mutex::new(Hbs::default()));
        let routes =
            Router::new().route(wire::heartbeat::PATH, post(heartbeat)).with_state(hbs.clone());
        let address = context.listen(([127, 0, 0, 1], 0).into(), routes).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let layout = Layout { base: path("releases"), baseline: path("package/saker-agent") };
        fs::create_dir_all(&layout.base).unwrap();
        fs::create_dir_all(path("package")).unwrap();
        write_program(&layout.baseline, &agent(OLD));
        fs::write(path("package/version"), OLD).unwrap();
        let config = format!(
            "endpoint = {:?}\nlisten = \"127.0.0.1:{}\"\ndata_dir = {:?}\n\
             [transfer]\naddresses = [\"http://127.0.0.1:1\"]\n\
             [hbs]\naddresses = [{:?}]\ninterval = \"1s\"\n\
             [upgrade]\ndir = {:?}\nkeys = {:?}\nsoak = \"100ms\"\n{}",
            settings.endpoint,
            free_port(),
            path("data"),
            settings.hbs.clone().unwrap_or_else(|| format!("http://{address}")),
            layout.base,
            path("keys"),
            settings.upgrade,
        );
        fs::write(path("agent.toml"), config).unwrap();
        let starts = Arc::new(AtomicU32::new(0));
        let host = Self { files, layout, starts, hbs, context, dir };
        host.supervise(settings.start_timeout);
        if settings.hbs.is_some() {
            return host;
        }
        host.heard("the first heartbeat", |request| request.agent_version == OLD).await;
        host
    }

    /// Offers a file as [`NEW`] under a name for the rollout.
    pub(crate) fn offer(&self, rollout: &str, file: &[u8]) {
        self.files.put(&format!("bin_{NEW}"), file);
        let copy = self.dir.path().join("offered");
        fs::write(&copy, file).unwrap();
        let offer = UpgradeOffer {
            rollout: rollout.to_owned(),
            wgeturl: self.files.url(),
            version: NEW.to_owned(),
            sha256: sha256_of(&copy).unwrap(),
            lease_seconds: 60,
            ..UpgradeOffer::default()
        };
        self.hbs.lock().unwrap().offer = Some(offer);
    }

    /// Offers a configuration as [`NEW`].
    pub(crate) fn offer_cfg(&self, rollout: &str, text: &str) {
        self.offer(rollout, b"");
        self.files.put(&format!("cfg_{NEW}"), text);
        let copy = self.dir.path().join("offered");
        fs::write(&copy, text).unwrap();
        let cfg_sha256 = sha256_of(&copy).unwrap();
        let mut hbs = self.hbs.lock().unwrap();
        let offer = hbs.offer.take().unwrap();
        hbs.offer = Some(UpgradeOffer { kind: UpgradeKind::Config, cfg_sha256, ..offer });
    }

    /// Answers heartbeats with this status from now on; `None` for good answers.
    pub(crate) fn hbs_answers(&self, status: Option<u16>) {
        let status = status.map(|status| StatusCode::from_u16(status).unwrap());
        self.hbs.lock().unwrap().status = status;
    }

    /// Waits for a heartbeat of which this is true.
    pub(crate) async fn heard(
        &self,
        what: &str,
        is_it: impl Fn(&HeartbeatRequest) -> bool,
    ) -> HeartbeatRequest {
        let what = format!("{what}; the log says:\n{}", self.log());
        eventually(&what, PATIENCE, async || {
            self.hbs.lock().unwrap().heard.iter().find(|request| is_it(request)).cloned()
        })
        .await
    }

    /// Waits until the host says how the rollout ended.
    pub(crate) async fn ended(&self, rollout: &str) -> (String, UpgradeReport) {
        let is_end = |report: &UpgradeReport| report.rollout == rollout && report.phase.is_end();
        let request =
            self.heard("an end", |request| request.upgrade.as_ref().is_some_and(is_end)).await;
        (request.agent_version, request.upgrade.unwrap())
    }

    /// Phases of a rollout in the order in which they were first told.
    pub(crate) fn phases(&self, rollout: &str) -> Vec<UpgradePhase> {
        let hbs = self.hbs.lock().unwrap();
        let reports = hbs.heard.iter().filter_map(|request| request.upgrade.as_ref());
        let mut phases: Vec<_> =
            reports.filter(|report| report.rollout == rollout).map(|report| report.phase).collect();
        phases.dedup();
        phases
    }

    /// Waits until a heartbeat that comes from now on is of this version and no trial is left.
    pub(crate) async fn settles_on(&self, version: &str) {
        let before = self.hbs.lock().unwrap().heard.len();
        let what = format!("a heartbeat of {version} without a trial");
        eventually(&what, PATIENCE, async || {
            let is_settled = self.state().pending.is_none();
            let hbs = self.hbs.lock().unwrap();
            let last = hbs.heard[before..].last().filter(|_| is_settled)?;
            (last.agent_version == version).then_some(())
        })
        .await;
    }

    /// How often systemd has started the launcher.
    pub(crate) fn starts(&self) -> u32 {
        self.starts.load(Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> State {
        State::load(&self.layout).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) async fn stop(self) {
        self.context.stop().await;
    }

    fn supervise(&self, start_timeout: Duration) {
        let socket = self.file("notify");
        let listener = UnixDatagram::bind(&socket).unwrap();
        let (log, hold, starts) = (self.file("log"), self.file("hold"), self.starts.clone());
        let mut args: Vec<PathBuf> = Vec::new();
        for (flag, value) in [
            ("--base", self.layout.base.clone()),
            ("--baseline", self.layout.baseline.clone()),
            ("--keys", self.file("keys")),
        ] {
            args.extend([flag.into(), value]);
        }
        args.extend(["--".into(), "run".into(), "--config".into(), self.file("agent.toml")]);
        self.context.spawn_graceful("systemd", move |stop: Stop| async move {
            while !stop.is_requested() {
                let log = File::options().create(true).append(true).open(&log).unwrap();
                let mut command = Command::new(binary("saker-launcher"));
                // No PATH: the agent must not need bash, mv or md5sum (open-falcon.md 5.2, fault 12).
                command.args(&args).env_clear().env("NOTIFY_SOCKET", &socket);
                command.env("WATCHDOG_USEC", WATCHDOG_USEC).stdin(Stdio::null());
                command.stdout(log.try_clone().unwrap()).stderr(log);
                let mut command = tokio::process::Command::from(command);
                let mut child = command.kill_on_drop(true).spawn().unwrap();
                starts.fetch_add(1, Ordering::Relaxed);
                let mut end = Instant::now() + start_timeout;
                let mut message = [0; 64];
                loop {
                    tokio::select! {
                        _ = child.wait() => break,
                        heard = listener.recv(&mut message) => {
                            if message[..heard.unwrap()].starts_with(b"STOPPING") {
                                end += WATCHDOG_PATIENCE;
                            } else {
                                end = Instant::now() + WATCHDOG_PATIENCE;
                            }
                        }
                        () = sleep_until(end) => drop(child.kill().await),
                        () = stop.clone().requested() => drop(child.kill().await),
                    }
                }
                sleep(RESTART_PAUSE).await;
                while hold.exists() && !stop.is_requested() {
                    sleep(RESTART_PAUSE).await;
                }
            }
        });
    }
}

/// The agent of this build, with another version in it.
pub(crate) fn agent(version: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("agent");
    // Debug information would be read and hashed again and again.
    let built = binary("saker-agent");
    let stripped = Command::new("strip").arg("-o").arg(&small).arg(&built).status();
    let file = if stripped.is_ok_and(|status| status.success()) { small } else { built };
    let mut bytes = fs::read(&file).unwrap();
    let mark = "saker-agent version stamp: ";
    let found = Command::new("grep").args(["-abo", mark]).arg(&file).output().unwrap().stdout;
    let found = String::from_utf8_lossy(&found).into_owned();
    assert_eq!(found.lines().count(), 1, "the agent has one stamp");
    let offset: usize = found.split(':').next().unwrap().parse().unwrap();
    let stamp = &mut bytes[offset + mark.len()..][..100];
    stamp.fill(0);
    stamp[..version.len()].copy_from_slice(version.as_bytes());
    bytes
}

/// A program that passes every check before its start and then does `run`.
pub(crate) fn script(run: &str) -> Vec<u8> {
    format!(
        "#!/bin/sh\ncase $1 in\nversion) echo saker-agent {NEW};;\ncheck) exit 0;;\n*) {run};;\nesac\n"
    )
    .into_bytes()
}

pub(crate) fn write_program(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

// Who has ended an offer, or is at it, is not offered it again; who has forgotten it is.
async fn heartbeat(Shared(hbs): Shared<Arc<Mutex<Hbs>>>, body: Bytes) -> Response {
    let request = HeartbeatRequest::decode(&body).unwrap();
    let mut hbs = hbs.lock().unwrap();
    let offer = hbs.offer.as_ref().filter(|offer| {
        let rollout = request.upgrade.as_ref().map(|report| report.rollout.as_str());
        request.agent_version != offer.version && rollout != Some(&offer.rollout)
    });
    let reply = serde_json::json!({
        "server_time": request.sent_at.millis(),
        "desired": { "heartbeat_interval_seconds": 1 },
        "upgrade": offer,
    });
    let answer = match hbs.status {
        None => axum::Json(reply).into_response(),
        Some(status) => status.into_response(),
    };
    // A host that nobody answers is one of which nobody heard.
    if hbs.status.is_none() {
        hbs.heard.push(request);
    }
    answer
}
