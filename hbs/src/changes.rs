//! Which hosts came, came back or went lately, for those who follow the list of hosts. Pure.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Changes that are remembered; who is further behind reads the whole list again.
const CHANGES_MAX: usize = 20_000;

/// The latest changes, each with its number.
#[derive(Debug)]
pub(crate) struct Changes {
    epoch: String,
    revision: u64,
    names: VecDeque<Box<str>>,
}

impl Default for Changes {
    fn default() -> Self {
        // The keys of a hasher are random: another life of hbs has another name.
        let random = RandomState::new().build_hasher().finish();
        Self { epoch: format!("{random:016x}"), revision: 0, names: VecDeque::new() }
    }
}

impl Changes {
    /// Names the life of this hbs; its revisions mean nothing to another one.
    pub(crate) fn epoch(&self) -> &str {
        &self.epoch
    }

    /// The number of the latest change.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Something has become of a host.
    pub(crate) fn note(&mut self, host: &str) {
        if self.names.len() == CHANGES_MAX {
            self.names.pop_front();
        }
        self.names.push_back(host.into());
        self.revision += 1;
    }

    /// The hosts with changes behind a revision, in order; `None` when that is not remembered.
    pub(crate) fn since(&self, revision: u64) -> Option<impl Iterator<Item = &str>> {
        let behind = usize::try_from(self.revision.checked_sub(revision)?).ok()?;
        let skipped = self.names.len().checked_sub(behind)?;
        Some(self.names.iter().skip(skipped).map(AsRef::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(changes: &Changes, revision: u64) -> Option<Vec<&str>> {
        changes.since(revision).map(Iterator::collect)
    }

    #[test]
    fn changes_are_told_from_a_revision_on_and_none_of_the_future() {
        let mut changes = Changes::default();
        for host in ["a", "b", "a"] {
            changes.note(host);
        }
        assert_eq!(since(&changes, 0), Some(vec!["a", "b", "a"]));
        assert_eq!(since(&changes, 2), Some(vec!["a"]));
        assert_eq!(since(&changes, 3), Some(vec![]));
        assert_eq!(since(&changes, 4), None);
        assert_ne!(changes.epoch(), Changes::default().epoch());
    }

    #[test]
    fn what_is_too_long_ago_is_not_remembered() {
        let mut changes = Changes::default();
        (0..CHANGES_MAX + 2).for_each(|n| changes.note(&n.to_string()));
        assert_eq!(since(&changes, 1), None);
        assert_eq!(
            since(&changes, 2).map(|names| (names.len(), names[0])),
            Some((CHANGES_MAX, "2"))
        );
    }
}
