//! Changes of rule groups in the database, from the API and from the web pages: checked, stored with who made
//! them, and taken up at once.

use std::sync::Arc;

use daemon::{Caller, Clock};
use db::{AuditEntry, Db, DbError, EditOutcome, ExpectedVersion, RuleGroupEdit, Trail};

use crate::rule_fault::Fault;
use crate::rule_set::RuleSource;

/// Names of groups and owners longer than this are refused: the database takes 190 characters.
pub(crate) const NAME_CHARS_MAX: usize = 190;

/// Makes changes.
#[derive(Debug)]
pub(crate) struct Manager {
    pub(crate) clock: Clock,
    pub(crate) db: Db,
    pub(crate) rules: Arc<RuleSource>,
    pub(crate) trail: Trail,
    /// Groups in all, those of files included.
    pub(crate) groups_max: usize,
}

/// A change of a group. What is `None` stays as it is.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) body: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) enabled: Option<bool>,
    /// The word of the audit.
    pub(crate) action: &'static str,
}

impl Change {
    /// Switches a group on or off.
    pub(crate) fn switch(enabled: bool) -> Self {
        let action = if enabled { "rule_group.enable" } else { "rule_group.disable" };
        Self { body: None, owner: None, enabled: Some(enabled), action }
    }
}

/// Why a change is not made.
#[derive(Debug)]
pub(crate) enum ChangeError {
    /// The rules have faults.
    Faults(Vec<Fault>),
    /// A name or a limit.
    Refused(String),
    /// There is no such version, or it is a removal.
    NoVersion(i64),
    /// The database failed.
    Database(DbError),
}

impl Manager {
    /// Creates or changes a group.
    pub(crate) async fn change(
        &self,
        caller: &Caller,
        name: &str,
        change: Change,
        expected: ExpectedVersion,
    ) -> Result<EditOutcome, ChangeError> {
        self.check(name, &change)?;
        let edit = RuleGroupEdit {
            body: change.body.as_deref(),
            owner: change.owner.as_deref(),
            enabled: change.enabled,
        };
        let entry = self.entry(caller, change.action, name);
        let outcome = self.db.rule_groups().edit(name, edit, expected, &entry).await;
        let outcome = outcome.map_err(ChangeError::Database)?;
        if matches!(outcome, EditOutcome::Made(_)) {
            self.rules.poll_database().await;
        }
        Ok(outcome)
    }

    /// Brings an old version back as a new one, owner and switch included.
    pub(crate) async fn restore(
        &self,
        caller: &Caller,
        name: &str,
        version: i64,
        expected: ExpectedVersion,
    ) -> Result<EditOutcome, ChangeError> {
        let found = self.db.rule_groups().version(name, version).await;
        let Some(found) = found.map_err(ChangeError::Database)?.filter(|v| !v.body.is_empty())
        else {
            return Err(ChangeError::NoVersion(version));
        };
        let change = Change {
            body: Some(found.body),
            owner: Some(found.owner),
            enabled: Some(found.enabled),
            action: "rule_group.restore",
        };
        self.change(caller, name, change, expected).await
    }

    /// Removes a group; its alerts end.
    pub(crate) async fn remove(
        &self,
        caller: &Caller,
        name: &str,
        expected: ExpectedVersion,
    ) -> Result<EditOutcome, ChangeError> {
        let entry = self.entry(caller, "rule_group.remove", name);
        let outcome = self.db.rule_groups().remove(name, expected, &entry).await;
        let outcome = outcome.map_err(ChangeError::Database)?;
        if matches!(outcome, EditOutcome::Made(_)) {
            self.rules.poll_database().await;
        }
        Ok(outcome)
    }

    fn check(&self, name: &str, change: &Change) -> Result<(), ChangeError> {
        let is_long = |text: &str| text.chars().count() > NAME_CHARS_MAX;
        if name.is_empty() || is_long(name) {
            let message = format!("a group's name has 1 to {NAME_CHARS_MAX} characters");
            return Err(ChangeError::Refused(message));
        }
        if change.owner.as_deref().is_some_and(is_long) {
            let message = format!("an owner has at most {NAME_CHARS_MAX} characters");
            return Err(ChangeError::Refused(message));
        }
        let Some(body) = &change.body else { return Ok(()) };
        self.rules.check_group(name, body).map_err(ChangeError::Faults)?;
        if !self.rules.has_room_for(name, self.groups_max) {
            let message =
                format!("there are {} groups, the limit judge.groups_max", self.groups_max);
            return Err(ChangeError::Refused(message));
        }
        Ok(())
    }

    fn entry(&self, caller: &Caller, action: &str, name: &str) -> AuditEntry {
        let (peer, now) = (caller.peer.to_string(), self.clock.now());
        let target = format!("rule_group/{name}");
        self.trail.entry((&caller.actor, &peer), action, &target, now)
    }
}
