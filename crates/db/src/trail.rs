//! Entries of the audit, and identities that sort by time.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

use model::Timestamp;

use crate::audit::AuditEntry;

/// Makes entries and identities for one process.
#[derive(Debug)]
pub struct Trail {
    mark: String,
    count: AtomicU32,
}

impl Default for Trail {
    fn default() -> Self {
        Self::new()
    }
}

impl Trail {
    /// With a mark that is another one at every start: the keys of a hasher are random.
    pub fn new() -> Self {
        let random = RandomState::new().build_hasher().finish();
        Self { mark: format!("{random:016x}"), count: AtomicU32::new(0) }
    }

    /// An identity that no other one has. Of two, the one made later is greater.
    pub fn id(&self, now: Timestamp) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{:013}-{count:08x}-{}", now.millis().max(0), self.mark)
    }

    /// An entry without detail. `peer` is the address of the socket's other end, empty for what the process did
    /// by itself.
    pub fn entry(
        &self,
        (actor, peer): (&str, &str),
        action: &str,
        target: &str,
        now: Timestamp,
    ) -> AuditEntry {
        AuditEntry {
            id: self.id(now),
            at: now,
            actor: actor.to_owned(),
            peer: peer.to_owned(),
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
