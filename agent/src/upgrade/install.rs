//! Checks what was fetched and puts a release in its folder. Nothing that runs now is touched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use launcher::crash;
use launcher::keys::Keys;
use launcher::layout::Layout;
use launcher::release::{Manifest, hex, is_release, sha256_of};
use launcher::state::{State, sync_folder};
use md5::{Digest, Md5};
use wire::heartbeat::UpgradeOffer;

use crate::upgrade::offer::{has_agent, has_cfg};

/// What was fetched for an offer.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    /// The agent, if one was offered.
    pub agent: Option<PathBuf>,
    /// The configuration, if one was offered.
    pub cfg: Option<PathBuf>,
}

/// Compares the digests and signatures of what was fetched with the offer; the manifest of the release that it
/// becomes. What the offer does not bring is taken over from the active release.
///
/// # Errors
/// When a file is not what was offered, or not signed.
pub fn verify(
    offer: &UpgradeOffer,
    fetched: &Fetched,
    active: Option<&Manifest>,
    keys: &Keys,
) -> anyhow::Result<Manifest> {
    let mut manifest = active.cloned().unwrap_or_default();
    if let Some(file) = fetched.agent.as_deref().filter(|_| has_agent(offer.kind)) {
        manifest.version.clone_from(&offer.version);
        manifest.arch.clone_from(&offer.arch);
        manifest.md5 = check_md5(file, &offer.binfile_md5, "the agent")?;
        manifest.sha256 = check_sha256(file, &offer.sha256, "the agent")?;
        manifest.signature.clone_from(&offer.signature);
    }
    if let Some(file) = fetched.cfg.as_deref().filter(|_| has_cfg(offer.kind)) {
        manifest.cfg_version.clone_from(&offer.version);
        manifest.cfg_md5 = check_md5(file, &offer.cfgfile_md5, "the configuration")?;
        manifest.cfg_sha256 = check_sha256(file, &offer.cfg_sha256, "the configuration")?;
        manifest.cfg_signature.clone_from(&offer.cfg_signature);
    }
    manifest.check_signed(keys)?;
    Ok(manifest)
}

fn check_md5(file: &Path, expected: &str, what: &str) -> anyhow::Result<String> {
    if expected.is_empty() {
        return Ok(String::new());
    }
    let found = md5_of(file).with_context(|| format!("read {}", file.display()))?;
    let is_same = found.eq_ignore_ascii_case(expected);
    ensure!(is_same, "MD5 of {what} is {found}, not {}", expected.to_ascii_lowercase());
    Ok(found)
}

fn check_sha256(file: &Path, expected: &str, what: &str) -> anyhow::Result<String> {
    let found = sha256_of(file).with_context(|| format!("read {}", file.display()))?;
    let is_same = expected.is_empty() || found.eq_ignore_ascii_case(expected);
    ensure!(is_same, "SHA-256 of {what} is {found}, not {}", expected.to_ascii_lowercase());
    Ok(found)
}

fn md5_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Md5::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&piece[..count]);
    }
}

/// Makes a fetched file one that can be started.
///
/// # Errors
/// When the disk does not take it.
pub fn make_program(file: &Path) -> io::Result<()> {
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
}

/// Puts the release together aside, flushes every file, and renames the folder into its place.
///
/// # Errors
/// When the disk does not take it, or the folder belongs to a release that runs.
pub fn install(
    layout: &Layout,
    release: &str,
    manifest: &Manifest,
    fetched: &Fetched,
    state: &State,
) -> anyhow::Result<()> {
    ensure!(is_release(release), "{release:?} is not the name of a release");
    let is_used =
        [&state.active, &state.previous].into_iter().flatten().any(|used| used == release);
    ensure!(!is_used, "release {release} is the one that runs or the one to go back to");
    let stage = layout.downloads().join(format!("{release}.stage"));
    remove_folder(&stage)?;
    fs::create_dir_all(&stage).with_context(|| format!("make {}", stage.display()))?;
    let active = |path: fn(&Layout, &str) -> PathBuf| {
        state.active.as_deref().map(|active| path(layout, active))
    };
    if !manifest.sha256.is_empty() {
        let from = fetched.agent.clone().or_else(|| active(Layout::binary));
        take(from, &stage.join("saker-agent"), 0o755)?;
    }
    if !manifest.cfg_sha256.is_empty() {
        let from = fetched.cfg.clone().or_else(|| active(Layout::cfg));
        take(from, &stage.join("cfg"), 0o644)?;
    }
    write_synced(&stage.join("manifest.json"), &serde_json::to_vec_pretty(manifest)?)?;
    sync_folder(&stage)?;
    crash::point(layout, "staged");
    remove_folder(&layout.release(release))?;
    fs::create_dir_all(layout.versions())?;
    let target = layout.release(release);
    fs::rename(&stage, &target)
        .with_context(|| format!("rename {} to {}", stage.display(), target.display()))?;
    sync_folder(&layout.versions())?;
    Ok(())
}

fn take(from: Option<PathBuf>, to: &Path, mode: u32) -> anyhow::Result<()> {
    let from = from.context("a part of the release is missing")?;
    let copy = || -> io::Result<()> {
        fs::copy(&from, to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
        File::open(to)?.sync_all()
    };
    copy().with_context(|| format!("copy {} to {}", from.display(), to.display()))
}

fn write_synced(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().create_new(true).write(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("write {}", path.display()))
}

fn remove_folder(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Marks a release as one that has proved itself: should the state ever be lost, it is found again.
///
/// # Errors
/// When the disk does not take it.
pub fn mark_committed(layout: &Layout, release: &str) -> io::Result<()> {
    File::create(layout.committed(release))?.sync_all()?;
    sync_folder(&layout.release(release))
}

/// Removes what no release needs: folders that are neither active, previous nor on trial, and downloads but for
/// those that `keep` says. What cannot be removed stays.
pub fn tidy(layout: &Layout, state: &State, keep: impl Fn(&str) -> bool) {
    let pending = state.pending.as_ref().map(|pending| &pending.release);
    let used: Vec<_> =
        [state.active.as_ref(), state.previous.as_ref(), pending].into_iter().flatten().collect();
    for name in names(&layout.versions()) {
        if !used.contains(&&name) {
            let _ = fs::remove_dir_all(layout.versions().join(name));
        }
    }
    for name in names(&layout.downloads()) {
        if !keep(&name) {
            let path = layout.downloads().join(name);
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use launcher::release;
    use launcher::state::Pending;
    use wire::heartbeat::UpgradeKind;

    use super::*;

    struct Host {
        _dir: tempfile::TempDir,
        layout: Layout,
    }

    impl Host {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let base = dir.path().join("base");
            fs::create_dir_all(base.join("downloads")).unwrap();
            let layout = Layout { base, baseline: dir.path().join("saker-agent") };
            Self { _dir: dir, layout }
        }

        fn fetched(&self, agent: Option<&str>, cfg: Option<&str>) -> Fetched {
            let write = |name: &str, text: &str| {
                let file = self.layout.downloads().join(name);
                fs::write(&file, text).unwrap();
                file
            };
            Fetched {
                agent: agent.map(|text| write("agent", text)),
                cfg: cfg.map(|text| write("cfg", text)),
            }
        }

        fn install(&self, release: &str, kind: UpgradeKind, fetched: &Fetched, state: &State) {
            let offer = UpgradeOffer { kind, version: "7.1".to_owned(), ..UpgradeOffer::default() };
            let active =
                state.active.as_deref().map(|name| Manifest::read(&self.layout, name).unwrap());
            let manifest = verify(&offer, fetched, active.as_ref(), &Keys::default()).unwrap();
            install(&self.layout, release, &manifest, fetched, state).unwrap();
            release::check(&self.layout, release, &Keys::default()).unwrap();
        }
    }

    #[test]
    fn a_file_with_another_digest_is_refused() {
        let host = Host::new();
        let fetched = host.fetched(Some("hello\n"), None);
        let offer = |md5: &str, sha256: &str| UpgradeOffer {
            binfile_md5: md5.to_owned(),
            sha256: sha256.to_owned(),
            ..UpgradeOffer::default()
        };
        let right = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let verify = |offer: &UpgradeOffer| verify(offer, &fetched, None, &Keys::default());
        let manifest = verify(&offer("B1946AC92492D2347C6235B4D2611184", right)).unwrap();
        assert_eq!(manifest.sha256, right);
        let told = verify(&offer(&"0".repeat(32), "")).unwrap_err().to_string();
        assert!(told.starts_with("MD5 of the agent is b1946ac9"), "{told}");
        let told = verify(&offer("", &"0".repeat(64))).unwrap_err().to_string();
        assert!(told.starts_with("SHA-256 of the agent is 5891b5b5"), "{told}");
    }

    #[test]
    fn a_release_takes_over_what_the_offer_does_not_bring() {
        let host = Host::new();
        let none = State::default();
        let both = host.fetched(Some("agent"), Some("cfg"));
        host.install("7.0~both", UpgradeKind::Both, &both, &none);
        let state = State { active: Some("7.0~both".to_owned()), ..State::default() };
        host.install("7.1", UpgradeKind::Binary, &host.fetched(Some("newer"), None), &state);
        assert_eq!(fs::read(host.layout.cfg("7.1")).unwrap(), b"cfg");
        host.install("7.1~cfg", UpgradeKind::Config, &host.fetched(None, Some("other")), &state);
        assert_eq!(fs::read(host.layout.binary("7.1~cfg")).unwrap(), b"agent");
        assert_eq!(fs::read(host.layout.cfg("7.1~cfg")).unwrap(), b"other");
    }

    #[test]
    fn a_configuration_alone_runs_the_agent_of_the_package() {
        let host = Host::new();
        let fetched = host.fetched(None, Some("cfg"));
        host.install("7.1~cfg", UpgradeKind::Config, &fetched, &State::default());
        let manifest = Manifest::read(&host.layout, "7.1~cfg").unwrap();
        assert_eq!(manifest.program(&host.layout, "7.1~cfg"), host.layout.baseline);
    }

    #[test]
    fn what_runs_is_never_replaced() {
        let host = Host::new();
        let state = State { active: Some("7.1".to_owned()), ..State::default() };
        let fetched = host.fetched(Some("agent"), None);
        let manifest = Manifest { sha256: "x".to_owned(), ..Manifest::default() };
        let told = install(&host.layout, "7.1", &manifest, &fetched, &state).unwrap_err();
        assert!(told.to_string().contains("the one that runs"), "{told}");
    }

    #[test]
    fn what_nobody_needs_is_removed() {
        let host = Host::new();
        for release in ["7.0", "7.1", "7.2", "7.3"] {
            fs::create_dir_all(host.layout.release(release)).unwrap();
        }
        let pending = Some(Pending { release: "7.2".to_owned(), ..Pending::default() });
        let (active, previous) = (Some("7.1".to_owned()), Some("7.0".to_owned()));
        host.fetched(Some("old"), Some("kept"));
        fs::create_dir(host.layout.downloads().join("7.9.stage")).unwrap();
        let state = State { active, previous, pending, ..State::default() };
        tidy(&host.layout, &state, |name| name == "cfg");
        let mut left = names(&host.layout.versions());
        left.sort();
        assert_eq!(left, ["7.0", "7.1", "7.2"]);
        assert_eq!(names(&host.layout.downloads()), ["cfg"]);
    }
}
