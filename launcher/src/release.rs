//! A release: a folder with an agent, perhaps a configuration, and a manifest that says what they must be.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::keys::Keys;
use crate::layout::Layout;
use crate::version::order;

/// A manifest has some hundred bytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 10;

/// What the files of a release must be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// Version of the agent.
    pub version: String,
    /// Architecture that the signature names; empty for any.
    pub arch: String,
    /// SHA-256 of the agent in hex; empty when the release runs the package's agent with a configuration.
    pub sha256: String,
    /// MD5 of the agent in hex, as it was offered; empty when it was not.
    pub md5: String,
    /// Signature of the agent in base64.
    pub signature: String,
    /// Version of the configuration; empty without one.
    pub cfg_version: String,
    /// SHA-256 of the configuration in hex; empty without one.
    pub cfg_sha256: String,
    /// MD5 of the configuration in hex, as it was offered; empty when it was not.
    pub cfg_md5: String,
    /// Signature of the configuration in base64.
    pub cfg_signature: String,
    /// What a later version of this file says besides.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Why a release cannot be run.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// The name is no name of a release.
    #[error("{0:?} is not the name of a release")]
    Name(String),
    /// A file of it cannot be read.
    #[error("cannot read {file}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// Its manifest is not understood.
    #[error("{file} is damaged")]
    Manifest {
        /// The file.
        file: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A file is not what the manifest says.
    #[error("{file} is damaged: its SHA-256 is {found}, not {expected}")]
    Digest {
        /// The file.
        file: String,
        /// What it has.
        found: String,
        /// What it must have.
        expected: String,
    },
    /// No key has signed it.
    #[error("no key of the host has signed {0}")]
    Signature(&'static str),
}

/// Whether a text may be the name of a release: a version, or one followed by `~cfg` or `~both`.
pub fn is_release(name: &str) -> bool {
    let version = name.strip_suffix("~cfg").or_else(|| name.strip_suffix("~both")).unwrap_or(name);
    crate::version::is_version(version)
}

/// The text that is signed for an agent.
pub fn signed_text(version: &str, arch: &str, sha256: &str) -> String {
    let arch = if arch.is_empty() { "any" } else { arch };
    format!("{version} {arch} {sha256}")
}

impl Manifest {
    /// Reads the manifest of a release.
    ///
    /// # Errors
    /// When there is none or it is damaged.
    pub fn read(layout: &Layout, release: &str) -> Result<Self, ReleaseError> {
        if !is_release(release) {
            return Err(ReleaseError::Name(release.to_owned()));
        }
        let path = layout.manifest(release);
        let file = path.display().to_string();
        let mut text = String::new();
        let read = File::open(&path)
            .and_then(|file| file.take(MANIFEST_BYTES_MAX).read_to_string(&mut text));
        match read {
            Ok(_) => serde_json::from_str(&text)
                .map_err(|source| ReleaseError::Manifest { file, source }),
            Err(source) => Err(ReleaseError::Read { file, source }),
        }
    }

    /// Whether keys of the host have signed what the manifest names. Without keys everything passes.
    ///
    /// # Errors
    /// When the agent or the configuration is not signed.
    pub fn check_signed(&self, keys: &Keys) -> Result<(), ReleaseError> {
        if keys.is_empty() {
            return Ok(());
        }
        let agent = signed_text(&self.version, &self.arch, &self.sha256);
        if !self.sha256.is_empty() && !keys.has_signed(&agent, &self.signature) {
            return Err(ReleaseError::Signature("the agent"));
        }
        let cfg = signed_text(&self.cfg_version, "cfg", &self.cfg_sha256);
        if !self.cfg_sha256.is_empty() && !keys.has_signed(&cfg, &self.cfg_signature) {
            return Err(ReleaseError::Signature("the configuration"));
        }
        Ok(())
    }

    /// The program that the release runs.
    pub fn program(&self, layout: &Layout, release: &str) -> PathBuf {
        if self.sha256.is_empty() { layout.baseline.clone() } else { layout.binary(release) }
    }
}

/// Checks every byte of a release.
///
/// # Errors
/// When a file is missing, damaged or not signed.
pub fn check(layout: &Layout, release: &str, keys: &Keys) -> Result<Manifest, ReleaseError> {
    let manifest = Manifest::read(layout, release)?;
    manifest.check_signed(keys)?;
    if !manifest.sha256.is_empty() {
        check_file(&layout.binary(release), &manifest.sha256)?;
    }
    if !manifest.cfg_sha256.is_empty() {
        check_file(&layout.cfg(release), &manifest.cfg_sha256)?;
    }
    Ok(manifest)
}

fn check_file(path: &Path, expected: &str) -> Result<(), ReleaseError> {
    let file = path.display().to_string();
    let found = match sha256_of(path) {
        Ok(found) => found,
        Err(source) => return Err(ReleaseError::Read { file, source }),
    };
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(ReleaseError::Digest { file, found, expected: expected.to_owned() })
}

/// SHA-256 of a file in hex.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut piece = vec![0; 64 << 10];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok(hex(context.finish().as_ref()));
        }
        context.update(&piece[..count]);
    }
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Releases that have once proved themselves, the newest first. For a host whose state is lost.
pub fn committed(layout: &Layout) -> Vec<String> {
    let Ok(entries) = fs::read_dir(layout.versions()) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> =
        names.filter(|name| is_release(name) && layout.committed(name).exists()).collect();
    names.sort_by(|left, right| order(right, left).then_with(|| right.cmp(left)));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dir: &tempfile::TempDir) -> Layout {
        Layout { base: dir.path().to_owned(), baseline: dir.path().join("baseline/saker-agent") }
    }

    fn write(layout: &Layout, release: &str, agent: &[u8]) -> Manifest {
        fs::create_dir_all(layout.release(release)).unwrap();
        fs::write(layout.binary(release), agent).unwrap();
        let sha256 = sha256_of(&layout.binary(release)).unwrap();
        let manifest = Manifest { version: release.to_owned(), sha256, ..Manifest::default() };
        fs::write(layout.manifest(release), serde_json::to_vec(&manifest).unwrap()).unwrap();
        manifest
    }

    #[test]
    fn a_release_is_whole_until_one_byte_changes() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        write(&layout, "7.1", b"agent");
        check(&layout, "7.1", &Keys::default()).unwrap();
        fs::write(layout.binary("7.1"), b"agenT").unwrap();
        let told = check(&layout, "7.1", &Keys::default()).unwrap_err().to_string();
        assert!(told.contains("is damaged: its SHA-256 is"), "{told}");
        fs::write(layout.manifest("7.1"), "{").unwrap();
        assert!(matches!(
            check(&layout, "7.1", &Keys::default()),
            Err(ReleaseError::Manifest { .. })
        ));
        assert!(matches!(check(&layout, "7.2", &Keys::default()), Err(ReleaseError::Read { .. })));
        assert!(matches!(check(&layout, "../x", &Keys::default()), Err(ReleaseError::Name(_))));
    }

    #[test]
    fn a_configuration_is_checked_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let mut manifest = write(&layout, "7.1~both", b"agent");
        manifest.cfg_sha256 = "00".to_owned();
        fs::write(layout.manifest("7.1~both"), serde_json::to_vec(&manifest).unwrap()).unwrap();
        assert!(matches!(
            check(&layout, "7.1~both", &Keys::default()),
            Err(ReleaseError::Read { .. })
        ));
        fs::write(layout.cfg("7.1~both"), "x").unwrap();
        assert!(matches!(
            check(&layout, "7.1~both", &Keys::default()),
            Err(ReleaseError::Digest { .. })
        ));
    }

    #[test]
    fn only_what_has_proved_itself_is_found_again_the_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        for release in ["7.9", "7.10", "8.0"] {
            write(&layout, release, b"agent");
        }
        for release in ["7.9", "7.10"] {
            fs::write(layout.committed(release), "").unwrap();
        }
        assert_eq!(committed(&layout), ["7.10", "7.9"]);
    }

    #[test]
    fn what_a_later_version_adds_to_a_manifest_is_kept() {
        let manifest: Manifest = serde_json::from_str(r#"{"version":"7","new":[1]}"#).unwrap();
        assert_eq!(serde_json::to_value(&manifest).unwrap()["new"], serde_json::json!([1]));
    }
}
