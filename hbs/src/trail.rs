//! Entries of the audit, and identities that sort by time.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

use db::AuditEntry;
use model::Timestamp;

use crate::door::Caller;

/// Makes entries and identities for one hbs.
#[derive(Debug)]
pub(crate) struct Trail {
    mark: String,
    count: AtomicU32,
}

impl Trail {
    /// With a mark that is another one at every start: the keys of a hasher are random.
    pub(crate) fn new() -> Self {
        let random = RandomState::new().build_hasher().finish();
        Self { mark: format!("{random:016x}"), count: AtomicU32::new(0) }
    }

    /// An identity that no other one has. Of two, the one made later is greater.
    pub(crate) fn id(&self, now: Timestamp) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{:013}-{count:08x}-{}", now.millis().max(0), self.mark)
    }

    /// An entry of what a caller did.
    pub(crate) fn entry(
        &self,
        caller: &Caller,
        action: &str,
        target: &str,
        now: Timestamp,
    ) -> AuditEntry {
        AuditEntry {
            id: self.id(now),
            at: now,
            actor: caller.actor.clone(),
            peer: caller.peer.to_string(),
            action: action.to_owned(),
            target: target.to_owned(),
            detail: String::new(),
        }
    }

    /// An entry of what hbs did by itself.
    pub(crate) fn entry_of_hbs(&self, action: &str, target: &str, now: Timestamp) -> AuditEntry {
        AuditEntry {
            id: self.id(now),
            at: now,
            actor: "hbs".to_owned(),
            peer: String::new(),
            action: action.to_owned(),
            target: target.to_owned(),
            detail: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_apart_and_sort_by_time() {
        let (one, other) = (Trail::new(), Trail::new());
        let ids = [one.id(Timestamp(5)), one.id(Timestamp(5)), one.id(Timestamp(1_000))];
        assert!(ids.is_sorted() && ids[0] != ids[1], "{ids:?}");
        assert_ne!(Trail::new().id(Timestamp(5)), other.id(Timestamp(5)));
        assert!(ids.iter().all(|id| id.len() <= 64));
    }
}
