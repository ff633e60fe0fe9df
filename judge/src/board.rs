//! What the API shows: for every group how its last evaluation went. Written after each slot, read by
//! anybody.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use model::{Labels, Timestamp};

use crate::alert_state::{HeldAlert, Phase};
use crate::group::{GroupRun, Health};
use crate::rules::{GroupKey, RuleGroup};

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Board(RwLock<BTreeMap<GroupKey, Arc<GroupView>>>);

/// A group.
#[derive(Debug)]
pub(crate) struct GroupView {
    pub(crate) group: Arc<RuleGroup>,
    pub(crate) rules: Vec<RuleView>,
    pub(crate) last: Option<(Timestamp, Duration)>,
}

/// A rule. Its place in the list is that in the group.
#[derive(Debug)]
pub(crate) struct RuleView {
    pub(crate) health: Health,
    pub(crate) last: Option<(Timestamp, Duration)>,
    /// Pending and firing alerts.
    pub(crate) alerts: Vec<(Labels, HeldAlert)>,
}

impl Board {
    /// Shows a group as it stands.
    pub(crate) fn put(&self, run: &GroupRun) {
        let rules = run.rules.iter().map(|rule| RuleView {
            health: rule.health.clone(),
            last: rule.last,
            alerts: rule
                .alerts
                .iter()
                .filter(|(_, alert)| !matches!(alert.phase, Phase::Resolved { .. }))
                .map(|(labels, alert)| (labels.clone(), alert.clone()))
                .collect(),
        });
        let view = GroupView { group: run.group.clone(), rules: rules.collect(), last: run.last };
        let mut board = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if run.is_removed {
            board.remove(&run.group.key);
        } else {
            board.insert(run.group.key.clone(), Arc::new(view));
        }
    }

    /// All groups, by file and name.
    pub(crate) fn groups(&self) -> Vec<Arc<GroupView>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
