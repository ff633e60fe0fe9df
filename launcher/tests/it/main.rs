//! The launcher as a process, with shell scripts for agents.
#![cfg(test)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use launcher::layout::Layout;
use launcher::release::{Manifest, sha256_of};
use launcher::state::{End, Pending, State};

struct Host {
    layout: Layout,
    dir: tempfile::TempDir,
}

fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout =
            Layout { base: dir.path().join("base"), baseline: dir.path().join("package/agent") };
        fs::create_dir(&layout.base).unwrap();
        script(&layout.baseline, "#!/bin/sh\necho package $* release=$SAKER_RELEASE\n");
        Self { layout, dir }
    }

    fn release(&self, name: &str, text: &str, cfg: Option<&str>) {
        script(&self.layout.binary(name), text);
        let mut manifest = Manifest {
            version: name.to_owned(),
            sha256: sha256_of(&self.layout.binary(name)).unwrap(),
            ..Manifest::default()
        };
        if let Some(cfg) = cfg {
            fs::write(self.layout.cfg(name), cfg).unwrap();
            manifest.cfg_sha256 = sha256_of(&self.layout.cfg(name)).unwrap();
        }
        fs::write(self.layout.manifest(name), serde_json::to_vec(&manifest).unwrap()).unwrap();
    }

    fn save(&self, active: Option<&str>, pending: Option<&str>) {
        let pending = pending.map(|release| Pending {
            release: release.to_owned(),
            version: release.to_owned(),
            local_ms: 60_000,
            ..Pending::default()
        });
        let active = active.map(str::to_owned);
        State { active, pending, ..State::default() }.save(&self.layout).unwrap();
    }

    fn run(&self) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_saker-launcher"));
        command.arg("--base").arg(&self.layout.base);
        command.arg("--baseline").arg(&self.layout.baseline);
        command.arg("--keys").arg(self.dir.path().join("keys"));
        command.args(["--", "run", "--config", "x"]).output().unwrap()
    }

    fn says(&self) -> String {
        let output = self.run();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn state(&self) -> State {
        State::load(&self.layout).unwrap()
    }
}

const SAYS: &str = "#!/bin/sh\necho $0 $* release=$SAKER_RELEASE overlay=$SAKER_OVERLAY\n";

#[test]
fn a_fresh_host_runs_the_agent_of_the_package_with_its_arguments() {
    assert_eq!(Host::new().says(), "package run --config x release=\n");
}

#[test]
fn a_release_is_told_its_name_and_its_settings() {
    let host = Host::new();
    host.release("7.1", SAYS, Some("x"));
    host.save(Some("7.1"), None);
    let said = host.says();
    let overlay = format!("release=7.1 overlay={}\n", host.layout.cfg("7.1").display());
    assert!(said.ends_with(&overlay), "{said}");
}

#[test]
fn the_process_stays_the_same() {
    let host = Host::new();
    host.release("7.1", "#!/bin/sh\necho $$\n", None);
    host.save(Some("7.1"), None);
    let mut command = Command::new(env!("CARGO_BIN_EXE_saker-launcher"));
    command.arg("--base").arg(&host.layout.base).arg("--keys").arg(host.dir.path().join("keys"));
    let child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{pid}\n"));
}

#[test]
fn a_release_on_trial_is_given_up_after_its_third_start() {
    let host = Host::new();
    host.release("7.1", "#!/bin/sh\nexit 7\n", None);
    host.save(None, Some("7.1"));
    for start in 1..=3 {
        assert_eq!(host.run().status.code(), Some(7));
        assert_eq!(host.state().pending.unwrap().boots, start);
    }
    assert!(host.says().starts_with("package"));
    assert_eq!(host.state().history[0].end, End::RolledBack);
}

#[test]
fn a_file_that_is_no_program_is_passed_over_at_once() {
    let host = Host::new();
    host.release("7.1", "#!/nonexistent/interpreter\n", None);
    host.release("7.0", SAYS, None);
    host.save(Some("7.0"), Some("7.1"));
    assert!(host.says().contains("release=7.0"));
    let reason = &host.state().history[0].reason;
    assert!(reason.starts_with("it cannot be started: "), "{reason}");
}

#[test]
fn a_damaged_state_leads_to_what_has_proved_itself() {
    let host = Host::new();
    for name in ["7.0", "7.1", "7.2"] {
        host.release(name, SAYS, None);
    }
    for name in ["7.0", "7.1"] {
        fs::write(host.layout.committed(name), "").unwrap();
    }
    fs::write(host.layout.state(), "\0\0\0\0").unwrap();
    assert!(host.says().contains("release=7.1"));
    assert_eq!(host.state().active.as_deref(), Some("7.1"));
}

#[test]
fn keys_that_cannot_be_read_mean_the_agent_of_the_package() {
    let host = Host::new();
    host.release("7.1", SAYS, None);
    host.save(Some("7.1"), None);
    fs::write(host.dir.path().join("keys"), "nonsense\n").unwrap();
    let output = host.run();
    assert!(output.stdout.starts_with(b"package"), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("keys line 1: not an Ed25519 public key"), "{told}");
}

#[test]
fn another_package_wins_over_releases() {
    let host = Host::new();
    host.release("7.1", SAYS, None);
    fs::write(host.layout.baseline.with_file_name("version"), "7.0\n").unwrap();
    host.save(Some("7.1"), None);
    assert!(host.says().contains("release=7.1"));
    fs::write(host.layout.baseline.with_file_name("version"), "7.2\n").unwrap();
    assert!(host.says().starts_with("package"));
    assert_eq!(host.state().active, None);
}

#[test]
fn a_host_without_any_agent_says_so_and_fails() {
    let host = Host::new();
    fs::remove_file(&host.layout.baseline).unwrap();
    let output = host.run();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot start"), "{output:?}");
}
