//! Trees of `/proc` and `/sys` under `data/`, copied so that a test can change them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use saker_agent::app;
use saker_agent::catalogue::Group;
use saker_agent::config::{Config, GroupSettings};
use saker_agent::metrics::Metrics;
use saker_agent::rounds::{Found, Rounds};

/// A copy of a tree; removed when dropped.
pub(crate) struct Tree(tempfile::TempDir);

impl Tree {
    pub(crate) fn copy(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data").join(name), dir.path());
        Self(dir)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    pub(crate) fn write(&self, file: &str, content: &str) {
        fs::write(self.0.path().join(file), content).unwrap();
    }

    /// Collectors of all groups over this tree, for the host `h`.
    pub(crate) fn rounds(&self, metrics: &Arc<Metrics>) -> Rounds {
        app::rounds(&Arc::new(all_groups(&self.path())), "h", Arc::clone(metrics))
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) =
            (entry.as_ref().unwrap().path(), to.join(entry.as_ref().unwrap().file_name()));
        if from.is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

pub(crate) fn all_groups(root: &Path) -> Config {
    let on = GroupSettings { enabled: Some(true), interval: None };
    let groups = Group::ALL.into_iter().map(|group| (group, on.clone())).collect();
    Config { root: root.to_owned(), groups, ..Config::default() }
}

/// A line a reading, the label of the host left out.
pub(crate) fn lines(found: &[Found]) -> Vec<String> {
    let readings = found.iter().flat_map(|found| &found.readings);
    readings
        .map(|reading| format!("{} {}", reading.labels.without(&["endpoint"]), reading.value))
        .collect()
}
