//! A group in the scheduler: which slots it has seen, and what is still to come.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::Timestamp;

use crate::group::GroupRun;
use crate::rules::{GroupKey, RuleGroup};
use crate::slot::Slots;

/// A group in the scheduler.
pub(super) struct Seat {
    pub(super) key: Arc<GroupKey>,
    pub(super) slots: Slots,
    /// The last slot that was evaluated, or the one before the group came.
    pub(super) evaluated: Timestamp,
    /// The last slot that another judge began, when that was heard while the group was being evaluated.
    pub(super) resumed: Option<Timestamp>,
    /// The last moment that was looked at, in a slot or when data arrived.
    pub(super) seen: Timestamp,
    /// The place in the queue of slots.
    pub(super) queued: Option<Timestamp>,
    /// The group's state; gone while it is being evaluated.
    pub(super) run: Option<GroupRun>,
    /// A change that came while the group was being evaluated.
    pub(super) next: Option<Change>,
}

/// What becomes of a known group.
pub(super) enum Change {
    Put(Arc<RuleGroup>),
    Remove,
}

/// How a group stands to a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// A slot that came later has seen it all.
    Passed,
    /// A look that came later has seen only what it was about.
    Overtaken,
    /// It is just being evaluated, or about to be: what came after its slot is not looked at before it, or time would
    /// go back for its alerts.
    Busy,
    Free,
}

impl Seat {
    pub(super) fn stand(&self, at: Timestamp) -> Stand {
        match &self.run {
            _ if self.seen >= at && self.evaluated >= at => Stand::Passed,
            _ if self.seen >= at => Stand::Overtaken,
            None => Stand::Busy,
            Some(_) if self.slots.due(self.evaluated, at).is_some() => Stand::Busy,
            Some(_) => Stand::Free,
        }
    }

    /// Takes the group out of the queue of slots, to look at a moment between them.
    pub(super) fn leave(
        &mut self,
        at: Timestamp,
        due: &mut BTreeSet<(Timestamp, Arc<GroupKey>)>,
    ) -> Option<GroupRun> {
        let run = self.run.take()?;
        self.seen = at;
        if let Some(queued) = self.queued.take() {
            due.remove(&(queued, Arc::clone(&self.key)));
        }
        Some(run)
    }

    pub(super) fn is_done(&self) -> bool {
        self.run.as_ref().is_some_and(GroupRun::is_done)
    }

    /// Goes on where another judge stopped, unless this one has come further itself: the evaluation that found
    /// the group here may be done by now, and a slot is begun once.
    pub(super) fn resume(&mut self, begun: Timestamp) {
        let Some(run) = &self.run else {
            self.resumed = Some(begun);
            return;
        };
        if run.last.is_none_or(|(last, _)| last <= begun) {
            (self.evaluated, self.seen) = (begun, self.seen.max(begun));
        }
    }

    pub(super) fn change(&mut self, change: Change, now: Timestamp) {
        match (&mut self.run, change) {
            (None, change) => self.next = Some(change),
            (Some(run), Change::Put(group)) => run.adopt(group, now),
            (Some(run), Change::Remove) => run.retire(now),
        }
    }
}
