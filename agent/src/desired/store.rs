//! The last state that hbs wanted, on disk.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use wire::heartbeat::DesiredState;

use crate::version::version;

const FILE_BYTES_MAX: u64 = 8 << 20;

#[derive(Serialize, Deserialize)]
struct Stored {
    agent_version: String,
    state: DesiredState,
}

/// A file with one state.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// The store in this file, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The state that was saved last; nothing when there is none that can be read. What another version of
    /// the agent saved has no hash, so that hbs sends it again: this version may understand more of it.
    pub fn load(&self) -> Option<DesiredState> {
        let found = fs::metadata(&self.path).ok()?;
        let read = || -> anyhow::Result<Stored> {
            anyhow::ensure!(found.len() <= FILE_BYTES_MAX, "it has {} bytes", found.len());
            Ok(serde_json::from_slice(&fs::read(&self.path)?)?)
        };
        match read() {
            Ok(Stored { agent_version, state }) => {
                let is_ours = agent_version == version();
                let hash = if is_ours { state.hash } else { String::new() };
                Some(DesiredState { hash, ..state })
            }
            Err(error) => {
                let file = self.path.display();
                tracing::warn!(%file, "the state that hbs wanted last cannot be read: {error:#}");
                None
            }
        }
    }

    /// Saves a state so that either it or the one before is there, whatever happens in between.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, state: &DesiredState) -> anyhow::Result<()> {
        let agent_version = version().to_owned();
        let stored = serde_json::to_vec(&Stored { agent_version, state: state.clone() })
            .context("write the state as JSON")?;
        let aside = self.path.with_extension("new");
        let write = || {
            let mut file = File::create(&aside)?;
            file.write_all(&stored)?;
            file.sync_all()?;
            fs::rename(&aside, &self.path)
        };
        write().with_context(|| format!("write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> DesiredState {
        DesiredState { hash: "h".into(), heartbeat_interval_seconds: 7, ..DesiredState::default() }
    }

    #[test]
    fn a_state_survives_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("desired.json"));
        assert_eq!(store.load(), None);
        store.save(&state()).unwrap();
        assert_eq!(Store::new(dir.path().join("desired.json")).load(), Some(state()));
    }

    #[test]
    fn another_version_asks_for_the_state_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("desired.json"));
        let other = Stored { agent_version: "0.0.1".into(), state: state() };
        fs::write(&store.path, serde_json::to_vec(&other).unwrap()).unwrap();
        assert_eq!(store.load(), Some(DesiredState { hash: String::new(), ..state() }));
    }

    #[test]
    fn a_damaged_file_is_no_state() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("desired.json"));
        fs::write(&store.path, "{\"agent").unwrap();
        assert_eq!(store.load(), None);
        assert!(Store::new(dir.path().join("no/folder")).save(&state()).is_err());
    }
}
