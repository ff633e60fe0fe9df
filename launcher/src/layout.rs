//! Where everything is.

use std::path::{Path, PathBuf};

/// The folder of releases by default.
pub const DEFAULT_BASE: &str = "/opt/saker/agent";
/// The package's own agent by default.
pub const DEFAULT_BASELINE: &str = "/usr/lib/saker/baseline/saker-agent";

/// Paths on a host.
///
/// ```text
/// <base>/state.json  lock  downloads/<release>.part
///        versions/<release>/saker-agent  cfg  manifest.json  committed
/// <baseline>  and beside it a file `version`
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The folder of releases; the agent's user writes it.
    pub base: PathBuf,
    /// The package's own agent; root's.
    pub baseline: PathBuf,
}

impl Default for Layout {
    fn default() -> Self {
        Self { base: DEFAULT_BASE.into(), baseline: DEFAULT_BASELINE.into() }
    }
}

impl Layout {
    /// The file that says what runs.
    pub fn state(&self) -> PathBuf {
        self.base.join("state.json")
    }

    /// Held while the state is read, changed and written.
    pub fn lock(&self) -> PathBuf {
        self.base.join("lock")
    }

    /// Where files lie that are not checked yet.
    pub fn downloads(&self) -> PathBuf {
        self.base.join("downloads")
    }

    /// The folder of all releases.
    pub fn versions(&self) -> PathBuf {
        self.base.join("versions")
    }

    /// The folder of one release.
    pub fn release(&self, release: &str) -> PathBuf {
        self.versions().join(release)
    }

    /// The agent of a release.
    pub fn binary(&self, release: &str) -> PathBuf {
        self.release(release).join("saker-agent")
    }

    /// What a release puts over the host's configuration.
    pub fn cfg(&self, release: &str) -> PathBuf {
        self.release(release).join("cfg")
    }

    /// What is known of a release.
    pub fn manifest(&self, release: &str) -> PathBuf {
        self.release(release).join("manifest.json")
    }

    /// There when a release has proved itself.
    pub fn committed(&self, release: &str) -> PathBuf {
        self.release(release).join("committed")
    }

    /// The version of the package's agent, when the package says so.
    pub fn baseline_version(&self) -> Option<String> {
        let file = self.baseline.parent().unwrap_or(Path::new("/")).join("version");
        let text = std::fs::read_to_string(file).ok()?;
        Some(text.trim().to_owned()).filter(|version| !version.is_empty())
    }
}
