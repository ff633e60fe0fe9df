//! Bundles: the files of plugins that hbs hands out. They are fetched into a folder aside, checked, and become
//! visible under the name of their digest in one step, so that a plugin never sees half of one.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use wire::heartbeat::{PluginBundle, PluginFile};

use super::naming::is_inside;
use super::verify::{PublicKey, is_sha256_hex, sha256_hex};

const FILES_MAX: usize = 1000;
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Where hbs has the files.
const PATH: &str = "/v1/plugins/";

/// What is accepted.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Bytes of all files together.
    pub bytes_max: u64,
    /// The key that must have signed the digest; without one any digest is accepted.
    pub key: Option<PublicKey>,
}

/// Checks everything that can be checked before anything is fetched.
///
/// # Errors
/// What is wrong with the bundle.
pub fn check(bundle: &PluginBundle, terms: &Terms) -> Result<(), &'static str> {
    let is_name = |name: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !name.is_empty() && name.len() <= 64 && name.bytes().all(is_plain)
    };
    if !is_name(&bundle.name) {
        return Err("the name must have 1 to 64 of the characters a-z, A-Z, 0-9, - and _");
    }
    if bundle.files.len() > FILES_MAX {
        return Err("has more than 1000 files");
    }
    let bytes = bundle.files.iter().fold(0u64, |sum, file| sum.saturating_add(file.bytes));
    if bytes > terms.bytes_max {
        return Err("has more bytes than plugins.bundle_bytes_max");
    }
    let mut paths = BTreeSet::new();
    for file in &bundle.files {
        if !is_inside(&file.path) {
            return Err("has a path that leaves the bundle");
        }
        if !is_sha256_hex(&file.sha256) {
            return Err("has a file without a SHA-256");
        }
        if !paths.insert(file.path.as_str()) {
            return Err("has two files of one path");
        }
    }
    if sha256_hex(bundle.manifest().as_bytes()) != bundle.digest {
        return Err("the digest is not that of its files");
    }
    match &terms.key {
        Some(_) if bundle.signature.is_empty() => {
            Err("is not signed, and plugins.public_key is set")
        }
        Some(key) if !key.is_signed(&bundle.digest, &bundle.signature) => {
            Err("the signature is not that of plugins.public_key")
        }
        _ => Ok(()),
    }
}

/// The folder with all bundles.
#[derive(Debug, Clone)]
pub struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    /// Bundles below `folder`, which need not exist.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where a bundle is, if all its files are there and whole.
    pub fn find(&self, bundle: &PluginBundle) -> Option<PathBuf> {
        let place = self.place(bundle);
        let is_whole = |file: &PluginFile| {
            let path = place.join(&file.path);
            let is_file = path
                .symlink_metadata()
                .is_ok_and(|found| found.is_file() && found.len() == file.bytes);
            is_file && fs::read(path).is_ok_and(|bytes| sha256_hex(&bytes) == file.sha256)
        };
        (place.is_dir() && bundle.files.iter().all(is_whole)).then_some(place)
    }

    /// Fetches a bundle that [`check`] has nothing against from the first of `addresses` that has it.
    ///
    /// # Errors
    /// When a file cannot be fetched or written, or is not what the bundle says.
    pub async fn fetch(
        &self,
        bundle: &PluginBundle,
        http: &reqwest::Client,
        addresses: &[String],
    ) -> anyhow::Result<PathBuf> {
        let place = self.place(bundle);
        let aside = place.with_extension("new");
        remove(&aside)?;
        for file in &bundle.files {
            let bytes = fetch_from_any(http, addresses, file).await?;
            write(&aside, file, &bytes).with_context(|| format!("write {}", file.path))?;
        }
        fs::create_dir_all(&aside).with_context(|| format!("make {}", aside.display()))?;
        remove(&place)?;
        fs::rename(&aside, &place).with_context(|| format!("make {}", place.display()))?;
        Ok(place)
    }

    /// Removes all versions of all bundles but those in `kept`.
    pub fn sweep(&self, kept: &BTreeSet<PathBuf>) {
        let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
        for bundle in entries(&self.folder) {
            for version in entries(&bundle.path()).map(|version| version.path()) {
                if kept.contains(&version) {
                    continue;
                }
                if let Err(error) = fs::remove_dir_all(&version) {
                    tracing::warn!(folder = %version.display(), %error, "cannot remove an old bundle");
                }
            }
            // Only an empty one goes.
            let _ = fs::remove_dir(bundle.path());
        }
    }

    fn place(&self, bundle: &PluginBundle) -> PathBuf {
        self.folder.join(&bundle.name).join(&bundle.digest)
    }
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

// The folder is new and only this process writes there, so no link can lead a path elsewhere.
fn write(folder: &Path, file: &PluginFile, bytes: &[u8]) -> io::Result<()> {
    let path = folder.join(&file.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mode = if file.executable { 0o755 } else { 0o644 };
    let mut written: File =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    written.write_all(bytes)?;
    written.sync_all()
}

async fn fetch_from_any(
    http: &reqwest::Client,
    addresses: &[String],
    file: &PluginFile,
) -> anyhow::Result<Vec<u8>> {
    let mut faults = Vec::new();
    for address in addresses {
        let url = format!("{}{PATH}{}", address.trim_end_matches('/'), file.sha256);
        match fetch(http, &url, file).await.with_context(|| format!("get {url}")) {
            Ok(bytes) => return Ok(bytes),
            Err(error) => faults.push(format!("{error:#}")),
        }
    }
    bail!("{}: {}", file.path, faults.join("; "))
}

async fn fetch(http: &reqwest::Client, url: &str, file: &PluginFile) -> anyhow::Result<Vec<u8>> {
    let request = http.get(url).timeout(FETCH_TIMEOUT).send().await;
    let mut response = request.map_err(reqwest::Error::without_url)?;
    ensure!(response.status().is_success(), "answered {}", response.status());
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        bytes.extend_from_slice(&piece);
        ensure!(bytes.len() as u64 <= file.bytes, "has more than {} bytes", file.bytes);
    }
    ensure!(bytes.len() as u64 == file.bytes, "has {} bytes, not {}", bytes.len(), file.bytes);
    ensure!(sha256_hex(&bytes) == file.sha256, "has another SHA-256");
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A bundle with these files, path by content; what ends in `.py` is run.
    pub(crate) fn bundle(name: &str, files: &[(&str, &str)]) -> PluginBundle {
        let file = |(path, content): &(&str, &str)| PluginFile {
            path: (*path).to_owned(),
            sha256: sha256_hex(content.as_bytes()),
            bytes: content.len() as u64,
            executable: path.ends_with(".py"),
        };
        let mut bundle = PluginBundle {
            name: name.to_owned(),
            digest: String::new(),
            signature: String::new(),
            files: files.iter().map(file).collect(),
        };
        bundle.digest = sha256_hex(bundle.manifest().as_bytes());
        bundle
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::verify::testing::key_pair;
    use super::testing::bundle;
    use super::*;

    const OPEN: Terms = Terms { bytes_max: 100, key: None };

    fn base() -> PluginBundle {
        bundle("base", &[("sys/60_a.py", "print"), ("lib/x", "")])
    }

    fn check_refused(change: impl Fn(&mut PluginBundle), fault: &str) {
        let mut changed = base();
        change(&mut changed);
        changed.digest = sha256_hex(changed.manifest().as_bytes());
        assert_eq!(check(&changed, &OPEN), Err(fault));
    }

    #[test]
    fn a_bundle_cannot_leave_its_folder_or_be_too_large() {
        assert_eq!(check(&base(), &OPEN), Ok(()));
        check_refused(|b| b.files[0].path = "../x".into(), "has a path that leaves the bundle");
        check_refused(|b| b.files[0].path = "/etc/x".into(), "has a path that leaves the bundle");
        check_refused(|b| b.files[0].sha256 = "../../x".into(), "has a file without a SHA-256");
        check_refused(|b| b.files[1].path = "sys/60_a.py".into(), "has two files of one path");
        let long = "has more bytes than plugins.bundle_bytes_max";
        check_refused(|b| b.files[0].bytes = u64::MAX, long);
        let name = "the name must have 1 to 64 of the characters a-z, A-Z, 0-9, - and _";
        check_refused(|b| b.name = "..".into(), name);
        check_refused(|b| b.name = "a/b".into(), name);
    }

    #[test]
    fn the_digest_and_the_signature_cover_every_file() {
        let (key, sign) = key_pair(7);
        let terms = Terms { bytes_max: 100, key: Some(key) };
        let mut signed = base();
        assert_eq!(check(&signed, &terms), Err("is not signed, and plugins.public_key is set"));
        signed.signature = sign(&signed.digest);
        assert_eq!(check(&signed, &terms), Ok(()));
        let mut run = signed.clone();
        run.files[1].executable = true;
        assert_eq!(check(&run, &terms), Err("the digest is not that of its files"));
        run.digest = sha256_hex(run.manifest().as_bytes());
        assert_eq!(check(&run, &terms), Err("the signature is not that of plugins.public_key"));
    }

    #[test]
    fn a_bundle_is_found_only_while_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(dir.path().to_owned());
        let bundle = base();
        let place = shelf.place(&bundle);
        assert_eq!(shelf.find(&bundle), None);
        write(&place, &bundle.files[0], b"print").unwrap();
        write(&place, &bundle.files[1], b"").unwrap();
        assert_eq!(shelf.find(&bundle), Some(place.clone()));
        let mode =
            |path: &str| fs::metadata(place.join(path)).unwrap().permissions().mode() & 0o111;
        assert!(mode("sys/60_a.py") != 0 && mode("lib/x") == 0);
        fs::write(place.join("sys/60_a.py"), "other").unwrap();
        assert_eq!(shelf.find(&bundle), None);
    }

    #[test]
    fn old_versions_are_swept_away() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(dir.path().to_owned());
        for version in ["base/1", "base/2", "gone/1"] {
            fs::create_dir_all(dir.path().join(version)).unwrap();
        }
        shelf.sweep(&BTreeSet::from([dir.path().join("base/2")]));
        assert!(dir.path().join("base/2").is_dir() && !dir.path().join("base/1").exists());
        assert!(!dir.path().join("gone").exists());
    }
}
