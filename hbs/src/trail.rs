//! Entries of the audit for what is done at hbs.

use db::AuditEntry;
use model::Timestamp;

use crate::door::Caller;

/// Makes entries and identities for one hbs.
#[derive(Debug, Default)]
pub(crate) struct Trail(db::Trail);

impl Trail {
    /// With a mark that is another one at every start.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An identity that no other one has. Of two, the one made later is greater.
    pub(crate) fn id(&self, now: Timestamp) -> String {
        self.0.id(now)
    }

    /// An entry of what a caller did.
    pub(crate) fn entry(
        &self,
        caller: &Caller,
        action: &str,
        target: &str,
        now: Timestamp,
    ) -> AuditEntry {
        self.0.entry((&caller.actor, &caller.peer.to_string()), action, target, now)
    }

    /// An entry of what hbs did by itself.
    pub(crate) fn entry_of_hbs(&self, action: &str, target: &str, now: Timestamp) -> AuditEntry {
        self.0.entry(("hbs", ""), action, target, now)
    }
}
