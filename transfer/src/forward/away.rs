//! Which destinations do not answer, for `/-/ready` and the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use daemon::Context;

/// What `/-/ready` calls them.
const LACKING: &str = "destinations";

/// The destinations that are away, each with the reason.
#[derive(Debug)]
pub(crate) struct Away {
    context: Context,
    away: Mutex<BTreeMap<String, String>>,
}

impl Away {
    pub(crate) fn new(context: &Context) -> Self {
        Self { context: context.clone(), away: Mutex::default() }
    }

    /// Notes that a destination did not take a request; said once in the log for an outage.
    pub(crate) fn is_away(&self, name: &str, why: String) {
        let mut away = self.away();
        if !away.contains_key(name) {
            tracing::warn!(
                destination = name,
                "a destination is away, its samples wait in its queue: {why}"
            );
        }
        away.insert(name.to_owned(), why);
        self.tell(&away);
    }

    /// Notes that a destination answers.
    pub(crate) fn is_back(&self, name: &str) {
        let mut away = self.away();
        if away.remove(name).is_some() {
            tracing::info!(destination = name, "a destination answers again");
            self.tell(&away);
        }
    }

    /// Whether a destination is away.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.away().contains_key(name)
    }

    fn tell(&self, away: &BTreeMap<String, String>) {
        if away.is_empty() {
            return self.context.has(LACKING);
        }
        let all: Vec<String> = away.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        self.context.lacks(LACKING, all.join("; "));
    }

    fn away(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
