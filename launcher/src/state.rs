//! `state.json`: which release runs, which one is on trial, and how earlier ones ended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::layout::Layout;
use crate::moment::Moment;

/// The version of the file's form. A higher one is read all the same: fields are only ever added.
pub const SCHEMA: u32 = 1;
/// A release on trial is started this often, and once more this often after its local checks.
pub const BOOTS_MAX: u32 = 3;
/// Versions that are remembered as bad, and as unproven.
pub const MARKS_MAX: usize = 16;
/// Ends of trials that are remembered.
pub const HISTORY_MAX: usize = 20;

/// Everything that must outlive the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The form of the file.
    pub schema: u32,
    /// The release to run; none: the package's agent.
    pub active: Option<String>,
    /// The one before it, kept to go back to.
    pub previous: Option<String>,
    /// The release on trial.
    pub pending: Option<Pending>,
    /// Version of the package's agent when the launcher last saw it.
    pub baseline: Option<String>,
    /// The only version that offers may bring.
    pub pinned: Option<String>,
    /// Versions that failed here and are not taken again.
    pub bad: Vec<Mark>,
    /// Versions that could not be proved, since no hbs answered; they may be offered again.
    pub unproven: Vec<Mark>,
    /// How trials ended, the last one at the end.
    pub history: Vec<Outcome>,
    /// What a later version of this file says besides.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            active: None,
            previous: None,
            pending: None,
            baseline: None,
            pinned: None,
            bad: Vec::new(),
            unproven: Vec::new(),
            history: Vec::new(),
            other: Map::new(),
        }
    }
}

/// A release on trial.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pending {
    /// Its folder's name.
    pub release: String,
    /// The version that was offered.
    pub version: String,
    /// MD5 of its agent in hex; empty when only the configuration is changed.
    pub md5: String,
    /// The rollout that offered it.
    pub rollout: String,
    /// Starts since it was installed, or since its local checks passed.
    pub boots: u32,
    /// Starts in all.
    pub boots_total: u32,
    /// Whether its local checks have passed.
    pub local_ok: bool,
    /// When the present part of the trial must be over; set by the launcher at the first start after each boot.
    pub deadline: Option<Deadline>,
    /// How long the local checks may take, in milliseconds.
    pub local_ms: u64,
    /// How long contact with hbs may take after that, in milliseconds.
    pub contact_ms: u64,
    /// Bytes that were fetched for it.
    pub bytes: u64,
    /// What a later version of this file says besides.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A moment of one boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// Of which boot.
    pub boot_id: String,
    /// Milliseconds since that boot.
    pub up_ms: u64,
}

/// A version that is remembered, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mark {
    /// The version.
    pub version: String,
    /// MD5 of its agent in hex: a mended build of the same version is another one.
    pub md5: String,
    /// Why.
    pub reason: String,
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The release is the one to keep.
    Confirmed,
    /// It was never started.
    Failed,
    /// It was started and given up.
    RolledBack,
}

/// The end of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
    /// The rollout that had offered it.
    #[serde(default)]
    pub rollout: String,
    /// The version offered.
    pub version: String,
    /// How it ended.
    pub end: End,
    /// Why; empty when it was confirmed.
    #[serde(default)]
    pub reason: String,
    /// How often it was started.
    #[serde(default)]
    pub boots: u32,
    /// Bytes fetched for it.
    #[serde(default)]
    pub bytes: u64,
}

/// Why the state cannot be read or written.
#[derive(Debug, Error)]
pub enum StateError {
    /// Reading failed.
    #[error("cannot read {file}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The file is not understood.
    #[error("{file} is damaged")]
    Damaged {
        /// The file.
        file: String,
        /// Why.
        source: serde_json::Error,
    },
    /// Writing failed.
    #[error("cannot write {file}; is the disk full or the folder not the agent's?")]
    Write {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
}

impl State {
    /// Reads the state; without a file that of a fresh host.
    ///
    /// # Errors
    /// When the file is there and cannot be read or understood.
    pub fn load(layout: &Layout) -> Result<Self, StateError> {
        let path = layout.state();
        let file = path.display().to_string();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| StateError::Damaged { file, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(StateError::Read { file, source }),
        }
    }

    /// Replaces the file: a power cut at any moment leaves the old one or the new one.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn save(&self, layout: &Layout) -> Result<(), StateError> {
        let path = layout.state();
        let write = || replace_file(&path, &serde_json::to_vec_pretty(self)?);
        write().map_err(|source| StateError::Write { file: path.display().to_string(), source })
    }

    /// Reads, changes and writes the state while no other process does.
    ///
    /// # Errors
    /// Those of [`State::load`] and [`State::save`].
    pub fn update(layout: &Layout, change: impl FnOnce(&mut Self)) -> Result<Self, StateError> {
        let _lock = lock(layout)?;
        let mut state = Self::load(layout)?;
        change(&mut state);
        state.save(layout)?;
        Ok(state)
    }

    /// Puts a release on trial.
    pub fn begin(&mut self, pending: Pending) {
        self.pending = Some(pending);
    }

    /// The release on trial has passed its local checks: counting starts once again, and hbs has to answer it.
    pub fn pass_local(&mut self, now: &Moment) {
        if let Some(pending) = self.pending.as_mut().filter(|pending| !pending.local_ok) {
            pending.local_ok = true;
            pending.boots = 0;
            pending.deadline = Some(after(now, pending.contact_ms));
        }
    }

    /// The release on trial is the one to keep.
    pub fn commit(&mut self, at_ms: i64) {
        let Some(pending) = self.pending.take() else { return };
        self.previous = self.active.replace(pending.release.clone());
        self.unproven.retain(|mark| mark.version != pending.version);
        self.remember(outcome_of(&pending, End::Confirmed, String::new(), at_ms));
    }

    /// The release on trial is given up; `is_bad` when it is not to be taken again.
    pub fn roll_back(&mut self, reason: &str, is_bad: bool, at_ms: i64) {
        let Some(pending) = self.pending.take() else { return };
        let mark = Mark {
            version: pending.version.clone(),
            md5: pending.md5.clone(),
            reason: reason.to_owned(),
        };
        push(if is_bad { &mut self.bad } else { &mut self.unproven }, mark, MARKS_MAX);
        self.remember(outcome_of(&pending, End::RolledBack, reason.to_owned(), at_ms));
    }

    /// Notes the end of an offer.
    pub fn remember(&mut self, outcome: Outcome) {
        push(&mut self.history, outcome, HISTORY_MAX);
    }

    /// Why an agent with this version and digest is not taken; `None` when nothing speaks against it. An empty
    /// digest stands for any.
    pub fn bad_mark(&self, version: &str, md5: &str) -> Option<&Mark> {
        let is_same = |mark: &&Mark| {
            let is_any = mark.md5.is_empty() || md5.is_empty();
            mark.version == version && (is_any || mark.md5.eq_ignore_ascii_case(md5))
        };
        self.bad.iter().find(is_same)
    }
}

/// The moment `span_ms` after `now`.
pub fn after(now: &Moment, span_ms: u64) -> Deadline {
    Deadline { boot_id: now.boot_id.clone(), up_ms: now.up_ms.saturating_add(span_ms) }
}

fn outcome_of(pending: &Pending, end: End, reason: String, at_ms: i64) -> Outcome {
    Outcome {
        at_ms,
        rollout: pending.rollout.clone(),
        version: pending.version.clone(),
        end,
        reason,
        boots: pending.boots_total,
        bytes: pending.bytes,
    }
}

fn push<T>(list: &mut Vec<T>, item: T, max: usize) {
    list.push(item);
    if list.len() > max {
        list.drain(..list.len() - max);
    }
}

/// Held while the state is changed; given back when dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "closing the file gives the lock back")] File);

/// Waits for the lock of the state.
///
/// # Errors
/// When the lock's file cannot be made.
pub fn lock(layout: &Layout) -> Result<Lock, StateError> {
    let path = layout.lock();
    let take = || {
        let file = open_lock(&path)?;
        file.lock()?;
        Ok(Lock(file))
    };
    take().map_err(|source| StateError::Write { file: path.display().to_string(), source })
}

/// Takes the lock if nobody holds it.
pub fn try_lock(layout: &Layout) -> Option<Lock> {
    let file = open_lock(&layout.lock()).ok()?;
    file.try_lock().ok()?;
    Some(Lock(file))
}

// Root's commands and the agent both take it, whoever made it.
fn open_lock(path: &Path) -> io::Result<File> {
    let open = |path| File::options().read(true).open(path);
    open(path).or_else(|_| {
        let made = OpenOptions::new().create(true).append(true).mode(0o644).open(path)?;
        give_to_owner_of_folder(path, &made)?;
        Ok(made)
    })
}

/// Writes a file aside, flushes it, and puts it in the place of `path`.
///
/// # Errors
/// When the disk does not take it; `path` is then untouched.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o644).open(&aside)?;
    file.write_all(bytes)?;
    // The umask of root's shell must not hide it from the agent.
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    give_to_owner_of_folder(path, &file)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Flushes the entries of a folder.
///
/// # Errors
/// When the disk does not take it.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

// What root writes here belongs to the agent's user all the same. Others cannot give files away and need not.
fn give_to_owner_of_folder(path: &Path, file: &File) -> io::Result<()> {
    let folder = fs::metadata(path.parent().unwrap_or(Path::new(".")))?;
    if file.metadata()?.uid() != folder.uid() {
        fchown(file, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dir: &tempfile::TempDir) -> Layout {
        Layout { base: dir.path().to_owned(), ..Layout::default() }
    }

    fn pending(version: &str) -> Pending {
        Pending {
            release: version.to_owned(),
            version: version.to_owned(),
            md5: "aa".to_owned(),
            boots_total: 2,
            ..Pending::default()
        }
    }

    #[test]
    fn what_is_saved_is_read_again_and_the_rest_of_the_file_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        assert_eq!(State::load(&layout).unwrap(), State::default());
        let text =
            r#"{"schema":9,"active":"7.0","colour":"red","pending":{"release":"7.1","new":1}}"#;
        fs::write(layout.state(), text).unwrap();
        let state = State::update(&layout, |state| state.pinned = Some("7.0".to_owned())).unwrap();
        assert_eq!(State::load(&layout).unwrap(), state);
        let json: Value = serde_json::from_slice(&fs::read(layout.state()).unwrap()).unwrap();
        assert_eq!((&json["colour"], &json["pending"]["new"]), (&"red".into(), &1.into()));
        assert_eq!((&json["schema"], &json["pinned"]), (&9.into(), &"7.0".into()));
    }

    #[test]
    fn a_file_of_every_earlier_shape_is_read() {
        for text in ["{}", r#"{"active":null}"#, r#"{"history":[]}"#] {
            assert_eq!(serde_json::from_str::<State>(text).unwrap(), State::default());
        }
    }

    #[test]
    fn a_damaged_file_is_told_from_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        fs::write(layout.state(), "{\"active\"").unwrap();
        assert!(matches!(State::load(&layout), Err(StateError::Damaged { .. })));
        fs::remove_file(layout.state()).unwrap();
        fs::create_dir(layout.state()).unwrap();
        assert!(matches!(State::load(&layout), Err(StateError::Read { .. })));
    }

    #[test]
    fn starts_are_counted_anew_once_and_no_more() {
        let now = Moment { boot_id: "b".to_owned(), up_ms: 5 };
        let mut state = State::default();
        state.begin(Pending { boots: 2, contact_ms: 7, ..pending("7.1") });
        state.pass_local(&now);
        let trial = state.pending.clone().unwrap();
        assert_eq!((trial.boots, trial.local_ok), (0, true));
        assert_eq!(trial.deadline, Some(Deadline { boot_id: "b".to_owned(), up_ms: 12 }));
        state.pending.as_mut().unwrap().boots = 1;
        state.pass_local(&now);
        assert_eq!(state.pending.unwrap().boots, 1);
    }

    #[test]
    fn a_commit_keeps_the_release_before_it() {
        let mut state = State { active: Some("7.0".to_owned()), ..State::default() };
        state.begin(pending("7.1"));
        state.commit(9);
        assert_eq!(
            (state.active.as_deref(), state.previous.as_deref()),
            (Some("7.1"), Some("7.0"))
        );
        assert_eq!(state.history[0].end, End::Confirmed);
        state.commit(9);
        assert_eq!(state.history.len(), 1);
    }

    #[test]
    fn a_bad_build_is_remembered_by_its_digest() {
        let mut state = State::default();
        state.begin(pending("7.1"));
        state.roll_back("crashed", true, 9);
        assert!(state.bad_mark("7.1", "AA").is_some() && state.bad_mark("7.1", "").is_some());
        assert!(state.bad_mark("7.1", "bb").is_none() && state.bad_mark("7.2", "aa").is_none());
        for version in 0..100 {
            state.begin(pending(&version.to_string()));
            state.roll_back("crashed", true, 9);
        }
        assert_eq!((state.bad.len(), state.history.len()), (MARKS_MAX, HISTORY_MAX));
        assert_eq!(state.bad[MARKS_MAX - 1].version, "99");
    }

    #[test]
    fn the_lock_is_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let held = lock(&layout).unwrap();
        assert!(try_lock(&layout).is_none());
        drop(held);
        assert!(try_lock(&layout).is_some());
    }
}
